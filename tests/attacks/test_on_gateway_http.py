"""Upstreams over HTTP, and clients that reach for them: tokens, addresses and headers that must not get where somebody wants them."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from licet.gate.steps import EndedAs
from licet.gateway.connection import Garbage, NotSent
from licet.model import JsonObject
from tests.gateway.upstreams.crew import call, voyage
from tests.gateway.upstreams.scripted import Script, answering, connected, pool_at, result, serving

MIB = 1024 * 1024


def secret(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return f"file:{path.name}"


def test_a_clients_own_token_reaches_no_upstream(tmp_path: Path) -> None:
    """Not even where licet.toml was made to name the header: an upstream that gets it could act as the user everywhere."""

    async def main() -> None:
        mine = {"authorization": "Bearer of-the-user", "cookie": "session=of-the-user", "proxy-authorization": "Basic of-the-user"}
        script = Script()
        headers = {"x-key": secret(tmp_path / "key", "of-the-gateway")}
        async with connected(script, tmp_path, headers=headers, forward_headers=tuple(mine)) as connection:
            await call(connection, "echo", on=voyage(headers=mine))
        assert "of-the-user" not in str([one.headers for one in script.seen])
        assert script.of("tools/call")[0].headers["x-key"] == "of-the-gateway"

    asyncio.run(main())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_upstream_cannot_send_the_gateway_and_its_credential_elsewhere(tmp_path: Path, status: int) -> None:
    async def main() -> None:
        async with serving(Script()) as victim:
            script = Script(tools__call=answering(status, Location=victim.url))
            headers = {"authorization": secret(tmp_path / "key", "Bearer of-the-gateway")}
            async with connected(script, tmp_path, headers=headers) as connection:
                with pytest.raises(EndedAs, match="sends requests elsewhere"):
                    await call(connection, "echo")
            assert victim.seen == []

    asyncio.run(main())


def test_a_name_that_begins_to_lead_into_the_gateways_own_machine_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: what a name said when it was configured, or a moment ago, says nothing about where it leads now."""

    async def main() -> None:
        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::ffff:127.0.0.1", port, 0, 0))]

        async with serving(Script()) as victim:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            async with pool_at(f"http://crm.example.com:{victim.port}/mcp") as pool:
                with pytest.raises(NotSent, match="which is not public"):
                    await pool.connect("it", voyage())
            assert victim.seen == []

    asyncio.run(main())


def test_an_argument_that_a_tool_mirrors_cannot_begin_another_header() -> None:
    async def main() -> None:
        async def tools(request: web.Request, message: JsonObject) -> web.StreamResponse:
            schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
            return result(message, {"tools": [{"name": "query", "inputSchema": schema}]})

        script = Script(tools__list=tools)
        evil = "eu\r\nx-admin: 1\r\n\r\nPOST /mcp HTTP/1.1\r\n"
        async with connected(script) as connection:
            await connection.request("tools/list", {}, voyage(), timeout_s=30)
            await call(connection, "query", region=evil)
            await connection.request("resources/read", {"uri": evil}, voyage(), timeout_s=30)
        assert not any("x-admin" in one.headers for one in script.seen)
        assert [one.headers["mcp-method"] for one in script.seen][-3:] == ["tools/list", "tools/call", "resources/read"]
        assert script.of("tools/call")[0].message["params"]["arguments"] == {"region": evil}

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_a_hundred_megabytes_of_an_upstream_fill_no_memory(kind: str) -> None:
    async def main() -> int:
        block = b" " * MIB

        async def flood(request: web.Request, message: JsonObject) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": kind})
            await response.prepare(request)
            await response.write(b"data: ")
            for _ in range(100):
                await response.write(block)
            return response

        async with connected(Script(tools__call=flood), result_bytes=MIB) as connection:
            tracemalloc.start()
            try:
                with pytest.raises(Garbage) as caught:
                    await call(connection, "echo")
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert (caught.value.status, caught.value.code) == ("unknown", "upstream_too_large")
        return peak

    assert asyncio.run(main()) < 16 * MIB
