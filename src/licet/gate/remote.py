"""Calls that somebody else executes: proposed here, permitted here, executed elsewhere, and reported back.

Rules:

1. Such a call goes through the one pipeline. Its intent is durable before anybody may execute it, also that of a read; whoever executes it
   is given the canonical arguments that were decided on, and must execute exactly those, once.
2. How it ended is what its caller says: tenant, agent, service and user must be those of the intent. To anybody else there is no such call.
   A report decides nothing and grants nothing.
3. It is reported once. The same report again is answered with the receipt of the first; another one is refused.
4. It belongs to the ledger and to no process: any process takes the report, whatever has become of the one that permitted it. Everything
   that counts is read in the intent's record, which must be what its envelope commits to.
5. After the deadline any process records that nobody saw the end, once. A report that comes later is recorded as a late outcome beside it.
6. What was reported is kept by the rules of local calls. Where the tool's arguments have secrets, nothing that a report says is: nobody
   here can tell whether it repeats one.

Not guaranteed: that what is reported is true, or that whoever was permitted has executed what was permitted, and once. Of two equal reports
that come late, to two processes at one moment, about a call that was settled before, both may be recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from licet.errors import ReportRefused
from licet.ledger.record import UNREADABLE, Actor, Envelope, Payload, commitment, decode_envelope, decode_payload, leaf_hash, unmask
from licet.model import UNSEEN, Caller, CallId, DecidingPolicy, Decision, Effect, JsonObject, Obligation, OutcomeStatus, Receipt, RequestId
from licet.store.contract import Store, StoredRecord

CallState: TypeAlias = Literal["denied", "held", "open", "ended", "unknown"]

_EPOCH = datetime.fromtimestamp(0, UTC)
_ENDS = frozenset({"outcome", "recovery", "call"})
_UNDECIDED = Decision(verdict="deny", code="unknown", message="its record does not say")


class CallReport(Struct, frozen=True, kw_only=True):
    """How a call ended, as whoever executed it says. `result` is JSON text, of a call that ended well.

    `code` is a short name for what went wrong (an exception's class), never a secret; `message` is for people. `timeout` and `unknown`
    say that nobody saw the end, `not_executed` that nothing ran.
    """

    status: OutcomeStatus
    result: bytes | None = None
    code: str | None = None
    message: str | None = None
    effects: tuple[Effect, ...] = ()
    duration_us: int | None = None


class ReportReceipt(Struct, frozen=True, kw_only=True):
    """A report is durable. `is_late` says that its time was over; `repeated` that exactly this was reported before.

    `as_previewed` says whether the effects are those that people approved; None where that cannot be said.
    """

    call: CallId
    receipt: Receipt
    status: OutcomeStatus
    is_late: bool = False
    repeated: bool = False
    as_previewed: bool | None = None


class CallEnd(Struct, frozen=True, kw_only=True):
    """How a call is held to have ended; `result` is JSON, None where none was kept."""

    status: OutcomeStatus
    code: str | None
    message: str | None
    result: bytes | None
    effects: tuple[Effect, ...]
    as_previewed: bool | None


class CallSeen(Struct, frozen=True, kw_only=True):
    """Where a call stands, by its records. `caller` is whose it is: nobody else is told of it.

    `report_by` is there for a call that somebody else executes; `request` is the one that a held call waits on. `receipts` are those of its
    records, in order. What was erased is left out.
    """

    call: CallId
    caller: Whose
    state: CallState
    tool: str
    decision: Decision
    request: RequestId | None = None
    report_by: datetime | None = None
    end: CallEnd | None = None
    receipts: tuple[Receipt, ...] = ()


class RemoteEntry(Struct, frozen=True):
    """What an intent says of a call that somebody else executes: until when (UTC microseconds), and whether people approved its preview."""

    report_by: int
    promised: bool = False


class _Detail(Struct, frozen=True):
    remote: RemoteEntry | None = None


class _Preview(Struct, frozen=True):
    preview: tuple[Effect, ...] | None = None
    detail: _Detail = _Detail()


_decode_preview = msgspec.json.Decoder(_Preview).decode


class Intent(Struct, frozen=True, kw_only=True):
    """The intent of a call as its record has it. `payload` is None where it was erased; then `remote` is, too."""

    stored: Envelope
    payload: Payload | None
    remote: RemoteEntry | None
    preview: tuple[Effect, ...] | None

    @property
    def approved(self) -> tuple[Effect, ...] | None:
        """The effects that people approved."""
        return self.preview if self.remote is not None and self.remote.promised else None


def moment(at_us: int) -> datetime:
    """A moment from UTC microseconds."""
    return _EPOCH + timedelta(microseconds=at_us)


def no_such_call(call: CallId) -> ReportRefused:
    """What everybody is told whose call it is not, and where there is none."""
    return ReportRefused("no_such_call", f"there is no call `{call}` of this caller")


class Whose(Struct, frozen=True, kw_only=True):
    """The caller of a call as its record has it. `user_erased`: it acted for somebody whose name nobody knows any more."""

    tenant: str
    agent: str | None
    service: str | None
    user: str | None
    user_erased: bool = False

    def is_of(self, caller: Caller) -> bool:
        """Whether the call is this caller's. Where a user was erased, tenant and agent or service must do."""
        named = (caller.tenant, caller.agent, caller.service) == (self.tenant, self.agent, self.service)
        return named and (self.user == caller.user or (self.user_erased and caller.user is not None))


MayReport: TypeAlias = Callable[[Whose], bool]
"""Whether somebody may report the calls of this caller (rule 2)."""


def whose(envelope: Envelope, payload: Payload | None) -> Whose:
    """Whose call a record is of."""
    actor = envelope.actor or Actor()
    named = unmask(envelope, payload.names).actor if payload is not None else None
    return Whose(
        tenant=envelope.log,
        agent=actor.agent,
        service=actor.service,
        user=None if named is None else named.user,
        user_erased=payload is None and actor.user is not None,
    )


def read_intent(record: StoredRecord, call: CallId) -> Intent:
    """The intent that a record is (rule 4). Raises `ReportRefused` where it is not what its envelope commits to."""
    envelope = decode_envelope(record.envelope)
    if (envelope.kind, envelope.log, envelope.call) != ("intent", record.log, call):
        raise _not_in_log(record)
    if record.payload is None or record.salt is None:
        if record.closed != "erased":
            raise ReportRefused("locked", f"the payload of record {record.log}:{record.index} cannot be read ({record.closed})")
        return Intent(stored=envelope, payload=None, remote=None, preview=None)
    if commitment(record.salt, record.payload) != envelope.payload.commitment:
        raise _not_in_log(record)
    try:
        found = _decode_preview(record.payload)
        return Intent(stored=envelope, payload=decode_payload(record.payload), remote=found.detail.remote, preview=found.preview)
    except UNREADABLE as error:
        raise _not_in_log(record) from error


def _not_in_log(record: StoredRecord) -> ReportRefused:
    message = f"record {record.log}:{record.index} is not the intent that it is kept as; run `licet audit verify`"
    return ReportRefused("not_in_log", message)


def find_seen(store: Store, call: CallId) -> CallSeen | None:
    """Where a call stands; None where no log has one with this id. Raises `StoreError`, `IntegrityBroken`."""
    records = [record for record in store.records_of_call(call) if record.kind in {"denial", "hold", "intent", *_ENDS}]
    if not records:
        return None
    first = next((record for record in records if record.kind in {"intent", "call"}), records[0])
    records = [record for record in records if record.log == first.log]
    stored, payload = decode_envelope(first.envelope), decode_payload(first.payload) if first.payload is not None else None
    detail = (payload.detail or {}) if payload is not None else {}
    state, end = _state(first, records)
    remote = detail.get("remote")
    return CallSeen(
        call=call,
        caller=whose(stored, payload),
        state=state,
        tool=stored.tool.name if stored.tool is not None else "",
        decision=_decision(stored, payload),
        request=stored.approval.request if stored.approval is not None else None,
        report_by=moment(remote["report_by"]) if isinstance(remote, dict) else None,
        end=end,
        receipts=tuple([Receipt(record.log, record.index, leaf_hash(record.envelope).hex()) for record in records]),
    )


def _state(first: StoredRecord, records: list[StoredRecord]) -> tuple[CallState, CallEnd | None]:
    if first.kind in {"denial", "hold"}:
        return ("denied" if first.kind == "denial" else "held"), None
    ends = [_end(record) for record in records if record.kind in _ENDS]
    if not ends:
        return "open", None
    seen = [end for end in ends if end.status not in UNSEEN]
    return ("ended", seen[-1]) if seen else ("unknown", ends[-1])


def _end(record: StoredRecord) -> CallEnd:
    outcome = decode_envelope(record.envelope).outcome
    payload = decode_payload(record.payload) if record.payload is not None else Payload()
    compared: JsonObject = (payload.detail or {}).get("effects") or {}
    return CallEnd(
        status="unknown" if outcome is None else outcome.status,  # type: ignore[arg-type]  # what this version wrote
        code=None if outcome is None else outcome.code,
        message=payload.message,
        result=bytes(payload.result) or None,
        effects=payload.effects,
        as_previewed=compared.get("as_previewed"),
    )


def _decision(stored: Envelope, payload: Payload | None) -> Decision:
    entry = stored.decision
    if entry is None:
        return _UNDECIDED
    policies: tuple[DecidingPolicy, ...] = () if payload is None else payload.policies
    obligations: tuple[Obligation, ...] = () if payload is None else payload.obligations
    message = (payload.message if payload is not None else None) or ""
    return Decision(
        verdict=entry.verdict,  # type: ignore[arg-type]  # what this version wrote
        code=entry.code,
        message=message,
        policies=policies,
        obligations=obligations,
    )
