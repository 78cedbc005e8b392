"""A few connections for reading, on the store's loop. Whoever asks for one more than there are waits for the next that is free.

An idle connection may have ended without anybody having noticed (the server was restarted, a proxy cut it). What is read changes nothing,
so a read that finds its connection lost is done once more, on a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from licet.store.postgres_open import REACHING, end
from licet.store.postgres_reading import Connection

T = TypeVar("T")

READERS = 4
"""Reads take a round trip; more connections would only take more of the server's."""

_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class Readers:
    """Connections that read; all methods are called on the loop."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._free = asyncio.Semaphore(READERS)
        self._idle: list[Connection] = []

    async def use(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        """What `read` returns; it may be run twice."""
        async with self._free:
            con = self._take_idle()
            if con is not None:
                try:
                    return await self._with(con, read)
                except REACHING:
                    if not con.is_closed():
                        raise
                    await self._close_idle()  # what has happened to one has happened to the others
            return await self._with(await self._connect(), read)

    async def moment(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        """As `use`, in one transaction that sees the ledger as it is when it begins."""

        async def within(con: Connection) -> T:
            await con.execute(_MOMENT)
            found = await read(con)
            await con.execute("ROLLBACK")  # of nothing
            return found

        return await self.use(within)

    async def close(self) -> None:
        """No connection is idle."""
        await self._close_idle()

    async def _with(self, con: Connection, read: Callable[[Connection], Awaitable[T]]) -> T:
        whole = False
        try:
            found = await read(con)
            whole = True
        finally:
            if con.is_closed():
                pass
            elif whole and not con.is_in_transaction():
                self._idle.append(con)
            else:
                con.terminate()  # given up in the middle, by an error or by whoever waited
        return found

    def _take_idle(self) -> Connection | None:
        while self._idle:
            con = self._idle.pop()
            if not con.is_closed():
                return con
        return None

    async def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for con in idle:
            await end(con)
