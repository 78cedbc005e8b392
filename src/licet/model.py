"""The words of Licet as values: what is proposed, decided, changed and recorded.

Everything here is frozen. A value that one room hands to another is never changed afterwards, so it can be
decided on, executed and recorded by three rooms and still be the same value.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NewType, TypeAlias

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import force_setattr

CallId = NewType("CallId", str)
"""Names one proposed use of a tool. Time-ordered, unique across processes."""

RequestId = NewType("RequestId", str)
"""Names one approval request."""

PlanId = NewType("PlanId", str)
"""Names one run of a plan: a list of calls proposed at once."""

Access = Literal["read", "write", "destructive"]
Touch = Literal["money", "access", "production", "customers"]
Verdict = Literal["allow", "deny", "hold"]
PrincipalKind = Literal["User", "Agent", "Service"]
ObligationKind = Literal["approval", "confirmation", "preview_only"]
Separation = Literal["agent-owner"]
VoteChannel = Literal["mcp"]
OutcomeStatus = Literal["ok", "error", "timeout", "not_executed", "unknown"]
UNSEEN: frozenset[str] = frozenset({"timeout", "unknown"})
"""Statuses of an outcome that nobody saw."""

OPERATOR_LOG = "operator"
"""The log of everything that belongs to no tenant. No tenant may take this name."""

JsonObject: TypeAlias = dict[str, Any]


class EntityRef(Struct, frozen=True, gc=False, order=True):
    """A type and an id, written `Type::"id"` as Cedar does."""

    type: str
    id: str

    def __str__(self) -> str:
        escaped = self.id.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.type}::"{escaped}"'


class Caller(Struct, frozen=True, kw_only=True):
    """Who calls: a tenant, an agent or a service, and the user it acts for, if any.

    It comes from the host program or from a verified credential, never from anything a model writes. `roles` are those that the verified
    credential gives its user beside the directory's.
    """

    tenant: str
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    roles: tuple[str, ...] = ()

    @property
    def whoever_shows(self) -> Caller:
        """The same caller by whatever credential: what sessions and requests are bound to."""
        return Caller(tenant=self.tenant, agent=self.agent, service=self.service, user=self.user) if self.roles else self


class Trace(Struct, frozen=True, kw_only=True):
    """Where a call stands in a larger piece of work (W3C trace ids as lower-case hex)."""

    trace_id: str | None = None
    span_id: str | None = None
    parent: str | None = None
    workflow: str | None = None


class Principal(Struct, frozen=True, gc=False, kw_only=True):
    """One link of the caller as policy sees it: a `User`, an `Agent` or a `Service` with its roles and groups.

    `given` are those of its roles that the directory does not give it, but the credential that was shown. It is written only where
    there are any.
    """

    kind: PrincipalKind
    id: str
    tenant: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    given: tuple[str, ...] | UnsetType = UNSET

    @property
    def ref(self) -> EntityRef:
        """The principal's type and id."""
        return EntityRef(self.kind, self.id)


class Target(Struct, frozen=True, gc=False, kw_only=True):
    """A resource that a call acts on, as the resolver described it at `resolve`.

    `attributes` holds only declared attributes, without `tenant` and `environment`, which every target has.
    """

    type: str
    id: str
    tenant: str
    environment: str
    attributes: JsonObject = {}

    @property
    def ref(self) -> EntityRef:
        """The target's type and id."""
        return EntityRef(self.type, self.id)


class ToolCall(Struct, frozen=True, kw_only=True):
    """One proposed use of a tool. `arguments` are the canonical JSON bytes that are decided on, executed and recorded."""

    id: CallId
    tool: str
    caller: Caller
    environment: str
    arguments: bytes
    reason: str | None = None
    session: str | None = None
    trace: Trace = Trace()
    idempotency_key: str | None = None


class DecidingPolicy(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A policy that decided, where it stands, and for which principal and target it did."""

    id: str
    effect: Literal["permit", "forbid"]
    file: str
    line: int
    principal: str
    target: str
    reason: str | None = None


class Obligation(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What must happen before a held call may run, and the conditional policy that says so.

    A vote discharges it only for this `policy`, this `policy_digest` (SHA-256 of the policy's text, hex) and this `principal`.
    `expires_s` is how long a request for it can be used at most; `separation` names who beside the requester may not vote on it.
    """

    kind: ObligationKind
    policy: str
    policy_digest: str
    principal: str
    count: int = 1
    group: str | None = None
    reason: str | None = None
    expires_s: int | None = None
    separation: Separation | None = None


class Decision(Struct, frozen=True, gc=False, kw_only=True):
    """Allow, deny or hold, with what decided it.

    `code` is stable and for programs (`allowed`, `no_permit`, `forbidden`, `policy_error`, `unknown_tool` ...); `message` is for people.
    """

    verdict: Verdict
    code: str
    message: str
    policies: tuple[DecidingPolicy, ...] = ()
    obligations: tuple[Obligation, ...] = ()


class Effect(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """One change: target, field, before, after. JSON values; `before` of something created is None, as is `after` of something removed.

    `before_unknown` says that nobody looked: then `before` says nothing, and the change cannot be undone. It is written only where true.
    """

    target: str
    field: str
    before: Any = None
    after: Any = None
    before_unknown: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        if not self.before_unknown:
            force_setattr(self, "before_unknown", UNSET)

    @property
    def has_before(self) -> bool:
        """Whether it is known what was there before, be it nothing."""
        return self.before_unknown is UNSET

    def reversed(self) -> Effect:
        """The change that takes this one back."""
        return Effect(target=self.target, field=self.field, before=self.after, after=self.before)


class Outcome(Struct, frozen=True, gc=False, kw_only=True):
    """What became of an intent. `result` is JSON bytes or None; `code` is an error class, never a secret.

    `detail` says what `result` leaves out: the size and salted digest of a result that was not kept. `reported` counts the effects, those
    that were too many to keep included. `as_previewed` says whether they are what was approved; None where that cannot be said.
    """

    status: OutcomeStatus
    code: str | None = None
    message: str | None = None
    duration_us: int | None = None
    result: Raw | None = None
    effects: tuple[Effect, ...] = ()
    detail: JsonObject | None = None
    reported: int = 0
    as_previewed: bool | None = None


class Receipt(Struct, frozen=True, gc=False):
    """What the caller of Licet gets back for a record: its log, its index there, its RFC 6962 leaf hash (hex)."""

    log: str
    index: int
    leaf: str


class RequestState(StrEnum):
    """The states of an approval request; `approvals/states.py` holds the one table of moves between them."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    CONSUMED = "consumed"
    SUPERSEDED = "superseded"


LIVE_STATES = frozenset({RequestState.OPEN, RequestState.APPROVED})
"""At most one request per key is in one of these."""


class Request(Struct, frozen=True, kw_only=True):
    """One held call waiting for people. `key` binds it to the exact call; `call` is the call that opened it.

    `preview_digest` is the SHA-256 (hex) of the preview that is voted on.
    `summary` is what an approver is shown: JSON bytes of the call as it was held (arguments, targets, preview, reason).
    A request that is one step of a plan says of which `plan`, which `step` (from 1), and of how many `steps`. `passkey` says that approvals
    need one: it is written only then.
    """

    id: RequestId
    key: str
    tenant: str
    tool: str
    agent: str | None
    service: str | None
    user: str | None
    call: CallId
    state: RequestState
    opened_at: datetime
    expires_at: datetime
    obligations: tuple[Obligation, ...]
    preview_digest: str | None
    summary: Raw
    plan: PlanId | None = None
    step: int = 0
    steps: int = 0
    passkey: bool | UnsetType = UNSET


def asker_of(request: Request) -> str:
    """The caller of a request as one text: tenant, agent, service and user."""
    return "\0".join([request.tenant, request.agent or "", request.service or "", request.user or ""])


class Passkey(Struct, frozen=True, kw_only=True):
    """A public key of one person, as an authenticator made it for one origin (WebAuthn). `id` and `key` (COSE) are base64url, unpadded."""

    id: str
    key: str
    rp_id: str
    origin: str


class Assertion(Struct, frozen=True, kw_only=True):
    """What somebody signed with a passkey when they voted (ledger/passkeys.py says what was signed, and checks it).

    `credential` is the id under which the passkey was registered, `passkey` the passkey as it was then. What the authenticator gave is
    base64url, unpadded. `votes` are the digests (SHA-256, hex) of all votes that were signed together, this one's among them.
    """

    credential: str
    passkey: Passkey
    authenticator_data: str
    client_data: str
    signature: str
    votes: tuple[str, ...]


class Vote(Struct, frozen=True, kw_only=True):
    """One person's decision on a request, all of it as it was shown.

    `person` tells people apart where one person has several user ids. `binding` is the SHA-256 (hex) of what was voted on: request key,
    preview digest and obligations (each with its policy's text digest and the principal it fired for). `credential` is the id of the
    credential that the voter showed; `operating_user` the operating system's user who cast the vote on a local store, where none was shown.
    `channel` says through what the vote came where the voter did not come to Licet themselves (`mcp`: a client of the gateway said that its
    user answered so): it is written only then. `assertion` is what the voter signed it with, where they signed.
    """

    request: RequestId
    voter: str
    person: str
    verdict: Literal["approve", "reject"]
    at: datetime
    binding: str
    comment: str | None = None
    operating_user: str | None = None
    credential: str | None = None
    channel: VoteChannel | UnsetType = UNSET
    assertion: Assertion | UnsetType = UNSET


class TakenBack(Struct, frozen=True, kw_only=True):
    """A vote that does not stand any more: its voter took it back, or the directory took them out of every group that is asked."""

    request: RequestId
    voter: str
    person: str
    by: Literal["voter", "directory"]
    at: datetime
    comment: str | None = None
    operating_user: str | None = None
    credential: str | None = None
