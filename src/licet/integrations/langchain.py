"""LangChain and LangGraph: a middleware that sends every call of a tool through the gate.

    agent = create_agent(model, tools=tools, middleware=[gate.langchain()])

Rules:

1. The tool runs with the arguments that were decided on, and once for each decision: middleware behind this one that changes the arguments,
   or runs the tool again, is refused where the tool would run.
2. A call that waits for people pauses the graph (`interrupt`) where there is a checkpointer; where there is none it is refused, with its
   request's id. What it is resumed with grants nothing: the call is made again, and decided afresh.
3. A tool may `interrupt` by itself. It is run again by the framework when it is resumed, and that is a new governed call.
4. Tools that run at the provider of the model, and nodes that run tools past this middleware, cannot be seen: the agent does not start.

Source: langchain 1.x, `agents/middleware/types.py`; langgraph 1.x, `prebuilt/tool_node.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from langchain.agents.middleware import AgentMiddleware, ModelRequest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolNode, ToolRuntime
from langgraph.types import Command, interrupt
from langsmith.run_helpers import get_current_run_tree
from pydantic import BaseModel

from licet.catalog.adopted import AdoptedTool
from licet.errors import UngovernedTools
from licet.gate.brought import Run, Told
from licet.gate.gate import Gate
from licet.gate.steps import EndedAs
from licet.integrations.coverage import Surveyed
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Own, Repeated, Use, Waiting
from licet.integrations.recorded import plain, text_of
from licet.model import JsonObject, Trace

KNOWN_LIMIT: Final = 1_000
"""Tools whose schemas are remembered: servers that make their tools anew for each run would fill the memory otherwise."""
Answer: TypeAlias = ToolMessage | Command[Any]


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
        use = self._use(request, lambda arguments, stops: handler(_bound(request, arguments, stops)), is_async=False)
        while True:
            ending = self._governing.settle(use)
            asked = self._asked(ending, request)
            if asked is None:
                return _answer(ending, request)
            interrupt(asked)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Answer]]) -> Answer:
        """As `wrap_tool_call`, on the running event loop."""
        use = self._use(request, lambda arguments, stops: handler(_bound(request, arguments, stops)), is_async=True)
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
        settings = (request.model_settings or {}).get("tools", ())
        tools = [*request.tools, *bound, *settings]
        if len(tools) == len(self._seen) and all(one is other for one, other in zip(tools, self._seen, strict=True)):
            return  # a model is asked many times with the same tools
        surveyed = self.look_at(tools)
        self._governing.see(surveyed.adopted, surveyed.ungoverned)
        self._seen = tools

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
            schema = tool.tool_call_schema
            known = (tool, self._governing.adopted(tool.name, tool.description, schema if isinstance(schema, dict) else _schema(schema)))
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
_SCRATCHPAD: Final = "__pregel_scratchpad"


class _Once:
    """The tool for one execution, in its place in the request."""

    def __init__(self, tool: BaseTool, arguments: JsonObject, stops: int) -> None:
        self._tool = tool
        self._arguments = arguments
        self._stops = stops
        self._is_taken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tool, name)

    def invoke(self, call: dict[str, Any], config: Any = None, **options: Any) -> Any:
        self._check(call)
        _pass_answers(config, self._stops)
        return self._tool.invoke(call, config, **options)

    async def ainvoke(self, call: dict[str, Any], config: Any = None, **options: Any) -> Any:
        self._check(call)
        _pass_answers(config, self._stops)
        return await self._tool.ainvoke(call, config, **options)

    def _check(self, call: Mapping[str, Any]) -> None:
        """Rule 1. What the framework injects is not the model's, and stands beside the arguments that were decided on."""
        given = call["args"]
        declared = _names(self._tool)
        moved = {name for name in declared if given.get(name, _check) != self._arguments.get(name, _check)}
        if self._is_taken or moved:
            what = f"its argument `{min(moved)}` was changed" if moved else "it ran already"
            message = f"`{self._tool.name}` is not run: {what} after it was decided on; put `gate.langchain()` last among the middleware"
            # What ran once has been executed, whatever is refused afterwards: nobody may be told that nothing was done.
            raise EndedAs("error" if self._is_taken else "not_executed", "not_as_decided", message)
        self._is_taken = True


def _check() -> None:
    """Stands for what is not there: nothing equals it but itself."""


def _names(tool: BaseTool) -> set[str]:
    schema = tool.tool_call_schema
    found = schema if isinstance(schema, dict) else _schema(schema)
    return set(found.get("properties", {}))


def _pass_answers(config: Any, stops: int) -> None:
    """What the graph was resumed with while people decided is no answer to what the tool itself may ask: it is passed over (rule 3)."""
    scratchpad = (config or {}).get("configurable", {}).get(_SCRATCHPAD)
    if scratchpad is None:
        return
    answers = len(scratchpad.resume) + (scratchpad.get_null_resume(False) is not None)
    for _ in range(answers - stops):
        interrupt(None)  # returns: there is an answer


def _bound(request: ToolCallRequest, arguments: JsonObject, stops: int) -> ToolCallRequest:
    """The request with the arguments that were decided on."""
    assert request.tool is not None
    tool: Any = _Once(request.tool, arguments, stops)
    return request.override(tool=tool, tool_call={**request.tool_call, "args": arguments})


def _told(result: Answer) -> Told:
    if isinstance(result, ToolMessage):
        recorded = {"content": plain(result.content)}
        if result.artifact is not None:
            recorded["artifact"] = plain(result.artifact)
        return Told(recorded, failed=str(result.text) if result.status == "error" else None)
    return Told({"commands": plain(result)})


def _answer(ending: Ending, request: ToolCallRequest) -> Answer:
    call = request.tool_call
    if isinstance(ending, Came):
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


def _schema(model: Any) -> JsonObject:
    """The JSON Schema of a model, of whichever version of pydantic."""
    schema: JsonObject = model.model_json_schema() if issubclass(model, BaseModel) else model.schema()
    return schema


def _thread(config: Mapping[str, Any]) -> str | None:
    thread = config.get("configurable", {}).get("thread_id")
    return None if thread is None else str(thread)


def _call_id(request: ToolCallRequest, thread: str | None) -> tuple[str | None, ...] | None:
    """The call's own id is unique within its message, the message within its thread; some models number their calls from one."""
    call = request.tool_call["id"]
    message = _message_id(request.state, call) if call else None
    return None if not call or message is None else (thread, message, call)


def _message_id(state: Any, call: str) -> str | None:
    found: Any = state.get("messages", ()) if isinstance(state, dict) else getattr(state, "messages", state)
    messages: list[Any] = found if isinstance(found, list) else []
    for message in reversed(messages):
        if isinstance(message, AIMessage) and any(one["id"] == call for one in message.tool_calls):
            return message.id
    return None


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
    for node in nodes.values():
        bound = getattr(node, "bound", node)
        if isinstance(bound, ToolNode):
            found += _survey_node(gate, bound)
        elif hasattr(bound, "nodes"):
            found += survey(gate, bound)
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
    """Every middleware of ours that a function was made of: frameworks compose wrappers as closures."""
    seen: set[int] = set()
    left = [function]
    found = []
    while left and len(seen) < _PARTS:
        part = left.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Governance):
            found.append(part)
        left += [cell.cell_contents for cell in getattr(part, "__closure__", None) or () if _is_filled(cell)]
        left += [getattr(part, name, None) for name in ("__self__", "__wrapped__", "func")]
        left += part if isinstance(part, list | tuple) else ()
    return found


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
