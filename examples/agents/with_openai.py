"""A support agent on the OpenAI Agents SDK: `python with_openai.py MODEL "QUESTION"`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from agents import Agent, Runner, function_tool
from support import INSTRUCTIONS, TOOLS, gate

from licet.integrations.openai import asked_for


def make_agent(model: Any) -> Any:
    """The agent. `gate.openai` is the whole integration: what it returns is governed, and so is whoever it hands over to."""
    return gate.openai(Agent(name="support", instructions=INSTRUCTIONS, model=model, tools=[function_tool(one) for one in TOOLS]))


def ask(agent: Any, question: str, ticket: str) -> Any:
    """Let it work on a question. Where the result has interruptions, it waits for people."""
    # Who acts is said here, by the program; nothing that a model writes can say it.
    with gate.acting(agent="support-bot", user="alice", workflow=ticket):
        return asyncio.run(Runner.run(agent, question))


def requests_of(result: Any) -> list[str]:
    """The requests that a result waits for."""
    return [asked["request"] for one in result.interruptions if (asked := asked_for(result, one)) is not None]


def go_on(agent: Any, result: Any, ticket: str) -> Any:
    """Go on after a decision. That an interruption is approved here grants nothing: the gate looks what was decided."""
    state = result.to_state()
    for one in result.interruptions:
        state.approve(one)
    with gate.acting(agent="support-bot", user="alice", workflow=ticket):
        return asyncio.run(Runner.run(agent, state))


def main(model: str, question: str) -> None:
    """One question. Where it waits for people, it says for which request."""
    agent = make_agent(model)
    with gate:
        result = ask(agent, question, "ticket-1")
        for request in requests_of(result):
            input(f"`licet approvals show {request}` shows what it wants to do; press Enter once somebody has decided ")
        print(go_on(agent, result, "ticket-1").final_output if result.interruptions else result.final_output)


if __name__ == "__main__":
    main(*sys.argv[1:])
