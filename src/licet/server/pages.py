"""A page of a list, the oldest first: of what is few enough to be read whole, and many enough not to be told at once.

Rules:

1. What is asked for is filtered by permission first: what this one may not see is no part of a page, its size or its cursor.
2. The place of an entry is when it came about and its id. It does not move, so pages neither repeat nor
   leave out what stands all the while.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol, TypeVar

from msgspec import Struct

from licet.ledger.record import microseconds
from licet.server.cursors import read_cursor, write_cursor

T = TypeVar("T")

Place = tuple[int, str]
"""UTC microseconds and an id."""


class Paged(Protocol):
    """Parameters that say which page."""

    limit: int
    cursor: str | None


def page_of(
    operation: str, params: Paged, entries: Iterable[T], place: Callable[[T], tuple[datetime, str]]
) -> tuple[tuple[T, ...], str | None]:
    """The entries behind the cursor, at most `limit`, and the cursor of the next page; None where there is none. Raises `Problem`."""
    assert isinstance(params, Struct)
    placed: list[tuple[Place, T]] = []
    for entry in entries:
        at, id_ = place(entry)
        placed.append(((microseconds(at), id_), entry))
    placed.sort(key=_place)
    start = 0
    if params.cursor is not None:
        start = bisect_right(placed, read_cursor(operation, params, params.cursor, tuple[int, str]), key=_place)
    page = placed[start : start + params.limit]
    more = start + len(page) < len(placed)
    return tuple([entry for _, entry in page]), write_cursor(operation, params, page[-1][0]) if more else None


def _place(placed: tuple[Place, object]) -> Place:
    return placed[0]
