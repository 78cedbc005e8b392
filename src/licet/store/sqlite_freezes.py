"""Freezes in SQLite; see store/freezes.py for what is promised of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import apsw

from licet.ledger.frozen import Freeze, Scope
from licet.ledger.record import UNREADABLE, decode_head
from licet.ledger.vault import Vault
from licet.store.contract import Lost, StoredRecord
from licet.store.freezes import FreezeRows, LiftFreeze, PutFreeze
from licet.store.rows import record_of
from licet.store.sqlite_rows import fetch

_ROWS = "SELECT id, log, scope, name, at FROM freezes"
_COUNT = "SELECT count(*) FROM records WHERE kind = 'freeze'"
_ENVELOPES = "SELECT envelope FROM records WHERE kind = 'freeze' ORDER BY place"
_RECORDS = (
    "SELECT logs.name, place & 0xffffffffff, records.kind, call, envelope, sealed "
    "FROM records LEFT JOIN payloads USING (place) LEFT JOIN logs ON logs.number = place >> 40 WHERE records.kind = 'freeze' ORDER BY place"
)


class FreezeReads:
    """The reading half."""

    _vault: Vault | None

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def _moment(self) -> AbstractContextManager[apsw.Connection]:
        raise NotImplementedError

    def freezes(self, known: int = -1) -> FreezeRows:
        """Rows and records of one moment; without the envelopes where there are `known` records."""
        with self._moment() as con:
            rows, count = read_freezes(con), con.execute(_COUNT).get
            envelopes = None if count == known else tuple([envelope for (envelope,) in fetch(con, _ENVELOPES)])
        return FreezeRows(rows, count, envelopes)

    def find_freeze_record(self, freeze: str) -> StoredRecord | None:
        """The `freeze` record that has this id."""
        row = next((row for row in self._rows(_RECORDS) if _id_of(row[4]) == freeze), None)
        return None if row is None else record_of(self._vault, row)


def read_freezes(con: apsw.Connection) -> tuple[Freeze, ...]:
    """Every row, as it is: one whose scope somebody has made into something else stops no call, and `verify` finds it."""
    return tuple([Freeze(id_, log, cast("Scope", scope), name, at) for id_, log, scope, name, at in fetch(con, _ROWS)])


def change_freezes(con: apsw.Connection, change: PutFreeze | LiftFreeze) -> Lost | None:
    """The row is there, or is not any more; or what was lost."""
    if isinstance(change, LiftFreeze):
        con.execute("DELETE FROM freezes WHERE id = ?", (change.freeze,))
        return None if con.changes() else Lost("not_frozen", f"freeze `{change.freeze}` does not stand, or not any more")
    freeze = change.freeze
    values = (freeze.id, freeze.log, freeze.scope, freeze.name, freeze.at)
    con.execute("INSERT INTO freezes (id, log, scope, name, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
    return None if con.changes() else Lost("freeze_exists", f"there is a freeze `{freeze.id}` already")


def _id_of(envelope: Any) -> str | None:
    try:
        return decode_head(envelope).id
    except (*UNREADABLE, TypeError):
        return None
