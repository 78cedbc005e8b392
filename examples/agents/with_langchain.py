"""A support agent on LangChain: `python with_langchain.py MODEL "QUESTION"`, with a model as `init_chat_model` names it."""

from __future__ import annotations

import sys
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models.chat_models import BaseChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from support import INSTRUCTIONS, TOOLS, gate


def make_agent(model: BaseChatModel) -> Any:
    """The agent. The middleware is the whole integration."""
    return create_agent(model, TOOLS, system_prompt=INSTRUCTIONS, middleware=[gate.langchain()], checkpointer=InMemorySaver())


def ask(agent: Any, question: str, thread: str) -> list[str]:
    """Let it work on a question. Returns the requests that it waits for: a person decides, and `go_on` goes on."""
    # Who acts is said here, by the program; nothing that a model writes can say it.
    with gate.acting(agent="support-bot", user="alice", workflow=thread):
        agent.invoke({"messages": [("user", question)]}, _config(thread))
    return [one.value["request"] for one in agent.get_state(_config(thread)).interrupts]


def go_on(agent: Any, thread: str) -> None:
    """Go on after a decision. What the graph is resumed with grants nothing: the gate looks what was decided."""
    waiting = agent.get_state(_config(thread)).interrupts
    with gate.acting(agent="support-bot", user="alice", workflow=thread):
        agent.invoke(Command(resume={one.id: None for one in waiting}), _config(thread))


def said(agent: Any, thread: str) -> str:
    """Its last words."""
    return str(agent.get_state(_config(thread)).values["messages"][-1].content)


def _config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def main(model: str, question: str) -> None:
    """One question. Where it waits for people, it says for which request."""
    agent = make_agent(init_chat_model(model))
    with gate:
        for request in ask(agent, question, "ticket-1"):
            input(f"`licet approvals show {request}` shows what it wants to do; press Enter once somebody has decided ")
            go_on(agent, "ticket-1")
        print(said(agent, "ticket-1"))


if __name__ == "__main__":
    main(*sys.argv[1:])
