"""What a ledger's database holds that does not fit what it is for, whatever database it is: sentences for `verify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from licet.errors import KeyUnavailable, NoteInvalid, SecretBroken
from licet.ledger.note import Signer, Verifier
from licet.ledger.record import leaf_hash
from licet.ledger.tiles import TileBuilder
from licet.ledger.vault import Vault
from licet.model import OPERATOR_LOG
from licet.store.rows import UNREADABLE_ROW


def compare_schema(shipped: Mapping[str, object], stored: Mapping[str, object]) -> Iterator[str]:
    """What differs between the schema that this program makes and the one that is there, both by the names of what is in it."""
    for name in sorted(shipped.keys() | stored.keys(), key=str):
        if shipped.get(name) != stored.get(name):
            how = "is missing" if name not in stored else "was added" if name not in shipped else "was changed"
            yield f"`{name}` of the schema {how}"


class TileStrays:
    """Holds the tiles that are kept, by level and number, against the entries of the head log, which it takes in order."""

    def __init__(self, kept: Iterable[Sequence[Any]]) -> None:
        self._kept = {(level, number): hashes for level, number, hashes in kept}
        self._builder = TileBuilder()

    def take(self, entries: Iterable[bytes]) -> Iterator[str]:
        """The next entries: each tile that they fill is kept as they make it."""
        for level, n, hashes in self._builder.extend([leaf_hash(entry) for entry in entries]):
            if self._kept.pop((level, n), None) != hashes:
                yield f"tile {n} of level {level} of the head log is not what its entries make"

    def end(self) -> Iterator[str]:
        """All entries were taken: no tile is left."""
        for level, n in self._kept:
            yield f"tile {n} of level {level} of the head log is of entries that are not there"


def compare_keys(vault: Vault, rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Signing keys that are not what their rows (number, vkey, key, wrapped) name, where the key-encryption key is at hand."""
    for number, vkey, key, wrapped in rows:
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
