"""What is printed, and how.

Rules:

1. Data goes to stdout; hints and progress go to stderr.
2. On a terminal lines are wrapped to its width, and coloured unless `NO_COLOR` is set. Elsewhere they are plain, one line a fact.
3. A verdict is a glyph and a word, never a colour alone. Where the encoding has no such glyph, plain characters stand in.
4. Nothing that an agent wrote commands the terminal: texts pass `names.visible` before they are printed, and never become markup.
5. With `--json` stdout is one envelope, whatever happens: `{"v":1,"command":...,"ok":...,"data":...,"error":...}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, TextIO, TypeAlias

import click

from licet.cli.faults import Fault
from licet.names import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Span: TypeAlias = tuple[str, str]
"""A piece of a line, and its style."""

ENVELOPE_VERSION = 1
LABEL_WIDTH = 10
"""Columns for glyph and word; the longest are `✓ approved` and `✗ rejected`."""
BESIDE = 60
"""Characters of JSON that fit beside a label."""
SHORT = 24
"""Characters of a value that is read at a glance, many of them on a line: a number, a name, an id."""
PLAIN_WIDTH = 1_000_000

_LOOKS: dict[str, tuple[str, str, str]] = {
    "allow": ("✓", "+", "green"),
    "ok": ("✓", "+", "green"),
    "hold": ("◆", "=", "yellow"),
    "warn": ("!", "!", "yellow"),
    "deny": ("✗", "x", "red"),
    "error": ("✗", "x", "red"),
    "fail": ("✗", "x", "red"),
    "unknown": ("?", "?", "magenta"),
    "note": ("·", "-", "dim"),
}
"""Kinds of marks: glyph, stand-in, style. Colour is for verdicts alone."""


class Output:
    """Where one command prints. Made anew for each, so that it sees the stdout of the moment."""

    @cached_property
    def out(self) -> Console:
        """Stdout."""
        return _console(sys.stdout)

    @cached_property
    def err(self) -> Console:
        """Stderr."""
        return _console(sys.stderr)

    def line(self, text: str = "", *, style: str = "", indent: int = 0) -> None:
        """A sentence or a fact."""
        self._wrapped(self.out, " " * indent, _text(text, style), indent)

    def item(self, label: str, text: str, *, width: int) -> None:
        """A sentence behind a short label, which takes `width` columns."""
        self._wrapped(self.out, _text(label.ljust(width), "dim"), _text(text), width)

    def mark(self, kind: str, word: str, text: str, *, below: str = "", indent: int = 0) -> None:
        """A verdict: glyph and word, then the sentence, then ids and times, dim, on a line of their own."""
        glyph, style = mark_of(kind, sys.stdout)
        label = " " * indent + f"{glyph} {word}".ljust(LABEL_WIDTH) + " "
        self._wrapped(self.out, _text(label, style), _text(text), len(label))
        if below:
            self._wrapped(self.out, " " * len(label), _text(below, "dim"), len(label))

    def facts(self, pairs: Iterable[tuple[str, str | Sequence[Sequence[Span]]]], *, indent: int = 2) -> None:
        """Names and values, one below the other; a value of several lines keeps them."""
        for name, value in pairs:
            lines = [[(line, "")] for line in value.split("\n")] if isinstance(value, str) else value
            label: Text | str = _text(" " * indent + name.ljust(LABEL_WIDTH) + " ", "dim")
            for line in lines:
                self._wrapped(self.out, label, styled(*line), indent + LABEL_WIDTH + 1)
                label = " " * (indent + LABEL_WIDTH + 1)

    def whole(self, text: str) -> None:
        """A text that people copy: on a line of its own, which nothing here wraps or indents."""
        self.out.print(_text(text), soft_wrap=True)

    def heading(self, text: str) -> None:
        """The name of a part, with an empty line before it."""
        self.out.print()
        self.out.print(_text(text, "bold"), soft_wrap=True)

    def hint(self, text: str) -> None:
        """Something to know or to do next; on stderr."""
        self._wrapped(self.err, "", _text(text, "dim"), 0)

    def next(self, step: str) -> None:
        """The next step; on stderr."""
        self._wrapped(self.err, _text("next: ", "bold"), _text(step), len("next: "))

    def fault(self, fault: Fault) -> None:
        """An error and its next step; on stderr."""
        self._wrapped(self.err, _text("error: ", "bold red"), _text(fault.message), len("error: "))
        for line in fault.lines:
            self._wrapped(self.err, "  ", _text(line), 4)
        if fault.next is not None:
            self.next(fault.next)

    def _wrapped(self, console: Console, label: Text | str, text: Text, indent: int) -> None:
        """A label and a text behind it, wrapped with a hanging indent on a terminal, on one line elsewhere."""
        from rich.text import Text  # noqa: PLC0415 - loaded when something is printed

        line = Text.assemble(label)  # a style of the label ends with it
        if not console.is_terminal:
            console.print(line + text, soft_wrap=True)
            return
        for number, part in enumerate(wrapped(text, console, max(20, console.width - indent))):
            console.print((line if number == 0 else Text(" " * indent)) + part, soft_wrap=True)


def envelope(command: str, *, data: Any = None, fault: Fault | None = None) -> str:
    """The one line that `--json` prints."""
    error = None if fault is None else fault.as_json()
    return json_text({"v": ENVELOPE_VERSION, "command": command, "ok": fault is None, "data": data, "error": error})


def print_json(text: str) -> None:
    """A line of JSON on stdout. What would not be seen, or commands a terminal, is escaped, as JSON has it (rule 4)."""
    if not (text.isascii() and text.isprintable()):  # in strings alone: nothing else of JSON is invisible
        text = "".join([c if visible(c) == c else json.dumps(c)[1:-1] for c in text])
    click.echo(text)


def json_text(value: Any) -> str:
    """JSON on one line; values of the rooms (frozen Structs, times) become JSON as records hold them."""
    import msgspec  # noqa: PLC0415 - loaded when something is printed

    return msgspec.json.encode(value).decode()


def wrapped(text: Text, console: Console, width: int) -> list[Text]:
    """The text in lines of this width at most, at least one; what is indented stays so; a word that is longer is broken."""
    from rich.text import Text  # noqa: PLC0415 - loaded when something is printed

    lead = min(len(text.plain) - len(text.plain.lstrip(" ")), width // 2)
    lines = [Text(" " * lead) + part for part in text[lead:].wrap(console, width - lead)] if text.plain.strip() else [Text()]
    for line in lines:
        line.rstrip()
    return lines


def pretty(value: Any) -> str:
    """JSON as people read it: small things on one line, larger ones indented, short values side by side; nothing invisible in it."""
    text = _laid_out(json.loads(json_text(value)), "")
    return "\n".join(visible(line) for line in text.split("\n"))


def _laid_out(value: Any, indent: str) -> str:
    short = json.dumps(value, ensure_ascii=False)
    inner = f"{indent}  "
    if len(indent) + len(short) <= BESIDE or not isinstance(value, dict | list) or (isinstance(value, list) and all(map(_is_short, value))):
        return short
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"{inner}{_laid_out(item, inner)}" for item in value) + f"\n{indent}]"
    parts = [f"{inner}{json.dumps(name, ensure_ascii=False)}: {_laid_out(item, inner)}" for name, item in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and len(json.dumps(value, ensure_ascii=False)) <= SHORT


def styled(*spans: Span) -> Text:
    """One line of pieces with styles of their own; nothing in it commands the terminal."""
    from rich.text import Text  # noqa: PLC0415 - loaded when something is printed

    return Text.assemble(*((visible(text), style) for text, style in spans))


def mark_of(kind: str, stream: IO[str]) -> Span:
    """The glyph of a verdict as this stream can show it, and its style."""
    glyph, plain, style = _LOOKS[kind]
    return (glyph if can_show(stream, glyph) else plain), style


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text  # noqa: PLC0415 - loaded when something is printed

    return Text(visible(text), style)


def _console(stream: TextIO) -> Console:
    """A console that writes to this stream as it is: rich would find colours and widths of its own."""
    from rich.console import Console  # noqa: PLC0415 - loaded when something is printed

    if not stream.isatty():
        return Console(file=stream, color_system=None, force_terminal=False, width=PLAIN_WIDTH, highlight=False, markup=False, emoji=False)
    return Console(file=stream, no_color=bool(os.environ.get("NO_COLOR")) or None, highlight=False, markup=False, emoji=False)


def can_show(stream: IO[str], glyph: str) -> bool:
    """Whether this stream's encoding has such a character."""
    try:
        glyph.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
