"""The exact bytes of a record: envelope, payload and the hashes that bind them (format version 1).

    leaf       = SHA-256(0x00 || envelope bytes)                 RFC 6962, section 2.1
    commitment = SHA-256(32-byte salt || payload bytes)

An envelope is JSON with ASCII keys, integers and no floats, at most 65,535 bytes. It is encoded once; what is stored and
hashed are those bytes, which nobody encodes a second time. People and targets stand in it by pseudonym (ledger/vault.py); what can be
read is in the payload, which is stored encrypted.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from licet.errors import IntegrityBroken
from licet.ledger.entropy import new_id as new_id  # noqa: PLC0414  ids of records and calls are named here
from licet.model import CallId, DecidingPolicy, Effect, EntityRef, JsonObject, Obligation, Principal, RequestId, Target

FORMAT_VERSION = 1
ENVELOPE_LIMIT_BYTES = 65_535
"""A C2SP tlog-tiles entry has a 16-bit length."""

Kind = Literal[
    "intent",
    "outcome",
    "call",
    "denial",
    "hold",
    "vote",
    "evaluation",
    "expiry",
    "gap",
    "recovery",
    "freeze",
    "policy",
    "catalog",
    "directory",
    "review",
    "access",
    "erasure",
    "legal_hold",
    "key_rotation",
    "admin",
]


class Actor(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Who called; in an envelope, `user` is a pseudonym."""

    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None


class ToolEntry(Struct, frozen=True, gc=False):
    """Which tool, in which access class, by which pinned definition (SHA-256, hex)."""

    name: str
    access: str | None
    definition: str | None


class DecisionEntry(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What was decided, by which policies, under which bundle; `decided_by` is `policy`, `rule` or `human`."""

    verdict: str
    code: str
    policies: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    bundle: str | None = None
    decided_by: str = "policy"
    count: int | None = None


class ApprovalEntry(Struct, frozen=True, gc=False, omit_defaults=True):
    """The request this record opened, voted on or consumed, and the people (in an envelope: pseudonyms) whose votes it rests on."""

    request: RequestId
    voters: tuple[str, ...] = ()
    verdict: str | None = None


class TraceEntry(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Where the call stands in a larger piece of work."""

    trace_id: str | None = None
    span_id: str | None = None
    parent: str | None = None
    workflow: str | None = None


class OutcomeEntry(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What became of the call; `effects` counts them; `deviates` says that they are not those that were approved."""

    status: str
    code: str | None = None
    duration_us: int | None = None
    effects: int = 0
    deviates: bool = False


class PayloadEntry(Struct, frozen=True, gc=False, omit_defaults=True):
    """The commitment to the payload (SHA-256, hex), its length in bytes, and the pseudonyms of all whose secrets seal it."""

    commitment: str
    length: int
    subjects: tuple[str, ...] = ()


class Envelope(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What is hashed. Fields are append-only; a removed name is never reused; an unknown version is refused. `at` is UTC microseconds."""

    v: int
    log: str
    kind: Kind
    id: str
    at: int
    boot: str
    environment: str
    call: CallId | None = None
    key: str | None = None
    attempt: int | None = None
    actor: Actor | None = None
    tool: ToolEntry | None = None
    targets: tuple[str, ...] = ()
    decision: DecisionEntry | None = None
    approval: ApprovalEntry | None = None
    trace: TraceEntry | None = None
    outcome: OutcomeEntry | None = None
    payload: PayloadEntry
    redactions: tuple[str, ...] = ()


class Asked(Struct, frozen=True, gc=False):
    """The request that an envelope names."""

    request: RequestId


class Head(Struct, frozen=True, gc=False):
    """The fields of an envelope that every record is checked and opened by; decoding all of them would take four times as long."""

    v: int
    log: str
    kind: str
    id: str
    boot: str
    payload: PayloadEntry
    call: CallId | None = None
    key: str | None = None
    approval: Asked | None = None


NOTHING: Final = Raw()
"""The default of embedded JSON. It is left out by identity, so no other empty `Raw` may stand in a payload."""


class Payload(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What is committed to: readable ids, arguments and everything else the decision saw, and what came of it.

    `arguments`, `result` and `preview` are JSON embedded as it is. `detail` carries what belongs to one kind only. `names` says whose
    pseudonyms stand in the envelope: `{"6f1c...": 'Customer::"C-412"'}`. `credential` is the id of that which was shown, if any.
    """

    arguments: Raw = NOTHING
    reason: str | None = None
    message: str | None = None
    principals: tuple[Principal, ...] = ()
    targets: tuple[Target, ...] = ()
    context: JsonObject | None = None
    policies: tuple[DecidingPolicy, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    result: Raw = NOTHING
    effects: tuple[Effect, ...] = ()
    preview: Raw = NOTHING
    detail: JsonObject | None = None
    names: dict[str, str] | None = None
    credential: str | None = None


_encode = msgspec.json.Encoder().encode
_decode_envelope = msgspec.json.Decoder(Envelope, strict=True).decode
_decode_payload = msgspec.json.Decoder(Payload, strict=True).decode
_sha256 = hashlib.sha256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


decode_head = msgspec.json.Decoder(Head).decode
"""The head of an envelope. Raises one of `UNREADABLE` on anything else."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding can raise on bytes that somebody has changed."""


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope's bytes, which are hashed and stored as they are and never encoded again."""
    return _encode(envelope)


def decode_envelope(stored: bytes) -> Envelope:
    """The envelope that these bytes are. Raises `IntegrityBroken` on anything that this version would not have written."""
    try:
        envelope = _decode_envelope(stored)
    except UNREADABLE as error:
        raise IntegrityBroken(f"stored envelope cannot be read: {error}") from error
    if envelope.v != FORMAT_VERSION:
        raise IntegrityBroken(f"envelope has version `{envelope.v}`, this is for version {FORMAT_VERSION}")
    return envelope


def encode_payload(payload: Payload) -> bytes:
    """The payload's bytes, which are committed to and stored as they are."""
    return _encode(payload)


def decode_payload(stored: bytes) -> Payload:
    """The payload that these bytes are. Raises `IntegrityBroken` on anything else."""
    try:
        return _decode_payload(stored)
    except UNREADABLE as error:
        raise IntegrityBroken(f"stored payload cannot be read: {error}") from error


class _Names(Struct, frozen=True, gc=False):
    names: dict[str, str] = {}


_decode_names = msgspec.json.Decoder(_Names).decode


def decode_payload_names(payload: bytes) -> dict[str, str]:
    """Whose pseudonyms stand in the envelope; empty where the payload names nobody, or cannot be read."""
    try:
        return _decode_names(payload).names
    except UNREADABLE:
        return {}


def microseconds(moment: datetime) -> int:
    """UTC microseconds since 1970, exactly: how records write a moment."""
    return (moment - _EPOCH) // _MICROSECOND


def key_scope(tenant: str, agent: str | None, service: str | None, user: str | None) -> str:
    """The digest (SHA-256, hex) within which an idempotency key is unique: one caller."""
    return _sha256(_encode((tenant, agent, service, user))).hexdigest()


def unmask(envelope: Envelope, names: dict[str, str] | None) -> Envelope:
    """The envelope with people and targets by the names that its payload gives them; a pseudonym without a name stays."""
    if not names:
        return envelope
    actor, approval = envelope.actor, envelope.approval
    if actor is not None and actor.user is not None:
        actor = msgspec.structs.replace(actor, user=_id_of(names.get(actor.user), actor.user))
    if approval is not None and approval.voters:
        approval = msgspec.structs.replace(approval, voters=tuple([_id_of(names.get(voter), voter) for voter in approval.voters]))
    targets = tuple([names.get(target.rpartition("::")[2], target) for target in envelope.targets])
    return msgspec.structs.replace(envelope, actor=actor, approval=approval, targets=targets)


def read_envelope(envelope: bytes, payload: bytes | None) -> Envelope:
    """The envelope with the names and the idempotency key that its payload gives, where that is at hand. Raises `IntegrityBroken`."""
    found = decode_envelope(envelope)
    if payload is None:
        return found
    opened = decode_payload(payload)
    key = (opened.detail or {}).get("key")
    if found.key is not None and isinstance(key, dict) and isinstance(key.get("text"), str):
        found = msgspec.structs.replace(found, key=key["text"])
    named = (opened.detail or {}).get("tool")
    if found.tool is not None and found.tool.name == UNKNOWN_TOOL and isinstance(named, str):
        found = msgspec.structs.replace(found, tool=msgspec.structs.replace(found.tool, name=named))
    return unmask(found, opened.names)


def parse_ref(text: str) -> EntityRef:
    """The type and id in `Customer::"C-412"`, as `str` of an `EntityRef` writes it."""
    kind, _, quoted_id = text.partition("::")
    return EntityRef(kind, quoted_id[1:-1].replace('\\"', '"').replace("\\\\", "\\"))


UNKNOWN_TOOL = "(unknown)"
"""How an envelope writes a tool that the catalog does not have; its name stands in the payload, `detail["tool"]`."""


def _id_of(ref: str | None, pseudonym: str) -> str:
    return pseudonym if ref is None else parse_ref(ref).id


def key_digest(tool: str, arguments: bytes) -> str:
    """The digest (SHA-256, hex) of tool and arguments (JSON): what a repeated idempotency key must repeat."""
    return _sha256(_encode((tool, arguments.decode()))).hexdigest()


def leaf_hash(envelope: bytes) -> bytes:
    """The RFC 6962 leaf hash of an envelope's exact bytes (32 bytes)."""
    return _sha256(b"\x00" + envelope).digest()


def commitment(salt: bytes, payload: bytes) -> str:
    """The salted commitment to a payload's exact bytes (hex)."""
    return _sha256(salt + payload).hexdigest()
