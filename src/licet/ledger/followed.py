"""Which records replaying follows, and what it needs of each: what several processes can take out of the rows (ledger/replay.py)."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from licet.ledger.record import UNREADABLE, Head
from licet.model import UNSEEN


class Followed(Struct, frozen=True, gc=False):
    """A record as far as replaying needs it. Envelope and payload are there only for kinds and cases that look into them.

    `report_by` (UTC microseconds) is that of an intent whose call somebody else executes.
    """

    index: int
    kind: str
    boot: str
    call: str | None
    key: str | None
    request: str | None
    closed: str
    envelope: bytes = b""
    payload: bytes | None = None
    unseen: bool = False
    report_by: int | None = None


IN_FORCE = frozenset({"policy", "catalog", "directory"})
"""Kinds that say what was put in force."""
FOLLOWED = frozenset({"intent", "outcome", "recovery", "call", "hold", "vote", "expiry", "freeze", "admin"}) | IN_FORCE
"""Kinds from which something follows."""


def follow(index: int, head: Head, envelope: bytes, payload: bytes | None, closed: str) -> Followed:
    """What replaying needs of this record."""
    unseen = head.kind == "recovery" or (head.kind == "outcome" and _is_unseen(envelope))
    request = head.approval.request if head.approval is not None else None
    report_by = _report_by(payload) if head.kind == "intent" and payload is not None else None
    if request is None and head.key is None and head.kind in {"intent", "call"}:
        envelope, payload = b"", None
    elif head.kind in {"outcome", "recovery"}:
        envelope, payload = b"", payload if payload is not None and b'"late":' in payload else None
    elif head.kind in IN_FORCE:
        envelope = b""
    elif head.kind == "admin":
        payload = payload if payload is not None and b'"passkey":{' in payload else None
    return Followed(index, head.kind, head.boot, head.call, head.key, request, closed, envelope, payload, unseen, report_by)


class _Remote(Struct, frozen=True):
    report_by: int


class _Handed(Struct, frozen=True):
    remote: _Remote | None = None


class _Intent(Struct, frozen=True):
    detail: _Handed | None = None


_decode_intent = msgspec.json.Decoder(_Intent).decode


def _report_by(payload: bytes) -> int | None:
    """Until when the call can be reported. Most intents are not of such calls, and are not decoded once more."""
    if b'"remote":' not in payload:
        return None
    try:
        detail = _decode_intent(payload).detail
    except UNREADABLE:
        return None  # which the examination of this record has found
    return detail.remote.report_by if detail is not None and detail.remote is not None else None


class _Status(Struct, frozen=True):
    status: str


class _Ended(Struct, frozen=True):
    outcome: _Status | None = None


_decode_ended = msgspec.json.Decoder(_Ended).decode


def _is_unseen(envelope: bytes) -> bool:
    """Whether this outcome says that nobody saw it. Most say neither word, and are not decoded once more."""
    if b"timeout" not in envelope and b"unknown" not in envelope:
        return False
    try:
        outcome = _decode_ended(envelope).outcome
    except UNREADABLE:
        return False  # which the examination of this record has found
    return outcome is not None and outcome.status in UNSEEN
