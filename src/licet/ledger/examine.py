"""Rows of a ledger, each checked by itself: what needs no memory of what came before, so that several processes can do it.

1. every index is the next one
2. every leaf hash is the hash of its envelope's bytes
3. every envelope is one of this version, and names the log, kind and call under which it is stored
4. every payload that can be opened is the one that its envelope commits to, by commitment and length, and the names in it are those
   behind the pseudonyms

What is examined here is joined to logs, requests and heads by `ledger/verify.py`, whose numbers these are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from licet.ledger.followed import FOLLOWED, Followed, follow
from licet.ledger.record import FORMAT_VERSION, UNREADABLE, Head, decode_head, decode_payload_names
from licet.ledger.report import Findings, Problem
from licet.ledger.source import Opening, Row, Source

_sha256 = hashlib.sha256
_MAY_BE_CLOSED = frozenset({"erased", "locked"})
_FORGETTING = frozenset({"erasure", "legal_hold"})
_ONCE_A_CALL = frozenset({"intent", "outcome", "recovery", "call"})
"""Replaying finds a second one; but for outcomes that are late."""
_NO_OPENING: Opening = (None, None, "damaged")


class Gone(Struct, frozen=True, gc=False):
    """A payload that is gone, and whose secrets sealed it."""

    index: int
    subjects: tuple[str, ...]


class Examined(Struct, frozen=True):
    """Rows that stand next to each other, each checked by itself: what the log as a whole is checked from.

    `forgetting` are the envelopes of erasures and legal holds, `single` the ids of records of which no call says that they come once.
    """

    first: int
    count: int
    leaves: list[bytes]
    followed: list[Followed]
    gone: list[Gone]
    forgetting: list[tuple[int, bytes]]
    single: list[tuple[int, str]]
    locked: int
    problem_count: int
    problems: list[Problem]


def examine_log(source: Source, log: str, start: int = 0, stop: int | None = None) -> Iterator[Examined]:
    """The log's rows from `start` to before `stop`, examined."""
    for rows in source.rows(log, start, stop):
        yield examine(source, log, start, rows)
        start = rows[-1][0] + 1


def examine(source: Source, log: str, first: int, rows: Sequence[Row]) -> Examined:
    """Checks 1 to 4 of rows of which the first should have the index `first`.

    All checks are made on whole columns; only where one fails are rows looked at one by one.
    """
    findings = Findings()
    indexes, kinds, calls, requests, envelopes, stored_leaves, bodies = zip(*rows, strict=True)
    heads: list[Head | None]
    openings: list[Opening]
    try:
        leaves = [_sha256(b"\x00" + envelope).digest() for envelope in envelopes]
        read = list(map(decode_head, envelopes))
        openings = list(map(source.open, read, bodies))
        whole = (
            indexes == tuple(range(first, first + len(rows)))  # 1
            and leaves == list(stored_leaves)  # 2
            and {(head.v, head.log) for head in read} == {(FORMAT_VERSION, log)}  # 3
            and [head.kind for head in read] == list(kinds)
            and [head.call for head in read] == list(calls)
            and [head.approval and head.approval.request for head in read] == list(requests)
            and _are_committed_to(source, read, openings)  # 4
        )
        heads = list(read)
    except (*UNREADABLE, TypeError):  # garbage, or something is missing
        whole = False
    if not whole:
        rows = [_typed(log, row, findings) for row in rows]
        leaves = [_sha256(b"\x00" + row[4]).digest() for row in rows]
        heads, openings = [], []
        for row, leaf in zip(rows, leaves, strict=True):
            head, opening = _verify_row(source, log, row, leaf, findings)
            heads.append(head)
            openings.append(opening)
        _verify_indexes(log, first, indexes, findings)
    return _examined(rows, heads, openings, leaves, findings)


def _examined(
    rows: Sequence[Row], heads: Sequence[Head | None], openings: Sequence[Opening], leaves: list[bytes], findings: Findings
) -> Examined:
    followed: list[Followed] = []
    gone: list[Gone] = []
    forgetting: list[tuple[int, bytes]] = []
    single: list[tuple[int, str]] = []
    for row, head, opening in zip(rows, heads, openings, strict=True):
        if head is None:
            continue  # it could not be read, and says nothing
        late = False
        if head.kind in FOLLOWED:
            followed.append(follow(row[0], head, row[4], opening[1], opening[2]))
            late = head.kind == "outcome" and followed[-1].payload is not None
        elif head.kind in _FORGETTING:
            forgetting.append((row[0], row[4]))
        if late or head.kind not in _ONCE_A_CALL:
            single.append((row[0], head.id))
        if opening[2] == "erased":
            gone.append(Gone(row[0], head.payload.subjects))
    locked = sum(opening[2] == "locked" for opening in openings)
    return Examined(rows[0][0], len(rows), leaves, followed, gone, forgetting, single, locked, findings.count, findings.problems)


def _are_committed_to(source: Source, heads: Sequence[Head], openings: Sequence[Opening]) -> bool:
    """4, as far as payloads are open; False where one is damaged."""
    for head, (salt, payload, closed) in zip(heads, openings, strict=True):
        if payload is None or salt is None:
            if closed not in _MAY_BE_CLOSED:
                return False
            continue
        entry = head.payload
        if closed or len(payload) != entry.length or _sha256(salt + payload).hexdigest() != entry.commitment:
            return False
        if entry.subjects and not _are_named(source, payload):
            return False
    return True


def _are_named(source: Source, payload: bytes) -> bool:
    names = decode_payload_names(payload)
    return all(map(source.fits, names, names.values()))


def _typed(log: str, row: Row, findings: Findings) -> Row:
    """The row with values of the right types, as far as it has them."""
    index, *rest, body = row
    wanted = (("kind", str, ""), ("call", str, None), ("request", str, None), ("envelope", bytes, b""), ("leaf", bytes, b""))
    typed: list[Any] = []
    for value, (field, kind, default) in zip(rest, wanted, strict=True):
        fits = isinstance(value, kind) or (value is None and default is None)
        if not fits:
            findings.add(log, index, field, "it is stored as something else", expected=kind.__name__, found=type(value).__name__)
        typed.append(value if fits else default)
    return (index, typed[0], typed[1], typed[2], typed[3], typed[4], body)


def _verify_indexes(log: str, first: int, indexes: Sequence[int], findings: Findings) -> None:
    """1: each gap is told once."""
    expected = first
    for index in indexes:
        if index != expected:
            findings.add(log, expected, "index", "records are missing", expected=expected, found=index)
        expected = index + 1


def _verify_row(source: Source, log: str, row: Row, leaf: bytes, findings: Findings) -> tuple[Head | None, Opening]:
    """2 to 4 for one record; its head, if that can be read, and its payload."""
    index, kind, call, request, envelope, stored_leaf, body = row
    if leaf != stored_leaf:
        findings.add(log, index, "envelope", "its bytes are not those that were hashed", expected=stored_leaf, found=leaf)
    try:
        head = decode_head(envelope)
    except (*UNREADABLE, TypeError) as error:
        findings.add(log, index, "envelope", "it cannot be read", expected="a record", found=error)
        return None, _NO_OPENING
    stored_as = (
        ("v", FORMAT_VERSION, head.v),
        ("log", head.log, log),
        ("kind", head.kind, kind),
        ("call", head.call, call),
        ("approval.request", head.approval and head.approval.request, request),
    )
    for field, expected, found in stored_as:
        if expected != found:
            findings.add(log, index, field, "envelope and row disagree", expected=expected, found=found)
    opening = source.open(head, body)
    _verify_payload(source, (log, index), head, opening, findings)
    return head, opening


def _verify_payload(source: Source, place: tuple[str, int], head: Head, opening: Opening, findings: Findings) -> None:
    (log, index), (salt, payload, closed) = place, opening
    if (payload is None and closed not in _MAY_BE_CLOSED) or (payload is not None and closed):
        findings.add(log, index, "payload", "its bytes are not those that were sealed", expected=head.payload.commitment)
    if salt is None or payload is None:
        return
    commitment = _sha256(salt + payload).hexdigest()
    if commitment != head.payload.commitment:
        expected = head.payload.commitment
        findings.add(log, index, "payload", "payload or salt is not what the envelope commits to", expected=expected, found=commitment)
    elif len(payload) != head.payload.length:
        findings.add(log, index, "payload.length", "envelope and payload disagree", expected=head.payload.length, found=len(payload))
    for pseudonym, ref in decode_payload_names(payload).items():
        if not source.fits(pseudonym, ref):
            findings.add(log, index, "payload.names", "a pseudonym is not that of this name", expected=ref, found=pseudonym)
