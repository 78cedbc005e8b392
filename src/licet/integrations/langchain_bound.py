"""LangChain: one call of a tool as it stands behind the gate, where other middleware may still touch it.

Rules:

1. The tool that was decided on runs, with the arguments that were decided on, once. What was changed is refused where the tool would run.
2. What comes back without the tool having run is no result of it: something behind the gate answered in its place, or ran another tool.
3. What a graph was resumed with while people decided is no answer to what the tool itself may ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg
from langgraph.errors import ParentCommand
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolRuntime
from langgraph.types import Command, interrupt
from msgspec import Struct
from pydantic import BaseModel

from licet.gate.steps import EndedAs
from licet.model import JsonObject, OutcomeStatus

Answer: TypeAlias = ToolMessage | Command[Any]
_SCRATCHPAD = "__pregel_scratchpad"
_HOW = "put `gate.langchain()` last among the middleware"


class Left(Struct, frozen=True):
    """The tool has run, and told the graph above to go on: the framework says so with an exception."""

    error: ParentCommand


def run_bound(request: ToolCallRequest, handler: Callable[[ToolCallRequest], Answer], arguments: JsonObject, stops: int) -> Answer | Left:
    """Let the framework run the tool. Raises what the tool raised, and `EndedAs` where it was not run as it was decided."""
    once = _Once(request, arguments, stops)
    try:
        answer = handler(once.request)
    except ParentCommand as error:
        return once.answered(Left(error))
    return once.answered(answer)


async def arun_bound(
    request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Answer]], arguments: JsonObject, stops: int
) -> Answer | Left:
    """As `run_bound`, on the running event loop."""
    once = _Once(request, arguments, stops)
    try:
        answer = await handler(once.request)
    except ParentCommand as error:
        return once.answered(Left(error))
    return once.answered(answer)


def schema_of(tool: BaseTool) -> JsonObject:
    """The JSON Schema of what a model may give a tool, of whichever version of pydantic."""
    schema = tool.tool_call_schema
    if isinstance(schema, dict):
        return schema
    found: JsonObject = schema.model_json_schema() if issubclass(schema, BaseModel) else schema.schema()
    return found


class _Bound(ToolCallRequest):
    """A request whose tool cannot be exchanged for another."""

    def override(self, **overrides: Any) -> ToolCallRequest:
        call: Any = overrides.get("tool_call", self.tool_call)
        if overrides.get("tool", self.tool) is not self.tool or call["name"] != self.tool_call["name"]:
            raise EndedAs("not_executed", "not_as_decided", f"`{self.tool_call['name']}` was exchanged after it was decided on: {_HOW}")
        return super().override(**overrides)


class _Once:
    """The tool for one execution, in its place in the request."""

    def __init__(self, request: ToolCallRequest, arguments: JsonObject, stops: int) -> None:
        assert request.tool is not None
        tool: Any = self
        self._tool = request.tool
        self._arguments = arguments
        self._stops = stops
        self._is_taken = False
        self._refused: EndedAs | None = None
        self.request = _Bound({**request.tool_call, "args": arguments}, tool, request.state, request.runtime)

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

    def answered(self, answer: Answer | Left) -> Answer | Left:
        """What came back, if it is the tool's (rule 2)."""
        if self._refused is not None:
            raise self._refused  # somebody made something else of it
        if not self._is_taken:
            message = f"`{self._tool.name}` was not run: something behind the gate answered in its place, or ran another tool; {_HOW}"
            raise EndedAs("error", "not_as_decided", message)
        return answer

    def _check(self, call: Mapping[str, Any]) -> None:
        """Rule 1."""
        moved = self._moved(call["args"])
        if self._is_taken or moved:
            what = f"its argument `{min(moved)}` was changed" if moved else "it ran already"
            # What ran once has been executed, whatever is refused afterwards: nobody may be told that nothing was done.
            status: OutcomeStatus = "error" if self._is_taken else "not_executed"
            message = f"`{self._tool.name}` is not run: {what} after it was decided on; {_HOW}"
            self._refused = EndedAs(status, "not_as_decided", message)
            raise self._refused
        self._is_taken = True

    def _moved(self, given: Mapping[str, Any]) -> set[str]:
        """The arguments that are not as they were decided on. What the framework injects is not the model's, and stands beside them."""
        moved = {name for name in {*given, *self._arguments} if given.get(name, _Once) != self._arguments.get(name, _Once)}
        return moved and moved - (_injected(self._tool) - self._arguments.keys())


def _injected(tool: BaseTool) -> set[str]:
    """The arguments that the framework fills in."""
    hints: dict[str, Any] = {}
    for declares in (getattr(tool, "func", None), getattr(tool, "coroutine", None), tool.get_input_schema()):
        with suppress(TypeError, NameError):  # what has no annotations, or some that cannot be read, has nothing injected
            hints |= get_type_hints(declares, include_extras=True)
    return {name for name, hint in hints.items() if name == "runtime" or _is_injected(hint)}


def _is_injected(hint: Any) -> bool:
    parts = (hint, get_origin(hint), *get_args(hint))
    kinds = [part if isinstance(part, type) else type(part) for part in parts]
    return any(issubclass(kind, InjectedToolArg | ToolRuntime) for kind in kinds)


def _pass_answers(config: Any, stops: int) -> None:
    """Rule 3: those answers are passed over."""
    scratchpad = (config or {}).get("configurable", {}).get(_SCRATCHPAD)
    if scratchpad is None:
        return
    answers = len(scratchpad.resume) + (scratchpad.get_null_resume(False) is not None)
    for _ in range(answers - stops):
        interrupt(None)  # returns: there is an answer
