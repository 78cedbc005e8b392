"""Is the ledger what was written? Recomputes everything and believes nothing that lies beside it.

1. every index of a log is there, from 0 on
2. every leaf hash is the hash of its envelope's bytes
3. every envelope is one of this version, and names the log, kind and call under which it is stored
4. every payload that can be opened is the one that its envelope commits to, by commitment and length; one that cannot be is counted where
   this process has no key, and a problem where nothing says that it was erased
5. every log's tree, recomputed, is the stored one: size and compact range
6. the calls, requests, votes, keys and open intents that follow from the records (ledger/replay.py) are those that are stored
   (ledger/projections.py)
7. snapshots have their hashes, and the store itself finds no damage

What this does **not** show: somebody who can write the store can write it so that all of it fits again, cut off at the end or altered from
one record on. Only a root that is kept elsewhere shows that; `Report.logs` has the roots to compare.

It works alone and offline: it imports the standard library, msgspec and its neighbours in this folder, no store and no SQL. It keeps about
200 bytes for each call of the log that it is reading, and streams the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from licet.ledger.merkle import Tree
from licet.ledger.projections import verify_projections
from licet.ledger.record import FORMAT_VERSION, UNREADABLE
from licet.ledger.replay import Head, Replay
from licet.ledger.report import Findings, LogReport, Report
from licet.ledger.source import Projections, Row, Source, TreeState

_sha256 = hashlib.sha256
_decode_head = msgspec.json.Decoder(Head).decode


def verify(source: Source) -> Report:
    """What this module's numbered list says, over one moment of a ledger. A damaged ledger is a report, not an error."""
    findings = Findings()
    replay = Replay(findings, source.blind)
    logs: list[LogReport] = []
    with findings.of(None):
        logs += [_verify_log(source, state, replay, findings) for state in source.trees()]
    if source.projections is not None:
        verify_projections(replay, source.projections, findings)
        _verify_rest(source.projections, findings)
    records = sum(log.size for log in logs)
    return Report(tuple(logs), records, source.projections is not None, findings.count, tuple(findings.problems), findings.locked)


def _verify_log(source: Source, state: TreeState, replay: Replay, findings: Findings) -> LogReport:
    tree, expected = Tree(), 0
    with findings.of(state.log):
        for rows in source.rows(state.log):
            tree.extend(_verify_rows(state.log, expected, rows, replay, findings))
            expected = rows[-1][0] + 1
    replay.end_log(state.log)
    _verify_tree(state, tree, findings)
    return LogReport(state.log, tree.size, tree.root().hex())


def _verify_rows(log: str, first: int, rows: Sequence[Row], replay: Replay, findings: Findings) -> list[bytes]:
    """The leaf hashes of these rows. All checks are made on whole columns; only rows of which one fails are looked at one by one."""
    indexes, kinds, calls, requests, envelopes, stored_leaves, salts, payloads, closed = zip(*rows, strict=True)
    heads: list[Head | None]
    try:
        leaves = [_sha256(b"\x00" + envelope).digest() for envelope in envelopes]
        read = list(map(_decode_head, envelopes))
        whole = (
            indexes == tuple(range(first, first + len(rows)))  # 1
            and leaves == list(stored_leaves)  # 2
            and {(head.v, head.log) for head in read} == {(FORMAT_VERSION, log)}  # 3
            and [head.kind for head in read] == list(kinds)
            and [head.call for head in read] == list(calls)
            and [head.approval and head.approval.request for head in read] == list(requests)
            and _are_committed_to(read, salts, payloads, closed)  # 4
        )
        heads = list(read)
    except (*UNREADABLE, TypeError):  # garbage, or something is missing
        whole = False
    if not whole:
        rows = [_typed(log, row, findings) for row in rows]
        leaves = [_sha256(b"\x00" + row[4]).digest() for row in rows]
        heads = [_verify_row(log, row, leaf, findings) for row, leaf in zip(rows, leaves, strict=True)]
        _verify_indexes(log, first, indexes, findings)
    findings.locked += sum(why == "locked" for why in closed)
    replay.take(log, rows, heads)
    return leaves


def _are_committed_to(heads: Sequence[Head], salts: Sequence[Any], payloads: Sequence[Any], closed: Sequence[str]) -> bool:
    if set(closed) == {"locked"}:
        return True
    return [head.payload.commitment for head in heads] == [
        _sha256(salt + payload).hexdigest() for salt, payload in zip(salts, payloads, strict=True)
    ] and [head.payload.length for head in heads] == list(map(len, payloads))


def _typed(log: str, row: Row, findings: Findings) -> Row:
    """The row with values of the right types, as far as it has them."""
    index, *rest = row
    wanted = (
        ("kind", str, ""),
        ("call", str, None),
        ("request", str, None),
        ("envelope", bytes, b""),
        ("leaf", bytes, b""),
        ("salt", bytes, None),
        ("payload", bytes, None),
        ("closed", str, ""),
    )
    typed: list[Any] = []
    for value, (field, kind, default) in zip(rest, wanted, strict=True):
        fits = isinstance(value, kind) or (value is None and default is None)
        if not fits:
            findings.add(log, index, field, "it is stored as something else", expected=kind.__name__, found=type(value).__name__)
        typed.append(value if fits else default)
    return (index, *typed)


def _verify_indexes(log: str, first: int, indexes: Sequence[int], findings: Findings) -> None:
    """1: each gap is told once."""
    expected = first
    for index in indexes:
        if index != expected:
            findings.add(log, expected, "index", "records are missing", expected=expected, found=index)
        expected = index + 1


def _verify_row(log: str, row: Row, leaf: bytes, findings: Findings) -> Head | None:
    """2 to 4 for one record; its head if that can be read."""
    index, kind, call, request, envelope, stored_leaf, salt, payload, closed = row
    if leaf != stored_leaf:
        findings.add(log, index, "envelope", "its bytes are not those that were hashed", expected=stored_leaf, found=leaf)
    try:
        head = _decode_head(envelope)
    except (*UNREADABLE, TypeError) as error:
        findings.add(log, index, "envelope", "it cannot be read", expected="a record", found=error)
        return None
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
    if closed == "damaged":
        findings.add(log, index, "payload", "its bytes are not those that were sealed", expected=head.payload.commitment)
    elif closed != "locked" and (salt is None or payload is None):
        findings.add(log, index, "payload", "it is missing, and nothing says that it was erased", expected=head.payload.commitment)
    if salt is None or payload is None:
        return head
    commitment = _sha256(salt + payload).hexdigest()
    if commitment != head.payload.commitment:
        expected = head.payload.commitment
        findings.add(log, index, "payload", "payload or salt is not what the envelope commits to", expected=expected, found=commitment)
    elif len(payload) != head.payload.length:
        findings.add(log, index, "payload.length", "envelope and payload disagree", expected=head.payload.length, found=len(payload))
    return head


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


def _verify_rest(projections: Projections, findings: Findings) -> None:
    """7: snapshots, and what the store says about itself."""
    with findings.of(None):
        for blob in projections.blobs():
            digest = _sha256(blob.content).hexdigest()
            if digest != blob.digest:
                findings.add(None, None, "snapshot", "its bytes are not those that were hashed", expected=blob.digest, found=digest)
    with findings.of(None):
        for sentence in projections.strays():
            findings.add(None, None, "store", sentence)
