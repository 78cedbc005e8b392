"""The official Python client at the HTTP door, in both eras, before the gateway and made-up upstreams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult, ListRootsResult, TextContent

from licet.gateway.link import Voyage
from licet.model import JsonObject
from tests.gateway.door_world import DoorWorld, door_world

Mode = Literal["legacy", "auto"]
ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])
VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
DONE: JsonObject = {"content": [{"type": "text", "text": "done"}]}
FORM = {"message": "sure?", "requestedSchema": {"type": "object", "properties": {"yes": {"type": "boolean"}}}}


@pytest.fixture
def w(tmp_path: Path) -> Iterator[DoorWorld]:
    with door_world(tmp_path, real=True) as world:
        yield world


@asynccontextmanager
async def connected(w: DoorWorld, mode: Mode, path: str = "/mcp", **how: Any) -> AsyncIterator[Client]:
    url = f"http://{w.server.address}{path}"
    async with (
        httpx2.AsyncClient(headers={"authorization": "Bearer bot"}) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **how) as client,
    ):
        assert client.protocol_version == VERSIONS[mode]
        yield client


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(bounded())


@ERAS
def test_it_lists_and_calls_tools(w: DoorWorld, mode: Mode) -> None:
    async def work() -> None:
        async with connected(w, mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["crm__ask", "crm__get", "notes__get"]
            result = await client.call_tool("crm__get", {"id": "C-1"})
            assert (result.content, result.is_error) == ([TextContent(type="text", text="done")], False)

    run(work)
    assert w.upstreams.crm.sent == [("tools/call", {"name": "get", "arguments": {"id": "C-1"}})]


@ERAS
def test_it_is_told_what_is_denied_and_why(w: DoorWorld, mode: Mode) -> None:
    async def work() -> None:
        async with connected(w, mode, "/mcp/crm") as client:
            result = await client.call_tool("get", {"id": "C-7"})
            assert result.is_error
            assert isinstance(result.content[0], TextContent)
            assert result.content[0].text.startswith("denied (forbidden): ")
            assert "seven is nobody's business" in result.content[0].text
            with pytest.raises(MCPError, match="unknown tool"):
                await client.call_tool("nope", {})

    run(work)
    assert w.upstreams.crm.sent == []


@ERAS
def test_it_is_told_how_far_its_call_is(w: DoorWorld, mode: Mode) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def answering(method: str, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        for step in (1, 2):
            await voyage.link.notify("notifications/progress", {"progressToken": "hop", "progress": step, "total": 2, "message": "m"})
        return DONE

    async def counted(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async def work() -> None:
        async with connected(w, mode) as client:
            await client.call_tool("crm__ask", {}, progress_callback=counted)

    w.upstreams.crm.answering = answering
    run(work)
    assert told == [(1, 2, "m"), (2, 2, "m")]


@ERAS
def test_what_the_upstream_asks_is_answered_by_its_user(w: DoorWorld, mode: Mode) -> None:
    async def answering(method: str, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        found = await voyage.link.ask({"q": {"method": "elicitation/create", "params": FORM}})
        return {"content": [{"type": "text", "text": f"{found['q']['action']} {found['q']['content']}"}]}

    async def elicit(context: Any, params: Any) -> ElicitResult:
        assert params.message == "sure?"
        return ElicitResult(action="accept", content={"yes": True})

    async def work() -> None:
        async with connected(w, mode, elicitation_callback=elicit) as client:
            result = await client.call_tool("crm__ask", {})
            assert result.content == [TextContent(type="text", text="accept {'yes': True}")]

    w.upstreams.crm.answering = answering
    run(work)


@ERAS
def test_a_call_that_it_gives_up_is_cancelled_at_the_upstream(w: DoorWorld, mode: Mode) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def answering(method: str, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        loops[0].call_soon_threadsafe(began.set)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            loops[0].call_soon_threadsafe(cancelled.set)
            raise
        raise AssertionError

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        async with connected(w, mode) as client:
            calling = asyncio.ensure_future(client.call_tool("crm__ask", {}))
            await began.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await cancelled.wait()

    w.upstreams.crm.answering = answering
    run(work)


@ERAS
def test_many_calls_at_once_are_answered_each_with_its_own_answer(w: DoorWorld, mode: Mode) -> None:
    async def answering(method: str, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        return {"content": [{"type": "text", "text": params["arguments"]["id"]}]}

    async def work() -> None:
        async with connected(w, mode) as client:
            results = await asyncio.gather(*[client.call_tool("crm__get", {"id": f"C-1{number}"}) for number in range(50)])
        texts = [result.content[0].text for result in results if isinstance(result.content[0], TextContent)]
        assert texts == [f"C-1{number}" for number in range(50)]

    w.upstreams.crm.answering = answering
    run(work)


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
def test_an_upstream_is_told_that_the_roots_of_its_caller_have_changed(w: DoorWorld) -> None:
    async def roots(context: Any) -> ListRootsResult:
        return ListRootsResult(roots=[])

    async def work() -> None:
        async with connected(w, "legacy", list_roots_callback=roots) as client:
            await client.call_tool("crm__get", {"id": "C-1"})
            await client.send_roots_list_changed()
            await client.call_tool("crm__get", {"id": "C-1"})
        async with connected(w, "legacy") as client:
            await client.send_roots_list_changed()
            await client.call_tool("crm__get", {"id": "C-1"})

    run(work)
    assert [method for method, _ in w.upstreams.crm.sent] == ["tools/call", "notifications/roots/list_changed", "tools/call", "tools/call"]


@ERAS
def test_it_is_told_when_what_it_may_see_has_changed(w: DoorWorld, mode: Mode) -> None:
    async def work() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()

        async def handle(message: Any) -> None:
            told.put_nowait(type(message).__name__)

        async with connected(w, mode, message_handler=handle) as client:
            await client.list_tools()
            if mode == "legacy":
                change(w)
                assert await told.get() == "ToolListChangedNotification"
            else:
                async with client.listen(tools_list_changed=True) as events:
                    change(w)
                    assert type(await anext(aiter(events))).__name__ == "ToolsListChanged"

    run(work)


def change(w: DoorWorld) -> None:
    """An upstream says that its tools have changed."""
    assert w.upstreams.told is not None
    w.loop.call_soon_threadsafe(w.upstreams.told, w.upstreams.crm, "notifications/tools/list_changed", {})


def test_a_legacy_client_ends_its_session_when_it_goes(w: DoorWorld) -> None:
    async def work() -> None:
        async with connected(w, "legacy") as client:
            await client.list_tools()
            assert w.door.sessions == 1

    run(work)
    assert w.door.sessions == 0


def test_a_credential_that_nobody_knows_gets_no_further(w: DoorWorld) -> None:
    async def work() -> None:
        async with httpx2.AsyncClient(headers={"authorization": "Bearer nobody"}) as http:
            transport = streamable_http_client(f"http://{w.server.address}/mcp", http_client=http)
            with pytest.raises(ExceptionGroup) as caught:
                async with Client(transport, mode="legacy"):
                    raise AssertionError
        error: BaseException = caught.value
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, MCPError)
        assert str(error) == "a valid credential is needed"

    run(work)
