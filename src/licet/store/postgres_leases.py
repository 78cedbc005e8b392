"""Who lives, told by advisory locks of sessions: a boot's lease is a lock that its own connection holds.

Rules:

1. The server drops the lock when the connection ends, however it ends; nothing has to be written by the dying. The row of a boot appears
   only once its lock is held.
2. Whose lease is gone is not yet dead: its connection may have been cut, and the process is about to take the lease again. It counts as
   dead if the lease is still gone after `GRACE_S`, and not before the server itself has run for `SETTLE_S`: when it was restarted, all
   leases were gone at once.
3. Boots are declared dead by whoever has the bar alone (store/postgres_locks.py): no group of theirs is under way then, and their next one
   finds itself refused (`LeaseLost`). So a mistake costs a restart, and never a fork.
4. A connection that says nothing is asked every `PING_S`, so that one that was lost on the way is found by both ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from licet.errors import LeaseLost, StoreError, StoreUnavailable
from licet.store.postgres_locks import LEASES
from licet.store.postgres_open import REACHING, end
from licet.store.postgres_reading import Connection
from licet.store.postgres_transact import LEASE_LOST

GRACE_S = 1.0
SETTLE_S = 5.0
PING_S = 5.0
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0

HELD = (
    "EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "  # noqa: S608  a number of this program
    f"AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = {LEASES} "
    "AND objid::BIGINT = boots.number)"
)
"""Whether the boot's lease is held; nobody takes it in order to look."""
_GONE = f"SELECT number FROM boots WHERE state = 'running' AND number <> $1 AND NOT {HELD}"  # noqa: S608  constants of this module
_CLOSED = "UPDATE boots SET state = 'closed' WHERE number = $1 AND state = 'running'"
_AGE_S = "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::FLOAT8"


class Lease:
    """The lease of one boot, on the store's loop; taken again as long as the boot was not declared dead."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], lost: Callable[[StoreError], None]) -> None:
        self._connect = connect
        self._lost = lost
        self._con: Connection | None = None
        self._ended = asyncio.Event()
        self._released = False
        self.number = 0

    async def take(self) -> int:
        """The number of a new boot, whose lease is held from before anybody can see it."""
        con = await self._open()
        self.number = await con.fetchval("SELECT nextval(pg_get_serial_sequence('boots', 'number'))")
        if not await self._lock(con):
            raise StoreUnavailable(f"the lease of boot {self.number} is held by somebody else")
        return self.number

    async def keep(self) -> None:
        """The lease is held until it is released, or somebody has declared the boot dead."""
        while True:
            try:
                async with asyncio.timeout(PING_S):
                    await self._ended.wait()
            except TimeoutError:
                if await self._answers():
                    continue
            if self._released:
                return
            if not await self._retake():
                self._lost(LeaseLost(LEASE_LOST))
                return

    async def release(self, *, closed: bool) -> None:
        """Nobody holds the lease. A boot that has `closed` in order says so first; if that fails, its lease says so in a moment."""
        con, self._con = self._con, None
        self._released = True
        if con is not None and not con.is_closed():
            with contextlib.suppress(*REACHING):
                if closed:
                    await con.execute(
                        "UPDATE boots SET state = 'closed' WHERE number = $1 AND state = 'running'", self.number, timeout=PING_S
                    )
            await end(con)

    async def _open(self) -> Connection:
        self._con = con = await self._connect()
        self._ended = ended = asyncio.Event()
        con.add_termination_listener(lambda _: ended.set())
        return con

    async def _lock(self, con: Connection) -> bool:
        return bool(await con.fetchval("SELECT pg_try_advisory_lock($1, $2)", LEASES, self.number))

    async def _answers(self) -> bool:
        if self._con is None:
            return False
        try:
            await self._con.fetchval("SELECT 1", timeout=PING_S)
        except REACHING:
            self._con.terminate()
            return False
        return True

    async def _retake(self) -> bool:
        """Whether the lease is held again; False where the boot was declared dead. Tries until it knows."""
        pause = _PAUSE_S
        while True:
            try:
                con = await self._open()
                if await self._lock(con):  # otherwise the server has not noticed yet that the connection before has ended
                    return bool(await con.fetchval("SELECT true FROM boots WHERE number = $1 AND state = 'running'", self.number))
                await end(con)
            except REACHING:
                if self._con is not None:
                    self._con.terminate()  # it may hold the lease by now, and then the next one could not take it
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


async def find_gone(con: Connection, own: int) -> set[int]:
    """The boots that run by their row, and whose lease nobody holds at this moment."""
    return {row[0] for row in await con.fetch(_GONE, own)}


async def wait_for_grace(con: Connection) -> None:
    """Whoever has only lost its connection has had the time to take its lease again (rule 2)."""
    await asyncio.sleep(max(GRACE_S, SETTLE_S - await con.fetchval(_AGE_S)))
