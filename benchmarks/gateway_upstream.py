"""What stands before and behind the gateway in its benchmark, each in a process of its own that prints its port and ends with its input.

python -m benchmarks.gateway_upstream upstream          # two tools, trivial, on bare ASGI
python -m benchmarks.gateway_upstream passed URL        # a bare pass-through: uvicorn, httptools, uvloop and one aiohttp pool
python -m benchmarks.gateway_upstream governed FOLDER   # Licet, from the licet.toml there
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from typing import Any

import aiohttp
import msgspec
import uvicorn
import uvloop
from msgspec.structs import replace

from licet import Gate
from licet.config.server import ServerSettings
from licet.server.assembly import assemble

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = [{"name": name, "description": name, "inputSchema": SCHEMA} for name in ("look", "change")]
RESULTS: dict[str, Any] = {
    "server/discover": {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
    },
    "tools/list": {"resultType": "complete", "tools": TOOLS, "ttlMs": 0, "cacheScope": "private"},
    "tools/call": {"resultType": "complete", "content": [{"type": "text", "text": "done"}]},
}
JSON = [(b"content-type", b"application/json")]
SENT_ON = (b"mcp-", b"content-type", b"accept")


async def body_of(receive: Any) -> bytes:
    """The whole body."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def reply(send: Any, body: bytes, status: int = 200) -> None:
    """A body of JSON."""
    await send({"type": "http.response.start", "status": status, "headers": [*JSON, (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def upstream(scope: Any, receive: Any, send: Any) -> None:
    """Answers every request of the modern era at once."""
    if scope["type"] != "http":
        return
    asked = msgspec.json.decode(await body_of(receive))
    result = RESULTS.get(asked["method"])
    if result is None:
        await reply(send, msgspec.json.encode({"jsonrpc": "2.0", "id": asked.get("id"), "error": {"code": -32601, "message": "none"}}), 404)
        return
    await reply(send, msgspec.json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": result}))


class Passed:
    """Sends on what comes, and answers what comes back."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1_000))
        body = await body_of(receive)
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name.startswith(SENT_ON)}
        async with self._session.post(self._url, data=body, headers=headers) as answer:
            await reply(send, await answer.read(), answer.status)


def serve(app: Any) -> None:
    """Serve at any port, as Licet's server is served."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, http="httptools", log_config=None, lifespan="off")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[listening]))


def governed(folder: str) -> None:
    """Licet, from the licet.toml in this folder."""
    gate = Gate(f"{folder}/licet.toml")
    settings = ServerSettings(listen="127.0.0.1:0", metrics="", requests_per_minute=1_000_000, reload=False)
    gate.settings = replace(gate.settings, server=settings)
    server = assemble(gate)

    def started() -> None:
        server.started.wait()
        print(server.address.port, flush=True)
        sys.stdin.read()
        server.stop()

    threading.Thread(target=started, daemon=True).start()
    server.run()


def end_with_input() -> None:
    """The process ends when its input does."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main(kind: str, *more: str) -> None:
    """What the command line asks for."""
    if kind == "governed":
        governed(*more)
        return
    end_with_input()
    serve(upstream if kind == "upstream" else Passed(*more))


if __name__ == "__main__":
    main(*sys.argv[1:])
