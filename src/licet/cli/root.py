"""The program itself: finds a verb, runs it, and turns every error into a sentence, a next step and an exit code."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from licet.cli.exits import Exit
from licet.cli.faults import fault_of
from licet.cli.invocation import Invocation, command_of, with_globals

VERBS: dict[str, str] = {
    "init": "Write a licet.toml, policies and policy tests to start from.",
    "check": "Validate licet.toml, catalog, directory and policies.",
    "test": "Run the tests of the policies.",
    "can": "Say whether a call would be allowed.",
    "why": "Explain a decision: one that would be taken, or one that was.",
    "approvals": "List, show, watch and decide what waits for people.",
    "freeze": "Stop an agent, a tool, a tenant or everything, at once.",
    "undo": "Take back what a call has changed, where policy allows it.",
    "audit": "Search, show, verify, prove and export the audit log.",
    "catalog": "Show and accept what upstream MCP servers offer.",
    "console": "Let people into the web console.",
    "credentials": "Issue, list, replace and revoke API keys.",
    "keys": "Show, make and change the keys of the ledger.",
    "db": "Back the ledger up, restore it, and upgrade it.",
    "serve": "Serve the gate over HTTP, until SIGTERM or SIGINT.",
    "wrap": "Govern one MCP server, in the place of the command that a desktop client starts.",
    "demo": "Watch a support agent being governed on a database of its own, and a wrapped file server.",
    "doctor": "Look for what is wrong with an installation.",
    "version": "Print the version.",
}
"""Every verb and what it does. `licet --help` loads none of them; a verb is loaded when it is called."""


def _verbs() -> dict[str, str]:
    """The verbs that this installation has."""
    return {name: summary for name, summary in VERBS.items() if importlib.util.find_spec(f"licet.cli.{name}") is not None}


class Root(click.Group):
    """`licet`."""

    def __init__(self) -> None:
        super().__init__("licet", help="Explicit permissions for every tool call an agent makes.", no_args_is_help=True)
        with_globals(self)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs, in the order in which they are met."""
        return list(_verbs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """A verb, loaded now; None if there is none of this name."""
        if cmd_name not in _verbs():
            return None
        module = importlib.import_module(f"licet.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        if not command.params or not any("--json" in param.opts for param in command.params):
            with_globals(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The list of verbs, without loading one."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(_verbs().items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. Who reads our output and has seen enough (`| head`) is no error."""
        try:
            ended = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered goes nowhere, or the interpreter would complain of it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return int(Exit.OK)
        return ended

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run a command line and end the process with its exit code; it never returns, whatever mode is asked for."""
        arguments = list(sys.argv[1:] if args is None else args)
        if arguments[:1] == ["--version"]:
            arguments[0] = "version"
        extra.pop("standalone_mode", None)
        sys.exit(_run(self, arguments, prog_name or "licet", extra))


def _run(root: Root, arguments: list[str], prog_name: str, extra: dict[str, Any]) -> int:
    invocation = Invocation(arguments)
    try:
        ended = click.Group.main(root, arguments, prog_name, standalone_mode=False, obj=invocation, **extra)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(Exit.ERROR)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the edge: every error becomes a sentence
        return _refused(invocation, error)
    return ended if isinstance(ended, int) else int(Exit.OK)


def _refused(invocation: Invocation, error: BaseException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help() if error.ctx is not None else "", err=True)
        return int(Exit.USAGE)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        invocation.command = command_of(error.ctx)
    if invocation.debug:
        traceback.print_exception(error)
    return invocation.refuse(fault_of(error))
