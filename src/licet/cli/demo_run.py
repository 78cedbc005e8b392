"""Performs the demo's plan: every step goes through the gate, and what came of it is compared with what the plan expects.

Rules:

1. Nothing is simulated: tools change rows, people's votes are cast as from another process, the killed process is killed.
2. What a step came to is read from where it can be proved: its result, the records of its call, and every cell of the business database.
3. What was not as expected is said and counted; the rest of the plan goes on.
"""

from __future__ import annotations

import getpass
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, assert_never

import msgspec
from msgspec import Struct

from licet.approvals.desk import Desk
from licet.cli.demo_app import Application, Cells, kill_midway
from licet.cli.demo_plan import Change, Expected, Plan, PlannedCall, PlannedVote, Said, Step
from licet.cli.faults import Refusal
from licet.config import Settings
from licet.errors import VoteRefused
from licet.gate.opening import OpenLedger, open_reading
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.identity.directory import Directory
from licet.ledger.record import decode_envelope, decode_payload, read_envelope
from licet.model import CallId, DecidingPolicy, Decision, Effect, JsonObject, RequestId, RequestState
from licet.store.contract import StoredRecord
from licet.store.sqlite import SqliteStore


class Seen(Struct, frozen=True, kw_only=True):
    """What came of a step. `effects` are what a held call would change; `returned` is what the plan wants shown of the tool's result."""

    verdict: Said
    code: str
    reason: str
    call: CallId | None = None
    policies: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    effects: tuple[Effect, ...] = ()
    returned: tuple[str, ...] = ()


class Unmet(Struct, frozen=True):
    """An expectation that was not met."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"expected {self.what} {self.expected}, found {self.found}"


class Told(Struct, frozen=True, kw_only=True):
    """A step that was performed: what was done, what came of it, and what of that was not expected."""

    number: int
    chapter: str
    sentence: str
    tool: str | None
    arguments: JsonObject | None
    seen: Seen
    unmet: tuple[Unmet, ...]


class Performance:
    """One run of a plan in a folder that `set_up` has made. Use it as a context manager; it closes what it opens."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._requests: dict[str, tuple[RequestId | None, CallId]] = {}
        self._app = Application(folder)
        self._store: SqliteStore | None = None

    def __enter__(self) -> Self:
        self._app.gate.seal()
        self._store = open_reading(self.settings, _now)
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()
        self._app.gate.close()

    @property
    def store(self) -> SqliteStore:
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
                    unmet=tuple(_compared(step.expect, seen)),
                )

    def _perform(self, step: Step) -> Seen:
        before = self._app.business.cells()
        if step.vote is not None:
            seen = self._vote(step.vote)
        elif step.kill is not None:
            seen = self._kill(step.kill)
        else:
            assert step.call is not None
            seen = self._call(step.call, step)
        records = self.store.records_of_call(seen.call) if seen.call is not None else ()
        changes = tuple(_changed(before, self._app.business.cells()))
        return msgspec.structs.replace(seen, records=tuple(map(_brief, records)), changes=changes)

    def _call(self, planned: PlannedCall, step: Step) -> Seen:
        gate = self._app.gate
        with gate.acting(agent=self._plan.agent, user=self._plan.user):
            result = gate.call(planned.tool, planned.arguments, idempotency_key=planned.key)
        if step.name is not None:
            self._requests[step.name] = (result.request if isinstance(result, Held) else None, result.call)
        return self._seen(result, step.show)

    def _seen(self, result: Result, show: Sequence[str]) -> Seen:
        match result:
            case Ok():
                decision = result.decision
                voters = self._voters(result.call)
                reason = f"{' and '.join(voters)} approved exactly this call" if voters else _reasons(decision)
                returned = tuple(str(_at(result.value, path)) for path in show)
                return _decided("allowed", result.call, decision, reason, returned=returned)
            case Denied():
                return _decided("denied", result.call, result.decision, _reasons(result.decision))
            case Held():
                return _decided("held", result.call, result.decision, _reasons(result.decision), effects=result.preview or ())
            case Failed():
                verdict: Said = "unknown" if result.status == "unknown" else "failed"
                reason = result.message + ("; nothing ran now" if result.replayed else "")
                return Seen(verdict=verdict, code=result.code, reason=reason, call=result.call)
        assert_never(result)

    def _voters(self, call: CallId) -> tuple[str, ...]:
        """Whose approval this call has used up, as its intent says."""
        for record in self.store.records_of_call(call):
            approval = read_envelope(record.envelope, record.payload).approval
            if record.kind == "intent" and approval is not None:
                return approval.voters
        return ()

    def _vote(self, planned: PlannedVote) -> Seen:
        """Vote as from a process of its own, which knows the ledger and the directory and nothing else of this one."""
        request, call = self._requests[planned.about]
        if request is None:
            return Seen(verdict="refused", code="no_request", reason="that call was not held: nobody is asked for anything", call=call)
        settings = self.settings
        ledger = OpenLedger(settings, _now)
        try:
            desk = Desk(ledger.store, ledger.writer, Directory.from_settings(settings), settings.environment, _now)
            cast = desk.vote(request, planned.voter, planned.verdict, operating_user=getpass.getuser())
            standing = desk.show(request).standing
        except VoteRefused as refused:
            return Seen(verdict="refused", code=refused.code, reason=str(refused), call=call)
        finally:
            ledger.close()
        if cast.request.state is RequestState.OPEN:
            missing = sum(need.missing for need in standing.needs)
            return Seen(verdict="counted", code="open", reason=f"{missing} more must agree", call=call)
        verdict: Said = "approved" if cast.request.state is RequestState.APPROVED else "rejected"
        return Seen(verdict=verdict, code=cast.request.state, reason="for exactly this call, once", call=call)

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
            return Seen(verdict="failed", code="not_recovered", reason="no outcome was recorded when the gate opened again", call=call)
        verdict: Said = "unknown" if outcome.status == "unknown" else "failed"
        reason = decode_payload(last.payload).message or outcome.status
        return Seen(verdict=verdict, code=outcome.code or outcome.status, reason=reason, call=call)


def _decided(
    verdict: Said, call: CallId, decision: Decision, reason: str, *, effects: tuple[Effect, ...] = (), returned: tuple[str, ...] = ()
) -> Seen:
    owed = dict.fromkeys(obligation.policy for obligation in decision.obligations)
    policies = tuple(owed or dict.fromkeys(policy.id for policy in decision.policies))
    return Seen(verdict=verdict, code=decision.code, reason=reason, call=call, policies=policies, effects=effects, returned=returned)


def _reasons(decision: Decision) -> str:
    """Each reason that policies give, once; where they give none, what Licet says."""
    said: Sequence[DecidingPolicy | Any] = decision.obligations or decision.policies
    return "; ".join(dict.fromkeys(one.reason for one in said if one.reason)) or decision.message


def _brief(record: StoredRecord) -> str:
    """A record in a word or two: its kind, and the outcome or vote that it holds."""
    envelope = decode_envelope(record.envelope)
    if envelope.outcome is not None:
        return f"{record.kind} {envelope.outcome.status}"
    if record.kind == "vote" and envelope.approval is not None:
        return f"{record.kind} {envelope.approval.verdict}"
    return record.kind


def _changed(before: Cells, after: Cells) -> Iterator[Change]:
    for table, row, column in sorted(before.keys() | after.keys()):
        one, other = before.get((table, row, column)), after.get((table, row, column))
        if one != other:
            yield Change(f"{table}/{row}", column, one, other)


def _at(value: Any, path: str) -> Any:
    """What lies at a dotted path; nothing where there is no such thing."""
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return "(nothing)"
    return value


def _compared(expected: Expected, seen: Seen) -> Generator[Unmet]:
    """What is not as the plan says."""
    for what, wanted, found in (("verdict", expected.verdict, seen.verdict), ("code", expected.code, seen.code)):
        if wanted is not None and wanted != found:
            yield Unmet(what, f"`{wanted}`", f"`{found}`")
    if expected.because is not None and expected.because not in seen.reason:
        yield Unmet("a reason with", f"`{expected.because}`", f"`{seen.reason}`")
    if expected.policies is not None and set(expected.policies) != set(seen.policies):
        yield Unmet("policies", _listed(expected.policies), _listed(seen.policies))
    if expected.records is not None and expected.records != seen.records:
        yield Unmet("records", _listed(expected.records), _listed(seen.records))
    wanted_changes, found_changes = set(map(_told, expected.changes)), set(map(_told, seen.changes))
    if wanted_changes != found_changes:
        yield Unmet("changes", _listed(sorted(wanted_changes)), _listed(sorted(found_changes)))


def _told(change: Change) -> str:
    return f"{change.row} {change.column}: {change.before} to {change.after}"


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(f"`{part}`" for part in parts) or "none"


def _now() -> datetime:
    return datetime.now(UTC)
