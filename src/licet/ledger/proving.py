"""Proofs out of a ledger: which head entry and which checkpoint cover a record, and where the hashes for its path come from.

Rules:

1. What is handed out was verified against the signed root first (ledger/prove.py).
2. Tiles of the search index make a proof fast. One that does not lead to the signed root is made once more from the ledger's own leaves.
3. The newest checkpoint is used: who holds that one, or has it from a witness, can compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from licet.errors import IntegrityBroken, StoreError
from licet.ledger.checkpoint import Checkpoint, decode_head_entry
from licet.ledger.note import text_of
from licet.ledger.prove import Head, Opening, prove, prove_consistency
from licet.ledger.source import Source
from licet.ledger.tiles import WIDTH, Edge, HashTree
from licet.store.contract import Store, StoredCheckpoint, StoredRecord


class Tiles(Protocol):
    """Where hashes above the leaves are kept: the search index. Both may raise `StoreError`."""

    def find_tile(self, log: str, level: int, n: int) -> bytes | None:
        """A full tile of level 1 or above (8,192 bytes); None where it is not kept."""
        ...

    def find_edge(self, log: str, size: int) -> Edge | None:
        """Hashes above the first `size` leaves in tiles that are not full, the lowest row empty; None where they are not kept."""
        ...


class NotCovered(LookupError):
    """No checkpoint speaks of this record yet."""


class LogTiles:
    """The tiles of one log: those above its leaves from wherever they are kept, the leaves from a source."""

    def __init__(self, source: Source, log: str, tiles: Tiles | None) -> None:
        self._source = source
        self._log = log
        self._tiles = tiles

    def find_tile(self, level: int, n: int) -> bytes | None:
        """A full tile; None where it is not kept, and for leaves always. An index that cannot be read has none."""
        if self._tiles is None or level == 0:
            return None
        try:
            return self._tiles.find_tile(self._log, level, n)
        except StoreError:
            self._tiles = None
            return None

    def tree(self, size: int) -> HashTree:
        """The tree of the first `size` leaves."""
        edge = self._edge(size)
        try:
            return HashTree(self, size, edge)
        except ValueError:  # what is kept is no edge of this size
            return HashTree(self, size)

    def _edge(self, size: int) -> Edge | None:
        if self._tiles is None or size < WIDTH:
            return None
        try:
            above = self._tiles.find_edge(self._log, size)
        except StoreError:
            self._tiles = None
            return None
        return None if above is None else (tuple(self.leaves(size - size % WIDTH, size)), *above[1:])

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        """The leaf hashes, as they are stored."""
        return [row[5] for rows in self._source.rows(self._log, start, stop) for row in rows]


def prove_record(store: Store, source: Source, record: StoredRecord, *, tiles: Tiles | None, with_payload: bool) -> bytes:
    """The proof of this record under the newest checkpoint; `source` is a moment of the same store that has it.

    Raises `NotCovered` where no checkpoint speaks of it yet, `IntegrityBroken` where the ledger does not lead to its own checkpoint.
    """
    newest, found = newest_checkpoint(store), store.find_head_entry(record.log, record.index + 1)
    if found is None or found[0] >= newest.size:
        raise NotCovered(f"no signed checkpoint covers record {record.index} of log `{record.log}` yet")
    number, entry = found
    endorsements = tuple([key.endorsement for key in store.signing_keys() if key.endorsement is not None])
    head = Head(entry, number, HashTree(store, newest.size), newest.note, endorsements)
    opening = Opening(record.salt, record.payload) if with_payload and record.salt is not None and record.payload is not None else None
    size = decode_head_entry(entry).size
    try:
        return prove(LogTiles(source, record.log, tiles).tree(size), record.index, head, envelope=record.envelope, opening=opening)
    except IntegrityBroken:
        if tiles is None:
            raise
        return prove(LogTiles(source, record.log, None).tree(size), record.index, head, envelope=record.envelope, opening=opening)


def prove_continuation(store: Store, unverified_note: bytes) -> bytes:
    """The bundle that shows this kept checkpoint to be a beginning of the newest one.

    Raises `NotCovered` when nothing was ever signed, `IntegrityBroken` where the kept one is of another log, larger than the ledger is,
    or has another root than the ledger had at its size: `NoteInvalid` where it is no checkpoint.
    """
    kept, newest = Checkpoint.parse(text_of(unverified_note)), newest_checkpoint(store)
    size = Checkpoint.parse(text_of(newest.note)).size
    if kept.size > size:
        raise IntegrityBroken(f"the kept checkpoint has size {kept.size}, and the head log of this ledger has {size}: records are missing")
    endorsements = [key.endorsement for key in store.signing_keys() if key.endorsement is not None]
    return prove_consistency(HashTree(store, size), unverified_note, newest.note, endorsements)


def newest_checkpoint(store: Store) -> StoredCheckpoint:
    """The newest checkpoint. Raises `NotCovered` when nothing was ever signed."""
    newest = store.newest_checkpoint()
    if newest is None:
        raise NotCovered("nothing was signed yet: this ledger has no checkpoint")
    return newest
