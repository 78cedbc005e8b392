"""`licet audit tail`: the newest records, and those to come."""

from __future__ import annotations

import time
from typing import Any

import click

from licet.cli.access import record_access, recording
from licet.cli.audit_filter import Filter, asked, filter_options, read_filter
from licet.cli.audit_search import line_of, show_entry
from licet.cli.exits import Exit
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, utc_now
from licet.cli.output import envelope, print_json
from licet.cli.records import read_entry
from licet.cli.scan import Growth, NewestFirst, sizes
from licet.model import Receipt
from licet.store.contract import Store, StoredRecord

POLL_S = 0.25


@click.command()
@filter_options
@click.option("-n", "--lines", type=click.IntRange(0, 10_000), default=10, show_default=True, help="Records to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is appended, until interrupted.")
@click.pass_obj
def tail(invocation: Invocation, /, tenant: str | None, lines: int, follow: bool, **options: Any) -> int:  # noqa: FBT001 - click's
    """Print the newest records, the newest last.

    With --json each record is an envelope on a line of its own.
    """
    wanted = read_filter(options, utc_now())
    settings = load_settings(invocation)
    with recording(settings) as ledger:
        begin = sizes(ledger.store, tenant)
        found = _newest(ledger.store, begin, wanted, lines)
        own = record_access(ledger, settings, "tail", {**asked(options), "follow": follow}, tenant=tenant, shown=len(found))
        for record in reversed(found):
            _print(invocation, record)
        if follow:
            _follow(invocation, Growth(ledger.store, tenant, begin), wanted, own)
    return int(Exit.OK)


def _newest(store: Store, begin: dict[str, int], wanted: Filter, lines: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    if lines == 0:
        return found
    for record, head in NewestFirst(store, begin):
        if wanted.fits(record, head):
            found.append(record)
            if len(found) == lines:
                break
    return found


def _follow(invocation: Invocation, growth: Growth, wanted: Filter, own: Receipt) -> None:
    """Until interrupted, which is how this ends well. The record of this very reading is left out."""
    try:
        while True:
            for record, head in growth.take():
                if wanted.fits(record, head) and (record.log, record.index) != (own.log, own.index):
                    _print(invocation, record)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return


def _print(invocation: Invocation, record: StoredRecord) -> None:
    entry = read_entry(record)
    if invocation.as_json:
        print_json(envelope(invocation.command, data=line_of(record, entry)))
    else:
        show_entry(invocation.output, entry)
        invocation.output.out.file.flush()
