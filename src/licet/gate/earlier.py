"""A repeated idempotency key: what the first call with it came to.

Rules:

1. Who has the key is a row that whoever can write the database can edit: the call it leads to counts only if its intent, in the caller's
   log, says that it took one, for this caller, tool and arguments. Otherwise somebody could be handed the result of another's call. The
   key's own text is not compared: one that looks like a credential is not in the record.
2. Where that intent was erased nobody can tell, so that no result leaves; that something ran, and how it ended, is still said.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from licet.gate.draft import Draft
from licet.gate.recorder import digest_of_use, log_of, scope_of
from licet.gate.results import Failed, Ok, Result
from licet.ledger.record import NOTHING, UNREADABLE, commitment, decode_head
from licet.model import UNSEEN, CallId, Effect, OutcomeStatus, Receipt
from licet.store.contract import StoredRecord


class _Taken(Struct, frozen=True):
    scope: str
    digest: str


class _Detail(Struct, frozen=True):
    key: _Taken | None = None


class _Intent(Struct, frozen=True):
    """The part of an intent's payload that says which key it took."""

    detail: _Detail = _Detail()


_decode_intent = msgspec.json.Decoder(_Intent).decode


def find_problem(draft: Draft, call: CallId, records: tuple[StoredRecord, ...]) -> str | None:
    """Why these are not the records of the call that took the draft's key (rule 1); None where they are."""
    assert draft.caller is not None
    assert draft.idempotency_key is not None
    wanted = _Taken(scope_of(draft), digest_of_use(draft))
    intents = [record for record in records if record.kind == "intent"]
    if len(intents) == 1 and {record.log for record in records if record.kind in _SAYING} == {log_of(draft)}:
        try:
            if _took(intents[0], call, wanted):
                return None
        except UNREADABLE:
            pass  # an intent that cannot be read took nothing
    key = draft.idempotency_key
    return f"no record says that call `{call}`, to which idempotency key `{key}` leads, has taken it; run `licet audit verify`"


_SAYING = frozenset({"intent", "outcome", "recovery"})


def _took(record: StoredRecord, call: CallId, wanted: _Taken) -> bool:
    head = decode_head(record.envelope)
    if (head.kind, head.log, head.call) != ("intent", record.log, call):
        return False
    if record.closed == "erased":
        return head.key is not None
    if record.salt is None or record.payload is None or commitment(record.salt, record.payload) != head.payload.commitment:
        return False
    return _decode_intent(record.payload).detail.key == wanted


class _Compared(Struct, frozen=True):
    as_previewed: bool | None = None


class _Reported(Struct, frozen=True):
    effects: _Compared = _Compared()


class _Ended(Struct):
    """The part of a payload that a repeat needs."""

    result: msgspec.Raw = NOTHING
    message: str | None = None
    effects: tuple[Effect, ...] = ()
    detail: _Reported = _Reported()


_decode_ended = msgspec.json.Decoder(_Ended).decode


class _Entry(Struct):
    status: OutcomeStatus
    code: str | None = None


class _Enveloped(Struct):
    """The part of an envelope that a repeat needs."""

    outcome: _Entry | None = None


_decode_enveloped = msgspec.json.Decoder(_Enveloped).decode


def earlier_result(draft: Draft, records: tuple[StoredRecord, ...], receipt: Receipt) -> Result:
    """What became of the first call with the key: its result once more, or how it failed, or that nobody knows."""
    assert draft.decision is not None
    for entry, ended in _ends(records):
        if entry.status == "ok" and bytes(ended.result):
            value = msgspec.json.decode(ended.result)
            return Ok(
                value=value,
                call=draft.id,
                decision=draft.decision,
                receipt=receipt,
                replayed=True,
                effects=ended.effects,
                as_previewed=ended.detail.effects.as_previewed,
                repeats=records[0].call,
            )
        message = ended.message or f"the first call with this key ended as {entry.status}"
        code = "result_not_kept" if entry.status == "ok" else entry.code or entry.status
        return _failed_before(draft, records[0].call, receipt, entry.status, code=code, message=message)
    message = "the first call with this key has not ended, or nobody saw its end; nothing ran now"
    return _failed_before(draft, records[0].call, receipt, "unknown", code="unknown", message=message)


def _ends(records: tuple[StoredRecord, ...]) -> list[tuple[_Entry, _Ended]]:
    """How the call ended, the newest word first; before all that say that nobody saw it. An erased word has lost its result only."""
    found = []
    is_known = any(record.kind == "intent" and record.payload is not None for record in records)  # rule 2
    for record in reversed(records):
        if record.kind in {"outcome", "recovery"}:
            entry = _decode_enveloped(record.envelope).outcome
            if entry is not None:
                found.append((entry, _decode_ended((is_known and record.payload) or b"{}")))
    return sorted(found, key=lambda end: end[0].status in UNSEEN)


def _failed_before(draft: Draft, first: CallId | None, receipt: Receipt, status: OutcomeStatus, *, code: str, message: str) -> Failed:
    return Failed(
        message=message,
        code=code,
        call=draft.id,
        executed=status != "not_executed",
        retry=False,
        receipt=receipt,
        status=status,
        replayed=True,
        repeats=first,
    )
