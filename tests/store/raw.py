"""What somebody does to a ledger's database who is not Licet: statements beside the store, on whichever database it has."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from licet.store.contract import Store
from licet.store.postgres import PostgresStore
from licet.store.postgres_leases import Lease
from licet.store.postgres_open import connect, end
from licet.store.postgres_reading import Connection
from licet.store.sqlite import SqliteStore


def execute(store: Store, text: str, *values: object) -> None:
    """One statement, written; `?` stands for a value."""
    if isinstance(store, SqliteStore):
        assert store._writer is not None
        store._writer.execute(text, values)
        return
    assert isinstance(store, PostgresStore)
    store._run(_execute(store, _numbered(text), values))


def rows(store: Store, text: str, *values: object) -> Sequence[Any]:
    """All rows of one statement."""
    assert isinstance(store, SqliteStore | PostgresStore)
    return store._rows(text, values) if isinstance(store, SqliteStore) else store._rows(_numbered(text), *values)


def drop_lease(store: Store) -> None:
    """Nobody holds the store's lease any more, as if its process had gone; it does not notice."""
    assert isinstance(store, SqliteStore | PostgresStore)
    assert store._lease is not None
    if isinstance(store, SqliteStore):
        store._lease.release()
    else:
        assert isinstance(store._lease, Lease)
        store._run(store._lease.release(closed=False))


def _numbered(text: str) -> str:
    first, *rest = text.split("?")
    return first + "".join(f"${number}{part}" for number, part in zip(itertools.count(1), rest, strict=False))


async def _execute(store: PostgresStore, text: str, values: Sequence[object]) -> None:
    con: Connection = await connect(store._address)
    try:
        await con.execute(text, *values)
    finally:
        await end(con)
