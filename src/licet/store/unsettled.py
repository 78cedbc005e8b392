"""The part of a store's contract that remembers calls of which nobody saw the end.

Rules:

1. A call is unsettled from the record that says that its end was not seen (`timeout` or `unknown`), until a record says how it
   ended: a late outcome of its tool, or a settlement. Each change stands in the batch of that record.
2. A settlement has a condition: of two at one moment one is refused. A late outcome has none: what a tool did is always recorded.
3. A late outcome that says once more that nobody saw the end changes nothing, and nothing makes a settled call unsettled again.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from licet.model import CallId


class MarkUnsettled(Struct, frozen=True):
    """The record in this batch ends a call, and says that nobody saw how. Without condition."""

    call: CallId
    log: str


class EndUnsettled(Struct, frozen=True):
    """The record in this batch is the late end of a call as its tool told it. Without condition: it may have been settled before."""

    call: CallId


class Settle(Struct, frozen=True):
    """The record in this batch settles a call. Condition `already_settled`: it is unsettled now."""

    call: CallId


UnsettledChange = MarkUnsettled | EndUnsettled | Settle


class UnsettledCall(Struct, frozen=True):
    """A call of which nobody saw the end, and the log in which it stands."""

    call: CallId
    log: str


class UnsettledCalls(Protocol):
    """What a store can be asked about calls of which nobody saw the end."""

    def unsettled_calls(self, log: str | None = None) -> tuple[UnsettledCall, ...]:
        """Every unsettled call, of one log or of all, the oldest first."""
        ...

    def is_unsettled(self, call: CallId) -> bool:
        """Whether nobody has said how this call ended, and a record says so."""
        ...
