"""Whether a URI is one of a template (RFC 6570).

A template says how URIs are made, not how they are read: many servers take raw characters where the standard would encode them, so that an
expression is matched by whatever its operator lets stand there. It is done without regular expressions: an upstream writes the template, a
client writes the URI, and no pair of them may take long.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

TEMPLATE_LIMIT: Final = 2_048
EXPRESSIONS_LIMIT: Final = 20
"""What has more of them is matched by nothing."""
_EXPRESSION: Final = re.compile(r"\{([+#./;?&]?)([^{}]{1,500})\}")


class Expression(Struct, frozen=True):
    """One expression: what it begins with if anything is there at all, and which characters end it."""

    prefix: str
    ends_at: str
    may_be_empty: bool


_OPERATORS: Final = {
    "": Expression("", "/", False),
    "+": Expression("", "", False),
    "#": Expression("#", "", True),
    ".": Expression(".", "/", True),
    "/": Expression("/", "?#", True),
    ";": Expression(";", "/", True),
    "?": Expression("?", "#", True),
    "&": Expression("&", "#", True),
}


class UriTemplate:
    """A template, read once."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self._parts: Final = _parts(text)

    @property
    def steps(self) -> int:
        """How often each character of a URI is looked at, at most."""
        return len(self._parts)

    def matches(self, uri: str) -> bool:
        """Whether the template could have made this URI."""
        if not self._parts:
            return False
        reached = {0}
        for part in self._parts:
            reached = _after_text(reached, uri, part) if isinstance(part, str) else _after_expression(reached, uri, part)
            if not reached:
                return False
        return len(uri) in reached


def _parts(text: str) -> tuple[str | Expression, ...]:
    """Its texts and expressions; none where it is no template that is matched."""
    if len(text) > TEMPLATE_LIMIT:
        return ()
    parts: list[str | Expression] = []
    end = 0
    for match in _EXPRESSION.finditer(text):
        parts += [text[end : match.start()], _OPERATORS[match[1]]]
        end = match.end()
    parts.append(text[end:])
    texts = [part for part in parts if isinstance(part, str)]
    if not 1 < len(texts) <= EXPRESSIONS_LIMIT + 1 or any("{" in one or "}" in one for one in texts):
        return ()
    return tuple([part for part in parts if part != ""])


def _after_text(reached: set[int], uri: str, text: str) -> set[int]:
    return {place + len(text) for place in reached if uri.startswith(text, place)}


def _after_expression(reached: set[int], uri: str, expression: Expression) -> set[int]:
    """Every place where the expression may end. Each character is looked at once, however many places it is reached from."""
    found = set(reached) if expression.may_be_empty else set()
    goes_on = False
    for place in range(min(reached), len(uri)):
        goes_on = goes_on or (place in reached and uri.startswith(expression.prefix, place))
        goes_on = goes_on and uri[place] not in expression.ends_at
        if goes_on:
            found.add(place + 1)
    return found
