"""`licet check`: everything that keeps a gate from opening, found without opening one."""

from __future__ import annotations

import click
from msgspec import Struct

from licet.catalog.spec import Catalog
from licet.cli.exits import Exit
from licet.cli.faults import Fault
from licet.cli.invocation import Invocation
from licet.cli.loading import Loaded, load, load_settings
from licet.cli.output import Output
from licet.cli.problems import Problem, bundle_problems, catalog_problems, config_problem, directory_problems, policy_problems
from licet.cli.wording import counted
from licet.config import Settings
from licet.errors import ConfigInvalid
from licet.policy.bundle import Bundle


class Checked(Struct, frozen=True, kw_only=True):
    """What was found sound, by count, and what must be mended."""

    environment: str
    tools: int
    resources: int
    tenants: int
    users: int
    policies: int
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@click.command()
@click.pass_obj
def check(invocation: Invocation, /) -> int:
    """Validate licet.toml, catalog, directory and policies.

    Every problem is told, with file and line. Nothing is opened for writing, and no tool runs.
    """
    try:
        settings = load_settings(invocation)
    except ConfigInvalid as error:
        return _refused(invocation, (config_problem(error),), None)
    problems = (*catalog_problems(settings), *directory_problems(settings))
    if problems:
        return _refused(invocation, (*problems, *bundle_problems(settings)), None)
    loaded = load(invocation)
    catalog = loaded.catalog
    broken = policy_problems(settings, catalog)
    if broken:
        return _refused(invocation, broken, loaded)
    found = _counted(settings, catalog)
    return invocation.answer(found, lambda output: _show(output, found))


def _refused(invocation: Invocation, problems: tuple[Problem, ...], loaded: Loaded | None) -> int:
    code, name = (Exit.POLICY_INVALID, "policy_invalid") if loaded is not None else (Exit.USAGE, "config_invalid")
    count = counted(len(problems), "problem")
    step = "mend the first one, then check again: others may come of it" if len(problems) > 1 else "mend it, then check again"
    if loaded is not None and loaded.app is None and any("there is no tool" in problem.message for problem in problems):
        step = "tools of a Python application are known with `--app MODULE:GATE`"
    fault = Fault(
        exit=code,
        code=name,
        message=f"{count} found" if loaded is None else f"the policies do not load: {count}",
        next=step,
        details={"problems": problems},
    )

    def show(output: Output) -> None:
        for problem in problems:
            output.mark("fail", problem.part, str(problem))
        output.line()
        output.line(fault.message)

    return invocation.answer(None, show, fault=fault)


def _counted(settings: Settings, catalog: Catalog) -> Checked:
    bundle = Bundle.read(settings.policies)
    return Checked(
        environment=settings.environment,
        tools=len(catalog.tools),
        resources=len(catalog.resources),
        tenants=len(settings.tenants),
        users=len(settings.users),
        policies=len(bundle.policies),
        notes=tuple(
            f"nobody says what `{name}` is, so calls of {', '.join(f'`{tool}`' for tool in tools)} cannot be resolved: "
            f"declare `[resources.{name}]` or register a resolver"
            for name, tools in catalog.undeclared_types().items()
        ),
    )


def _show(output: Output, found: Checked) -> None:
    output.mark(
        "ok", "sound", f"{counted(found.policies, 'policy', 'policies')} and {counted(found.tools, 'tool')} agree, in `{found.environment}`"
    )
    counts = (counted(found.tenants, "tenant"), counted(found.users, "user"), counted(found.resources, "resource type"))
    output.line(", ".join(counts), style="dim", indent=11)
    for note in found.notes:
        output.mark("warn", "note", note)
