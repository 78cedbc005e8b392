"""What `licet audit export` was asked for, and what it has written."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from licet.ledger.exports.formats import get_format
from licet.ledger.exports.manifest import SUFFIX

JSONL, TILES = "jsonl", "tiles"


class Exported(Struct, frozen=True, kw_only=True):
    """What was written. `size_bytes` is that of the file, without its manifest; 0 for a folder of tiles."""

    file: str
    format: str
    records: int
    size_bytes: int
    manifest: str | None = None


class Wanted(Struct, frozen=True, kw_only=True):
    """What was asked for."""

    form: str
    path: Path | None
    tenant: str | None
    payloads: bool

    @property
    def manifest(self) -> Path | None:
        """The manifest beside the file; None where the file says itself that it is complete."""
        if self.path is None or self.form in {JSONL, TILES} or get_format(self.form).verify is not None:
            return None
        return self.path.with_name(self.path.name + SUFFIX)
