"""Is the ledger what was written? Recomputes everything and believes nothing that lies beside it.

 1. every index of a log is there, from 0 on
 2. every leaf hash is the hash of its envelope's bytes
 3. every envelope is one of this version, names the log, kind and call under which it is stored, and has an id of its own in its log
 4. every payload that can be opened is the one that its envelope commits to, by commitment and length, and the names in it are those
    behind the pseudonyms; one that is gone was erased, and a record says so (ledger/forgotten.py); who was erased has no secret
 5. every log's tree, recomputed, is the stored one: size and compact range
 6. every entry of the head log is the root that its log had at that size, and no log is gone; the head log's tree, recomputed, is the
    stored one; every checkpoint is signed by a key of its size and has the head log's root (ledger/verify_heads.py)
 7. the calls, requests, votes, keys, open intents and snapshots that follow from the records (ledger/replay.py) are those that are
    stored (ledger/projections.py)
 8. the store itself finds no damage
 9. receipts that somebody kept name records that are there

Payloads that cannot be opened for want of a key are counted (`Report.locked`): 4 and 7 say nothing about them.

What this does **not** show without somebody outside: who holds the store and its keys can write all of it anew so that it fits, cut off at
the end or altered from one record on. A checkpoint or receipt that is kept elsewhere shows that: give it, or compare `Report.logs`.

It works alone and offline: it imports the standard library, msgspec, cryptography and its neighbours in this folder, no store and no SQL.
An auditor runs `python -m licet.ledger.verify FILE --key VKEY` on a bundle or on proofs.
It streams records. It keeps a few hundred bytes for each call and denial of the log that it is reading, and for each request, idempotency
key and payload that is gone, of all logs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from licet.ledger.forgotten import Forgotten
from licet.ledger.merkle import Tree
from licet.ledger.projections import verify_projections
from licet.ledger.record import FORMAT_VERSION, UNREADABLE, Head, decode_head, decode_payload_names
from licet.ledger.replay import FOLLOWED, Followed, Replay, follow
from licet.ledger.report import Findings, LogReport, Problem, Report
from licet.ledger.source import HeadLog, Opening, Projections, Row, Source, TreeState, Withheld
from licet.ledger.verify_heads import Heads
from licet.model import Receipt

_sha256 = hashlib.sha256
_MAY_BE_CLOSED = frozenset({"erased", "locked"})
_FORGETTING = frozenset({"erasure", "legal_hold"})
_ONCE_A_CALL = frozenset({"intent", "outcome", "recovery", "call"})
"""Replaying finds a second one; but for outcomes that are late."""
_NOBODY = '::""'
"""A name that no subject has."""
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


class _Whole(Struct):
    """What is known of the ledger as a whole while its logs are read."""

    replay: Replay
    heads: Heads
    findings: Findings
    forgotten: Forgotten
    gone: list[tuple[str, Gone]]


Kept = dict[int, set[str]]
"""The leaves that receipts name, by index."""

Chunks = Callable[[TreeState], Iterable[Examined]]
"""The rows of a log, examined, in order. Another process may have done it."""


def verify(source: Source, *, chunks: Chunks | None = None, receipts: Iterable[Receipt] = ()) -> Report:
    """What this module's numbered list says, over one moment of a ledger. A damaged ledger is a report, not an error."""
    findings = Findings()
    replay = Replay(findings, source.blind)
    heads = Heads(source.head_log, findings)
    whole = _Whole(replay, heads, findings, Forgotten(), [])
    kept: dict[str, Kept] = {}
    for receipt in receipts:
        kept.setdefault(receipt.log, {}).setdefault(receipt.index, set()).add(receipt.leaf)
    logs: list[LogReport] = []
    with findings.of(None):
        for state in source.trees():
            examined = chunks(state) if chunks is not None else examine_log(source, state.log)
            logs.append(_verify_log(state, examined, whole, kept.pop(state.log, {})))
        _verify_dropped(source.head_log, {log.log for log in logs}, findings)
    _verify_gone(source, whole)
    _verify_erased(source, whole)
    for log, missing in kept.items():
        _verify_missing(log, missing, "a receipt names a log that is not there", findings)
    heads.finish()
    logs = [msgspec.structs.replace(log, signed=heads.signed_of(log.log)) for log in logs]
    if source.projections is not None:
        _verify_forgotten(source.projections, whole)
        verify_projections(replay, source.projections, findings)
        _verify_store(source.projections, findings)
    return Report(
        tuple(logs),
        sum(log.size for log in logs),
        source.projections is not None,
        findings.count,
        tuple(findings.problems),
        findings.locked,
        heads.report,
        findings.erased,
    )


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


def _verify_log(state: TreeState, examined: Iterable[Examined], whole: _Whole, kept: Kept) -> LogReport:
    """5 and 9 for one log, and its side of 3, 4, 6 and 7."""
    tree, findings, seen = whole.heads.growing(state.log), whole.findings, dict[str, int]()
    with findings.of(state.log):
        for chunk in examined:
            findings.take(chunk.problem_count, chunk.problems, chunk.locked)
            for index in range(chunk.first, chunk.first + chunk.count) if kept else ():
                for leaf in sorted(kept.pop(index, ())):
                    _verify_receipt(state.log, index, leaf, chunk, findings)
            tree.extend(chunk.leaves)
            whole.replay.take(state.log, chunk.followed)
            whole.gone += [(state.log, one) for one in chunk.gone]
            for index, envelope in chunk.forgetting:
                whole.forgotten.take(envelope, index)
            _verify_ids(state.log, chunk, seen, findings)
    whole.replay.end_log(state.log)
    _verify_missing(state.log, kept, "a receipt names a record that is not there", findings)
    tree.end()
    _verify_tree(state, tree.tree, findings)
    return LogReport(state.log, tree.tree.size, tree.tree.root().hex())


def _verify_ids(log: str, chunk: Examined, seen: dict[str, int], findings: Findings) -> None:
    """3: a payload opens under the id of its record, so that one which is repeated would open twice."""
    for index, record in chunk.single:
        first = seen.setdefault(record, index)
        if first != index:
            findings.add(log, index, "id", f"record {first} has it already", found=record)


def _verify_gone(source: Source, whole: _Whole) -> None:
    """4, for payloads that are gone; all logs were read, since an erasure speaks of all.

    Where another process examined the rows, its moment may be a later one, in which somebody was erased: what is not explained is read
    again, at this one.
    """
    for log, one in whole.gone:
        if not whole.forgotten.explains(log, one.index, one.subjects) and _is_gone(source, log, one.index):
            whole.findings.add(log, one.index, "payload", "it is missing, and nothing says that it was erased")
    whole.findings.erased += len(whole.gone)


def _is_gone(source: Source, log: str, index: int) -> bool:
    """Whether the payload is not there at the moment that is verified. An export is read once, and what it did not hold is gone."""
    again = (
        [one for chunk in examine_log(source, log, index, index + 1) for one in chunk.gone] if source.projections is not None else [None]
    )
    return bool(again)


def _verify_erased(source: Source, whole: _Whole) -> None:
    """4: who was erased stays so. A secret fits nobody's name but one, and nobody's at all where it is gone."""
    with whole.findings.of(None):
        for pseudonym, (log, target) in whole.forgotten.erased().items():
            if not source.fits(pseudonym, _NOBODY):
                whole.findings.add(log, None, "secrets", "the secret of somebody who was erased is there", found=target)


def _verify_forgotten(projections: Projections, whole: _Whole) -> None:
    """7, for legal holds and erasures."""
    with whole.findings.of(None):
        holds = {hold.id: (hold.log, hold.target, hold.at) for hold in whole.forgotten.holds()}
        rows = {row.id: (row.log, row.target, row.at) for row in projections.holds()}
        _verify_rows("holds", "the legal holds are not those that the records placed", holds, rows, whole.findings)
    with whole.findings.of(None):
        erased = {row.pseudonym: (row.log, row.target) for row in projections.erasures()}
        _verify_rows("erasures", "the erasures are not those that were recorded", whole.forgotten.erased(), erased, whole.findings)


def _verify_rows(field: str, message: str, expected: Mapping[str, Any], found: Mapping[str, Any], findings: Findings) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            findings.add(None, None, field, f"{message}: `{name}`", expected=expected.get(name, ""), found=found.get(name, ""))


def _verify_missing(log: str, kept: Kept, message: str, findings: Findings) -> None:
    for index, leaves in kept.items():
        for leaf in sorted(leaves):
            findings.add(log, index, "receipt", message, expected=leaf)


def _verify_receipt(log: str, index: int, leaf: str, chunk: Examined, findings: Findings) -> None:
    found = chunk.leaves[index - chunk.first].hex()
    if found != leaf:
        findings.add(log, index, "receipt", "the record is not the one that its receipt names", expected=leaf, found=found)


def _verify_tree(state: TreeState, tree: Tree, findings: Findings) -> None:
    """5: the records make up the tree that is stored."""
    try:
        stored = Tree(state.size, state.compact_range)
    except ValueError as error:
        findings.add(state.log, None, "compact_range", "the stored tree contradicts itself", expected=f"a tree of {tree.size}", found=error)
        return
    if tree.size != state.size:
        what = "records were cut off" if tree.size < state.size else "records were added beside the tree"
        findings.add(state.log, None, "size", what, expected=state.size, found=tree.size)
    elif tree.peaks != stored.peaks:
        findings.add(state.log, None, "root", f"{_where(stored, tree)} differ", expected=stored.root(), found=tree.root())


def _where(stored: Tree, tree: Tree) -> str:
    """The records whose subtrees differ."""
    start, ranges = 0, []
    bits = [1 << bit for bit in reversed(range(stored.size.bit_length())) if stored.size >> bit & 1]
    for width, ours, theirs in zip(bits, tree.peaks, stored.peaks, strict=True):
        if ours != theirs:
            ranges.append(f"{start} to {start + width - 1}")
        start += width
    return f"the trees over records {', '.join(ranges)}"


def _verify_dropped(head_log: HeadLog | None, known: set[str], findings: Findings) -> None:
    """6: a log that was dropped has no records that could contradict its entries; they are still there."""
    entries = head_log.entries() if head_log is not None else ()
    missing = {log: size for log, size, entry in entries if not isinstance(entry, Withheld) and log not in known}
    for log, size in missing.items():
        findings.add(log, None, "head", "the head log knows its records, and there is no such log", expected=size)


def _verify_store(projections: Projections, findings: Findings) -> None:
    """8: what the store says about itself."""
    with findings.of(None):
        for sentence in projections.strays():
            findings.add(None, None, "store", sentence)


if __name__ == "__main__":
    from licet.ledger.verify_alone import main

    raise SystemExit(main())
