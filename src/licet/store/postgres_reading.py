"""What every reading half of the PostgreSQL store stands on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from licet.ledger.vault import Vault

if TYPE_CHECKING:
    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[Any]
else:
    Connection: TypeAlias = Any

T = TypeVar("T")

_NOWHERE = "\ufffe"
"""No character of any text: what cannot be stored is looked for, and not found, under a text that holds it."""


class Reading:
    """Reads of one store, from any thread; each may raise `StoreError`."""

    _vault: Vault | None

    def _rows(self, text: str, *values: object) -> list[Any]:
        """All rows of one statement."""
        raise NotImplementedError

    def _moment(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        """What `read` returns, which runs on the store's loop and sees one moment, whatever is committed meanwhile.

        It must not open payloads: that may read secrets, through the store, whose loop it would block.
        """
        raise NotImplementedError

    @property
    def vault(self) -> Vault:
        """The secrets of this store. Raises `KeyUnavailable` where it was opened without a key."""
        raise NotImplementedError


async def fetch(con: Connection, text: str, *values: object) -> list[Any]:
    """All rows: each can be taken apart like a tuple."""
    return await con.fetch(text, *[findable(value) for value in values])


def findable(value: object) -> object:
    """The value, in a form that PostgreSQL takes: a text that it cannot hold (NUL, half a surrogate pair) is found nowhere."""
    if isinstance(value, str):
        return value if _is_storable(value) else _NOWHERE
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [findable(one) for one in value]
    return value


def _is_storable(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
