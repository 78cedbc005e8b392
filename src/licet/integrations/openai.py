"""OpenAI Agents SDK: a copy of an agent whose tools go through the gate.

    agent = gate.openai(agent)

Rules:

1. The framework has no hook for all calls: each function tool is exchanged for one that makes a governed call, whenever the framework
   asks the agent for its tools. So are those of every agent that it hands over to. The agent that was given is left as it is, ungoverned.
2. Before a call the framework asks whether it needs approval: then people are asked, and the run is interrupted. That somebody approves
   the interruption grants nothing: the call is made then, and decided afresh.
3. Hosted tools, shells, computers and the like do not run through here: they are let past by name, or the agent is not governed at all. An
   agent behind a tool runs its own tools: it is governed itself before it becomes one.

Source: openai-agents 0.x, `agent.py`, `tool.py`, `run_internal/tool_execution.py`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from agents import Agent, FunctionTool, Handoff, RunContextWrapper
from agents.tool import ToolSearchTool, maybe_invoke_function_tool_failure_error_function, set_function_tool_failure_error_function
from agents.tool_context import ToolContext
from agents.tracing import get_current_span, get_current_trace
from pydantic import BaseModel

from licet.catalog.adopted import AdoptedTool
from licet.gate.brought import Told
from licet.gate.gate import Gate
from licet.integrations.coverage import Surveyed
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Repeated, Use, refuse_ungoverned
from licet.integrations.recorded import plain, text_of
from licet.model import JsonObject, Trace

ASKED_LIMIT: Final = 10_000
"""Calls that wait, of which an agent remembers for what."""
_HOLD: Final = "_licet_hold"


class _Hold:
    """One gate's hold on an agent and all that it hands over to."""

    def __init__(self, governing: Governing[RunContextWrapper[Any]], *, pause: bool) -> None:
        self.governing = governing
        self.pause = pause
        self.asked: OrderedDict[str, JsonObject] = OrderedDict()
        self._classes: dict[type, type] = {}
        self._agents: dict[int, Any] = {}
        self._known: dict[str, tuple[FunctionTool, AdoptedTool]] = {}

    def agent(self, agent: Any) -> Any:
        """The governed copy of an agent, one for each; agents may hand over to one another in circles."""
        if self._has(agent):
            return agent
        known = self._agents.get(id(agent))
        if known is not None:
            return known[1]
        governed = copy.copy(agent)
        governed.__class__ = self._class_of(type(agent))
        self._agents[id(agent)] = (agent, governed)
        governed.handoffs = [self._handoff(one) for one in agent.handoffs]
        return governed

    def exchanged(self, tools: Iterable[Any]) -> list[Any]:
        """These tools, behind the gate."""
        found = list(tools)
        surveyed = self.look_at(found)
        self.governing.see(surveyed.adopted, surveyed.ungoverned)
        return [self._tool(one) if isinstance(one, FunctionTool) else one for one in found]

    def look_at(self, tools: Iterable[Any]) -> Surveyed:
        """What of these tools passes through here."""
        functions = [one for one in tools if isinstance(one, FunctionTool)]
        others = [one.name for one in tools if not isinstance(one, FunctionTool | ToolSearchTool)]
        nested = [f"{one.name} (an agent that is not governed)" for one in functions if self._leads_past(one)]
        return Surveyed(
            adopted=tuple(self._adopted(one) for one in functions if self._governed_name(one) is None),
            governed=tuple(name for one in functions if (name := self._governed_name(one)) is not None),
            ungoverned=(*others, *nested),
        )

    def _leads_past(self, tool: FunctionTool) -> bool:
        inner = tool._agent_instance  # noqa: SLF001 - the framework says there which agent is behind a tool
        return inner is not None and not self._has(inner)

    def _has(self, agent: Any) -> bool:
        hold = _hold_of(agent)
        return hold is not None and hold.governing.gate is self.governing.gate

    def _class_of(self, kind: type) -> type:
        """A class of governed agents: what is cloned of one is governed too."""
        if kind not in self._classes:

            async def get_all_tools(agent: Any, run_context: RunContextWrapper[Any]) -> list[Any]:
                return self.exchanged(await kind.get_all_tools(agent, run_context))  # type: ignore[attr-defined]

            self._classes[kind] = type(kind.__name__, (kind,), {_HOLD: self, "get_all_tools": get_all_tools})
        return self._classes[kind]

    def _handoff(self, handoff: Any) -> Any:
        if not isinstance(handoff, Handoff):
            return self.agent(handoff)
        given = handoff.on_invoke_handoff

        async def hand_over(ctx: RunContextWrapper[Any], arguments: str) -> Any:
            return self.agent(await given(ctx, arguments))

        return dataclasses.replace(handoff, on_invoke_handoff=hand_over)

    def _tool(self, tool: FunctionTool) -> FunctionTool:
        async def invoke(ctx: ToolContext[Any], arguments: str) -> Any:
            use = self._use(tool, ctx, arguments, ctx.tool_call_id)
            try:
                return _answer(await self.governing.asettle(use))
            except Exception as error:
                told = await maybe_invoke_function_tool_failure_error_function(function_tool=tool, context=ctx, error=error)
                if told is None:
                    raise
                return told

        async def needs_approval(ctx: RunContextWrapper[Any], arguments: dict[str, Any], call: str) -> bool:
            if await _wanted(tool.needs_approval, ctx, arguments, call):
                return True
            waiting = await self.governing.aask(self._use(tool, ctx, arguments, call)) if self.pause else None
            if waiting is None or waiting.held.request is None:
                return False
            self._remember(call, waiting.asked)
            return True

        return dataclasses.replace(tool, on_invoke_tool=invoke, needs_approval=needs_approval)

    def _remember(self, call: str, asked: JsonObject) -> None:
        self.asked[call] = asked
        if len(self.asked) > ASKED_LIMIT:
            self.asked.popitem(last=False)

    def _use(self, tool: FunctionTool, ctx: RunContextWrapper[Any], arguments: Any, call: str) -> Use[RunContextWrapper[Any]]:
        async def run(decided: JsonObject, stops: int) -> Any:  # noqa: ARG001 - a tool is never stopped here
            return await bare.on_invoke_tool(ctx, text_of(decided))  # type: ignore[arg-type]

        # Without what makes words for a model of a failure: that it failed is recorded first.
        bare = set_function_tool_failure_error_function(dataclasses.replace(tool), None)
        trace, span = get_current_trace(), get_current_span()
        run_id = None if trace is None or trace.trace_id == "no-op" else trace.trace_id
        return Use(
            tool=tool.name,
            arguments=arguments or "{}",
            run=run,
            tell=_told,
            call=None if run_id is None else (run_id, str(ctx.usage.requests), call),
            context=ctx,
            is_async=True,
            adopt=lambda: self._adopted(tool),
            governed=self._governed_name(tool),
            session=getattr(trace, "group_id", None),
            trace=Trace(trace_id=run_id, span_id=call, parent=getattr(span, "span_id", None)),
        )

    def _adopted(self, tool: FunctionTool) -> AdoptedTool:
        known = self._known.get(tool.name)
        if known is None or known[0] is not tool:
            known = self._known[tool.name] = (tool, self.governing.adopted(tool.name, tool.description, tool.params_json_schema))
        return known[1]

    def _governed_name(self, tool: FunctionTool) -> str | None:
        return self.governing.governed_name(_function_of(tool))


def govern(
    gate: Gate,
    agent: Any,
    *,
    caller: CallerOf[RunContextWrapper[Any]] | None = None,
    pause: bool = True,
    prefix: str = "",
    allow_ungoverned: Iterable[str] = (),
) -> Any:
    """What `gate.openai(agent)` gives. Raises `UngovernedTools`."""
    governing: Governing[RunContextWrapper[Any]] = Governing(
        gate, "openai", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned
    )
    hold = _Hold(governing, pause=pause)
    governed = hold.agent(agent)
    for one in _reached(governed):
        refuse_ungoverned(hold.look_at(one.tools).ungoverned, governing.allowed)
    return governed


def asked_for(agent: Any, interruption: Any) -> JsonObject | None:
    """What people are asked about a call at which this governed agent was interrupted; None where this process has not asked."""
    hold = _hold_of(agent)
    assert hold is not None, "the agent is not governed"
    found: JsonObject | None = hold.asked.get(str(getattr(interruption.raw_item, "call_id", "")))
    return found


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of an agent, and of all that it hands over to."""
    assert isinstance(agent, Agent)
    hold = _hold_of(agent)
    if hold is None or hold.governing.gate is not gate:
        return Surveyed(ungoverned=tuple(one.name for one in agent.tools))
    found = Surveyed()
    for one in _reached(agent):
        servers = tuple(f"{server.name} (a server that is asked when the agent runs)" for server in one.mcp_servers)
        found += hold.look_at(one.tools)
        found += Surveyed(governed=servers)
    return found


def _hold_of(agent: Any) -> _Hold | None:
    found: _Hold | None = getattr(type(agent), _HOLD, None)
    return found


def _reached(agent: Any) -> list[Any]:
    """The agent and all that it can hand over to, as far as that is known before it does."""
    found: list[Any] = []
    left = [agent]
    while left:
        one = left.pop()
        if any(one is other for other in found):
            continue
        found.append(one)
        left += [other for other in one.handoffs if isinstance(other, Agent)]
    return found


async def _wanted(needs: Any, ctx: Any, arguments: dict[str, Any], call: str) -> bool:
    """What the tool itself says of its approval."""
    return bool(needs if isinstance(needs, bool) else await needs(ctx, arguments, call))


def _function_of(tool: FunctionTool) -> object:
    """The Python function behind a tool; None where there is none, as of a server's tool."""
    return getattr(getattr(tool.on_invoke_tool, "_invoke_tool_impl", None), "__agents_function_tool_wrapped_callable__", None)


def _told(result: Any) -> Told:
    return Told({"value": result if isinstance(result, str) else _plain(result)})


def _plain(result: Any) -> Any:
    return result.model_dump(mode="json") if isinstance(result, BaseModel) else plain(result)


def _answer(ending: Ending) -> Any:
    if isinstance(ending, Came):
        return ending.result
    if isinstance(ending, Repeated):
        value = ending.value
        return value["value"] if isinstance(value, dict) and value.keys() == {"value"} else text_of(value)
    return ending.text
