"""What stands behind the gateway in its benchmark, and the least that could stand in its place. Each is a process of its own.

python -m benchmarks.gateway_upstream upstream          # two tools, trivial, on bare ASGI
python -m benchmarks.gateway_upstream passed URL        # a bare pass-through: one aiohttp pool, set as the gateway's is

The pass-through reads a request, sends it on, and streams the answer back as it comes: what every gateway has to do, and no more.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from benchmarks.gateway_served import serve

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = [{"name": name, "description": name, "inputSchema": SCHEMA} for name in ("look", "change")]
RESULT: dict[str, Any] = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
CALLS = "bench/calls"
"""A method that no server has: how many calls have come here. What was not executed is no answer, whatever its status says."""
RESULTS: dict[str, Any] = {
    "server/discover": {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
    },
    "tools/list": {"resultType": "complete", "tools": TOOLS, "ttlMs": 0, "cacheScope": "private"},
    "tools/call": RESULT,
}
SENT_ON = (b"mcp-", b"content-type", b"accept")
SENT_BACK = ("content-type", "content-length")


async def body_of(receive: Any) -> bytes:
    """The whole body."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


class Upstream:
    """Answers every request of the modern era at once."""

    def __init__(self) -> None:
        self._calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        del scope
        asked = msgspec.json.decode(await body_of(receive))
        method = asked["method"]
        self._calls += method == "tools/call"
        result = {"calls": self._calls} if method == CALLS else RESULTS.get(method)
        answer = {"error": {"code": -32601, "message": "none"}} if result is None else {"result": result}
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": asked.get("id"), **answer})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 404 if result is None else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Passed:
    """Sends on what comes, and sends back what comes back."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self._url = url
        self._client = client

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        body = await body_of(receive)
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name.startswith(SENT_ON)}
        async with self._client.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
            told = [(name.encode(), answer.headers[name].encode()) for name in SENT_BACK if name in answer.headers]
            await send({"type": "http.response.start", "status": answer.status, "headers": told})
            async for part in answer.content.iter_any():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """The upstream."""
    yield Upstream()


@asynccontextmanager
async def passed(url: str) -> AsyncIterator[Passed]:
    """The pass-through before this address."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
    ) as client:
        yield Passed(url, client)


if __name__ == "__main__":
    serve(upstream() if sys.argv[1] == "upstream" else passed(*sys.argv[2:]))
