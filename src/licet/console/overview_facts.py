"""What the overview counts: calls, denials by tool, and how long people took to decide.

Rules:

1. Only logs in which this one may read are counted. Counting opens no payload.
2. Every question is bounded: rollups by the hour, the `BUSIEST` tools, at most `DECIDED` requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from licet.console.audit_chart import Chart, by_verdict, draw
from licet.console.charts import Share, draw_hours, shares
from licet.console.wording import span
from licet.errors import IntegrityBroken
from licet.ledger.record import decode_envelope, microseconds
from licet.model import RequestId, RequestState
from licet.server.endpoint import Asked
from licet.server.shapes_records import BarShape
from licet.store.finder import Wanted
from licet.store.index_rollups import HOUR_US, By

TOOLS: Final = 12
BUSIEST: Final = 40
"""Tools among which those with the most denials are looked for."""
COUNTED: Final = 10_000
DECIDED: Final = 100
DRAWN: Final = 5_000
BACK: Final = timedelta(days=14)
DECIDING: Final = ("intent", "call", "denial", "hold")
_HOUR: Final = timedelta(hours=1)


class Times(Struct, frozen=True, kw_only=True):
    """How long people took, of the newest requests that were decided or expired; `limited` where there are more than were looked at."""

    approved: int
    p50: str
    p95: str
    expired: int
    requests: int
    limited: bool


def calls(asked: Asked, logs: Sequence[str], back: timedelta, hours: int) -> Chart:
    """Records by verdict over this time; to the minute where it is short."""
    now = asked.gate.now()
    if back <= _HOUR:
        finder = asked.gate.ledger.search().finder
        wanted = Wanted(plain={"kind": DECIDING}, since_us=microseconds(now - back))  # an outcome is no second decision
        found = finder.moments(wanted, limit=DRAWN, logs=tuple(logs))
        return draw(by_verdict(found), now - back, now, complete=found.exact)
    since, until = (now - back).replace(minute=0, second=0, microsecond=0), now + timedelta(seconds=1)
    return draw_hours(counted(asked, logs, "verdict", since=since, until=until, hours=hours), since, until, hours)


def counted(asked: Asked, logs: Sequence[str], by: By, *, since: datetime, until: datetime, hours: int) -> list[BarShape]:
    """The rollups of these logs."""
    index = asked.gate.ledger.search().index
    return [
        BarShape(since=_EPOCH + timedelta(microseconds=bar.hour * HOUR_US), value=bar.value, count=bar.count)
        for log in logs
        for bar in index.rollup(by, since_us=microseconds(since), until_us=microseconds(until), log=log, hours=hours)
    ]


def totals(bars: Sequence[BarShape]) -> dict[str, int]:
    """How many of each value, the most first; what has none is left out."""
    found: dict[str, int] = {}
    for bar in bars:
        if bar.value:
            found[bar.value] = found.get(bar.value, 0) + bar.count
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def denials(asked: Asked, logs: Sequence[str], back: timedelta) -> tuple[tuple[Share, ...], bool]:
    """Denials by tool in this time and in the one before; and whether there were more tools than were counted."""
    now = asked.gate.now()
    tools = list(totals(counted(asked, logs, "tool", since=now - 2 * back, until=now + timedelta(seconds=1), hours=24)))
    finder = asked.gate.ledger.search().finder

    def number(tool: str, since: datetime, until: datetime) -> int:
        wanted = Wanted(plain={"tool": (tool,), "verdict": ("deny",)}, since_us=microseconds(since), until_us=microseconds(until))
        return finder.count(wanted, limit=COUNTED, logs=logs).number

    later = now + timedelta(seconds=1)
    denied = sorted(((number(tool, now - back, later), tool) for tool in tools[:BUSIEST]), reverse=True)[:TOOLS]
    found = [(tool, count, number(tool, now - 2 * back, now - back)) for count, tool in denied if count]
    return shares(found), len(tools) > BUSIEST


def times(asked: Asked, logs: Sequence[str]) -> Times:
    """How long it took from a question to its approval, and how many questions nobody answered in time."""
    now = asked.gate.now()
    finder = asked.gate.ledger.search().finder
    wanted = Wanted(plain={"kind": ("vote", "expiry")}, since_us=microseconds(now - BACK))
    page = finder.find(wanted, limit=2 * DECIDED, after=None, logs=tuple(logs))
    moved: dict[RequestId, int] = {}
    for record in page.records:  # the newest first: the last vote is what decided
        try:
            envelope = decode_envelope(record.envelope)
        except IntegrityBroken:  # its own page says so
            continue
        if envelope.approval is not None:
            moved.setdefault(envelope.approval.request, envelope.at)
    took, expired, seen = [], 0, 0
    for request_id in list(moved)[:DECIDED]:
        try:
            request = asked.gate.store.get_request(request_id)
        except KeyError:
            continue  # erased
        if request.state in {RequestState.APPROVED, RequestState.CONSUMED}:
            took.append(max(0.0, moved[request_id] / 1_000_000 - request.opened_at.timestamp()))
        expired += request.state == RequestState.EXPIRED
        seen += request.state != RequestState.OPEN
    took.sort()
    return Times(
        approved=len(took),
        p50=_at(took, 50),
        p95=_at(took, 95),
        expired=expired,
        requests=seen,
        limited=page.next is not None or len(moved) > DECIDED,
    )


def _at(took: Sequence[float], percent: int) -> str:
    """The nearest rank, in words."""
    if not took:
        return "none"
    return span(round(took[max(0, -(-len(took) * percent // 100) - 1)]))


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
