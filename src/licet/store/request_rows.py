"""What the changes of requests and votes leave and lose, whatever database holds their rows: events, and sentences."""

from __future__ import annotations

from collections.abc import Callable

from licet.model import RequestState, Vote
from licet.store.contract import Lost, MoveRequest, TakeBackVote
from licet.store.outbox import NoticeEvent

Blind = Callable[[str, str, str], str]
"""`Vault.blind`: log, label, text."""

EVENTS: dict[RequestState, NoticeEvent] = {
    RequestState.OPEN: "reopened",
    RequestState.APPROVED: "approved",
    RequestState.REJECTED: "rejected",
    RequestState.EXPIRED: "expired",
    RequestState.WITHDRAWN: "withdrawn",
    RequestState.CONSUMED: "consumed",
    RequestState.SUPERSEDED: "superseded",
}
"""What a notice says of a request that moved into this state."""


def too_many(limit: int) -> Lost:
    """`OpenRequest`: the caller has as many requests as it may."""
    return Lost(
        "too_many_open", f"{limit} requests of this caller wait for people already, were held anew, or were taken back by its plans"
    )


def votes_moved(request: str) -> Lost:
    """What was worked out rests on votes that are not all."""
    return Lost("votes_moved", f"a vote on request `{request}` was cast or taken back at the same moment")


def moved(change: MoveRequest) -> Lost:
    """`MoveRequest`: it is in another state."""
    return Lost("request_moved", f"request `{change.request}` is not {' or '.join(change.source)} any more")


def not_open(request: str) -> Lost:
    """`AddVote`: nobody is asked any more."""
    return Lost("request_moved", f"request `{request}` is not open any more")


def voted_meanwhile(request: str) -> Lost:
    """`AddVote`: what the vote brings about was worked out without another one."""
    return Lost("votes_moved", f"somebody else voted on request `{request}` at the same moment")


def already_voted(vote: Vote) -> Lost:
    """`AddVote`: a vote of this person stands."""
    return Lost("already_voted", f"`{vote.person}` has already voted on request `{vote.request}`")


def over(request: str) -> Lost:
    """`TakeBackVote`: the request waits no more."""
    return Lost("request_moved", f"request `{request}` is over, and its votes with it")


def no_vote(change: TakeBackVote) -> Lost:
    """`TakeBackVote`: no vote of this person stands."""
    return Lost("no_vote", f"`{change.person}` has no vote on request `{change.request}` to take back")
