"""The one connection that writes, and what became of a transaction whose answer was lost.

Rules:

1. Each transaction of a boot has a number, one more than the last, and writes it into the boot's row before anything else. So the row says
   whether a transaction landed, whatever happened to the connection, and nobody else's row is touched.
2. An error before COMMIT was sent: nothing was written (`StoreUnavailable`). The server keeps nothing of a transaction whose connection
   ends.
3. No answer to COMMIT: the boot's row is read on a new connection, `FOR UPDATE`. That waits until the server has ended the transaction,
   one way or the other, so that what is read is the last word. An idle transaction is ended by the server (`postgres_open.py`, rule 2).
4. What cannot be told within `RECONCILE_S` is said to be ambiguous: whoever waits must not act on it either way.
5. A transaction that lost to others (deadlock, serialization) is done again, `ATTEMPTS` times in all: nothing of it was written. So is one
   that found, before COMMIT was sent, that its connection had ended while it was idle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from licet.errors import LeaseLost, StoreUnavailable
from licet.store.postgres_open import REACHING, end
from licet.store.postgres_reading import Connection

T = TypeVar("T")

ATTEMPTS = 4
RECONCILE_S = 15.0
"""Less than whoever waits for the writer waits in all, and longer than a failover or a restart of the server mostly takes."""
_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0

LEASE_LOST = "another process has declared this one dead and recovered its open calls; restart it"


class _EndedIdleError(Exception):
    """The connection had ended before the transaction was sent whole."""


class Transactions:
    """Runs transactions of one boot, one at a time, on the loop."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], name: object) -> None:
        self._connect = connect
        self._name = name
        self._con: Connection | None = None
        self._turn = asyncio.Lock()
        self._last = 0
        self.boot = 0
        """The boot's number; its row is there."""

    async def run(self, begin: str, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        """What `work` returns, which is then durable. It is given the transaction's number, and writes it (`mark`).

        `begin` begins the transaction. Raises `StoreUnavailable` (`ambiguous` as in rule 4), or whatever `work` raises; then nothing was
        written.
        """
        async with self._turn:
            for attempt in range(ATTEMPTS):
                try:
                    return await self._run(begin, work)
                except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, _EndedIdleError) as error:
                    if attempt + 1 < ATTEMPTS:
                        continue
                    if isinstance(error, _EndedIdleError):
                        raise StoreUnavailable(f"the ledger `{self._name}` is lost again and again") from error
                    raise
            raise AssertionError

    async def close(self) -> None:
        """The connection is closed."""
        con, self._con = self._con, None
        if con is not None:
            await end(con)

    async def _get(self) -> Connection:
        if self._con is None or self._con.is_closed():
            self._con = await self._connect()
        return self._con

    async def _run(self, begin: str, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        is_fresh = self._con is None or self._con.is_closed()
        con = await self._get()
        self._last += 1
        number = self._last
        try:
            await con.execute(begin)
            done = await work(con, number)
        except BaseException as error:
            is_ended = con.is_closed()
            await self._give_up(con, error)
            if is_ended and not is_fresh and isinstance(error, REACHING):
                raise _EndedIdleError from error
            raise
        try:
            answer = await con.execute("COMMIT")
        except asyncio.CancelledError:
            con.terminate()
            raise
        except REACHING as error:
            if await self._has_landed(con, number, error):
                return done
            raise StoreUnavailable(f"the ledger `{self._name}` lost the connection before the transaction was written") from error
        if answer != "COMMIT":
            raise StoreUnavailable(f"the ledger `{self._name}` did not commit: it answered `{answer}`")
        return done

    async def _give_up(self, con: Connection, error: BaseException) -> None:
        """The transaction is over; so is a connection that does not say so at once."""
        if con.is_closed():
            return
        if isinstance(error, Exception) and not isinstance(error, TimeoutError):
            try:
                await con.execute("ROLLBACK", timeout=1.0)
            except REACHING:
                con.terminate()
        else:
            con.terminate()

    async def _has_landed(self, con: Connection, number: int, error: BaseException) -> bool:
        """Rule 3."""
        if not con.is_closed():
            if isinstance(error, asyncpg.PostgresError) and not con.is_in_transaction():
                return False  # the server has answered: it took everything back
            con.terminate()
        until = time.monotonic() + RECONCILE_S
        pause = _PAUSE_S
        while True:
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(until - time.monotonic(), _PAUSE_S)):
                    self._con = await self._connect()
                    return bool(await self._con.fetchval("SELECT commits >= $2 FROM boots WHERE number = $1 FOR UPDATE", self.boot, number))
            except REACHING as again:
                if time.monotonic() + pause > until:
                    raise StoreUnavailable(
                        f"the ledger `{self._name}` was lost while it was written to ({again}); whether it was written will be seen later",
                        ambiguous=True,
                    ) from again
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)


async def mark(con: Connection, boot: int, number: int) -> None:
    """The transaction has its number (rule 1). Raises `LeaseLost` where the boot was declared dead."""
    if not await con.fetchval("UPDATE boots SET commits = $2 WHERE number = $1 AND state = 'running' RETURNING true", boot, number):
        raise LeaseLost(LEASE_LOST)
