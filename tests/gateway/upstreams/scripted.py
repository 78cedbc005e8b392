"""A server of MCP over HTTP that does what a test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from licet.config.upstreams import UpstreamSettings
from licet.gateway.connection import Connection
from licet.gateway.upstreams.handshake import Protocol
from licet.gateway.upstreams.pool import Pool
from licet.gateway.upstreams.session import UpstreamSession
from licet.model import JsonObject
from tests.gateway.upstreams.crew import FakeLink, voyage

Handler = Callable[[web.Request, JsonObject], Awaitable[web.StreamResponse]]
DISCOVERED: JsonObject = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "scripted", "version": "1"}},
}
INITIALIZED: JsonObject = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "scripted", "version": "1"},
}
TEXT: JsonObject = {"content": [{"type": "text", "text": "done"}]}


class Seen:
    """One request."""

    def __init__(self, request: web.Request, message: JsonObject) -> None:
        self.verb = request.method
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.peer = request.transport.get_extra_info("peername") if request.transport else None
        self.message = message

    @property
    def method(self) -> str:
        return str(self.message.get("method", ""))


class Script:
    """What the server answers, by the method of MCP or the verb of HTTP; everything else with a result."""

    def __init__(self, **answers: Handler) -> None:
        self.answers: dict[str, Handler] = {name.replace("__", "/"): handler for name, handler in answers.items()}
        self.seen: list[Seen] = []
        self.port = 0
        self.protocol: Protocol = "2026-07-28"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def of(self, method: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method or (not one.method and one.verb == method)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        message = json.loads(await request.read()) if request.method == "POST" else {}
        self.seen.append(Seen(request, message))
        handler = self.answers.get(message.get("method") or ("reply" if message else request.method))
        if handler is not None:
            return await handler(request, message)
        if request.method != "POST":
            return web.Response(status=405)
        if "id" not in message or "method" not in message:
            return web.Response(status=202)
        return result(message, DISCOVERED if message["method"] == "server/discover" else TEXT)


def result(message: JsonObject, value: JsonObject, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": value}, headers=headers)


def event(message: JsonObject, **fields: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return "\n".join([*lines, f"data: {json.dumps(message)}", "", ""]).encode()


async def stream(request: web.Request, *pieces: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    return response


def answering(status: int, body: str = "", content_type: str = "text/html", **headers: str) -> Handler:
    async def handle(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return web.Response(
            status=status, text=body, content_type=content_type, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return handle


def legacy(session: str | None = "session-1", **answers: Handler) -> Script:
    """A server that knows the older era alone."""

    async def greet(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return result(message, INITIALIZED, None if session is None else {"Mcp-Session-Id": session})

    script = Script(**{"server/discover": answering(400, "Bad Request: no session"), "initialize": greet} | answers)
    script.protocol = "auto"
    return script


@asynccontextmanager
async def serving(script: Script, port: int = 0) -> AsyncIterator[Script]:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{anything:.*}", script.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    script.port = runner.addresses[0][1]
    try:
        yield script
    finally:
        await runner.cleanup()


@asynccontextmanager
async def pool_at(url: str, folder: Path | None = None, *, protocol: Protocol = "2026-07-28", **settings: Any) -> AsyncIterator[Pool]:
    pool = Pool({"it": UpstreamSettings(url=url, protocol=protocol, **settings)}, folder=folder or Path("/"))
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def connected(script: Script, folder: Path | None = None, **settings: Any) -> AsyncIterator[Connection]:
    async with serving(script), pool_at(script.url, folder, protocol=script.protocol, **settings) as pool:
        yield await pool.connect("it", voyage(FakeLink(era="modern")))


def raw(connection: Connection) -> Any:
    """What carries this session."""
    assert isinstance(connection, UpstreamSession)
    return connection._transport


async def never() -> None:
    await asyncio.Event().wait()
