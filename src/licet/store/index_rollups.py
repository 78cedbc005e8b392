"""How many records there were, by hour: what a chart asks, without looking at records.

Each hour has one row for each tool, one for each verdict and one for each outcome that occurred, once in its log and once for all logs
(log 0): a chart of 30 days reads 720 hours of one of them. A denial that stands for many (`decision.count`) counts as many.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

import apsw
from msgspec import Struct

from licet.store.sqlite_rows import fetch

HOUR_US = 3_600_000_000
ALL_LOGS = 0

By = Literal["tool", "verdict", "outcome"]
Bucket: TypeAlias = tuple[str, str, str]
"""Tool, verdict and outcome, each empty where a record has none."""
Counts: TypeAlias = Counter[tuple[int, int, Bucket]]
"""By log number, hour and bucket."""


_ROWS = "FROM rollups WHERE log = ?1 AND by = ?2 AND hour >= ?3 AND hour < ?4"
_BY: tuple[By, ...] = ("tool", "verdict", "outcome")


class Bar(Struct, frozen=True):
    """How many records there were from an hour on (hours since 1970), of one tool, verdict or outcome; empty for those that have none."""

    hour: int
    value: str
    count: int


def add_counts(con: apsw.Connection, counts: Counts) -> None:
    """These are counted, in their logs and over all. Part of the caller's transaction."""
    rows: Counter[tuple[int, By, int, str]] = Counter()
    for (log, hour, bucket), count in counts.items():
        for by, value in zip(_BY, bucket, strict=True):
            rows[log, by, hour, value] += count
            rows[ALL_LOGS, by, hour, value] += count
    text = "INSERT INTO rollups VALUES (?, ?, ?, ?, ?) ON CONFLICT (log, by, hour, value) DO UPDATE SET count = count + excluded.count"
    con.executemany(text, [(*key, count) for key, count in rows.items()])


def bars(con: apsw.Connection, by: By, hours: range, log: str | None) -> tuple[Bar, ...]:
    """Bars of `hours.step` hours each over these hours since 1970; see `Index.rollup`."""
    if by not in _BY:
        raise ValueError(f"records are not counted by `{by}`")
    number = ALL_LOGS
    if log is not None:
        found = fetch(con, "SELECT number FROM logs WHERE name = ?", (log,))
        if not found:
            return ()
        number = found[0][0]
    values = (number, by, hours.start, hours.stop)
    if hours.step == 1:
        return tuple([Bar(*row) for row in fetch(con, f"SELECT hour, value, count {_ROWS} ORDER BY hour, value", values)])
    grouped = f"SELECT ?3 + (hour - ?3) / ?5 * ?5 AS first, value, sum(count) {_ROWS} GROUP BY first, value ORDER BY first, value"
    return tuple([Bar(*row) for row in fetch(con, grouped, (*values, hours.step))])
