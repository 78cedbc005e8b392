"""What a ledger's SQLite file holds that nobody wrote there, or that does not fit what it is for: sentences for `verify`.

1. the schema is that of the version that the file says: a trigger or a changed index would act where nobody looks
2. the tiles of the head log are those of its entries
3. a signing key is the one that its row names, where the key-encryption key is at hand
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw

from licet.errors import IntegrityBroken
from licet.ledger.vault import Vault
from licet.store.migrations import on_sqlite
from licet.store.rows import UNREADABLE_ROW
from licet.store.sqlite_rows import fetch
from licet.store.strays import TileStrays, compare_keys, compare_schema

_CHUNK = 500
_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_schema"


def schema_strays(con: apsw.Connection) -> Iterator[str]:
    """1."""
    number = on_sqlite.applied(con)
    blank = on_sqlite.blank(number)
    if blank is None:
        yield f"the schema is of version {number}, which this program cannot check: verify with the program that made it"
        return
    shipped = {row[1]: row for row in fetch(blank, _SCHEMA)}
    blank.close()
    stored = {row[1]: row for row in _rows(con, "the schema", _SCHEMA)}
    yield from compare_schema(shipped, stored)


def tile_strays(con: apsw.Connection) -> Iterator[str]:
    """2: each tile that is kept is what the entries make, and none that they make is missing."""
    check, start = TileStrays(_rows(con, "tiles", "SELECT level, number, hashes FROM head_tiles")), 0
    while rows := _rows(con, "the head log", "SELECT number, entry FROM heads WHERE number >= ? ORDER BY number LIMIT ?", (start, _CHUNK)):
        if any(not isinstance(entry, bytes) for _, entry in rows):
            return  # told where entries are read
        yield from check.take([entry for _, entry in rows])
        start = rows[-1][0] + 1
    yield from check.end()


def key_strays(con: apsw.Connection, vault: Vault | None) -> Iterator[str]:
    """3."""
    if vault is not None:
        yield from compare_keys(vault, _rows(con, "signing keys", "SELECT number, vkey, key, wrapped FROM signing_keys"))


def _rows(con: apsw.Connection, what: str, text: str, values: tuple[Any, ...] = ()) -> list[Any]:
    try:
        return fetch(con, text, values)
    except (apsw.Error, *UNREADABLE_ROW) as error:
        raise IntegrityBroken(f"{what} cannot be read ({error})") from error
