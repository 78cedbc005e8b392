from __future__ import annotations

import io
import json

import pytest
from rich.cells import cell_len
from rich.console import Console

from licet.cli.output import Output, json_text, pretty, print_json


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


def test_what_is_indented_stays_so_where_it_is_wrapped() -> None:
    output, shown = on_terminal()
    output.facts([("note", '{\n  "why": "one two three four five six seven"\n}')])
    lines = [line.removeprefix("\x1b[2m") for line in shown.getvalue().splitlines()]
    assert [len(line) - len(line.lstrip()) for line in lines[1:]] == [15, 15, 13]
    assert all(cell_len(line) <= 40 for line in lines[1:])


def test_json_commands_no_terminal_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"id": '\x1b[2J\x9b31m\x7f\u202eabc\u200b\u2028\U000e0041\r\n"\\ \u00e4\u4e2d\U0001f600'}
    print_json(json_text(said))
    shown = capsys.readouterr().out
    assert json.loads(shown) == said
    assert shown == ('{"id":"\\u001b[2J\\u009b31m\\u007f\\u202eabc\\u200b\\u2028\\udb40\\udc41\\r\\n\\"\\\\ \u00e4\u4e2d\U0001f600"}\n')


def test_json_is_laid_out_to_be_read() -> None:
    many = list(range(30))
    assert pretty({"ids": [1, 2], "note": "small"}) == '{"ids": [1, 2], "note": "small"}'
    assert pretty({"ids": many, "who": {}}) == f'{{\n  "ids": {many},\n  "who": {{}}\n}}'
    long = ["a sentence that is not read at a glance", "and another one of them"]
    assert pretty(long) == '[\n  "a sentence that is not read at a glance",\n  "and another one of them"\n]'
    deep = {"rows": [{"id": 1, "text": "x" * 60}, {"id": 2}]}
    assert json.loads(pretty(deep)) == deep
    assert pretty(deep).splitlines()[3] == '      "id": 1,'
    assert "\x1b" not in pretty({"text": "\x1b[2J"})
