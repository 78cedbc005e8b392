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
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from licet.ledger.examine import Examined, Gone, examine_log
from licet.ledger.forgotten import Forgotten
from licet.ledger.merkle import Tree
from licet.ledger.projections import verify_projections
from licet.ledger.replay import Replay
from licet.ledger.report import Findings, LogReport, Report
from licet.ledger.source import HeadLog, Projections, Source, TreeState, Withheld
from licet.ledger.verify_heads import Heads
from licet.model import Receipt

_sha256 = hashlib.sha256
_NOBODY = '::""'
"""A name that no subject has."""


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
    replay.signed.finish(findings)
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
    whole.replay.end_log()
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
