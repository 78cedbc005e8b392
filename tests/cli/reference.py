"""The verbs in docs/cli.md, made from what `--help` says. `python -m tests.cli.reference` writes them anew."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import click

from licet.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEADING = "## Verbs\n\n"
WIDTH = 100
GLOBAL = {"--config", "--app", "--server", "--api-key-file", "--json", "--debug"}


def verbs() -> str:
    """The part of the page below its last heading."""
    context = click.Context(main, info_name="licet", terminal_width=WIDTH, max_content_width=WIDTH)
    return "\n".join(part for name in main.list_commands(context) for part in _parts(context, name))


def _parts(context: click.Context, name: str) -> Iterator[str]:
    group = context.command
    assert isinstance(group, click.Group)
    command = group.get_command(context, name)
    assert command is not None
    shown = copy.copy(command)
    shown.params = [param for param in command.params if not GLOBAL.intersection(param.opts)]
    below = click.Context(shown, info_name=name, parent=context, terminal_width=WIDTH, max_content_width=WIDTH)
    if isinstance(command, click.Group):
        yield from (part for inner in command.commands for part in _parts(below, inner))
        return
    yield f"### {below.command_path}\n\n```text\n{shown.get_help(below)}\n```\n"


def page() -> str:
    """The page as it should be."""
    return PAGE.read_text(encoding="utf-8").partition(HEADING)[0] + HEADING + verbs()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
