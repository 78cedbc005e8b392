"""`licet wrap`: one MCP server, governed, in the place of the command that a desktop client starts.

Rules:

1. Whose calls these are comes from `[wrap]` in licet.toml and the options of this command line, and from nothing else: no environment, and
   nothing that the client says.
2. Stdout belongs to the client. Everything else, of this process and of those that it starts, goes to stderr.
3. What stands in the way is said twice: on stderr, and as the error of whatever the client asks first, since people see that one.
4. When the client has gone, so is everything: the server and its children, then the gate, which is closed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from msgspec.structs import replace

from licet.cli.exits import Exit
from licet.cli.faults import Fault, Refusal, fault_of
from licet.cli.invocation import Invocation, command_of
from licet.cli.loading import import_gate, refuse_server
from licet.config.upstreams import UpstreamSettings, WrapSettings
from licet.errors import CallerRefused
from licet.gate.acting import Acting
from licet.gate.checks import caller_of
from licet.gate.gate import Gate
from licet.gate.watching import Watcher
from licet.gateway.messages import UNAVAILABLE, RpcError
from licet.gateway.stdio_door import StdioDoor, refuse_all
from licet.gateway.stdio_lines import Lines, take_over
from licet.ledger.record import new_id

if TYPE_CHECKING:
    from licet.config import Settings

Ends: TypeAlias = tuple[int, int]
"""The descriptors that the client writes to and reads from."""
NEEDED = ("aiohttp",)
REFUSED_BYTES = 4 * 1024 * 1024
"""The longest message of a client that is told why nothing can be served: that of `[gateway]` may be what cannot be read."""


class Wrap(click.Command):
    """The verb. What is wrong with its command line is told to the client as well (rule 3)."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        """The command line, read."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            invocation = parent.find_object(Invocation) if parent is not None else None
            if invocation is None or sys.stdin.isatty():
                raise
            invocation.command = command_of(error.ctx) if error.ctx is not None else "wrap"
            raise SystemExit(_refused(invocation, fault_of(error), take_over())) from error


@click.command(cls=Wrap, context_settings={"allow_interspersed_args": False})
@click.option("--upstream", metavar="NAME", help="Which of `[upstreams]` this is; by default that of `[wrap]`, or the only one.")
@click.option("--agent", metavar="ID", help="The agent whose calls these are.")
@click.option("--user", metavar="ID", help="The user whom the agent acts for.")
@click.option("--tenant", metavar="ID", help="The tenant, where the agent has several.")
@click.option("--verbose", is_flag=True, help="Log more.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ARGS...]")
@click.pass_obj
def wrap(
    invocation: Invocation,
    /,
    *,
    upstream: str | None,
    agent: str | None,
    user: str | None,
    tenant: str | None,
    command: tuple[str, ...],
    verbose: bool,
) -> int:
    """Govern one MCP server, in the place of the command that a desktop client starts.

    The client speaks to this program on stdin and stdout; this program starts the server. COMMAND stands in for the command of the upstream
    in licet.toml; without it that one is used. Whose calls these are comes from `[wrap]` and these options, and from nothing else.
    Ends when the client closes stdin, or at SIGTERM or SIGINT.
    """
    ends = take_over()
    asked = WrapSettings(upstream=upstream, agent=agent, user=user, tenant=tenant)
    try:
        with _opened(invocation, verbose=verbose) as gate:
            return _serve(gate, asked, command, ends)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the edge, as that of the program: every error becomes a sentence
        if invocation.debug:
            traceback.print_exception(error)
        return _refused(invocation, fault_of(error), ends)


def _opened(invocation: Invocation, *, verbose: bool) -> Gate:
    refuse_server(invocation)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        message = f"wrapping a server needs {', '.join(f'`{name}`' for name in missing)}"
        raise Refusal(Exit.ERROR, "not_installed", message, next_step="install `licet[server]`")
    from licet.server.logs import set_up  # noqa: PLC0415  only where something is served

    set_up("text", level=logging.DEBUG if verbose else logging.INFO)
    if invocation.app is None and not invocation.config_path.is_file():
        where = "" if invocation.config_path.is_absolute() else f" in `{Path.cwd()}`"
        message = f"there is no `{invocation.config_path}`{where}"
        step = "name it with its whole path: `--config /home/me/agent/licet.toml`; clients start programs in folders of their own"
        raise Refusal(Exit.USAGE, "config_invalid", message, next_step=step)
    return Gate(invocation.config_path.absolute()) if invocation.app is None else import_gate(invocation)


def _serve(gate: Gate, asked: WrapSettings, command: tuple[str, ...], ends: Ends) -> int:
    wanted = with_options(gate.settings.wrap, asked)
    name = upstream_of(gate.settings, wanted)
    upstream = {name: upstream_settings(gate.settings, name, command)}
    gate.seal()
    asyncio.run(_until_the_end(gate, upstream, acting_of(gate, wanted), ends))
    return int(Exit.OK)


async def _until_the_end(gate: Gate, upstream: Mapping[str, UpstreamSettings], acting: Acting, ends: Ends) -> None:
    """Rule 4. A signal ends it as the client does, without waiting for what is under way."""
    from licet.gateway.gateway import Gateway  # noqa: PLC0415  only where something is served
    from licet.gateway.upstreams.pool import Pool  # noqa: PLC0415  as above

    folder = gate.settings.file.parent if gate.settings.file is not None else Path.cwd()
    gateway = Gateway(gate, Pool(upstream, folder=folder))
    watcher = Watcher(gate, watch=gate.settings.server.reload)
    lines = Lines(*ends, limit_bytes=gate.settings.gateway.body_bytes)
    door = StdioDoor(gateway, lines, acting, *upstream)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, door.stop)
    loop.add_signal_handler(signal.SIGHUP, watcher.ask)
    watcher.start()
    try:
        await door.serve()
    finally:
        await gateway.close()
        await asyncio.to_thread(watcher.close)


def with_options(settings: WrapSettings, asked: WrapSettings) -> WrapSettings:
    """`[wrap]`, with what the options say in place of the same words. A named agent stands in for a service too."""
    found = replace(settings, **{name: value for name in WrapSettings.__struct_fields__ if (value := getattr(asked, name)) is not None})
    return replace(found, service=None) if asked.agent is not None else found


def upstream_of(settings: Settings, wanted: WrapSettings) -> str:
    """The name of the upstream that is wrapped. Raises `Refusal`."""
    known = settings.upstreams
    name = next(iter(known)) if wanted.upstream is None and len(known) == 1 else wanted.upstream
    if name is not None and name in known:
        return name
    names = ", ".join(f"`{name}`" for name in known) or "none"
    if wanted.upstream is None:
        message, step = f"which upstream this is was not said; licet.toml has {names}", "name it with `--upstream NAME`"
    else:
        message = f"licet.toml has no upstream `{wanted.upstream}`, but {names}"
        step = f"write `[upstreams.{wanted.upstream}]` with its `command`, or take another `--upstream`"
    raise Refusal(Exit.USAGE, "unknown_upstream", message, next_step=step)


def upstream_settings(settings: Settings, name: str, command: tuple[str, ...]) -> UpstreamSettings:
    """How the upstream is reached: by this command, where there is one. Raises `Refusal`."""
    found = settings.upstreams[name]
    if not command:
        return found
    if found.url is not None:
        message = f"`[upstreams.{name}]` has a `url`, so no command can stand in for its own"
        raise Refusal(Exit.USAGE, "usage", message, next_step="leave `-- COMMAND` out, or name another `--upstream`")
    # The client meant the command to run where it started this one.
    return replace(found, command=command, cwd=found.cwd or Path.cwd())


def acting_of(gate: Gate, wanted: WrapSettings) -> Acting:
    """Whose calls these are, as the directory knows them (rule 1). Each process is a session of its own. Raises `Refusal`."""
    acting = Acting(
        tenant=wanted.tenant,
        agent=wanted.agent,
        service=wanted.service,
        user=wanted.user,
        session=new_id(),
        is_named=wanted.user is not None,
    )
    step = "say it in `[wrap]` of licet.toml (`agent`, `user`, `tenant`), or with `--agent`, `--user` and `--tenant`"
    if wanted.agent is None and wanted.service is None:
        raise Refusal(Exit.USAGE, "no_caller", "whose calls these are was not said", next_step=step)
    try:
        caller = caller_of(acting, gate.scene)
        gate.scene.directory.principals(caller)
    except CallerRefused as refused:
        message = f"the caller of the wrapped server cannot be used: {refused}"
        raise Refusal(Exit.USAGE, refused.code, message, next_step=step) from refused
    return replace(acting, tenant=caller.tenant)


def _refused(invocation: Invocation, fault: Fault, ends: Ends) -> int:
    """Rule 3. Whoever sits at a terminal is told once."""
    invocation.output.fault(fault)
    if not os.isatty(ends[0]):
        text = fault.message if fault.next is None else f"{fault.message}; {fault.next}"
        error = RpcError(UNAVAILABLE, f"licet cannot govern this server: {text}", data=fault.as_json())
        asyncio.run(_refuse_all(ends, error))
    return int(fault.exit)


async def _refuse_all(ends: Ends, error: RpcError) -> None:
    await refuse_all(Lines(*ends, limit_bytes=REFUSED_BYTES), error)
