"""A support agent on Microsoft Agent Framework: `python with_agent_framework.py MODEL "QUESTION"`, with a model of OpenAI's by its name."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from agent_framework import Agent, AgentSession, Message
from support import INSTRUCTIONS, TOOLS, gate


def make_agent(client: Any) -> Agent:
    """The agent. The middleware is the whole integration."""
    return Agent(client, INSTRUCTIONS, name="support", tools=TOOLS, middleware=[gate.agent_framework()])


async def ask(agent: Agent, question: str, session: AgentSession) -> Any:
    """Let it work on a question. Where it waits for people, `requests` of the response says for what."""
    # Who acts is said here, by the program; nothing that a model writes can say it.
    with gate.acting(agent="support-bot", user="alice", workflow=session.session_id):
        return await agent.run(question, session=session)


def requests(response: Any) -> list[str]:
    """The requests that a response waits for."""
    return [one.additional_properties["licet"]["request"] for one in response.user_input_requests]


async def go_on(agent: Agent, response: Any, session: AgentSession) -> Any:
    """Go on after a decision. That the framework's own request is approved here grants nothing: the gate looks what was decided."""
    answers = [one.to_function_approval_response(approved=True) for one in response.user_input_requests]
    with gate.acting(agent="support-bot", user="alice", workflow=session.session_id):
        return await agent.run(Message(role="user", contents=answers), session=session)


async def main(model: str, question: str) -> None:
    """One question. Where it waits for people, it says for which request."""
    from agent_framework.openai import OpenAIChatClient  # noqa: PLC0415  of a package of its own: agent-framework-openai

    agent, session = make_agent(OpenAIChatClient(model)), AgentSession(session_id="ticket-1")
    with gate:
        response = await ask(agent, question, session)
        while waiting := requests(response):
            print(f"`licet approvals show {waiting[0]}` shows what it wants to do; press Enter once somebody has decided")
            await asyncio.to_thread(sys.stdin.readline)
            response = await go_on(agent, response, session)
        print(response.text)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
