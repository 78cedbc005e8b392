"""How `licet catalog` shows tools and what has changed in them.

Rule: what somebody accepts is shown whole, each line of it as what it is: nothing in it commands the terminal, hides, or turns round
(`names.visible`), and what is not what it looks like is told first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from licet.cli.output import Output, pretty

if TYPE_CHECKING:
    from licet.cli.catalog import Difference, Differences, Listed, Tools

_MARKS = {"ready": "ok", "unclassified": "warn", "drifted": "fail", "gone": "fail", "new": "note", "changed": "fail"}
_WORDS = {"unclassified": "denied"}


def show_tools(output: Output, tools: Tools) -> None:
    """One tool a line, with what it may do and what the server says of itself."""
    if not tools.tools:
        output.line("no tool was accepted of any upstream" if not tools.live else "the upstreams offer no tool")
    for one in tools.tools:
        output.mark(_MARKS[one.state], _WORDS.get(one.state, one.state), f"{one.name}{_access(one)}", below=_hints(one))
        if one.hidden is not None and one.state != "unclassified":
            output.mark("note", "hidden", one.hidden, indent=2)
    for problem in tools.problems:
        output.mark("warn", "refused", problem)


def show_differences(output: Output, found: Differences) -> None:
    """Every difference, whole."""
    if not found.differences:
        output.mark("ok", "same", f"`{found.upstream}` offers what was accepted")
    for one in found.differences:
        _show(output, one)
    for problem in found.problems:
        output.mark("warn", "refused", problem)


def _show(output: Output, one: Difference) -> None:
    output.mark(_MARKS[one.kind], one.kind, one.tool, below=_digests(one))
    for odd in one.suspicious:
        output.mark("warn", "look", f"{odd.path or '/'} {odd.what}", indent=2)
    if one.kind == "new" and one.definition is not None:
        _value(output, "", one.definition)
    for change in one.changes:
        output.line(change.path or "/", indent=2)
        if change.has_before:
            _value(output, "- ", change.before)
        if change.has_after:
            _value(output, "+ ", change.after)


def _value(output: Output, sign: str, value: Any) -> None:
    """Text as its lines, anything else as JSON."""
    text = value if isinstance(value, str) else pretty(value)
    for line in text.split("\n"):
        output.line(f"{sign}{line}", indent=4)


def _digests(one: Difference) -> str:
    return " -> ".join([digest[:16] if digest else "nothing" for digest in (one.before, one.after)])


def _access(one: Listed) -> str:
    if one.state == "unclassified":
        return ": unclassified, licet.toml does not say what it can do"
    return "" if one.access is None else f": {one.access}"


def _hints(one: Listed) -> str:
    """What the server says of its own tool: shown, and never believed."""
    said = [f"{name} = {str(value).lower()}" for name, value in sorted(one.annotations.items()) if isinstance(value, bool)]
    return f"the server itself says {', '.join(said)}" if said else ""
