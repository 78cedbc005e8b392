"""Freezes in PostgreSQL; see store/freezes.py for what is promised of them.

A freeze is in force with its receipt: its group has the bar alone (store/postgres_locks.py), so every intent that did not see it is
committed before it, and every later one sees it. `read_freezes` is asked under the bar, in a statement after the one that took it.
"""

from __future__ import annotations

from typing import cast

from licet.ledger.frozen import Freeze, Scope
from licet.ledger.record import UNREADABLE, decode_head
from licet.store.contract import Lost, StoredRecord
from licet.store.freezes import FreezeRows, LiftFreeze, PutFreeze
from licet.store.postgres_reading import Connection, Reading, findable
from licet.store.postgres_rows import changed
from licet.store.rows import RECORD, record_of

_ROWS = "SELECT id, log, scope, name, at FROM freezes"
_COUNT = "SELECT count(*) FROM records WHERE kind = 'freeze'"
_ENVELOPES = "SELECT envelope FROM records WHERE kind = 'freeze' ORDER BY place"


class FreezeReads(Reading):
    """The reading half."""

    def freezes(self, known: int = -1) -> FreezeRows:
        """Rows and records of one moment; without the envelopes where there are `known` records."""

        async def read(con: Connection) -> FreezeRows:
            rows, count = await read_freezes(con), int(await con.fetchval(_COUNT))
            envelopes = None if count == known else tuple([envelope for (envelope,) in await con.fetch(_ENVELOPES)])
            return FreezeRows(rows, count, envelopes)

        return self._moment(read)

    def find_freeze_record(self, freeze: str) -> StoredRecord | None:
        """The `freeze` record that has this id."""
        rows = self._rows(f"{RECORD}WHERE records.kind = 'freeze' ORDER BY place")
        row = next((row for row in rows if _id_of(row[4]) == freeze), None)
        return None if row is None else record_of(self._vault, row)


async def read_freezes(con: Connection) -> tuple[Freeze, ...]:
    """Every row, as it is: one whose scope somebody has made into something else stops no call, and `verify` finds it."""
    return tuple([Freeze(id_, log, cast("Scope", scope), name, at) for id_, log, scope, name, at in await con.fetch(_ROWS)])


async def change_freezes(con: Connection, change: PutFreeze | LiftFreeze) -> Lost | None:
    """The row is there, or is not any more; or what was lost."""
    if isinstance(change, LiftFreeze):
        if await changed(con, "DELETE FROM freezes WHERE id = $1", findable(change.freeze)):
            return None
        return Lost("not_frozen", f"freeze `{change.freeze}` does not stand, or not any more")
    freeze = change.freeze
    if findable(freeze.name) != freeze.name:
        return Lost("not_storable", "a name that holds a NUL character or half a surrogate pair cannot be kept: freeze something wider")
    text = "INSERT INTO freezes (id, log, scope, name, at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
    if await changed(con, text, freeze.id, freeze.log, freeze.scope, freeze.name, freeze.at):
        return None
    return Lost("freeze_exists", f"there is a freeze `{freeze.id}` already")


def _id_of(envelope: bytes) -> str | None:
    try:
        return decode_head(envelope).id
    except (*UNREADABLE, TypeError):
        return None
