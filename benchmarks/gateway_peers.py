"""Proxies of others before the same upstream, without any audit, each with one client session that all of its callers share.

python -m benchmarks.gateway_peers sdk URL        # the official SDK: its low-level Server before its Client
python -m benchmarks.gateway_peers fastmcp URL    # FastMCP's proxy; by the interpreter that `installed` gives

Both speak the modern era on both sides, answer JSON and no events, keep a warm connection for each caller, ask the upstream for nothing
but the call, and write no log.
"""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.gateway_served import serve

FASTMCP = ("fastmcp==4.1.0", "mcp==2.3.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")
"""What it is measured with: the SDK and the server that are measured beside it, and not whatever is new."""
VERSION = "2026-07-28"
WARM = 100
"""Connections that are kept: more than there are callers. The SDK's own 20 would have every third call open one."""


def installed(folder: Path) -> Path | str:
    """The interpreter of a fresh environment with FastMCP, or why there is none."""
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *FASTMCP]
    commands: list[list[str]] = [[sys.executable, "-m", "venv", str(folder)], install]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or ["nothing is said"])[-1]
    return python


def _http_client(**how: Any) -> Any:
    httpx2 = importlib.import_module("httpx2")
    return httpx2.AsyncClient(**how, limits=httpx2.Limits(max_connections=None, max_keepalive_connections=WARM))


@asynccontextmanager
async def sdk(url: str) -> AsyncIterator[Any]:
    """The official SDK's proxy."""
    client_of, http = importlib.import_module("mcp.client.client").Client, importlib.import_module("mcp.client.streamable_http")
    async with _http_client() as pool, client_of(http.streamable_http_client(url, http_client=pool), mode=VERSION, cache=None) as client:
        schemas = {tool.name: tool.input_schema for tool in (await client.session.list_tools()).tools}

        async def list_tools(_: Any, params: Any) -> Any:
            return await client.session.list_tools(params=params)

        async def call_tool(_: Any, params: Any) -> Any:
            return await client.session.call_tool(params.name, params.arguments)

        server_of = importlib.import_module("mcp.server.lowlevel.server").Server
        server = server_of(
            "proxy",
            on_list_tools=list_tools,
            on_call_tool=call_tool,
            get_tool_input_schema=schemas.get,  # without it, the SDK lists the upstream's tools at each call
        )
        yield server.streamable_http_app(json_response=True, stateless_http=True)


@asynccontextmanager
async def fastmcp(url: str) -> AsyncIterator[Any]:
    """FastMCP's proxy. A client that is connected is what its calls share."""
    fast = importlib.import_module("fastmcp")
    transport = importlib.import_module("fastmcp.client.transports").StreamableHttpTransport(url, httpx_client_factory=_http_client)
    async with fast.Client(transport, mode=VERSION) as client:
        proxy = importlib.import_module("fastmcp.server").create_proxy(client, name="proxy")
        schemas = {tool.name: tool.input_schema for tool in await client.list_tools()}
        proxy._mcp_server.get_tool_input_schema = schemas.get  # noqa: SLF001  it has no way to say it, and would list them too
        yield proxy.http_app(json_response=True, stateless_http=True)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    serve({"sdk": sdk, "fastmcp": fastmcp}[sys.argv[1]](sys.argv[2]), lifespan=True)
