"""`licet check`: everything that keeps a gate from opening, found without opening one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from licet import config
from licet.catalog.pins import read_lock
from licet.catalog.spec import Catalog
from licet.catalog.upstream import tool_name
from licet.cli.catalog_live import lock_of
from licet.cli.exits import Exit
from licet.cli.faults import Fault
from licet.cli.invocation import Invocation
from licet.cli.loading import Loaded, load, load_settings
from licet.cli.output import Output
from licet.cli.problems import Problem, bundle_problems, catalog_problems, config_problem, directory_problems, policy_problems
from licet.cli.remote import client_of
from licet.cli.wording import counted
from licet.client import types
from licet.config import Settings
from licet.errors import ConfigInvalid, PolicyInvalid
from licet.gate.adoptions import awaited_message
from licet.policy.bundle import OWN_FILE, Bundle


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

    Every problem is told, with file and line. Nothing is opened for writing, and no tool runs. With `--server`, the policies of this folder
    are held against what that server serves, and not put into force there.
    """
    if invocation.server is not None:
        return _check_there(invocation)
    try:
        settings = load_settings(invocation)
    except ConfigInvalid as error:
        return _refused(invocation, (config_problem(error),), None)
    problems = (*catalog_problems(settings), *directory_problems(settings))
    if problems:
        return _refused(invocation, (*problems, *bundle_problems(settings)), None)
    loaded = load(invocation)
    catalog = loaded.catalog
    broken = policy_problems(settings, catalog, loaded.registry.adoptions)
    if broken:
        return _refused(invocation, broken, loaded)
    found = _counted(settings, catalog, loaded.registry.adoptions.awaited - catalog.tools.keys())
    return invocation.answer(found, lambda output: _show(output, found))


def _check_there(invocation: Invocation) -> int:
    """The policies at hand, under the catalog and directory of a server."""
    path = invocation.config_path
    folder = config.load(path).policies if path.exists() else Path("policies")
    try:
        files = msgspec.json.decode(Bundle.read(folder).content, type=dict[str, str])
    except PolicyInvalid as error:
        return _refused_there(invocation, error.problems)
    own = folder / OWN_FILE
    if own.exists():
        files[f"{folder.name}/{OWN_FILE}"] = own.read_text(encoding="utf-8")
    found = client_of(invocation).validate_policies(types.ProposedBundle(files=files))
    if not found.loads:
        return _refused_there(invocation, found.problems)
    text = f"{counted(len(files), 'file')} of policies would load at {invocation.server}"
    return invocation.answer(found, lambda output: output.mark("ok", "sound", text))


def _refused_there(invocation: Invocation, problems: Sequence[str]) -> int:
    return _refused(invocation, tuple([Problem("policy", None, problem) for problem in problems]), None, Exit.POLICY_INVALID)


def _refused(invocation: Invocation, problems: tuple[Problem, ...], loaded: Loaded | None, code: Exit | None = None) -> int:
    code = code or (Exit.USAGE if loaded is None else Exit.POLICY_INVALID)
    of_policies = code == Exit.POLICY_INVALID
    count = counted(len(problems), "problem")
    step = "mend the first one, then check again: others may come of it" if len(problems) > 1 else "mend it, then check again"
    if loaded is not None and loaded.app is None and any("there is no tool" in problem.message for problem in problems):
        step = "tools of a Python application are known with `--app MODULE:GATE`"
    elif loaded is not None and loaded.app is None and any("nobody has said yet" in problem.message for problem in problems):
        step = "an agent's tools are known with `--app MODULE:GATE`, where that module calls `gate.coverage(agent)`"
    fault = Fault(
        exit=code,
        code="policy_invalid" if of_policies else "config_invalid",
        message=f"the policies do not load: {count}" if of_policies else f"{count} found",
        next=step,
        details={"problems": problems},
    )

    def show(output: Output) -> None:
        for problem in problems:
            output.mark("fail", problem.part, str(problem))
        output.line()
        output.line(fault.message)

    return invocation.answer(None, show, fault=fault)


def _counted(settings: Settings, catalog: Catalog, awaited: frozenset[str]) -> Checked:
    bundle = Bundle.read(settings.policies)
    return Checked(
        environment=settings.environment,
        tools=len(catalog.tools),
        resources=len(catalog.resources),
        tenants=len(settings.tenants),
        users=len(settings.users),
        policies=len(bundle.policies),
        notes=(
            *map(awaited_message, sorted(awaited)),
            *_unresolved(catalog),
            *_of_no_upstream(settings),
            *_unclassified(settings),
            *_of_no_folder(settings),
        ),
    )


def _unresolved(catalog: Catalog) -> Iterator[str]:
    for name, tools in catalog.undeclared_types().items():
        calls = ", ".join(f"`{tool}`" for tool in tools)
        yield f"nobody says what `{name}` is, so calls of {calls} cannot be resolved: declare `[resources.{name}]` or register a resolver"


def _of_no_upstream(settings: Settings) -> Iterator[str]:
    """Tables that read like those of an upstream that is not there: a misspelt or renamed one leaves its tools unclassified."""
    for name in settings.tools if settings.upstreams else ():
        upstream, parted, _ = name.partition("__")
        if parted and upstream not in settings.upstreams:
            near = ", ".join(f"`{one}`" for one in get_close_matches(upstream, settings.upstreams, n=1) or settings.upstreams)
            yield f"`[tools.{name}]` is of no upstream: licet.toml has no `[upstreams.{upstream}]`, but {near}"


def _unclassified(settings: Settings) -> Iterator[str]:
    """Tools of upstreams that are accepted, and of which licet.toml says nothing: each call of one is denied."""
    lock = read_lock(lock_of(settings))
    for upstream in settings.upstreams:
        silent = sorted(name for name in lock.of(upstream) if tool_name(upstream, name) not in settings.tools)
        if silent:
            table = f"`[tools.{tool_name(upstream, silent[0])}]`"
            yield f"{counted(len(silent), 'tool')} of `{upstream}` cannot be called until licet.toml says what they can do, such as {table}"


def _of_no_folder(settings: Settings) -> Iterator[str]:
    for upstream, one in settings.upstreams.items():
        if one.cwd is not None and not one.cwd.is_dir():
            yield f"`[upstreams.{upstream}]` starts in `{one.cwd}`, which is no folder"


def _show(output: Output, found: Checked) -> None:
    output.mark(
        "ok", "sound", f"{counted(found.policies, 'policy', 'policies')} and {counted(found.tools, 'tool')} agree, in `{found.environment}`"
    )
    counts = (counted(found.tenants, "tenant"), counted(found.users, "user"), counted(found.resources, "resource type"))
    output.line(", ".join(counts), style="dim", indent=11)
    for note in found.notes:
        output.mark("warn", "note", note)
