"""A server of both eras on the official SDK, over its standard input and output."""

from __future__ import annotations

import asyncio

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server


async def main() -> None:
    """Serve until the end of the input."""

    async def listed(ctx: object, params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[])

    server = Server("both", on_list_tools=listed)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


asyncio.run(main())
