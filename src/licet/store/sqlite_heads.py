"""The head log in SQLite: the roots of all logs as leaves of one tree, its signed checkpoints, and the keys that sign.

Rules:

1. A head is appended inside the transaction of a group, after everything else in it: an entry never speaks of records that are not durable
   with it.
2. Only logs that have grown since their last entry get one.
3. A checkpoint is kept beside the tree that it signs. A crash between the two leaves a head that nobody has signed yet; the next
   process signs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from licet.ledger.merkle import root_of
from licet.ledger.record import leaf_hash
from licet.ledger.tiles import WIDTH
from licet.store.contract import HeadState, Lost, PutCheckpoint, PutSigningKey, SigningKey, StoredCheckpoint
from licet.store.head_rows import entries_of, split_range, tree_of
from licet.store.sqlite_rows import fetch

_HAS_GROWN = "size > coalesce((SELECT max(heads.size) FROM heads WHERE heads.log = logs.name), 0)"
"""Told by the head log itself: a number kept beside it could be set so that a log is never signed again."""


def append_head(con: apsw.Connection, at: int) -> None:
    """The root of each log that has grown is a leaf of the head log, once the transaction is committed."""
    grown = fetch(con, f"SELECT name, size, compact_range FROM logs WHERE {_HAS_GROWN} ORDER BY name")  # noqa: S608  a constant of this module
    if not grown:
        return
    size, compact_range = fetch(con, "SELECT head_size, head_range FROM ledger")[0]
    head = tree_of("the head log", size, compact_range)
    entries = entries_of(grown, at)
    con.executemany(
        "INSERT INTO heads (number, log, size, entry) VALUES (?, ?, ?, ?)",
        [(size + place, log, grew, entry) for place, ((log, grew, _), entry) in enumerate(zip(grown, entries, strict=True))],
    )
    head.extend([leaf_hash(entry) for entry in entries])
    for number in range(size // WIDTH, head.size // WIDTH):
        _fill_tile(con, 0, number)
    con.execute("UPDATE ledger SET head_size = ?, head_range = ?", (head.size, b"".join(head.peaks)))


def _fill_tile(con: apsw.Connection, level: int, number: int) -> None:
    """The tile, and with the last of its row the one above it, are kept."""
    first = number * WIDTH
    if level == 0:
        entries = fetch(con, "SELECT entry FROM heads WHERE number >= ? AND number < ? ORDER BY number", (first, first + WIDTH))
        hashes = [leaf_hash(entry) for (entry,) in entries]
    else:
        text = "SELECT hashes FROM head_tiles WHERE level = ? AND number >= ? AND number < ? ORDER BY number"
        hashes = [root_of(split_range(tile)) for (tile,) in fetch(con, text, (level - 1, first, first + WIDTH))]
    con.execute("INSERT INTO head_tiles (level, number, hashes) VALUES (?, ?, ?)", (level, number, b"".join(hashes)))
    if (number + 1) % WIDTH == 0:
        _fill_tile(con, level + 1, number // WIDTH)


def put_checkpoint(con: apsw.Connection, change: PutCheckpoint) -> None:
    """The checkpoint is kept, unless its key was changed while it signed: then the head is signed anew.

    One that is there stays unless this one has more signatures: two processes sign the same head, and one of them is told first what
    witnesses have added.
    """
    text = (
        "INSERT INTO checkpoints (size, at, note) SELECT ?, ?, ? "
        "WHERE ? = (SELECT vkey FROM signing_keys ORDER BY number DESC LIMIT 1) "
        "ON CONFLICT (size) DO UPDATE SET note = excluded.note WHERE length(excluded.note) > length(note)"
    )
    con.execute(text, (change.size, change.at, change.note, change.vkey))


def put_signing_key(con: apsw.Connection, change: PutSigningKey) -> Lost | None:
    """The key signs from now on, unless somebody else has put one meanwhile, or the head has grown since it was endorsed."""
    text = (
        "INSERT INTO signing_keys (vkey, key, wrapped, endorsement) SELECT ?, ?, ?, ? "
        "WHERE (SELECT count(*) FROM signing_keys) = ? AND (SELECT head_size FROM ledger) = ?"
    )
    con.execute(text, (change.vkey, change.key, change.wrapped, change.endorsement, change.seen, change.size))
    return None if con.changes() else Lost("signing_key_moved", "the log grew, or another process put a signing key, at the same moment")


class HeadReads:
    """What a ledger in SQLite can be asked about its head log; see store/contract.py."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def head(self) -> HeadState:
        """The head log as it stands."""
        text = (
            "SELECT origin, head_size, head_range, coalesce((SELECT max(size) FROM checkpoints), 0), "  # noqa: S608  a constant of this module
            f"EXISTS (SELECT 1 FROM logs WHERE {_HAS_GROWN}), (SELECT vkey FROM signing_keys ORDER BY number DESC LIMIT 1) FROM ledger"
        )
        origin, size, compact_range, checkpoint, grown, vkey = self._rows(text)[0]
        return HeadState(origin, size, split_range(compact_range), checkpoint, bool(grown), vkey)

    def head_entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries of the head log by index, as they are hashed."""
        rows = self._rows("SELECT entry FROM heads WHERE number >= ? AND number < ? ORDER BY number", (start, stop))
        return tuple([row[0] for row in rows])

    def find_head_entry(self, log: str, size: int) -> tuple[int, bytes] | None:
        """The first entry, with its index, that puts a root of this log at this size or a larger one into the head log."""
        rows = self._rows("SELECT number, entry FROM heads WHERE log = ? AND size >= ? ORDER BY size LIMIT 1", (log, size))
        return (rows[0][0], rows[0][1]) if rows else None

    def find_tile(self, level: int, n: int) -> bytes | None:
        """A full tile of the head log (`TileReader` of ledger/tiles.py)."""
        rows = self._rows("SELECT hashes FROM head_tiles WHERE level = ? AND number = ?", (level, n))
        return rows[0][0] if rows else None

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        """Leaf hashes of the head log."""
        return [leaf_hash(entry) for entry in self.head_entries(start, stop)]

    def checkpoints(self, *, from_size: int = 0, limit: int = 1) -> tuple[StoredCheckpoint, ...]:
        """Checkpoints of at least this size, the smallest first."""
        rows = self._rows("SELECT size, at, note FROM checkpoints WHERE size >= ? ORDER BY size LIMIT ?", (from_size, limit))
        return tuple([StoredCheckpoint(*row) for row in rows])

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """The checkpoint of the largest size."""
        rows = self._rows("SELECT size, at, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return StoredCheckpoint(*rows[0]) if rows else None

    def signing_keys(self) -> tuple[SigningKey, ...]:
        """Every key that has signed checkpoints, oldest first; the last one signs now."""
        rows = self._rows("SELECT vkey, key, wrapped, endorsement FROM signing_keys ORDER BY number")
        return tuple([SigningKey(*row) for row in rows])
