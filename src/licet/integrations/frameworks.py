"""The frameworks that have an adapter: their names, how they are found in a project, and the line that governs their agents."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Framework(Struct, frozen=True, kw_only=True):
    """A framework. `name` is that of its adapter, and of the gate's method; `extra` that of the extra of `licet` that brings it.

    `distributions` are what is installed, `packages` what is imported, and where the classes of its agents are. `line` is where the gate
    stands in a program.
    """

    name: str
    title: str
    extra: str
    distributions: tuple[str, ...]
    packages: tuple[str, ...]
    line: str


FRAMEWORKS: Final = (
    Framework(
        name="langchain",
        title="LangChain, LangGraph",
        extra="langchain",
        distributions=("langchain", "langgraph"),
        packages=("langchain", "langgraph"),
        line="create_agent(model, tools, middleware=[gate.langchain()])",
    ),
    Framework(
        name="pydantic_ai",
        title="Pydantic AI",
        extra="pydantic-ai",
        distributions=("pydantic-ai", "pydantic-ai-slim"),
        packages=("pydantic_ai",),
        line="Agent(model, tools=tools, capabilities=[gate.pydantic_ai()])",
    ),
    Framework(
        name="openai",
        title="OpenAI Agents SDK",
        extra="openai",
        distributions=("openai-agents",),
        packages=("agents",),
        line="agent = gate.openai(agent)",
    ),
    Framework(
        name="fastmcp",
        title="FastMCP",
        extra="fastmcp",
        distributions=("fastmcp",),
        packages=("fastmcp",),
        line="FastMCP(name, middleware=[gate.fastmcp()])",
    ),
    Framework(
        name="claude",
        title="Claude Agent SDK",
        extra="claude",
        distributions=("claude-agent-sdk",),
        packages=("claude_agent_sdk",),
        line="ClaudeAgentOptions(**gate.claude(mcp_servers=servers))",
    ),
    Framework(
        name="adk",
        title="Google ADK",
        extra="adk",
        distributions=("google-adk",),
        packages=("google.adk",),
        line="Runner(app_name=name, agent=agent, session_service=sessions, plugins=[gate.adk()])",
    ),
    Framework(
        name="crewai",
        title="CrewAI",
        extra="crewai",
        distributions=("crewai",),
        packages=("crewai",),
        line="gate.crewai(crew).kickoff()",
    ),
    Framework(
        name="agent_framework",
        title="Microsoft Agent Framework",
        extra="agent-framework",
        distributions=("agent-framework", "agent-framework-core"),
        packages=("agent_framework",),
        line="Agent(client, tools=tools, middleware=[gate.agent_framework()])",
    ),
)


def find_framework_of(module: str) -> Framework | None:
    """The framework that a module is of, by its dotted name."""
    for framework in FRAMEWORKS:
        if any(module == package or module.startswith(f"{package}.") for package in framework.packages):
            return framework
    return None
