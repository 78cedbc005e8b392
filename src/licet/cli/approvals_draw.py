"""How `licet approvals watch` looks: lines of exactly the terminal's size, from the state of its screen.

The list is cut to the width; below it the selected request stands whole, wrapped, and is scrolled where it does not fit. While somebody is
asked whether they are sure, there is nothing on the screen but what they decide on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from licet.cli.approvals_facts import HURRY_S, Fact, decided_on, facts_of, gist_of, look_of, waits_for
from licet.cli.approvals_screen import Mode, Screen
from licet.cli.output import LABEL_WIDTH, Span, can_show, mark_of, styled, wrapped
from licet.cli.request_source import Verb
from licet.cli.requests import Viewed
from licet.cli.wording import countdown, counted, who

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDE = 60
"""From here on facts have a column of labels, and rows of the list say which group is missing."""
NARROWEST = 16
"""Columns below which values are cut, so that nothing can be approved."""
CLOCK = 8
"""Columns of a countdown: `23:59:59`."""
MISSING = 28
"""Columns up to which the list is aligned behind what is missing; more than that would push the call itself out of sight."""

_QUESTIONS: dict[Verb, str] = {
    "approve": "Approve this call",
    "reject": "Deny this call",
    "take_back": "Take your vote back",
    "withdraw": "Withdraw this request",
}
_DONE: dict[Verb, str] = {"approve": "approve", "reject": "deny", "take_back": "take it back", "withdraw": "withdraw it"}


class Frame(Struct, frozen=True):
    """What is drawn, a line each, and what the screen must know of it: lines of a page, where it stands, whether the end is visible."""

    lines: tuple[Text, ...]
    page: int
    scroll: int
    at_end: bool


class Size(Struct, frozen=True):
    """The terminal, and what it can show."""

    width: int
    height: int
    console: Console

    @property
    def stream(self) -> IO[str]:
        """Where it is written."""
        return self.console.file

    def glyph(self, wanted: str, plain: str) -> str:
        """This glyph, or what stands in for it."""
        return wanted if can_show(self.stream, wanted) else plain


def draw(screen: Screen, size: Size, now: datetime) -> Frame:
    """The screen as it is now."""
    if screen.mode is Mode.CONFIRM and screen.shown is not None:
        return _question(screen, screen.shown.at(now), size)
    rows = [row.at(now) for row in screen.rows]
    shown = None if screen.shown is None else screen.shown.at(now)
    is_alone = len(rows) == 1 and shown is not None and rows[0].request.id == shown.request.id
    top = [_title(screen, rows, size, now), *([] if is_alone else _list(screen, rows, size)), _rule(size)]
    bottom = _footer(screen, size)
    body = _empty(screen) if shown is None else _whole(shown, size, facts_of(shown))
    return _framed(top, body, bottom, screen.scroll, size)


def _framed(top: Sequence[Text], body: Sequence[Text], bottom: Sequence[Text], scroll: int, size: Size) -> Frame:
    """Top and bottom as they are, between them as much of the body as fits, with a line that says what is below."""
    room = max(1, size.height - len(top) - len(bottom))
    page = room if len(body) <= room or room == 1 else room - 1  # the last line says that this is not all
    scroll = max(0, min(scroll, len(body) - page))
    visible = list(body[scroll : scroll + page])
    below = len(body) - scroll - len(visible)
    if page < room:
        hint = f"{size.glyph('↓', 'v')} {counted(below, 'more line')} (PgDn)" if below else f"{size.glyph('↑', '^')} end (PgUp)"
        visible.append(styled((hint, "dim")))
    filled = [*visible, *[styled()] * (room - len(visible))]
    lines = [*top, *filled, *bottom][: size.height]
    for line in lines:
        line.truncate(size.width, overflow="ellipsis" if can_show(size.stream, "…") else "crop")
    # Where not even the top fits, or a value is cut at the side, nobody has seen the end.
    is_visible = len(top) + len(visible) <= size.height and size.width >= NARROWEST
    return Frame(tuple(lines), page, scroll, below <= 0 and is_visible)


def _title(screen: Screen, rows: Sequence[Viewed], size: Size, now: datetime) -> Text:
    waiting = sum(row.state == "open" for row in rows)
    told = [f"{now:%H:%M:%S} UTC"]
    if screen.viewer is not None:
        told.insert(0, f"as {screen.viewer}")
    if not screen.only_shows:
        told.insert(0, f"{waiting} open" if waiting else "nothing waits")
    right = "  ".join(told)
    left = "licet approvals"
    gap = size.width - len(left) - len(right)
    return styled((left, "bold"), (" " * gap + right, "")) if gap > 1 else styled((right, ""))


def _list(screen: Screen, rows: Sequence[Viewed], size: Size) -> list[Text]:
    """As many rows as leave most of the screen to the selected one, those around the selected one."""
    room = min(len(rows), max(1, (size.height - 4) // 4))
    ids = [row.request.id for row in rows]
    at = ids.index(screen.selected) if screen.selected in ids else 0
    first = max(0, min(at - room // 2, len(rows) - room))
    visible = rows[first : first + room]
    missing = [_missing(row, size) for row in visible]
    column = min(MISSING, max(map(len, missing), default=0))
    shown = [
        _row(row, size, have.ljust(column), is_selected=row.request.id == screen.selected)
        for row, have in zip(visible, missing, strict=True)
    ]
    if len(rows) > room:
        shown.append(styled((f"  {first + 1} to {first + room} of {len(rows)}", "dim")))
    return shown


def _missing(row: Viewed, size: Size) -> str:
    """Who has approved, of how many, for each need."""
    group = size.width >= WIDE
    return ", ".join(f"{len(need.voters)}/{need.need.count}" + (f" {need.need.group or 'confirm'}" if group else "") for need in row.needs)


def _row(row: Viewed, size: Size, have: str, *, is_selected: bool) -> Text:
    mark, style = mark_of(look_of(row)[0], size.stream)
    left_s = row.expires_in_s
    pointer = size.glyph("▸", ">") if is_selected else " "
    request = row.request
    targets = ", ".join(str(target.ref) for target in row.asked.targets)
    spans: list[Span] = [
        (f"{pointer} ", "bold"),
        (f"{mark} ", style),
        (countdown(left_s).rjust(CLOCK if size.width >= WIDE else 5), "yellow" if left_s <= HURRY_S else ""),
        (f"  {have}  ", "dim"),
        (f"{request.tool}", "bold" if is_selected else ""),
        (f"  {gist}" if (gist := gist_of(row)) else "", ""),
        (f"  {targets}" if targets else "", ""),
        (f"  {who(request.agent, request.service, request.user)}", "dim"),
    ]
    return styled(*spans)


def _rule(size: Size) -> Text:
    return styled((size.glyph("─", "-") * size.width, "dim"))


def _empty(screen: Screen) -> list[Text]:
    if screen.rows:
        return [styled(("Select a request with the arrow keys.", ""))]
    return [styled(("Nothing waits for people.", "")), styled(("A call that is held appears here by itself.", "dim"))]


def _whole(found: Viewed, size: Size, facts: Sequence[Fact]) -> list[Text]:
    """The sentence, then the facts, wrapped to the width."""
    kind, word = look_of(found)
    mark, style = mark_of(kind, size.stream)
    head = styled((f"{mark} {word}  ", style), (f"{found.sentence}{waits_for(found)}", "bold"))
    lines = [*_wrapped(head, size, size.width), styled()]
    for label, values in facts:
        lines += _fact(label, values, size)
    return lines


def _fact(label: str, values: Sequence[Sequence[Span]], size: Size) -> list[Text]:
    """Label and value side by side, or one below the other where it is narrow."""
    indent = LABEL_WIDTH + 1 if size.width >= WIDE else 2
    parts = [part for value in values for part in _wrapped(styled(*value), size, size.width - indent)]
    if size.width < WIDE:
        return [styled((label, "dim")), *(_behind(" " * indent, part) for part in parts)]
    labels = [label.ljust(indent), *[" " * indent] * len(parts)]
    return [_behind(before, part) for before, part in zip(labels, parts, strict=False)]


def _behind(label: str, part: Text) -> Text:
    line = styled((label, "dim"))
    return line.append_text(part)


def _wrapped(text: Text, size: Size, width: int) -> list[Text]:
    """The text in lines of this width at most; a word that is longer is broken."""
    return wrapped(text, size.console, max(8, width))


def _footer(screen: Screen, size: Size) -> list[Text]:
    """What was said last, and what keys there are; or the comment that is being typed."""
    lines = [_rule(size)]
    if screen.mode is Mode.COMMENT:
        question = f"{_QUESTIONS[screen.verb]}? A comment, if you like:"
        return [*lines, *_wrapped(styled((question, "bold")), size, size.width), _typed(screen, size), *_keys(_TYPING, size)]
    if screen.said:
        lines += _wrapped(styled((screen.said, "bold")), size, size.width)
    return [*lines, *_keys([key for key in _ALL if key[0] in screen.offers()], size)]


def _typed(screen: Screen, size: Size) -> Text:
    """The end of the comment, with a cursor behind it."""
    line = styled((screen.comment, ""))
    room = size.width - 3
    while line.cell_len > room:
        line = line[max(1, line.cell_len - room) :]
    return _behind("> ", line).append_text(styled((" ", "reverse")))


_ALL = (
    ("arrows", "select"),
    ("a", "approve"),
    ("d", "deny"),
    ("t", "take back"),
    ("w", "withdraw"),
    ("PgDn", "read on"),
    ("r", "refresh"),
    ("q", "quit"),
)
_TYPING = (("Enter", "go on"), ("Esc", "do nothing"))


def _keys(keys: Sequence[tuple[str, str]], size: Size) -> list[Text]:
    """The keys on as many lines as they take, none of them broken."""
    lines = [styled()]
    for key, does in keys:
        one = styled((key, "bold"), (f" {does}", "dim"))
        if lines[-1].cell_len and lines[-1].cell_len + 2 + one.cell_len > size.width:
            lines.append(styled())
        lines[-1] = lines[-1].append_text(styled(("  ", ""))) if lines[-1].cell_len else lines[-1]
        lines[-1].append_text(one)
    return lines


def _question(screen: Screen, found: Viewed, size: Size) -> Frame:
    """All that is decided on, and the one key that does it."""
    title = styled((f"{_QUESTIONS[screen.verb]}, as {screen.viewer}?", "bold reverse"))
    facts = decided_on(found)
    facts += [("request", [[(found.request.id, "")]]), ("votes on", [[(found.binding, "")]])]
    if screen.comment.strip():
        facts.append(("comment", [[(f'"{screen.comment.strip()}"', "")]]))
    bottom = [_rule(size)]
    if screen.said:
        bottom += _wrapped(styled((screen.said, "bold")), size, size.width)
    top, body = [*_wrapped(title, size, size.width), _rule(size)], _whole(found, size, facts)
    answer = _DONE[screen.verb]
    frame = _framed(top, body, [*bottom, *_keys(_answers(("y", answer)), size)], screen.scroll, size)
    if not screen.is_answerable:
        return _framed(top, body, [*bottom, *_keys(_answers(), size)], screen.scroll, size)
    if screen.verb == "approve" and not (frame.at_end or screen.has_seen_end):
        return _framed(top, body, [*bottom, *_keys(_answers(("PgDn", "read on, to approve")), size)], screen.scroll, size)
    return frame


def _answers(*first: tuple[str, str]) -> Sequence[tuple[str, str]]:
    """What is offered: an approval when all that it is cast on was on the screen."""
    return (*first, ("Esc", "do nothing"))
