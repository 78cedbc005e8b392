"""OpenAI Agents SDK: a copy of an agent whose tools go through the gate.

    agent = gate.openai(agent)

Rules:

1. The framework has no hook for all calls: each function tool is exchanged for one that makes a governed call, whenever the framework
   asks the agent for its tools. So are those of every agent that it hands over to, whenever it asks for these, and of its clones. The agent
   that was given is left as it is, ungoverned.
2. Before a call the framework asks whether it needs approval: then people are asked, and the run is interrupted. That somebody approves
   the interruption grants nothing: the call is made then, and decided afresh.
3. Hosted tools, shells, computers and the like do not run through here, nor does what a prompt that is stored at the provider brings along:
   they are let past by name, or the agent is not governed at all. An agent behind a tool runs its own tools: it is governed itself before
   it becomes one.
4. A call is known by its run, which gets an id here that its state carries, and by its own id, which the framework lets a run use once.
   Traces tell nothing of it: many runs may be in one, and they may be off.

Source: openai-agents 0.x, `agent.py`, `tool.py`, `run_internal/tool_execution.py`.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from agents import Agent, FunctionTool, Handoff, RunContextWrapper
from agents.agent_tool_state import drop_agent_tool_run_result, get_agent_tool_state_scope, peek_agent_tool_run_result
from agents.run_context import _ApprovalRecord
from agents.tool import ToolSearchTool, maybe_invoke_function_tool_failure_error_function, set_function_tool_failure_error_function
from agents.tool_context import ToolContext
from agents.tracing import get_current_span, get_current_trace
from pydantic import BaseModel

from licet.catalog.adopted import AdoptedTool
from licet.errors import UngovernedTools
from licet.gate.brought import Told
from licet.gate.gate import Gate
from licet.integrations.coverage import Surveyed
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Own, Refused, Repeated, Use, refuse_ungoverned
from licet.integrations.hosted import hosted_in
from licet.integrations.recorded import plain, text_of
from licet.model import JsonObject, Trace

KNOWN_LIMIT: Final = 1_000
"""Agents whose governed copies are remembered: hand-offs that make an agent for each run would fill the memory otherwise."""
_HOLD: Final = "_licet_hold"
_RUN: Final = "licet:run"
"""Under this name the state of a run carries its id, and what people are asked: beside the approvals, where it names no tool."""


class _Nested(Exception):
    """The agent behind a tool was interrupted: the framework calls the tool again to go on with it. `result` is nobody's."""

    def __init__(self, result: Any) -> None:
        super().__init__("the agent behind the tool waits")
        self.result = result


class _Hold:
    """One gate's hold on an agent and all that it hands over to."""

    def __init__(self, governing: Governing[RunContextWrapper[Any]], *, pause: bool) -> None:
        self.governing = governing
        self.pause = pause
        self._classes: dict[type, type] = {}
        self._agents: OrderedDict[int, tuple[Any, Any]] = OrderedDict()
        self._known: dict[str, tuple[FunctionTool, AdoptedTool]] = {}

    def agent(self, agent: Any) -> Any:
        """The governed copy of an agent, one for each; agents may hand over to one another in circles."""
        if self._has(agent):
            return agent
        known = self._agents.get(id(agent))
        if known is not None:
            return known[1]
        if not isinstance(agent, Agent):
            raise UngovernedTools(f"a `{type(agent).__name__}` is no agent that a `Runner` runs: others are not governed", ())
        governed = copy.copy(agent)
        governed.__class__ = self._class_of(type(agent))
        governed.handoffs = agent.handoffs
        self._agents[id(agent)] = (agent, governed)
        if len(self._agents) > KNOWN_LIMIT:
            self._agents.popitem(last=False)
        return governed

    def exchanged(self, agent: Any, tools: Iterable[Any]) -> list[Any]:
        """These tools of an agent, behind the gate."""
        found = list(tools)
        surveyed = self.look_at(agent, found)
        self.governing.see(surveyed.adopted, surveyed.ungoverned)
        return [self._tool(one) if isinstance(one, FunctionTool) else one for one in found]

    def look_at(self, agent: Any, tools: Iterable[Any]) -> Surveyed:
        """What of these tools of an agent passes through here."""
        functions = [one for one in tools if isinstance(one, FunctionTool)]
        others = [one.name for one in tools if not isinstance(one, FunctionTool | ToolSearchTool)]
        nested = [f"{one.name} (an agent that is not governed)" for one in functions if self._leads_past(one)]
        return Surveyed(
            adopted=tuple(self._adopted(one) for one in functions if self._governed_name(one) is None),
            governed=tuple(name for one in functions if (name := self._governed_name(one)) is not None),
            ungoverned=(*others, *nested, *_elsewhere(agent)),
        )

    def _leads_past(self, tool: FunctionTool) -> bool:
        inner = tool._agent_instance  # noqa: SLF001 - the framework says there which agent is behind a tool
        return inner is not None and not self._has(inner)

    def _has(self, agent: Any) -> bool:
        hold = _hold_of(agent)
        return hold is not None and hold.governing.gate is self.governing.gate

    def _class_of(self, kind: type) -> type:
        """A class of governed agents: what is cloned of one is governed too, and whoever it gets to hand over to later."""
        if kind not in self._classes:

            async def get_all_tools(agent: Any, run_context: RunContextWrapper[Any]) -> list[Any]:
                return self.exchanged(agent, await kind.get_all_tools(agent, run_context))  # type: ignore[attr-defined]

            def get_handoffs(agent: Any) -> Any:
                found = agent.__dict__["handoffs"]
                found[:] = [self._handoff(one) for one in found]  # the same list, for whoever appends to it
                return found

            def set_handoffs(agent: Any, handoffs: Iterable[Any]) -> None:
                agent.__dict__["handoffs"] = list(handoffs)

            own = {_HOLD: self, "get_all_tools": get_all_tools, "handoffs": property(get_handoffs, set_handoffs)}
            self._classes[kind] = type(kind.__name__, (kind,), own)
        return self._classes[kind]

    def _handoff(self, handoff: Any) -> Any:
        if not isinstance(handoff, Handoff):
            return self.agent(handoff)
        if getattr(handoff, _HOLD, None) is self:
            return handoff
        given = handoff.on_invoke_handoff
        target = _target(handoff)
        governed = None if target is None else self.agent(target)

        async def hand_over(ctx: RunContextWrapper[Any], arguments: str) -> Any:
            found = await given(ctx, arguments)
            return governed if found is target and governed is not None else self.agent(found)

        found = dataclasses.replace(handoff, on_invoke_handoff=hand_over)
        # A state that is read back takes its agents from here: it would go on with one that is not governed.
        found._agent_ref = None if governed is None else weakref.ref(governed)  # noqa: SLF001
        setattr(found, _HOLD, self)
        return found

    def _tool(self, tool: FunctionTool) -> FunctionTool:
        async def invoke(ctx: ToolContext[Any], arguments: str) -> Any:
            return await self.invoke(tool, ctx, arguments)

        async def needs_approval(ctx: RunContextWrapper[Any], arguments: dict[str, Any], call: str) -> bool:
            return await self.needs_approval(tool, ctx, arguments, call)

        # Where the framework has something to ask before a call, it stops at arguments that are no JSON: not where nobody is ever asked.
        asks = self.pause or tool.needs_approval is not False
        return dataclasses.replace(tool, on_invoke_tool=invoke, needs_approval=needs_approval if asks else False)

    async def invoke(self, tool: FunctionTool, ctx: ToolContext[Any], arguments: str) -> Any:
        """One call of a tool, governed. Raises what the tool raised, where the framework makes no words of it."""
        use = self._use(tool, ctx, arguments, ctx.tool_call_id)
        try:
            ending = await self.governing.asettle(use)
            if isinstance(ending, Repeated | Refused) and ctx.tool_call is not None:
                # The framework would wait on for the agent behind the tool, which goes on no more.
                drop_agent_tool_run_result(ctx.tool_call, scope_id=get_agent_tool_state_scope(ctx))
            return _answer(ending)
        except _Nested as nested:
            return nested.result
        except Exception as error:
            told = await maybe_invoke_function_tool_failure_error_function(function_tool=tool, context=ctx, error=error)
            if told is None:
                raise
            return told

    async def needs_approval(self, tool: FunctionTool, ctx: RunContextWrapper[Any], arguments: dict[str, Any], call: str) -> bool:
        """Whether the run is interrupted before a call: people are asked then."""
        wanted = await _wanted(tool.needs_approval, ctx, arguments, call)
        use = self._use(tool, ctx, arguments, call)  # from here on the run has its id, whoever interrupts it
        waiting = await self.governing.aask(use) if self.pause else None
        if waiting is None or waiting.held.request is None:
            return wanted
        _record_of(ctx).rejection_messages[f"asked:{call}"] = json.dumps(waiting.asked)
        return True

    def _use(self, tool: FunctionTool, ctx: RunContextWrapper[Any], arguments: Any, call: str) -> Use[RunContextWrapper[Any]]:
        async def run(decided: JsonObject, stops: int) -> Any:  # noqa: ARG001 - a tool is never stopped here
            result = await bare.on_invoke_tool(ctx, text_of(decided))  # type: ignore[arg-type]
            if _nested_of(getattr(ctx, "tool_call", None), ctx) is not None:
                raise _Nested(result)
            return result

        # Without what makes words for a model of a failure: that it failed is recorded first.
        bare = set_function_tool_failure_error_function(dataclasses.replace(tool), None)
        trace, span = get_current_trace(), get_current_span()
        run_id = None if trace is None or trace.trace_id == "no-op" else trace.trace_id
        return Use(
            tool=tool.qualified_name,
            arguments=arguments or "{}",
            run=run,
            tell=_told,
            call=(_record_of(ctx).rejection_messages["id"], call),
            context=ctx,
            is_async=True,
            adopt=lambda: self._adopted(tool),
            governed=self._governed_name(tool),
            session=getattr(trace, "group_id", None),
            trace=Trace(trace_id=run_id, span_id=call, parent=getattr(span, "span_id", None)),
        )

    def _adopted(self, tool: FunctionTool) -> AdoptedTool:
        name = tool.qualified_name
        known = self._known.get(name)
        if known is None or known[0] is not tool:
            known = self._known[name] = (tool, self.governing.adopted(name, tool.description, tool.params_json_schema))
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
        gate, "openai", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned, paused=(_Nested,)
    )
    hold = _Hold(governing, pause=pause)
    governed = hold.agent(agent)
    for one in _reached(governed):
        if _hold_of(one) is hold:
            refuse_ungoverned(hold.look_at(one, one.tools).ungoverned, governing.allowed)
    return governed


def asked_for(run: Any, interruption: Any) -> JsonObject | None:
    """What people are asked about a call at which a run was interrupted; None where they are asked nothing.

    `run` is its result, or its state, which may come from another process.
    """
    state = run.to_state() if hasattr(run, "to_state") else run
    record = state._context._approvals.get(_RUN)  # noqa: SLF001 - see `_record_of`
    text = None if record is None else record.rejection_messages.get(f"asked:{interruption.raw_item.call_id}")
    if text is not None:
        asked: JsonObject = json.loads(text)
        return asked
    response = state._last_processed_response  # noqa: SLF001 - the framework looks for the owner of an approval in the same way
    calls = [] if response is None else [one.tool_call for one in response.functions]
    nested = [_nested_of(call, state._context) for call in calls]  # noqa: SLF001
    found = [there for one in nested if one is not None and (there := asked_for(one, interruption)) is not None]
    return found[0] if len(found) == 1 else None


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of an agent, of all that it hands over to, and of agents behind its tools."""
    if not isinstance(agent, Agent):
        raise UngovernedTools(f"a `{type(agent).__name__}` is no agent that a `Runner` runs: others are not governed", ())
    found = Surveyed()
    for one in _reached(agent):
        hold, servers = _hold_of(one), [server.name for server in one.mcp_servers]
        if hold is None or hold.governing.gate is not gate:
            found += Surveyed(ungoverned=(*(tool.name for tool in one.tools), *servers, *_elsewhere(one)))
        else:
            found += hold.look_at(one, one.tools)
            found += Surveyed(later=tuple(servers))
    return found


def _hold_of(agent: Any) -> _Hold | None:
    found: _Hold | None = getattr(type(agent), _HOLD, None)
    return found


def _reached(agent: Any) -> list[Any]:
    """The agent, all that it can hand over to, as far as that is known before it does, and those behind tools that are governed."""
    found: list[Any] = []
    left = [agent]
    while left:
        one = left.pop()
        if any(one is other for other in found):
            continue
        found.append(one)
        left += [other for handoff in one.handoffs if (other := _target(handoff)) is not None]
        behind = [tool._agent_instance for tool in one.tools if isinstance(tool, FunctionTool)]  # noqa: SLF001 - as in `_leads_past`
        left += [inner for inner in behind if _hold_of(inner) is not None]
    return found


def _target(handoff: Any) -> Any:
    """The agent that a hand-off leads to, as far as it says so beforehand."""
    if isinstance(handoff, Agent):
        return handoff
    ref = getattr(handoff, "_agent_ref", None)
    return None if ref is None else ref()


def _elsewhere(agent: Any) -> list[str]:
    """What of an agent may bring tools that the framework never sees."""
    settings = agent.model_settings
    added = {name: getattr(settings, name, None) for name in ("extra_body", "extra_args")}
    return [*(f"model_settings.{name}" for name in hosted_in(added)), *(["prompt"] if agent.prompt is not None else [])]


def _record_of(ctx: RunContextWrapper[Any]) -> _ApprovalRecord:
    """What a run carries for us: all of its contexts share it, its state has it, and it approves nothing."""
    approvals = ctx._approvals  # noqa: SLF001 - the one thing that a run's contexts share and that its state keeps
    if _RUN not in approvals:
        approvals[_RUN] = _ApprovalRecord(rejection_messages={"id": uuid.uuid4().hex})
    return approvals[_RUN]


def _nested_of(tool_call: Any, ctx: RunContextWrapper[Any]) -> Any:
    """The run of the agent behind a tool that waits for an approval of its own; None where none does."""
    found = None if tool_call is None else peek_agent_tool_run_result(tool_call, scope_id=get_agent_tool_state_scope(ctx))
    return found if getattr(found, "interruptions", None) else None


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
    return text_of(ending.value) if isinstance(ending, Own) else ending.text
