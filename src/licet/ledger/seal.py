"""Sealing a record: from fields to the exact bytes that are appended.

Rules for an envelope over its limit of 65,535 bytes (a hundred long target ids can do that):

1. Nothing is lost: what is cut from the envelope stands whole in the payload, under `detail["uncut"]`, and the envelope commits to it.
2. A text whose JSON is longer than 200 bytes becomes `sha256:` and the SHA-256 (hex) of its UTF-8; a list keeps its first 20 members.
3. `redactions` says which fields were cut, each as `cut:<field>`.
4. The result fits whatever came in: five lists of 20 texts and about 20 single ones, of 200 bytes each, are less than 64 KiB.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from licet.ledger.entropy import draw_salt, new_id
from licet.ledger.record import (
    ENVELOPE_LIMIT_BYTES,
    FORMAT_VERSION,
    Actor,
    ApprovalEntry,
    DecisionEntry,
    Envelope,
    Kind,
    OutcomeEntry,
    Payload,
    PayloadEntry,
    ToolEntry,
    TraceEntry,
    commitment,
    encode_envelope,
    encode_payload,
)
from licet.model import CallId, JsonObject
from licet.store.contract import NewRecord

TEXT_LIMIT_BYTES = 200
LIST_LIMIT = 20

_NEVER_CUT = frozenset({"v", "log", "kind", "id", "at", "boot", "call"})
"""Ours, and short; a record would not be found without them."""

__all__ = ["new_id", "seal"]


def seal(
    *,
    log: str,
    kind: Kind,
    at: int,
    boot: str,
    environment: str,
    payload: Payload,
    id: str | None = None,  # noqa: A002  it is the envelope's name for it
    call: CallId | None = None,
    key: str | None = None,
    attempt: int | None = None,
    actor: Actor | None = None,
    tool: ToolEntry | None = None,
    targets: tuple[str, ...] = (),
    decision: DecisionEntry | None = None,
    approval: ApprovalEntry | None = None,
    trace: TraceEntry | None = None,
    outcome: OutcomeEntry | None = None,
    redactions: tuple[str, ...] = (),
    salt: bytes | None = None,
) -> NewRecord:
    """A record ready to append: payload encoded, salted and committed to, envelope encoded once.

    `at` is UTC microseconds. `id` and `salt` (32 bytes) are drawn at random unless given. An envelope over its limit of 65,535 bytes is
    cut by the rules above: lists and long texts are shortened in the envelope, marked in `redactions`, and stand
    whole in the payload's `detail["uncut"]`.
    """
    salt = draw_salt() if salt is None else salt
    body = encode_payload(payload)
    envelope = Envelope(
        v=FORMAT_VERSION,
        log=log,
        kind=kind,
        id=new_id(at) if id is None else id,
        at=at,
        boot=boot,
        environment=environment,
        call=call,
        key=key,
        attempt=attempt,
        actor=actor,
        tool=tool,
        targets=targets,
        decision=decision,
        approval=approval,
        trace=trace,
        outcome=outcome,
        payload=PayloadEntry(commitment(salt, body), len(body)),
        redactions=redactions,
    )
    stored = encode_envelope(envelope)
    if len(stored) > ENVELOPE_LIMIT_BYTES:
        stored, body = _cut(envelope, payload, salt)
    return NewRecord(log, kind, call, stored, salt, body, None if approval is None else approval.request)


def _cut(envelope: Envelope, payload: Payload, salt: bytes) -> tuple[bytes, bytes]:
    """The bytes of an envelope that fits, and of the payload that holds what was cut from it."""
    fields: JsonObject = msgspec.to_builtins(envelope)
    uncut: JsonObject = {}
    short = {name: value if name in _NEVER_CUT else _shorten(value, name, uncut) for name, value in fields.items()}
    body = encode_payload(msgspec.structs.replace(payload, detail={**(payload.detail or {}), "uncut": uncut}))
    short["payload"] = {"commitment": commitment(salt, body), "length": len(body)}
    short["redactions"] = list(short.get("redactions", ())) + [f"cut:{name}" for name in uncut]
    return encode_envelope(msgspec.convert(short, Envelope)), body


def _shorten(value: Any, name: str, uncut: JsonObject) -> Any:
    """The value, short enough; the long one is put into `uncut` under its dotted name."""
    if isinstance(value, dict):
        return {key: _shorten(inner, f"{name}.{key}", uncut) for key, inner in value.items()}
    many = isinstance(value, (list, tuple))
    short = type(value)(_digest_of_long(item) for item in value[:LIST_LIMIT]) if many else _digest_of_long(value)
    if short != value:
        uncut[name] = value
    return short


def _digest_of_long(value: Any) -> Any:
    """A long text as its digest, anything else as it is."""
    if isinstance(value, str) and len(msgspec.json.encode(value)) > TEXT_LIMIT_BYTES:
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    return value
