"""All sessions with all upstreams: who shares one, when one is made, and when it ends.

Rules:

1. By default one caller (tenant, agent, service, user) has a session, or a process, to itself; `share` lets those of a tenant, or all,
   have one together, and never callers for whom the gateway shows different credentials.
2. A session is of the era of its clients where the upstream speaks it. In the legacy era it is also of one set of capabilities: an
   upstream is told once what its client can be asked. Roots are of one client alone: where callers share a session, it has none.
3. One session is being made at a time for whoever would share it; the others wait for that one. Who gives up waiting ends nothing that
   others wait for.
4. No more sessions than `at_once` for an upstream, and of those `EACH` at most, or half, for callers who share: one that nobody uses
   makes room, their own first, and where there is none a call is not executed. What a client declares of itself makes no more room, and
   ends no backoff.
5. A session that has failed is not used again. The next call makes another, not too soon after a failure (`backoff`). An upstream that
   refuses what one caller's client declares makes that caller wait, nobody with whom it shares the upstream.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from licet.config.upstreams import UpstreamSettings
from licet.gateway.connection import Connection, NotSent
from licet.gateway.eras import Era
from licet.gateway.link import ClientFacts, Voyage
from licet.gateway.upstreams.backoff import Backoff
from licet.gateway.upstreams.handshake import OWN_INFO, Declared, NoHandshake, RefusedHandshake, carried_capabilities, is_sound_info
from licet.gateway.upstreams.session import Told, UpstreamSession
from licet.gateway.upstreams.ways import Ways
from licet.model import JsonObject
from licet.names import visible

_SWEEP_S: Final = 30.0
_log = logging.getLogger("licet.gateway")
_encode: Final = msgspec.json.Encoder(order="sorted").encode


Whose = tuple[str, str | None, tuple[str | None, str | None, str | None] | None]
"""An upstream, and callers who may share a session of it."""
EACH: Final = 8
"""Sessions of the same callers: a person has a few clients, each of an era and with capabilities of its own."""


LAST_WORDS_S: Final = 0.5
"""How long the stderr of a process that could not be greeted is read: it has ended most of the time, and somebody waits to know why."""


class Key(Struct, frozen=True):
    """Who shares a session."""

    upstream: str
    tenant: str | None
    caller: tuple[str | None, str | None, str | None] | None
    era: Era
    """That of the session; while nothing is known of the upstream, that of its client."""
    capabilities: bytes
    """SHA-256: a client may declare as much as it likes."""

    @property
    def whose(self) -> Whose:
        """The same, whatever its clients declare."""
        return (self.upstream, self.tenant, self.caller)


class Pool:
    """The connections of one gateway. `folder` is that of its licet.toml."""

    def __init__(self, settings: Mapping[str, UpstreamSettings], *, folder: Path) -> None:
        self._settings = settings
        self._ways = {name: Ways(name, one, folder=folder) for name, one in settings.items()}
        self._sessions: dict[Key, UpstreamSession] = {}
        self._making: dict[Key, asyncio.Task[UpstreamSession]] = {}
        self._placed: set[Key] = set()
        """Those among them that count for `at_once` already."""
        self._ending: set[asyncio.Task[None]] = set()
        self._backoffs: dict[Whose, Backoff] = {}
        self._born: dict[Key, float] = {}
        self._eras: dict[tuple[str, Era], Era] = {}
        """What an upstream has spoken with clients of each era."""
        self._listeners: list[Told] = []
        self._sweeping: asyncio.Task[None] | None = None
        self._leaving: list[UpstreamSession] = []
        """Sessions that nobody else is given, until those that have them need them no more."""
        self._closed = False

    async def connect(self, upstream: str, voyage: Voyage) -> Connection:
        """As `Connections.connect`."""
        key = self._key(upstream, voyage)
        session = self._sessions.get(key)
        if session is not None and not session.is_over:
            return session
        if self._closed:
            raise NotSent("the gateway is ending")
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.create_task(self._make(key, voyage))
            making.add_done_callback(lambda task: self._made(key, task))
        return await asyncio.shield(making)

    def listen(self, told: Told) -> None:
        """As `Connections.listen`."""
        self._listeners.append(told)

    async def close(self) -> None:
        """As `Connections.close`."""
        self._closed = True
        making = list(self._making.values())
        for task in (*making, *([self._sweeping] if self._sweeping else ())):
            task.cancel()
        if making:
            await asyncio.wait(making)
        for key in list(self._sessions):
            self._end(key)
        for session in self._leaving:
            self._ending_of(session)
        while self._ending:
            await asyncio.wait(self._ending)
        for ways in self._ways.values():
            await ways.close()

    # who shares (rules 1 and 2)

    def _key(self, upstream: str, voyage: Voyage) -> Key:
        settings = self._settings[upstream]
        tenant = voyage.tenant if settings.share != "all" else self._ways[upstream].whose(voyage.tenant)
        caller = (voyage.agent, voyage.service, voyage.user) if settings.share == "caller" else None
        client = voyage.link.client
        known = self._eras.get((upstream, client.era))
        declared = b""
        if known != "modern":
            declared = hashlib.sha256(_encode(carried_capabilities(_declared(settings, client).capabilities, "legacy"))).digest()
        return Key(upstream, tenant, caller, known or client.era, declared)

    # how one is made (rules 3 to 5)

    async def _make(self, key: Key, voyage: Voyage) -> UpstreamSession:
        settings = self._settings[key.upstream]
        own: Whose = (key.upstream, voyage.tenant, (voyage.agent, voyage.service, voyage.user))
        self._retire(key)
        for whose in dict.fromkeys((key.whose, own)):
            await self._wait_turn(self._backoff(whose), settings, key.upstream)
        await self._make_room(key, settings)
        try:
            session = await self._open(key, voyage, _declared(settings, voyage.link.client))
        except NotSent as error:
            _log.warning("licet: %s", visible(str(error)))  # clients from outside are told no more than that it is here
            self._backoff(own if isinstance(error, RefusedHandshake) else key.whose).failed()
            self._forget(key.upstream)  # it may be another now
            raise
        self._eras[key.upstream, voyage.link.client.era] = session.era
        other = self._sessions.get(_final(key, session))
        if other is None or other.is_over:
            return session
        self._ending_of(session)  # a client of the other era has brought one that serves this one too
        return other

    async def _open(self, key: Key, voyage: Voyage, declared: Declared) -> UpstreamSession:
        """A session whose handshake is done: of the era that is known, else of that of the client, else of whichever it speaks."""
        first = voyage.link.client.era
        known = self._eras.get((key.upstream, first))
        try:
            return await self._open_as(key, voyage.tenant, declared, known, first)
        except NoHandshake as refused:
            if known is not None or self._settings[key.upstream].protocol != "auto":
                raise
            # Some servers end at once when they are spoken to in the way of the other era.
            other: Era = "modern" if first == "legacy" else "legacy"
            try:
                return await self._open_as(key, voyage.tenant, declared, other, first)
            except NoHandshake:
                raise refused from None

    async def _open_as(self, key: Key, tenant: str, declared: Declared, known: Era | None, first: Era) -> UpstreamSession:
        settings = self._settings[key.upstream]
        way = self._ways[key.upstream].way_for(tenant)
        session = UpstreamSession(key.upstream, way, declared=declared, told=self._tell)
        try:
            await session.open(protocol=settings.protocol, known=known, timeout_s=settings.connect_timeout_s, first=first)
        except NotSent as error:
            await asyncio.wait({self._ending_of(session)}, timeout=LAST_WORDS_S)
            error.last_words = session.last_words
            raise
        except BaseException:
            self._ending_of(session)
            raise
        return session

    def _made(self, key: Key, task: asyncio.Task[UpstreamSession]) -> None:
        self._making.pop(key, None)
        self._placed.discard(key)
        if task.cancelled() or task.exception() is not None:
            return
        session = task.result()
        if self._closed:
            self._ending_of(session)
            return
        final = _final(key, session)
        other = self._sessions.get(final)
        if other is session:
            return
        if other is not None:  # over, or made at the same moment: the calls that it has are not worth less
            self._ending_of(other) if other.is_over else self._leaving.append(other)
        self._sessions[final] = session
        self._born[final] = asyncio.get_running_loop().time()

    def _retire(self, key: Key) -> None:
        """A session that has failed makes place for another."""
        session = self._sessions.get(key)
        if session is not None:
            lasted_s = asyncio.get_running_loop().time() - self._born[key]
            self._backoff(key.whose).failed(lasted_s=lasted_s)
            if session.is_of_other_era:
                self._forget(key.upstream)
            self._end(key)

    def _forget(self, upstream: str) -> None:
        """Which eras it speaks."""
        for known in [one for one in self._eras if one[0] == upstream]:
            del self._eras[known]

    def _backoff(self, whose: Whose) -> Backoff:
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
        return self._backoffs.setdefault(whose, Backoff(asyncio.get_running_loop().time))

    async def _wait_turn(self, backoff: Backoff, settings: UpstreamSettings, upstream: str) -> None:
        if (left_s := backoff.left_s) > settings.connect_timeout_s:
            raise NotSent(f"`{upstream}` has failed again and again; it is tried again in {left_s:.0f} s")
        if left_s:
            await asyncio.sleep(left_s)

    async def _make_room(self, key: Key, settings: UpstreamSettings) -> None:
        """Rule 4."""
        most = settings.at_once if settings.share == "all" else max(1, min(EACH, settings.at_once // 2))
        while True:
            all_of_it = [one for one in self._sessions if one.upstream == key.upstream]
            placed = [one for one in self._placed if one.upstream == key.upstream]
            own = [one for one in all_of_it if one.whose == key.whose]
            is_full = len(own) + sum(one.whose == key.whose for one in placed) >= most
            if not is_full and len(all_of_it) + len(placed) < settings.at_once:
                self._placed.add(key)
                return
            idle = self._idle(own) or ([] if is_full else self._idle(all_of_it))
            if not idle:
                taken = f"{most} sessions in use for this caller" if is_full else f"{settings.at_once} sessions in use, which is `at_once`"
                raise NotSent(f"`{key.upstream}` has {taken}: try again later")
            await asyncio.shield(self._end(min(idle, key=lambda one: self._sessions[one].last_used)))

    def _idle(self, keys: Iterable[Key]) -> list[Key]:
        return [one for one in keys if self._sessions[one].is_idle or self._sessions[one].is_over]

    # how one ends

    def _end(self, key: Key) -> asyncio.Task[None]:
        self._born.pop(key, None)
        return self._ending_of(self._sessions.pop(key))

    def _ending_of(self, session: UpstreamSession) -> asyncio.Task[None]:
        task = asyncio.create_task(session.close())
        self._ending.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a session with an upstream could not be ended", exc_info=error)

    async def _sweep(self) -> None:
        """Sessions that have failed, or that nobody has used for long, end."""
        shortest_s = min((one.idle_s for one in self._settings.values()), default=_SWEEP_S)
        while True:
            await asyncio.sleep(min(_SWEEP_S, shortest_s / 2))
            now = asyncio.get_running_loop().time()
            for key in list(_due(self._sessions, self._settings, now)):
                self._end(key) if not self._sessions[key].is_over else self._retire(key)
            for session in [one for one in self._leaving if one.is_idle or one.is_over]:
                self._leaving.remove(session)
                self._ending_of(session)
            for whose in [one for one, backoff in self._backoffs.items() if backoff.is_over]:
                del self._backoffs[whose]

    def _tell(self, session: Connection, method: str, params: JsonObject) -> None:
        for told in self._listeners:
            told(session, method, params)


def _final(key: Key, session: UpstreamSession) -> Key:
    """Under what a session is kept, now that its era is known."""
    return msgspec.structs.replace(key, era=session.era, capabilities=b"" if session.era == "modern" else key.capabilities)


def _declared(settings: UpstreamSettings, client: ClientFacts) -> Declared:
    """What an upstream is told of a client: its own words where its session is its own, else what holds for all (rule 2)."""
    if settings.share == "caller":
        return Declared(capabilities=client.capabilities, info=client.info if is_sound_info(client.info) else OWN_INFO)
    return Declared(capabilities={name: value for name, value in client.capabilities.items() if name != "roots"}, info=OWN_INFO)


def _due(sessions: Mapping[Key, UpstreamSession], settings: Mapping[str, UpstreamSettings], now: float) -> Iterable[Key]:
    for key, session in sessions.items():
        if session.is_over or (session.is_idle and now - session.last_used > settings[key.upstream].idle_s):
            yield key
