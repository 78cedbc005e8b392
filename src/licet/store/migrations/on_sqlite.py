"""Migrations of a ledger in SQLite: `PRAGMA user_version` is the number of the last one that it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from licet.errors import StoreOutdated
from licet.store.migrations.numbered import Migration, check_ahead, last_of, shipped


def applied(con: apsw.Connection) -> int:
    """The number of the last migration that the ledger has seen; 0 for an empty file."""
    number = con.pragma("user_version")
    assert isinstance(number, int)
    return number


def missing(con: apsw.Connection, what: str, migrations: Sequence[Migration] | None = None) -> tuple[Migration, ...]:
    """What the ledger has not seen yet of what this program ships. Raises `NotAStore` where it has seen what this program cannot use."""
    known = shipped("sqlite") if migrations is None else migrations
    number = applied(con)
    if number > last_of(known):
        check_ahead(known, number, _kinds(con), what)
    return tuple([migration for migration in known if migration.number > number])


def check_current(con: apsw.Connection, what: str) -> None:
    """The ledger can be written by this program. Raises `StoreOutdated` where a migration is missing, `NotAStore` as `missing` does."""
    if behind := missing(con, what):
        raise StoreOutdated(_outdated(what, behind))


def adapt(con: apsw.Connection, what: str) -> None:
    """An older ledger can be read through this connection, if it can be at all. Raises `StoreOutdated`, `NotAStore`."""
    behind = missing(con, what)
    if any(migration.reading is None for migration in behind):
        raise StoreOutdated(_outdated(what, behind))
    if behind:
        con.pragma("temp_store", 2)  # in memory: a reader writes no file
        for migration in behind:
            con.execute(str(migration.reading))


def apply(con: apsw.Connection, migration: Migration, at: int) -> None:
    """The ledger has seen the migration, at `at` (UTC microseconds). Within the caller's transaction."""
    con.execute(migration.text)
    if con.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").get is not None:
        con.execute("INSERT INTO migrations VALUES (?, ?, ?, ?)", (migration.number, migration.name, migration.kind, at))
    con.pragma("user_version", migration.number)


def upgrade(con: apsw.Connection, behind: Sequence[Migration], at: int) -> None:
    """The ledger has seen these, each in a transaction of its own: a crash leaves it at one of them, never between two."""
    for migration in behind:
        con.execute("BEGIN IMMEDIATE")
        try:
            apply(con, migration, at)
            con.execute("COMMIT")
        except BaseException:
            if con.in_transaction:
                con.execute("ROLLBACK")
            raise


def blank(number: int) -> apsw.Connection | None:
    """An empty database in memory as the migrations up to this number make it; None where this program does not know them all."""
    if number > last_of(shipped("sqlite")):
        return None
    con = apsw.Connection(":memory:")
    for migration in shipped("sqlite"):
        if migration.number <= number:
            apply(con, migration, 0)
    return con


def _kinds(con: apsw.Connection) -> dict[int, str]:
    if con.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").get is None:
        return {}
    rows: list[Any] = con.execute("SELECT number, kind FROM migrations").fetchall()
    return dict(rows)


def _outdated(what: str, behind: Sequence[Migration]) -> str:
    titles = ", ".join(f"`{migration.title}`" for migration in behind)
    return f"the ledger `{what}` is of an earlier version: it has not seen {titles}; `licet db upgrade` applies what is missing"
