"""What is to be forgotten: written down first, then done, so that a crash between the two leaves it to be done.

What was forgotten stays written down. It comes again from a process that read it before it was erased, and is then left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import apsw

from licet.store.index_ask import docs_of
from licet.store.sqlite_commit import INDEX_BITS
from licet.store.sqlite_rows import fetch

Run: TypeAlias = tuple[int, int]
"""Indexes of records, both ends included."""

_PAGE = 100_000
_AT_ONCE = 100
"""Of subjects in one question: it takes time by the square of them."""


def note_pseudonyms(con: apsw.Connection, number: int, pseudonyms: Iterable[str]) -> None:
    """These subjects of a log are to be forgotten. Part of the caller's transaction."""
    con.executemany("INSERT OR IGNORE INTO forgotten VALUES (?, ?, 0)", [(number, pseudonym) for pseudonym in pseudonyms])


def logs_about(con: apsw.Connection, pseudonyms: Sequence[str]) -> set[int]:
    """The numbers of all logs that have records about one of these subjects."""
    found: set[int] = set()
    for start in range(0, len(pseudonyms), _AT_ONCE):
        docs = docs_of(con, {"subject": tuple(pseudonyms[start : start + _AT_ONCE])})
        text = "SELECT DISTINCT place >> ? FROM docs WHERE doc IN (SELECT value FROM json_each(?))"
        found |= {number for (number,) in fetch(con, text, (INDEX_BITS, f"{docs}"))}
    return found


def note_runs(con: apsw.Connection, number: int, runs: Iterable[Run]) -> None:
    """The payloads of these records of a log are to be forgotten. Part of the caller's transaction."""
    text = "INSERT INTO pruned VALUES (?1, ?2, ?3, 0) ON CONFLICT (log, first) DO UPDATE SET last = ?3, done = 0 WHERE ?3 > last"
    con.executemany(text, [(number, first, last) for first, last in runs])


def docs_to_forget(con: apsw.Connection) -> list[int]:
    """Every doc whose text is to be forgotten and may not have been yet."""
    text = "SELECT name, pseudonym FROM forgotten JOIN logs ON logs.number = log WHERE done = 0"
    docs = [doc for log, pseudonym in fetch(con, text) for doc in docs_of(con, {"log": (log,), "subject": (pseudonym,)})]
    places = [(log << INDEX_BITS | first, log << INDEX_BITS | last) for log, first, last in fetch(con, _PRUNED)]
    return docs + _docs_at(con, places) if places else docs


def is_anything_left(con: apsw.Connection) -> bool:
    """Whether something is written down that may not have been done."""
    return bool(con.execute("SELECT EXISTS (SELECT 1 FROM forgotten WHERE done = 0) OR EXISTS (SELECT 1 FROM pruned WHERE done = 0)").get)


def note_done(con: apsw.Connection) -> None:
    """All that is written down has been done. Part of the caller's transaction."""
    con.execute("UPDATE forgotten SET done = 1 WHERE done = 0")
    con.execute("UPDATE pruned SET done = 1 WHERE done = 0")


def forgetter(con: apsw.Connection, number: int, following: int) -> Callable[[int, Sequence[str]], bool] | None:
    """Tells of a record of this log, by its index (from `following` on) and subjects, whether it is forgotten. None where nothing is."""
    pseudonyms = {row[0] for row in fetch(con, "SELECT pseudonym FROM forgotten WHERE log = ?", (number,))}
    runs = [
        range(first, last + 1)
        for first, last in fetch(con, "SELECT first, last FROM pruned WHERE log = ? AND last >= ?", (number, following))
    ]
    if not pseudonyms and not runs:
        return None
    return lambda index, subjects: not pseudonyms.isdisjoint(subjects) or any(index in run for run in runs)


_PRUNED = "SELECT log, first, last FROM pruned WHERE done = 0 ORDER BY log, first"


def _docs_at(con: apsw.Connection, runs: Sequence[Run]) -> list[int]:
    """Docs by place. Nothing leads from a place to its doc, for only forgetting asks: all are read."""
    starts = [first for first, _ in runs]
    docs: list[int] = []
    reached = -1
    while True:
        rows = fetch(con, "SELECT doc, place FROM docs WHERE doc > ? ORDER BY doc LIMIT ?", (reached, _PAGE))
        for doc, place in rows:
            run = bisect_right(starts, place) - 1
            if run >= 0 and place <= runs[run][1]:
                docs.append(doc)
        if len(rows) < _PAGE:
            return docs
        reached = rows[-1][0]
