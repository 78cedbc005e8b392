"""`licet demo`: a support agent is governed on a real database, and then a file server for a desktop client is wrapped.

Step by step, and everything that it comes to is checked.

The exit code is 0 only if everything went as the plan says; else each expectation that was not met is named.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from licet.cli.demo_app import example_folder, set_up, set_up_wrapped
from licet.cli.demo_console import PORT, missing, serve
from licet.cli.demo_ledger import Tampered, Trail, tamper, trail_of, verified
from licet.cli.demo_plan import Plan, read_plan
from licet.cli.demo_run import Performance
from licet.cli.demo_seen import Told, Unmet
from licet.cli.demo_show import Stage
from licet.cli.demo_wrap import CHAPTER, INTRO, WrappedPerformance, can_wrap
from licet.cli.exits import Exit
from licet.cli.faults import Fault
from licet.cli.invocation import Invocation
from licet.ledger.report import Report
from licet.model import JsonObject


class Outcome(Struct, frozen=True, kw_only=True):
    """A whole demo as data. `wrapped` and its verification are of the second act, where it was played."""

    steps: tuple[Told, ...]
    trail: Trail
    verified: Report
    tampered: Tampered | None
    unmet: tuple[str, ...]
    wrapped: tuple[Told, ...] = ()
    wrapped_verified: Report | None = None


@click.command()
@click.option("--once", is_flag=True, help="Run through; without it, a terminal waits for Enter before each part.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="FOLDER", help="Do it in this folder, new or empty, and leave it there.")
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="Where the console is served at the end.")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), metavar="FILE", help="A plan in place of the example's own.")
@click.pass_obj
def demo(invocation: Invocation, *, once: bool, keep: Path | None, port: int, plan_file: Path | None) -> int:
    """Watch a support agent being governed on a database of its own, and a wrapped file server.

    It ends by serving the console over what has happened, on 127.0.0.1, and prints a link that lets you in; with --once it does not. With a
    plan of your own, the first act alone.
    """
    plan = read_plan(plan_file or example_folder() / "plan.yaml")
    stage = Stage(quiet=invocation.as_json, waits=not once and sys.stdin.isatty())
    started = time.monotonic()
    with _folder(keep) as folder:
        stage.open(plan)
        outcome = _perform(plan, folder, stage)
        if plan_file is None:
            outcome = _second_act(outcome, folder, stage)
        fault = _fault(outcome)
        if fault is None and plan_file is None and not once and not invocation.as_json:
            stage.close((*outcome.steps, *outcome.wrapped), time.monotonic() - started, None)
            return _serve(invocation, folder, plan, port)
    data: JsonObject = {"plan": plan.title, **msgspec.to_builtins(outcome)}
    took_s = time.monotonic() - started
    step = (
        f"`{keep / 'README.md'}` says what to try"
        if keep
        else "`licet demo --once --keep FOLDER` leaves all of it there, to try things out"
    )
    return invocation.answer(
        data,
        lambda _: stage.close((*outcome.steps, *outcome.wrapped), took_s, fault),
        fault=fault,
        next_step=None if fault is not None else step,
    )


def _serve(invocation: Invocation, folder: Path, plan: Plan, port: int) -> int:
    """The console, until Ctrl-C; where this installation can."""
    output = invocation.output
    if lacking := missing():
        output.hint(f"the console needs {', '.join(f'`{name}`' for name in lacking)}: install `licet[server]`")
    else:
        serve(folder, plan, port, output)
    return int(Exit.OK)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder in which it all happens, set up; gone afterwards unless it is to be kept."""
    if keep is not None:
        set_up(keep.absolute())
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="licet-demo-") as temporary:
        folder = Path(temporary).resolve()
        set_up(folder)
        yield folder


def _perform(plan: Plan, folder: Path, stage: Stage) -> Outcome:
    told: list[Told] = []
    with Performance(plan, folder) as performance:
        for one in performance.steps():
            stage.tell(one)
            told.append(one)
        settings = performance.settings
        log = performance.tenant
        trail = trail_of(performance.store, log, plan.trail.customer)
        stage.show_trail(plan, trail)
    # From here on nobody has the ledger open: all of it lies in one file.
    report = verified(settings)
    stage.show_verified(report)
    tampered = tamper(settings, folder / "tampered.db", plan.tamper, log)
    stage.show_tampered(plan, tampered)
    unmet = (*_unmet_of_steps(told), *map(str, _unmet_of_ledger(plan, trail, report, tampered)))
    return Outcome(steps=tuple(told), trail=trail, verified=report, tampered=tampered, unmet=unmet)


def _second_act(first: Outcome, folder: Path, stage: Stage) -> Outcome:
    """A file server, wrapped, where this installation can."""
    if not can_wrap():
        stage.skip_act("the second act, a wrapped file server, needs `licet[server]`, which is not installed")
        return first
    stage.open_act(CHAPTER, INTRO)
    performance = WrappedPerformance(set_up_wrapped(folder), first=len(first.steps) + 1)
    told: list[Told] = []
    for one in performance.steps():
        stage.tell(one)
        told.append(one)
    report = verified(performance.settings)
    stage.show_verified(report)
    damaged = () if report.ok else (str(Unmet("the ledger to be", "as it was written", str(report.problems[0]))),)
    unmet = (*first.unmet, *_unmet_of_steps(told), *damaged)
    return replace(first, unmet=unmet, wrapped=tuple(told), wrapped_verified=report)


def _unmet_of_steps(told: Sequence[Told]) -> Iterator[str]:
    for one in told:
        for missed in one.unmet:
            yield f"step {one.number}, `{one.sentence}`: {missed}"


def _unmet_of_ledger(plan: Plan, trail: Trail, report: Report, tampered: Tampered | None) -> Iterator[Unmet]:
    if not trail.entries:
        yield Unmet("an audit trail of", f"`{plan.trail.customer}`", "no record")
    if not report.ok:
        yield Unmet("the ledger to be", "as it was written", str(report.problems[0]))
    if tampered is None:
        yield Unmet("a byte to change in", f"`{plan.tamper.find}`", "no intent that holds it")
        return
    found = [problem.field for problem in tampered.report.problems if (problem.log, problem.index) == (tampered.log, tampered.index)]
    if plan.tamper.expect.field not in found:
        yield Unmet("the changed byte to be found in", f"`{plan.tamper.expect.field}`", ", ".join(found) or "nothing")


def _fault(outcome: Outcome) -> Fault | None:
    if not outcome.unmet:
        return None
    many = len(outcome.unmet)
    message = f"{many} expectation{'s were' if many != 1 else ' was'} not met"
    return Fault(exit=Exit.ERROR, code="expectations_not_met", message=message, lines=outcome.unmet)
