"""Text from outside, as it may stand in a message: one line, no longer than said, with nothing in it that people cannot see.

What is invisible is taken away, not written out: control characters, those that turn the direction of text or join what is seen, and more
than two marks above one letter. What is left may still mislead by what it says, so a message says who said it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from licet.names import visible

MARKS = 2
"""Combining marks one letter may have: more than any living script needs in one normalised letter, fewer than what covers the next line."""
_LOOKED_AT = 4
"""So many times its length is looked at of a text that is cut: a megabyte of nothing costs nobody time."""
_REF = re.compile(r'([A-Za-z_]\w*(?:::[A-Za-z_]\w*)*)::"((?:[^"\\]|\\.)*)"')


def plain(unverified_text: str, limit: int) -> str:
    """The text as people see it, on one line, at most `limit` characters, the last of which is `…` where it was cut."""
    looked_at = unverified_text[: limit * _LOOKED_AT]
    text = " ".join("".join(_seen(looked_at)).split())
    if len(text) <= limit and len(looked_at) == len(unverified_text):
        return text
    return f"{text[: limit - 1].rstrip()}…"


def _seen(text: str) -> list[str]:
    found: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text):
        if character.isspace():
            found.append(" ")
        elif visible(character) == character:
            marks = marks + 1 if unicodedata.category(character)[0] == "M" else 0
            if marks <= MARKS:
                found.append(character)
    return found


def value(unverified: Any, limit: int = 60) -> str:
    """A JSON value for a sentence: text in quotes, numbers as they are."""
    return plain(json.dumps(unverified, ensure_ascii=False), limit)


def target(unverified_ref: str, limit: int = 80) -> str:
    """`Customer C-1` for `Customer::"C-1"`; anything else as it is."""
    match = _REF.fullmatch(unverified_ref)
    if match is None:
        return plain(unverified_ref, limit)
    return plain(f"{match[1]} {match[2].replace(chr(92) + chr(34), chr(34)).replace(chr(92) * 2, chr(92))}", limit)
