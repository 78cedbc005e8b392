"""The one order of checks. Every front door goes through `govern`; nothing else decides, executes or records a call.

    0 identify   the caller and its principals; nothing that the call is of is frozen
    1 tool       in the catalog; could any permit ever match these principals?
    2 parse      strict JSON, defaults, canonical forms, validated by the tool's schema
    3 resolve    the targets: tenant and attributes, with a deadline
    4 decide     policy, for every principal x target
    5 oblige     find the request by its key; match votes; run the preview; unmet: hold
    6 intend     append the intent, consume the approval, take the idempotency key: one transaction, durable before 7
    7 execute    the tool, with the value that was decided on
    8 conclude   append the outcome with its effects; durable before 9
    9 release    the result

Rules:

1. Every exit before 7 is a recorded denial or hold. Any error while deciding is a denial.
2. A read may merge 6 and 8 into one record, durable before 9, unless it uses an approval or an idempotency key.
3. A call that somebody else executes ends here with 6: who proposed it is permitted to execute it, and reports what came of it.
4. Nothing here does I/O: the pipeline is a generator of steps, performed by a synchronous or an asynchronous driver.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from licet.approvals.states import Event, next_state, sources
from licet.errors import ConditionLost, GateClosed, StoreError
from licet.gate import checks
from licet.gate.clerk import Clerk
from licet.gate.conclude import Latecomer, outcome_of
from licet.gate.draft import Draft, Refused
from licet.gate.earlier import earlier_result, find_problem
from licet.gate.effects import Collector
from licet.gate.grounds import Grounds as Grounds  # noqa: PLC0414  what `examine` takes
from licet.gate.oblige import is_repeat, oblige
from licet.gate.previewing import told_to_caller
from licet.gate.recorder import Recorder, digest_of_use, log_of, scope_of
from licet.gate.results import Denied, Failed, Held, Ok, Permitted, Proposed, Result
from licet.gate.scene import Scene
from licet.gate.session import Sessions
from licet.gate.steps import Append, Execute, FindFreezes, FindKey, FindOutcome, Ran, Step
from licet.ledger.record import microseconds
from licet.ledger.seal import Statement
from licet.model import Decision, Outcome, Receipt
from licet.store.contract import Change, MoveRequest, OpenRequest, StoredRecord, TakenKey
from licet.store.freezes import InForce

ATTEMPTS = 5
"""How often a call is examined afresh because something it rested on moved (a request opened beside it, a meter) before it is refused."""


class House(Struct, frozen=True, kw_only=True):
    """What the pipeline needs of its gate."""

    scene: Callable[[], Scene]
    now: Callable[[], datetime]
    recorder: Recorder
    clerk: Clerk
    sessions: Sessions

    def grounds(self) -> Grounds:
        """What an examination that starts now rests on."""
        scene = self.scene()
        return Grounds(
            scene=scene,
            now=self.now(),
            sessions=self.sessions,
            expires_after=timedelta(seconds=scene.settings.approvals.expires_s),
            recorder=self.recorder,
            admit=self.clerk.admit,
        )


class Moved(Exception):
    """Something that the decision rested on has moved: examine again."""


def examine(draft: Draft, grounds: Grounds, *, run_preview: bool = True, ask: bool = True) -> Generator[Step, Any, Decision]:
    """Steps 0 to 5, or to 4 without `ask`. Whatever goes wrong is a denial.

    Executes nothing but resolvers and, unless told not to, previews, which are recorded; records nothing else.
    """
    scene = grounds.scene
    draft.scene = scene
    try:
        checks.identify(draft, scene)
        yield from checks.refuse_frozen(draft, scene)
        checks.find_tool(draft, scene)
        checks.parse(draft, scene)
        yield from checks.resolve(draft, scene)
        checks.decide(draft, scene, grounds.sessions, grounds.now)
        if ask and draft.decision is not None and draft.decision.verdict == "hold" and not (yield from is_repeat(draft)):
            yield from oblige(draft, grounds, run_preview=run_preview)
    except Refused as refused:
        draft.detail = refused.detail
        draft.decision = Decision(verdict="deny", code=refused.code, message=refused.message)
    except StoreError as error:
        draft.decision = Decision(verdict="deny", code="log_unavailable", message=f"the log cannot be read: {error}")
    except Exception as error:  # noqa: BLE001 - default deny: no error while deciding lets a call through
        message = f"an error while deciding ({type(error).__name__}); nothing was done"
        draft.detail = {"error": repr(error)[:2_000]}
        draft.decision = Decision(verdict="deny", code="internal_error", message=message)
    assert draft.decision is not None
    return draft.decision


def govern(draft: Draft, house: House) -> Generator[Step, Any, Proposed]:
    """A whole call, from proposal to release. Returns a value whatever happens; control exceptions pass after being recorded."""
    for attempt in range(ATTEMPTS):
        if attempt:
            draft.forget()
        draft.attempt = attempt
        try:
            return (yield from _attempt(draft, house))
        except Moved:
            continue
    draft.decision = Decision(verdict="deny", code="contention", message="what this call rests on kept changing while it was decided")
    return (yield from deny(draft, house))


def ask(draft: Draft, house: House) -> Generator[Step, Any, Held | None]:
    """Ask people about a call that needs them, and do nothing else with it: for whoever must pause before the call is made.

    None where nobody is to be asked: it would be permitted or denied, or was made before. Then the call itself finds out, and records it.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            draft.forget()
        draft.attempt = attempt
        try:
            decision = yield from examine_or_record(draft, house)
            if decision.verdict != "hold" or (yield from _find_earlier(draft, house)) is not None:
                return None
            held = yield from _hold(draft, house)
        except Moved:
            continue
        return held if isinstance(held, Held) else None
    return None


def examine_or_record(draft: Draft, house: House, *, ask: bool = True) -> Generator[Step, Any, Decision]:
    """As `examine`; a control exception goes on once it is recorded that the call was asked for."""
    try:
        return (yield from examine(draft, house.grounds(), ask=ask))
    except GeneratorExit:
        raise
    except BaseException:
        # Cancelled or interrupted before the intent: nothing ran, and that it was asked is recorded all the same.
        draft.decision = Decision(verdict="deny", code="cancelled", message="the call was cancelled before it was decided")
        yield from deny(draft, house)
        raise


def _attempt(draft: Draft, house: House) -> Generator[Step, Any, Proposed]:
    decision = yield from examine_or_record(draft, house)
    if decision.verdict == "deny":
        return (yield from deny(draft, house))
    if decision.verdict == "hold":
        earlier = yield from _find_earlier(draft, house)
        return (yield from _hold(draft, house)) if earlier is None else earlier
    return (yield from _permit(draft, house))


def deny(draft: Draft, house: House) -> Generator[Step, Any, Denied]:
    """Record a denial, or count it where it repeats or the log is down."""
    assert draft.decision is not None
    receipt: Receipt | None = None
    try:
        if house.clerk.admit(draft):
            receipts = yield Append(house.recorder.denial(draft, microseconds(house.now())))
            receipt = receipts[0]
    except StoreError as error:
        house.clerk.gap(draft, str(error))
    return Denied(decision=draft.decision, call=draft.id, receipt=receipt)


def _hold(draft: Draft, house: House) -> Generator[Step, Any, Result]:
    """Record a hold and open its request, in one transaction; or point to the request that is there."""
    assert draft.decision is not None
    now = house.now()
    receipt: Receipt | None = None
    waiting = draft.opening or draft.request
    try:
        if draft.opening is not None or house.clerk.admit(draft):
            expiry, changes = requests_moved(draft, house, now)
            receipts = yield Append(house.recorder.hold(draft, microseconds(now), changes, expiry))
            receipt = receipts[-1]
    except ConditionLost as lost:
        if lost.condition == "too_many_open":
            return (yield from too_many_open(draft, house, lost))
        raise Moved from lost  # another call opened or moved the request meanwhile: find it
    except StoreError as error:
        return (yield from _log_down(draft, house, error))
    return Held(
        decision=draft.decision,
        call=draft.id,
        request=waiting.id if waiting is not None else None,
        receipt=receipt,
        preview=told_to_caller(draft),
    )


def too_many_open(draft: Draft, house: House, lost: ConditionLost) -> Generator[Step, Any, Denied]:
    """People are not buried under questions: who has asked so many is denied until some are decided, withdrawn or over."""
    draft.opening = draft.closing = None
    draft.decision = Decision(verdict="deny", code="too_many_open", message=f"nobody is asked about this call: {lost}")
    return (yield from deny(draft, house))


def requests_moved(draft: Draft, house: House, now: datetime) -> tuple[tuple[Statement, ...], tuple[Change, ...]]:
    """The older request that ends, with a record by which it is known to be over whatever its row says, and the one that opens."""
    records: list[Statement] = []
    changes: list[Change] = []
    if draft.closing is not None:
        request, name = draft.closing
        event = Event(name)
        changes.append(MoveRequest(request.id, sources(event), next_state(request.state, event), now))
        records.append(house.recorder.moved(request, event, microseconds(now), {}))
    if draft.opening is not None:
        assert draft.scene is not None
        changes.append(OpenRequest(draft.opening, draft.scene.settings.approvals.open_per_caller))
    return tuple(records), tuple(changes)


def _permit(draft: Draft, house: House) -> Generator[Step, Any, Proposed]:
    """Steps 6 to 9 of a call that was allowed."""
    assert draft.spec is not None
    assert draft.caller is not None
    unrunnable = None if draft.remote else _unrunnable(draft)
    if unrunnable is not None:
        draft.decision = unrunnable
        return (yield from deny(draft, house))
    earlier = yield from _find_earlier(draft, house)
    if earlier is not None:
        return earlier
    if draft.scene is not house.scene():
        raise Moved  # a rule may have been tightened, or somebody removed, since; an intent is looked at again where it is written
    if not house.sessions.count(draft.caller, draft.acting.session, draft.facts, _metered(draft)):
        raise Moved
    if draft.remote:
        return (yield from _hand_over(draft, house))
    merged = draft.spec.access == "read" and draft.consuming is None and draft.idempotency_key is None
    if not merged:
        refused = yield from _intend(draft, house)
        if refused is not None:
            return refused
    return (yield from _carry_out(draft, house, merged=merged))


def _unrunnable(draft: Draft) -> Decision | None:
    """Why this process cannot run the tool; None where it can."""
    assert draft.spec is not None
    if draft.implementation is None:
        message = f"`{draft.spec.name}` is in the catalog, but this process has no function for it"
        return Decision(verdict="deny", code="no_implementation", message=message)
    if draft.implementation.is_method and draft.instance is None:
        return Decision(verdict="deny", code="no_instance", message=f"`{draft.spec.name}` is a method: call it on its object")
    return None


def _hand_over(draft: Draft, house: House) -> Generator[Step, Any, Proposed]:
    """Step 6 of a call that somebody else executes, who reports what 7 came to (gate/remote.py); a read has its intent, too."""
    assert draft.spec is not None
    assert draft.scene is not None
    timeout_s = draft.spec.timeout_s or draft.scene.settings.limits.outcome_timeout_s
    report_by = house.now() + timedelta(seconds=timeout_s)
    draft.report_by = microseconds(report_by)
    refused = yield from _intend(draft, house)
    if refused is not None:
        return refused
    assert draft.decision is not None
    assert draft.intended is not None
    assert draft.arguments is not None
    return Permitted(call=draft.id, decision=draft.decision, receipt=draft.intended, arguments=draft.arguments.json, report_by=report_by)


def _metered(draft: Draft) -> dict[str, int] | None:
    """What this call adds to the session's meters."""
    assert draft.scene is not None
    assert draft.arguments is not None
    meters = draft.scene.metered.get(draft.tool)
    if not meters:
        return None
    value = draft.arguments.value
    # A negative amount adds nothing: arguments are the model's, and no argument may win back what a session has used up.
    return {meter: max(amount, 0) for meter, argument in meters if isinstance(amount := value.get(argument), int)}


def _intend(draft: Draft, house: House) -> Generator[Step, Any, Result | None]:
    """Step 6. Returns a result where the call ends here, None where the intent is durable."""
    now = house.now()
    try:
        receipts = yield Append(house.recorder.intent(draft, microseconds(now), now, InForce(draft.scene, house.scene)))
        draft.intended = receipts[0]
    except ConditionLost as lost:
        if lost.condition in {"key_taken", "votes_moved", "not_in_force"}:
            assert draft.caller is not None
            house.sessions.take_back(draft.caller, draft.acting.session, _metered(draft))
            raise Moved from lost
        if lost.condition == "frozen":
            return (yield from _stop(draft, house, lost))
        # Another call used the approval, or it was rejected or expired between matching and consuming.
        draft.consuming = None
        draft.decision = Decision(verdict="deny", code="approval_used", message=str(lost))
        return (yield from deny(draft, house))
    except StoreError as error:
        house.clerk.close_intent_later(draft)
        return (yield from _log_down(draft, house, error))
    except BaseException:
        house.clerk.close_intent_later(draft)  # dropped while it was written: if it lands, nothing has run
        raise
    return None


def _stop(draft: Draft, house: House, lost: ConditionLost) -> Generator[Step, Any, Denied]:
    """What the call is of was frozen between its decision and its intent. The approval that it would have used is not used."""
    draft.consuming = None
    try:
        found = (yield FindFreezes(anew=True)).find(checks.called(draft))
    except StoreError:
        found = None  # then it is told without its reason
    draft.detail = None if found is None else {"freeze": found.id}
    message = checks.frozen_message(str(lost) if found is None else found.sentence)
    draft.decision = Decision(verdict="deny", code="frozen", message=message)
    return (yield from deny(draft, house))


def _log_down(draft: Draft, house: House, error: StoreError) -> Generator[Step, Any, Denied]:
    """No record, no action: the call is refused, counted in memory, and said in a `gap` record when the store returns."""
    yield from ()
    message = f"the audit log cannot be written, so nothing was done: {error}"
    draft.decision = Decision(verdict="deny", code="log_unavailable", message=message)
    house.clerk.gap(draft, str(error))
    return Denied(decision=draft.decision, call=draft.id, receipt=None)


def _carry_out(draft: Draft, house: House, *, merged: bool) -> Generator[Step, Any, Result]:
    """Steps 7 to 9."""
    assert draft.spec is not None
    spec = draft.spec
    keep = draft.idempotency_key is not None
    draft.effects = Collector(draft.id)
    late = Latecomer(
        lambda ran: house.clerk.late(draft, outcome_of(ran, spec, keep=keep, reported=draft.reported(), approved=draft.promised()))
    )
    try:
        return (yield from _execute(draft, house, late, merged=merged))
    except BaseException:
        # Interrupted between two steps, dropped with its event loop, or broken: an intent without an end must not stay behind.
        house.clerk.abandoned(draft, merged=merged)
        late.admit()
        raise


def _execute(draft: Draft, house: House, late: Latecomer, *, merged: bool) -> Generator[Step, Any, Result]:
    """Run the tool, record how it ended, and only then release its result."""
    assert draft.spec is not None
    assert draft.implementation is not None
    spec = draft.spec
    assert draft.effects is not None
    ran: Ran = yield Execute(draft.implementation, draft.instance, draft.values, spec.timeout_s, late, draft.effects)
    outcome = outcome_of(ran, spec, keep=draft.idempotency_key is not None, reported=draft.reported(), approved=draft.promised())
    at_us = microseconds(house.now())
    filing = house.recorder.merged(draft, at_us, outcome) if merged else house.recorder.outcome(draft, at_us, outcome)
    try:
        receipts = yield Append(filing)
        late.admit()
    except (StoreError, GateClosed) as error:
        house.clerk.outcome_later(draft, filing)
        late.admit()
        return Failed(
            message=f"`{spec.name}` ran, but its outcome cannot be recorded, so its result is withheld: {error}",
            code="outcome_not_recorded",
            call=draft.id,
            executed=True,
            retry=merged,
            receipt=None,
            status=outcome.status,
            error=ran.error if ran.error is not None and not isinstance(ran.error, Exception) else None,
        )
    return _release(draft, ran, outcome, receipts[0])


def _release(draft: Draft, ran: Ran, outcome: Outcome, receipt: Receipt) -> Result:
    assert draft.decision is not None
    if outcome.status == "ok":
        return Ok(
            value=ran.value,
            call=draft.id,
            decision=draft.decision,
            receipt=receipt,
            effects=outcome.effects,
            as_previewed=outcome.as_previewed,
        )
    executed = outcome.status != "not_executed"
    return Failed(
        message=outcome.message or outcome.status,
        code=outcome.code or outcome.status,
        call=draft.id,
        executed=executed,
        retry=not executed,
        receipt=receipt,
        status=outcome.status,
        error=ran.error,
        effects=outcome.effects,
        as_previewed=outcome.as_previewed,
    )


def _key_refused(draft: Draft, taken: TakenKey) -> Decision:
    """Why a taken key gives nothing: it was for something else, or for an undo, whose result is its caller's alone."""
    if draft.undoes is not None:
        message = f"call `{draft.undoes}` is undone by call `{taken.call}`, or is being undone by it; a call is undone once"
        return Decision(verdict="deny", code="already_undone", message=message)
    return Decision(verdict="deny", code="key_reused", message=f"idempotency key `{draft.idempotency_key}` was used for another call")


def _find_earlier(draft: Draft, house: House) -> Generator[Step, Any, Result | None]:
    """A repeated idempotency key gives the recorded outcome, or `unknown`, and executes nothing; with other arguments it is refused."""
    assert draft.caller is not None
    if draft.idempotency_key is None:
        return None
    try:
        taken: TakenKey | None = yield FindKey(log_of(draft), scope_of(draft), draft.idempotency_key, digest_of_use(draft))
        if taken is None:
            return None
        if draft.undoes is not None or not taken.same:
            draft.decision = _key_refused(draft, taken)
            return (yield from deny(draft, house))
        records: tuple[StoredRecord, ...] = yield FindOutcome(taken.call)
        problem = find_problem(draft, taken.call, records)
        if problem is not None:
            draft.decision = Decision(verdict="deny", code="key_not_in_log", message=problem)
            return (yield from deny(draft, house))
        receipts = yield Append(house.recorder.repeat(draft, microseconds(house.now()), taken.call, InForce(draft.scene, house.scene)))
    except ConditionLost as lost:
        raise Moved from lost
    except StoreError as error:
        return (yield from _log_down(draft, house, error))
    return earlier_result(draft, records, receipts[0])
