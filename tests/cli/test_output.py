from __future__ import annotations

import io

from rich.console import Console

from licet.cli.output import Output


def on_terminal(width: int = 40) -> tuple[Output, io.StringIO]:
    """An output whose stdout is a terminal with colours."""
    output, shown = Output(), io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system="standard", width=width, highlight=False, no_color=False)
    output.__dict__["out"] = console
    return output, shown


def test_the_colour_of_a_verdict_ends_with_its_word() -> None:
    output, shown = on_terminal()
    output.mark("deny", "denied", "nobody reads this")
    assert shown.getvalue() == "\x1b[31m✗ denied   \x1b[0mnobody reads this\n"


def test_a_label_is_dim_and_its_sentence_is_not() -> None:
    output, shown = on_terminal()
    output.item(" 1", "a sentence that is longer than the terminal is wide", width=4)
    assert shown.getvalue() == "\x1b[2m 1  \x1b[0ma sentence that is longer than the\n    terminal is wide\n"
