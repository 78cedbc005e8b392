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


class Agent(Struct, frozen=True, kw_only=True):
    """A program that a model drives. `owner` is the user who answers for it."""

    tenants: tuple[str, ...]
    roles: tuple[str, ...] = ()
    acts_for: Literal["both", "self", "user"] = "user"
    owner: str | None = None


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


class CheckpointShape(Struct, frozen=True, kw_only=True):
    """The newest checkpoint: a C2SP signed note, and what it says."""

    origin: str
    size: int
    root: str
    note: str


class Counts(Struct, frozen=True, kw_only=True):
    """All records of each value, most first, and the bars."""

    by: Literal["outcome", "tool", "verdict"]
    totals: dict[str, int]
    bars: tuple[BarShape, ...]


class CredentialList(Struct, frozen=True, kw_only=True):
    """A page of keys, the oldest first, those that have ended included; `next` is the cursor of the page behind it."""

    credentials: tuple[CredentialSeen, ...]
    next: str | None = None


class CredentialSeen(Struct, frozen=True, kw_only=True):
    """A key as it stands: what it is for, and until when. `broken`: its row is not what was issued, and it is refused."""

    id: str
    name: str
    kind: Literal["key", "link", "passkey", "session"]
    state: Literal["active", "broken", "ended", "ending", "expired"]
    tenants: tuple[str, ...]
    agents: tuple[str, ...]
    services: tuple[str, ...]
    users: tuple[str, ...]
    user: str | None
    roles: tuple[str, ...]
    replaces: str | None
    created_at: str
    expires_at: str | None
    ends_at: str | None
    last_used_at: str | None


class Decided(Struct, frozen=True, kw_only=True):
    """The request after what was done, and the receipt of its record."""

    request: RequestShape
    receipt: Receipt


class DecidedPlan(Struct, frozen=True, kw_only=True):
    """The plan after the votes, and the receipts of their records in the order of the steps."""

    plan: PlanShape
    receipts: tuple[Receipt, ...]


class DecidingPolicy(Struct, frozen=True, kw_only=True):
    """A policy that decided, where it stands, and for which principal and target it did."""

    id: str
    effect: Literal["forbid", "permit"]
    file: str
    line: int
    principal: str
    target: str
    reason: str | None = None


class Decision(Struct, frozen=True, kw_only=True):
    """Allow, deny or hold, with what decided it.

    `code` is stable and for programs (`allowed`, `no_permit`, `forbidden`, `policy_error`, `unknown_tool` ...); `message` is for
    people.
    """

    verdict: Literal["allow", "deny", "hold"]
    code: str
    message: str
    policies: tuple[DecidingPolicy, ...] = ()
    obligations: tuple[Obligation, ...] = ()


class DirectoryShape(Struct, frozen=True, kw_only=True):
    """Who there is. `version` names the whole directory; None where not all of it is shown."""

    version: str | None
    tenants: tuple[str, ...]
    agents: dict[str, Agent]
    services: dict[str, Service]
    users: dict[str, User]
    groups: dict[str, Group]
    roles: tuple[str, ...]


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


class Erased(Struct, frozen=True, kw_only=True):
    """What an erasure has done: `payloads` destroyed in these `logs`, `requests` withdrawn, `credentials` cleared or revoked.

    `open_calls` are calls about the subject that had begun: what they still record is recorded under a new pseudonym.
    """

    log: str
    target: str
    payloads: int
    logs: tuple[str, ...]
    requests: tuple[str, ...]
    open_calls: int
    receipt: Receipt
    credentials: tuple[str, ...] = ()


class ErasedSubject(Struct, frozen=True, kw_only=True):
    """Whom to forget: a type and an id, such as `Customer` and `C-412`, or `User` and `alice`."""

    tenant: str
    type: str
    id: str
    reason: str


class Forgotten(Struct, frozen=True, kw_only=True):
    """What was done. `rewritten`: all pages were written anew; with that, `bytes_gone` says that no file holds what was erased.

    `index` says what kept the search index from forgetting now; None where it has forgotten.
    """

    erased: Erased
    rewritten: bool
    bytes_gone: bool
    index: str | None


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


class Freezes(Struct, frozen=True, kw_only=True):
    """A page of what is stopped, the oldest first; `next` is the cursor of the page behind it."""

    freezes: tuple[StandingFreeze, ...]
    next: str | None = None


class Group(Struct, frozen=True, kw_only=True):
    """People who may approve, named by policies. Scope `operator`: on requests of every tenant."""

    members: tuple[str, ...]
    scope: Literal["operator", "tenant"] = "tenant"


class HeldSubject(Struct, frozen=True, kw_only=True):
    """What must stay: a subject by type and id, or everything in the log of the tenant where both are left out."""

    tenant: str
    reason: str
    type: str | None = None
    id: str | None = None


class HiddenTool(Struct, frozen=True, kw_only=True):
    """A tool that is not shown: by which code a call of it would be denied, and why."""

    name: str
    code: str
    why: str


class HoldShape(Struct, frozen=True, kw_only=True):
    """A hold that stands. `target` is a type and a pseudonym; None for everything in the log."""

    id: str
    log: str
    target: str | None
    since: str


class Holds(Struct, frozen=True, kw_only=True):
    """A page of the holds that stand, the oldest first; `next` is the cursor of the page behind it."""

    holds: tuple[HoldShape, ...]
    next: str | None = None


class Inquiry(Struct, frozen=True, kw_only=True):
    """May this subject do this action on this resource? Of `context`, `input`, `session` and `tenant` are read."""

    subject: Subject
    action: Action
    resource: Resource
    context: dict[str, Any] = {}


class IssueCredential(Struct, frozen=True, kw_only=True):
    """For whom a key is: programs (`agents`, `services`, and `users` on whose behalf they act), or the person who asks (`user`)."""

    name: str
    tenants: tuple[str, ...]
    expires_s: int
    agents: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    user: str | None = None
    roles: tuple[str, ...] = ()


class IssuedKey(Struct, frozen=True, kw_only=True):
    """A new key, which nobody will be shown again, with the receipt of its record. `repr` says nothing of the key."""

    credential: CredentialSeen
    key: str
    receipt: Receipt


class KeptCheckpoint(Struct, frozen=True, kw_only=True):
    """A signed note that was kept from earlier."""

    note: str


class LiftFreeze(Struct, frozen=True, kw_only=True):
    """Why it is lifted."""

    reason: str


class Lifted(Struct, frozen=True, kw_only=True):
    """What a lift has done: what stood until now, who lifted it, and the receipt. `still` are the freezes of the same thing that stand."""

    freeze: StandingFreeze
    by: tuple[str, ...]
    still: tuple[str, ...]
    receipt: Receipt


class Metadata(Struct, frozen=True, kw_only=True):
    """AuthZEN PDP metadata."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str


class NearMiss(Struct, frozen=True, kw_only=True):
    """A permit that did not match, and its parts that were false: parts of the scope as they would be written, conditions as they are."""

    policy: str
    file: str
    line: int
    failed: tuple[str, ...]


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


class PlaceFreeze(Struct, frozen=True, kw_only=True):
    """What is to stop, and why. `tenant` narrows it to one tenant's calls; `anyway` freezes a name that nobody knows."""

    scope: Literal["agent", "all", "service", "session", "tenant", "tool"]
    reason: str
    name: str | None = None
    tenant: str | None = None
    anyway: bool = False


class PlanShape(Struct, frozen=True, kw_only=True):
    """The steps of a plan that people decide on, by their numbers."""

    id: str
    steps: tuple[RequestShape, ...]


class Policies(Struct, frozen=True, kw_only=True):
    """What decides: `scene` names all of it, `bundle` the policies and `schema` what they are checked against (SHA-256, hex)."""

    environment: str
    scene: str
    bundle: str
    schema: str
    catalog: str
    directory: str
    policies: tuple[PolicyShape, ...]


class PolicyShape(Struct, frozen=True, kw_only=True):
    """One policy, where it stands, and its exact text."""

    id: str
    effect: Literal["forbid", "permit"]
    file: str
    line: int
    text: str
    digest: str
    reason: str | None
    annotations: dict[str, str]


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


class ProblemFound(Struct, frozen=True, kw_only=True):
    """Something in the log that is not what was written."""

    log: str | None
    index: int | None
    message: str


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


class ProposedBundle(Struct, frozen=True, kw_only=True):
    """Texts of policies by their file names, all of them; with `licet.cedar`, where that is to be looked at too."""

    files: dict[str, str]


class ProtectedResource(Struct, frozen=True, kw_only=True):
    """RFC 9728, 2. `resource` is what a client names when it asks its authorization server for a token (RFC 8707)."""

    resource: str
    authorization_servers: tuple[str, ...]
    scopes_supported: tuple[str, ...]
    bearer_methods_supported: tuple[str, ...] | UnsetType = UNSET
    resource_name: str = "Licet gateway"


class Reasons(Struct, frozen=True, kw_only=True):
    """Why a decision is what it is. `unpermitted` has the nearest permit of each pair that none matches, `texts` the deciding policies."""

    decision: Decision
    unpermitted: tuple[Why, ...] = ()
    shut: tuple[Shut, ...] = ()
    errors: tuple[str, ...] = ()
    texts: dict[str, str] = {}
    record: str | None = None
    note: str | None = None


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


class Released(Struct, frozen=True, kw_only=True):
    """Why it is released."""

    reason: str


class Reloaded(Struct, frozen=True, kw_only=True):
    """A reload that succeeded: `digest` names what is in force, `bundle` its policies; whether it differs from before."""

    digest: str
    bundle: str
    changed: bool
    votes_taken_back: int


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
    may, or a program asks. With `passkey`, an approval is signed with a passkey of the voter's, which only the console does; a
    rejection is not.
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
    passkey: bool
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


class RevokeCredential(Struct, frozen=True, kw_only=True):
    """Why it ends."""

    reason: str


class Revoked(Struct, frozen=True, kw_only=True):
    """A key that ends now, and the receipt of the record that says so."""

    credential: CredentialSeen
    receipt: Receipt


class RotateCredential(Struct, frozen=True, kw_only=True):
    """How long the old key goes on, and how long the new one is good; as long as the old one was where that is left out."""

    overlap_s: int = 86400
    expires_s: int | None = None


class SearchPage(Struct, frozen=True, kw_only=True):
    """Which part of the results. `token` is the `next_token` of the page before; all else must then be as it was."""

    token: str | None = None
    limit: int | None = None


class Service(Struct, frozen=True, kw_only=True):
    """A program that no model drives; it acts for itself or for a user."""

    tenants: tuple[str, ...]
    roles: tuple[str, ...] = ()


class SettleCall(Struct, frozen=True, kw_only=True):
    """How the call is held to have ended, and how that is known."""

    status: Literal["error", "not_executed", "ok"]
    reason: str


class Settled(Struct, frozen=True, kw_only=True):
    """What a settlement has done: how the call is held to have ended, who said so, and the receipt of its record."""

    call: str
    tenant: str
    status: Literal["error", "not_executed", "ok"]
    by: Literal["person", "probe"]
    receipt: Receipt


class ShownTools(Struct, frozen=True, kw_only=True):
    """What a caller is shown, and what it is not."""

    shown: tuple[str, ...]
    hidden: tuple[HiddenTool, ...]


class Shut(Struct, frozen=True, kw_only=True):
    """A principal that no permit about the tool is for: each such permit, its place, and whom it is for."""

    principal: str
    policy: str
    file: str
    line: int
    scope: str


class SoughtResource(Struct, frozen=True, kw_only=True):
    """What a search looks for: resources of this type."""

    type: str
    properties: dict[str, Any] = {}


class SoughtSubject(Struct, frozen=True, kw_only=True):
    """Whom a search looks for: subjects of this type."""

    type: str
    properties: dict[str, Any] = {}


class StandingFreeze(Struct, frozen=True, kw_only=True):
    """A freeze that stands. `tenant` is None where it is of every tenant, `name` where it is of everything.

    `by` is the user of the directory in whose name it was placed, if there was one; beside it stands either the `credential` that was
    shown or `operating_user`, who ran the process. All of them and `reason` are None where its record cannot be opened: it was erased,
    or there is no key.
    """

    id: str
    scope: Literal["agent", "all", "service", "session", "tenant", "tool"]
    name: str | None
    tenant: str | None
    since: str
    reason: str | None
    by: str | None
    operating_user: str | None
    what: str
    credential: str | None = None


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


class ToolShape(Struct, frozen=True, kw_only=True):
    """A tool as it can be called. `definition` is the digest that decisions and records name."""

    name: str
    access: Literal["destructive", "read", "write"]
    touches: tuple[str, ...]
    description: str
    input_schema: dict[str, Any]
    targets: tuple[str, ...]
    timeout_s: float | None
    definition: str


class Tools(Struct, frozen=True, kw_only=True):
    """Every tool, by name."""

    catalog: str
    tools: tuple[ToolShape, ...]


class UnknownCall(Struct, frozen=True, kw_only=True):
    """A call that ended without anybody seeing how. `at` is when it was begun, `ended_at` when its end was given up.

    People and targets are readable where the intent's payload is; otherwise `closed` says why not, and they stand by pseudonym.
    `has_probe` is None where the application's tools are not known.
    """

    call: str
    tenant: str
    tool: str
    at: str
    ended_at: str
    agent: str | None
    service: str | None
    user: str | None
    targets: tuple[str, ...]
    status: str
    code: str
    closed: Literal["", "damaged", "erased", "locked"]
    has_probe: bool | None


class UnknownCalls(Struct, frozen=True, kw_only=True):
    """A page of the calls, the one that was begun first first; `next` is the cursor of the page behind it."""

    calls: tuple[UnknownCall, ...]
    next: str | None = None


class User(Struct, frozen=True, kw_only=True):
    """A person's id. Ids with the same `person` are one person."""

    tenants: tuple[str, ...]
    roles: tuple[str, ...] = ()
    person: str
    disabled: bool = False


class Validated(Struct, frozen=True, kw_only=True):
    """Whether the bundle would load under the catalog and directory of now, and everything that is wrong with it."""

    loads: bool
    bundle: str | None
    problems: tuple[str, ...]


class Verified(Struct, frozen=True, kw_only=True):
    """A verification of the whole ledger. `sound`: nothing was found; at most 100 problems are listed of `problem_count`."""

    sound: bool
    records: int
    logs: int
    erased: int
    locked: int
    problem_count: int
    problems: tuple[ProblemFound, ...]


class VoteShape(Struct, frozen=True, kw_only=True):
    """One person's vote that stands, on what it was cast, and by what they were known then.

    `channel` is `mcp` where a client of the gateway said that its user answered so; null where the voter came to Licet.
    """

    voter: str
    person: str
    verdict: Literal["approve", "reject"]
    at: str
    binding: str
    comment: str | None
    credential: str | None
    operating_user: str | None
    channel: Literal["mcp"] | None


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


class Why(Struct, frozen=True, kw_only=True):
    """One principal and target that no policy permits. `nearest` is None where no permit is about the tool at all."""

    principal: str
    target: str
    nearest: NearMiss | None
