"""The life of an approval request: one table, and nothing beside it.

    open ──approve──> approved ──consume──> consumed
      │  <──reopen───     │
      ├──reject──────> rejected
      ├──expire──────> expired      <──expire── approved
      ├──withdraw────> withdrawn    <─withdraw─ approved
      └──supersede───> superseded   <─supersede─ approved

A pair that is not in the table raises and changes nothing. `approve` is the event that enough people have approved, not
a single vote; a vote that is not yet enough moves nothing. `reopen` is the event that votes were taken back, so that they are not enough.
"""

from __future__ import annotations

from enum import StrEnum

from licet.errors import TransitionRefused
from licet.model import RequestState

_S = RequestState


class Event(StrEnum):
    """What can happen to a request."""

    APPROVE = "approve"
    REJECT = "reject"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    SUPERSEDE = "supersede"
    CONSUME = "consume"
    REOPEN = "reopen"


TRANSITIONS: dict[tuple[RequestState, Event], RequestState] = {
    (_S.OPEN, Event.APPROVE): _S.APPROVED,
    (_S.OPEN, Event.REJECT): _S.REJECTED,
    (_S.OPEN, Event.EXPIRE): _S.EXPIRED,
    (_S.OPEN, Event.WITHDRAW): _S.WITHDRAWN,
    (_S.OPEN, Event.SUPERSEDE): _S.SUPERSEDED,
    (_S.APPROVED, Event.REOPEN): _S.OPEN,
    (_S.APPROVED, Event.CONSUME): _S.CONSUMED,
    (_S.APPROVED, Event.EXPIRE): _S.EXPIRED,
    (_S.APPROVED, Event.WITHDRAW): _S.WITHDRAWN,
    (_S.APPROVED, Event.SUPERSEDE): _S.SUPERSEDED,
}


def next_state(state: RequestState, event: Event) -> RequestState:
    """The state after `event`. Raises `TransitionRefused` where the table has no such move."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionRefused(f"a request that is {state} cannot {event}") from None


def sources(event: Event) -> tuple[RequestState, ...]:
    """The states in which `event` may happen: the condition under which a store may carry it out."""
    return tuple(state for (state, candidate) in TRANSITIONS if candidate is event)
