"""Records for the tests of the search index; every default is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from licet.ledger.record import leaf_hash
from licet.store.index_take import IndexRow

AT = 1_763_802_000_123_456
HOUR_US = 3_600_000_000


def row(index: int, text: str | None = None, *, at: int = AT, kind: str = "intent", **fields: Any) -> IndexRow:
    """One record of a log."""
    return row_of(index, {"v": 1, "kind": kind, "id": f"id{index}", "at": at, "boot": "b", "environment": "test", **fields}, text)


def row_of(index: int, envelope: Any, text: str | None = None) -> IndexRow:
    """A record with this envelope, whatever it is."""
    stored = envelope if isinstance(envelope, bytes) else msgspec.json.encode(envelope)
    return IndexRow(index, stored, leaf_hash(stored), text)


def sealed(*subjects: str) -> dict[str, Any]:
    """The payload entry of a record whose payload these people seal."""
    return {"commitment": "0" * 64, "length": 100, "subjects": subjects}


def lies_in(folder: Path, *words: str) -> set[str]:
    """Those of the words whose bytes lie anywhere in the folder."""
    stored = b"\n".join(file.read_bytes() for file in folder.iterdir())
    return {word for word in words if word.encode() in stored}


class Ledger:
    """A source of records for an indexer, as a ledger would be."""

    def __init__(self, logs: dict[str, list[IndexRow]] | None = None) -> None:
        self.logs = logs if logs is not None else {}
        self.asked: list[tuple[str, int, int]] = []
        self.failure: Exception | None = None

    def sizes(self) -> dict[str, int]:
        if self.failure is not None:
            raise self.failure
        return {log: len(rows) for log, rows in self.logs.items()}

    def rows(self, log: str, start: int, stop: int) -> list[IndexRow]:
        self.asked.append((log, start, stop))
        return self.logs.get(log, [])[start:stop]
