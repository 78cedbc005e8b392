"""Which docs of the search index match some filters, asked in the way that is shortest to read.

Most of a ledger lies in one log, and nearly every search is for nearly every kind of record. What is looked for is then what is not in the
few others: a list of a million docs is not read to find that all of them are in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw
from msgspec import Struct

from licet.store.index_terms import KINDS, UNREADABLE, VALUES_LIMIT, Filters, expression_of
from licet.store.sqlite_rows import fetch

_FEW: Final = 8
"""One in so many records is passed over faster than what has another term is found: newest first, a whole run of them may be met."""


class Matching(Struct, frozen=True):
    """Which docs match: rows of a table, as SQL without its span. Of an expression, or all but those of these logs."""

    table: str
    doc: str
    where: str
    value: str

    def docs(self, con: apsw.Connection, span: range, limit: int) -> list[int]:
        """Those of a span, the newest first, at most so many."""
        text = f"SELECT {self.doc} {self._from} ORDER BY {self.doc} DESC LIMIT ?"
        return [row[0] for row in fetch(con, text, (self.value, span.start, span.stop, limit))]

    def count(self, con: apsw.Connection, span: range, limit: int) -> int:
        """How many there are in a span, counted up to so many."""
        text = f"SELECT count(*) FROM (SELECT 1 {self._from} LIMIT ?)"  # noqa: S608  names of our own tables
        return int(fetch(con, text, (self.value, span.start, span.stop, limit))[0][0])

    @property
    def _from(self) -> str:
        return f"FROM {self.table} WHERE {self.where} AND {self.doc} >= ? AND {self.doc} < ?"


def matching(con: apsw.Connection, filters: Filters) -> Matching:
    """The docs that match. Raises as `expression_of` does, but for logs that are nearly all."""
    logs = filters.get("log")
    rest: Filters = {field: values for field, values in filters.items() if field != "log"}
    kinds = _other_kinds(rest.get("kind", ()))
    if kinds:
        rest = {field: values for field, values in rest.items() if field != "kind"}
    others = [] if logs is None else _other_logs(con, logs)
    if not rest and not kinds and others is not None:
        gone = f"{[number for number, _ in others]}"
        return Matching(table="docs", doc="doc", where="place >> 40 NOT IN (SELECT value FROM json_each(?))", value=gone)
    without: Filters = {"kind": kinds} if kinds else {}
    if logs is not None and (others is None or not rest):
        rest = {**rest, "log": logs}  # there must be something to take away from
    elif others:
        without = {**without, "log": tuple([name for _, name in others])}
    found = expression_of(rest, without=without) if rest else expression_of(filters)
    return Matching(table="terms", doc="rowid", where="terms MATCH ?", value=found or "")


def _other_kinds(wanted: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are not looked for, where they are fewer. Every record is of one of `KINDS`."""
    others = KINDS.difference(wanted)
    return tuple(sorted(others)) if UNREADABLE in wanted and 2 * len(others) < len(KINDS) else ()


def _other_logs(con: apsw.Connection, wanted: Sequence[str]) -> list[tuple[int, str]] | None:
    """The logs, by number and name, that are not looked in; None where they hold more than a few of the records."""
    inside = frozenset(wanted)
    logs = fetch(con, "SELECT number, name, next FROM logs WHERE next > 0")
    others = [(number, name, size) for number, name, size in logs if name not in inside]
    is_little = sum(size for *_, size in others) * _FEW < sum(size for *_, size in logs)
    return [(number, name) for number, name, _ in others] if is_little and len(others) <= VALUES_LIMIT else None
