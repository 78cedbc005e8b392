"""Google's Agent Development Kit: a plugin that sends every call of a tool through the gate.

    runner = Runner(app_name=name, agent=agent, session_service=sessions, plugins=[gate.adk()])

Rules:

1. The plugin stands in the place of a tool's own `run_async`, behind all callbacks and the framework's own confirmations: what these have
   made of the arguments is decided on, and the tool runs with that. What a callback answers instead of a tool is no call of it.
2. A call that waits for people asks the framework for a confirmation, which ends the turn. A confirmation that comes back grants nothing:
   the call is made again, and decided afresh. It is no answer to what the tool has asked itself, either.
3. What the framework does with its own tools to steer agents (handing over, ending a loop or a task, answering) is no call of a tool.
4. Tools that run at the model's provider, code executors and agents of other makes do not pass through a plugin: no agent starts with one.
   In live mode, and in an agent behind a tool, a call that waits is refused with its request's id.

Source: google-adk 2.x, `plugins/base_plugin.py`, `flows/llm_flows/tools/_caller.py`, `workflow/_tool_node.py`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from types import MethodType
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from google.adk.agents import BaseAgent, LlmAgent, LoopAgent, ParallelAgent, SequentialAgent
from google.adk.agents.llm.task._finish_task_tool import FinishTaskTool
from google.adk.apps import App
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.tools._forwarding_artifact_service import ForwardingArtifactService
from google.adk.tools._node_tool import NodeTool
from google.adk.tools.agent_tool import AgentTool, _TaskAgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.base_toolset import BaseToolset
from google.adk.tools.exit_loop_tool import exit_loop
from google.adk.tools.set_model_response_tool import SetModelResponseTool
from google.adk.tools.tool_context import ToolContext
from google.adk.tools.transfer_to_agent_tool import TransferToAgentTool
from google.adk.workflow._base_node import BaseNode
from google.adk.workflow._errors import NodeInterruptedError
from google.adk.workflow._tool_node import _ToolNode

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

_STEERING: Final = (TransferToAgentTool, SetModelResponseTool, FinishTaskTool, _TaskAgentTool)
_LEADING: Final = tuple(one._run_async_impl for one in (SequentialAgent, ParallelAgent, LoopAgent))  # noqa: SLF001 - it is what these override
"""What agents do that do nothing but let those below them run."""
_AT_PROVIDER: Final = {"code_execution": "BuiltInCodeExecutor", "retrieval": "vertex_ai_search", "google_search_retrieval": "google_search"}
"""Tools of the provider that have another name in a request than in an agent."""
_CONFIRMATION: Final = "adk_request_confirmation"
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
        self.governing: Governing[ToolContext] = Governing(
            gate, "adk", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned, paused=(_Asked, NodeInterruptedError)
        )
        self._pause = pause
        self._answered: WeakSet[ToolContext] = WeakSet()
        self._known: dict[str, tuple[BaseTool, AdoptedTool]] = {}

    async def before_run_callback(self, *, invocation_context: Any) -> None:
        """Look at all that is known of the agents before they run. Raises `UngovernedTools`."""
        async for one, tools in _walk(invocation_context.agent, asks=False):
            refuse_ungoverned(_unseen(one, tools), self.governing.allowed)

    async def before_agent_callback(self, *, agent: BaseAgent, callback_context: Any) -> None:
        """Look at an agent that nobody could know of before. Raises `UngovernedTools`."""
        is_live = callback_context.get_invocation_context().live_request_queue is not None  # then the model is offered its tools unseen
        tools = await agent.canonical_tools(callback_context) if is_live and isinstance(agent, LlmAgent) else _own_tools(agent)
        refuse_ungoverned(_unseen(agent, tools), self.governing.allowed)

    async def before_model_callback(self, *, callback_context: Any, llm_request: Any) -> None:  # noqa: ARG002 - the framework's signature
        """Look at the tools that a model is offered now. Raises `UngovernedTools`, `CatalogInvalid`."""
        tools = list(llm_request.tools_dict.values())
        past = [name for name in _at_provider(llm_request) if _AT_PROVIDER.get(name) not in self.governing.allowed]
        surveyed = self._surveyed(tools)
        self.governing.see(surveyed.adopted, (*surveyed.ungoverned, *past))
        for tool in tools:
            _stand_in(tool)

    async def before_tool_callback(self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext) -> dict[str, Any] | None:
        """Stand in the tool's place, and let it be called. A tool that the agent does not have has no place: its call is denied here."""
        if _is_unknown(tool):
            return self._answer(await self.governing.asettle(self._use(tool, tool_args, tool_context, tool.run_async)), tool_context)
        refuse_ungoverned(_past(tool), self.governing.allowed)
        _CALLED_UNDER[tool_context] = self
        if tool_context.tool_confirmation is not None:
            self._answered.add(tool_context)
            if _is_to_gate(tool_context):
                tool_context.tool_confirmation = None
        _stand_in(tool)
        return None

    async def call(self, tool: BaseTool, run: Any, tool_args: dict[str, Any], tool_context: ToolContext) -> Any:
        """One call of a tool, governed. `run` is the tool's own `run_async`."""
        streams = inspect.isasyncgenfunction(getattr(tool, "func", None))
        opened: asyncio.Future[tuple[Any, asyncio.Future[int]]] = asyncio.get_running_loop().create_future()

        async def once(arguments: JsonObject, stops: int) -> Any:  # noqa: ARG001 - the tool sees in its context what was answered
            token = _running.set(tool_context)
            try:
                result = await run(args=arguments, tool_context=tool_context)
            finally:
                _running.reset(token)
            if streams and inspect.isasyncgen(result):
                ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                opened.set_result((result, ended))
                return {"streamed": await ended}
            asked = {*tool_context.actions.requested_tool_confirmations, *tool_context.actions.requested_auth_configs}
            if tool_context.function_call_id in asked:
                raise _Asked(result)
            return result

        calling = self.governing.asettle(self._use(tool, tool_args, tool_context, once))
        try:
            if not streams:
                return self._answer(await calling, tool_context)
            settling = asyncio.ensure_future(calling)
            try:
                either: set[asyncio.Future[Any]] = {settling, opened}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not opened.done():
                    settling.cancel()
            return _streamed(*opened.result(), settling) if opened.done() else self._answer(settling.result(), tool_context)
        except _Asked as stopped:
            return stopped.result

    async def look_at(self, root: Any) -> Surveyed:
        """What of the tools of an agent, and of all below it, passes through here. Asks toolsets for their tools."""
        found = Surveyed()
        async for one, tools in _walk(root, asks=True):
            silent = [type(each).__name__ for each in getattr(one, "tools", ()) if isinstance(each, BaseToolset) and await _is_silent(each)]
            found += self._surveyed(tools) + Surveyed(ungoverned=(*_unseen(one, ()), *silent))
        return found

    def _surveyed(self, tools: Iterable[BaseTool]) -> Surveyed:
        calls = [tool for tool in tools if not _is_steering(tool)]
        return Surveyed(
            adopted=tuple(self._adopted(tool) for tool in calls if not _past(tool) and self._governed_name(tool) is None),
            governed=tuple(name for tool in calls if (name := self._governed_name(tool)) is not None),
            ungoverned=tuple(name for tool in calls for name in _past(tool)),
        )

    def _use(self, tool: BaseTool, tool_args: dict[str, Any], ctx: ToolContext, run: Any) -> Use[ToolContext]:
        span = current_span()
        return Use(
            tool=tool.name,
            arguments=tool_args,
            run=run,
            tell=lambda result: Told(plain(result)),
            call=_identity(ctx),
            context=ctx,
            is_async=True,
            adopt=lambda: None if _is_unknown(tool) else self._adopted(tool),
            governed=self._governed_name(tool),
            session=ctx.session.id,
            trace=Trace(trace_id=span.trace_id or ctx.invocation_id, span_id=ctx.function_call_id, parent=span.span_id),
        )

    def _answer(self, ending: Ending, ctx: ToolContext) -> Any:
        if isinstance(ending, Came):
            return ending.result
        if isinstance(ending, Repeated | Own):
            return ending.value
        if isinstance(ending, Waiting) and self._pause and ending.held.request is not None and self._can_pause(ctx):
            ctx.request_confirmation(hint=ending.text, payload=ending.asked)
            ctx.actions.skip_summarization = True
        return {"error": ending.text}

    def _can_pause(self, ctx: ToolContext) -> bool:
        """In live mode nothing waits, an agent behind a tool loses its session when it has answered, and a call is asked about once."""
        invocation = ctx.get_invocation_context()
        if invocation.live_request_queue is not None or isinstance(invocation.artifact_service, ForwardingArtifactService):
            return False
        return isinstance(ctx.node, _ToolNode) or ctx not in self._answered

    def _adopted(self, tool: BaseTool) -> AdoptedTool:
        known = self._known.get(tool.name)
        if known is None or known[0] is not tool:
            known = self._known[tool.name] = (tool, self.governing.adopted(tool.name, tool.description, _schema(tool)))
        return known[1]

    def _governed_name(self, tool: BaseTool) -> str | None:
        return self.governing.governed_name(getattr(tool, "func", None))


_CALLED_UNDER: Final[WeakKeyDictionary[ToolContext, Governance]] = WeakKeyDictionary()
_running: Final[ContextVar[ToolContext | None]] = ContextVar("licet_adk_running", default=None)
"""The call whose tool runs here: what a tool does itself is its call."""


class _StandIn:
    """In the place of one tool's `run_async`. Under a runner without the plugin the tool runs as it does without this."""

    def __init__(self, tool: BaseTool, run: Any) -> None:
        self.tool = tool
        self._run = run

    async def __call__(self, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        plugin = _CALLED_UNDER.get(tool_context) or tool_context.get_invocation_context().plugin_manager.get_plugin("licet")
        if not isinstance(plugin, Governance) or _running.get() is tool_context:
            return await self._run(args=args, tool_context=tool_context)
        return await plugin.call(self.tool, self._run, args, tool_context)


def _stand_in(tool: BaseTool) -> None:
    there = vars(tool).get("run_async")
    if _is_steering(tool) or (isinstance(there, _StandIn) and there.tool is tool):
        return
    own = MethodType(type(tool).run_async, tool)
    tool.run_async = _StandIn(tool, own if there is None or isinstance(there, _StandIn) else there)  # type: ignore[method-assign]


class _Asked(Exception):
    """The tool has asked for a confirmation or for credentials, and is called again with the answer. `result` is what it said meanwhile."""

    def __init__(self, result: Any) -> None:
        super().__init__("the tool has asked for something")
        self.result = result


async def _streamed(stream: Any, ended: asyncio.Future[int], settling: asyncio.Future[Ending]) -> AsyncIterator[Any]:
    """What a tool of live mode gives, one value after another. Its call ends when it does; or it ends with its call."""
    number = 0
    try:
        async with aclosing(stream):
            async for value in stream:
                if settling.done():
                    break
                number += 1
                yield value
        if not ended.done():
            ended.set_result(number)
    except Exception as error:
        if not ended.done():
            ended.set_exception(error)
        raise
    finally:
        if not ended.done():
            settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)


govern = Governance
"""What `gate.adk()` gives."""


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of a runner or an app: the tools of its agents, if a plugin of this gate is among its plugins."""
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


async def _walk(root: Any, *, asks: bool) -> AsyncIterator[tuple[Any, list[BaseTool]]]:
    """The agent or workflow, those below it, and those behind its tools, which run under the same plugins; each with its own tools.

    Toolsets are asked for theirs only with `asks`: they may be far away.
    """
    left: list[Any] = [root]
    seen: list[Any] = []
    while left:
        one = left.pop()
        if any(one is other for other in seen):
            continue
        seen.append(one)
        tools = await one.canonical_tools() if asks and isinstance(one, LlmAgent) else _own_tools(one)
        yield one, tools
        left += [*getattr(one, "sub_agents", ()), *getattr(getattr(one, "graph", None), "nodes", ())]
        left += [inner for inner in (getattr(one, "_node", None), *getattr(one, "tools", ())) if isinstance(inner, BaseNode)]
        left += [tool.agent for tool in tools if isinstance(tool, AgentTool) and tool.include_plugins]
        left += [tool.node for tool in tools if isinstance(tool, NodeTool)]


def _own_tools(one: Any) -> list[BaseTool]:
    """The tools of an agent or a node as they were given, without those of toolsets, which nobody knows before they are asked."""
    if isinstance(one, _ToolNode):
        return [one.tool]
    return [tool for tool in getattr(one, "tools", ()) if isinstance(tool, BaseTool)]


async def _is_silent(toolset: BaseToolset) -> bool:
    """Whether a toolset fails to say what it has. The framework leaves it out then, and asks it again before each call of the model."""
    try:
        await toolset.get_tools_with_prefix()
    except Exception:  # noqa: BLE001 - what cannot be told counts as not seen
        return True
    return False


def _unseen(one: Any, tools: Iterable[BaseTool]) -> Iterator[str]:
    """What no plugin sees of an agent or a node: tools, its code executor, or all that it does."""
    yield from (name for tool in tools for name in _past(tool))
    executor = getattr(one, "code_executor", None)
    if executor is not None:
        yield type(executor).__name__
    if isinstance(one, BaseAgent) and not isinstance(one, LlmAgent) and type(one)._run_async_impl not in _LEADING:  # noqa: SLF001
        yield f"{one.name} (an agent of another make)"


def _at_provider(llm_request: Any) -> Iterator[str]:
    """The tools in a request that run at the provider, by the names that they have there."""
    for one in llm_request.config.tools or ():
        fields = {name for name, value in one if value} if hasattr(one, "function_declarations") else {type(one).__name__}
        yield from sorted(fields - {"function_declarations", "computer_use"})


def _is_steering(tool: BaseTool) -> bool:
    return type(tool) in _STEERING or getattr(tool, "func", None) is exit_loop


def _is_unknown(tool: BaseTool) -> bool:
    """Whether the agent has no such tool: the framework puts an empty one in its place, to ask its callbacks."""
    return type(tool) is BaseTool


def _past(tool: BaseTool) -> list[str]:
    """Whether a tool runs where no plugin sees it: at the provider, or under a runner of its own without these plugins."""
    if isinstance(tool, AgentTool) and not tool.include_plugins:
        return [f"{tool.name} (an agent that runs without the plugins)"]
    at_provider = any(kind.__name__ == "VertexAiRagRetrieval" for kind in type(tool).__mro__)
    return [tool.name] if at_provider or type(tool).run_async is BaseTool.run_async else []


def _schema(tool: BaseTool) -> JsonObject:
    declaration = tool._get_declaration()  # noqa: SLF001 - it is what the model is shown
    schema: Any = None if declaration is None else declaration.parameters_json_schema
    if declaration is not None and declaration.parameters is not None:
        schema = schema or declaration.parameters.json_schema
    if hasattr(schema, "model_dump"):
        schema = schema.model_dump(mode="json", exclude_none=True, by_alias=True)
    return schema or _NO_ARGUMENTS


def _identity(ctx: ToolContext) -> tuple[str | None, ...] | None:
    """The event in which the model made this call is kept in the session, from which any process goes on.

    Agents that run side by side may have calls of one id: each has its own branch. A workflow calls a tool without a model: there it is the
    node's run that comes back.
    """
    session = ctx.session
    if isinstance(ctx.node, _ToolNode):
        return session.app_name, session.user_id, session.id, ctx.invocation_id, ctx.node_path
    name, call = _CONFIRMATION, ctx.function_call_id
    made = [event for event in session.events if any(one.id == call and one.name != name for one in event.get_function_calls())]
    here = [event for event in made if (event.author, event.branch) == (ctx.agent_name, ctx.branch)] or made
    return (session.app_name, session.user_id, session.id, here[-1].id, call) if here else None


def _is_to_gate(ctx: ToolContext) -> bool:
    """Whether the confirmation that has come back is to the gate's question, and not to one of the tool's or the framework's own."""
    asked = [found for event in ctx.session.events for call in event.get_function_calls() if (found := _question(call, ctx)) is not None]
    return bool(asked) and asked[-1].get("type") == "licet.approval"


def _question(call: Any, ctx: ToolContext) -> Mapping[str, Any] | None:
    """The payload of a question about the call of this context; None where it is about another one, or no question."""
    args = call.args or {}
    if call.name == _CONFIRMATION and args.get("originalFunctionCall", {}).get("id") == ctx.function_call_id:
        payload = args.get("toolConfirmation", {}).get("payload")
    elif call.id == f"wf_tool_confirmation:{ctx.node_path}":
        payload = (args.get("payload") or {}).get("confirmation_payload")
    else:
        return None
    return payload if isinstance(payload, Mapping) else {}
