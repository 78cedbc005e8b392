"""Migrations of a ledger in PostgreSQL: applied once, each in one transaction, whoever begins at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from licet.errors import NotAStore, StoreOutdated
from licet.store.migrations import on_postgres
from licet.store.migrations.numbered import Migration
from tests.store.postgres import Server

FIRST = Migration(1, "first", "expand", "CREATE TABLE one (a INTEGER)")
SECOND = Migration(2, "second", "expand", "CREATE TABLE two (a INTEGER); INSERT INTO two VALUES (1)")
LESS = Migration(3, "less", "contract", "DROP TABLE one")


Work = Callable[[Any, Any], Awaitable[None]]


@pytest.fixture
def run(postgres_server: Server) -> Iterator[Callable[[Work], None]]:
    """Work on a fresh database, with two connections."""
    url = postgres_server.make_database()

    async def main(work: Work) -> None:
        one, two = await asyncpg.connect(url), await asyncpg.connect(url)
        try:
            await work(one, two)
        finally:
            await one.close()
            await two.close()

    yield lambda work: asyncio.run(main(work))
    postgres_server.drop_database(url)


def test_an_empty_database_has_seen_none_and_is_made_by_all(run: Callable[[Work], None]) -> None:
    async def work(con: Any, _: Any) -> None:
        assert await on_postgres.applied(con) == {}
        assert await on_postgres.upgrade(con, "it", 7, [FIRST, SECOND]) == (FIRST, SECOND)
        assert await on_postgres.upgrade(con, "it", 8, [FIRST, SECOND]) == ()
        assert [tuple(row) for row in await con.fetch("SELECT * FROM migrations ORDER BY number")] == [
            (1, "first", "expand", 7),
            (2, "second", "expand", 7),
        ]

    run(work)


def test_two_that_begin_at_once_apply_each_once(run: Callable[[Work], None]) -> None:
    async def work(one: Any, two: Any) -> None:
        done = await asyncio.gather(*[on_postgres.upgrade(con, "it", 7, [FIRST, SECOND]) for con in (one, two)])
        assert sorted(map(len, done)) == [0, 2]
        assert await one.fetchval("SELECT count(*) FROM two") == 1

    run(work)


def test_one_that_fails_leaves_the_ledger_at_the_one_before(run: Callable[[Work], None]) -> None:
    async def work(con: Any, other: Any) -> None:
        broken = Migration(2, "broken", "expand", "CREATE TABLE two (a INTEGER); CREATE TABLE one (b INTEGER)")
        with pytest.raises(asyncpg.DuplicateTableError):
            await on_postgres.upgrade(con, "it", 7, [FIRST, broken])
        assert await on_postgres.applied(con) == {1: "expand"}
        assert await con.fetchval("SELECT to_regclass('two')") is None
        assert await on_postgres.upgrade(other, "it", 7, [FIRST, SECOND]) == (SECOND,), "the lock was given back"

    run(work)


def test_what_is_missing_or_ahead_is_told(run: Callable[[Work], None]) -> None:
    async def work(con: Any, _: Any) -> None:
        await on_postgres.upgrade(con, "it", 7, [FIRST, SECOND])
        assert await on_postgres.missing(con, "it", [FIRST]) == (), "one expansion ahead is used"
        assert await on_postgres.missing(con, "it", [FIRST, SECOND, LESS]) == (LESS,)
        await on_postgres.upgrade(con, "it", 7, [FIRST, SECOND, LESS])
        with pytest.raises(NotAStore, match="`it` is a ledger of schema version 3, which this program does not know"):
            await on_postgres.missing(con, "it", [FIRST, SECOND])

    run(work)


def test_a_ledger_that_is_behind_says_what_to_do(run: Callable[[Work], None]) -> None:
    async def work(con: Any, _: Any) -> None:
        with pytest.raises(StoreOutdated, match="`licet db upgrade` applies what is missing"):
            await on_postgres.check_current(con, "it")

    run(work)
