"""Asking the search index: pages of records, the newest first.

Docs grow with time, so a page begins where the last one ended, by doc and never by counting; what is added meanwhile neither shifts
nor repeats anything. Filters are one intersection inside the inverted index. Filters with text are two lists, intersected here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import apsw
from msgspec import Struct

from licet.store.index_matching import matching
from licet.store.index_terms import Filters, is_impossible
from licet.store.index_text import shards, text_expression, texts_in
from licet.store.sqlite_rows import fetch

TIE_BITS = 11
"""2,048 records may share a microsecond; 52 bits of microseconds last until 2112."""
AT_LIMIT_US = (1 << 52) - (1 << 40)
"""What a clock puts later is filed here, with room behind it."""
DOC_END = (1 << 63) - 1
_STEP, _STEP_LIMIT = 128, 4096
_SPARSE = 100
"""Looking up one doc in a list costs about as much as reading a hundred of its entries in order."""


class Query(Struct, frozen=True, kw_only=True):
    """What is looked for: `filters`, words or phrases of `text`, and a range of time in UTC microseconds, without `until_us` itself.

    The range is exact unless more than 2,048 records share a microsecond: those beyond are found a microsecond later.
    """

    filters: Filters = {}
    text: str | None = None
    since_us: int | None = None
    until_us: int | None = None


class Place(Struct, frozen=True):
    """Where a record is, and when it says it was made (UTC microseconds)."""

    log: str
    index: int
    at: int


class Page(Struct, frozen=True):
    """Records, the newest first, and where the next page begins; `next` is None when there are no more.

    A page may be short, even empty, and yet have a next one: a search ends after its patience and goes on from where it was.
    """

    places: tuple[Place, ...]
    next: str | None


class Moments(Struct, frozen=True):
    """When the records that match were made (UTC microseconds), the newest first: all of them if `exact`, or those from `reached` on.

    `verdicts` has of each what it decided: `allow`, `hold`, `deny`, or nothing.
    """

    at: tuple[int, ...]
    verdicts: tuple[str, ...]
    exact: bool
    reached: int


class Count(Struct, frozen=True):
    """How many records match: all of them if `exact`, or at least that many."""

    number: int
    exact: bool


_VERDICTS = ("", "allow", "hold", "deny")


def verdict_number(verdict: str) -> int:
    """As the table of docs has it; 0 for what is none."""
    return _VERDICTS.index(verdict) if verdict in _VERDICTS else 0


_List: TypeAlias = Callable[[range, int], list[int]]
"""Docs of a list within a span, the newest first, at most so many."""


class _Found(NamedTuple):
    docs: list[int]
    reached: int
    """Everything from here on was looked at."""


def find_page(con: apsw.Connection, query: Query, limit: int, after: str | None, patience_s: float) -> Page:
    """See `Index.search`. The connection is in a read transaction."""
    span = _span_of(query)
    if after is not None:
        span = range(span.start, min(span.stop, _parse_cursor(after)))
    found = _Search(con, query, patience_s).find(span, limit)
    text = "SELECT logs.name, place & 0xffffffffff, doc >> 11 FROM docs JOIN logs ON logs.number = place >> 40 WHERE doc = ?"
    places = tuple([Place(*row) for doc in found.docs for row in fetch(con, text, (doc,))])
    return Page(places, f"{found.reached:x}" if found.reached > span.start else None)


def count_up_to(con: apsw.Connection, query: Query, limit: int, patience_s: float) -> Count:
    """See `Index.count`. The connection is in a read transaction."""
    span = _span_of(query)
    if query.text is None:
        number = 0 if is_impossible(query.filters) else matching(con, query.filters).count(con, span, limit + 1)
        return Count(min(number, limit), number <= limit)
    found = _Search(con, query, patience_s).find(span, limit + 1)
    return Count(min(len(found.docs), limit), len(found.docs) <= limit and found.reached <= span.start)


def find_moments(con: apsw.Connection, query: Query, limit: int, patience_s: float) -> Moments:
    """See `Index.moments`. The connection is in a read transaction."""
    span = _span_of(query)
    found = _Search(con, query, patience_s).find(span, limit + 1)
    is_cut = len(found.docs) > limit
    docs = found.docs[:limit]
    reached = docs[-1] if is_cut else found.reached
    numbers = fetch(con, "SELECT verdict FROM docs WHERE doc IN (SELECT value FROM json_each(?)) ORDER BY doc DESC", (f"{docs}",))
    verdicts = tuple([_VERDICTS[number] for (number,) in numbers])
    return Moments(tuple([doc >> TIE_BITS for doc in docs]), verdicts, not is_cut and reached <= span.start, reached >> TIE_BITS)


def docs_of(con: apsw.Connection, filters: Filters) -> list[int]:
    """Every doc that matches."""
    return _filtered(con, filters)(range(DOC_END), DOC_END)


class _Search:
    """One search, which ends when its patience does."""

    def __init__(self, con: apsw.Connection, query: Query, patience_s: float) -> None:
        self._con = con
        self._query = query
        self._deadline = time.monotonic() + patience_s

    def find(self, span: range, limit: int) -> _Found:
        """The newest docs of the span."""
        if is_impossible(self._query.filters) or not span:
            return _Found([], span.start)
        if self._query.text is None:
            return _read(_filtered(self._con, self._query.filters), span, limit)
        expression = text_expression(self._query.text)
        return self._find_text(expression, span, limit) if expression else _Found([], span.start)

    def _find_text(self, expression: str, span: range, limit: int) -> _Found:
        docs: list[int] = []
        filtered = _filtered(self._con, self._query.filters)
        for number, start in shards(self._con):
            mine = range(max(span.start, start), span.stop)
            if mine:
                texts = partial(texts_in, self._con, number, expression)
                part = (
                    self._both(texts, filtered, mine, limit - len(docs)) if self._query.filters else _read(texts, mine, limit - len(docs))
                )
                docs += part.docs
                span = range(span.start, part.reached)
                if part.reached > mine.start or len(docs) == limit or self._is_late():
                    return _Found(docs, span.stop)
        return _Found(docs, span.start)

    def _both(self, first: _List, second: _List, span: range, limit: int) -> _Found:
        """Docs that both lists have. Whichever is much sparser leads, and its docs are looked up in the other one."""
        docs: list[int] = []
        floor, step = span.start, _STEP
        while span and len(docs) < limit:
            ours = first(span, step)
            theirs = second(range(floor, ours[0] + 1), step) if ours else []
            if not theirs:
                return _Found(docs, floor)
            low_ours, low_theirs = _low(ours, step, floor), _low(theirs, step, floor)
            reach_ours, reach_theirs = ours[0] + 1 - low_ours, ours[0] + 1 - low_theirs
            if len(ours) * reach_theirs * _SPARSE < len(theirs) * reach_ours:
                both, low = [doc for doc in ours if second(range(doc, doc + 1), 1)], low_ours
            elif len(theirs) * reach_ours * _SPARSE < len(ours) * reach_theirs:
                both, low = [doc for doc in theirs if first(range(doc, doc + 1), 1)], low_theirs
            else:
                low, common = max(low_ours, low_theirs), set(theirs)
                both = [doc for doc in ours if doc >= low and doc in common]
            docs += both
            span = range(floor, low)
            step = min(2 * step, _STEP_LIMIT)
            if self._is_late():
                break
        return _Found(docs[:limit], docs[limit - 1] if len(docs) >= limit else span.stop)

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline


def _read(docs: _List, span: range, limit: int) -> _Found:
    """One list alone."""
    found = docs(span, limit)
    return _Found(found, found[-1] if len(found) == limit else span.start)


def _low(docs: list[int], step: int, floor: int) -> int:
    """Down to where a list is known."""
    return docs[-1] if len(docs) == step else floor


def _filtered(con: apsw.Connection, filters: Filters) -> _List:
    return partial(matching(con, filters).docs, con)


def doc_floor(at_us: int) -> int:
    """The first doc of this microsecond."""
    return min(max(at_us, 0), AT_LIMIT_US) << TIE_BITS


def _span_of(query: Query) -> range:
    floor = 0 if query.since_us is None else doc_floor(query.since_us)
    endless = query.until_us is None or query.until_us > AT_LIMIT_US
    return range(floor, DOC_END if endless else doc_floor(query.until_us or 0))


def _parse_cursor(unverified: str) -> int:
    try:
        doc = int(unverified, 16)
    except ValueError:
        doc = -1
    if not 0 <= doc <= DOC_END or f"{doc:x}" != unverified:
        raise ValueError(f"`{unverified[:40]}` is not where a page ended")
    return doc
