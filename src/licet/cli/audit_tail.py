"""`licet audit tail`: the newest records, and those to come."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from licet.cli.audit_filter import filter_options
from licet.cli.audit_search import line_of, show_entry
from licet.cli.exits import Exit
from licet.cli.invocation import Invocation
from licet.cli.output import envelope, print_json
from licet.cli.record_source import records_of
from licet.cli.records import read_entry
from licet.store.contract import StoredRecord


@click.command()
@filter_options
@click.option("-n", "--lines", type=click.IntRange(0, 10_000), default=10, show_default=True, help="Records to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is appended, until interrupted.")
@click.pass_obj
def tail(invocation: Invocation, /, tenant: str | None, lines: int, follow: bool, **options: Any) -> int:  # noqa: FBT001 - click's
    """Print the newest records, the newest last.

    With --json each record is an envelope on a line of its own.
    """
    with records_of(invocation) as source, suppress(KeyboardInterrupt):  # which is how following ends well
        for record in source.tail(options, tenant, lines=lines, follow=follow):
            _print(invocation, record)
    return int(Exit.OK)


def _print(invocation: Invocation, record: StoredRecord) -> None:
    entry = read_entry(record)
    if invocation.as_json:
        print_json(envelope(invocation.command, data=line_of(record, entry)))
    else:
        show_entry(invocation.output, entry)
        invocation.output.out.file.flush()
