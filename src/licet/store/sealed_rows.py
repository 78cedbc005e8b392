"""What rows say about whom they are sealed under, and what may go of them, whatever database holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from licet.ledger.forgotten import Hold
from licet.ledger.record import UNREADABLE
from licet.model import LIVE_STATES, CallId, RequestId
from licet.store.forgetting import LiveRequest, SealedRow

KEPT_KINDS = ("erasure", "legal_hold", "key_rotation")
"""Records whose payloads stay: they say what may be gone, and who said so."""
SCAN_ROWS = 20_000
"""Records that are looked through for a pseudonym at one moment."""
PRUNED_AT_ONCE = 10_000
"""Records looked at for one transaction of a pruning."""
RUNS_AT_ONCE = 400
"""Runs that one record names: each takes about 30 bytes of its envelope."""

_live = ", ".join(f"'{state.value}'" for state in sorted(LIVE_STATES))
_kinds = ", ".join(f"'{kind}'" for kind in KEPT_KINDS)
CANDIDATES = (
    "SELECT records.place, payloads.place IS NOT NULL, "  # noqa: S608  constants of this module
    f"kind IN ({_kinds}) OR (call IS NOT NULL AND EXISTS (SELECT 1 FROM open_calls WHERE open_calls.call = records.call)) "
    f"OR (request IS NOT NULL AND EXISTS (SELECT 1 FROM requests WHERE id = records.request AND state IN ({_live}))), envelope "
    "FROM records LEFT JOIN payloads USING (place) WHERE "
)
"""The beginning of a query for what may be dropped, as `candidate_of` takes it."""


class _Payload(Struct, frozen=True):
    subjects: tuple[str, ...] = ()


class _Actor(Struct, frozen=True):
    user: str | None = None


class _Approval(Struct, frozen=True):
    voters: tuple[str, ...] = ()


class _Envelope(Struct, frozen=True):
    payload: _Payload
    actor: _Actor = _Actor()
    approval: _Approval = _Approval()
    at: int = 0


_decode = msgspec.json.Decoder(_Envelope).decode

Candidate = tuple[int, bool, bool, int]
"""A record: place, whether its payload is there, whether that must stay, and its time."""


def sealed_row(row: Sequence[Any], pseudonym: str) -> SealedRow | None:
    """The record of place, kind, call, request and envelope, if the pseudonym seals its payload."""
    place, kind, call, request, envelope = row
    try:
        read = _decode(envelope)
    except UNREADABLE:
        return None  # damaged, which `verify` tells: what it says about its payload is not to be believed
    if pseudonym not in read.payload.subjects:
        return None
    voted = kind == "vote" and pseudonym in read.approval.voters
    return SealedRow(
        place,
        kind,
        None if call is None else CallId(call),
        None if request is None else RequestId(request),
        acted=read.actor.user == pseudonym,
        voted=voted,
    )


def candidate_of(row: Sequence[Any], held: set[str]) -> Candidate:
    """What may become of the record; `held` are the pseudonyms under a legal hold."""
    place, present, kept, envelope = row
    try:
        read = _decode(envelope)
    except UNREADABLE:
        return place, bool(present), True, 0
    return place, bool(present), bool(kept) or not held.isdisjoint(read.payload.subjects), read.at


def runs_of(found: Iterable[Candidate], before_us: int) -> tuple[list[tuple[int, int]], int, int | None]:
    """Runs of places of which each payload is gone or may go, how many are there, and where to go on."""
    runs: list[tuple[int, int]] = []
    start = last = None
    payloads = seen = 0
    for place, present, kept, at in found:
        over = at >= before_us
        if (present and kept) or over:
            if start is not None and last is not None:
                runs.append((start, last))
            start = last = None
            if over or len(runs) >= RUNS_AT_ONCE:
                return runs, payloads, None if over else place + 1
        elif present:
            start, last, payloads = (place if start is None else start), place, payloads + 1
        seen = place + 1
    if start is not None and last is not None:
        runs.append((start, last))
    return runs, payloads, seen or None


def protects(hold: Hold, pseudonym: str, logs: set[str]) -> bool:
    """Whether the hold protects this subject, or everything in one of these logs."""
    return hold.log in logs if hold.target is None else hold.pseudonym == pseudonym


def live_among(rows: Iterable[SealedRow], live: Iterable[Sequence[Any]]) -> tuple[LiveRequest, ...]:
    """Of the live requests, each its id and tenant, those that these records are about."""
    rows = tuple(rows)
    asked = {row.request for row in rows if row.request is not None}
    opened: dict[str, CallId | None] = {}
    for row in rows:
        if row.kind == "hold" and row.request is not None:
            opened.setdefault(row.request, row.call)
    return tuple([LiveRequest(RequestId(request), tenant, opened.get(request)) for request, tenant in live if request in asked])


def count_open(rows: Iterable[SealedRow], open_calls: Iterable[Sequence[Any]]) -> int:
    """How many of the open calls began in these records."""
    calls = {row.call for row in rows if row.kind == "intent"}
    return sum(call in calls for (call,) in open_calls)


def asked_in(rows: Iterable[SealedRow]) -> set[RequestId]:
    """The requests that these records opened."""
    return {row.request for row in rows if row.kind == "hold" and row.request is not None}
