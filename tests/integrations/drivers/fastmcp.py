"""FastMCP: a server in this process, and a client that makes the calls of a script."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import uvicorn
from fastmcp import Client, FastMCP
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.dependencies import get_access_token
from fastmcp.server.middleware.error_handling import RetryMiddleware

from licet import Gate
from licet.gate.acting import ActingBlock
from tests.integrations import driving
from tests.integrations.driving import Ask, Ended, Setting, Way

NO_PAUSE = "the result names the request for approval, and the same call again goes on; the adapter has no client wait, which the gateway in front of a server does"


class Agent(driving.Agent):
    """A client with a script, before a server whose tools are governed."""

    def __init__(self, setting: Setting) -> None:
        self.server = make(setting)
        self._setting = setting

    def run(self, way: Way = "async") -> Ended:
        return asyncio.run(self._work(over_http=way == "streaming" or self._setting.user is not None))

    def resume(self, way: Way = "async") -> Ended:
        raise NotImplementedError

    def saved(self) -> bytes:
        raise NotImplementedError

    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def cancel_when(self, started: threading.Event) -> None:
        async def work() -> None:
            task = asyncio.create_task(self._work(over_http=False))
            await asyncio.to_thread(started.wait, 30)
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError), ended

        asyncio.run(work())

    async def _work(self, *, over_http: bool) -> Ended:
        if not over_http:
            async with Client(self.server) as client:
                return await follow(client, self._setting.script)
        async with served(self.server) as url, Client(url, auth=self._setting.user) as client:
            return await follow(client, self._setting.script)


async def follow(client: Client[Any], script: Sequence[Any]) -> Ended:
    """Make the calls of each turn at once, one turn after the other."""
    await client.list_tools()
    told: dict[str, str] = {}
    for turn in script:
        if isinstance(turn, str):
            return Ended(told, said=turn)
        answers = await asyncio.gather(*(call(client, ask) for ask in turn))
        told |= dict(zip([ask.id for ask in turn], answers, strict=True))
    return Ended(told)


async def call(client: Client[Any], ask: Ask) -> str:
    found = await client.call_tool(ask.tool, dict(ask.arguments), raise_on_error=False)
    return " ".join(str(getattr(part, "text", part)) for part in found.content)


@asynccontextmanager
async def served(server: FastMCP[Any]) -> AsyncIterator[str]:
    """The server over HTTP, on loopback."""
    listening = socket.create_server(("127.0.0.1", 0))
    web = uvicorn.Server(uvicorn.Config(server.http_app(), log_level="error", lifespan="on"))
    task = asyncio.create_task(web.serve(sockets=[listening]))
    try:
        while not web.started:  # noqa: ASYNC110 - the server says so nowhere else
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    finally:
        web.should_exit = True
        await task


def _caller(gate: Gate) -> Callable[[Any], ActingBlock | None]:
    def caller(_: Any) -> ActingBlock | None:
        token = get_access_token()
        return None if token is None else gate.acting(agent="shop-bot", user=token.client_id)

    return caller


def make(setting: Setting) -> FastMCP[Any]:
    gate = setting.gate
    caller = None if setting.user is None else _caller(gate)
    tokens = None if setting.user is None else StaticTokenVerifier({setting.user: {"client_id": setting.user, "scopes": []}})
    again = [RetryMiddleware(max_retries=2, base_delay=0, retry_exceptions=(Exception,))] if setting.retries else []
    server: FastMCP[Any] = FastMCP("shop", middleware=[*again, gate.fastmcp(caller=caller)], auth=tokens)
    for function in setting.functions:
        server.tool(function)
    for name, other in (("ask_helper", setting.helper), ("hand_over", setting.successor)):
        if other is not None:
            server.tool(_as_tool(make(other), other.script), name=name) if name == "hand_over" else server.tool(
                _asked(make(other), other.script)
            )
    return server


def _as_tool(server: FastMCP[Any], script: Sequence[Any]) -> Callable[..., Any]:
    async def hand_over() -> str:
        """Hand the work to another server."""
        async with Client(server) as client:
            return str((await follow(client, script)).said)

    return hand_over


def _asked(server: FastMCP[Any], script: Sequence[Any]) -> Callable[..., Any]:
    async def ask_helper(text: str) -> str:
        """Ask another server."""
        async with Client(server) as client:
            return str((await follow(client, script)).said)

    return ask_helper


class Driver(driving.Driver):
    name = "fastmcp"
    package = "fastmcp"
    hooks = ("Governance.on_call_tool",)
    cannot: ClassVar = {
        "hold and resume": NO_PAUSE,
        "hold, rejected": NO_PAUSE,
        "parallel batch with a hold": NO_PAUSE,
        "resume twice": NO_PAUSE,
        "resume in another process": NO_PAUSE,
        "arguments changed after approval": NO_PAUSE,
        "governed functions as tools": "the framework takes plain functions alone: give it the function, and classify the tool",
        "hosted tools": "a server's tools all run in it; one that may run as a background task is named as one that the gate cannot see",
    }

    def agent(self, setting: Setting) -> Agent:
        return Agent(setting)

    def look_at(self, agent: driving.Agent) -> Any:
        assert isinstance(agent, Agent)
        return agent.server

    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        return span_id is not None
