"""Taking records into the search index: one transaction for terms, text, counts, tiles and cursors.

A crash anywhere in it leaves what was there before; the records are taken again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import apsw
from msgspec import Struct

from licet.store.index_ask import AT_LIMIT_US, TIE_BITS, doc_floor, verdict_number
from licet.store.index_forget import forgetter
from licet.store.index_rollups import HOUR_US, Counts, add_counts
from licet.store.index_terms import entry_of
from licet.store.index_text import add_texts
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


_New: TypeAlias = tuple[int, int, int, str, str | None]
"""A record on its way into the index: the first doc that it may have, place, number of its verdict, terms and text."""


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
        _put(con, sorted(fresh), text=text and has_text(con))
        add_counts(con, counts)


def _take_log(con: apsw.Connection, name: str, log: _Log, rows: Sequence[IndexRow], counts: Counts) -> list[_New]:
    """The records of one log, their leaves in its tiles and its cursor behind them."""
    is_forgotten = forgetter(con, log.number, log.next)
    at, fresh, first = log.at, [], log.number << INDEX_BITS
    for row in rows:
        entry = entry_of(name, row.envelope, at)
        at = entry.at if 0 <= entry.at <= AT_LIMIT_US else doc_floor(entry.at) >> TIE_BITS
        gone = is_forgotten is not None and is_forgotten(row.index, entry.subjects)
        fresh.append((at << TIE_BITS, first | row.index, verdict_number(entry.bucket[1]), entry.terms, None if gone else row.text))
        counts[log.number, at // HOUR_US, entry.bucket] += entry.count
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
    for base, *_ in fresh:
        doc = max(base, last + 1)
        last = doc if doc > newest else _free_doc(con, doc)
        docs.append(last)
    _, places, verdicts, terms, texts = zip(*fresh, strict=True)
    con.executemany("INSERT INTO docs VALUES (?, ?, ?)", list(zip(docs, places, verdicts, strict=True)))
    con.executemany("INSERT INTO terms (rowid, words) VALUES (?, ?)", list(zip(docs, terms, strict=True)))
    if text:
        add_texts(con, [(doc, words) for doc, words in zip(docs, texts, strict=True) if words])


def has_text(con: apsw.Connection) -> bool:
    """Whether this index keeps text. Another process may have dropped it."""
    return bool(con.execute("SELECT value FROM settings WHERE name = 'text'").get)


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
