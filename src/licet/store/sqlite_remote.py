"""Calls that somebody else executes, in SQLite; see store/remote.py for what is promised of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from licet.model import CallId
from licet.store.contract import Lost
from licet.store.remote import EndCall, RemoteCall

NOBODY = 0
"""The holder of a call that belongs to no boot; those are numbered from 1 on."""


class RemoteReads:
    """The reading half."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def find_remote_call(self, call: CallId) -> RemoteCall | None:
        """The call, while it is open."""
        rows = self._rows("SELECT call, log, deadline FROM open_calls WHERE call = ? AND deadline IS NOT NULL", (call,))
        return RemoteCall(*rows[0]) if rows else None

    def overdue_calls(self, at: int, limit: int = 256) -> tuple[RemoteCall, ...]:
        """Open ones whose deadline lies before `at`, the longest overdue first."""
        text = "SELECT call, log, deadline FROM open_calls WHERE deadline IS NOT NULL AND deadline < ? ORDER BY deadline, call LIMIT ?"
        return tuple([RemoteCall(*row) for row in self._rows(text, (at, limit))])


def end_call(con: apsw.Connection, change: EndCall) -> Lost | None:
    """The call was open and is not any more, or what was lost."""
    con.execute("DELETE FROM open_calls WHERE call = ? AND deadline IS NOT NULL", (change.call,))
    return None if con.changes() else Lost("call_ended", f"call `{change.call}` is not open, or not any more")
