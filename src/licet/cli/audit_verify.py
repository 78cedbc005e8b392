"""`licet audit verify`: is the log what was written?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from licet.cli.exits import Exit
from licet.cli.faults import Fault
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading
from licet.cli.output import Output
from licet.cli.progress import Step, progress
from licet.cli.wording import counted
from licet.ledger.export import verify_export
from licet.ledger.report import Report
from licet.ledger.verify import Examined, examine_log
from licet.ledger.verify import verify as verify_ledger

SHOWN = 20
"""Problems that are printed; `--json` has up to a thousand."""


@click.command()
@click.option(
    "--file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="PATH", help="Verify an export in place of the store."
)
@click.pass_obj
def verify(invocation: Invocation, /, file: Path | None) -> int:
    """Verify the whole audit log: every hash, payload, tree, request and vote.

    Ends with 8 if anything is not as it was written. What this cannot show: somebody who can write the store can write it
    anew so that all of it fits. Compare the printed roots with ones that are kept elsewhere.
    """
    report = _of_store(invocation) if file is None else _of_file(file)
    fault = None
    if not report.ok:
        fault = Fault(
            exit=Exit.INTEGRITY_BROKEN,
            code="integrity_broken",
            message=f"{counted(report.problem_count, 'problem')} found: the log is not what was written",
            next="keep the file as it is, stop what writes to it, and compare with a backup or an export",
        )
    return invocation.answer(report, lambda output: _show(output, report), fault=fault)


def _of_store(invocation: Invocation) -> Report:
    with reading(load_settings(invocation)) as store, store.source() as source:
        total = sum(tree.size for tree in source.trees())
        with progress(invocation, "verifying", total) as step:
            return verify_ledger(source, chunks=lambda state: _counted(examine_log(source, state.log), step))


def _counted(chunks: Iterable[Examined], step: Step) -> Iterator[Examined]:
    for chunk in chunks:
        yield chunk
        step(chunk.count)


def _of_file(path: Path) -> Report:
    with path.open("rb") as lines:
        return verify_export(line.rstrip(b"\n") for line in lines)


def _show(output: Output, report: Report) -> None:
    if report.ok:
        beside = "" if report.checked_projections else " (an export: records only, no requests and votes)"
        output.mark(
            "ok", "intact", f"{counted(report.records, 'record')} in {counted(len(report.logs), 'log')}: as they were written{beside}"
        )
    else:
        output.mark("fail", "broken", f"{counted(report.problem_count, 'problem')}: the log is not what was written")
    if report.locked:
        output.mark(
            "note", "locked", f"{counted(report.locked, 'payload')} could not be opened without the key: what they say was not checked"
        )
    for problem in report.problems[:SHOWN]:
        output.line(f"- {problem}", indent=11)
    if report.problem_count > SHOWN:
        output.line(f"and {report.problem_count - SHOWN} more", indent=11)
    output.line()
    output.facts([(log.log, f"{counted(log.size, 'record')}, root\n{log.root}") for log in report.logs])
