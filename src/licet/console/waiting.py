"""How many requests wait for the person who looks: the number beside the inbox, on every page.

While pages are open somebody watches the requests (console/live.py): until one moves, or `KEPT_S` have gone by, the number is not
worked out again. It is for the eye: what may be voted on is decided by nobody's count.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from typing import Final

from licet.console.live import watch_of
from licet.errors import IntegrityBroken, StoreError
from licet.server import approvals
from licet.server.endpoint import Asked, Serving
from licet.server.problems import Problem
from licet.server.shapes_approvals import ListRequests, RequestShape

COUNTED: Final = 99
KEPT_S: Final = 10.0
_KEPT: Final = 1_000
_Counts = dict[tuple[str, str | None], tuple[int, float, str]]
_counts: Final[weakref.WeakKeyDictionary[Serving, _Counts]] = weakref.WeakKeyDictionary()


def waiting_for(asked: Asked, place: str | None) -> str:
    """`3`, or `99+`; empty where nothing waits, or it cannot be told now."""
    counts = _counts.setdefault(asked.serving, {})
    watch, key = watch_of(asked.serving), (asked.who.credential, place)
    mark, now = watch.moves, time.monotonic()
    kept = counts.get(key)
    if kept is not None and watch.is_looking and kept[0] == mark and now - kept[1] < KEPT_S:
        return kept[2]
    found = _count(asked, place)
    if len(counts) >= _KEPT:
        counts.clear()
    counts[key] = (mark, now, found)
    return found


def _count(asked: Asked, place: str | None) -> str:
    try:
        return counted(asked, ListRequests(mine=True, tenant=place, limit=COUNTED))
    except (Problem, StoreError, IntegrityBroken):
        return ""  # the page is about something else, and says of its own what is wrong


def counted(asked: Asked, params: ListRequests) -> str:
    """How many lines a list has, a plan being one, as far as it is counted. Raises as the list does."""
    page = approvals.find_requests(asked.with_input(params, None), with_own=True)
    found = lines_of(page.requests)
    return f"{found}+" if page.next is not None else found


def lines_of(requests: Iterable[RequestShape]) -> str:
    """How many lines these are, a plan being one; empty for none."""
    return str(len({one.plan or one.id for one in requests}) or "")
