"""What is asked of, and done to, a PostgreSQL database beside a store: whether a ledger is there, of which version, on what kind of server.

Each opens a connection for itself and closes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from licet.errors import GateClosed, NotAStore
from licet.store.migrations import on_postgres
from licet.store.migrations.numbered import Migration
from licet.store.postgres_leases import HELD
from licet.store.postgres_loop import Loop
from licet.store.postgres_open import LONG_S, REACHING, Address, abort_all, connect, end, translate
from licet.store.postgres_reading import Connection

T = TypeVar("T")

EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm'))"
_DURABLE = ("fsync", "full_page_writes")
"""What the server alone can say, and a commit is lost with a power cut without it."""


def is_empty(address: Address) -> bool:
    """Whether nothing lies in this database, so that a ledger can be made there. Raises `StoreUnavailable`."""

    async def look(con: Connection) -> bool:
        return bool(await con.fetchval(EMPTY))

    return _once(address, look)


def not_durable(address: Address) -> tuple[str, ...]:
    """The settings of the server that are off, and without which a power cut takes commits that were acknowledged."""

    async def look(con: Connection) -> tuple[str, ...]:
        return tuple([name for name in _DURABLE if await con.fetchval("SELECT current_setting($1)", name) == "off"])

    return _once(address, look)


def missing_migrations(address: Address) -> tuple[Migration, ...]:
    """What the ledger has not seen yet, in order. Raises `NotAStore`, `StoreError`."""

    async def look(con: Connection) -> tuple[Migration, ...]:
        if not await on_postgres.applied(con):
            raise NotAStore(f"`{address}` is not a ledger")
        return await on_postgres.missing(con, str(address))

    return _once(address, look)


def upgrade(address: Address, at: int) -> tuple[Migration, ...]:
    """The ledger has seen every migration of this program; those that it had not, at `at` (UTC microseconds).

    Raises `GateClosed` where one of them is a `contract` and a process that may not know it has the ledger open; `NotAStore`, `StoreError`.
    """
    if any(migration.kind == "contract" for migration in missing_migrations(address)):
        check_alone(address)

    async def work(con: Connection) -> tuple[Migration, ...]:
        return await on_postgres.upgrade(con, str(address), at)

    return _once(address, work)


def check_alone(address: Address) -> None:
    """Raise `GateClosed` where a process has the ledger open for writing."""

    async def look(con: Connection) -> Sequence[str]:
        return [row[0] for row in await con.fetch(f"SELECT id FROM boots WHERE state = 'running' AND {HELD} ORDER BY number")]  # noqa: S608  constants

    if living := _once(address, look):
        raise GateClosed(f"another process has the ledger `{address}` open (boot `{living[0]}`); stop it first")


def _once(address: Address, work: Callable[[Connection], Awaitable[T]]) -> T:
    async def connected() -> T:
        con = await connect(address, name="licet-beside", long=True)
        try:
            return await work(con)
        finally:
            await end(con)

    loop = Loop(str(address), abort_all)
    try:
        return loop.run(connected(), LONG_S)
    except REACHING as error:
        raise translate(error, address) from error
    finally:
        loop.close()
