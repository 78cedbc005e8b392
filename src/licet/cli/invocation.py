"""One use of the program: which configuration, which application, and how the answer is given.

The options of this module are the same for every verb and may stand before or behind it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from licet.cli.exits import Exit
from licet.cli.faults import Fault
from licet.cli.output import Output, envelope, print_json

DEFAULT_CONFIG = Path("licet.toml")


class Invocation:
    """What the global options say, and the command they were given to. `config` is None where none was named."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.config: Path | None = None
        self.app: str | None = None
        self.named_server: str | None = None
        self.api_key_file: Path | None = None
        self.debug = "--debug" in _options(arguments)
        self.as_json = "--json" in _options(arguments)
        self.command = ""

    @cached_property
    def output(self) -> Output:
        """Where this command prints."""
        return Output()

    @property
    def config_path(self) -> Path:
        """The licet.toml to read: the named one, or the one in this folder. Never searched for in parent folders."""
        return self.config or DEFAULT_CONFIG

    @property
    def server(self) -> str | None:
        """The server to ask: that of `--server`, else of `LICET_SERVER`; None where the ledger at hand is meant."""
        return self.named_server or os.environ.get("LICET_SERVER") or None

    def answer(self, data: Any, show: Callable[[Output], None], *, fault: Fault | None = None, next_step: str | None = None) -> int:
        """Give the answer in the form that was asked for. With a `fault` the answer is a no: its exit code is the program's."""
        if self.as_json:
            print_json(envelope(self.command, data=data, fault=fault))
        else:
            show(self.output)
            step = next_step or (fault.next if fault is not None else None)
            if step is not None:
                self.output.next(step)
        return int(Exit.OK if fault is None else fault.exit)

    def refuse(self, fault: Fault) -> int:
        """Say what went wrong, in the form that was asked for."""
        if self.as_json:
            print_json(envelope(self.command, fault=fault))
        else:
            self.output.fault(fault)
        return int(fault.exit)

    def hint(self, text: str) -> None:
        """Something to know, for people only."""
        if not self.as_json:
            self.output.hint(text)


def _options(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments that can be options. A usage error is found before options are read, and is still told as `--json` asks."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def with_globals(command: click.Command) -> click.Command:
    """The command, its own commands included, with the options that every verb has. One that has such an option itself keeps its own."""
    known = {option for param in command.params for option in param.opts}
    command.params.extend(option for option in _global_options() if not known.intersection(option.opts))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            with_globals(below)
    return command


def _global_options() -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="PATH",
            expose_value=False,
            callback=_take("config"),
            help="The licet.toml to use; by default the one in this folder.",
        ),
        click.Option(
            ["--app"],
            metavar="MODULE:GATE",
            expose_value=False,
            callback=_take("app"),
            help="Import an application's gate, so that its Python tools and resolvers are known.",
        ),
        click.Option(
            ["--server"],
            metavar="URL",
            expose_value=False,
            callback=_take("named_server"),
            help="Ask this server in place of the ledger at hand; also `LICET_SERVER`. The key is in `LICET_API_KEY`.",
        ),
        click.Option(
            ["--api-key-file"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="PATH",
            expose_value=False,
            callback=_take("api_key_file"),
            help="A file with the API key or token for the server; also `LICET_API_KEY_FILE`.",
        ),
        click.Option(
            ["--json"], is_flag=True, expose_value=False, callback=_take("as_json"), help="Print one JSON envelope, errors included."
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_take("debug"),
            help="Show where an error arose.",
        ),
    ]


def _take(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def take(context: click.Context, _param: click.Parameter, value: Any) -> None:
        invocation = context.find_object(Invocation)
        assert invocation is not None
        invocation.command = command_of(context)
        if value:
            setattr(invocation, name, value)

    return take


def command_of(context: click.Context) -> str:
    """The verb as it is typed, without the program's name."""
    names = []
    while context.parent is not None:
        names.append(context.info_name or "")
        context = context.parent
    return " ".join(reversed(names))
