"""`licet audit export`: the records as a file that can be verified without the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import click
from msgspec import Struct

from licet.cli.audit_verify import Step, progress
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading
from licet.cli.output import Output
from licet.cli.wording import counted, size
from licet.ledger.export import export_lines
from licet.ledger.source import Source


class Exported(Struct, frozen=True, kw_only=True):
    """What was written, header and trailer not counted as records."""

    file: str
    records: int
    size_bytes: int


@click.command()
@click.option("--format", "form", type=click.Choice(["jsonl"]), default="jsonl", show_default=True, help="JSON Lines, header and trailer.")
@click.option(
    "--output", "-o", "path", type=click.Path(path_type=Path), metavar="PATH", help="A new file, readable by you alone; by default stdout."
)
@click.pass_obj
def export(invocation: Invocation, /, form: str, path: Path | None) -> int:  # noqa: ARG001 - one format so far
    """Export every record, with its payload, as one moment of the log.

    `licet audit verify --file` verifies the export. It holds everything that was recorded: arguments, people, results.
    """
    if path is None and invocation.as_json:
        message = "the export and its envelope would mix on stdout"
        raise Refusal(Exit.USAGE, "usage", message, next_step="give `--output PATH`, or leave `--json` out")
    with reading(load_settings(invocation)) as store, store.source() as source:
        if path is None:
            _write(sys.stdout.buffer, invocation, source)
            return int(Exit.OK)
        with _create(path) as file:
            records, size_bytes = _write(file, invocation, source)
    done = Exported(file=str(path), records=records, size_bytes=size_bytes)
    return invocation.answer(done, lambda output: _show(output, done), next_step=f"`licet audit verify --file {path}` verifies it")


def _write(file: BinaryIO, invocation: Invocation, source: Source) -> tuple[int, int]:
    """How many records and bytes."""
    total = sum(tree.size for tree in source.trees())
    with progress(invocation, "exporting", total) as step:
        size_bytes = sum(_lines(file, export_lines(source), step))
    file.flush()
    return total, size_bytes


def _lines(file: BinaryIO, lines: Iterable[bytes], step: Step) -> Iterable[int]:
    for line in lines:
        yield file.write(line + b"\n")
        step(1)


def _create(path: Path) -> BinaryIO:
    """A new file for its owner alone: what it holds is as confidential as the ledger."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError as error:
        message = f"`{path}` is there already, and nothing is overwritten"
        raise Refusal(Exit.ERROR, "exists", message, next_step="give another name") from error


def _show(output: Output, done: Exported) -> None:
    output.mark("ok", "written", f"{counted(done.records, 'record')} to {done.file} ({size(done.size_bytes)})")
