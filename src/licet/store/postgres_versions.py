"""How PostgreSQL tells that something has been committed; see store/versions.py for what is promised.

Rules:

1. After a commit its process says so (NOTIFY), and whoever listens counts. It says so outside of the transaction: the server lets
   transactions that notify commit one after the other, whatever they wrote. Commits in quick succession are told once.
2. A process that dies between the two has told nobody. So whoever is asked for the token looks every `POLL_S` whether the boots' rows have
   counted on.
3. A server that has not answered for `SILENT_S` is asked before anything is said; one that does not answer then is lost. So what is said
   was so at most that long ago, whatever became of the way to the server.
4. A connection that was lost may have missed something: that counts as a change, and nothing is said before there is a new one.
5. One's own commit whose end is not known may land later: until the next one, one's own row is looked at as well.
6. Asking for the token costs nothing as a rule: it is a number in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

from licet.errors import IntegrityBroken
from licet.model import RequestId, RequestState
from licet.store.postgres_open import REACHING, end
from licet.store.postgres_reading import Connection, Reading
from licet.store.versions import RequestStatus

CHANNEL = "licet"
POLL_S = 0.5
SILENT_S = 1.0
ANSWER_S = 2.0
"""For a question that is answered from memory. A server that takes longer is taken for lost, and asked on a new connection."""
_PAUSE_S = 0.1
_ASKED_S = 10.0
"""Nobody who waits asks less often."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_OTHERS = "SELECT coalesce(sum(commits), 0)::TEXT || ' ' || coalesce(max(number), 0)::TEXT FROM boots WHERE number <> $1"


class Watch:
    """Counts commits: one's own at once, those of others when one is told. `token` may be read from any thread, the rest is the loop's."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._con: Connection | None = None
        self._others: str | None = None
        self._to_tell = False
        self._counter = itertools.count(1)
        self._asked = 0.0
        self._count = 0
        self._closed = False
        self._hears = False
        self._heard_at = 0.0
        self.is_in_doubt = False
        self.boot = 0

    @property
    def listens(self) -> bool:
        """Whether the token is what was so a moment ago (rule 3)."""
        return self._hears and time.monotonic() - self._heard_at < SILENT_S

    @property
    def token(self) -> int:
        """The count as of now; means something only while it `listens`."""
        self._asked = time.monotonic()
        return self._count

    def count(self) -> None:
        """Something was committed, or may have been."""
        self._count = next(self._counter)

    def tell(self) -> None:
        """The others are told soon that this process has committed something."""
        self._to_tell = True
        self._wake.set()

    async def ensure(self) -> None:
        """It listens, from now on."""
        async with self._turn:
            con = await self._get()
            if not self.listens:
                await self._asking(con, self._look)

    async def serve(self) -> None:
        """Tell and be told, until cancelled."""
        while not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                async with self._turn:
                    await self._work()
            except REACHING:
                await asyncio.sleep(_PAUSE_S)
                self._wake.set()

    async def close(self) -> None:
        """Nobody listens; what was still to be told has been tried."""
        self._closed, self._hears = True, False
        async with self._turn:
            con, self._con = self._con, None
        if con is not None:
            with contextlib.suppress(*REACHING):
                if self._to_tell:
                    await self._notify(con)
            await end(con)

    async def _work(self) -> None:
        wanted = time.monotonic() - self._asked < _ASKED_S
        if self._closed or not (self._to_tell or wanted):
            return
        con = await self._get()
        if self._to_tell:
            self._to_tell = False
            try:
                await self._asking(con, self._notify)
            except BaseException:
                self._to_tell = True
                raise
        if wanted:
            await self._asking(con, self._look)

    async def _asking(self, con: Connection, ask: Callable[[Connection], Awaitable[None]]) -> None:
        """It has been asked; or the connection is cut, since nobody knows what would still come through it."""
        try:
            await ask(con)
        except BaseException:
            con.terminate()
            raise
        self._heard_at = time.monotonic()

    async def _notify(self, con: Connection) -> None:
        await con.execute("SELECT pg_notify($1, $2)", CHANNEL, str(self.boot), timeout=ANSWER_S)

    async def _look(self, con: Connection) -> None:
        others: str = await con.fetchval(_OTHERS, 0 if self.is_in_doubt else self.boot, timeout=ANSWER_S)
        if others != self._others:
            self._others = others
            self.count()

    async def _get(self) -> Connection:
        con = self._con
        if con is None or con.is_closed():
            con = await self._connect()
            self._con = con
            await self._asking(con, self._begin)
            self.count()
            self._hears = not con.is_closed()
        return con

    async def _begin(self, con: Connection) -> None:
        await con.add_listener(CHANNEL, self._hear)
        con.add_termination_listener(self._end)
        self._others = await con.fetchval(_OTHERS, 0 if self.is_in_doubt else self.boot, timeout=ANSWER_S)

    def _hear(self, _con: object, _pid: int, _channel: str, payload: object) -> None:
        if payload != str(self.boot):
            self.count()

    def _end(self, con: object) -> None:
        if con is self._con:
            self._hears = False
            self.count()


class VersionReads(Reading):
    """The reading half."""

    def states_of(self, requests: Iterable[RequestId]) -> dict[RequestId, RequestStatus]:
        """Where these requests stand, all as of one moment; those that are not there are left out."""
        rows = self._rows("SELECT id, state, expires_at FROM requests WHERE id = ANY($1::TEXT[])", list(requests))
        try:
            return {
                RequestId(request): RequestStatus(RequestState(state), _EPOCH + timedelta(microseconds=expires_at))
                for request, state, expires_at in rows
            }
        except (ValueError, OverflowError) as error:
            raise IntegrityBroken(f"the row of a request cannot be read ({error}); run `licet audit verify`") from error
