"""LangChain and LangGraph: a middleware that sends every call of a tool through the gate.

    agent = create_agent(model, tools=tools, middleware=[gate.langchain()])

Rules:

1. The tool that was decided on runs, with the arguments that were decided on, and once for each decision: middleware behind this one that
   exchanges it, changes the arguments, answers in its place or runs it again is refused (`langchain_bound.py`).
2. A call that waits for people pauses the graph (`interrupt`) where there is a checkpointer; where there is none it is refused, with its
   request's id. What it is resumed with grants nothing: the call is made again, and decided afresh.
3. A tool may `interrupt` by itself. It is run again by the framework when it is resumed, and that is a new governed call.
4. Tools that run at the provider of the model cannot be seen: the agent does not start. Nodes of a graph that run tools past this
   middleware are named by `gate.coverage(graph)`; by themselves they ask nobody.

Source: langchain 1.x, `agents/middleware/types.py`; langgraph 1.x, `prebuilt/tool_node.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from langchain.agents.middleware import AgentMiddleware, ModelRequest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolNode, ToolRuntime
from langgraph.types import Command, interrupt
from langsmith.run_helpers import get_current_run_tree

from licet.catalog.adopted import AdoptedTool
from licet.errors import UngovernedTools
from licet.gate.brought import Run, Told
from licet.gate.gate import Gate
from licet.integrations.coverage import Surveyed
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Own, Repeated, Use, Waiting, refuse_ungoverned
from licet.integrations.hosted import hosted_in
from licet.integrations.langchain_bound import Answer, Left, arun_bound, run_bound, schema_of
from licet.integrations.recorded import plain, text_of
from licet.model import JsonObject, Trace

KNOWN_LIMIT: Final = 1_000
"""Tools whose schemas are remembered: servers that make their tools anew for each run would fill the memory otherwise."""


class Governance(AgentMiddleware[Any, Any]):
    """The middleware of `gate.langchain()`. It goes last in the list, so that what stands before it sees what the gate answers.

    `caller` says who calls, from the `ToolRuntime` of a call. With `pause=False` no graph is paused: a call that
    waits for people is refused, and the same call again goes on once they have decided.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        caller: CallerOf[ToolRuntime[Any, Any]] | None = None,
        pause: bool = True,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.tools: list[BaseTool] = []
        self._governing: Governing[ToolRuntime[Any, Any]] = Governing(
            gate, "langchain", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned, paused=(GraphBubbleUp,)
        )
        self._pause = pause
        self._seen: list[Any] = []
        self._known: OrderedDict[int, tuple[BaseTool, AdoptedTool]] = OrderedDict()

    @property
    def name(self) -> str:
        """The name by which the framework tells middleware apart."""
        return f"licet{self._governing.prefix}"

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> Any:
        """Look at the tools that the model is about to be shown. Raises `UngovernedTools`, `CatalogInvalid`."""
        self._look_at(request)
        return handler(request)

    async def awrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]) -> Any:
        """As `wrap_model_call`, on the running event loop."""
        self._look_at(request)
        return await handler(request)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Answer]) -> Answer:
        """One call of a tool, governed. Raises what the tool raised, and the framework's own interrupts."""
        use = self._use(request, lambda arguments, stops: run_bound(request, handler, arguments, stops), is_async=False)
        while True:
            ending = self._governing.settle(use)
            asked = self._asked(ending, request)
            if asked is None:
                return _answer(ending, request)
            interrupt(asked)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Answer]]) -> Answer:
        """As `wrap_tool_call`, on the running event loop."""
        use = self._use(request, lambda arguments, stops: arun_bound(request, handler, arguments, stops), is_async=True)
        while True:
            ending = await self._governing.asettle(use)
            asked = self._asked(ending, request)
            if asked is None:
                return _answer(ending, request)
            interrupt(asked)

    def look_at(self, tools: Iterable[BaseTool | Mapping[str, Any]]) -> Surveyed:
        """What of these tools passes through here."""
        seen = [tool for tool in tools if isinstance(tool, BaseTool)]
        return Surveyed(
            adopted=tuple(self._adopted(tool) for tool in seen if self._governed_name(tool) is None),
            governed=tuple(name for tool in seen if (name := self._governed_name(tool)) is not None),
            ungoverned=tuple(name for tool in tools if not isinstance(tool, BaseTool) and (name := _hosted(tool)) is not None),
        )

    @property
    def gate(self) -> Gate:
        """Whose middleware it is."""
        return self._governing.gate

    def _look_at(self, request: ModelRequest[Any]) -> None:
        bound = getattr(request.model, "kwargs", {}).get("tools", ())  # a model that tools were bound to before it got here
        settings = request.model_settings or {}
        tools = [*request.tools, *bound, *settings.get("tools", ())]
        refuse_ungoverned(self._added(request.model, settings), self._governing.allowed)
        if len(tools) == len(self._seen) and all(one is other for one, other in zip(tools, self._seen, strict=True)):
            return  # a model is asked many times with the same tools
        surveyed = self.look_at(tools)
        self._governing.see(surveyed.adopted, surveyed.ungoverned)
        self._seen = tools

    @staticmethod
    def _added(model: Any, settings: Mapping[str, Any]) -> list[str]:
        """What is added to a request as it is, by the settings of one, by a model that was bound to some, and by the model itself."""
        own = {name: getattr(model, name, None) for name in ("extra_body", "model_kwargs")}
        return [one for given in (settings, getattr(model, "kwargs", {}), own) for one in hosted_in(given, seen=("tools", "functions"))]

    def _use(self, request: ToolCallRequest, run: Run, *, is_async: bool) -> Use[ToolRuntime[Any, Any]]:
        call, tool = request.tool_call, request.tool
        config = request.runtime.config
        thread = _thread(config)
        return Use(
            tool=call["name"],
            arguments=call["args"],
            run=run,
            tell=_told,
            call=_call_id(request, thread),
            context=request.runtime,
            is_async=is_async,
            adopt=lambda: None if tool is None else self._adopted(tool),
            governed=None if tool is None else self._governed_name(tool),
            session=thread,
            trace=_trace(request),
        )

    def _adopted(self, tool: BaseTool) -> AdoptedTool:
        known = self._known.get(id(tool))
        if known is None or known[0] is not tool:
            known = (tool, self._governing.adopted(tool.name, tool.description, schema_of(tool)))
            self._known[id(tool)] = known
            if len(self._known) > KNOWN_LIMIT:
                self._known.popitem(last=False)
        return known[1]

    def _governed_name(self, tool: BaseTool) -> str | None:
        return self._governing.governed_name(getattr(tool, "func", None) or getattr(tool, "coroutine", None))

    def _asked(self, ending: Ending, request: ToolCallRequest) -> JsonObject | None:
        """What people are asked while the graph is paused; None where it is not paused."""
        if not isinstance(ending, Waiting) or not self._pause or ending.held.request is None:
            return None
        # A tool that has stopped the graph itself is resumed with an answer of its own; the two could not be told apart.
        pauses = ending.stops == 0 and request.runtime.config.get("configurable", {}).get(_CHECKPOINTER) is not None
        return ending.asked if pauses else None


_CHECKPOINTER: Final = "__pregel_checkpointer"


def _told(result: Answer | Left) -> Told:
    if isinstance(result, Left):
        (command,) = result.error.args
        return Told({"commands": [_changes(command)]})
    if isinstance(result, ToolMessage):
        recorded = {"content": plain(result.content)}
        if result.artifact is not None:
            recorded["artifact"] = plain(result.artifact)
        return Told(recorded, failed=str(result.text) if result.status == "error" else None)
    update = result.update if isinstance(result.update, dict) else {}
    messages = [one for one in update.get("messages", ()) if isinstance(one, ToolMessage) and one.status == "error"]
    return Told({"commands": [_changes(result)]}, failed=str(messages[0].text) if messages else None)


def _changes(command: Command[Any]) -> JsonObject:
    """What a command does to the state of its graph, and where it goes on."""
    parts = {"update": command.update, "goto": command.goto, "graph": command.graph}
    return {name: plain(part) for name, part in parts.items() if part}


def _answer(ending: Ending, request: ToolCallRequest) -> Answer:
    call = request.tool_call
    if isinstance(ending, Came):
        if isinstance(ending.result, Left):
            raise ending.result.error
        answer: Answer = ending.result
        return answer
    if isinstance(ending, Repeated):
        return ToolMessage(content=_repeated(ending.value), name=call["name"], tool_call_id=call["id"])
    if isinstance(ending, Own):
        return ToolMessage(content=text_of(ending.value), name=call["name"], tool_call_id=call["id"])
    return ToolMessage(content=ending.text, name=call["name"], tool_call_id=call["id"], status="error")


def _repeated(value: Any) -> Any:
    """What a message holds, from what was recorded of it. Changes of the graph's state are not made twice."""
    if isinstance(value, dict) and value.keys() <= {"content", "artifact"} and "content" in value:
        return value["content"]
    if isinstance(value, dict) and value.keys() == {"commands"}:
        return "it ran before, for this same call; what it changed in the state of the graph is not changed again"
    return text_of(value)


def _thread(config: Mapping[str, Any]) -> str | None:
    thread = config.get("configurable", {}).get("thread_id")
    return None if thread is None else str(thread)


def _call_id(request: ToolCallRequest, thread: str | None) -> tuple[str | None, ...] | None:
    """The call's own id is unique within its message, the message within its thread; some models number their calls from one.

    Of messages without an id the step of the graph is known where there is a checkpointer, which alone could come back with it.
    """
    call = request.tool_call["id"]
    if not call:
        return None
    message = _message_id(request.state, call)
    if message is not None:
        return thread, message, call
    configurable = request.runtime.config.get("configurable", {})
    step = configurable.get("checkpoint_ns")
    return (thread, "step", step, call) if step and configurable.get(_CHECKPOINTER) is not None else None


def _message_id(state: Any, call: str) -> str | None:
    """Of the newest message with this call, whatever the graph calls its messages."""
    fields = state if isinstance(state, dict) else getattr(state, "__dict__", {"messages": state})
    lists = [value for value in fields.values() if isinstance(value, list)]
    made = [one for messages in lists for one in reversed(messages) if isinstance(one, AIMessage)]
    return next((one.id for one in made if any(asked["id"] == call for asked in one.tool_calls)), None)


def _trace(request: ToolCallRequest) -> Trace:
    """LangSmith's trace where it is on, the run's id or the thread where it is not; within it the call, under the run that it is of."""
    config, info = request.runtime.config, request.runtime.execution_info
    tree = get_current_run_tree()
    run = None if info is None else info.run_id
    of = getattr(config.get("callbacks"), "parent_run_id", None) if tree is None else tree.id
    return Trace(
        trace_id=str(tree.trace_id) if tree is not None else run or _thread(config),
        span_id=request.tool_call["id"],
        parent=None if of is None else str(of),
    )


def govern(
    gate: Gate,
    *,
    caller: CallerOf[ToolRuntime[Any, Any]] | None = None,
    pause: bool = True,
    prefix: str = "",
    allow_ungoverned: Iterable[str] = (),
) -> Governance:
    """What `gate.langchain()` gives."""
    return Governance(gate, caller=caller, pause=pause, prefix=prefix, allow_ungoverned=allow_ungoverned)


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of a graph: the tools of its nodes of tools that stand behind a middleware of this gate."""
    if isinstance(agent, ToolNode):
        return _survey_node(gate, agent)
    nodes: Mapping[str, Any] | None = getattr(agent, "nodes", None)
    if nodes is None:
        raise UngovernedTools(f"a `{type(agent).__name__}` shows no nodes to look at", ())
    found = Surveyed()
    seen: set[int] = set()
    for part in _parts(nodes.values(), seen):
        if isinstance(part, ToolNode):
            found += _survey_node(gate, part)
        elif part is not agent and hasattr(part, "nodes"):
            found += survey(gate, part)
    return found


def _survey_node(gate: Gate, node: ToolNode) -> Surveyed:
    here = [found for found in _governances(node) if found.gate is gate]
    if not here:
        return Surveyed(ungoverned=tuple(sorted(node.tools_by_name)))
    return here[0].look_at(node.tools_by_name.values())


def _governances(node: ToolNode) -> Iterator[Governance]:
    """The middleware through which both of its ways lead, synchronous and asynchronous, as far as that can be seen."""
    ways = [_reached(getattr(node, name, None)) for name in ("_wrap_tool_call", "_awrap_tool_call")]
    yield from [one for one in ways[0] if any(one is other for other in ways[1])]


def _reached(function: Any) -> list[Governance]:
    """Every middleware of ours that a function was made of."""
    return [part for part in _parts([function], set()) if isinstance(part, Governance)]


def _parts(of: Iterable[Any], seen: set[int]) -> Iterator[Any]:
    """What things are made of: frameworks compose runnables out of others, and wrappers as closures."""
    left = list(of)
    while left and len(seen) < _PARTS:
        part = left.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, ToolNode | Governance):
            continue
        left += [cell.cell_contents for cell in getattr(part, "__closure__", None) or () if _is_filled(cell)]
        left += [_held(part, name) for name in _COMPOSED]
        left += part if isinstance(part, list | tuple) else part.values() if isinstance(part, dict) else ()


_COMPOSED: Final = ("__self__", "__wrapped__", "func", "afunc", "bound", "runnable", "fallbacks", "steps", "steps__", "mapper", "default")


def _held(part: Any, name: str) -> Any:
    """An attribute, without asking what makes up attributes."""
    try:
        return object.__getattribute__(part, name)
    except AttributeError:
        return None


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises where it is empty
    except ValueError:
        return False
    return True


_PARTS: Final = 10_000


def _hosted(tool: Any) -> str | None:
    """The name of a tool that runs at the provider; None for the description of a function, which somebody must run here."""
    if not isinstance(tool, Mapping):
        return getattr(tool, "name", None) or type(tool).__name__
    if tool.get("type") == "function":
        return None
    return str(tool.get("name") or tool.get("type") or next(iter(tool), "a tool without a name"))
