"""What the API takes and answers with.

Generated from the OpenAPI document by `make clients`: not edited by hand.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class AccessDecision(Struct, frozen=True, kw_only=True):
    """An AuthZEN Decision."""

    decision: bool
    context: dict[str, Any] = {}


class AccessDecisions(Struct, frozen=True, kw_only=True):
    """The answers, in order; fewer than questions where one of them was the last. Without `evaluations` in the body, a `AccessDecision`."""

    evaluations: tuple[AccessDecision, ...] = ()
    decision: bool | UnsetType = UNSET
    context: dict[str, Any] = {}


class AccessQuestions(Struct, frozen=True, kw_only=True):
    """Several questions. The members beside `evaluations` are what holds for those that do not say it themselves."""

    subject: Subject | None = None
    action: Action | None = None
    resource: Resource | None = None
    context: dict[str, Any] | None = None
    evaluations: tuple[dict[str, Any], ...] = ()
    options: Options | UnsetType = UNSET


class Action(Struct, frozen=True, kw_only=True):
    """What would be done: a tool, and arguments among its `properties`."""

    name: str
    properties: dict[str, Any] = {}


class ActionSearch(Struct, frozen=True, kw_only=True):
    """Which actions may this subject do on this resource?"""

    subject: Subject
    resource: Resource
    context: dict[str, Any] = {}
    page: SearchPage | UnsetType = UNSET


class BarShape(Struct, frozen=True, kw_only=True):
    """How many records there were from this hour on; `value` is empty for those that have none."""

    since: str
    value: str
    count: int


class CastPlanVotes(Struct, frozen=True, kw_only=True):
    """Votes on steps of a plan: all of them are cast, or none."""

    votes: tuple[StepVote, ...]
    comment: str | None = None


class CastVote(Struct, frozen=True, kw_only=True):
    """A vote on exactly what was looked at."""

    verdict: Literal["approve", "reject"]
    binding: str
    comment: str | None = None


class Counts(Struct, frozen=True, kw_only=True):
    """All records of each value, most first, and the bars."""

    by: Literal["outcome", "tool", "verdict"]
    totals: dict[str, int]
    bars: tuple[BarShape, ...]


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


class FoundAction(Struct, frozen=True, kw_only=True):
    """An action."""

    name: str


class FoundActions(Struct, frozen=True, kw_only=True):
    """A page of actions."""

    page: FoundPage
    results: tuple[FoundAction, ...]


class FoundEntities(Struct, frozen=True, kw_only=True):
    """A page of subjects or resources."""

    page: FoundPage
    results: tuple[FoundEntity, ...]


class FoundEntity(Struct, frozen=True, kw_only=True):
    """A subject or a resource."""

    type: str
    id: str


class FoundPage(Struct, frozen=True, kw_only=True):
    """`next_token` is empty where there are no more."""

    next_token: str
    count: int


class Inquiry(Struct, frozen=True, kw_only=True):
    """May this subject do this action on this resource? Of `context`, `input`, `session` and `tenant` are read."""

    subject: Subject
    action: Action
    resource: Resource
    context: dict[str, Any] = {}


class Metadata(Struct, frozen=True, kw_only=True):
    """AuthZEN PDP metadata."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str


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


class Options(Struct, frozen=True, kw_only=True):
    """How several evaluations are executed."""

    evaluations_semantic: Literal["deny_on_first_deny", "execute_all", "permit_on_first_permit"] = "execute_all"


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


class RecordPage(Struct, frozen=True, kw_only=True):
    """Records, the newest first. `next` continues the page; None where nothing is left. A page may be short and go on all the same."""

    records: tuple[RecordShape, ...]
    next: str | None


class RecordShape(Struct, frozen=True, kw_only=True):
    """A record: where it is, the hash of its exact bytes, what it says in a sentence, and its envelope and payload as they were written.

    `payload` is null where it cannot be opened, which `closed` explains, and where it was not asked for.
    """

    place: str
    log: str
    index: int
    leaf: str
    id: str
    kind: str
    at: str
    call: str | None
    sentence: str
    envelope: Any
    payload: Any
    closed: Literal["damaged", "erased", "locked"] | None


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


class Resource(Struct, frozen=True, kw_only=True):
    """What it would be done to."""

    type: str
    id: str
    properties: dict[str, Any] = {}


class ResourceSearch(Struct, frozen=True, kw_only=True):
    """On which resources of a type may this subject do this action?"""

    subject: Subject
    action: Action
    resource: SoughtResource
    context: dict[str, Any] = {}
    page: SearchPage | UnsetType = UNSET


class SearchPage(Struct, frozen=True, kw_only=True):
    """Which part of the results. `token` is the `next_token` of the page before; all else must then be as it was."""

    token: str | None = None
    limit: int | None = None


class SoughtResource(Struct, frozen=True, kw_only=True):
    """What a search looks for: resources of this type."""

    type: str
    properties: dict[str, Any] = {}


class SoughtSubject(Struct, frozen=True, kw_only=True):
    """Whom a search looks for: subjects of this type."""

    type: str
    properties: dict[str, Any] = {}


class StepVote(Struct, frozen=True, kw_only=True):
    """A vote on one step of a plan."""

    step: int
    verdict: Literal["approve", "reject"]
    binding: str


class Story(Struct, frozen=True, kw_only=True):
    """Every record of a call, of its requests and of what has undone it, in order of time."""

    call: str | None
    records: tuple[RecordShape, ...]


class Subject(Struct, frozen=True, kw_only=True):
    """Who would act: a user, an agent or a service. Of `properties`, `tenant`, `agent`, `service` and `on_behalf_of` are read."""

    type: str
    id: str
    properties: dict[str, Any] = {}


class SubjectSearch(Struct, frozen=True, kw_only=True):
    """Which subjects of a type may do this action on this resource?"""

    subject: SoughtSubject
    action: Action
    resource: Resource
    context: dict[str, Any] = {}
    page: SearchPage | UnsetType = UNSET


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
