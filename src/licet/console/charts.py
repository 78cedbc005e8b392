"""Charts that every page may draw: bars of counted hours, drawn here as those of the explorer are (audit_chart.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from licet.console.audit_chart import HEIGHT, LEAST, WIDTH, Bar, Chart, Part
from licet.server.shapes_records import BarShape

_ORDER: Final = ("deny", "hold", "allow")
_HOUR_S: Final = 3_600
_DAY_H: Final = 24


class Share(Struct, frozen=True):
    """One line of a list of bars, `width` and `then` of 1000; `then` is where the time before has its tick."""

    name: str
    number: int
    before: int
    width: int
    then: int

    @property
    def change(self) -> str:
        """What has come or gone since the time before: `+3`."""
        found = self.number - self.before
        return f"{found:+,}".replace("-", "\u2212") if found else "\u00b10"


def shares(found: Iterable[tuple[str, int, int]]) -> tuple[Share, ...]:
    """Lines of (name, number, number before), the most first, and none that is nothing."""
    lines = sorted([one for one in found if one[1] or one[2]], key=lambda one: (-one[1], one[0]))
    most = max([max(one[1:]) for one in lines], default=1)
    return tuple([Share(name, now, then, round(1_000 * now / most), round(1_000 * then / most)) for name, now, then in lines])


def draw_hours(found: Sequence[BarShape], since: datetime, until: datetime, hours: int) -> Chart:
    """A chart of what was counted by verdict in bars of so many hours."""
    step, first = hours * _HOUR_S, int(since.timestamp())
    count = max(1, -(-(int(until.timestamp()) - first) // step))
    columns: list[dict[str, int]] = [dict.fromkeys(_ORDER, 0) for _ in range(count)]
    for bar in found:
        number = (int(bar.since.timestamp()) - first) // step
        if bar.value in _ORDER and 0 <= number < count:
            columns[number][bar.value] += bar.count
    most = max([sum(column.values()) for column in columns] + [1])
    width = WIDTH / count
    drawn = []
    for number, column in enumerate(columns):
        begin, end = (datetime.fromtimestamp(first + at * step, UTC) for at in (number, number + 1))
        drawn.append(Bar(round(number * width, 1), round(width, 1), _label(begin, column, hours), begin, end, _parts(column, most)))
    totals = {verdict: sum(column[verdict] for column in columns) for verdict in reversed(_ORDER)}
    span = "day" if hours == _DAY_H else f"{hours} h"
    told = ", ".join(f"{number:,} {verdict}" for verdict, number in totals.items())
    return Chart(
        bars=tuple(drawn),
        most=most,
        step=span,
        since=drawn[0].since,
        until=drawn[-1].until,
        totals=totals,
        label=f"Records by verdict, one bar for each {span}: {told}.",
        complete=True,
    )


def _parts(column: Mapping[str, int], most: int) -> tuple[Part, ...]:
    heights = {verdict: max(LEAST, number / most * HEIGHT) for verdict, number in column.items() if number}
    too_high = max(1.0, sum(heights.values()) / HEIGHT)
    parts, base = [], float(HEIGHT)
    for verdict, height in heights.items():
        base -= height / too_high
        parts.append(Part(verdict, round(base, 1), round(height / too_high, 1)))
    return tuple(parts)


def _label(begin: datetime, column: Mapping[str, int], hours: int) -> str:
    form = "%Y-%m-%d" if hours == _DAY_H else "%Y-%m-%d %H:%M UTC"
    told = ", ".join(f"{number:,} {verdict}" for verdict, number in column.items() if number) or "nothing"
    return f"{begin.strftime(form)}: {told}"
