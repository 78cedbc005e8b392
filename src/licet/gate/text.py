"""Text from outside, as a record can hold it.

A tool's name, a reason, a session, an exception's message: any of them may be half of a surrogate pair, or no text at all, and a record
that cannot be written would be a call that nobody sees. Such a value is written so that it can be read, and matches no name of the
directory.
"""

from __future__ import annotations

KEY_LIMIT = 255
"""Characters of an idempotency key: enough for any client, and never cut from an envelope."""


def readable(unverified: object) -> str:
    """The text itself where it is Unicode text; otherwise a text that says what it was."""
    if not isinstance(unverified, str):
        return f"(not text: {type(unverified).__name__})"
    text = str.__str__(unverified)  # a subclass may lie in its own methods
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def readable_or_none(unverified: object) -> str | None:
    """As `readable`; None stays None."""
    return None if unverified is None else readable(unverified)


def is_key(unverified: object) -> bool:
    """Whether this can be an idempotency key: 1 to 255 printable characters."""
    return type(unverified) is str and 0 < len(unverified) <= KEY_LIMIT and unverified.isprintable()
