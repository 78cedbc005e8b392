"""A support agent on CrewAI: `python with_crewai.py MODEL "QUESTION"`."""

from __future__ import annotations

import sys
from typing import Any

from crewai import Agent, Crew, Task
from crewai.tools.base_tool import Tool
from crewai.tools.structured_tool import CrewStructuredTool
from support import INSTRUCTIONS, TOOLS, gate


def make_crew(model: Any) -> Any:
    """The crew. `gate.crewai` is the whole integration: the crew that it returns is governed, with all of its agents."""
    # `crewai.tools.tool` cannot read annotations that are text, as `from __future__ import annotations` makes them; this can.
    tools = [Tool.from_langchain(CrewStructuredTool.from_function(one)) for one in TOOLS]
    agent = Agent(role="support", goal="help customers", backstory=INSTRUCTIONS, llm=model, tools=tools)
    task = Task(description="{question}", expected_output="what was done", agent=agent)
    return gate.crewai(Crew(agents=[agent], tasks=[task]))


def work(crew: Any, question: str, ticket: str) -> Any:
    """Let it work on a question."""
    # Who acts is said here, by the program; nothing that a model writes can say it.
    with gate.acting(agent="support-bot", user="alice", workflow=ticket):
        return crew.kickoff(inputs={"question": question})


def requests_of(result: Any) -> list[str]:
    """The requests that were made of people."""
    failures = [one.failure for task in result.tasks_output for one in task.tool_failures]
    return [one.details["request"] for one in failures if one.details.get("type") == "licet.approval"]


def main(model: str, question: str) -> None:
    """One question. Where people must decide, it says on which request, and asks again once they have."""
    with gate:
        crew = make_crew(model)
        result = work(crew, question, "ticket-1")
        for request in requests_of(result):
            input(f"`licet approvals show {request}` shows what it wants to do; press Enter once somebody has decided ")
        print(work(crew, question, "ticket-1").raw if requests_of(result) else result.raw)


if __name__ == "__main__":
    main(*sys.argv[1:])
