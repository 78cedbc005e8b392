"""`licet audit count`: how many records there were, by tool, verdict or outcome, without looking at any of them."""

from __future__ import annotations

from typing import get_args

import click
from msgspec import Struct

from licet.cli.audit_filter import moment_of
from licet.cli.invocation import Invocation
from licet.cli.loading import utc_now
from licet.cli.output import Output
from licet.cli.record_source import Counting, records_of
from licet.cli.wording import counted
from licet.ledger.record import microseconds
from licet.store.index_rollups import HOUR_US, Bar, By

_NONE = "(none)"


class Counts(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: all records of each value, most first, and the bars, each from an hour (hours since 1970) on."""

    by: By
    totals: dict[str, int]
    bars: tuple[Bar, ...]


@click.command()
@click.option("--by", type=click.Choice(get_args(By)), default="verdict", show_default=True, help="What is counted apart.")
@click.option(
    "--since", default="30d", show_default=True, metavar="TIME", help="From this hour on: 2026-11-22T09:30, UTC, or 2h for two hours ago."
)
@click.option("--until", metavar="TIME", help="Only before this time, to the hour.")
@click.option("--tenant", metavar="NAME", help="Only the log of this tenant; `operator` is the one of what has no tenant.")
@click.pass_obj
def count(invocation: Invocation, /, by: By, since: str, until: str | None, tenant: str | None) -> int:
    """Count the records of the last 30 days, by tool, verdict or outcome.

    A denial that stands for many counts as many. Whole hours are counted. The reading is recorded.
    """
    now = utc_now()
    since_us, until_us = moment_of("since", since, now), moment_of("until", until, now) or microseconds(now) + HOUR_US
    assert since_us is not None
    with records_of(invocation) as source:
        bars = source.count(Counting(by=by, since=since, until=until, since_us=since_us, until_us=until_us, tenant=tenant))
    totals: dict[str, int] = {}
    for bar in bars:
        totals[bar.value] = totals.get(bar.value, 0) + bar.count
    ordered = dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))
    counts = Counts(by=by, totals=ordered, bars=bars)
    return invocation.answer(counts, lambda output: _show(output, counts))


def _show(output: Output, counts: Counts) -> None:
    output.facts([(value or _NONE, counted(number, "record")) for value, number in counts.totals.items()])
    if not counts.totals:
        output.line("No record fits.")
