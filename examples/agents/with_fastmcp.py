"""The support tools as an MCP server on FastMCP: `python with_fastmcp.py`, over stdio, for alice's own client."""

from __future__ import annotations

from typing import Any

from fastmcp import FastMCP
from support import INSTRUCTIONS, TOOLS, gate

from licet.gate.acting import ActingBlock


def as_alice(_: Any) -> ActingBlock:
    """Who calls: this process serves one person's client. A server for many asks `get_access_token()` here."""
    return gate.acting(agent="support-bot", user="alice")


def make_server() -> FastMCP[Any]:
    """The server. The middleware is the whole integration; it is the last one."""
    server: FastMCP[Any] = FastMCP("support", instructions=INSTRUCTIONS, middleware=[gate.fastmcp(caller=as_alice)])
    for tool in TOOLS:
        server.tool(tool)
    return server


if __name__ == "__main__":
    with gate:
        make_server().run()
