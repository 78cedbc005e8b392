"""What the gateway itself listens to at an upstream, for the clients that want to be told.

Rules:

1. At an upstream it is subscribed once for all who share a connection, for as long as any of them needs it.
2. Where a subscription was lost it is made anew, and whoever needed it is told that everything may have changed: what happened meanwhile,
   nobody has seen.
3. A stream of a modern upstream that must carry more is replaced: the old one ends once the new one is there.
4. An upstream that ends its streams again and again is asked less and less often.
5. The stream of a client does not wait for an upstream that does not say whether it tells: the client is promised what it asked for, and
   once the upstream is listened to, it is told that everything may have changed.
6. What was begun for one client is not left half done because that client has left: others share it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from licet.gate.steps import EndedAs
from licet.gateway.connection import Connection, Connections, NotSent, Refused, TooLong
from licet.gateway.link import CannotAsk, ClientFacts, Voyage
from licet.gateway.messages import METHOD_NOT_FOUND
from licet.model import JsonObject

LISTEN: Final = "subscriptions/listen"
LISTS: Final = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
URIS: Final = "resourceSubscriptions"
KEEP_S: Final = 30.0
"""How often it is looked whether a connection that subscriptions need is still the one that they were made on."""
FIRST_PAUSE_S: Final = 1.0
PROMISED_S: Final = 0.5
"""How long a client's stream waits for what its upstreams say, before it is promised what it asked for."""
ACKNOWLEDGED_S: Final = 10.0
TIMEOUT_S: Final = 15.0

_log = logging.getLogger("licet.gateway")


class Needs(Struct, frozen=True, kw_only=True):
    """What is to be listened to: resources, and lists. `held` says that a connection is to be kept for the lists alone."""

    uris: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    held: bool = False

    def __bool__(self) -> bool:
        return bool(self.uris or self.lists)


class Silent:
    """The link of a request that no client has made: of whoever would share its connection, and asked nothing."""

    def __init__(self, client: ClientFacts) -> None:
        self.client: Final = client

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Nobody is there to be told."""

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Nobody is there to be asked."""
        del requests
        raise CannotAsk("nobody is there to be asked: the gateway itself is listening")


def unasked(voyage: Voyage, *, shared: bool) -> Voyage:
    """The same for a request that its client has not made: over the same connection, with nobody to be told of it.

    On a connection that is `shared` nothing goes along that only this client's request said.
    """
    headers = {} if shared else voyage.headers
    return replace(voyage, link=Silent(voyage.link.client), meta={}, headers=headers, wants_progress=False, log_level=None, session=None)


class Listener:
    """Listens at one upstream for those who share the connection of this voyage.

    `needs` says what is needed now; `missed` is told of what was listened to when something may have been missed.
    """

    def __init__(
        self, upstream: str, voyage: Voyage, connections: Connections, needs: Callable[[], Needs], missed: Callable[[Needs], None]
    ) -> None:
        self.upstream: Final = upstream
        self._voyage = voyage
        self._connections = connections
        self._needs = needs
        self._missed = missed
        self._connection: Connection | None = None
        self._session: tuple[Connection, int] | None = None
        self._subscribed: set[str] = set()
        self._problems: dict[str, EndedAs] = {}
        self._wanted: JsonObject = {}
        self._stream: asyncio.Task[None] | None = None
        self._acknowledged: asyncio.Future[JsonObject] | None = None
        self._broken = False
        self._gap = False
        self._renewing: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._poked = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is listened to, or about to be."""
        idle = self._running is None or self._running.done()
        return self._connection is None and idle and not self._renewing and not self._lock.locked()

    def keep(self) -> None:
        """From now on what is needed is listened to, whatever happens, until nothing is."""
        self._poked.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())

    def find_problem(self, uri: str) -> EndedAs | None:
        """Why nobody will be told of this resource, as far as it was seen when `renew` had returned; None where all is well."""
        return self._problems.get(uri)

    def acknowledged(self, connection: Connection, params: JsonObject) -> None:
        """A modern upstream says what of it it takes."""
        if connection is self._connection and self._acknowledged is not None and not self._acknowledged.done():
            taken = params.get("notifications")
            self._acknowledged.set_result(taken if isinstance(taken, dict) else {})
            self._poked.set()  # it may be later than anybody waited for it

    async def begin(self) -> None:
        """As `renew`, but waited for no longer than `PROMISED_S` (rule 5). Raises `EndedAs`, as far as it is known by then."""
        work = self._renew_by_itself()
        await asyncio.wait({work}, timeout=PROMISED_S)
        if not work.done() or not self._is_heard():
            self._gap = True
        if work.done():
            _done(work, self.upstream)

    async def renew(self) -> None:
        """What is needed now is listened to, as far as the upstream lets it. Raises `EndedAs` where it cannot be asked."""
        work = self._renew_by_itself()
        await asyncio.wait({work})
        _done(work, self.upstream)

    def _renew_by_itself(self) -> asyncio.Task[None]:
        """Rule 6."""
        work = asyncio.create_task(self._renew())
        self._renewing.add(work)
        work.add_done_callback(self._renewed)
        return work

    def _renewed(self, work: asyncio.Task[None]) -> None:
        self._renewing.discard(work)
        if not work.cancelled():
            work.exception()  # looked at, also where nobody waits for it any more

    def _is_heard(self) -> bool:
        """Whether what is needed is listened to, as far as the upstream has said."""
        if self._connection is None or self._connection.era == "legacy" or not self._wanted:
            return self._connection is not None
        return self._acknowledged is not None and self._acknowledged.done()

    async def _renew(self, *, look: bool = False) -> None:
        """`look` sees whether what was subscribed to still is. Raises `EndedAs`."""
        async with self._lock:
            needs = self._needs()
            if not needs and self._connection is None:
                return
            connection = await self._connections.connect(self.upstream, self._voyage)
            if look:
                await self._look(connection)
            lost = self._broken or (self._connection is not None and self._session != (connection, connection.handshakes))
            if lost:
                self._gap = True
                self._forget()
            self._connection, self._session = connection, (connection, connection.handshakes)
            if connection.era == "modern":
                await self._listen(connection, needs)
            else:
                await self._subscribe(connection, needs.uris)
            if self._gap and (lost or self._is_heard()):
                self._gap = False
                self._missed(needs)

    async def close(self) -> None:
        """Nothing is listened to any more."""
        tasks = [task for task in (self._running, self._stream, *self._renewing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self) -> None:
        await self._follow()
        while not await self._release():
            await self._follow()

    async def _follow(self) -> None:
        """What is needed is listened to, for as long as anything is."""
        pause_s = FIRST_PAUSE_S
        while self._is_needed():
            self._poked.clear()
            try:
                await self._renew(look=True)
                wait_s = KEEP_S
            except EndedAs as error:
                _log.info("licet: `%s` cannot be listened to: %s", self.upstream, error)
                wait_s = pause_s
            try:
                async with asyncio.timeout(wait_s):
                    await self._poked.wait()
            except TimeoutError:
                pause_s = FIRST_PAUSE_S if wait_s == KEEP_S else min(2 * pause_s, KEEP_S)
            if self._broken:  # rule 4
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, KEEP_S)

    def _is_needed(self) -> bool:
        """A legacy upstream tells of its lists unasked: no connection is kept for that alone, unless somebody wants it to be."""
        needs = self._needs()
        return bool(needs.uris or needs.held or (needs and (self._connection is None or self._connection.era == "modern")))

    async def _release(self) -> bool:
        """Nobody needs anything any more: whether that was still so when it was its turn, and is when it is done."""
        async with self._lock:
            if self._is_needed():
                return False
            connection, self._connection, self._session = self._connection, None, None
            if connection is not None:
                await self._unsubscribe(connection, set(self._subscribed))
            self._gap = False
            self._forget()
        needs = self._needs()
        return not (needs.uris or needs.held)

    def _forget(self) -> None:
        """What was subscribed to is gone."""
        self._subscribed.clear()
        self._problems.clear()
        self._wanted, self._broken = {}, False
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    # upstreams of the legacy era

    async def _look(self, connection: Connection) -> None:
        """An upstream that has lost the session says so when it is asked something, and not before. Raises `EndedAs`."""
        if connection.era == "legacy" and self._subscribed and connection is self._connection:
            with suppress(Refused):
                await connection.request("ping", {}, self._voyage, timeout_s=TIMEOUT_S)

    async def _subscribe(self, connection: Connection, uris: frozenset[str]) -> None:
        self._problems = {uri: problem for uri, problem in self._problems.items() if uri in uris}
        for uri in sorted(uris - self._subscribed):
            try:
                if not tells_of_resources(connection):
                    raise _never(self.upstream)
                await connection.request("resources/subscribe", {"uri": uri}, self._voyage, timeout_s=TIMEOUT_S)
            except EndedAs as error:
                self._problems[uri] = error
            else:
                self._subscribed.add(uri)
                self._problems.pop(uri, None)
        await self._unsubscribe(connection, self._subscribed - uris)

    async def _unsubscribe(self, connection: Connection, uris: set[str]) -> None:
        for uri in sorted(uris):
            self._subscribed.discard(uri)
            try:
                await connection.request("resources/unsubscribe", {"uri": uri}, self._voyage, timeout_s=TIMEOUT_S)
            except EndedAs as error:
                _log.debug("licet: `%s` goes on telling of a resource that nobody watches: %s", self.upstream, error)

    # upstreams of the modern era

    async def _listen(self, connection: Connection, needs: Needs) -> None:
        """Rule 3."""
        wanted: JsonObject = dict.fromkeys(sorted(needs.lists), True)
        if needs.uris and tells_of_resources(connection):
            wanted[URIS] = sorted(needs.uris)
        self._problems = {} if URIS in wanted else dict.fromkeys(needs.uris, _never(self.upstream))
        before = self._stream
        if wanted == self._wanted and before is not None and not before.done():
            self._note_taken(needs.uris)
            return
        self._wanted, self._stream, self._acknowledged = wanted, None, None
        if wanted:
            self._acknowledged = asyncio.get_running_loop().create_future()
            self._stream = asyncio.create_task(self._hold(connection, wanted))
            ends: set[asyncio.Future[Any]] = {self._stream, self._acknowledged}
            await asyncio.wait(ends, timeout=ACKNOWLEDGED_S, return_when=asyncio.FIRST_COMPLETED)
            self._note_taken(needs.uris)
        if before is not None:
            before.cancel()

    def _note_taken(self, uris: frozenset[str]) -> None:
        """Which resources the upstream does not take, by its acknowledgment."""
        acknowledged = self._acknowledged
        if acknowledged is None or not acknowledged.done():
            late = TooLong(f"`{self.upstream}` has not acknowledged a subscription")
            self._problems |= {uri: self._problems.get(uri, late) for uri in uris}
            return
        taken = acknowledged.result().get(URIS)
        known = set(map(str, taken)) if isinstance(taken, list) else set()
        self._problems |= {uri: _never(self.upstream) for uri in uris - known}

    async def _hold(self, connection: Connection, wanted: JsonObject) -> None:
        """A stream, for as long as it lasts."""
        try:
            await connection.request(LISTEN, {"notifications": wanted}, self._voyage, timeout_s=math.inf)
        except EndedAs as error:
            self._problems = dict.fromkeys(wanted.get(URIS, ()), error)
            _log.info("licet: `%s` has ended a subscription: %s", self.upstream, error)
        if self._stream is asyncio.current_task():
            self._broken = True
            self._poked.set()


def tells_of_resources(connection: Connection) -> bool:
    """Whether the upstream says that it tells when a resource changes."""
    resources = connection.capabilities.get("resources")
    return isinstance(resources, dict) and resources.get("subscribe") is True


def _done(work: asyncio.Task[None], upstream: str) -> None:
    """What came of it. Raises `EndedAs`."""
    if work.cancelled():
        raise NotSent(f"`{upstream}` is not listened to any more")
    work.result()


def _never(upstream: str) -> Refused:
    return Refused({"code": METHOD_NOT_FOUND, "message": f"`{upstream}` does not tell when this resource changes"})
