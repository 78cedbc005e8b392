"""What the rows of requests and votes mean, and what their changes leave and lose, whatever database holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from licet.errors import IntegrityBroken
from licet.ledger.vault import Vault
from licet.model import PlanId, RequestId, RequestState, Vote
from licet.store.contract import Dossier, Lost, MoveRequest, TakeBackVote
from licet.store.outbox import NoticeEvent
from licet.store.rows import record_of, request_of, votes_of

LIVE = "state IN ('open', 'approved')"
"""As the index `requests_waiting` has it."""

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


def dossier_of(
    vault: Vault, request: str, state: str, stored: Iterable[Sequence[Any]], people: Sequence[tuple[str, bool]]
) -> Dossier | None:
    """A request from its row, the rows of its records, and those of its votes; None where it was erased."""
    records = tuple([record_of(vault, row) for row in stored])
    opened = request_of(request, state, records)
    return None if opened is None else Dossier(opened, votes_of(records), records, tuple(people))


def whole_page(
    read: Callable[[int | None, RequestId | None], Sequence[Dossier | RequestId]], limit: int | None, after: RequestId | None
) -> tuple[Dossier, ...]:
    """So many requests behind this one, and fewer only where there are no more: erased ones, of which `read` gives the id, fill no page."""
    found: list[Dossier] = []
    while True:
        wanted = None if limit is None else limit - len(found)
        rows = read(wanted, after)
        found += [row for row in rows if isinstance(row, Dossier)]
        if wanted is None or len(rows) < wanted or len(found) == limit:
            return tuple(found)
        last = rows[-1]
        after = last.request.id if isinstance(last, Dossier) else last


def check_found(found: Dossier, tenant: str, key: str) -> Dossier:
    """The request is the one that was looked for. Raises `IntegrityBroken` where its row stands under another's key."""
    if (found.request.key, found.request.tenant) != (key, tenant):
        raise IntegrityBroken(f"request `{found.request.id}` is kept under the key of another call; run `licet audit verify`")
    return found


def check_plan(found: tuple[Dossier, ...], plan: PlanId) -> tuple[Dossier, ...]:
    """The requests are steps of this plan. Raises `IntegrityBroken` where a row says what its record does not."""
    strange = next((one.request.id for one in found if one.request.plan != plan), None)
    if strange is not None:
        raise IntegrityBroken(f"request `{strange}` is kept under a plan that it is no step of; run `licet audit verify`")
    return found
