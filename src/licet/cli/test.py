"""`licet test`: the policies' own tests, decided by the gate's order of checks."""

from __future__ import annotations

from typing import Literal

import click
from msgspec import Struct

from licet.cli.exits import Exit
from licet.cli.faults import Fault, Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load
from licet.cli.output import Output
from licet.cli.wording import counted
from licet.gate.suites import run_suites
from licet.model import Decision
from licet.policy.suite import CaseResult, junit, read_cases


class Ran(Struct, frozen=True, kw_only=True):
    """One case and how it went; `differences` are lines of a diff."""

    file: str
    name: str
    passed: bool
    decision: Decision | None
    differences: tuple[str, ...]
    duration_s: float


class Summary(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`."""

    passed: int
    failed: int
    cases: tuple[Ran, ...]


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "junit"]), default="text", show_default=True, help="How results are printed.")
@click.option("-k", "only", metavar="TEXT", help="Only cases whose file or name has this text.")
@click.pass_obj
def test(invocation: Invocation, /, form: Literal["text", "junit"], only: str | None) -> int:
    """Run the tests of the policies.

    They are the files policies/*.test.yaml: calls, and the verdict, reasons and obligations that each must have. Every case
    goes through the very checks of the gate. Ends with 4 if one fails.
    """
    loaded = load(invocation)
    cases = tuple(case for case in read_cases(loaded.settings.policies) if only is None or only in f"{case.file} {case.name}")
    if not cases:
        message = f"`{loaded.settings.policies}` has no test of that kind" if only else f"`{loaded.settings.policies}` has no `*.test.yaml`"
        raise Refusal(Exit.TESTS_FAILED, "no_tests", message, next_step="policies without tests are guesses: `licet init` shows some")
    results = run_suites(cases, loaded.settings, loaded.registry, loaded.snapshots)
    failed = sum(not result.passed for result in results)
    fault = None if not failed else Fault(exit=Exit.TESTS_FAILED, code="tests_failed", message=f"{counted(failed, 'test')} failed")
    if form == "junit" and not invocation.as_json:
        click.echo(junit(results), nl=False)
        return int(Exit.OK if fault is None else fault.exit)
    return invocation.answer(_summary(results), lambda output: _show(output, results, failed), fault=fault)


def _summary(results: tuple[CaseResult, ...]) -> Summary:
    ran = tuple(
        Ran(
            file=result.case.file,
            name=result.case.name,
            passed=result.passed,
            decision=result.decision,
            differences=result.differences,
            duration_s=result.duration_s,
        )
        for result in results
    )
    return Summary(passed=sum(one.passed for one in ran), failed=sum(not one.passed for one in ran), cases=ran)


def _show(output: Output, results: tuple[CaseResult, ...], failed: int) -> None:
    file = None
    for result in results:
        if result.case.file != file:
            file = result.case.file
            output.line(file, style="bold")
        output.mark("ok" if result.passed else "fail", "pass" if result.passed else "fail", result.case.name)
        for line in result.differences:
            output.line(line, indent=11, style={"-": "red", "+": "green"}.get(line[:1], "dim"))
    output.line()
    passed = len(results) - failed
    output.line(f"{counted(len(results), 'test')}: {passed} passed" + (f", {failed} failed" if failed else ""))
