"""Streamable HTTP to an upstream, of both eras (2026-07-28, basic/transports/streamable-http; 2025-11-25, basic/transports).

Modern: each request is a POST that says all of itself; what is told meanwhile comes on its answer's stream, and closing that cancels it.
Legacy: the same within a session (`Mcp-Session-Id`), a stream besides for what belongs to no request (GET), streams that can be taken up
again (`Last-Event-ID`), and a DELETE in the end.

Rules:

1. A session's id is sent to the upstream that gave it, and shown to nobody.
2. A request is sent once. It is sent again, once, where it is certain that nobody acted on it (`statuses.py`); what is asked for again
   otherwise is the rest of an answer.
3. A session that the upstream does not know any more is `SessionLost`: nothing of the request was done. Only a request that named one can
   lose it.
4. Streams that end without an answer are taken up again at most `RESUMED` times in a row that give nothing, and after the time that the
   upstream asks for, within bounds.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import ClientResponse

from licet.gate.steps import EndedAs
from licet.gateway.connection import Garbage, NotSeen, NotSent
from licet.gateway.eras import LEGACY_VERSIONS, MODERN_VERSIONS, Era
from licet.gateway.messages import encode
from licet.gateway.upstreams.http_client import HttpUpstream
from licet.gateway.upstreams.http_reading import EVENTS, JSON, Reading
from licet.gateway.upstreams.request_headers import SESSION, VERSION, Mirrors, modern_headers, modern_version, passed_on
from licet.gateway.upstreams.sse import SseParser
from licet.gateway.upstreams.statuses import Refusal
from licet.gateway.upstreams.transport import Exchange, Receiver, SessionLost, TransportMaker
from licet.model import JsonObject

RESUMED: Final = 5
RETRY_S: Final = (0.05, 60.0)
"""The shortest and the longest time before a stream is taken up again, whatever the upstream asks for."""
RETRY_DEFAULT_S: Final = 1.0
GOODBYE_S: Final = 2.0
"""How long the end of a session may take to be told."""
_LAST_EVENT: Final = "Last-Event-ID"
_SESSION_ID: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_BOTH: Final = {"Content-Type": JSON, "Accept": f"{JSON}, {EVENTS}"}
_log = logging.getLogger("licet.gateway")


def http_way(upstream: HttpUpstream, tenant: str | None) -> TransportMaker:
    """The way to this upstream for callers of a tenant (None: for everybody)."""
    return lambda receiver: HttpTransport(receiver, upstream, tenant)


class HttpTransport:
    """One session over HTTP; of the modern era, where there are none, what its requests have in common."""

    streams = True
    last_words: tuple[str, ...] = ()

    def __init__(self, receiver: Receiver, upstream: HttpUpstream, tenant: str | None) -> None:
        self._receiver = receiver
        self._upstream = upstream
        self._tenant = tenant
        self._reading = Reading(upstream)
        self._mirrors = Mirrors()
        self._session: str | None = None
        self._version: str | None = None
        self._listening: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Timeout] = set()
        self._entered = False
        self._closed = False

    async def start(self) -> None:
        """The way is open; a connection is made with the first request. Raises `NotSent`."""
        self._upstream.enter()
        self._entered = True

    async def send(self, message: JsonObject, *, request: Exchange | None, headers: Mapping[str, str]) -> None:
        """As `Transport.send`."""
        if self._closed or not self._entered:
            raise self._over(None)
        if "method" not in message and self._version in MODERN_VERSIONS:
            return  # nothing is asked of the client in this way in the modern era, and no answer may be sent
        scope = asyncio.timeout(None)  # until `close`
        self._sending.add(scope)
        try:
            async with scope:
                await self._send(message, request, headers)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise self._over(request) from error
        finally:
            self._sending.discard(scope)

    def agreed(self, era: Era, version: str) -> None:
        """A legacy session listens from now on, on a stream that is nobody's."""
        self._version = version
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        if era == "legacy" and not self._closed:
            self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """As `Transport.close`; the upstream is told that its session is over."""
        if self._closed:
            return
        self._closed = True
        self._receiver.ended(NotSeen(f"the session with `{self._upstream.name}` was ended before it answered"))
        for scope in self._sending:
            scope.reschedule(0)
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        self._reading.close()
        if self._entered:
            try:
                await self._say_goodbye()
            finally:
                await self._upstream.leave()

    # requests

    def _over(self, request: Exchange | None) -> EndedAs:
        if request is not None and request.sent:
            return NotSeen(f"the session with `{self._upstream.name}` was ended before it answered")
        return NotSent(f"the session with `{self._upstream.name}` has ended")

    async def _send(self, message: JsonObject, request: Exchange | None, headers: Mapping[str, str]) -> None:
        session = None if message.get("method") == "initialize" else self._session
        response = await self._post(message, request, headers, session)
        if request is None:
            response.release()
            self._check_taken(response, message, session)
        else:
            await self._take_answer(response, request, session)

    async def _post(self, message: JsonObject, request: Exchange | None, headers: Mapping[str, str], session: str | None) -> ClientResponse:
        said = passed_on(headers, self._upstream.forwarded) if headers else {}
        said |= _BOTH | self._era_headers(message, session)
        return await self._upstream.request("POST", said, tenant=self._tenant, body=encode(message), exchange=request)

    def _era_headers(self, message: JsonObject, session: str | None) -> dict[str, str]:
        params = message.get("params", {})
        method = message.get("method")
        version = modern_version(params)
        if version is not None and isinstance(method, str):
            return modern_headers(version, method, params, self._mirrors)
        found = {} if session is None else {SESSION: session}
        if self._version is not None and method != "initialize":
            found[VERSION] = self._version
        return found

    def _lost(self, session: str) -> SessionLost:
        if self._session == session:  # another request may have opened the next one by now
            self._session = None
        return SessionLost(f"`{self._upstream.name}` does not know the session any more")

    def _check_taken(self, response: ClientResponse, message: JsonObject, session: str | None) -> None:
        if session is not None and response.status == HTTPStatus.NOT_FOUND:
            raise self._lost(session)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            _log.debug("upstream `%s` takes no `%s` (HTTP status %d)", self._upstream.name, message.get("method"), response.status)
            raise NotSent(f"`{self._upstream.name}` did not take a message (HTTP status {response.status})")

    # answers

    async def _take_answer(self, response: ClientResponse, request: Exchange, session: str | None) -> None:
        try:
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                self._refused(await self._reading.refusal(response), request, session)
            elif response.content_type == EVENTS:
                self._note_session(response, request)
                await self._take_stream(response, request)
            elif response.content_type == JSON:
                self._note_session(response, request)
                self._take(await self._reading.message(response), request)
            else:
                raise Garbage(
                    "upstream_not_understood", f"`{self._upstream.name}` answered with neither JSON nor events (HTTP {response.status})"
                )
        except (aiohttp.ClientError, OSError) as error:
            raise self._upstream.broken(error, request) from error
        finally:
            self._finish(response, request)

    def _finish(self, response: ClientResponse, request: Exchange) -> None:
        """Either its connection can be used again, or it is closed: which is how a modern upstream learns that nobody waits any more."""
        if request.answered and not request.answer.cancelled():
            self._reading.let_go(response)
        else:
            response.close()

    def _refused(self, refusal: Refusal, request: Exchange, session: str | None) -> None:
        if session is not None and refusal.forgets_session and not refusal.answers(request.id):
            raise self._lost(session)
        self._receiver.receive(refusal.answer(request.id, request.method), request.id)

    def _note_session(self, response: ClientResponse, request: Exchange) -> None:
        """Which session `initialize` has opened (rule 1)."""
        if request.method == "initialize":
            session = response.headers.get(SESSION)
            if session is not None and not _SESSION_ID.fullmatch(session):
                raise Garbage("upstream_not_understood", f"`{self._upstream.name}` names its session in a way that cannot be repeated")
            self._session = session

    def _take(self, message: JsonObject, request: Exchange) -> None:
        if message.get("id") == request.id and "method" not in message:
            self._note_result(message.get("result"), request)
        self._receiver.receive(message, request.id)

    def _note_result(self, result: object, request: Exchange) -> None:
        """What later requests depend on: the version that a handshake agreed on, and what calls must mirror."""
        if request.method == "initialize" and isinstance(result, dict):
            self._version = next((one for one in LEGACY_VERSIONS if one == result.get("protocolVersion")), None)
        elif request.method == "tools/list":
            self._mirrors.learn(result)

    async def _take_stream(self, response: ClientResponse, request: Exchange) -> None:
        """What comes on the stream of a request, taken up again where it ends early and can be (rule 4)."""
        parser = self._reading.parser()
        await self._take_events(response, parser, request)
        fruitless = 0
        while not request.answered and parser.last_id is not None and modern_version(request.params) is None and fruitless < RESUMED:
            before = parser.last_id
            response.close()
            await asyncio.sleep(_pause_s(parser))
            again = self._reading.resumed(parser)
            try:
                response = await self._get(again.last_id)
            except EndedAs:
                fruitless += 1
                continue
            try:
                if response.status != HTTPStatus.OK or response.content_type != EVENTS:
                    return
                await self._take_events(response, again, request)
            finally:
                self._finish(response, request)
            parser = again
            fruitless = fruitless + 1 if parser.last_id == before else 0

    async def _take_events(self, response: ClientResponse, parser: SseParser, request: Exchange) -> None:
        async for message in self._reading.events(response, parser, request):
            self._take(message, request)

    # what belongs to no request (legacy)

    async def _get(self, last_id: str | None = None) -> ClientResponse:
        headers = {"Accept": EVENTS} | self._era_headers({}, self._session)
        if last_id is not None:
            headers[_LAST_EVENT] = last_id
        return await self._upstream.request("GET", headers, tenant=self._tenant)

    async def _listen(self) -> None:
        """Until the session ends, or the upstream does not care to tell."""
        parser = self._reading.parser()
        pause_s = RETRY_DEFAULT_S
        while True:
            with suppress(EndedAs):
                if not await self._listen_once(parser):
                    return
                pause_s = _pause_s(parser)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_S[1])
            parser = self._reading.resumed(parser)

    async def _listen_once(self, parser: SseParser) -> bool:
        """One connection of the stream; whether there may be another."""
        response = await self._get(parser.last_id)
        try:
            if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise NotSeen(f"`{self._upstream.name}` answered with HTTP status {response.status}")
            if response.status != HTTPStatus.OK or response.content_type != EVENTS:
                return False
            async for message in self._reading.events(response, parser, None):
                self._receiver.receive(message, None)
        finally:
            response.close()
        return True

    async def _say_goodbye(self) -> None:
        if self._session is None:
            return
        headers = self._era_headers({}, self._session)
        with suppress(EndedAs, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                (await self._upstream.request("DELETE", headers, tenant=self._tenant)).close()


def _pause_s(parser: SseParser) -> float:
    """How long to wait before the stream is taken up again."""
    asked_s = RETRY_DEFAULT_S if parser.retry_ms is None else parser.retry_ms / 1_000
    return min(max(asked_s, RETRY_S[0]), RETRY_S[1])
