"""Requests, votes and plans as they stand in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from licet.approvals.aside import COMMENT_LIMIT
from licet.model import Effect, Obligation, ObligationKind, Receipt, Separation, Target, VoteChannel

State: TypeAlias = Literal["open", "approved", "rejected", "expired", "withdrawn", "consumed", "superseded"]
Verdict: TypeAlias = Literal["approve", "reject"]
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
Binding: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="`binding` of the request that was looked at")]
Comment: TypeAlias = Annotated[str, Meta(max_length=COMMENT_LIMIT)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=200)]
WAIT_LIMIT_S = 60
"""Proxies cut what is silent for longer."""


class ListRequests(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests. `mine`: those on which the person who asks may vote now; of a program, those that it has made."""

    tenant: Id | None = None
    state: tuple[State, ...] = ()
    mine: bool = False
    limit: Limit = 50
    cursor: str | None = None


class OneRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request."""

    id: Id


class OneWait(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request, and how long to wait until it is not open any more."""

    id: Id
    timeout_s: Annotated[float, Meta(ge=0, le=WAIT_LIMIT_S)] = 30.0


class NeedShape(Struct, frozen=True, kw_only=True):
    """What one policy asks of people, who counts toward it so far, and who may still vote."""

    policy: str
    kind: ObligationKind
    group: str | None
    count: int
    reason: str | None
    separation: Separation | None
    voters: tuple[str, ...]
    missing: int
    may_vote: tuple[str, ...]


class VoteShape(Struct, frozen=True, kw_only=True):
    """One person's vote that stands, on what it was cast, and by what they were known then.

    `channel` is `mcp` where a client of the gateway said that its user answered so; null where the voter came to Licet.
    """

    voter: str
    person: str
    verdict: Verdict
    at: datetime
    binding: str
    comment: str | None
    credential: str | None
    operating_user: str | None
    channel: VoteChannel | None


class RequestShape(Struct, frozen=True, kw_only=True):
    """A held call as an approver is shown it.

    `binding` is what a vote is cast on: the exact call (`key`), its preview (`preview_digest`) and each policy (`obligations`).
    `reason` is what the caller wrote, and grants nothing. `why_not` says why the person who asks may not vote on it; None where they may,
    or a program asks. With `passkey`, an approval is signed with a passkey of the voter's, which only the console does; a rejection is not.
    """

    id: str
    tenant: str
    tool: str
    agent: str | None
    service: str | None
    user: str | None
    call: str
    state: State
    opened_at: datetime
    expires_at: datetime
    sentence: str
    arguments: Any
    targets: tuple[Target, ...]
    preview: tuple[Effect, ...] | None
    previewed_by: Literal["tool", "arguments"] | None
    reason: str | None
    changed: str | None
    undoes: str | None
    needs: tuple[NeedShape, ...]
    votes: tuple[VoteShape, ...]
    key: str
    preview_digest: str | None
    obligations: tuple[Obligation, ...]
    binding: str
    passkey: bool
    may_vote: bool
    why_not: str | None
    plan: str | None
    step: int
    steps: int


class RequestPage(Struct, frozen=True, kw_only=True):
    """Requests, the one that expires first first. `next` continues the page; None where nothing is left."""

    requests: tuple[RequestShape, ...]
    next: str | None


class CastVote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vote on exactly what was looked at."""

    verdict: Verdict
    binding: Binding
    comment: Comment | None = None


class TakeBack(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a vote is taken back."""

    comment: Comment | None = None


class Decided(Struct, frozen=True, kw_only=True):
    """The request after what was done, and the receipt of its record."""

    request: RequestShape
    receipt: Receipt


class Waited(Struct, frozen=True, kw_only=True):
    """Where a request stands; `moved` where it is not open any more."""

    id: str
    state: State
    moved: bool


class PlanShape(Struct, frozen=True, kw_only=True):
    """The steps of a plan that people decide on, by their numbers."""

    id: str
    steps: tuple[RequestShape, ...]


class StepVote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vote on one step of a plan."""

    step: Annotated[int, Meta(ge=1)]
    verdict: Verdict
    binding: Binding


class CastPlanVotes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Votes on steps of a plan: all of them are cast, or none."""

    votes: Annotated[tuple[StepVote, ...], Meta(min_length=1, max_length=100)]
    comment: Comment | None = None


class DecidedPlan(Struct, frozen=True, kw_only=True):
    """The plan after the votes, and the receipts of their records in the order of the steps."""

    plan: PlanShape
    receipts: tuple[Receipt, ...]
