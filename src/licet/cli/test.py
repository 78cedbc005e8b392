"""`licet test`: the policies' own tests, decided by the gate's order of checks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Literal

import click
from msgspec import Struct
from msgspec.structs import replace

from licet.cli.exits import Exit
from licet.cli.faults import Fault, Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import Loaded, load
from licet.cli.output import Output
from licet.cli.wording import counted
from licet.gate.acting import Acting
from licet.gate.rehearsal import Rehearsal
from licet.gate.session import SessionFacts
from licet.model import Decision
from licet.policy.suite import CaseResult, SuiteCase, junit, read_cases, run


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
    with ExitStack() as stack:
        results = run(cases, _checker(loaded, stack))
    failed = sum(not result.passed for result in results)
    fault = None if not failed else Fault(exit=Exit.TESTS_FAILED, code="tests_failed", message=f"{counted(failed, 'test')} failed")
    if form == "junit" and not invocation.as_json:
        click.echo(junit(results), nl=False)
        return int(Exit.OK if fault is None else fault.exit)
    return invocation.answer(_summary(results), lambda output: _show(output, results, failed), fault=fault)


def _checker(loaded: Loaded, stack: ExitStack) -> Callable[[SuiteCase], Decision]:
    """Decides a case; one rehearsal for each file's targets and each environment."""
    rehearsals: dict[tuple[int, str], Rehearsal] = {}

    def check(case: SuiteCase) -> Decision:
        environment = case.environment or loaded.settings.environment
        rehearsal = rehearsals.get((id(case.resources), environment))
        if rehearsal is None:
            settings = replace(loaded.settings, environment=environment)
            rehearsal = stack.enter_context(closing(Rehearsal(settings, loaded.registry, case.resources, loaded.snapshots)))
            rehearsals[id(case.resources), environment] = rehearsal
        caller, session = case.caller, case.session
        acting = Acting(tenant=caller.tenant, agent=caller.agent, service=caller.service, user=caller.user)
        facts = SessionFacts(session.labels, session.calls, session.meters)
        return rehearsal.check(acting, case.tool, case.arguments, now=case.now, session=facts).decision

    # Policies that do not load are one fault with its own exit code, not a failure of every case.
    Rehearsal(loaded.settings, loaded.registry, {}, loaded.snapshots).close()
    return check


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
