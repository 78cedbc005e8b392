"""A ledger as an earlier version of the program made it: small, with one of everything (`tests/store/samples.py` made it)."""

from __future__ import annotations

import gzip
from pathlib import Path

VERSION_3 = Path(__file__).parents[1] / "vectors" / "ledger_v3.db.gz"
LEFT = "019aaaca-aafb-7a80-80f8-35cdeccefe40"
"""The call whose intent is open in it, of a process that has ended."""
HELD = "01a204f9-a687-7b2e-8d4c-8d0e48030117"
"""The request that is open in it."""


def put_ledger_v3(path: Path) -> None:
    """A ledger of schema version 3 lies at `path`, under `samples.KEYS`."""
    path.write_bytes(gzip.decompress(VERSION_3.read_bytes()))
    path.chmod(0o600)
