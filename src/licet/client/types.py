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


class CallAnswer(Struct, frozen=True, kw_only=True):
    """What became of a proposal.

    With `allow` the call may be executed now, once, with exactly these `arguments`, and must be reported until `report_by`. With `hold`
    people decide on `request`; the same call, proposed again, goes on. With `repeat` the idempotency key was used before: `end` is how
    the call `repeats` ended, as far as that is known, and nothing may be executed. `code` and `message` say why; `receipt` is of the
    record. Of a `dry_run` there is no `call`: nothing may be executed.
    """

    call: str | None = None
    decision: Literal["allow", "deny", "hold", "repeat"]
    code: str
    message: str
    policies: tuple[str, ...] = ()
    obligations: tuple[ObligationShape, ...] = ()
    receipt: Receipt | None = None
    arguments: Any | UnsetType = UNSET
    report_by: str | None = None
    request: str | None = None
    preview: tuple[Effect, ...] | None = None
    repeats: str | None = None
    end: EndShape | None = None


class CallShape(Struct, frozen=True, kw_only=True):
    """Where a call stands, by its records."""

    call: str
    state: Literal["denied", "ended", "held", "open", "unknown"]
    tenant: str
    agent: str | None
    service: str | None
    user: str | None
    tool: str
    decision: Literal["allow", "deny", "hold"]
    code: str
    message: str
    request: str | None
    report_by: str | None
    end: EndShape | None
    receipts: tuple[Receipt, ...]


class CallerNamed(Struct, frozen=True, kw_only=True):
    """As whom a call is made: a selection among those that the credential speaks for. What is left out is the only one that there is."""

    tenant: str | None = None
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None


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


class EffectReported(Struct, frozen=True, kw_only=True):
    """One change that was made. Without `before` nobody knows what was there, and the call cannot be undone."""

    target: str
    field: str
    before: Any | UnsetType = UNSET
    after: Any = None


class EndReported(Struct, frozen=True, kw_only=True):
    """The report is in the log. `late`: its time was over, and that nobody saw the end stands before it. `repeated`: it was there before.

    `as_previewed` says whether the effects are those that people approved; null where that cannot be said.
    """

    call: str
    status: Literal["error", "not_executed", "ok", "timeout", "unknown"]
    receipt: Receipt
    late: bool
    repeated: bool
    as_previewed: bool | None


class EndShape(Struct, frozen=True, kw_only=True):
    """How a call ended, as it was reported. `result` is there where one was kept."""

    status: Literal["error", "not_executed", "ok", "timeout", "unknown"]
    code: str | None = None
    message: str | None = None
    result: Any = None
    effects: tuple[Effect, ...] = ()
    as_previewed: bool | None = None


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


class Obligation(Struct, frozen=True, kw_only=True):
    """What must happen before a held call may run, and the conditional policy that says so.

    A vote discharges it only for this `policy`, this `policy_digest` (SHA-256 of the policy's text, hex) and this `principal`.
    `expires_s` is how long a request for it can be used at most; `separation` names who beside the requester may not vote on it.
    """

    kind: Literal["approval", "confirmation", "preview_only"]
    policy: str
    policy_digest: str
    principal: str
    count: int = 1
    group: str | None = None
    reason: str | None = None
    expires_s: int | None = None
    separation: Literal["agent-owner"] | None = None


class ObligationShape(Struct, frozen=True, kw_only=True):
    """What must happen before a held call is permitted."""

    kind: Literal["approval", "confirmation", "preview_only"]
    policy: str
    count: int
    group: str | None
    reason: str | None


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


class ProposeCall(Struct, frozen=True, kw_only=True):
    """A call that whoever proposes it executes, where it is permitted.

    `reason` and `workflow` are recorded as claims, and grant nothing. `wait_s` is how long the answer may wait for people. With
    `dry_run` the decision is told; nothing is recorded, nobody is asked and nothing may be executed.
    """

    tool: str
    arguments: dict[str, Any] = {}
    caller: CallerNamed | UnsetType = UNSET
    reason: str | None = None
    workflow: str | None = None
    idempotency_key: str | None = None
    wait_s: float = 0.0
    dry_run: bool = False


class ProposeUndo(Struct, frozen=True, kw_only=True):
    """The reverse of a call, to be executed by whoever proposes it."""

    caller: CallerNamed | UnsetType = UNSET
    reason: str | None = None
    wait_s: float = 0.0


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


class ReportEnd(Struct, frozen=True, kw_only=True):
    """How a call ended. `result` is of one that ended well; `code` is a short name of what went wrong, never a secret."""

    status: Literal["error", "not_executed", "ok", "timeout", "unknown"]
    result: Any | UnsetType = UNSET
    code: str | None = None
    message: str | None = None
    effects: tuple[EffectReported, ...] = ()
    duration_us: int | None = None


class RequestPage(Struct, frozen=True, kw_only=True):
    """Requests, the one that expires first first. `next` continues the page; None where nothing is left."""

    requests: tuple[RequestShape, ...]
    next: str | None


class RequestShape(Struct, frozen=True, kw_only=True):
    """A held call as an approver is shown it.

    `binding` is what a vote is cast on: the exact call (`key`), its preview (`preview_digest`) and each policy (`obligations`).
    `reason` is what the caller wrote, and grants nothing. `why_not` says why the person who asks may not vote on it; None where they
    may, or a program asks.
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
    key: str
    preview_digest: str | None
    obligations: tuple[Obligation, ...]
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
    """One person's vote that stands, on what it was cast, and by what they were known then."""

    voter: str
    person: str
    verdict: Literal["approve", "reject"]
    at: str
    binding: str
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
