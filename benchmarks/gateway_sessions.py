"""Sessions of clients of 2025-11-25 that do nothing: opened, told that their client is ready, listened to, and held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

VERSION = "2025-11-25"
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}},
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LOOK = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "look", "arguments": {"n": 1}}}


@asynccontextmanager
async def idle(url: str, key: str, number: int) -> AsyncIterator[list[Session]]:
    """So many sessions, each with its stream open and a connection of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60)) as client:
        yield [await Session.opened(client, url, key) for _ in range(number)]


class Session:
    """One session. It is a right one, or nothing is measured of it: every answer is looked at."""

    def __init__(self, client: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
        self._client = client
        self._url = url
        self._headers = headers
        self._stream: aiohttp.ClientResponse | None = None

    @classmethod
    async def opened(cls, client: aiohttp.ClientSession, url: str, key: str) -> Session:
        """A new one, in which somebody listens."""
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"}
        async with client.post(url, json=INITIALIZE, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
            named = {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"], "MCP-Protocol-Version": VERSION}
        self = cls(client, url, headers | named)
        async with client.post(url, json=READY, headers=self._headers) as answer:
            assert answer.status == 202, await answer.text()
        forever = aiohttp.ClientTimeout(total=None)
        self._stream = await client.get(url, headers=self._headers | {"Accept": "text/event-stream"}, timeout=forever)
        assert self._stream.status == 200
        return self

    async def is_alive(self) -> bool:
        """Whether a call in it is answered, and its stream still open."""
        async with self._client.post(self._url, json=LOOK, headers=self._headers) as answer:
            told = await answer.text()
        return answer.status == 200 and '"done"' in told and self._stream is not None and not self._stream.content.at_eof()
