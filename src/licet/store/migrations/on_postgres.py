"""Migrations of a ledger in PostgreSQL: the table `migrations` names those that it has seen.

Rules:

1. Who applies them holds an advisory lock of this database, from before it looks at what is missing: of two that begin at once, one finds
   nothing missing.
2. Each is one transaction, its row in the table included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from licet.errors import StoreOutdated
from licet.store.migrations.numbered import Migration, check_ahead, last_of, shipped
from licet.store.postgres_reading import Connection

LOCK = 0x4C696365_6D696772
"""`Licemigr`: the advisory lock of whoever changes the schema."""

_TABLE = """\
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('expand', 'contract')),
    applied_at BIGINT NOT NULL
)"""


async def applied(con: Connection) -> dict[int, str]:
    """The kind of each migration that the ledger has seen, by number; empty for a database without a ledger."""
    if await con.fetchval("SELECT to_regclass('migrations') IS NULL"):
        return {}
    return {row["number"]: row["kind"] for row in await con.fetch("SELECT number, kind FROM migrations ORDER BY number")}


async def missing(con: Connection, what: str, migrations: Sequence[Migration] | None = None) -> tuple[Migration, ...]:
    """What the ledger has not seen yet of what this program ships. Raises `NotAStore` where it has seen what this program cannot use."""
    known = shipped("postgres") if migrations is None else migrations
    seen = await applied(con)
    number = max(seen, default=0)
    if number > last_of(known):
        check_ahead(known, number, seen, what)
    return tuple([migration for migration in known if migration.number not in seen])


async def check_current(con: Connection, what: str) -> None:
    """The ledger can be used by this program. Raises `StoreOutdated` where a migration is missing, `NotAStore` as `missing` does."""
    if behind := await missing(con, what):
        titles = ", ".join(f"`{migration.title}`" for migration in behind)
        raise StoreOutdated(
            f"the ledger `{what}` is of an earlier version: it has not seen {titles}; `licet db upgrade` applies what is missing"
        )


async def upgrade(con: Connection, what: str, at: int, migrations: Sequence[Migration] | None = None) -> tuple[Migration, ...]:
    """The ledger has seen everything that this program ships; what was missing until now, at `at` (UTC microseconds).

    Also what makes a new ledger. `con` is in no transaction. A crash leaves the ledger at one of them, never between two.
    """
    async with _alone(con):
        behind = await missing(con, what, migrations)
        for migration in behind:
            async with con.transaction():
                await con.execute(_TABLE)
                await con.execute(migration.text)
                await con.execute(
                    "INSERT INTO migrations (number, name, kind, applied_at) VALUES ($1, $2, $3, $4)",
                    migration.number,
                    migration.name,
                    migration.kind,
                    at,
                )
        return behind


@asynccontextmanager
async def _alone(con: Connection) -> AsyncIterator[None]:
    """Rule 1. The lock goes with the connection, however that ends."""
    await con.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        yield
    finally:
        if not con.is_closed():
            await con.execute("SELECT pg_advisory_unlock($1)", LOCK)
