"""What an upstream answers over HTTP, read within bounds: one message of JSON, or a stream of events.

Rules:

1. No more than `result_bytes` of a message is kept, whatever a header says about its length; what is beyond is not read at all.
2. Of a status that says no, the error of JSON-RPC in it is read, or a short page. What it means stands in `statuses.py`.
3. A stream is read until its request is answered. What comes behind is let go: within `LEFT_S` and a small buffer, so that the connection
   can be used again; else it is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from aiohttp import ClientResponse
from msgspec.structs import replace

from licet.gateway.connection import Garbage
from licet.gateway.messages import read_upstream_message
from licet.gateway.upstreams.http_client import HttpUpstream
from licet.gateway.upstreams.sse import MESSAGE, Event, EventTooLarge, SseParser
from licet.gateway.upstreams.statuses import SENTENCE_BYTES, Refusal
from licet.gateway.upstreams.transport import Exchange
from licet.model import JsonObject

LEFT_S: Final = 1.0
"""How long the end of a stream that has given its answer is awaited."""
JSON: Final = "application/json"
TEXT: Final = "text/plain"
EVENTS: Final = "text/event-stream"


class Reading:
    """Reads the answers of one upstream."""

    def __init__(self, upstream: HttpUpstream) -> None:
        self._upstream = upstream
        self._limit = upstream.settings.result_bytes
        self._left: dict[ClientResponse, asyncio.TimerHandle] = {}

    def parser(self) -> SseParser:
        """For one stream, however many connections it takes."""
        return SseParser(limit_bytes=self._limit)

    def resumed(self, parser: SseParser) -> SseParser:
        """For the next connection of a stream: what was begun on the last one will not be ended there."""
        again = self.parser()
        again.last_id, again.retry_ms = parser.last_id, parser.retry_ms
        return again

    async def message(self, response: ClientResponse) -> JsonObject:
        """The one message of an answer. Raises `EndedAs`."""
        return self._decoded(await self._body(response))

    async def refusal(self, response: ClientResponse) -> Refusal:
        """What an answer says whose status says no (rule 2)."""
        found = Refusal(self._upstream.name, response.status)
        if response.content_type == TEXT and 0 < (response.content_length or 0) <= SENTENCE_BYTES:
            return replace(found, text=(await self._body(response)).decode(errors="replace").strip())
        if response.content_type != JSON:
            response.close()
            return found
        try:
            message = await self.message(response)
        except Garbage:
            return found
        error = message.get("error")
        if isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str):
            return replace(found, error=error, about=message.get("id"))
        return found

    async def events(self, response: ClientResponse, parser: SseParser, exchange: Exchange | None) -> AsyncIterator[JsonObject]:
        """The messages of a stream, until it ends or breaks. Raises `Garbage`."""
        while True:
            try:
                piece = await response.content.readany()
            except (aiohttp.ClientError, OSError):  # what a break means is for whoever knows what has come before
                return
            if not piece:
                return
            for event in self._fed(parser, piece):
                if event.kind == MESSAGE and event.data:  # an event without data only gives its id
                    yield self._decoded(event.data)
                    if exchange is not None and exchange.answered:
                        return

    def let_go(self, response: ClientResponse) -> None:
        """Whoever read this wants no more of it (rule 3)."""
        if response.closed or response.content.is_eof():
            response.release()
            return
        timer = asyncio.get_running_loop().call_later(LEFT_S, self._close, response)
        self._left[response] = timer
        response.content.on_eof(lambda: self._ended(response))

    def close(self) -> None:
        """Nothing is awaited any more."""
        for response in list(self._left):
            self._close(response)

    def _close(self, response: ClientResponse) -> None:
        self._ended(response)
        response.close()

    def _ended(self, response: ClientResponse) -> None:
        if (timer := self._left.pop(response, None)) is not None:
            timer.cancel()

    async def _body(self, response: ClientResponse) -> bytes:
        if (response.content_length or 0) > self._limit:
            response.close()
            raise self._too_large()
        pieces: list[bytes] = []
        size = 0
        while piece := await response.content.readany():
            size += len(piece)
            if size > self._limit:
                response.close()
                raise self._too_large()
            pieces.append(piece)
        response.release()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _fed(self, parser: SseParser, piece: bytes) -> list[Event]:
        try:
            return parser.feed(piece)
        except EventTooLarge as error:
            raise self._too_large() from error

    def _decoded(self, content: bytes) -> JsonObject:
        try:
            return read_upstream_message(content)
        except ValueError as error:
            raise Garbage("upstream_not_understood", f"what `{self._upstream.name}` answered is no message") from error

    def _too_large(self) -> Garbage:
        return Garbage("upstream_too_large", f"`{self._upstream.name}` answered with more than {self._limit} bytes")
