"""Bars of how many records there were, by verdict: drawn here, as SVG, each bar a link that narrows the time to its own.

Rules:

1. A bar that stands for anything is seen: at least `LEAST` high, and its label says the number.
2. What was not counted is said: where more match than are drawn, the chart begins where they begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final

from msgspec import Struct

from licet.store.index_ask import Moments

WIDTH: Final = 960
HEIGHT: Final = 96
BARS: Final = 48
LEAST: Final = 4.0
"""Of 96: what is less cannot be told from the axis."""
_STEPS: Final = (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000)
_HOUR: Final = 3_600
_DAY: Final = 86_400
_ORDER: Final = ("deny", "hold", "allow")


class Part(Struct, frozen=True):
    """One verdict of one bar: from `y` on, so high."""

    verdict: str
    y: float
    height: float


class Bar(Struct, frozen=True):
    """A bar, what it stands for, and the time that it is of."""

    x: float
    width: float
    label: str
    since: datetime
    until: datetime
    parts: tuple[Part, ...]


class Chart(Struct, frozen=True):
    """Everything that a template draws. `most` is the highest bar; `step` says in words how long one is."""

    bars: tuple[Bar, ...]
    most: int
    step: str
    since: datetime
    until: datetime
    totals: Mapping[str, int]
    label: str
    complete: bool

    @property
    def ticks(self) -> Sequence[datetime]:
        """Five moments along the axis."""
        fifth = (self.until - self.since) / 4
        return [self.since + fifth * number for number in range(5)]


def draw(moments: Mapping[str, Iterable[int]], since: datetime, until: datetime, *, complete: bool = True) -> Chart:
    """A chart of when what happened (UTC microseconds, by verdict: `allow`, `hold`, `deny`)."""
    return draw_counted({verdict: [(at, 1) for at in found] for verdict, found in moments.items()}, since, until, complete=complete)


def draw_counted(
    moments: Mapping[str, Iterable[tuple[int, int]]], since: datetime, until: datetime, *, complete: bool = True, least_step: int = 60
) -> Chart:
    """A chart of when what happened how often; no bar is of fewer seconds than `least_step`."""
    seconds = max(60.0, (until - since).total_seconds())
    step = next((one for one in _STEPS if seconds / one <= BARS and one >= least_step), _DAY * ceil(seconds / BARS / _DAY))
    first = int(since.timestamp()) // step * step
    count = min(2 * BARS, int(until.timestamp() - first) // step + 1)
    counted = {verdict: [0] * count for verdict in _ORDER}
    for verdict, found in moments.items():
        for at, times in found:
            number = (at // 1_000_000 - first) // step
            if 0 <= number < count:
                counted[verdict][number] += times
    sums = [sum(counted[verdict][number] for verdict in _ORDER) for number in range(count)]
    most = max([*sums, 1])
    width = WIDTH / count
    bars = tuple(
        Bar(
            x=round(number * width, 1),
            width=round(width, 1),
            label=_label(first + number * step, step, {verdict: counted[verdict][number] for verdict in _ORDER}),
            since=datetime.fromtimestamp(first + number * step, UTC),
            until=datetime.fromtimestamp(first + (number + 1) * step, UTC),
            parts=_parts({verdict: counted[verdict][number] for verdict in _ORDER}, most),
        )
        for number in range(count)
    )
    totals = {verdict: sum(counted[verdict]) for verdict in ("allow", "hold", "deny")}
    told = ", ".join(f"{number:,} {verdict}" for verdict, number in totals.items())
    return Chart(
        bars=bars,
        most=most,
        step=_span(step),
        since=datetime.fromtimestamp(first, UTC),
        until=datetime.fromtimestamp(first + count * step, UTC),
        totals=totals,
        label=f"Records by verdict, one bar for each {_span(step)}: {told}.",
        complete=complete,
    )


def _parts(found: Mapping[str, int], most: int) -> tuple[Part, ...]:
    """From the axis upwards: denials first, where they can be compared."""
    heights = {verdict: max(LEAST, number / most * HEIGHT) for verdict, number in found.items() if number}
    too_high = sum(heights.values()) / HEIGHT
    parts, base = [], float(HEIGHT)
    for verdict, height in heights.items():
        height = height / too_high if too_high > 1 else height  # noqa: PLW2901  the same thing, as it fits
        base -= height
        parts.append(Part(verdict, round(base, 1), round(height, 1)))
    return tuple(parts)


def _label(at: int, step: int, found: Mapping[str, int]) -> str:
    form = "%Y-%m-%d" if step >= _DAY else "%Y-%m-%d %H:%M UTC"
    told = ", ".join(f"{number:,} {verdict}" for verdict, number in found.items() if number) or "nothing"
    return f"{datetime.fromtimestamp(at, UTC).strftime(form)}: {told}"


def _span(step: int) -> str:
    if step < _HOUR:
        return f"{step // 60} min"
    if step < _DAY:
        return f"{step // _HOUR} h"
    return f"{step // _DAY} days" if step > _DAY else "day"


def by_verdict(found: Moments) -> dict[str, list[int]]:
    """When what was decided, by verdict (UTC microseconds); what decided nothing is left out."""
    moments: dict[str, list[int]] = {verdict: [] for verdict in _ORDER}
    for at, verdict in zip(found.at, found.verdicts, strict=True):
        if verdict:
            moments[verdict].append(at)
    return moments


def since_of(moments: Iterable[Iterable[int]], fallback: datetime) -> datetime:
    """When the oldest of these was."""
    oldest = min((at for found in moments for at in found), default=None)
    return fallback if oldest is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=oldest)
