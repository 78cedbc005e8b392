"""Calls of which nobody saw the end: listed, and settled by what a probe answers or by a person.

Rules:

1. Nothing is ever run again. A settlement says what became of a call; it is a record in the call's log, which names whoever the intent
   names, and stands beside what was recorded before. A late end that contradicts it is recorded too, and both stand.
2. A call is settled once: of two settlements at one moment one is refused. One whose end was seen cannot be settled at all.
3. Row and records must both say that the call is unsettled: an edited row settles nothing.
4. A settlement says who made it: the operating user of the process, and the user of the directory or the probe in whose name. It grants
   nothing, and it is as true as they are.
5. Where the intent's payload was erased, the settlement names nobody anew: it repeats the envelope's pseudonyms as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from licet.errors import ConditionLost, IntegrityBroken, SettlementRefused
from licet.gate.conclude import MESSAGE_LIMIT
from licet.gate.text import readable
from licet.identity.directory import Directory
from licet.ledger.record import Actor, Envelope, OutcomeEntry, Payload, decode_envelope, decode_payload, microseconds, parse_ref, unmask
from licet.ledger.seal import Filing, Statement, state
from licet.ledger.vault import Subject
from licet.ledger.writer import Writer
from licet.model import UNSEEN, CallId, Receipt
from licet.names import quoted
from licet.store.contract import Closed, Store, StoredRecord
from licet.store.unsettled import Settle

SettledAs: TypeAlias = Literal["ok", "not_executed", "error"]
SETTLED_AS: tuple[SettledAs, ...] = ("ok", "not_executed", "error")
SETTLED = "settled"
"""The code of a settlement's outcome."""

_EPOCH = datetime.fromtimestamp(0, UTC)
_MEANS: dict[SettledAs, str] = {
    "ok": "it took effect; what it returned is not known",
    "not_executed": "nothing ran, so it may be made again, with a new idempotency key",
    "error": "it failed",
}


class UnknownCall(Struct, frozen=True, kw_only=True):
    """A call that ended without anybody seeing how. `at` is when it was begun, `ended_at` when its end was given up.

    People and targets are readable where the intent's payload is; otherwise `closed` says why not, and they stand by pseudonym. `has_probe`
    is None where the application's tools are not known.
    """

    call: CallId
    tenant: str
    tool: str
    at: datetime
    ended_at: datetime
    agent: str | None
    service: str | None
    user: str | None
    targets: tuple[str, ...]
    status: str
    code: str
    closed: Closed
    has_probe: bool | None


class Settled(Struct, frozen=True, kw_only=True):
    """What a settlement has done: how the call is held to have ended, who said so, and the receipt of its record."""

    call: CallId
    tenant: str
    status: SettledAs
    by: Literal["probe", "person"]
    receipt: Receipt


class Case(Struct, frozen=True):
    """An unsettled call: its intent as it is stored and as it can be read, and the last record that says that nobody saw the end.

    `payload` is None where it is `closed`.
    """

    call: CallId
    stored: Envelope
    payload: Payload | None
    closed: Closed
    end: Envelope
    end_index: int

    @property
    def tool(self) -> str:
        """The tool that was called."""
        return self.stored.tool.name if self.stored.tool is not None else ""

    @property
    def names(self) -> dict[str, str]:
        """Whose pseudonyms stand in the intent; empty where they cannot be read."""
        return (self.payload.names if self.payload is not None else None) or {}


class Said(Struct, frozen=True, kw_only=True):
    """What somebody says of a call: `by` is the user of the directory in whose name, `answer` what a probe answered.

    `credential` is the id of the one that was shown, if one was; `operating_user` who ran the process otherwise.
    """

    status: SettledAs
    operating_user: str | None
    credential: str | None = None
    reason: str | None = None
    by: str | None = None
    answer: bool | None = None


class Reconciliation:
    """Where the unsettled calls of one store are settled, under one directory."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        directory: Directory,
        environment: str,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._writer = writer
        self._directory = directory
        self._environment = environment
        self._now = now

    def settle(
        self,
        call: CallId,
        status: SettledAs,
        *,
        reason: str,
        by: str | None,
        operating_user: str | None,
        credential: str | None = None,
    ) -> Settled:
        """Settle a call in the name of a person.

        Raises `SettlementRefused` (`bad_status`, `no_reason`, `unknown_user`, `not_in_tenant`, `no_such_call`, `not_unknown`,
        `already_settled`), `IntegrityBroken` where row and records differ, `StoreError`.
        """
        if status not in SETTLED_AS:
            raise SettlementRefused("bad_status", f"a call is settled as one of {', '.join(map(quoted, SETTLED_AS))}")
        told = readable(reason).strip()[:MESSAGE_LIMIT]
        if not told:
            raise SettlementRefused("no_reason", "a person settles a call with a reason")
        case = find_case(self._store, call)
        if by is not None:
            self._may_settle(by, case.stored.log)
        return self.record(case, Said(status=status, operating_user=operating_user, credential=credential, reason=told, by=by))

    def record(self, case: Case, said: Said) -> Settled:
        """The settlement is durable. Raises `SettlementRefused` (`already_settled`) where somebody, or the tool itself, was first."""
        statement = self._statement(case, said)
        try:
            receipts = self._writer.submit(Filing((statement,), (Settle(case.call),))).wait()
        except ConditionLost as lost:
            raise SettlementRefused(lost.condition, f"{lost}: somebody else has settled it, or its tool has ended") from lost
        by: Literal["probe", "person"] = "person" if said.answer is None else "probe"
        return Settled(call=case.call, tenant=case.stored.log, status=said.status, by=by, receipt=receipts[0])

    def _may_settle(self, by: str, log: str) -> None:
        user = self._directory.users.get(by)
        if user is None:
            raise SettlementRefused("unknown_user", f"there is no user {quoted(by)}")
        if user.disabled:
            raise SettlementRefused("user_disabled", f"the user {quoted(by)} is disabled")
        if not self._directory.is_in_tenant(by, log):
            raise SettlementRefused("not_in_tenant", f"the user {quoted(by)} does not belong to the tenant {quoted(log)}")

    def _statement(self, case: Case, said: Said) -> Statement:
        stored, who = case.stored, "a person" if said.answer is None else "its probe"
        again = named_again(stored, case.payload)
        settled = {
            "by": "person" if said.answer is None else "probe",
            "operating_user": said.operating_user,
            **({} if said.credential is None else {"credential": said.credential}),
            "as": said.by,
            "reason": said.reason,
            "saw": {
                "index": case.end_index,
                "status": case.end.outcome.status if case.end.outcome is not None else None,
                "answer": said.answer,
            },
        }
        return state(
            log=stored.log,
            kind="outcome",
            at=microseconds(self._now()),
            boot=self._store.boot,
            environment=self._environment,
            call=case.call,
            actor=again.actor,
            user_mark=again.user_mark,
            tool=stored.tool,
            targets=again.targets,
            marks=again.marks,
            about=() if said.by is None else (Subject(stored.log, "User", said.by),),
            trace=stored.trace,
            outcome=OutcomeEntry(status=said.status, code=SETTLED),
            payload=Payload(message=f"settled by {who}: {_MEANS[said.status]}", detail={"late": True, "settled": settled}),
        )


def unknown_calls(store: Store, tenant: str | None = None, probes: Container[str] | None = None) -> tuple[UnknownCall, ...]:
    """Every unsettled call, the oldest first; `probes` are the tools that have one, where they are known.

    Raises `IntegrityBroken` where row and records differ, `StoreError`.
    """
    found = []
    for unsettled in store.unsettled_calls(tenant):
        try:
            case = find_case(store, unsettled.call)
        except SettlementRefused:
            continue  # settled since the rows were read
        found.append(_shown(case, probes))
    return tuple(found)


def unknown_call(store: Store, call: CallId, probes: Container[str] | None = None) -> UnknownCall:
    """One unsettled call. Raises as `find_case`."""
    return _shown(find_case(store, call), probes)


def find_case(store: Store, call: CallId) -> Case:
    """The unsettled call. Raises `SettlementRefused` where it is not one, `IntegrityBroken` where row and records differ."""
    case = _read_case(store, call)
    if not store.is_unsettled(call):
        _read_case(store, call)  # settled between the two readings: then the records say so now
        raise IntegrityBroken(f"nobody saw the end of call `{call}`, and it is not known as unsettled; run `licet audit verify`")
    return case


def _read_case(store: Store, call: CallId) -> Case:
    """The call as its records have it. Raises `SettlementRefused`."""
    records = store.records_of_call(call)
    intent = next((record for record in records if record.kind == "intent"), None)
    if intent is None:
        raise SettlementRefused("no_such_call", f"no intent of a call `{call}` is in the log")
    end = None
    for record in records:
        if record.kind in {"outcome", "recovery"} and record.log == intent.log:
            outcome = decode_envelope(record.envelope).outcome
            if outcome is None or outcome.status not in UNSEEN:
                raise _was_seen(call, record)
            end = record
    if end is None:
        raise SettlementRefused("not_unknown", f"call `{call}` has not ended, or its process has died and no gate has opened since")
    payload = decode_payload(intent.payload) if intent.payload is not None else None
    return Case(call, decode_envelope(intent.envelope), payload, intent.closed, decode_envelope(end.envelope), end.index)


def _was_seen(call: CallId, record: StoredRecord) -> SettlementRefused:
    outcome = decode_envelope(record.envelope).outcome
    if outcome is not None and outcome.code == SETTLED:
        return SettlementRefused("already_settled", f"call `{call}` was settled as {outcome.status} by record {record.log}:{record.index}")
    status = outcome.status if outcome is not None else "over"
    return SettlementRefused("not_unknown", f"the end of call `{call}` is known: it is {status}, by record {record.log}:{record.index}")


def _shown(case: Case, probes: Container[str] | None) -> UnknownCall:
    readable_intent, end = unmask(case.stored, case.names), case.end.outcome
    actor = readable_intent.actor
    return UnknownCall(
        call=case.call,
        tenant=case.stored.log,
        tool=case.tool,
        at=_moment(case.stored.at),
        ended_at=_moment(case.end.at),
        agent=None if actor is None else actor.agent,
        service=None if actor is None else actor.service,
        user=None if actor is None else actor.user,
        targets=readable_intent.targets,
        status="unknown" if end is None else end.status,
        code="unknown" if end is None or end.code is None else end.code,
        closed=case.closed,
        has_probe=None if probes is None else case.tool in probes,
    )


def _moment(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)


class NamedAgain(Struct, frozen=True):
    """Whoever an intent names, for another record of the same call: by name, or where that is gone by the pseudonyms that stand there."""

    actor: Actor | None
    user_mark: str | None
    targets: tuple[Subject, ...]
    marks: tuple[str, ...]


def named_again(stored: Envelope, payload: Payload | None) -> NamedAgain:
    """Whoever the intent names (rule 5). `payload` is None where it cannot be read.

    A target that is masked is another tenant's, and only that tenant's secrets would give its pseudonym again.
    """
    names = (payload.names if payload is not None else None) or {}
    actor = stored.actor
    user = None if actor is None else actor.user
    named = None if user is None else names.get(user)
    if actor is not None and user is not None:
        actor = replace(actor, user=None if named is None else parse_ref(named).id)
    subjects, marks = _targets_again(stored, payload, names)
    return NamedAgain(actor, user if named is None else None, subjects, marks)


def _targets_again(stored: Envelope, payload: Payload | None, names: dict[str, str]) -> tuple[tuple[Subject, ...], tuple[str, ...]]:
    log = stored.log
    owners = {(target.type, target.id): target.tenant for target in payload.targets} if payload is not None else {}
    subjects, marks = [], []
    for target in stored.targets:
        kind, _, pseudonym = target.partition("::")
        if kind == "Tenant":
            subjects.append(Subject(log, kind, pseudonym))
            continue
        name = names.get(pseudonym)
        ref = None if name is None else parse_ref(name)
        if ref is None or owners.get((ref.type, ref.id), log) != log:
            marks.append(target)
        else:
            subjects.append(Subject(log, ref.type, ref.id))
    return tuple(subjects), tuple(marks)
