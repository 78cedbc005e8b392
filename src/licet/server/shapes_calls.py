"""Calls that somebody else executes, as they stand in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from licet.gate.text import KEY_LIMIT
from licet.model import Effect, JsonObject, ObligationKind, Receipt

Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Text: TypeAlias = Annotated[str, Meta(max_length=10_000)]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=KEY_LIMIT)]
CallDecision: TypeAlias = Literal["allow", "deny", "hold", "repeat"]
CallState: TypeAlias = Literal["denied", "held", "open", "ended", "unknown"]
EndStatus: TypeAlias = Literal["ok", "error", "timeout", "not_executed", "unknown"]
WAIT_LIMIT_S = 60
"""Proxies cut what is silent for longer."""
EFFECTS_LIMIT = 10_000
LONGEST_US = 2**53 - 1


class OneCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call."""

    id: Id


class CallerNamed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As whom a call is made: a selection among those that the credential speaks for. What is left out is the only one that there is."""

    tenant: Name | None = None
    agent: Name | None = None
    service: Name | None = None
    user: Name | None = None
    session: Name | None = None


NOBODY_NAMED = CallerNamed()


class ProposeCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call that whoever proposes it executes, where it is permitted.

    `reason` and `workflow` are recorded as claims, and grant nothing. `wait_s` is how long the answer may wait for people. With `dry_run`
    the decision is told; nothing is recorded, nobody is asked and nothing may be executed.
    """

    tool: Annotated[str, Meta(min_length=1, max_length=1_000)]
    arguments: JsonObject = {}
    caller: CallerNamed = NOBODY_NAMED
    reason: Text | None = None
    workflow: Name | None = None
    idempotency_key: Key | None = None
    wait_s: Annotated[float, Meta(ge=0, le=WAIT_LIMIT_S)] = 0.0
    dry_run: bool = False


class ProposeUndo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reverse of a call, to be executed by whoever proposes it."""

    caller: CallerNamed = NOBODY_NAMED
    reason: Text | None = None
    wait_s: Annotated[float, Meta(ge=0, le=WAIT_LIMIT_S)] = 0.0


class ObligationShape(Struct, frozen=True, kw_only=True):
    """What must happen before a held call is permitted."""

    kind: ObligationKind
    policy: str
    count: int
    group: str | None
    reason: str | None


class EndShape(Struct, frozen=True, kw_only=True):
    """How a call ended, as it was reported. `result` is there where one was kept."""

    status: EndStatus
    code: str | None = None
    message: str | None = None
    result: Any = None
    effects: tuple[Effect, ...] = ()
    as_previewed: bool | None = None


class CallAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a proposal.

    With `allow` the call may be executed now, once, with exactly these `arguments`, and must be reported until `report_by`. With `hold`
    people decide on `request`; the same call, proposed again, goes on. With `repeat` the idempotency key was used before: `end` is how the
    call `repeats` ended, as far as that is known, and nothing may be executed. `code` and `message` say why; `receipt` is of the record.
    Of a `dry_run` there is no `call`: nothing may be executed.
    """

    call: str | None = None
    decision: CallDecision
    code: str
    message: str
    policies: tuple[str, ...] = ()
    obligations: tuple[ObligationShape, ...] = ()
    receipt: Receipt | None = None
    arguments: Raw | UnsetType = UNSET
    report_by: datetime | None = None
    request: str | None = None
    preview: tuple[Effect, ...] | None = None
    repeats: str | None = None
    end: EndShape | None = None


class EffectReported(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change that was made. Without `before` nobody knows what was there, and the call cannot be undone."""

    target: Annotated[str, Meta(min_length=1, max_length=1_024)]
    field: Annotated[str, Meta(min_length=1, max_length=1_024)]
    before: Any = UNSET
    after: Any = None


class ReportEnd(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a call ended. `result` is of one that ended well; `code` is a short name of what went wrong, never a secret."""

    status: EndStatus
    result: Any = UNSET
    code: Annotated[str, Meta(max_length=64, pattern="^[A-Za-z_][A-Za-z0-9_.:-]*$")] | None = None
    message: Text | None = None
    effects: Annotated[tuple[EffectReported, ...], Meta(max_length=EFFECTS_LIMIT)] = ()
    duration_us: Annotated[int, Meta(ge=0, le=LONGEST_US)] | None = None


class EndReported(Struct, frozen=True, kw_only=True):
    """The report is in the log. `late`: its time was over, and that nobody saw the end stands before it. `repeated`: it was there before.

    `as_previewed` says whether the effects are those that people approved; null where that cannot be said.
    """

    call: str
    status: EndStatus
    receipt: Receipt
    late: bool
    repeated: bool
    as_previewed: bool | None


class CallShape(Struct, frozen=True, kw_only=True):
    """Where a call stands, by its records."""

    call: str
    state: CallState
    tenant: str
    agent: str | None
    service: str | None
    user: str | None
    tool: str
    decision: Literal["allow", "deny", "hold"]
    code: str
    message: str
    request: str | None
    report_by: datetime | None
    end: EndShape | None
    receipts: tuple[Receipt, ...]
