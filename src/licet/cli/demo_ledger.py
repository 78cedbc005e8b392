"""What the demo shows of its ledger: the trail of one customer, a verification, and what one changed byte does to it.

The trail is read from the records alone. The byte is changed in a copy of the file, as somebody would who has the file and no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from licet.cli.demo_plan import Tamper, dollars, is_money
from licet.config import Settings
from licet.gate.opening import open_reading
from licet.ledger.record import Envelope, Payload, decode_payload, read_envelope
from licet.ledger.report import Report
from licet.ledger.verify import verify
from licet.model import JsonObject
from licet.store.contract import Store, StoredRecord


class Entry(Struct, frozen=True):
    """A record of the trail as a sentence. `mark` says how it is shown (ok, hold, deny, fail, unknown)."""

    index: int
    at: datetime
    kind: str
    mark: str
    sentence: str


class Trail(Struct, frozen=True):
    """What the log of a tenant has about one customer, oldest first."""

    log: str
    customer: str
    actors: tuple[str, ...]
    entries: tuple[Entry, ...]


class Tampered(Struct, frozen=True):
    """One byte of a copy was changed: in which record, at which byte of the file, and what verification says."""

    log: str
    index: int
    offset: int
    report: Report


def trail_of(store: Store, log: str, customer: str) -> Trail:
    """Every record of the calls that had this customer among their targets."""
    target = f'Customer::"{customer}"'
    read = [(record, read_envelope(record.envelope, record.payload)) for record in store.records(log)]
    calls = {envelope.call for _, envelope in read if target in envelope.targets}
    mine = [(record, envelope) for record, envelope in read if envelope.call in calls and envelope.call is not None]
    actors = dict.fromkeys(_actor(envelope) for _, envelope in mine if envelope.actor is not None)
    return Trail(log, customer, tuple(actors), tuple(_entries(mine, customer)))


def _actor(envelope: Envelope) -> str:
    assert envelope.actor is not None
    program = envelope.actor.agent or envelope.actor.service
    return " for ".join(name for name in (program, envelope.actor.user) if name)


def _entries(records: Iterable[tuple[StoredRecord, Envelope]], customer: str) -> Iterator[Entry]:
    begun: dict[str, int] = {}  # which record began a call or opened a request, for later ones to point to
    for record, envelope in records:
        payload = decode_payload(record.payload) if record.payload is not None else Payload()
        mark, sentence = _told(envelope, payload, begun, customer)
        yield Entry(record.index, datetime.fromtimestamp(envelope.at / 1_000_000, UTC), record.kind, mark, sentence)
        if envelope.call is not None:
            begun.setdefault(envelope.call, record.index)
        if envelope.approval is not None:
            begun.setdefault(envelope.approval.request, record.index)


def _told(envelope: Envelope, payload: Payload, begun: Mapping[str, int], customer: str) -> tuple[str, str]:
    """How a record is shown, and its sentence."""
    if envelope.kind in ("outcome", "recovery", "vote", "expiry"):
        return _told_later(envelope, payload, begun)
    deed, by = _deed(envelope, payload, customer), _decided_by(envelope)
    match envelope.kind:
        case "call" if envelope.outcome is None:
            earlier = begun.get(str((payload.detail or {}).get("repeats")), "?")
            told = ("note", f"{deed}: repeats #{earlier}, so nothing ran")
        case "call":
            told = ("ok", f"{deed}: allowed {by}")
        case "intent":
            told = ("ok", f"{deed}: allowed {by}{_approved_by(envelope, begun)}")
        case "hold":
            needs = dict.fromkeys(f"{owed.count} of {owed.group}" for owed in payload.obligations)
            told = ("hold", f"{deed}: waits for {', '.join(needs)}")
        case "denial":
            told = ("deny", f"{deed}: denied {by}")
        case _:
            told = ("note", deed)
    return told


def _told_later(envelope: Envelope, payload: Payload, begun: Mapping[str, int]) -> tuple[str, str]:
    """A record that says what became of an earlier one."""
    first = f"#{begun.get(envelope.call or '', '?')}"
    approval = envelope.approval
    if approval is not None and envelope.kind == "vote":
        approves = approval.verdict == "approve"
        return "ok" if approves else "deny", f"{' and '.join(approval.voters)} {'approves' if approves else 'rejects'} {first}"
    if approval is not None:
        return "note", f"{first} waits no longer"
    status = envelope.outcome.status if envelope.outcome is not None else "unknown"
    if status == "ok":
        return "ok", f"{first} ended ok"
    return "unknown" if status == "unknown" else "fail", f"{first} ended as {status}: {payload.message}"


def _decided_by(envelope: Envelope) -> str:
    policies = envelope.decision.policies if envelope.decision is not None else ()
    if envelope.decision is not None and envelope.decision.code == "frozen":
        return "by a freeze"
    return f"by {', '.join(policies)}" if policies else "by a rule of Licet"


def _approved_by(envelope: Envelope, begun: Mapping[str, int]) -> str:
    if envelope.approval is None:
        return ""
    return f"; {' and '.join(envelope.approval.voters)} approved #{begun.get(envelope.approval.request, '?')}"


def _deed(envelope: Envelope, payload: Payload, customer: str) -> str:
    """The tool and what it was to do, in as few words as that takes."""
    tool = envelope.tool.name if envelope.tool is not None else envelope.kind
    arguments: JsonObject = msgspec.json.decode(payload.arguments) if bytes(payload.arguments) else {}
    told = [dollars(value) if is_money(name, value) else str(value) for name, value in arguments.items() if value not in ("", customer)]
    told.sort(key=lambda text: not text.startswith("$"))
    return f"{tool} {', '.join(told)}".rstrip()


def verified(settings: Settings, file: Path | None = None) -> Report:
    """The settings' ledger, or a copy of it in `file`, verified by `licet.ledger.verify`."""
    store = _open(settings, file)
    try:
        with store.source() as source:
            return verify(source)
    finally:
        store.close()


def tamper(settings: Settings, copy: Path, planned: Tamper, log: str) -> Tampered | None:
    """Copy a ledger that nobody has open, change one byte of an envelope in it, and verify it. None where no intent holds the text."""
    find, write = planned.find.encode(), planned.write.encode()
    record = _find(settings, find, log)
    if record is None:
        return None
    content = settings.store_path.read_bytes()
    changed = next(at for at, byte in enumerate(find) if byte != write[at])
    for start in _places(content, record.envelope):  # SQLite leaves stale copies in free space
        offset = start + record.envelope.find(find)
        copy.write_bytes(content[:offset] + write + content[offset + len(find) :])
        report = verified(settings, copy)
        if not report.ok:
            return Tampered(log, record.index, offset + changed, report)
    return None


def _places(content: bytes, envelope: bytes) -> Iterator[int]:
    start = content.find(envelope)
    while start >= 0:
        yield start
        start = content.find(envelope, start + 1)


def _find(settings: Settings, text: bytes, log: str) -> StoredRecord | None:
    store = _open(settings, None)
    try:
        return next((record for record in store.records(log) if record.kind == "intent" and text in record.envelope), None)
    finally:
        store.close()


def _open(settings: Settings, file: Path | None) -> Store:
    named = settings if file is None else msgspec.structs.replace(settings, store=f"sqlite:{file}")
    return open_reading(named, lambda: datetime.now(UTC))
