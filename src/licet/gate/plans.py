"""Plans: a list of calls proposed at once. Each runs through the one pipeline, in its order; people are asked once about all of them.

Rules:

1. Every call of a plan is decided before any of them runs. If one is denied, none runs.
2. The request of a step is bound to the whole plan and to its place in it: it is of no use to the same call alone, in another plan, or at
   another place. Each is used once, as every approval is.
3. The steps that wait for people are asked about in one transaction, under one plan id: people see one plan and decide on each step.
4. Steps run in order, and only after all before them have ended well. Each has an idempotency key of the plan's, so that a plan that is
   proposed again goes on where it stopped, in whatever process, and repeats nothing.
5. A step that is denied, rejected or fails stops the plan: what follows does not run, and its requests are withdrawn.
6. A plan that has ended, well or not, is another plan when it is proposed again: it asks anew. So is one whose requests' time is over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from licet.approvals.states import Event, next_state, sources
from licet.errors import ConditionLost, IntegrityBroken, StoreError
from licet.gate.draft import Draft, Planned
from licet.gate.freeze_view import Stops
from licet.gate.oblige import exact_key
from licet.gate.pipeline import ATTEMPTS, House, Moved, deny, examine_or_record, govern, requests_moved, too_many_open
from licet.gate.previewing import told_to_caller
from licet.gate.recorder import digest_of_use, log_of, scope_of
from licet.gate.results import Denied, Failed, Held, Ok, Permitted, Result
from licet.gate.steps import Append, FindKey, FindOutcome, FindRequest, Step
from licet.gate.text import KEY_LIMIT, is_key
from licet.gate.waiting import is_stopped
from licet.ledger.record import decode_envelope, key_scope, microseconds, new_id
from licet.ledger.seal import Filing, Statement
from licet.model import LIVE_STATES, CallId, Decision, PlanId, Request, RequestId
from licet.store.contract import Change, Dossier, MoveRequest, StoredRecord, TakenKey

STEPS_LIMIT = 50
"""A plan is for people to read: nobody decides on more with open eyes."""
PASSES = frozenset({"cancelled", "contention", "frozen", "log_unavailable"})
"""Codes of denials that pass by themselves or are lifted: the plan may go on then, so its requests stay."""

PlanState: TypeAlias = Literal["done", "held", "stopped"]


class PlannedCall(Struct, frozen=True):
    """One call of a plan, as it is proposed; JSON text is read strictly. `reason` is the agent's, for this call."""

    tool: str
    arguments: Mapping[str, Any] | bytes | str = {}
    reason: str | None = None


class PlanStep(Struct, frozen=True, kw_only=True):
    """A step and what became of it. `result` is None where its turn has not come; `request` is the one that people decide on, if any."""

    step: int
    tool: str
    result: Result | None = None
    request: RequestId | None = None


class PlanResult(Struct, frozen=True, kw_only=True):
    """What became of a plan so far: `done`, `held` (the same plan, proposed again once people have decided, goes on), or `stopped`.

    `plan` names this run of it; None where a step was denied before anything began.
    """

    plan: PlanId | None
    state: PlanState
    steps: tuple[PlanStep, ...]

    def unwrap(self) -> tuple[Any, ...]:
        """What each step returned. Raises what the first step that did not end well raises."""
        for step in self.steps:
            if step.result is not None and not isinstance(step.result, Ok):
                step.result.unwrap()
        return tuple([step.result.unwrap() for step in self.steps if step.result is not None])


def planned_calls(calls: Iterable[PlannedCall | tuple[str, Mapping[str, Any]]], idempotency_key: str | None) -> tuple[PlannedCall, ...]:
    """The calls of a plan. Raises `ValueError` for none, too many, or a key that is none."""
    planned = tuple([call if isinstance(call, PlannedCall) else PlannedCall(*call) for call in calls])
    if not 1 <= len(planned) <= STEPS_LIMIT:
        raise ValueError(f"a plan has 1 to {STEPS_LIMIT} steps, this one has {len(planned)}")
    if idempotency_key is not None and not is_key(idempotency_key):
        raise ValueError(f"an idempotency key is text of 1 to {KEY_LIMIT} printable characters")
    return planned


class Planning:
    """A plan that is proposed again and again while it waits: each time calls of their own, with the arguments of the first."""

    def __init__(self, drafts: Sequence[Draft], now_us: Callable[[], int]) -> None:
        self._drafts = drafts
        self._now_us = now_us

    def next(self, awaited: Sequence[RequestId]) -> Sequence[Draft]:
        """The drafts to govern next: those that were proposed, until the plan has waited for something."""
        if awaited:
            plan_key = self._drafts[0].plan_key
            self._drafts = [draft.again(CallId(new_id()), self._now_us()) for draft in self._drafts]
            self._drafts[0].plan_key = plan_key
        return self._drafts

    def is_stopped(self, stops: Stops) -> bool:
        """Whether a freeze stops one of its calls."""
        return any(is_stopped(draft, stops) for draft in self._drafts)


def wait_s(drafts: Sequence[Draft]) -> float:
    """How long the plan may wait for people, in seconds."""
    return drafts[0].acting.wait_s


def released(result: PlanResult) -> PlanResult:
    """Everything is recorded; what must not be swallowed goes on."""
    for step in result.steps:
        if isinstance(step.result, Failed) and step.result.error is not None and not isinstance(step.result.error, Exception):
            raise step.result.error
    return result


def asked_for(result: PlanResult) -> tuple[RequestId, ...]:
    """The request that a plan waits on."""
    held = [step.result.request for step in result.steps if isinstance(step.result, Held) and step.result.request is not None]
    return tuple(held[:1]) if result.state == "held" else ()


def govern_plan(drafts: Sequence[Draft], house: House) -> Generator[Step, Any, PlanResult]:
    """A whole plan, as far as it gets now. Returns a value whatever happens; control exceptions pass after being recorded."""
    for _ in range(ATTEMPTS):
        try:
            return (yield from _attempt(drafts, house))
        except Moved:
            for draft in drafts:
                draft.forget()
    first = drafts[0]
    first.decision = Decision(verdict="deny", code="contention", message="what this plan rests on kept changing while it was decided")
    return _refused(drafts, 0, (yield from deny(first, house)))


def _attempt(drafts: Sequence[Draft], house: House) -> Generator[Step, Any, PlanResult]:
    for at, draft in enumerate(drafts):
        draft.planned, draft.idempotency_key = None, None
        decision = yield from examine_or_record(draft, house, ask=False)
        if any(obligation.kind == "preview_only" for obligation in decision.obligations):
            # It never runs, so nothing behind it would: nobody is to decide on that.
            decision = draft.decision = Decision(verdict="deny", code="preview_only", message=f"no step of a plan: {decision.message}")
        if decision.verdict == "deny":
            return _refused(drafts, at, (yield from deny(draft, house)))
    lost = yield from _find_places_or_deny(drafts, house)
    if lost is not None:
        return _refused(drafts, 0, lost)
    for at, draft in enumerate(drafts):
        if draft.decision is not None and draft.decision.verdict == "hold":
            draft.forget()
            decision = yield from examine_or_record(draft, house)
            if decision.verdict == "deny":
                refused = yield from deny(draft, house)
                yield from _withdraw_after(drafts, at, house)
                return _refused(drafts, at, refused)
    opened = yield from _open_requests(drafts, house)
    if isinstance(opened, Denied):
        return _refused(drafts, next(at for at, draft in enumerate(drafts) if draft.id == opened.call), opened)
    return (yield from _run(drafts, opened, house))


def _run(drafts: Sequence[Draft], opened: Mapping[int, Held], house: House) -> Generator[Step, Any, PlanResult]:
    """Rules 4 and 5."""
    requests = {at: _request_of(draft) for at, draft in enumerate(drafts)}
    results: dict[int, Result] = dict(opened)
    state: PlanState = "done"
    for at, draft in enumerate(drafts):
        if at in opened:
            state = "held"
            break
        draft.forget()
        result = yield from govern(draft, house)
        assert not isinstance(result, Permitted)  # who proposes a plan has this process execute it
        results[at] = result
        if isinstance(result, Held) and result.request is not None:
            state = "held"
            break
        if not isinstance(result, Ok):
            state = "stopped"
            if _stops_for_good(result):
                yield from _withdraw_after(drafts, at, house)
                results = {place: results[place] for place in results if place <= at}  # nothing that follows waits any more
            break
    return _told(drafts, state, results, requests)


def _told(drafts: Sequence[Draft], state: PlanState, results: Mapping[int, Result], requests: Mapping[int, RequestId | None]) -> PlanResult:
    asked = {**requests, **{at: result.request for at, result in results.items() if isinstance(result, Held)}}  # at its turn, perhaps anew
    steps = [PlanStep(step=at + 1, tool=draft.tool, result=results.get(at), request=asked.get(at)) for at, draft in enumerate(drafts)]
    planned = drafts[0].planned
    return PlanResult(plan=None if planned is None else planned.plan, state=state, steps=tuple(steps))


def _refused(drafts: Sequence[Draft], at: int, denied: Denied) -> PlanResult:
    return _told(drafts, "stopped", {at: denied}, {})


def _request_of(draft: Draft) -> RequestId | None:
    request = draft.opening or draft.request or draft.consuming
    return request.id if request is not None else None


def _stops_for_good(result: Result) -> bool:
    if isinstance(result, Failed):
        return not result.replayed  # a replay says what somebody else has seen, or not seen yet
    return not isinstance(result, Denied) or result.decision.code not in PASSES


# which run of which plan this is


def _find_places_or_deny(drafts: Sequence[Draft], house: House) -> Generator[Step, Any, Denied | None]:
    """As `_find_places`; where the store cannot tell, or tells what the log does not say, the first step is denied."""
    try:
        yield from _find_places(drafts, house.now())
    except (StoreError, IntegrityBroken) as error:
        broken = isinstance(error, IntegrityBroken)
        message = f"the approvals of this plan are not what the log says: {error}" if broken else f"the log cannot be read: {error}"
        for draft in drafts:
            draft.planned = None
        drafts[0].decision = Decision(verdict="deny", code="approval_not_in_log" if broken else "log_unavailable", message=message)
        return (yield from deny(drafts[0], house))
    return None


def _find_places(drafts: Sequence[Draft], now: datetime) -> Generator[Step, Any, None]:
    """Every draft knows its plan, its place and its idempotency key: of the run that waits for people, or of a new one."""
    named = drafts[0].plan_key
    key = _digest([named, *[exact_key(draft) for draft in drafts]])
    for at, draft in enumerate(drafts):
        draft.planned = Planned(key, PlanId(""), at + 1, len(drafts))
    if named is None:
        run = plan = (yield from _find_run(drafts, now)) or PlanId(new_id())
    else:  # other calls under the same name are another plan to people, and find its keys taken where it has run
        run = _named(drafts[0], named)
        plan = PlanId(_digest([run, key])[:32])
    for draft in drafts:
        assert draft.planned is not None
        draft.planned = msgspec.structs.replace(draft.planned, plan=plan)
        draft.idempotency_key = step_key(run, draft.planned.step)


def step_key(run: PlanId, step: int) -> str:
    """The idempotency key of a step."""
    return f"plan:{run}:{step}"


def _named(draft: Draft, named: str) -> PlanId:
    """The run that an idempotency key of the caller's names."""
    assert draft.caller is not None
    caller = draft.caller
    scope = key_scope(caller.tenant, caller.agent, caller.service, caller.user)
    return PlanId(_digest((scope, named))[:32])


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()


def _find_run(drafts: Sequence[Draft], now: datetime) -> Generator[Step, Any, PlanId | None]:
    """The run of this plan that has not ended (rule 6); None where there is none."""
    found: list[Request] = []
    for draft in drafts:
        if draft.decision is not None and draft.decision.verdict == "hold":
            dossier: Dossier | None = yield FindRequest(log_of(draft), exact_key(draft))
            if dossier is not None:
                found.append(dossier.request)
    if not found:
        return None
    plan = max(found, key=lambda request: request.opened_at).plan
    if plan is None or now >= max(request.expires_at for request in found if request.plan == plan):
        return None
    return None if (yield from _has_ended(drafts, plan)) else plan


def _has_ended(drafts: Sequence[Draft], plan: PlanId) -> Generator[Step, Any, bool]:
    """Whether the last step of this run was begun, or one that was begun has not ended well."""
    for at, draft in enumerate(drafts):
        taken: TakenKey | None = yield FindKey(log_of(draft), scope_of(draft), step_key(plan, at + 1), digest_of_use(draft))
        if taken is None:
            continue
        if at == len(drafts) - 1:
            return True
        records: tuple[StoredRecord, ...] = yield FindOutcome(taken.call)
        ends = [decode_envelope(record.envelope).outcome for record in records if record.kind in {"outcome", "recovery"}]
        if any(end is not None and end.status != "ok" for end in ends):
            return True
    return False


# the requests of a plan


def _open_requests(drafts: Sequence[Draft], house: House) -> Generator[Step, Any, dict[int, Held] | Denied]:
    """Rule 3: all requests that are not open yet are, in one transaction. Raises `Moved` where another process was first."""
    now = house.now()
    opening = {at: draft for at, draft in enumerate(drafts) if draft.opening is not None}
    statements: list[Statement] = []
    changes: list[Change] = []
    places: dict[int, int] = {}
    for at, draft in opening.items():
        assert draft.opening is not None
        draft.opening = msgspec.structs.replace(draft.opening, opened_at=now)  # one moment for all: by it they are known to belong together
        expiry, moved = requests_moved(draft, house, now)
        filing = house.recorder.hold(draft, microseconds(now), moved, expiry)
        statements += filing.statements
        changes += filing.changes
        places[at] = len(statements) - 1
    if not opening:
        return {}
    try:
        receipts = yield Append(Filing(tuple(statements), tuple(changes)))
    except ConditionLost as lost:
        if lost.condition == "too_many_open":
            return (yield from too_many_open(next(iter(opening.values())), house, lost))
        raise Moved from lost
    except StoreError:
        for draft in opening.values():
            draft.opening = None
        return {}  # nobody was asked, so nothing waits: the pipeline says so of the first step whose turn comes
    held: dict[int, Held] = {}
    for at, draft in opening.items():
        assert draft.decision is not None
        assert draft.opening is not None
        told = told_to_caller(draft)
        held[at] = Held(decision=draft.decision, call=draft.id, request=draft.opening.id, receipt=receipts[places[at]], preview=told)
    return held


def _withdraw_after(drafts: Sequence[Draft], stopped: int, house: House) -> Generator[Step, Any, None]:
    """Rule 5: nobody is asked any more about what follows the step that stopped the plan."""
    for draft in drafts:
        if draft.planned is None or draft.planned.step == stopped + 1 or draft.arguments is None:
            continue
        try:
            dossier: Dossier | None = yield FindRequest(log_of(draft), exact_key(draft))
            request = dossier.request if dossier is not None else None
            if request is None or request.state not in LIVE_STATES or request.plan != draft.planned.plan:
                continue
            event = Event.WITHDRAW
            record = house.recorder.moved(request, event, microseconds(house.now()), {"plan_stopped_at": stopped + 1})
            change = MoveRequest(request.id, sources(event), next_state(request.state, event), house.now())
            yield Append(Filing((record,), (change,)))
        except (ConditionLost, IntegrityBroken, StoreError):
            continue  # decided at the same moment, or not to be told now: it expires, and the plan's run has ended all the same
