"""The part of a store's contract that remembers calls which somebody else executes, until it is told how they ended.

Rules:

1. Such a call is open like any other (`OpenCall`), with a deadline. It belongs to the ledger and to no process: it is never among
   `orphaned_calls`, whatever becomes of the process that wrote its intent.
2. It is ended once, by whoever is first: a report, or, after the deadline, whoever says that there was none. That is a condition.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from licet.model import CallId


class EndCall(Struct, frozen=True, gc=False):
    """The record in this batch is the end of a call that somebody else executes. Condition `call_ended`: it is open now."""

    call: CallId


class RemoteCall(Struct, frozen=True, gc=False):
    """An open call that somebody else executes: its log, and the UTC microsecond until which its end can be reported."""

    call: CallId
    log: str
    deadline: int


class RemoteCalls(Protocol):
    """What a store can be asked about calls that somebody else executes."""

    def find_remote_call(self, call: CallId) -> RemoteCall | None:
        """The call, while it is open."""
        ...

    def overdue_calls(self, at: int, limit: int = 256) -> tuple[RemoteCall, ...]:
        """Open ones whose deadline lies before `at` (UTC microseconds), the longest overdue first. Cheap where there is none."""
        ...
