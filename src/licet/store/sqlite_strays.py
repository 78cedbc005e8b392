"""What a ledger's SQLite file holds that nobody wrote there, or that does not fit what it is for: sentences for `verify`.

1. the schema is that of the version that the file says: a trigger or a changed index would act where nobody looks
2. the tiles of the head log are those of its entries
3. a signing key is the one that its row names, where the key-encryption key is at hand
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw

from licet.errors import IntegrityBroken, KeyUnavailable, NoteInvalid, SecretBroken
from licet.ledger.note import Signer, Verifier
from licet.ledger.record import leaf_hash
from licet.ledger.tiles import TileBuilder
from licet.ledger.vault import Vault
from licet.model import OPERATOR_LOG
from licet.store.migrations import on_sqlite
from licet.store.rows import UNREADABLE_ROW
from licet.store.sqlite_rows import fetch

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
    for name in sorted(shipped.keys() | stored.keys(), key=str):
        if shipped.get(name) != stored.get(name):
            how = "is missing" if name not in stored else "was added" if name not in shipped else "was changed"
            yield f"`{name}` of the schema {how}"


def tile_strays(con: apsw.Connection) -> Iterator[str]:
    """2: each tile that is kept is what the entries make, and none that they make is missing."""
    kept = {(level, number): hashes for level, number, hashes in _rows(con, "tiles", "SELECT level, number, hashes FROM head_tiles")}
    builder, start = TileBuilder(), 0
    while rows := _rows(con, "the head log", "SELECT number, entry FROM heads WHERE number >= ? ORDER BY number LIMIT ?", (start, _CHUNK)):
        if any(not isinstance(entry, bytes) for _, entry in rows):
            return  # told where entries are read
        for level, n, hashes in builder.extend([leaf_hash(entry) for _, entry in rows]):
            if kept.pop((level, n), None) != hashes:
                yield f"tile {n} of level {level} of the head log is not what its entries make"
        start = rows[-1][0] + 1
    for level, n in kept:
        yield f"tile {n} of level {level} of the head log is of entries that are not there"


def key_strays(con: apsw.Connection, vault: Vault | None) -> Iterator[str]:
    """3."""
    for number, vkey, key, wrapped in _rows(con, "signing keys", "SELECT number, vkey, key, wrapped FROM signing_keys") if vault else ():
        assert vault is not None
        try:
            seed = vault.unwrap(key, wrapped, OPERATOR_LOG, vkey)
            if Signer.from_seed(Verifier.parse(vkey).name, seed).vkey == vkey:
                continue
        except SecretBroken:
            pass
        except KeyUnavailable:
            continue  # under a key that is not at hand
        except (*UNREADABLE_ROW, NoteInvalid):
            pass
        yield f"signing key {number} is not the one that it is kept as"


def _rows(con: apsw.Connection, what: str, text: str, values: tuple[Any, ...] = ()) -> list[Any]:
    try:
        return fetch(con, text, values)
    except (apsw.Error, *UNREADABLE_ROW) as error:
        raise IntegrityBroken(f"{what} cannot be read ({error})") from error
