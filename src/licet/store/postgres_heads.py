"""The head log in PostgreSQL: the roots of all logs as leaves of one tree, its signed checkpoints, and the keys that sign.

Rules:

1. A head is appended inside the transaction of a group, after everything else in it: an entry never speaks of records that are not durable
   with it. Records of other groups that it speaks of were committed, and what others can see was flushed (`synchronous_commit = on`).
2. Only logs that have grown since their last entry get one.
3. Whoever changes the head log, its checkpoints or its keys locks the row of `ledger` before it reads any of them, in another statement:
   several processes at once make one dense log, whose entries of one log never go back, and no checkpoint of a key that signs no more.
4. A checkpoint is kept beside the tree that it signs. A crash between the two leaves a head that nobody has signed yet; the next
   process signs it.
"""

from __future__ import annotations

from collections.abc import Sequence

from licet.ledger.merkle import root_of
from licet.ledger.record import leaf_hash
from licet.ledger.tiles import WIDTH
from licet.store.contract import HeadState, Lost, PutCheckpoint, PutSigningKey, SigningKey, StoredCheckpoint
from licet.store.head_rows import entries_of, split_range, tree_of
from licet.store.postgres_locks import TAKE_HEAD
from licet.store.postgres_reading import Connection, Reading
from licet.store.postgres_rows import changed

_HAS_GROWN = "size > coalesce((SELECT max(heads.size) FROM heads WHERE heads.log = logs.name), 0)"
"""Told by the head log itself: a number kept beside it could be set so that a log is never signed again."""


async def append_head(con: Connection, at: int) -> None:
    """The root of each log that has grown is a leaf of the head log, once the transaction is committed."""
    await con.execute(TAKE_HEAD)
    grown = await con.fetch(f"SELECT name, size, compact_range FROM logs WHERE {_HAS_GROWN} ORDER BY name")  # noqa: S608  a constant of this module
    if not grown:
        return
    size, compact_range = await con.fetchrow("SELECT head_size, head_range FROM ledger") or (0, b"")
    head = tree_of("the head log", size, compact_range)
    entries = entries_of(grown, at)
    await con.execute(
        "INSERT INTO heads (number, log, size, entry) SELECT * FROM unnest($1::BIGINT[], $2::TEXT[], $3::BIGINT[], $4::BYTEA[])",
        list(range(size, size + len(grown))),
        [log for log, _, _ in grown],
        [grew for _, grew, _ in grown],
        entries,
    )
    head.extend([leaf_hash(entry) for entry in entries])
    for number in range(size // WIDTH, head.size // WIDTH):
        await _fill_tile(con, 0, number)
    await con.execute("UPDATE ledger SET head_size = $1, head_range = $2", head.size, b"".join(head.peaks))


async def _fill_tile(con: Connection, level: int, number: int) -> None:
    """The tile, and with the last of its row the one above it, are kept."""
    first = number * WIDTH
    if level == 0:
        entries = await con.fetch("SELECT entry FROM heads WHERE number >= $1 AND number < $2 ORDER BY number", first, first + WIDTH)
        hashes = [leaf_hash(entry) for (entry,) in entries]
    else:
        text = "SELECT hashes FROM head_tiles WHERE level = $1 AND number >= $2 AND number < $3 ORDER BY number"
        hashes = [root_of(split_range(tile)) for (tile,) in await con.fetch(text, level - 1, first, first + WIDTH)]
    await con.execute("INSERT INTO head_tiles (level, number, hashes) VALUES ($1, $2, $3)", level, number, b"".join(hashes))
    if (number + 1) % WIDTH == 0:
        await _fill_tile(con, level + 1, number // WIDTH)


async def put_checkpoint(con: Connection, change: PutCheckpoint) -> None:
    """The checkpoint is kept, unless its key was changed while it signed: then the head is signed anew.

    One that is there stays unless this one has more signatures: two processes sign the same head, and one of them is told first what
    witnesses have added.
    """
    await con.execute(TAKE_HEAD)
    text = (
        "INSERT INTO checkpoints (size, at, note) SELECT $1::BIGINT, $2::BIGINT, $3::BYTEA "
        "WHERE $4 = (SELECT vkey FROM signing_keys ORDER BY number DESC LIMIT 1) "
        "ON CONFLICT (size) DO UPDATE SET note = excluded.note WHERE length(excluded.note) > length(checkpoints.note)"
    )
    await con.execute(text, change.size, change.at, change.note, change.vkey)


async def put_signing_key(con: Connection, change: PutSigningKey) -> Lost | None:
    """The key signs from now on, unless somebody else has put one meanwhile, or the head has grown since it was endorsed."""
    await con.execute(TAKE_HEAD)
    text = (
        "INSERT INTO signing_keys (vkey, key, wrapped, endorsement) SELECT $1::TEXT, $2::TEXT, $3::BYTEA, $4::BYTEA "
        "WHERE (SELECT count(*) FROM signing_keys) = $5 AND (SELECT head_size FROM ledger) = $6"
    )
    if await changed(con, text, change.vkey, change.key, change.wrapped, change.endorsement, change.seen, change.size):
        return None
    return Lost("signing_key_moved", "the log grew, or another process put a signing key, at the same moment")


class HeadReads(Reading):
    """What a ledger in PostgreSQL can be asked about its head log; see store/contract.py."""

    def head(self) -> HeadState:
        """The head log as it stands."""
        text = (
            "SELECT origin, head_size, head_range, coalesce((SELECT max(size) FROM checkpoints), 0), "  # noqa: S608  a constant of this module
            f"EXISTS (SELECT 1 FROM logs WHERE {_HAS_GROWN}), (SELECT vkey FROM signing_keys ORDER BY number DESC LIMIT 1) FROM ledger"
        )
        origin, size, compact_range, checkpoint, grown, vkey = self._rows(text)[0]
        return HeadState(origin, size, split_range(compact_range), checkpoint, grown, vkey)

    def head_entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries of the head log by index, as they are hashed."""
        rows = self._rows("SELECT entry FROM heads WHERE number >= $1 AND number < $2 ORDER BY number", start, stop)
        return tuple([row[0] for row in rows])

    def find_head_entry(self, log: str, size: int) -> tuple[int, bytes] | None:
        """The first entry, with its index, that puts a root of this log at this size or a larger one into the head log."""
        rows = self._rows("SELECT number, entry FROM heads WHERE log = $1 AND size >= $2 ORDER BY size LIMIT 1", log, size)
        return (rows[0][0], rows[0][1]) if rows else None

    def find_tile(self, level: int, n: int) -> bytes | None:
        """A full tile of the head log (`TileReader` of ledger/tiles.py)."""
        rows = self._rows("SELECT hashes FROM head_tiles WHERE level = $1 AND number = $2", level, n)
        return rows[0][0] if rows else None

    def leaves(self, start: int, stop: int) -> Sequence[bytes]:
        """Leaf hashes of the head log."""
        return [leaf_hash(entry) for entry in self.head_entries(start, stop)]

    def checkpoints(self, *, from_size: int = 0, limit: int = 1) -> tuple[StoredCheckpoint, ...]:
        """Checkpoints of at least this size, the smallest first."""
        rows = self._rows("SELECT size, at, note FROM checkpoints WHERE size >= $1 ORDER BY size LIMIT $2", from_size, limit)
        return tuple([StoredCheckpoint(*row) for row in rows])

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """The checkpoint of the largest size."""
        rows = self._rows("SELECT size, at, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return StoredCheckpoint(*rows[0]) if rows else None

    def signing_keys(self) -> tuple[SigningKey, ...]:
        """Every key that has signed checkpoints, oldest first; the last one signs now."""
        rows = self._rows("SELECT vkey, key, wrapped, endorsement FROM signing_keys ORDER BY number")
        return tuple([SigningKey(*row) for row in rows])
