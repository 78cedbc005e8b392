"""From a draft to the records that say what happened to it. Builds filings; appends nothing.

Rules:

1. A record is in the log of the caller's tenant; where there is no such tenant, in the operator's.
2. Everything that the decision saw is in the payload: principals, targets, context, arguments, and the claim of the agent as `reason`.
3. A target of another tenant is masked in the caller's log; a twin record in the operator's log names it.
4. What was sent but could not be read is kept too, cut to `UNREAD_LIMIT_BYTES`, with its digest and size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import Raw

from licet.approvals.states import Event, sources
from licet.gate.checks import called
from licet.gate.draft import Draft
from licet.ledger.record import (
    NOTHING,
    UNKNOWN_TOOL,
    ApprovalEntry,
    DecisionEntry,
    Kind,
    OutcomeEntry,
    Payload,
    ToolEntry,
    key_digest,
    key_scope,
    microseconds,
)
from licet.ledger.seal import Filing, Statement, state
from licet.ledger.vault import Subject
from licet.model import OPERATOR_LOG, UNSEEN, CallId, Decision, JsonObject, Outcome, Request, RequestState, Target
from licet.store.contract import (
    Change,
    CloseCall,
    MoveRequest,
    OpenCall,
    TakeKey,
)
from licet.store.freezes import InForce, RefuseFrozen
from licet.store.remote import EndCall, RemoteCall
from licet.store.unsettled import EndUnsettled, MarkUnsettled

UNREAD_LIMIT_BYTES = 4_096
TOOL_NAME_LIMIT = 200
MASKED = "(of another tenant)"
NOT_THERE = "target_not_found"
"""Why a call was refused whose target is nowhere, or another tenant's."""

_encode = msgspec.json.encode


class Recorder:
    """Builds the records of one process (`boot`) in one environment."""

    def __init__(self, boot: str, environment: str) -> None:
        self._boot = boot
        self._environment = environment

    def denial(self, draft: Draft, at_us: int) -> Filing:
        """A call that was refused before it ran."""
        return Filing((self._record("denial", draft, at_us, detail=_refusal_detail(draft)), *self._twin(draft, at_us)))

    def repeats(self, draft: Draft, at_us: int, count: int) -> Filing:
        """One record for `count` denials or holds like this one, the last of them."""
        if draft.decision is not None and draft.decision.verdict == "hold":
            approval = ApprovalEntry(draft.request.id) if draft.request is not None else None
            return Filing((self._record("hold", draft, at_us, approval=approval, count=count),))
        return Filing((self._record("denial", draft, at_us, detail=_refusal_detail(draft), count=count),))

    def hold(self, draft: Draft, at_us: int, changes: tuple[Change, ...], expiry: tuple[Statement, ...] = ()) -> Filing:
        """A call that waits for people; opens its request unless it waits on one that is there."""
        opening = draft.opening
        detail: JsonObject = {}
        if opening is not None:
            detail["request"] = Raw(_encode(opening))
        if draft.closing is not None:
            detail["superseded"] = {"request": draft.closing[0].id, "event": draft.closing[1], "changed": draft.changed}
        request = opening or draft.request
        approval = ApprovalEntry(request.id) if request is not None else None
        record = self._record("hold", draft, at_us, detail=detail or None, approval=approval)
        return Filing((*expiry, record), changes)

    def intent(self, draft: Draft, at_us: int, now: datetime, in_force: InForce) -> Filing:
        """What is about to run: durable before it does. Consumes the approval and takes the idempotency key in the same transaction."""
        detail: JsonObject | None = None
        if draft.idempotency_key is not None and draft.caller is not None:
            detail = {"key": {"text": draft.idempotency_key, "scope": scope_of(draft), "digest": digest_of_use(draft)}}
        if draft.remote:
            detail = {**(detail or {}), "remote": {"report_by": draft.report_by, "promised": draft.promised() is not None}}
        record = self._record("intent", draft, at_us, approval=_approval(draft), detail=detail)
        changes: list[Change] = [OpenCall(draft.id, record.log, draft.report_by), RefuseFrozen(called(draft)), in_force]
        if draft.idempotency_key is not None:
            changes.append(take_key(draft, record.log))  # first: a repeat that comes at the same moment finds the key, not a used approval
        if draft.consuming is not None:
            changes.append(MoveRequest(draft.consuming.id, sources(Event.CONSUME), RequestState.CONSUMED, now, draft.id, draft.ballots))
        return Filing((record, *self._twin(draft, at_us)), tuple(changes))

    def outcome(self, draft: Draft, at_us: int, outcome: Outcome, *, late: bool = False) -> Filing:
        """How the tool ended. A late outcome follows one that said `timeout` or `unknown`, and closes nothing."""
        record = self._ended("outcome", draft, at_us, outcome, {"late": True} if late else None)
        return Filing((record,), _ending(draft.id, record.log, outcome.status, late=late, remote=draft.remote))

    def merged(self, draft: Draft, at_us: int, outcome: Outcome) -> Filing:
        """A read and its outcome in one record, durable before its result leaves."""
        return Filing((self._ended("call", draft, at_us, outcome, None), *self._twin(draft, at_us)))

    def repeat(self, draft: Draft, at_us: int, earlier: CallId, in_force: InForce) -> Filing:
        """A repeated idempotency key: the earlier outcome leaves once more, nothing ran."""
        return Filing((self._record("call", draft, at_us, detail={"repeats": earlier}),), (in_force,))

    def evaluation(self, draft: Draft, at_us: int, asked: JsonObject, *, about: tuple[Subject, ...] = ()) -> tuple[Statement, ...]:
        """A call that was asked about and not made, and the twin of what its tenant's log masks. Nothing moves with it."""
        detail = {**(_refusal_detail(draft) or {}), "asked": asked}
        return (self._record("evaluation", draft, at_us, detail=detail, about=about), *self._twin(draft, at_us))

    def event(
        self, kind: Kind, log: str, at_us: int, detail: JsonObject, call: CallId | None = None, *, about: tuple[Subject, ...] = ()
    ) -> Statement:
        """A record that is not about a decision: what was put in force, a gap, a twin."""
        return state(
            log=log,
            kind=kind,
            at=at_us,
            boot=self._boot,
            environment=self._environment,
            payload=Payload(detail=detail),
            call=call,
            about=about,
        )

    def moved(self, request: Request, event: Event, at_us: int, detail: JsonObject) -> Statement:
        """A request that the pipeline itself has ended."""
        return state(
            log=request.tenant,
            kind="expiry",
            at=at_us,
            boot=self._boot,
            environment=self._environment,
            call=request.call,
            approval=ApprovalEntry(request.id),
            payload=Payload(detail={"request": request.id, "event": event.value, **detail}),
        )

    def recovery(self, log: str, call: CallId, at_us: int, boot: str) -> Filing:
        """The end of a call whose process died: nobody saw its outcome, and the record says so."""
        record = state(
            log=log,
            kind="recovery",
            at=at_us,
            boot=self._boot,
            environment=self._environment,
            call=call,
            outcome=OutcomeEntry(status="unknown", code="process_died"),
            payload=Payload(message="the process ended before the outcome was recorded", detail={"boot": boot}),
        )
        return Filing((record,), _ending(call, log, "unknown", late=False))

    def overdue(self, call: RemoteCall, at_us: int) -> Filing:
        """The end of a call that somebody else was to execute, and of which nothing was heard: nobody saw it, and the record says so."""
        record = state(
            log=call.log,
            kind="recovery",
            at=at_us,
            boot=self._boot,
            environment=self._environment,
            call=call.call,
            outcome=OutcomeEntry(status="unknown", code="not_reported"),
            payload=Payload(message="nobody reported in time how the call ended", detail={"report_by": call.deadline}),
        )
        return Filing((record,), (EndCall(call.call), MarkUnsettled(call.call, call.log)))

    def _ended(self, kind: Kind, draft: Draft, at_us: int, outcome: Outcome, detail: JsonObject | None) -> Statement:
        entry = OutcomeEntry(
            status=outcome.status,
            code=outcome.code,
            duration_us=outcome.duration_us,
            effects=outcome.reported,
            deviates=outcome.as_previewed is False,
        )
        if kind == "call":
            return self._record(kind, draft, at_us, outcome=entry, ended=outcome, detail=outcome.detail)
        # An outcome says what came of an intent that stands in the same log; it does not repeat what that record holds.
        return state(
            log=log_of(draft),
            kind=kind,
            at=at_us,
            boot=self._boot,
            environment=self._environment,
            call=draft.id,
            actor=draft.acting.actor,
            tool=_tool(draft),
            targets=_subjects(draft),
            trace=draft.acting.entry,
            outcome=entry,
            secrets=draft.spec.secrets if draft.spec is not None else (),
            secret_arguments=draft.arguments.json
            if draft.arguments is not None and draft.spec is not None and draft.spec.secrets
            else None,
            payload=Payload(
                message=outcome.message,
                result=NOTHING if outcome.result is None else outcome.result,
                effects=outcome.effects,
                detail=outcome.detail if detail is None else {**(outcome.detail or {}), **detail},
            ),
        )

    def _record(
        self,
        kind: Kind,
        draft: Draft,
        at_us: int,
        *,
        detail: JsonObject | None = None,
        approval: ApprovalEntry | None = None,
        outcome: OutcomeEntry | None = None,
        ended: Outcome | None = None,
        count: int | None = None,
        about: tuple[Subject, ...] = (),
    ) -> Statement:
        decision = draft.decision
        assert decision is not None
        payload = Payload(
            arguments=Raw(draft.arguments.json) if draft.arguments is not None else NOTHING,
            reason=draft.acting.reason,
            message=decision.message if ended is None else ended.message,
            principals=draft.principals,
            targets=_masked(draft),
            context=_context(draft),
            policies=decision.policies,
            obligations=decision.obligations,
            result=NOTHING if ended is None or ended.result is None else ended.result,
            effects=() if ended is None else ended.effects,
            preview=Raw(_encode(draft.preview)) if draft.preview is not None else NOTHING,
            detail=_with_place(draft, detail),
            credential=draft.acting.credential,
        )
        return state(
            log=log_of(draft),
            kind=kind,
            at=at_us,
            boot=self._boot,
            environment=self._environment,
            call=draft.id,
            key=draft.idempotency_key,
            attempt=draft.attempt + 1 if draft.attempt else None,
            actor=draft.acting.actor,
            tool=_tool(draft),
            targets=_subjects(draft),
            decision=_decision(draft, decision, count),
            approval=approval,
            trace=draft.acting.entry,
            outcome=outcome,
            about=about,
            secrets=draft.spec.secrets if draft.spec is not None else (),
            payload=payload,
        )

    def _twin(self, draft: Draft, at_us: int) -> tuple[Statement, ...]:
        """What the caller's log masks, in the operator's."""
        if not draft.elsewhere:
            return ()
        detail = {"caller": msgspec.to_builtins(draft.caller), "tool": draft.tool, "targets": msgspec.to_builtins(draft.elsewhere)}
        about = tuple([Subject(target.tenant, target.type, target.id) for target in draft.elsewhere])
        if draft.caller is not None and draft.caller.user is not None:
            about = (*about, Subject(draft.caller.tenant, "User", draft.caller.user))
        return (self.event("admin", OPERATOR_LOG, at_us, {"twin": draft.id, **detail}, draft.id, about=about),)


def _ending(call: CallId, log: str, status: str, *, late: bool, remote: bool = False) -> tuple[Change, ...]:
    """What the end of a call moves beside its record."""
    if late:
        return () if status in UNSEEN else (EndUnsettled(call),)
    closed = EndCall(call) if remote else CloseCall(call)
    return (closed, MarkUnsettled(call, log)) if status in UNSEEN else (closed,)


def log_of(draft: Draft) -> str:
    """The log that a call belongs to."""
    return draft.caller.tenant if draft.caller is not None else OPERATOR_LOG


def undo_scope(tenant: str) -> str:
    """The digest (SHA-256, hex) within which the keys of undos are unique: the tenant. No caller has it, since each has a name."""
    return key_scope(tenant, None, None, None)


def scope_of(draft: Draft) -> str:
    """The digest (SHA-256, hex) within which the draft's idempotency key is unique: one caller; of an undo, one tenant."""
    assert draft.caller is not None
    caller = draft.caller
    return undo_scope(caller.tenant) if draft.undoes else key_scope(caller.tenant, caller.agent, caller.service, caller.user)


def digest_of_use(draft: Draft) -> str:
    """The digest (SHA-256, hex) of tool and arguments: what a repeated idempotency key must repeat."""
    assert draft.arguments is not None
    return key_digest(draft.tool, draft.arguments.json)


def take_key(draft: Draft, log: str) -> TakeKey:
    """Take the draft's idempotency key for this caller, tool and arguments."""
    assert draft.caller is not None
    assert draft.idempotency_key is not None
    return TakeKey(scope_of(draft), draft.idempotency_key, digest_of_use(draft), draft.id, log)


def _refusal_detail(draft: Draft) -> JsonObject | None:
    """What was sent, where it could not be read."""
    if draft.arguments is not None or draft.unverified_arguments is None:
        return draft.detail
    unverified = draft.unverified_arguments
    raw = _as_sent(unverified)
    shown = raw[:UNREAD_LIMIT_BYTES].decode("utf-8", "backslashreplace")
    unread = {"text": shown, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    return {**(draft.detail or {}), "unread_arguments": unread}


def _as_sent(unverified: Mapping[str, object] | bytes | str) -> bytes:
    """What was sent, as text. It was refused, so nothing about it is certain: not even that it can be shown."""
    if isinstance(unverified, bytes | bytearray | memoryview):
        return bytes(unverified)
    try:
        text = unverified if isinstance(unverified, str) else repr(unverified)
        return text.encode("utf-8", "backslashreplace")
    except Exception:  # noqa: BLE001 - a `__repr__` from outside may raise anything
        return b"(cannot be shown)"


def _approval(draft: Draft) -> ApprovalEntry | None:
    return ApprovalEntry(draft.consuming.id, draft.voters) if draft.consuming is not None else None


def _decision(draft: Draft, decision: Decision, count: int | None) -> DecisionEntry:
    rule = "policy" if decision.policies else "rule"
    return DecisionEntry(
        verdict=decision.verdict,
        code=decision.code,
        policies=tuple(dict.fromkeys([policy.id for policy in decision.policies])),
        obligations=tuple(dict.fromkeys([obligation.policy for obligation in decision.obligations])),
        bundle=draft.scene.digest if draft.scene is not None else None,
        decided_by="human" if draft.consuming is not None and decision.verdict == "allow" else rule,
        count=count,
    )


def _with_place(draft: Draft, detail: JsonObject | None) -> JsonObject | None:
    """The detail, and what the call is a part of: which one it takes back, which step of a plan it is; the name of an unknown tool."""
    place: JsonObject = {}
    if draft.undoes is not None:
        place["undoes"] = draft.undoes
    if draft.planned is not None:
        place["plan"] = {"id": draft.planned.plan, "step": draft.planned.step, "steps": draft.planned.steps}
    if draft.spec is None:
        place["tool"] = draft.tool[:TOOL_NAME_LIMIT]
    return {**(detail or {}), **place} if place else detail


def _tool(draft: Draft) -> ToolEntry:
    if draft.spec is None:
        return ToolEntry(UNKNOWN_TOOL, None, None)  # a model made its name up, and may put anything into it: the payload has it
    assert draft.scene is not None
    return draft.scene.entries[draft.spec.name]


def _subjects(draft: Draft) -> tuple[Subject, ...]:
    """The targets, each as its own tenant knows it; one that was not resolved is named as the caller named it.

    So is one that its caller was told is not there: filed under the tenant that has it, it could be told from one that is nowhere
    by whoever erases or holds it in the caller's log.
    """
    log = log_of(draft)
    if draft.refs and draft.decision is not None and draft.decision.code == NOT_THERE:
        return tuple([Subject(log, ref.type, ref.id) for ref in draft.refs])
    if not draft.refs:
        return tuple([Subject(target.tenant, target.type, target.id) for target in draft.targets])
    owners = {(target.type, target.id): target.tenant for target in (*draft.targets, *draft.elsewhere)}
    return tuple([Subject(owners.get((ref.type, ref.id), log), ref.type, ref.id) for ref in draft.refs])


def _context(draft: Draft) -> JsonObject:
    """What policy saw of the circumstances; the call is otherwise in the record itself."""
    facts = draft.facts
    context: JsonObject = {"calls": facts.calls}
    if draft.asked_at is not None:
        context["now"] = microseconds(draft.asked_at)
    if draft.local is not None:
        context["local"] = draft.local.as_context()
    if facts.labels:
        context["labels"] = facts.labels
    if facts.meters:
        context["meters"] = facts.meters
    if draft.acting.tenant is not None and draft.caller is None:
        context["claimed_tenant"] = draft.acting.tenant
    return context


def _masked(draft: Draft) -> tuple[Target, ...]:
    """The targets as the caller's log may show them: of one that belongs to another tenant, that it does (rule 3)."""
    if not draft.elsewhere:
        return draft.targets
    return tuple(
        Target(type=target.type, id=target.id, tenant=MASKED, environment=target.environment) if target in draft.elsewhere else target
        for target in draft.targets
    )
