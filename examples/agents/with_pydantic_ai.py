"""A support agent on Pydantic AI: `python with_pydantic_ai.py MODEL "QUESTION"`, with a model as `infer_model` names it."""

from __future__ import annotations

import sys
from typing import Any

from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults
from support import INSTRUCTIONS, TOOLS, gate


def make_agent(model: Any) -> Any:
    """The agent. The capability is the whole integration; that calls may wait for people, its output type says."""
    return Agent(model, instructions=INSTRUCTIONS, tools=TOOLS, output_type=[str, DeferredToolRequests], capabilities=[gate.pydantic_ai()])


def ask(agent: Any, question: str, ticket: str) -> Any:
    """Let it work on a question. Where the output is `DeferredToolRequests`, it waits for people."""
    # Who acts is said here, by the program; nothing that a model writes can say it.
    with gate.acting(agent="support-bot", user="alice", workflow=ticket):
        return agent.run_sync(question)


def requests_of(result: Any) -> list[str]:
    """The requests that a result waits for."""
    output = result.output
    return [one["request"] for one in output.metadata.values()] if isinstance(output, DeferredToolRequests) else []


def go_on(agent: Any, result: Any, ticket: str) -> Any:
    """Go on after a decision. What is handed to the framework grants nothing: the gate looks what was decided."""
    answers = DeferredToolResults(approvals={call.tool_call_id: True for call in result.output.approvals})
    with gate.acting(agent="support-bot", user="alice", workflow=ticket):
        return agent.run_sync(message_history=result.all_messages(), deferred_tool_results=answers)


def main(model: str, question: str) -> None:
    """One question. Where it waits for people, it says for which request."""
    agent = make_agent(model)
    with gate:
        result = ask(agent, question, "ticket-1")
        for request in requests_of(result):
            input(f"`licet approvals show {request}` shows what it wants to do; press Enter once somebody has decided ")
        print(go_on(agent, result, "ticket-1").output if requests_of(result) else result.output)


if __name__ == "__main__":
    main(*sys.argv[1:])
