"""Taking the report of a call that somebody else has executed; see gate/remote.py for the rules."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from licet.catalog import strict
from licet.catalog.spec import ToolSpec
from licet.errors import ArgumentsRefused, ConditionLost, ReportRefused
from licet.gate.conclude import MESSAGE_LIMIT, ended_well, keeps_result, with_effects
from licet.gate.effects import NOTHING_REPORTED, with_returned
from licet.gate.recorder import Recorder
from licet.gate.remote import CallReport, Intent, MayReport, ReportReceipt, Whose, no_such_call, read_intent, whose
from licet.gate.scene import Scene
from licet.gate.text import readable
from licet.gate.unknown import named_again
from licet.ledger.record import NOTHING, OutcomeEntry, Payload, decode_envelope, decode_payload, leaf_hash, microseconds
from licet.ledger.seal import Filing, Statement, state
from licet.ledger.writer import Writer
from licet.model import UNSEEN, CallId, JsonObject, Outcome, OutcomeStatus, Receipt
from licet.store.contract import Change, Store, StoredRecord
from licet.store.remote import EndCall, RemoteCall
from licet.store.unsettled import MarkUnsettled, Settle

T = TypeVar("T")

ATTEMPTS = 5
"""How often a report is looked at afresh because the call has moved (a deadline that passed, a settlement) before it is given up."""
REPORT_LIMIT_BYTES = 16 * 1024 * 1024
"""Of a result as it is read; what is larger than a local one may be is kept as digest and size."""
REPORT_LIMIT_VALUES = 50_000
"""A tool may find more than it is asked with; what has still more values is refused, and can be reported without its result."""
LONG_RESULT_BYTES = 32 * 1024
"""From here up a result is read in a thread: the event loop would stand still meanwhile."""
LONGEST_US = 2**53
SWEPT_AT_ONCE = 256
"""Records of one commit."""
_CODE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_DEFAULT = {
    "error": "it ended with an error",
    "timeout": "it did not end within its time; what it did is not known",
    "not_executed": "nothing ran",
    "unknown": "nobody saw how it ended",
}
_encode = msgspec.json.Encoder(order="sorted").encode
_log = logging.getLogger("licet.gate")


_End: TypeAlias = Literal["open", "late", "row_gone"]
"""What a report finds: an open call, one that has ended, or one without an end whose row somebody has deleted. The end and its row go in
one transaction: who sees no row, and no end after that, sees an edited store, which keeps nothing from the log."""


class _Next(Struct, frozen=True):
    """What to file next for a report, and what it answers with once that is durable; None: then look again."""

    filing: Filing
    told: Callable[[Receipt], ReportReceipt] | None


class _Said(Struct, frozen=True):
    """The part of an outcome's payload that says what was reported."""

    sha256: str
    late: bool = False


class Reporter:
    """Takes reports for one store."""

    def __init__(self, store: Store, writer: Writer, recorder: Recorder, now: Callable[[], datetime], environment: str) -> None:
        self._store = store
        self._writer = writer
        self._recorder = recorder
        self._now = now
        self._environment = environment
        self._doubted: dict[CallId, float] = {}  # calls whose row says too much, each with the moment at which it may be true

    def report(self, scene: Scene, call: CallId, report: CallReport, may: MayReport) -> ReportReceipt:
        """The report is durable, once. Raises `ReportRefused`, `StoreError`, `IntegrityBroken`."""
        checked = _checked(report)
        for _ in range(ATTEMPTS):
            step = self._step(scene, call, checked, may)
            if isinstance(step, ReportReceipt):
                return step
            try:
                receipts = self._writer.submit(step.filing).wait()
            except ConditionLost:
                continue  # somebody else was first: what they recorded is looked at
            if step.told is not None:
                return step.told(receipts[0])
        raise _keeps_moving(call)

    async def areport(self, scene: Scene, call: CallId, report: CallReport, may: MayReport) -> ReportReceipt:
        """As `report`, on the running event loop. Cancelled, what was submitted becomes durable all the same."""
        is_long = report.result is not None and len(report.result) > LONG_RESULT_BYTES
        checked = await asyncio.to_thread(_checked, report) if is_long else _checked(report)
        for _ in range(ATTEMPTS):
            step = await self._aside(functools.partial(self._step, scene, call, checked, may))
            if isinstance(step, ReportReceipt):
                return step
            try:
                ticket = await self._aside(functools.partial(self._writer.submit, step.filing))
                receipts = await ticket.wait_async()
            except ConditionLost:
                continue
            if step.told is not None:
                return step.told(receipts[0])
        raise _keeps_moving(call)

    async def _aside(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, which asks the store: in a thread where that goes over a network."""
        return await asyncio.to_thread(ask) if self._store.is_remote else ask()

    def sweep(self) -> int:
        """Every call whose time is over is recorded as one of which nobody saw the end; how many this process did. Raises `StoreError`."""
        done = 0
        now_us = microseconds(self._now())
        while True:
            limit = SWEPT_AT_ONCE + len(self._doubted)  # rows that nobody recorded stand in nobody's way
            overdue = [call for call in self._store.overdue_calls(now_us, limit) if self._doubted.get(call.call, 0) < now_us]
            if not overdue:
                return done
            ends = [end for call in overdue if (end := self._overdue(call, now_us)) is not None]
            tickets = [self._writer.submit(self._recorder.overdue(end, now_us)) for end in ends]
            for ticket in tickets:
                try:
                    ticket.wait()
                    done += 1
                except ConditionLost:
                    continue  # reported, or said by another process, at this very moment

    def _overdue(self, row: RemoteCall, now_us: int) -> RemoteCall | None:
        """The call, if its time is over by its intent (rule 4). Where nobody can read that, the row is all that there is."""
        records = [record for record in self._store.records_of_call(row.call) if (record.kind, record.log) == ("intent", row.log)]
        until = math.inf
        if len(records) == 1:
            try:
                intent = read_intent(records[0], row.call)
            except ReportRefused:
                return row  # locked or damaged: that nobody saw the end is true all the same
            if intent.payload is None:
                return row
            if intent.remote is not None and intent.remote.report_by < now_us:
                return RemoteCall(row.call, row.log, intent.remote.report_by)
            if intent.remote is not None:
                until = intent.remote.report_by
        self._doubted[row.call] = until
        _log.error("licet: the row of call `%s` is not what its intent says, and ends nothing: run `licet audit verify`", row.call)
        return None

    def _step(self, scene: Scene, call: CallId, report: CallReport, may: MayReport) -> _Next | ReportReceipt:
        """What the records say must happen now."""
        records = self._store.records_of_call(call)
        intent = _intent(records, call, may)
        ends = _ends(records, intent)
        deadline = self._deadline(call, intent)
        digest = _digest(report)
        first = _reported(ends)
        if first is not None:
            return _repeated(call, first, digest)
        open_call = None if ends else self._store.find_remote_call(call)
        if not ends and open_call is None and _ends(self._store.records_of_call(call), intent):
            return _Next(Filing(()), None)  # it has ended since
        now_us = microseconds(self._now())
        if open_call is not None and deadline < now_us:  # rule 5: first that nobody saw the end in time
            return _Next(self._recorder.overdue(open_call, now_us), None)
        end: _End = "late" if ends else "open" if open_call is not None else "row_gone"
        return self._ending(scene, call, intent, report, now_us=now_us, end=end)

    def _deadline(self, call: CallId, intent: Intent) -> int:
        """Until when this can be reported. Raises `ReportRefused` where it is no call that somebody else executes."""
        if intent.remote is not None:
            return intent.remote.report_by
        open_call = self._store.find_remote_call(call) if intent.payload is None else None
        if open_call is not None:
            return open_call.deadline
        if intent.payload is None:
            raise ReportRefused("erased", f"what call `{call}` was about was erased, so nothing is told of it any more")
        raise ReportRefused("not_remote", f"call `{call}` is executed by the process that governs it, which records its end itself")

    def _ending(self, scene: Scene, call: CallId, intent: Intent, report: CallReport, *, now_us: int, end: _End) -> _Next:
        late = end == "late"
        spec = scene.catalog.find_tool(intent.stored.tool.name) if intent.stored.tool is not None else None
        outcome = _outcome(report, intent, spec)
        detail = {"report": {"sha256": _digest(report), "late": late}, **({"late": True} if late else {}), **(outcome.detail or {})}
        statement = self._statement(call, intent, replace(outcome, detail=detail), now_us)
        changes = _changes(call, statement.log, outcome.status, end, unsettled=late and self._store.is_unsettled(call))

        def told(receipt: Receipt) -> ReportReceipt:
            return ReportReceipt(call=call, receipt=receipt, status=outcome.status, is_late=late, as_previewed=outcome.as_previewed)

        return _Next(Filing((statement,), changes), told)

    def _statement(self, call: CallId, intent: Intent, outcome: Outcome, now_us: int) -> Statement:
        stored, again = intent.stored, named_again(intent.stored, intent.payload)
        return state(
            log=stored.log,
            kind="outcome",
            at=now_us,
            boot=self._store.boot,
            environment=self._environment,
            call=call,
            actor=again.actor,
            user_mark=again.user_mark,
            tool=stored.tool,
            targets=again.targets,
            marks=again.marks,
            trace=stored.trace,
            outcome=OutcomeEntry(
                status=outcome.status,
                code=outcome.code,
                duration_us=outcome.duration_us,
                effects=outcome.reported,
                deviates=outcome.as_previewed is False,
            ),
            payload=Payload(
                message=outcome.message,
                result=NOTHING if outcome.result is None else outcome.result,
                effects=outcome.effects,
                detail=outcome.detail,
            ),
        )


def _intent(records: Sequence[StoredRecord], call: CallId, may: MayReport) -> Intent:
    """The intent, of a call whose end may be reported (rule 2)."""
    for record in records:
        if record.kind in {"denial", "hold", "call"} and may(_whose(record)):
            how = {"denial": "was denied", "hold": "is held", "call": "has ended"}[record.kind]
            raise ReportRefused("not_permitted", f"call `{call}` {how}: nobody was permitted to execute it, so there is no end to report")
    intents = [record for record in records if record.kind == "intent"]
    if len(intents) != 1:
        raise no_such_call(call)
    intent = read_intent(intents[0], call)
    if not may(whose(intent.stored, intent.payload)):
        raise no_such_call(call)
    return intent


def _whose(record: StoredRecord) -> Whose:
    return whose(decode_envelope(record.envelope), decode_payload(record.payload) if record.payload is not None else None)


class _Reported(Struct, frozen=True):
    report: _Said | None = None


class _Ended(Struct, frozen=True):
    detail: _Reported = _Reported()


_decode_ended = msgspec.json.Decoder(_Ended).decode


def _reported(ends: list[StoredRecord]) -> tuple[StoredRecord, _Said | None] | None:
    """The record of the first report, and what it says of it (None where it was erased)."""
    for record in ends:
        if record.kind == "outcome":
            said = _decode_ended(record.payload).detail.report if record.payload is not None else None
            if said is not None or record.payload is None:
                return record, said
    return None


def _repeated(call: CallId, first: tuple[StoredRecord, _Said | None], digest: str) -> ReportReceipt:
    record, said = first
    outcome = decode_envelope(record.envelope).outcome
    if said is None or said.sha256 != digest or outcome is None:
        message = f"the end of call `{call}` was reported before, by record {record.log}:{record.index}, and stands"
        raise ReportRefused("already_reported", message)
    receipt = Receipt(record.log, record.index, leaf_hash(record.envelope).hex())
    status: OutcomeStatus = outcome.status  # type: ignore[assignment]  # what this version wrote
    return ReportReceipt(call=call, receipt=receipt, status=status, is_late=said.late, repeated=True)


def _ends(records: Sequence[StoredRecord], intent: Intent) -> list[StoredRecord]:
    return [record for record in records if record.kind in {"outcome", "recovery"} and record.log == intent.stored.log]


def _changes(call: CallId, log: str, status: OutcomeStatus, end: _End, *, unsettled: bool) -> tuple[Change, ...]:
    """What the report moves beside its record. A condition of each keeps it to once."""
    if end == "late":
        return (Settle(call),) if unsettled and status not in UNSEEN else ()
    ended: tuple[Change, ...] = (EndCall(call),) if end == "open" else ()
    return (*ended, MarkUnsettled(call, log)) if status in UNSEEN else ended


def _outcome(report: CallReport, intent: Intent, spec: ToolSpec | None) -> Outcome:
    """What is recorded of a report: nothing of its words where the tool's arguments have secrets (rule 6), or the tool is not known."""
    known = spec is not None and intent.stored.tool is not None and spec.definition == intent.stored.tool.definition
    is_quiet = not known or bool(spec and spec.secrets)
    reported = with_returned(NOTHING_REPORTED, report.effects)
    if report.status == "ok":
        keep = not is_quiet and (intent.stored.key is not None or bool(spec and keeps_result(spec)))
        ended = ended_well(report.result or b"null", report.duration_us, keep=keep)
    else:
        message = _DEFAULT[report.status] if is_quiet or not report.message else report.message
        ended = Outcome(status=report.status, code=report.code or report.status, message=message, duration_us=report.duration_us)
    found = with_effects(ended, reported, intent.approved)
    if not is_quiet or not reported.count:
        return found
    said: JsonObject = {"reported": reported.count, "kept": 0, "as_previewed": found.as_previewed}
    return replace(found, effects=(), detail={**(ended.detail or {}), "effects": said})


def _checked(report: CallReport) -> CallReport:
    """The report, its texts readable and bounded, its result canonical. Raises `ReportRefused` (`bad_report`)."""
    if report.status not in {"ok", *_DEFAULT}:
        raise ReportRefused("bad_report", f"a call ends as one of {', '.join(f'`{one}`' for one in ('ok', *_DEFAULT))}")
    if report.code is not None and not _CODE.fullmatch(report.code):
        raise ReportRefused("bad_report", "a code is a short name: letters, digits and `_.:-`, 64 at most")
    if report.duration_us is not None and not 0 <= report.duration_us < LONGEST_US:
        raise ReportRefused("bad_report", "a duration is a number of microseconds, 0 or more")
    if report.result is not None and report.status != "ok":
        raise ReportRefused("bad_report", "only a call that ended well has a result")
    message = None if report.message is None else readable(report.message[:MESSAGE_LIMIT])
    return replace(report, message=message, result=None if report.result is None else _canonical(report.result))


def _canonical(result: bytes) -> bytes:
    try:
        return strict.encode(strict.parse(result, limit_bytes=REPORT_LIMIT_BYTES, limit_values=REPORT_LIMIT_VALUES))
    except ArgumentsRefused as refused:
        raise ReportRefused("bad_report", f"the result cannot be recorded: {refused}") from refused


def _digest(report: CallReport) -> str:
    """What tells two reports apart (SHA-256, hex). It stands in the encrypted payload: alone it would let somebody guess at a result."""
    said = (report.status, (report.result or b"").decode(), report.code, report.message, report.effects, report.duration_us)
    return hashlib.sha256(_encode(said)).hexdigest()


def _keeps_moving(call: CallId) -> ReportRefused:
    return ReportRefused("contention", f"what is recorded of call `{call}` kept changing while its report was taken; report it again")
