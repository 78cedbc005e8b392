"""`licet catalog`: what upstreams offer, what of it was accepted, and what has changed since."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import click
from msgspec import Struct
from msgspec.structs import replace

from licet.catalog.live import Change, changes
from licet.catalog.pins import Lock, Pin, read_lock
from licet.catalog.suspicious import Suspicion, suspicions
from licet.catalog.upstream import table_of, tool_name
from licet.cli.catalog_live import check_upstream, folder_of, lock_of, look, pinned, tenant_for
from licet.cli.catalog_show import show_differences, show_tools
from licet.cli.exits import Exit
from licet.cli.faults import Fault, Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load, load_settings
from licet.cli.output import Output
from licet.cli.wording import counted
from licet.config import Settings
from licet.errors import CallerRefused
from licet.gate.acting import Acting
from licet.names import quoted

State: TypeAlias = Literal["ready", "unclassified", "drifted", "gone", "new"]


class Listed(Struct, frozen=True, kw_only=True):
    """A tool of an upstream: `access` as licet.toml says, `sha256` of the accepted definition; `annotations` are the upstream's opinion.

    `hidden` is why the caller that was asked about is not shown it.
    """

    name: str
    upstream: str
    tool: str
    state: State
    access: str | None = None
    sha256: str | None = None
    annotations: dict[str, Any] = {}
    hidden: str | None = None


class Tools(Struct, frozen=True, kw_only=True):
    """What `licet catalog list` prints with `--json`. `problems` are of what is offered and cannot be accepted."""

    live: bool
    tools: tuple[Listed, ...]
    problems: tuple[str, ...] = ()


class Difference(Struct, frozen=True, kw_only=True):
    """One tool that is offered otherwise than it was accepted. `suspicious` is what is odd in the definition that is offered."""

    tool: str
    kind: Literal["new", "changed", "gone"]
    before: str | None
    after: str | None
    changes: tuple[Change, ...] = ()
    suspicious: tuple[Suspicion, ...] = ()
    definition: dict[str, Any] | None = None


class Differences(Struct, frozen=True, kw_only=True):
    """What `licet catalog diff` and `accept` print with `--json`."""

    upstream: str
    differences: tuple[Difference, ...]
    problems: tuple[str, ...] = ()
    accepted: bool = False


@click.group()
def catalog() -> None:
    """Show and accept what upstream MCP servers offer."""


_tenant = click.option("--tenant", metavar="ID", help="Ask as for callers of this tenant; by default the first of licet.toml.")


@catalog.command("list")
@click.argument("upstream", required=False)
@click.option("--live", is_flag=True, help="Ask the upstreams what they offer now, and say what has drifted.")
@_tenant
@click.option("--agent", metavar="NAME", help="Say of each tool why this agent is not shown it, if it is not.")
@click.option("--user", metavar="NAME", help="The user that the agent acts for.")
@click.pass_obj
def list_(invocation: Invocation, /, upstream: str | None, tenant: str | None, agent: str | None, user: str | None, *, live: bool) -> int:
    """List the tools of upstreams: accepted, classified, and with --live whether they are still what was accepted.

    UPSTREAM is one of licet.toml; without it, all of them.
    """
    settings = load_settings(invocation)
    lock = _lock(settings)
    if upstream is not None:
        check_upstream(settings, upstream)
    found: list[Listed] = []
    problems: list[str] = []
    for name in [upstream] if upstream is not None else list(settings.upstreams):
        now = None
        if live:
            now, wrong = _offered(settings, name, tenant)
            problems += wrong
        found += _listed(settings, name, lock.of(name), now)
    if agent is not None:
        why = _hidden(invocation, Acting(tenant=tenant, agent=agent, user=user))
        found = [replace(one, hidden=why.get(one.name)) for one in found]
    tools = Tools(live=live, tools=tuple(found), problems=tuple(problems))
    step = None
    if any(one.state in {"drifted", "gone"} for one in found):
        step = "`licet catalog diff UPSTREAM` shows what has changed"
    elif any(one.state == "new" for one in found):
        step = "`licet catalog accept UPSTREAM` takes what is new"
    elif any(one.state == "unclassified" for one in found):
        step = "say in licet.toml what the tools can do that are `unclassified`: `[tools.NAME]` with their `access`"
    return invocation.answer(tools, lambda output: show_tools(output, tools), next_step=step)


@catalog.command()
@click.argument("upstream")
@_tenant
@click.pass_obj
def diff(invocation: Invocation, /, upstream: str, tenant: str | None) -> int:
    """Show how what an upstream offers now differs from what was accepted.

    Ends with 1 where a tool has changed or is gone, so that it is denied. What is new is shown, and changes nothing.
    """
    settings = load_settings(invocation)
    check_upstream(settings, upstream)
    found = _differences(settings, upstream, _lock(settings), tenant)
    moved = [one for one in found.differences if one.kind != "new"]
    fault = None
    if moved:
        message = f"{counted(len(moved), 'tool')} of `{upstream}` {'is' if len(moved) == 1 else 'are'} not what was accepted"
        step = f"`licet catalog accept {upstream}` takes what is offered now"
        fault = Fault(exit=Exit.ERROR, code="definition_drift", message=message, next=step)
    return invocation.answer(found, lambda output: show_differences(output, found), fault=fault)


@catalog.command()
@click.argument("upstream")
@click.argument("tools", nargs=-1)
@_tenant
@click.option("--yes", is_flag=True, help="Accept what is shown, without asking.")
@click.pass_obj
def accept(invocation: Invocation, /, upstream: str, tools: tuple[str, ...], tenant: str | None, *, yes: bool) -> int:
    """Accept what an upstream offers now, after showing what has changed.

    TOOLS are the upstream's own names; without any, everything that is new, changed or gone. What was shown is what is written into
    licet.lock, whatever the upstream says by then. A tool can be called once licet.toml classifies it and a policy permits it.
    """
    settings = load_settings(invocation)
    check_upstream(settings, upstream)
    lock = _lock(settings)
    found, pins = _accepting(settings, upstream, lock, tenant, tools)
    if not found.differences:
        return invocation.answer(found, lambda output: show_differences(output, found))
    if not invocation.as_json:
        show_differences(invocation.output, found)
    if not yes:
        _ask(invocation, upstream, len(found.differences))
    if _lock(settings) != lock:
        message = "`licet.lock` has changed meanwhile, so nothing was written"
        raise Refusal(Exit.ERROR, "lock_changed", message, next_step="look again: run the same command once more")
    lock.with_pins(upstream, pins).write(lock_of(settings))
    done = Differences(upstream=upstream, differences=found.differences, problems=found.problems, accepted=True)
    unclassified = sorted(tool_name(upstream, name) for name in pins if tool_name(upstream, name) not in settings.tools)
    step = "a running process takes it at its next reload"
    if unclassified:
        step = (
            f"say in licet.toml what {counted(len(unclassified), 'tool')} can do, such as `{table_of(unclassified[0])}` with its `access`"
        )

    def show(output: Output) -> None:
        output.mark("ok", "accepted", f"{counted(len(done.differences), 'definition')} of `{upstream}`, in licet.lock")

    return invocation.answer(done, show, next_step=step)


def _lock(settings: Settings) -> Lock:
    return read_lock(lock_of(settings))


def _hidden(invocation: Invocation, acting: Acting) -> dict[str, str]:
    """Why each of the tools is hidden that this caller is not shown, under the policies and the lock as they lie here."""
    from licet.gate.building import build_scene  # noqa: PLC0415  the policy engine: only where it is asked
    from licet.gateway.toolbox import hidden_from  # noqa: PLC0415  as above

    loaded = load(invocation)
    try:
        return {one.name: one.why for one in hidden_from(build_scene(loaded.settings, loaded.registry, loaded.snapshots), acting)}
    except CallerRefused as refused:
        raise Refusal(Exit.USAGE, refused.code, str(refused), next_step="name a caller that licet.toml has") from refused


def _offered(settings: Settings, upstream: str, tenant: str | None) -> tuple[dict[str, Pin], list[str]]:
    listed = look(settings.upstreams, folder_of(settings), upstream, tenant_for(settings, tenant))
    return pinned(upstream, listed)


def _listed(settings: Settings, upstream: str, pins: Mapping[str, Pin], now: Mapping[str, Pin] | None) -> list[Listed]:
    found = []
    for name in sorted({*pins, *(now or {})}):
        full = tool_name(upstream, name)
        table = settings.tools.get(full)
        pin = pins.get(name)
        state: State = "ready" if table is not None else "unclassified"
        if pin is None:
            state = "new"
        elif now is not None and name not in now:
            state = "gone"
        elif now is not None and now[name].sha256 != pin.sha256:
            state = "drifted"
        shown = pin or (now or {})[name]
        annotations = shown.definition.get("annotations")
        found.append(
            Listed(
                name=full,
                upstream=upstream,
                tool=name,
                state=state,
                access=None if table is None else table.access,
                sha256=None if pin is None else pin.sha256,
                annotations=annotations if isinstance(annotations, dict) else {},
            )
        )
    return found


def _differences(settings: Settings, upstream: str, lock: Lock, tenant: str | None) -> Differences:
    now, problems = _offered(settings, upstream, tenant)
    return Differences(upstream=upstream, differences=_compared(lock.of(upstream), now), problems=tuple(problems))


def _compared(pins: Mapping[str, Pin], now: Mapping[str, Pin]) -> tuple[Difference, ...]:
    found = []
    for name in sorted({*pins, *now}):
        before, after = pins.get(name), now.get(name)
        if before is None and after is not None:
            definition = after.definition
            found.append(
                Difference(tool=name, kind="new", before=None, after=after.sha256, suspicious=suspicions(definition), definition=definition)
            )
        elif before is not None and after is None:
            found.append(Difference(tool=name, kind="gone", before=before.sha256, after=None))
        elif before is not None and after is not None and before.sha256 != after.sha256:
            found.append(
                Difference(
                    tool=name,
                    kind="changed",
                    before=before.sha256,
                    after=after.sha256,
                    changes=changes(before.definition, after.definition),
                    suspicious=suspicions(after.definition),
                    definition=after.definition,
                )
            )
    return tuple(found)


def _accepting(
    settings: Settings, upstream: str, lock: Lock, tenant: str | None, tools: tuple[str, ...]
) -> tuple[Differences, dict[str, Pin]]:
    """What is to be accepted, and all pins of the upstream once it is. Raises `Refusal` for a tool that there is none of."""
    now, problems = _offered(settings, upstream, tenant)
    pins = lock.of(upstream)
    names = {name.removeprefix(tool_name(upstream, "")) if name not in {*now, *pins} else name for name in tools}
    for name in sorted(names):
        if name not in now and name not in pins:
            message = f"`{upstream}` offers no tool {quoted(name)} that could be accepted"
            raise Refusal(Exit.USAGE, "unknown_tool", message, next_step=f"`licet catalog list {upstream} --live` lists what it offers")
    found = tuple([one for one in _compared(pins, now) if not tools or one.tool in names])
    kept = dict(pins)
    for one in found:
        if one.kind == "gone":
            _refuse_classified(settings, upstream, one.tool)
            del kept[one.tool]
        else:
            kept[one.tool] = now[one.tool]
    return Differences(upstream=upstream, differences=found, problems=tuple(problems)), kept


def _refuse_classified(settings: Settings, upstream: str, name: str) -> None:
    """Without its definition a table of the tool would be about nothing, and licet.toml would not load any more."""
    full = tool_name(upstream, name)
    if full in settings.tools:
        message = f"`{upstream}` does not offer `{name}` any more, and `{table_of(full)}` in licet.toml still speaks of it"
        step = f"take the table out of licet.toml, or name the tools to accept: `licet catalog accept {upstream} TOOL ...`"
        raise Refusal(Exit.ERROR, "still_classified", message, next_step=step)


def _ask(invocation: Invocation, upstream: str, number: int) -> None:
    if invocation.as_json or not _is_somebody_there():
        step = "look at it with `licet catalog diff`, then repeat this with `--yes`"
        raise Refusal(Exit.USAGE, "not_confirmed", "nobody is there to be asked, so nothing was accepted", next_step=step)
    if not click.confirm(f"accept {counted(number, 'definition')} of {upstream} as shown?", default=False, err=True):
        raise Refusal(Exit.ERROR, "not_accepted", "nothing was accepted", next_step=None)


def _is_somebody_there() -> bool:
    return sys.stdin.isatty()
