"""Statements that write in PostgreSQL, inside the transaction of a group; what rows mean is in store/rows.py.

What a statement has changed is told by the server's own count, never by a read before it: of two transactions at once, one counts 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from licet.store.postgres_reading import Connection, findable

REPLACED = "\N{REPLACEMENT CHARACTER}"


async def changed(con: Connection, text: str, *values: object) -> int:
    """How many rows the statement has written or deleted."""
    return count_of(await con.execute(text, *values))


def count_of(status: str) -> int:
    """The count in a command's tag: `UPDATE 3`, `INSERT 0 1` (PostgreSQL's protocol, CommandComplete)."""
    return int(status.rpartition(" ")[2])


def storable(text: str | None) -> str | None:
    """The text without what PostgreSQL cannot hold (NUL, half a surrogate pair): for texts that people read, and nothing is found by."""
    if text is None or findable(text) is text:
        return text
    return text.replace("\0", REPLACED).encode("utf-8", "replace").decode()


def blurs(count: int) -> Iterable[str]:
    """Values that look like blinds, and lead nowhere; each another one."""
    return [os.urandom(16).hex() for _ in range(count)]
