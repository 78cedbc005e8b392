"""Google's Agent Development Kit: a plugin that sends every call of a tool through the gate.

    runner = Runner(app_name=name, agent=agent, session_service=sessions, plugins=[gate.adk()])

Rules:

1. The plugin runs the tool itself, in its place before the call, with the arguments that were decided on, and answers in the tool's place:
   no callback of an agent stands between the decision and the tool, and none runs it again.
2. A call that waits for people asks the framework for a confirmation, which ends the turn. A confirmation that comes back grants nothing:
   the call is made again, and decided afresh.
3. What the framework does with its own tools to steer agents (handing over, filling in an answer) is no call of a tool.
4. Tools that run at the model's provider and code executors do not pass through a plugin: no agent starts with one. In live mode a call
   that waits is refused with its request's id.

Source: google-adk 2.x, `plugins/base_plugin.py`, `flows/llm_flows/tools/_caller.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from google.adk.agents import BaseAgent, LlmAgent
from google.adk.apps import App
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.tools._confirmation_utils import apply_confirmation_gate
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.set_model_response_tool import SetModelResponseTool
from google.adk.tools.tool_context import ToolContext
from google.adk.tools.transfer_to_agent_tool import TransferToAgentTool

from licet.catalog.adopted import AdoptedTool
from licet.errors import UngovernedTools
from licet.gate.brought import Told
from licet.gate.gate import Gate
from licet.integrations.coverage import Surveyed
from licet.integrations.elsewhere import awaited_elsewhere
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Own, Repeated, Use, Waiting, refuse_ungoverned
from licet.integrations.recorded import plain
from licet.integrations.spans import current_span
from licet.model import JsonObject, Trace

_STEERING: Final = (TransferToAgentTool, SetModelResponseTool)
_NO_ARGUMENTS: Final[JsonObject] = {"type": "object", "properties": {}}


class Governance(BasePlugin):
    """The plugin of `gate.adk()`. `caller` says who calls, from the `ToolContext` of a call."""

    def __init__(
        self,
        gate: Gate,
        *,
        caller: CallerOf[ToolContext] | None = None,
        pause: bool = True,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
    ) -> None:
        super().__init__(name="licet")
        self.governing: Governing[ToolContext] = Governing(gate, "adk", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned)
        self._pause = pause
        self._known: dict[str, tuple[BaseTool, AdoptedTool]] = {}

    async def before_run_callback(self, *, invocation_context: Any) -> None:
        """Look at the agents' tools. Raises `UngovernedTools`, `CatalogInvalid`."""
        surveyed = await self.look_at(invocation_context.agent)
        self.governing.see(surveyed.adopted, surveyed.ungoverned)

    async def before_tool_callback(self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext) -> dict[str, Any] | None:
        """One call of a tool, governed: what it came to, in the place of the tool. None lets the framework's own tools pass."""
        if isinstance(tool, _STEERING):
            return None
        if not _is_unknown(tool):
            refuse_ungoverned(_past(tool), self.governing.allowed)
        wanted = await apply_confirmation_gate(tool, tool_args, tool_context)
        if wanted is not None:  # the tool itself wants somebody to confirm, or somebody did not
            if tool_context.tool_confirmation is None:
                tool_context.actions.skip_summarization = True
            return _response(wanted)

        async def run(arguments: JsonObject, stops: int) -> Any:  # noqa: ARG001 - a tool is never stopped here
            return await tool.run_async(args=arguments, tool_context=tool_context)

        ending = await self.governing.asettle(self._use(tool, tool_args, tool_context, run))
        return self._answer(ending, tool, tool_context)

    async def look_at(self, agent: Any) -> Surveyed:
        """What of the tools of an agent, and of all below it, passes through here."""
        found = Surveyed()
        for one in _agents(agent):
            tools = [tool for tool in await one.canonical_tools() if not isinstance(tool, _STEERING)]
            past = [name for tool in tools for name in _past(tool)]
            executor = getattr(one, "code_executor", None)
            found += Surveyed(
                adopted=tuple(self._adopted(tool) for tool in tools if not _past(tool) and self._governed_name(tool) is None),
                governed=tuple(name for tool in tools if (name := self._governed_name(tool)) is not None),
                ungoverned=(*past, *([type(executor).__name__] if executor is not None else [])),
            )
        return found

    def _use(self, tool: BaseTool, tool_args: dict[str, Any], ctx: ToolContext, run: Any) -> Use[ToolContext]:
        session = ctx.session
        span = current_span()
        return Use(
            tool=tool.name,
            arguments=tool_args,
            run=run,
            tell=_told,
            call=_identity(ctx),
            context=ctx,
            is_async=True,
            adopt=lambda: None if _is_unknown(tool) else self._adopted(tool),
            governed=self._governed_name(tool),
            session=session.id,
            trace=Trace(trace_id=span.trace_id or ctx.invocation_id, span_id=ctx.function_call_id, parent=span.span_id),
        )

    def _answer(self, ending: Ending, tool: BaseTool, ctx: ToolContext) -> dict[str, Any]:
        if isinstance(ending, Came):
            late = ending.result is None and (tool.is_long_running or getattr(tool, "_defers_response", False))
            return {} if late else _response(ending.result)
        if isinstance(ending, Repeated | Own):
            return _response(ending.value)
        if isinstance(ending, Waiting) and self._pause and ending.held.request is not None and not _is_live(ctx):
            ctx.request_confirmation(hint=ending.text, payload=ending.asked)
            ctx.actions.skip_summarization = True
        return {"error": ending.text}

    def _adopted(self, tool: BaseTool) -> AdoptedTool:
        known = self._known.get(tool.name)
        if known is None or known[0] is not tool:
            known = self._known[tool.name] = (tool, self.governing.adopted(tool.name, tool.description, _schema(tool)))
        return known[1]

    def _governed_name(self, tool: BaseTool) -> str | None:
        return self.governing.governed_name(getattr(tool, "func", None))


def govern(
    gate: Gate,
    *,
    caller: CallerOf[ToolContext] | None = None,
    pause: bool = True,
    prefix: str = "",
    allow_ungoverned: Iterable[str] = (),
) -> Governance:
    """What `gate.adk()` gives."""
    return Governance(gate, caller=caller, pause=pause, prefix=prefix, allow_ungoverned=allow_ungoverned)


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of a runner or an app: the tools of its agents, if a plugin of this gate is the first that could answer."""
    if not isinstance(agent, Runner | App):
        raise UngovernedTools("an agent of this framework is governed by the plugins of its runner: give the `Runner`, or the `App`", ())
    plugins = agent.plugin_manager.plugins if isinstance(agent, Runner) else agent.plugins
    root: Any = agent.agent if isinstance(agent, Runner) else agent.root_agent
    here = [one for one in plugins if isinstance(one, Governance) and one.governing.gate is gate]
    looking = here[0] if here else Governance(gate)
    found = awaited_elsewhere(lambda: looking.look_at(root))
    if here:
        return found
    return Surveyed(ungoverned=(*found.ungoverned, *found.governed, *[one.name for one in found.adopted]))


def _agents(agent: Any) -> Iterator[LlmAgent]:
    """The agent, those below it, and those behind its tools, which run under the same plugins."""
    left: list[Any] = [agent]
    seen: list[Any] = []
    while left:
        one = left.pop()
        if any(one is other for other in seen) or not isinstance(one, BaseAgent):
            continue
        seen.append(one)
        left += one.sub_agents
        if isinstance(one, LlmAgent):
            left += [tool.agent for tool in one.tools if isinstance(tool, AgentTool) and tool.include_plugins]
            yield one


def _is_unknown(tool: BaseTool) -> bool:
    """Whether the agent has no such tool: the framework puts an empty one in its place, to ask its callbacks."""
    return type(tool) is BaseTool


def _past(tool: BaseTool) -> list[str]:
    """Whether a tool runs where no plugin sees it: at the provider, or under a runner of its own without these plugins."""
    if isinstance(tool, AgentTool) and not tool.include_plugins:
        return [f"{tool.name} (an agent that runs without the plugins)"]
    runs_here = type(tool).run_async is not BaseTool.run_async
    return [] if runs_here else [tool.name]


def _schema(tool: BaseTool) -> JsonObject:
    declaration = tool._get_declaration()  # noqa: SLF001 - it is what the model is shown
    if declaration is None:
        return _NO_ARGUMENTS
    if declaration.parameters_json_schema is not None:
        schema: Any = declaration.parameters_json_schema
    else:
        schema = None if declaration.parameters is None else declaration.parameters.json_schema
    if hasattr(schema, "model_dump"):
        schema = schema.model_dump(mode="json", exclude_none=True, by_alias=True)
    return schema or _NO_ARGUMENTS


def _identity(ctx: ToolContext) -> tuple[str | None, ...] | None:
    """The event in which the model made this call is kept in the session, from which any process goes on."""
    session = ctx.session
    for event in reversed(session.events):
        for call in event.get_function_calls():
            if call.id == ctx.function_call_id and call.name != _CONFIRMATION:
                return session.app_name, session.user_id, session.id, event.id, call.id
    return None


_CONFIRMATION: Final = "adk_request_confirmation"


def _is_live(ctx: ToolContext) -> bool:
    invocation = getattr(ctx, "_invocation_context", None)
    return getattr(invocation, "live_request_queue", None) is not None


def _response(result: Any) -> dict[str, Any]:
    return result if isinstance(result, dict) and result else {"result": result}


def _told(result: Any) -> Told:
    return Told(plain(_response(result)))
