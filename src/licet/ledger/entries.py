"""Records as people read them: decoded, found by call, request or place, and told in one sentence each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec import Struct

from licet.ledger.record import Envelope, Payload, decode_payload, read_envelope
from licet.ledger.told import SHORT, TELLERS, Told
from licet.ledger.wording import counted, duration, listed, on_targets, who
from licet.model import CallId, JsonObject, RequestId
from licet.store.contract import Closed, Store, StoredRecord

UNREAD = Payload()
"""What is left to read of a payload that cannot be opened."""

UNREADABLE_BECAUSE: dict[Closed, str] = {
    "": "",
    "erased": "it was erased",
    "locked": "the ledger's key is not at hand",
    "damaged": "its bytes are not those that were written",
}
"""Why a payload cannot be opened."""

_CALL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PLACE = re.compile(r"(?P<log>.+):(?P<index>[0-9]{1,12})")


class Entry(Struct, frozen=True):
    """A record, decoded, with names where the payload gives them. `closed` says why there is no payload, where there is none."""

    log: str
    index: int
    envelope: Envelope
    payload: Payload
    closed: Closed

    @property
    def place(self) -> str:
        """`LOG:INDEX`."""
        return f"{self.log}:{self.index}"

    @property
    def detail(self) -> JsonObject:
        """What belongs to one kind of record only."""
        return self.payload.detail or {}

    @property
    def caller(self) -> str:
        """Who called, in words."""
        actor = self.envelope.actor
        return "nobody" if actor is None else who(actor.agent, actor.service, actor.user)

    @property
    def act(self) -> str:
        """The tool and its targets, in words."""
        tool = self.envelope.tool
        return f"`{tool.name}`{on_targets(self.envelope.targets)}" if tool is not None else "nothing"


def read_entry(record: StoredRecord) -> Entry:
    """A stored record, decoded. Raises `IntegrityBroken` where it cannot be read."""
    payload = UNREAD if record.payload is None else decode_payload(record.payload)
    return Entry(record.log, record.index, read_envelope(record.envelope, record.payload), payload, record.closed)


def is_reference(text: str) -> bool:
    """Whether this can name a recorded call or a record. No tool of a sound catalog has such a name but by malice."""
    return bool(_CALL.fullmatch(text) or _PLACE.fullmatch(text))


def find_entries(store: Store, reference: str) -> tuple[Entry, ...]:
    """Every record of a call or request by its id, or the one at `LOG:INDEX`. Raises `KeyError`, which says what there is not."""
    place = _PLACE.fullmatch(reference)
    if place is not None:
        try:
            return (read_entry(store.get_record(place["log"], int(place["index"]))),)
        except KeyError as error:
            raise KeyError(f"there is no record {place['index']} in log `{place['log']}`") from error
    found = store.records_of_call(CallId(reference)) or _records_of_request(store, reference)
    if not found:
        raise KeyError(f"there is no call `{reference}` in this ledger")
    return tuple(read_entry(record) for record in found)


def _records_of_request(store: Store, reference: str) -> tuple[StoredRecord, ...]:
    """What the log has of the call that opened this request: people are shown its id, and not the call's."""
    try:
        return store.records_of_call(store.get_request(RequestId(reference)).call)
    except KeyError:
        return ()


def find_records(store: Store, reference: str) -> tuple[StoredRecord, ...]:
    """The record at `LOG:INDEX` or with this id, or all of a call, as they are stored. Raises `KeyError` as `find_entries`.

    By the id of a record every log is read through, from its end: no index has those ids.
    """
    try:
        found = find_entries(store, reference)
    except KeyError:
        named = [one for log in store.logs() for one in _with_id(store, log.log, reference)] if _CALL.fullmatch(reference) else []
        if not named:
            raise
        return tuple(named)
    return tuple(store.get_record(entry.log, entry.index) for entry in found)


def _with_id(store: Store, log: str, record: str) -> Iterator[StoredRecord]:
    wanted = f'"id":"{record}"'.encode()
    for one in store.records(log, newest_first=True):
        if wanted in one.envelope and read_envelope(one.envelope, None).id == record:
            yield one
            return


def tell(entry: Entry) -> Told:
    """The record in one sentence."""
    kind = entry.envelope.kind
    if kind in TELLERS:
        return TELLERS[kind](entry.envelope, entry.detail)
    return _TELLERS[kind](entry) if kind in _TELLERS else Told("note", kind, f"a record of kind `{kind}`")


def message_of(entry: Entry) -> str:
    """What the decision, or the outcome, said; its code where the words were erased."""
    if entry.payload.message:
        return entry.payload.message
    decision = entry.envelope.decision
    return decision.code if decision is not None else ""


def _denial(entry: Entry) -> Told:
    return Told("deny", "deny", f"{entry.caller} was denied {entry.act}{_times(entry)}", message_of(entry))


def _hold(entry: Entry) -> Told:
    decision = entry.envelope.decision
    asks = decision is None or decision.code != "preview_only"
    so = "must wait for people to use" if asks else "was shown, and may not run,"
    return Told("hold", "hold", f"{entry.caller} {so} {entry.act}{_times(entry)}", message_of(entry))


def _evaluation(entry: Entry) -> Told:
    asked = entry.detail.get("asked")
    by = asked.get("by", {}) if isinstance(asked, dict) else {}
    shown = by.get("credential")
    asker = f"credential {shown}" if shown else who(by.get("agent"), by.get("service"), by.get("user")) if by else "somebody"
    decision = entry.envelope.decision
    if decision is None:
        sought, found = entry.detail.get("search"), entry.detail.get("found")
        return Told("note", "search", f"{asker} searched for {sought}s, and {found} were found" if sought else "somebody searched")
    would = {"allow": "be allowed", "hold": "have to wait for people to use"}.get(decision.verdict, "be denied")
    message = "" if decision.verdict == "allow" else message_of(entry)
    return Told("note", "asked", f"{asker} asked about {entry.caller}, who would {would} {entry.act}", message)


def _intent(entry: Entry) -> Told:
    approval = entry.envelope.approval
    consent = f", approved by {listed(approval.voters)}" if approval is not None and approval.voters else ""
    undoes = f", to undo call {entry.detail['undoes']}" if "undoes" in entry.detail else ""
    return Told("allow", "allow", f"{entry.caller} was allowed {entry.act}{undoes}{consent}")


def _call(entry: Entry) -> Told:
    if "repeats" in entry.detail:
        return Told("note", "repeat", f"{entry.caller} repeated {entry.act}; the recorded outcome was given again and nothing ran")
    outcome = entry.envelope.outcome
    if outcome is None or outcome.status == "ok":
        return Told("allow", "allow", f"{entry.caller} used {entry.act}")
    mark, word, how = _ENDS[outcome.status]
    return Told(mark, word, f"{entry.caller} used {entry.act}, which {how}", _cause(entry))


_ENDS = {
    "ok": ("ok", "ok", "ran"),
    "error": ("error", "error", "failed"),
    "timeout": ("unknown", "timeout", "did not end in time; what it did is unknown"),
    "not_executed": ("note", "not run", "was never started"),
    "unknown": ("unknown", "unknown", "ended unseen; what it did is unknown"),
}


def _outcome(entry: Entry) -> Told:
    outcome = entry.envelope.outcome
    assert outcome is not None
    if "settled" in entry.detail:
        return _settlement(entry, outcome.status)
    mark, word, how = _ENDS[outcome.status]
    took = f" in {duration(outcome.duration_us)}" if outcome.duration_us is not None and outcome.status == "ok" else ""
    changes = f", {counted(outcome.effects, 'change')} declared" if outcome.effects else ""
    late = ", later than its timeout" if entry.detail.get("late") else ""
    if outcome.deviates:
        mark, changes = "warn", f"{changes}, which are not those that were approved"
    return Told(mark, word, f"{entry.act} {how}{took}{changes}{late}", _cause(entry))


def _settlement(entry: Entry, status: str) -> Told:
    settled = entry.detail["settled"]
    if settled.get("by") == "probe":
        how = "happened" if status == "ok" else "did not happen"
        return Told("note", "settled", f"{entry.act} {how}, says its probe")
    said = {"ok": "happened", "not_executed": "did not happen", "error": "failed"}.get(status, status)
    by, shown = settled.get("as") or "a person", settled.get("credential")
    known = f"credential {shown}" if shown else f"operating user {settled.get('operating_user')}"
    return Told("note", "settled", f"{entry.act} {said}, says {by} ({known})", str(settled.get("reason")))


def _recovery(entry: Entry) -> Told:
    return Told("unknown", "unknown", "nobody saw how a call ended", message_of(entry))


def _vote(entry: Entry) -> Told:
    approval = entry.envelope.approval
    assert approval is not None
    voters = listed(approval.voters) or "somebody"
    taken = entry.detail.get("taken_back")
    vote = entry.detail.get("vote") if taken is None else taken
    by = vote.get("operating_user") if isinstance(vote, dict) else None
    cast = f" (cast by operating user {by})" if by else ""
    shown = vote.get("credential") if isinstance(vote, dict) else None
    cast = f" (with credential {shown})" if shown else cast
    through = vote.get("channel") if isinstance(vote, dict) else None
    cast = f"{cast}, as a client said over {str(through).upper()}" if through else cast
    if approval.verdict == "take_back":
        left = isinstance(taken, dict) and taken.get("by") == "directory"
        what = "may not vote any more, so their vote is gone from" if left else "took their vote back from"
        return Told("note", "vote", f"{voters} {what} a call of {entry.act} by {entry.caller}{cast}")
    verb = "approved" if approval.verdict == "approve" else "rejected"
    return Told("note", "vote", f"{voters} {verb} a call of {entry.act} by {entry.caller}{cast}")


def _expiry(entry: Entry) -> Told:
    verb = {"withdraw": "was withdrawn", "supersede": "was superseded"}.get(str(entry.detail.get("event")), "expired")
    stopped = entry.detail.get("plan_stopped_at")
    because = "somebody whom it was about was erased" if entry.detail.get("because") == "erasure" else ""
    because = because if stopped is None else f"its plan stopped at step {stopped}"
    return Told("note", _ENDED[verb], f"a request {verb}: {entry.detail.get('request', 'unknown')}", because)


_ENDED = {"was withdrawn": "ended", "was superseded": "replaced", "expired": "expired"}


def _gap(entry: Entry) -> Told:
    count = entry.detail.get("count", 0)
    return Told("unknown", "gap", f"{counted(count, 'call')} could not be recorded and did not run", str(entry.detail.get("reason", "")))


def _put_in_force(entry: Entry) -> Told:
    part, digest = str(entry.detail.get("part", entry.envelope.kind)), str(entry.detail.get("sha256", ""))
    return Told("note", "in force", f"{_PARTS.get(part, part.replace('_', ' '))} {digest[:SHORT]} is in force")


_PARTS = {
    "catalog": "the catalog of a process",
    "catalog_in_force": "the catalog of all processes",
    "directory": "the directory",
    "schema": "the schema of the policies",
    "bundle": "the bundle of policies",
    "own": "the text of the permissions of Licet itself",
    "scene": "what all decisions rest on",
}


def _times(entry: Entry) -> str:
    count = entry.envelope.decision.count if entry.envelope.decision is not None else None
    return f" {counted(count, 'more time')} within a minute" if count else ""


def _cause(entry: Entry) -> str:
    outcome = entry.envelope.outcome
    if outcome is None or outcome.status == "ok":
        return ""
    message = entry.payload.message
    return f"{outcome.code or outcome.status}{f' ({message})' if message else ''}"


_TELLERS: dict[str, Callable[[Entry], Told]] = {
    "denial": _denial,
    "hold": _hold,
    "evaluation": _evaluation,
    "intent": _intent,
    "call": _call,
    "outcome": _outcome,
    "recovery": _recovery,
    "vote": _vote,
    "expiry": _expiry,
    "gap": _gap,
    "policy": _put_in_force,
    "catalog": _put_in_force,
    "directory": _put_in_force,
}
