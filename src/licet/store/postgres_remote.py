"""Calls that somebody else executes, in PostgreSQL; see store/remote.py for what is promised of them.

Of two ends at one moment the second waits for the first at the row, and deletes none then.
"""

from __future__ import annotations

from licet.model import CallId
from licet.store.contract import Lost
from licet.store.postgres_reading import Connection, Reading
from licet.store.postgres_rows import changed
from licet.store.remote import EndCall, RemoteCall

NOBODY = 0
"""The holder of a call that belongs to no boot; those are numbered from 1 on."""


class RemoteReads(Reading):
    """The reading half."""

    def find_remote_call(self, call: CallId) -> RemoteCall | None:
        """The call, while it is open."""
        rows = self._rows("SELECT call, log, deadline FROM open_calls WHERE call = $1 AND deadline IS NOT NULL", call)
        return RemoteCall(*rows[0]) if rows else None

    def overdue_calls(self, at: int, limit: int = 256) -> tuple[RemoteCall, ...]:
        """Open ones whose deadline lies before `at`, the longest overdue first."""
        text = "SELECT call, log, deadline FROM open_calls WHERE deadline IS NOT NULL AND deadline < $1 ORDER BY deadline, call LIMIT $2"
        return tuple([RemoteCall(*row) for row in self._rows(text, at, limit)])


async def end_call(con: Connection, change: EndCall) -> Lost | None:
    """The call was open and is not any more, or what was lost."""
    if await changed(con, "DELETE FROM open_calls WHERE call = $1 AND deadline IS NOT NULL", change.call):
        return None
    return Lost("call_ended", f"call `{change.call}` is not open, or not any more")
