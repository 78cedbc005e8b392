"""A support agent on the Claude Agent SDK: `python with_claude.py "QUESTION"`."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, create_sdk_mcp_server, query, tool
from support import INSTRUCTIONS, TOOLS, gate


def as_tool(function: Callable[..., Any]) -> Any:
    """A function as a tool of this SDK, which gives it one dictionary."""

    async def run(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": json.dumps(function(**arguments))}]}

    kinds = {name: int if name == "amount_cents" else str for name in inspect.signature(function).parameters}
    return tool(function.__name__, function.__doc__ or "", kinds)(run)


def make_options(**options: Any) -> ClaudeAgentOptions:
    """The options. `gate.claude` is the whole integration: it takes those of `ClaudeAgentOptions` and gives them back with the hooks."""
    server = create_sdk_mcp_server("support", tools=[as_tool(one) for one in TOOLS])
    return ClaudeAgentOptions(**gate.claude(mcp_servers={"support": server}, system_prompt=INSTRUCTIONS, **options))


async def ask(options: ClaudeAgentOptions, question: str) -> str:
    """Let it work on a question, and return its last words. A call that waits for people is told to it with the request's id."""
    said = ""
    # Who acts is said here, by the program; nothing that a model writes can say it.
    with gate.acting(agent="support-bot", user="alice", workflow="ticket-1"):
        async for message in query(prompt=question, options=options):
            if isinstance(message, ResultMessage):
                said = message.result or ""
    return said


if __name__ == "__main__":
    with gate:
        print(asyncio.run(ask(make_options(), sys.argv[1])))
