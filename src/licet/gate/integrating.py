"""The one line of each agent framework: what `gate.langchain()` and its like give is made by the framework's adapter.

The adapters stand above the gate and are imported when they are asked for: a program that uses one framework never loads another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from licet.errors import ConfigInvalid

if TYPE_CHECKING:
    from agent_framework import FunctionInvocationContext, MiddlewareBundle
    from agents import Agent, RunContextWrapper
    from fastmcp.server.middleware import MiddlewareContext
    from google.adk.tools import ToolContext
    from langgraph.prebuilt.tool_node import ToolRuntime
    from pydantic_ai import RunContext

    from licet.gate.gate import Gate
    from licet.integrations.adk import Governance as AdkGovernance
    from licet.integrations.coverage import Coverage
    from licet.integrations.crewai import Call
    from licet.integrations.fastmcp import Governance as FastMCPGovernance
    from licet.integrations.governing import CallerOf
    from licet.integrations.langchain import Governance as LangChainGovernance
    from licet.integrations.pydantic_ai import Governance as PydanticGovernance

    Held = TypeVar("Held")  # a crew, or an agent


class Integrating:
    """What a gate offers to whoever builds an agent with a framework.

    `caller` says who calls, from what the framework knows of the run: it returns `gate.acting(...)`, or None, which is a denial. Without it
    the calls are made by whoever acts around the agent. `prefix` stands before the names of the agent's tools in the catalog.
    `allow_ungoverned` names tools that may go past the gate.
    """

    def coverage(self, *agents: object, allow_ungoverned: Iterable[str] = ()) -> Coverage:
        """Look at agents, make their tools known, and say which they are.

        Raises `UngovernedTools`, which names every tool that the gate cannot see, and `CatalogInvalid` for one that cannot be governed.
        """
        from licet.integrations.coverage import covered  # noqa: PLC0415  as the module says

        return covered(cast("Gate", self), agents, allow_ungoverned)

    def langchain(
        self,
        *,
        caller: CallerOf[ToolRuntime[Any, Any]] | None = None,
        pause: bool = True,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
    ) -> LangChainGovernance:
        """The middleware that governs an agent: `create_agent(..., middleware=[..., gate.langchain()])`, as the last one.

        `caller` gets the `ToolRuntime` of a call. With `pause=False` a call that waits for people does not pause the graph.
        """
        found: LangChainGovernance = _adapter("langchain", "langchain").govern(
            self, caller=caller, pause=pause, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        return found

    def pydantic_ai(
        self, *, caller: CallerOf[RunContext[Any]] | None = None, pause: bool = True, prefix: str = "", allow_ungoverned: Iterable[str] = ()
    ) -> PydanticGovernance:
        """The capability that governs an agent: `Agent(..., capabilities=[gate.pydantic_ai()])`.

        `caller` gets the `RunContext` of a call. With `pause=False` a call that waits for people does not defer the run.
        """
        found: PydanticGovernance = _adapter("pydantic_ai", "pydantic-ai").govern(
            self, caller=caller, pause=pause, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        return found

    def openai(
        self,
        agent: Agent[Any],
        *,
        caller: CallerOf[RunContextWrapper[Any]] | None = None,
        pause: bool = True,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
    ) -> Agent[Any]:
        """A copy of an agent of the OpenAI Agents SDK whose tools are governed, and those of all that it hands over to.

        `caller` gets the `RunContextWrapper` of a run. With `pause=False` a call that waits for people does not interrupt the run. Raises
        `UngovernedTools`.
        """
        found: Agent[Any] = _adapter("openai", "openai").govern(
            self, agent, caller=caller, pause=pause, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        return found

    def fastmcp(
        self, *, caller: CallerOf[MiddlewareContext[Any]] | None = None, prefix: str = "", allow_ungoverned: Iterable[str] = ()
    ) -> FastMCPGovernance:
        """The middleware that governs a server: `FastMCP(..., middleware=[gate.fastmcp()])`.

        `caller` gets the `MiddlewareContext` of a call. A call that waits for people is refused with its request's id.
        """
        found: FastMCPGovernance = _adapter("fastmcp", "fastmcp").govern(
            self, caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        return found

    def claude(
        self,
        *,
        caller: CallerOf[Mapping[str, Any]] | None = None,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
        **options: Any,
    ) -> dict[str, Any]:
        """Options of a Claude agent with which each of its tools is governed: `ClaudeAgentOptions(**gate.claude(...))`.

        `options` are those that `ClaudeAgentOptions` takes. `caller` gets the input of the hook. Raises `UngovernedTools`, and
        `ConfigInvalid` for an option that would lead past the gate.
        """
        found: dict[str, Any] = _adapter("claude", "claude").govern(
            self, options, caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        return found

    def adk(
        self, *, caller: CallerOf[ToolContext] | None = None, pause: bool = True, prefix: str = "", allow_ungoverned: Iterable[str] = ()
    ) -> AdkGovernance:
        """The plugin that governs the agents of a runner of Google's ADK: `Runner(..., plugins=[gate.adk()])`.

        `caller` gets the `ToolContext` of a call. With `pause=False` a call that waits for people is refused with its request's id.
        """
        found: AdkGovernance = _adapter("adk", "adk").govern(
            self, caller=caller, pause=pause, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        return found

    def crewai(self, crew: Held, *, caller: CallerOf[Call] | None = None, prefix: str = "", allow_ungoverned: Iterable[str] = ()) -> Held:
        """The same crew, or agent, of CrewAI with its tools governed: `gate.crewai(crew).kickoff()`.

        `caller` gets a `licet.integrations.crewai.Call`. A call that waits for people is refused with its request's id. Raises
        `UngovernedTools`, and `ConfigInvalid` for what is governed already in another way.
        """
        found: Held = _adapter("crewai", "crewai").govern(self, crew, caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned)
        return found

    def agent_framework(
        self,
        *,
        caller: CallerOf[FunctionInvocationContext] | None = None,
        pause: bool = True,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
    ) -> MiddlewareBundle:
        """The middleware that governs an agent of Microsoft's agent framework: `Agent(..., middleware=[gate.agent_framework()])`.

        It goes last in the list; `client.get_response` and clients take it as well. `caller` gets the `FunctionInvocationContext` of a
        call. With `pause=False`, and in runs without a session, a call that waits for people is refused with its request's id.
        """
        found: MiddlewareBundle = _adapter("agent_framework", "agent-framework").govern(
            self, caller=caller, pause=pause, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        return found


def _adapter(module: str, extra: str) -> Any:
    try:
        return import_module(f"licet.integrations.{module}")
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("licet"):
            raise
        needs = f"`{missing.name}` is not installed: run `pip install 'licet[{extra}]'`"
        raise ConfigInvalid(needs) from missing
