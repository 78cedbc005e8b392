"""How times and values are written for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from unicodedata import category

import msgspec

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_INVISIBLE: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
"""Letters, marks and signs by their category, and not seen (Default_Ignorable_Code_Point of Unicode, and the blank Braille cell)."""
_LINES: Final = str.maketrans("\n\t\r", "   ")
_encode = msgspec.json.Encoder().encode


def utc(at: int | datetime) -> datetime:
    """A moment given in UTC microseconds, or as it is."""
    return at if isinstance(at, datetime) else _EPOCH + timedelta(microseconds=at)


def ago(at: int | datetime, now: datetime) -> str:
    """How long ago, in the largest unit: `20 s ago`."""
    return f"{span(int((now - utc(at)).total_seconds()))} ago"


def left(seconds: int) -> str:
    """What is left of a time: `4 min left`."""
    return "past its time" if seconds <= 0 else f"{span(seconds)} left"


def span(seconds: int) -> str:
    """A time in its largest unit, and the next one where seconds matter: `45 s`, `4 min 12 s`, `3 h`, `2 days`."""
    seconds = max(0, seconds)
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < 10 * _MINUTE:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    return f"{seconds // _HOUR} h" if seconds < 2 * _DAY else f"{seconds // _DAY} days"


def quoted_value(value: Any) -> str:
    """A value as JSON has it; a text is shown in quotes, so that it is not taken for a word of ours."""
    return _encode(value).decode()


def plain(text: str) -> str:
    """The text with every character written out that is not seen, or that turns others around."""
    return "".join([f"\\u{ord(one):04x}" if category(one) in _UNSEEN or _INVISIBLE.match(one) else one for one in text])


def plain_lines(text: str) -> str:
    """As `plain`, but lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    flat = text.translate(_LINES)
    if flat.isprintable() and not _INVISIBLE.search(flat):
        return text
    return "".join([one if one in "\n\t\r" else plain(one) for one in text])


def text_or_value(value: Any) -> str:
    """A value to be decided on, nothing of it unseen: as `quoted_value`, but a text keeps its lines."""
    if isinstance(value, str) and "\n" in value:
        return '"' + "\n".join([plain(line) for line in value.replace("\r\n", "\n").split("\n")]) + '"'
    return plain(quoted_value(value))


def number(value: float) -> str:
    """With commas between the thousands."""
    return f"{value:,}"
