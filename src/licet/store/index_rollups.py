"""How many records there were, by hour: what a chart asks, without looking at records.

Each hour has one row for each tool, verdict and outcome that occurred together, once in its log and once for all logs (log 0): a chart of
30 days reads 720 hours of one of them. A denial that stands for many (`decision.count`) counts as many.
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


class Bar(Struct, frozen=True):
    """How many records there were from an hour on (hours since 1970), of one tool, verdict or outcome; empty for those that have none."""

    hour: int
    value: str
    count: int


def add_counts(con: apsw.Connection, counts: Counts) -> None:
    """These are counted, in their logs and over all. Part of the caller's transaction."""
    both = counts.copy()
    for (_, hour, bucket), count in counts.items():
        both[ALL_LOGS, hour, bucket] += count
    text = (
        "INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (log, hour, tool, verdict, outcome) DO UPDATE SET count = count + excluded.count"
    )
    con.executemany(text, [(log, hour, *bucket, count) for (log, hour, bucket), count in both.items()])


def bars(con: apsw.Connection, by: By, hours: range, log: str | None) -> tuple[Bar, ...]:
    """Bars of `hours.step` hours each over these hours since 1970; see `Index.rollup`."""
    if by not in ("tool", "verdict", "outcome"):
        raise ValueError(f"records are not counted by `{by}`")
    number = ALL_LOGS
    if log is not None:
        found = fetch(con, "SELECT number FROM logs WHERE name = ?", (log,))
        if not found:
            return ()
        number = found[0][0]
    text = (
        f"SELECT ?1 + (hour - ?1) / ?2 * ?2 AS first, {by}, sum(count) FROM rollups "  # noqa: S608  one of three words
        f"WHERE log = ?3 AND hour >= ?1 AND hour < ?4 GROUP BY first, {by} ORDER BY first, {by}"
    )
    return tuple([Bar(*row) for row in fetch(con, text, (hours.start, hours.step, number, hours.stop))])
