"""The databases on which the store's contract is tested; each gives stores on one database, as processes would open it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from licet.store import postgres_leases
from licet.store.contract import Store
from licet.store.postgres import PostgresStore
from licet.store.postgres_open import Address
from licet.store.sqlite import SqliteStore
from tests.store.postgres import Server
from tests.store.samples import KEYS, now


class Database(Protocol):
    """One database, opened as often as a test wants."""

    url: str

    def open(self) -> Store:
        """A store on it, with a boot of its own; closed after the test."""
        ...

    def read(self) -> Store:
        """A store that only reads it, without the key."""
        ...


class SqliteDatabase:
    def __init__(self, url: str) -> None:
        self.url = url
        self.opened: list[SqliteStore] = []

    def open(self) -> SqliteStore:
        store = SqliteStore.open(self.url, now=now, keys=KEYS)
        self.opened.append(store)
        return store

    def read(self) -> SqliteStore:
        return SqliteStore.open(self.url, now=now, keys=None, read_only=True)


class PostgresDatabase:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.make_database()
        self.opened: list[PostgresStore] = []

    def open(self) -> PostgresStore:
        store = PostgresStore.open(Address(self.url), now=now, keys=KEYS)
        self.opened.append(store)
        return store

    def read(self) -> PostgresStore:
        return PostgresStore.open(Address(self.url), now=now, keys=None, read_only=True)


@pytest.fixture
def postgres(postgres_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresDatabase]:
    monkeypatch.setattr(postgres_leases, "GRACE_S", 0.05)
    monkeypatch.setattr(postgres_leases, "SETTLE_S", 0.0)
    database = PostgresDatabase(postgres_server)
    yield database
    for store in database.opened:
        store.close()
    postgres_server.drop_database(database.url)


@pytest.fixture(params=["file", "memory", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
        return
    database = SqliteDatabase(f"sqlite:{tmp_path}/licet.db" if request.param == "file" else f"sqlite::memory:{tmp_path}")
    yield database
    for store in database.opened:
        store.close()


@pytest.fixture
def store(database: Database) -> Store:
    return database.open()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test that needs a file has its ledger."""
    return tmp_path / "licet.db"
