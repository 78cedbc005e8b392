"""`licet audit search`: which calls, since when? Newest first, a page at a time, through the search index."""

from __future__ import annotations

import shlex
from typing import Any

import click
from msgspec import Raw, Struct

from licet.cli.audit_filter import filter_options
from licet.cli.invocation import Invocation
from licet.cli.output import Output
from licet.cli.record_source import records_of
from licet.cli.records import Entry, read_entry, tell
from licet.cli.wording import moment
from licet.store.contract import StoredRecord

PAGE = 20


class Line(Struct, frozen=True, kw_only=True):
    """One record with `--json`: where it is, what it says, and its exact envelope and payload (None where that cannot be opened)."""

    place: str
    sentence: str
    envelope: Raw
    payload: Raw | None


class Page(Struct, frozen=True, kw_only=True):
    """A page of records, newest first. `before` continues it; None where nothing is left."""

    records: tuple[Line, ...]
    before: str | None


@click.command()
@filter_options
@click.option("--limit", type=click.IntRange(1, 1_000), default=PAGE, show_default=True, help="Records on a page.")
@click.option("--before", metavar="CURSOR", help="Go on behind an earlier page, at the cursor that it ended with.")
@click.pass_obj
def search(invocation: Invocation, /, limit: int, before: str | None, **options: Any) -> int:
    """Search the audit log, newest first.

    Every option narrows. Each record is told in one sentence; `licet audit show` tells all that is known of a call. The search itself is
    recorded.
    """
    with records_of(invocation) as source:
        found = source.search(options, limit=limit, before=before)
    entries = [read_entry(record) for record in found.records]
    page = Page(records=tuple(line_of(record, entry) for record, entry in zip(found.records, entries, strict=True)), before=found.next)
    step_next = f"older ones: the same with `--before {shlex.quote(found.next)}`" if found.next else None
    return invocation.answer(page, lambda output: _show(output, entries), next_step=step_next)


def line_of(record: StoredRecord, entry: Entry) -> Line:
    """A record as `--json` prints it."""
    payload = None if record.payload is None else Raw(record.payload)
    return Line(place=entry.place, sentence=tell(entry).sentence, envelope=Raw(record.envelope), payload=payload)


def show_entry(output: Output, entry: Entry) -> None:
    """A record in one sentence, with its time, place and call's id below."""
    told = tell(entry)
    call = f"  {entry.envelope.call}" if entry.envelope.call is not None else ""
    output.mark(told.mark, told.word, told.sentence, below=f"{moment(entry.envelope.at)}  {entry.place}{call}")


def _show(output: Output, entries: list[Entry]) -> None:
    for entry in entries:
        show_entry(output, entry)
    if not entries:
        output.line("No record fits.")
