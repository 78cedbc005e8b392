r"""The one canonical form of what names a target: `id`, `path`, `url`, `email`.

Rules:

1. A value that is not in its canonical form is refused, never rewritten: what policy saw is what the tool gets, and two spellings of
   one thing cannot pass two different rules.
2. `id`: NFKC-stable text of 1 to 512 characters without control, format, invisible, private or unassigned characters; of whitespace only
   single spaces between other characters.
3. `path`: absolute POSIX, NFC, at most 4,096 bytes; no empty, `.` or `..` segment, no trailing slash (except `/`), no backslash, no
   percent-encoded byte, nothing invisible, and no character that turns into `/`, `.`, `\` or `%` under NFKC.
4. `url`: see `url.py`. RFC 3986 with every choice made once.
5. `email`: RFC 5321 dot-atom at a domain, ASCII, lower case, at most 254 characters.

Not guaranteed: that a file system without regard to case, a web server or a mail provider treats two canonical values as two things.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from licet.catalog.strict import SHOWN_CHARACTERS
from licet.catalog.url import url_problem
from licet.errors import ArgumentsRefused

Kind = Literal["id", "path", "url", "email"]

ID_LIMIT = 512
PATH_LIMIT_BYTES = 4_096
"""PATH_MAX of Linux."""
EMAIL_LIMIT = 254
"""RFC 5321, section 4.5.3.1.3, without the angle brackets."""
LOCAL_LIMIT = 64
"""RFC 5321, section 4.5.3.1.1."""

_PLAIN_ID = re.compile(r"[!-~]{1,512}")
_PLAIN_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.@+-]+)+")
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Invisible, though their category is a letter, a mark or a symbol (Default_Ignorable_Code_Point of Unicode, and the blank Braille cell).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]",
)
_PERCENT_BYTE = re.compile(r"%[0-9A-Fa-f]{2}")
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@{_LABEL}(?:\.{_LABEL})*\.(?=[a-z])[a-z0-9-]*[a-z0-9]")


def canonical(kind: Kind, text: str) -> str:
    """`text` itself, if it is the one canonical form of its kind. Raises ArgumentsRefused (`not_canonical`) with what is wrong."""
    problem = _PROBLEMS[kind](text)
    if problem is None:
        return text
    raise ArgumentsRefused("not_canonical", f"{_quoted(text)} is not a canonical {kind}: {problem}")


def _id_problem(text: str) -> str | None:
    if _PLAIN_ID.fullmatch(text):
        return None
    if not text or len(text) > ID_LIMIT:
        return f"it must have 1 to {ID_LIMIT} characters"
    if text[0] == " " or text[-1] == " " or "  " in text:
        return "spaces may only stand singly between other characters"
    return _unseen_problem(text) or _form_problem("NFKC", text)


def _path_problem(text: str) -> str | None:
    if len(text) <= ID_LIMIT and _PLAIN_PATH.fullmatch(text):
        return None
    if not text.startswith("/"):
        return "it must be absolute"
    # Characters first: each check below looks at every one of them.
    if len(text) > PATH_LIMIT_BYTES or len(text.encode()) > PATH_LIMIT_BYTES:
        return f"it is longer than {PATH_LIMIT_BYTES} bytes"
    problem = _unseen_problem(text) or _form_problem("NFC", text)
    return problem or _lookalike_problem(text) or _segments_problem(text)


def _segments_problem(text: str) -> str | None:
    if "\\" in text:
        return "it has a backslash"
    if _PERCENT_BYTE.search(text):
        return "it has a percent-encoded byte"
    for segment in text[1:].split("/") if text != "/" else ():
        if not segment:
            return "it has an empty segment or ends in a slash"
        if segment in {".", ".."}:
            return f"it has a `{segment}` segment"
    return None


def _lookalike_problem(text: str) -> str | None:
    # Full-width and compatibility characters become separators and dots in software that normalises: U+FF0F is `/`, U+2025 is `..`.
    folded = unicodedata.normalize("NFKC", text)
    for character in "/.\\%":
        if folded.count(character) != text.count(character):
            return f"it has a character that normalisation turns into `{character}`"
    return None


def _email_problem(text: str) -> str | None:
    if len(text) > EMAIL_LIMIT:
        return f"it is longer than {EMAIL_LIMIT} characters"
    match = _EMAIL.fullmatch(text)
    if match is None:
        return "it must be lower-case ASCII, one unquoted local part, one `@` and a domain name without trailing dot"
    return f"its local part is longer than {LOCAL_LIMIT} characters" if len(match[1]) > LOCAL_LIMIT else None


def _unseen_problem(text: str) -> str | None:
    for character in text:
        category = unicodedata.category(character)
        if category in _UNSEEN_CATEGORIES or (category == "Zs" and character != " ") or _INVISIBLE.match(character):
            return f"it has the character U+{ord(character):04X}, which is not visible text"
    return None


def _form_problem(form: Literal["NFC", "NFKC"], text: str) -> str | None:
    return None if unicodedata.is_normalized(form, text) else f"it is not in Unicode form {form}"


def _quoted(text: str) -> str:
    # ascii() so that an invisible character can be seen in the message, and a bidi control cannot reorder it.
    shown = ascii(text[: SHOWN_CHARACTERS + 1])[1:-1]
    return f"`{shown if len(shown) <= SHOWN_CHARACTERS else shown[:SHOWN_CHARACTERS] + '...'}`"


_PROBLEMS: dict[Kind, Callable[[str], str | None]] = {
    "id": _id_problem,
    "path": _path_problem,
    "url": url_problem,
    "email": _email_problem,
}
