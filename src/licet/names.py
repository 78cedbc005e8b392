"""What a name may look like: tenants, agents, services, users, roles, groups, environments.

Rules:

1. A name has one form. Whoever compares two names compares their characters, so two names that a person reads as one must not both exist:
   whitespace, invisible characters, and forms that Unicode normalisation (NFKC) would change are refused, never silently rewritten.
2. No quotes, backslashes or backticks: a name can stand in a policy, a log line and a message as it is.

Not guaranteed: letters of different scripts that look alike (a Cyrillic for a Latin `a`) are different letters here.
"""

from __future__ import annotations

import re
import unicodedata

NAME_LIMIT = 200
"""Characters. Long enough for an e-mail address or the subject of a token."""

# Printable for Python, drawn as nothing: Unicode's Default_Ignorable_Code_Point, less what is not printable anyway.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_QUOTES = re.compile(r"[\"'`\\]")


def name_problem(text: str) -> str | None:
    """Why this cannot be a name, as the end of a sentence; None if it can."""
    if not 0 < len(text) <= NAME_LIMIT:
        return f"it is empty or longer than {NAME_LIMIT} characters"
    if not text.isprintable() or _INVISIBLE.search(text):
        return "it has characters that cannot be seen"
    if " " in text:  # the only whitespace that is printable
        return "it has a space in it"
    if _QUOTES.search(text):
        return "it has a quote, backtick or backslash in it"
    if unicodedata.normalize("NFKC", text) != text:
        return f"it is not in its normal form, `{unicodedata.normalize('NFKC', text)}`"
    return None


def look(text: str) -> str:
    """What is the same for two names that a person could take for one another because only their case differs."""
    return unicodedata.normalize("NFKC", text.casefold())


def quoted(unverified_text: str) -> str:
    """Somebody else's text for a message: in backticks, on one line, not long, nothing invisible or quoting in it."""
    safe = "".join(c if c.isprintable() and c not in "`\\" else f"\\u{{{ord(c):x}}}" for c in unverified_text[:NAME_LIMIT])
    return f"`{safe}{'...' if len(unverified_text) > NAME_LIMIT else ''}`"


def visible(unverified_text: str) -> str:
    """Somebody else's text for a terminal: one line on which nothing is invisible, turns round or commands the terminal."""
    return "".join(c if c.isprintable() and not _INVISIBLE.match(c) else f"\\u{{{ord(c):x}}}" for c in unverified_text)
