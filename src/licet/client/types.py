"""What the API takes and answers with.

Generated from the OpenAPI document by `make clients`: not edited by hand.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class CastPlanVotes(Struct, frozen=True, kw_only=True):
    """Votes on steps of a plan: all of them are cast, or none."""

    votes: tuple[StepVote, ...]
    comment: str | None = None


class CastVote(Struct, frozen=True, kw_only=True):
    """A vote on exactly what was looked at."""

    verdict: Literal["approve", "reject"]
    binding: str
    comment: str | None = None


class Decided(Struct, frozen=True, kw_only=True):
    """The request after what was done, and the receipt of its record."""

    request: RequestShape
    receipt: Receipt


class DecidedPlan(Struct, frozen=True, kw_only=True):
    """The plan after the votes, and the receipts of their records in the order of the steps."""

    plan: PlanShape
    receipts: tuple[Receipt, ...]


class Effect(Struct, frozen=True, kw_only=True):
    """One change: target, field, before, after. JSON values; `before` of something created is None, as is `after` of something removed.

    `before_unknown` says that nobody looked: then `before` says nothing, and the change cannot be undone. It is written only where
    true.
    """

    target: str
    field: str
    before: Any = None
    after: Any = None
    before_unknown: bool | UnsetType = UNSET


class NeedShape(Struct, frozen=True, kw_only=True):
    """What one policy asks of people, who counts toward it so far, and who may still vote."""

    policy: str
    kind: Literal["approval", "confirmation", "preview_only"]
    group: str | None
    count: int
    reason: str | None
    separation: Literal["agent-owner"] | None
    voters: tuple[str, ...]
    missing: int
    may_vote: tuple[str, ...]


class PlanShape(Struct, frozen=True, kw_only=True):
    """The steps of a plan that people decide on, by their numbers."""

    id: str
    steps: tuple[RequestShape, ...]


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """RFC 9457. `type` is a URN of the code; `request_id` finds the request in the log; `errors` say where in the input."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: tuple[str, ...] = ()
    retry_after_s: int | None = None


class Receipt(Struct, frozen=True, kw_only=True):
    """What the caller of Licet gets back for a record: its log, its index there, its RFC 6962 leaf hash (hex)."""

    log: str
    index: int
    leaf: str


class RequestPage(Struct, frozen=True, kw_only=True):
    """Requests, the one that expires first first. `next` continues the page; None where nothing is left."""

    requests: tuple[RequestShape, ...]
    next: str | None


class RequestShape(Struct, frozen=True, kw_only=True):
    """A held call as an approver is shown it.

    `binding` is what a vote is cast on: the exact call, its preview and each policy. `reason` is what the caller wrote, and grants
    nothing. `why_not` says why the person who asks may not vote on it; None where they may, or a program asks.
    """

    id: str
    tenant: str
    tool: str
    agent: str | None
    service: str | None
    user: str | None
    call: str
    state: Literal["approved", "consumed", "expired", "open", "rejected", "superseded", "withdrawn"]
    opened_at: str
    expires_at: str
    sentence: str
    arguments: Any
    targets: tuple[Target, ...]
    preview: tuple[Effect, ...] | None
    previewed_by: Literal["arguments", "tool"] | None
    reason: str | None
    changed: str | None
    undoes: str | None
    needs: tuple[NeedShape, ...]
    votes: tuple[VoteShape, ...]
    binding: str
    may_vote: bool
    why_not: str | None
    plan: str | None
    step: int
    steps: int


class StepVote(Struct, frozen=True, kw_only=True):
    """A vote on one step of a plan."""

    step: int
    verdict: Literal["approve", "reject"]
    binding: str


class TakeBack(Struct, frozen=True, kw_only=True):
    """Why a vote is taken back."""

    comment: str | None = None


class Target(Struct, frozen=True, kw_only=True):
    """A resource that a call acts on, as the resolver described it at `resolve`.

    `attributes` holds only declared attributes, without `tenant` and `environment`, which every target has.
    """

    type: str
    id: str
    tenant: str
    environment: str
    attributes: dict[str, Any] = {}


class VoteShape(Struct, frozen=True, kw_only=True):
    """One person's vote that stands, and by what they were known when they cast it."""

    voter: str
    verdict: Literal["approve", "reject"]
    at: str
    comment: str | None
    credential: str | None
    operating_user: str | None


class Waited(Struct, frozen=True, kw_only=True):
    """Where a request stands; `moved` where it is not open any more."""

    id: str
    state: Literal["approved", "consumed", "expired", "open", "rejected", "superseded", "withdrawn"]
    moved: bool


class WhoAmI(Struct, frozen=True, kw_only=True):
    """Who asks, whom the credential may speak for, and the actions of `licet.cedar` that are permitted, by tenant."""

    method: str
    credential: str
    user: str | None
    tenants: tuple[str, ...]
    agents: tuple[str, ...]
    services: tuple[str, ...]
    users: tuple[str, ...]
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    permitted: dict[str, tuple[str, ...]]
