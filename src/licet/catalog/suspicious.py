"""What in an upstream's texts is not what it looks like, for whoever is asked to accept them.

A description is read twice: by a person who accepts it, and by models that follow it. Where the two would read different things, somebody
is hiding something, or has been careless. Nothing here decides; whatever is found is told beside the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from licet.model import JsonObject
from licet.names import visible

_LATIN: Final = "LATIN"
_LOOKALIKES: Final = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "FULLWIDTH", "MATHEMATICAL")
_PLAIN: Final = "\n\t\r"
LONG_CHARS: Final = 4_000
"""A description longer than this is hardly read to its end."""


class Suspicion(Struct, frozen=True):
    """Where (a JSON Pointer), and what is odd there, as a sentence that can be shown."""

    path: str
    what: str


def suspicions(definition: JsonObject) -> tuple[Suspicion, ...]:
    """Everything in a definition that somebody should look at twice, in order."""
    return tuple([Suspicion(path, what) for path, text in _texts("", definition) for what in _odd(text)])


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _texts(f"{path}/{number}", one)
    elif isinstance(value, dict):
        for name, one in value.items():
            place = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            yield place, name
            yield from _texts(place, one)


def _odd(text: str) -> Iterator[str]:
    hidden = sorted({character for character in text if character not in _PLAIN and visible(character) != character})
    if hidden:
        yield f"has characters that are not seen: {', '.join(f'U+{ord(one):04X}' for one in hidden[:5])}"
    mixed = next((word for word in text.split() if _is_mixed(word)), None)
    if mixed is not None:
        yield f"has the word `{visible(mixed)[:60]}`, in which letters of different scripts look alike"
    if len(text) > LONG_CHARS:
        yield f"is {len(text)} characters long"


def _is_mixed(word: str) -> bool:
    """Whether letters of scripts that are taken for Latin ones stand beside Latin ones."""
    if word.isascii():
        return False
    scripts = {unicodedata.name(one, "").split(" ", 1)[0] for one in word if one.isalpha()}
    return (_LATIN in scripts and not scripts.isdisjoint(_LOOKALIKES)) or not scripts.isdisjoint({"FULLWIDTH", "MATHEMATICAL"})
