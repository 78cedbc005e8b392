"""Performs the demo's plan: every step goes through the gate, and what came of it is compared with what the plan expects.

Rules:

1. Nothing is simulated: tools change rows, people's votes are cast as from another process, the killed process is killed.
2. What a step came to is read from where it can be proved: its result, the records of its calls, and every cell of the business database.
3. What was not as expected is said and counted; the rest of the plan goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self, assert_never

import msgspec

from licet.cli.demo_app import Application, kill_midway
from licet.cli.demo_people import Matter, freeze, lift, vote
from licet.cli.demo_plan import Plan, PlannedCall, PlannedFreeze, PlannedLift, PlannedUndo, PlannedVote, Said, Step
from licet.cli.demo_seen import Seen, Told, at, brief, changed, compared, policies_of, reasons
from licet.cli.faults import Refusal
from licet.cli.loading import utc_now
from licet.config import Settings
from licet.errors import FreezeRefused, UndoRefused
from licet.gate.freeze import Froze
from licet.gate.opening import open_reading
from licet.gate.plans import PlanResult
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.ledger.record import decode_envelope, decode_payload, read_envelope
from licet.model import CallId, Effect
from licet.store.contract import Store, StoredRecord

_OF_PLANS: dict[str, Said] = {"done": "allowed", "held": "held"}


class Performance:
    """One run of a plan in a folder that `set_up` has made. Use it as a context manager; it closes what it opens."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._matters: dict[str, Matter] = {}
        self._frozen: dict[str, Froze] = {}
        self._app = Application(folder)
        self._store: Store | None = None

    def __enter__(self) -> Self:
        self._app.gate.seal()
        self._store = open_reading(self.settings, utc_now)
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()
        self._app.gate.close()

    @property
    def store(self) -> Store:
        """The ledger, opened for reading."""
        assert self._store is not None
        return self._store

    @property
    def settings(self) -> Settings:
        """What the application's licet.toml says."""
        return self._app.gate.settings

    @property
    def tenant(self) -> str:
        """The tenant of the agent, whose log it all goes to."""
        return self.settings.agents[self._plan.agent].tenants[0]

    def steps(self) -> Iterator[Told]:
        """Perform the plan; a step is performed when it is asked for. Raises `OperatorError` if the gate cannot go on."""
        number = 0
        for chapter in self._plan.chapters:
            for step in chapter.steps:
                number += 1
                seen = self._perform(step)
                made = step.made
                yield Told(
                    number=number,
                    chapter=chapter.title,
                    sentence=step.sentence,
                    tool=made.tool if made else None,
                    arguments=made.arguments if made else None,
                    seen=seen,
                    unmet=tuple(compared(step.expect, seen)),
                )

    def _perform(self, step: Step) -> Seen:
        before = self._app.business.cells()
        seen = self._do(step)
        changes = tuple(changed(before, self._app.business.cells()))
        return msgspec.structs.replace(seen, records=tuple(map(brief, self._records(seen))), changes=changes)

    def _do(self, step: Step) -> Seen:
        match step:
            case Step(call=PlannedCall() as call):
                seen = self._call(call, step)
            case Step(plan=tuple() as calls):
                seen = self._propose(calls, step)
            case Step(undo=PlannedUndo() as undo):
                seen = self._undo(undo)
            case Step(vote=PlannedVote() as cast):
                seen = vote(self.settings, self._matters[cast.about], cast)
            case Step(freeze=PlannedFreeze() as stop):
                seen = self._freeze(stop, step)
            case Step(lift=PlannedLift() as end):
                seen = self._lift(end)
            case _:
                assert step.kill is not None
                seen = self._kill(step.kill)
        return seen

    def _records(self, seen: Seen) -> Sequence[StoredRecord]:
        if seen.receipt is not None:
            return (self.store.get_record(seen.receipt.log, seen.receipt.index),)
        return [record for call in seen.calls for record in self.store.records_of_call(call)]

    def _call(self, planned: PlannedCall, step: Step) -> Seen:
        gate = self._app.gate
        with gate.acting(agent=self._plan.agent, user=self._plan.user):
            result = gate.call(planned.tool, planned.arguments, idempotency_key=planned.key)
        self._name(step, Matter((result.call,), request=result.request if isinstance(result, Held) else None))
        return self._seen(result, step.show)

    def _name(self, step: Step, matter: Matter) -> None:
        if step.name is not None:
            self._matters[step.name] = matter

    def _seen(self, result: Result, show: Sequence[str] = ()) -> Seen:
        calls = (result.call,)
        match result:
            case Ok(decision=decision):
                return Seen(
                    verdict="allowed",
                    code=decision.code,
                    reason=self._approved(result.call) or reasons(decision),
                    calls=calls,
                    policies=policies_of(decision),
                    flagged=self._unexpected(result.call) if result.as_previewed is False else (),
                    returned=tuple(str(at(result.value, path)) for path in show),
                )
            case Denied(decision=decision):
                return Seen(verdict="denied", code=decision.code, reason=reasons(decision), calls=calls, policies=policies_of(decision))
            case Held(decision=decision, preview=preview):
                reason, policies = reasons(decision), policies_of(decision)
                return Seen(verdict="held", code=decision.code, reason=reason, calls=calls, policies=policies, effects=preview or ())
            case Failed():
                verdict: Said = "unknown" if result.status == "unknown" else "failed"
                reason = result.message + ("; nothing ran now" if result.replayed else "")
                return Seen(verdict=verdict, code=result.code, reason=reason, calls=calls)
        assert_never(result)

    def _approved(self, call: CallId) -> str | None:
        """Whose approval this call has used up, as its intent says."""
        for record in self.store.records_of_call(call):
            approval = read_envelope(record.envelope, record.payload).approval
            if record.kind == "intent" and approval is not None:
                return f"{' and '.join(approval.voters)} approved exactly this call"
        return None

    def _unexpected(self, call: CallId) -> tuple[Effect, ...]:
        """What the tool reported although nobody had approved it, as the outcome says."""
        last = self.store.records_of_call(call)[-1]
        detail = (decode_payload(last.payload).detail if last.payload is not None else None) or {}
        return msgspec.convert(detail.get("effects", {}).get("unexpected", ()), tuple[Effect, ...])

    def _propose(self, planned: tuple[PlannedCall, ...], step: Step) -> Seen:
        gate = self._app.gate
        with gate.acting(agent=self._plan.agent, user=self._plan.user):
            result = gate.plan([(call.tool, call.arguments) for call in planned])
        seen = [self._seen(one.result) for one in result.steps if one.result is not None]
        calls = tuple([call for one in seen for call in one.calls])
        self._name(step, Matter(calls, plan=result.plan if result.state == "held" else None))
        return Seen(
            verdict=_OF_PLANS.get(result.state) or seen[-1].verdict,
            code=result.state if result.state != "stopped" else seen[-1].code,
            reason=_of_plan(result, seen),
            calls=calls,
            policies=tuple(dict.fromkeys(policy for one in seen for policy in one.policies)),
            effects=tuple([effect for one in seen for effect in one.effects]),
        )

    def _undo(self, planned: PlannedUndo) -> Seen:
        gate, call = self._app.gate, self._matters[planned.about].calls[0]
        try:
            with gate.acting(agent=self._plan.agent, user=self._plan.user):
                return self._seen(gate.undo(call, reason=planned.reason))
        except UndoRefused as refused:
            return Seen(verdict="refused", code=refused.code, reason=str(refused), calls=(call,))

    def _freeze(self, planned: PlannedFreeze, step: Step) -> Seen:
        try:
            seen, froze = freeze(self.settings, self.tenant, planned)
        except FreezeRefused as refused:
            return Seen(verdict="refused", code=refused.code, reason=str(refused))
        if step.name is not None:
            self._frozen[step.name] = froze
        return seen

    def _lift(self, planned: PlannedLift) -> Seen:
        froze = self._frozen.get(planned.about)
        if froze is None:
            return Seen(verdict="refused", code="no_such_freeze", reason="nothing was frozen there")
        return lift(self._app.gate, froze, planned)

    def _kill(self, planned: PlannedCall) -> Seen:
        """Have the call's process killed, then start the application again: its gate finds the open intent and says what is known."""
        try:
            call = kill_midway(self._folder, self._app.business, self.store, planned)
        except Refusal as refusal:
            return Seen(verdict="failed", code=refusal.fault.code, reason=str(refusal))
        self._app.gate.close()
        self._app = Application(self._folder)
        self._app.gate.seal()
        last = self.store.records_of_call(call)[-1]
        outcome = decode_envelope(last.envelope).outcome
        if outcome is None or last.payload is None:
            return Seen(verdict="failed", code="not_recovered", reason="no outcome was recorded when the gate opened again", calls=(call,))
        verdict: Said = "unknown" if outcome.status == "unknown" else "failed"
        reason = decode_payload(last.payload).message or outcome.status
        return Seen(verdict=verdict, code=outcome.code or outcome.status, reason=reason, calls=(call,))


def _of_plan(result: PlanResult, seen: Sequence[Seen]) -> str:
    """How far a plan has come, and what the last step to be looked at says."""
    ran = sum(one.verdict == "allowed" for one in seen)
    waits = sum(one.verdict == "held" for one in seen)
    if result.state == "held":
        return f"{ran} of {len(result.steps)} steps ran, {waits} are asked about at once: {seen[-1].reason}"
    done = f"{ran} of {len(result.steps)} steps ran"
    return done if result.state == "done" else f"{done}, then it stopped: {seen[-1].reason}"
