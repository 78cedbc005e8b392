"""Calls of which nobody saw the end, in PostgreSQL; see store/unsettled.py for what is promised of them.

Of two settlements at one moment the second waits for the first at the row, and deletes none then.
"""

from __future__ import annotations

from licet.model import CallId
from licet.store.contract import Lost
from licet.store.postgres_reading import Connection, Reading
from licet.store.postgres_rows import changed
from licet.store.unsettled import EndUnsettled, MarkUnsettled, Settle, UnsettledCall


class UnsettledReads(Reading):
    """The reading half."""

    def unsettled_calls(self, log: str | None = None) -> tuple[UnsettledCall, ...]:
        """Every unsettled call, of one log or of all, the oldest first."""
        # Ids of calls begin with the moment at which they were made.
        rows = self._rows("SELECT call, log FROM unsettled WHERE $1::TEXT IS NULL OR log = $1 ORDER BY call", log)
        return tuple([UnsettledCall(CallId(call), name) for call, name in rows])

    def is_unsettled(self, call: CallId) -> bool:
        """Whether nobody has said how this call ended, and a record says so."""
        return bool(self._rows("SELECT 1 FROM unsettled WHERE call = $1", call))


async def note_unsettled(con: Connection, change: MarkUnsettled | EndUnsettled) -> None:
    """The row is there, or is not, as the record in the same batch says."""
    if isinstance(change, MarkUnsettled):
        await con.execute("INSERT INTO unsettled (call, log) VALUES ($1, $2) ON CONFLICT DO NOTHING", change.call, change.log)
    else:
        await con.execute("DELETE FROM unsettled WHERE call = $1", change.call)


async def settle(con: Connection, change: Settle) -> Lost | None:
    """The call was unsettled and is not any more, or what was lost."""
    if await changed(con, "DELETE FROM unsettled WHERE call = $1", change.call):
        return None
    return Lost("already_settled", f"call `{change.call}` is not unsettled, or not any more")
