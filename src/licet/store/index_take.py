"""Taking records into the search index: one transaction for terms, text, counts, tiles and cursors.

A crash anywhere in it leaves what was there before; the records are taken again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import apsw
from msgspec import Struct

from licet.store.index_ask import TIE_BITS, doc_floor
from licet.store.index_rollups import HOUR_US, Counts, add_counts
from licet.store.index_terms import Entry, entry_of
from licet.store.index_text import add_texts, cut_shard
from licet.store.index_tiles import add_leaves
from licet.store.sqlite_commit import INDEX_BITS
from licet.store.sqlite_rows import fetch

_TIES = 1 << TIE_BITS


class IndexRow(Struct, frozen=True, gc=False):
    """A record as the index takes it: `text` is what can be found of its payload (ledger/searchable.py), None for nothing."""

    index: int
    envelope: bytes
    leaf: bytes
    text: str | None


class _Log(Struct, frozen=True):
    number: int
    next: int
    at: int
    edge: bytes


class _New(Struct, frozen=True, gc=False):
    """A record on its way into the index."""

    base: int
    place: int
    entry: Entry
    text: str | None


def take_rows(con: apsw.Connection, taken: Iterable[tuple[str, Sequence[IndexRow]]], *, text: bool) -> None:
    """These records can be found, and the cursors stand behind them; see `Index.take`. The connection is in a write transaction."""
    fresh: list[_New] = []
    counts: Counts = Counter()
    for name, rows in taken:
        log = _log_of(con, name)
        rest = [row for row in rows if row.index >= log.next]
        if [row.index for row in rest] != list(range(log.next, log.next + len(rest))):
            raise ValueError(f"log `{name}` is indexed up to record {log.next}; the records to take do not go on from there")
        if rest:
            fresh += _take_log(con, name, log, rest, counts)
    if fresh:
        _put(con, sorted(fresh, key=lambda new: (new.base, new.place)), text=text)
        add_counts(con, counts)


def _take_log(con: apsw.Connection, name: str, log: _Log, rows: Sequence[IndexRow], counts: Counts) -> list[_New]:
    """The records of one log, their leaves in its tiles and its cursor behind them."""
    forgotten = {row[0] for row in con.execute("SELECT pseudonym FROM forgotten WHERE log = ?", (log.number,))}
    at, fresh = log.at, []
    for row in rows:
        entry = entry_of(name, row.envelope, at)
        at = max(-(1 << 62), min(entry.at, 1 << 62))
        base = doc_floor(at)
        gone = row.text is None or not forgotten.isdisjoint(entry.subjects)
        fresh.append(_New(base, log.number << INDEX_BITS | row.index, entry, None if gone else row.text))
        counts[log.number, (base >> TIE_BITS) // HOUR_US, *entry.bucket] += entry.count
    edge = add_leaves(con, log.number, log.next, log.edge, [row.leaf for row in rows])
    con.execute(
        "UPDATE logs SET next = ?, at = ?, leaf = ?, edge = ? WHERE number = ?",
        (log.next + len(rows), at, rows[-1].leaf, edge, log.number),
    )
    return fresh


def _put(con: apsw.Connection, fresh: Sequence[_New], *, text: bool) -> None:
    """Docs for these records, which come in order of time, and everything under them."""
    newest = con.execute("SELECT max(doc) FROM docs").get
    newest = -1 if newest is None else newest
    last, docs = -1, []
    for new in fresh:
        doc = max(new.base, last + 1)
        last = doc if doc > newest else _free_doc(con, doc)
        docs.append(last)
    con.executemany("INSERT INTO docs VALUES (?, ?)", [(doc, new.place) for doc, new in zip(docs, fresh, strict=True)])
    con.executemany(
        "INSERT INTO terms (rowid, words) VALUES (?, ?)", [(doc, new.entry.terms) for doc, new in zip(docs, fresh, strict=True)]
    )
    if text:
        add_texts(con, [(doc, new.text) for doc, new in zip(docs, fresh, strict=True) if new.text is not None])
        cut_shard(con, max(newest, last))


def _free_doc(con: apsw.Connection, doc: int) -> int:
    """The first free one behind all of its microsecond, or of a later one where that is full."""
    while True:
        end = (doc | (_TIES - 1)) + 1
        found = con.execute("SELECT max(doc) FROM docs WHERE doc >= ? AND doc < ?", (doc, end)).get
        if found is None:
            return doc
        if found + 1 < end:
            return int(found) + 1
        doc = end


def _log_of(con: apsw.Connection, name: str) -> _Log:
    found = fetch(con, "SELECT number, next, at, edge FROM logs WHERE name = ?", (name,))
    if found:
        return _Log(*found[0])
    con.execute("INSERT INTO logs (name, next, at, leaf, edge) VALUES (?, 0, 0, x'', x'')", (name,))
    return _Log(con.last_insert_rowid(), 0, 0, b"")


def log_number(con: apsw.Connection, name: str) -> int:
    """The index's own number of a log, new if it had none."""
    return _log_of(con, name).number
