"""Where a key stands in a TOML file, for messages that name the line.

The standard library's reader says what a file holds, not where. This looks for the key as people write it: a table's header, then the key
below it, or a dotted or inline table. It only points; nothing is decided by it.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[\[?\s*(?P<key>[^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_ENTRY = re.compile(r"\s*(?P<key>(?:\"[^\"]*\"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:\"[^\"]*\"|'[^']*'|[\w-]+))*)\s*=")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([^.\s\"']+)")


def find_line(text: str, *key: str) -> int | None:
    """The line (from 1) of the deepest part of this key that the file names; None where it names none of it."""
    best, depth = None, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header, entry = _HEADER.match(line), _ENTRY.match(line)
        if header:
            table = _parts(header["key"])
            found = table
        elif entry:
            found = (*table, *_parts(entry["key"]))
        else:
            continue
        shared = _shared(found, key)
        # An inline table names deeper keys on its own line, so an entry that leads to the key is as good as the key.
        if shared > depth and shared == len(found):
            best, depth = number, shared
    return best


def _parts(text: str) -> tuple[str, ...]:
    return tuple("".join(match.groups(default="")) for match in _PART.finditer(text))


def _shared(found: tuple[str, ...], key: tuple[str, ...]) -> int:
    count = 0
    for mine, wanted in zip(found, key, strict=False):
        if mine != wanted:
            break
        count += 1
    return count
