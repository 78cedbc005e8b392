"""`licet audit export`: the records as a file that can be verified without the store, or for other tools, or as tlog-tiles."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import click

from licet.cli.access import record_access, recording
from licet.cli.exits import Exit
from licet.cli.export_remote import fetch_export
from licet.cli.export_wanted import JSONL, TILES, Exported, Wanted
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings
from licet.cli.new_file import new_file, refuse_existing, told
from licet.cli.output import Output
from licet.cli.progress import Step, counted, progress
from licet.cli.scan import sizes
from licet.cli.wording import counted as so_many
from licet.cli.wording import size
from licet.config import Settings
from licet.errors import IntegrityBroken
from licet.gate.opening import OpenLedger
from licet.ledger.excerpt import Closed, Excerpt
from licet.ledger.export import export_lines
from licet.ledger.exports.formats import FORMATS, Format, get_format
from licet.ledger.exports.from_source import expected_of, rows_of
from licet.ledger.exports.manifest import manifest_of
from licet.ledger.source import Source
from licet.ledger.tile_export import export_tiles
from licet.store.contract import StoredCheckpoint


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice([JSONL, *(known.name for known in FORMATS), TILES]),
    default=JSONL,
    show_default=True,
    help="jsonl and tiles can be verified against the signed checkpoints that they carry; the others are for other tools.",
)
@click.option(
    "--output",
    "-o",
    "path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A new file, readable by you alone; by default stdout. For tiles a folder, which is gone on with.",
)
@click.option("--tenant", metavar="NAME", help="Only the log of this tenant.")
@click.option("--payloads/--no-payloads", default=True, help="Whether payloads (arguments, names, results) are written out.")
@click.pass_obj
def export(invocation: Invocation, /, form: str, path: Path | None, tenant: str | None, payloads: bool) -> int:  # noqa: FBT001 - click's
    """Write every record out, as of one moment.

    That somebody did, and how many records, is recorded first. A file says how many records it should have, and ends with
    what shows that it is complete.
    """
    wanted = Wanted(form=form, path=path, tenant=tenant, payloads=payloads and form != TILES)
    _check(invocation, wanted)
    if invocation.server is not None:
        done = fetch_export(invocation, wanted)
    else:
        settings = load_settings(invocation)
        with recording(settings) as ledger:
            done = _export(invocation, ledger, settings, wanted)
    if path is None:
        return int(Exit.OK)
    option = "--tiles" if form == TILES else "--file"
    return invocation.answer(done, lambda output: _show(output, done), next_step=f"`licet audit verify {option} {path}` verifies it")


def _check(invocation: Invocation, wanted: Wanted) -> None:
    """Refuse what cannot be written, before anything is recorded."""
    if wanted.path is None and (wanted.form == TILES or (wanted.form != JSONL and get_format(wanted.form).verify is None)):
        message = f"`--format {wanted.form}` writes more than one file"
        raise Refusal(Exit.USAGE, "usage", message, next_step="give `--output PATH`")
    if wanted.path is None and invocation.as_json:
        message = "`--json` and an export would mix on stdout"
        raise Refusal(Exit.USAGE, "usage", message, next_step="give `--output PATH`, or leave `--json` out")
    for path in (wanted.path if wanted.form != TILES else None, wanted.manifest):
        if path is not None:
            refuse_existing(path)


def _export(invocation: Invocation, ledger: OpenLedger, settings: Settings, wanted: Wanted) -> Exported:
    sizes(ledger.store, wanted.tenant)  # a tenant that is not there is told, not exported empty
    ledger.notary.turn()  # what is exported is signed
    head = ledger.store.newest_checkpoint()  # before the moment of the records, so that it speaks of none that are not in it
    with ledger.store.source() as whole:
        source: Source = whole if wanted.tenant is None else Excerpt(whole, wanted.tenant)
        total = expected_of(source).rows
        options = {"format": wanted.form, "output": None if wanted.path is None else str(wanted.path)}
        record_access(ledger, settings, "audit export", options, tenant=wanted.tenant, shown=total, payloads=wanted.payloads)
        with progress(invocation, "exporting", total) as step:
            if wanted.form == TILES:
                size_bytes = _to_folder(ledger, source, wanted, None if wanted.tenant is not None else head, step)
            else:
                size_bytes = _to_file(source, wanted, step)
    manifest = None if wanted.manifest is None else str(wanted.manifest)
    return Exported(file=str(wanted.path), format=wanted.form, records=total, size_bytes=size_bytes, manifest=manifest)


def _to_folder(ledger: OpenLedger, source: Source, wanted: Wanted, head: StoredCheckpoint | None, step: Step) -> int:
    assert wanted.path is not None
    before = os.umask(0o077)  # for its owner alone, as any export
    try:
        export_tiles(wanted.path, ledger.store, source, ledger.signing, head=head, step=step)
    finally:
        os.umask(before)
    return 0


def _to_file(source: Source, wanted: Wanted, step: Step) -> int:
    """How many bytes were written."""
    if wanted.path is None:
        with told("stdout"):
            written, _ = _write(source, sys.stdout.buffer, wanted, step)
            sys.stdout.buffer.flush()
        return written
    with new_file(wanted.path) as file:
        written, manifest = _write(source, file, wanted, step)
    if wanted.manifest is not None:
        with new_file(wanted.manifest) as file:
            file.write(manifest)
    return written


def _write(source: Source, file: BinaryIO, wanted: Wanted, step: Step) -> tuple[int, bytes]:
    """How many bytes were written, and the manifest that belongs beside them."""
    if wanted.form == JSONL:
        lines = export_lines(source if wanted.payloads else Closed(source))
        return sum(_lines(file, counted(lines, step))), b""
    return _write_format(get_format(wanted.form), source, file, wanted, step)


def _lines(file: BinaryIO, lines: Iterable[bytes]) -> Iterator[int]:
    for line in lines:
        yield file.write(line + b"\n")


def _write_format(form: Format, source: Source, file: BinaryIO, wanted: Wanted, step: Step) -> tuple[int, bytes]:
    expected = expected_of(source)
    sink = _Sized(file)
    summary = form.write(counted(rows_of(source, payloads=wanted.payloads), step), sink, expected)
    if not summary.complete:
        raise IntegrityBroken(f"{summary.rows_written} of {summary.rows_expected} records could be read")
    return sink.size_bytes, manifest_of(summary, expected, form.name)


class _Sized:
    """A sink that knows how much went through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size_bytes = 0

    def write(self, data: bytes, /) -> int:
        self.size_bytes += len(data)
        return self._file.write(data)


def _show(output: Output, done: Exported) -> None:
    how_large = "" if done.format == TILES else f" ({size(done.size_bytes)})"
    output.mark("ok", "written", f"{so_many(done.records, 'record')} to {done.file}{how_large}")
    if done.manifest is not None:
        output.line(f"that nothing is missing is shown by {done.manifest}", indent=11)
