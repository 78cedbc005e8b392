"""The databases on which the store's contract is tested; each gives stores on one database, as processes would open it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, now


class Database(Protocol):
    """One database, opened as often as a test wants."""

    def open(self) -> SqliteStore:
        """A store on it, with a boot of its own; closed after the test."""
        ...


class SqliteDatabase:
    def __init__(self, url: str) -> None:
        self.url = url
        self.opened: list[SqliteStore] = []

    def open(self) -> SqliteStore:
        store = SqliteStore.open(self.url, now=now, keys=KEYS)
        self.opened.append(store)
        return store


@pytest.fixture(params=["file", "memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(f"sqlite:{tmp_path}/licet.db" if request.param == "file" else f"sqlite::memory:{tmp_path}")
    yield database
    for store in database.opened:
        store.close()


@pytest.fixture
def store(database: SqliteDatabase) -> SqliteStore:
    return database.open()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test that needs a file has its ledger."""
    return tmp_path / "licet.db"
