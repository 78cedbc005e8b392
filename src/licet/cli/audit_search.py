"""`licet audit search`: which calls, since when? Newest first, a page at a time."""

from __future__ import annotations

import shlex
from typing import Any

import click
from msgspec import Raw, Struct

from licet.cli.audit_filter import filter_options, read_filter
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading, utc_now
from licet.cli.output import Output
from licet.cli.records import Entry, read_entry, tell
from licet.cli.scan import NewestFirst, read_position, sizes, write_position
from licet.cli.wording import moment
from licet.store.contract import StoredRecord

PAGE = 20


class Line(Struct, frozen=True, kw_only=True):
    """One record with `--json`: where it is, what it says, and its exact envelope and payload (None where that was erased)."""

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
@click.option("--limit", type=click.IntRange(1, 10_000), default=PAGE, show_default=True, help="Records on a page.")
@click.option("--before", metavar="PLACES", help="Go on behind an earlier page, at the places that it ended with.")
@click.pass_obj
def search(invocation: Invocation, /, tenant: str | None, limit: int, before: str | None, **options: Any) -> int:
    """Search the audit log, newest first.

    Every option narrows. Each record is told in one sentence; `licet audit show` tells all that is known of a call.
    """
    wanted = read_filter(options, utc_now())
    with reading(load_settings(invocation)) as store:
        known = sizes(store, tenant)
        walk = NewestFirst(store, known if before is None else read_position(before, known))
        found: list[StoredRecord] = []
        for record, envelope in walk:
            if wanted.fits(record, envelope):
                found.append(record)
                if len(found) == limit:
                    break
        position = None if walk.is_over or len(found) < limit else write_position(walk.position)
    entries = [read_entry(record) for record in found]
    page = Page(records=tuple(line_of(record, entry) for record, entry in zip(found, entries, strict=True)), before=position)
    step = f"older ones: the same with `--before {shlex.quote(position)}`" if position else None
    return invocation.answer(page, lambda output: _show(output, entries), next_step=step)


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
