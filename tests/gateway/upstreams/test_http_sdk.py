"""The gateway's side of Streamable HTTP against a server on the official Python SDK, in both eras, with answers as JSON and as events."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import pytest
import uvicorn
from mcp.server.lowlevel import Server

from licet.config.upstreams import UpstreamSettings
from licet.gateway.connection import Connection, NotSent
from licet.gateway.link import ClientFacts
from licet.gateway.upstreams.pool import Pool
from licet.model import JsonObject
from tests.gateway.upstreams.crew import FakeLink, call, said, voyage

MODERN: Literal["2026-07-28"] = "2026-07-28"
LEGACY: Literal["2025-11-25"] = "2025-11-25"
SCHEMA: JsonObject = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "text": {"type": "string"}}}
TOOLS = [types.Tool(name=name, description=f"{name}.", input_schema=SCHEMA) for name in ("echo", "progress", "ask", "forever")]


async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=TOOLS)


def text(value: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=value)])


class Served:
    """One server; what it saw of calls that were cancelled, and of the requests themselves."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.url = ""

    async def call_tool(self, ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
        given = params.arguments or {}
        if params.name == "progress":
            await ctx.session.report_progress(1, 2, "half")
            return text("done")
        if params.name == "ask":
            answers = params.input_responses or {}
            if "name" not in answers:
                form = types.ElicitRequestFormParams(message="Who?", requested_schema={"type": "object", "properties": {}})
                return types.InputRequiredResult(input_requests={"name": types.ElicitRequest(params=form)}, request_state="state")
            return text(f"{params.request_state}: {answers['name'].model_dump()['action']}")
        if params.name == "forever":
            self.began.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        return text(f"{given.get('region')} {given.get('text')}")


@asynccontextmanager
async def served(**how: Any) -> AsyncIterator[Served]:
    one = Served()
    server: Server[Any] = Server("peer", version="1.0", on_list_tools=list_tools, on_call_tool=one.call_tool)
    # With its protocol named, asyncio sends at once what is written to a socket's connections.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    one.url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = uvicorn.Config(server.streamable_http_app(**how), log_config=None, timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve(sockets=[listening]))
    try:
        yield one
    finally:
        running.should_exit = True
        await task
        listening.close()


@asynccontextmanager
async def connected(url: str, link: FakeLink, **settings: Any) -> AsyncIterator[Connection]:
    pool = Pool({"it": UpstreamSettings(url=url, **settings)}, folder=Path("/"))
    try:
        yield await pool.connect("it", voyage(link))
    finally:
        await pool.close()


def client(**more: Any) -> FakeLink:
    link = FakeLink(era="modern", **more)
    link.client = ClientFacts(era="modern", version=MODERN, capabilities=link.client.capabilities, info={"name": "test", "version": "1"})
    return link


FORMS = [(MODERN, True), (MODERN, False), (LEGACY, True), (LEGACY, False), ("auto", False)]


@pytest.mark.parametrize(("protocol", "as_json"), FORMS)
def test_tools_are_listed_and_called(protocol: Any, as_json: bool) -> None:  # noqa: FBT001  a case
    async def main() -> None:
        link = client()
        async with served(json_response=as_json) as server, connected(server.url, link, protocol=protocol) as connection:
            assert connection.era == ("legacy" if protocol == LEGACY else "modern")
            assert connection.info == {"name": "peer", "version": "1.0"}
            listed = await connection.request("tools/list", {}, voyage(link), timeout_s=30)
            assert [tool["name"] for tool in listed["tools"]] == ["echo", "progress", "ask", "forever"]
            found = await asyncio.gather(*(call(connection, "echo", on=voyage(link), region="eu", text=f"t{i}") for i in range(20)))
            assert [said(one) for one in found] == [f"eu t{i}" for i in range(20)]

    asyncio.run(main())


@pytest.mark.parametrize("region", ["eu-west", "東京", " padded ", "=?base64?literal?=", "line\nbreak", ""])
def test_an_argument_that_the_definition_mirrors_is_accepted_whatever_it_is(region: str) -> None:
    async def main() -> None:
        link = client()
        async with served() as server, connected(server.url, link, protocol=MODERN) as connection:
            await connection.request("tools/list", {}, voyage(link), timeout_s=30)
            assert said(await call(connection, "echo", on=voyage(link), region=region, text="x")) == f"{region} x"

    asyncio.run(main())


@pytest.mark.parametrize("protocol", [MODERN, LEGACY])
def test_progress_reaches_the_client_before_the_answer(protocol: Any) -> None:
    async def main() -> None:
        link = client()
        async with served() as server, connected(server.url, link, protocol=protocol) as connection:
            result = await call(connection, "progress", on=voyage(link, wants_progress=True))
            assert said(result) == "done"
            assert link.told == [("notifications/progress", {"progress": 1, "total": 2, "message": "half"})]

    asyncio.run(main())


def test_what_a_modern_server_asks_for_is_its_result_and_the_answer_goes_with_the_retry() -> None:
    async def main() -> None:
        link = client(capabilities={"elicitation": {"form": {}}})
        async with served() as server, connected(server.url, link, protocol=MODERN) as connection:
            asked = await call(connection, "ask", on=voyage(link))
            assert asked["resultType"] == "input_required"
            assert asked["inputRequests"]["name"]["method"] == "elicitation/create"
            more: Mapping[str, Any] = {"inputResponses": {"name": {"action": "decline"}}, "requestState": asked["requestState"]}
            result = await connection.request("tools/call", {"name": "ask", "arguments": {}, **more}, voyage(link), timeout_s=30)
            assert said(result) == "state: decline"

    asyncio.run(main())


@pytest.mark.parametrize("protocol", [MODERN, LEGACY])
def test_who_stops_waiting_stops_the_server(protocol: Any) -> None:
    async def main() -> None:
        link = client()
        async with served() as server, connected(server.url, link, protocol=protocol) as connection:
            waiting = asyncio.create_task(call(connection, "forever", on=voyage(link)))
            await server.began.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await server.cancelled.wait()
            assert said(await call(connection, "echo", on=voyage(link), text="after")) == "None after"

    asyncio.run(main())


def test_a_session_that_the_server_has_forgotten_is_begun_anew_and_the_call_made_once() -> None:
    async def main() -> None:
        link = client()
        async with served() as server, connected(server.url, link, protocol=LEGACY) as connection:
            transport = connection._transport  # type: ignore[attr-defined]
            first = transport._session
            transport._session = "0123456789abcdef0123456789abcdef"
            assert said(await call(connection, "echo", on=voyage(link), text="again")) == "None again"
            assert transport._session not in {None, first, "0123456789abcdef0123456789abcdef"}

    asyncio.run(main())


def test_nobody_there_is_not_sent() -> None:
    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        listening.close()
        with pytest.raises(NotSent, match=r"^`it` cannot be reached: .*refused"):
            async with connected(f"http://127.0.0.1:{port}/mcp", client()):
                pass

    asyncio.run(main())
