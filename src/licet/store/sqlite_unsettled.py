"""Calls of which nobody saw the end, in SQLite; see store/unsettled.py for what is promised of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from licet.model import CallId
from licet.store.contract import Lost
from licet.store.unsettled import EndUnsettled, MarkUnsettled, Settle, UnsettledCall


class UnsettledReads:
    """The reading half."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def unsettled_calls(self, log: str | None = None) -> tuple[UnsettledCall, ...]:
        """Every unsettled call, of one log or of all, the oldest first."""
        # Ids of calls begin with the moment at which they were made.
        rows = self._rows("SELECT call, log FROM unsettled WHERE ?1 IS NULL OR log = ?1 ORDER BY call", (log,))
        return tuple([UnsettledCall(CallId(call), name) for call, name in rows])

    def is_unsettled(self, call: CallId) -> bool:
        """Whether nobody has said how this call ended, and a record says so."""
        return bool(self._rows("SELECT 1 FROM unsettled WHERE call = ?", (call,)))


def note_unsettled(con: apsw.Connection, change: MarkUnsettled | EndUnsettled) -> None:
    """The row is there, or is not, as the record in the same batch says."""
    if isinstance(change, MarkUnsettled):
        con.execute("INSERT INTO unsettled (call, log) VALUES (?, ?) ON CONFLICT DO NOTHING", (change.call, change.log))
    else:
        con.execute("DELETE FROM unsettled WHERE call = ?", (change.call,))


def settle(con: apsw.Connection, change: Settle) -> Lost | None:
    """The call was unsettled and is not any more, or what was lost."""
    con.execute("DELETE FROM unsettled WHERE call = ?", (change.call,))
    return None if con.changes() else Lost("already_settled", f"call `{change.call}` is not unsettled, or not any more")
