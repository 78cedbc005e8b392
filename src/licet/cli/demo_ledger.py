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
from licet.ledger.record import Envelope, Payload, decode_envelope, decode_payload
from licet.ledger.report import Report
from licet.ledger.verify import verify
from licet.model import JsonObject
from licet.store.contract import Store, StoredRecord
from licet.store.sqlite import SqliteStore

PAGE_BYTES = 4_096
"""A payload begins on the page that holds its salt; what is looked for stands near its beginning."""


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
    read = [(record, decode_envelope(record.envelope)) for record in store.records(log)]
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


def verified(file: Path) -> Report:
    """The ledger in a file, verified by `licet.ledger.verify`."""
    store = SqliteStore.open(file, now=lambda: datetime.now(UTC), read_only=True)
    try:
        with store.source() as source:
            return verify(source)
    finally:
        store.close()


def tamper(file: Path, copy: Path, planned: Tamper, log: str) -> Tampered | None:
    """Copy a ledger that nobody has open, change one byte of a payload in the copy, and verify it. None where no intent holds the text."""
    find, write = planned.find.encode(), planned.write.encode()
    record = _find(file, find, log)
    if record is None or record.salt is None:
        return None
    content = file.read_bytes()
    for offset in _offsets(content, record.salt, find):
        copy.write_bytes(content[:offset] + write + content[offset + len(find) :])
        if write in (_read(copy, log, record.index).payload or b""):
            changed = next(at for at, byte in enumerate(find) if byte != write[at])
            return Tampered(log, record.index, offset + changed, verified(copy))
    return None


def _offsets(content: bytes, salt: bytes, text: bytes) -> Iterator[int]:
    """Where the text of this record stands: behind its salt, which no other record has. SQLite leaves stale copies in free space."""
    start = content.find(salt)
    while start >= 0:
        offset = content.find(text, start, start + PAGE_BYTES)
        if offset >= 0:
            yield offset
        start = content.find(salt, start + 1)


def _read(file: Path, log: str, index: int) -> StoredRecord:
    store = SqliteStore.open(file, now=lambda: datetime.now(UTC), read_only=True)
    try:
        return store.get_record(log, index)
    finally:
        store.close()


def _find(file: Path, text: bytes, log: str) -> StoredRecord | None:
    store = SqliteStore.open(file, now=lambda: datetime.now(UTC), read_only=True)
    try:
        return next((record for record in store.records(log) if record.kind == "intent" and text in (record.payload or b"")), None)
    finally:
        store.close()
