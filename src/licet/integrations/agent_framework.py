"""Microsoft Agent Framework: middleware that sends every call of a tool through the gate.

    agent = Agent(client, tools=tools, middleware=[gate.agent_framework()])

Rules:

1. The tool runs with the arguments that were decided on, and once for each decision: middleware behind this one that changes the arguments,
   or runs the tool again, is refused where the tool would run.
2. A call that waits for people pauses a run that has a session, with a request for approval of the framework's own; without a session, and
   in an agent behind a tool, it is refused, with its request's id. The answer to the request grants nothing: the call is made again then,
   and decided afresh.
3. What this raises ends the call as a failed one, or ends the run: nothing runs.
4. Tools that run at the provider of the model or in the host program, and agents behind tools that are not governed themselves, cannot be
   seen: the model is not asked.

Source: agent-framework-core 1.x, `_middleware.py`, `_tools.py` (`_auto_invoke_function`, `FunctionTool.invoke`), `_agents.py`.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from agent_framework import (
    AgentMiddlewareLayer,
    ChatContext,
    ChatMiddleware,
    ChatMiddlewareLayer,
    Content,
    FunctionInvocationContext,
    FunctionInvocationLayer,
    FunctionMiddleware,
    FunctionTool,
    MiddlewareBundle,
    MiddlewareTermination,
    UserInputRequiredException,
)
from pydantic_core import to_jsonable_python

from licet.catalog.adopted import AdoptedTool
from licet.errors import UngovernedTools
from licet.gate.brought import Told
from licet.gate.gate import Gate
from licet.gate.steps import EndedAs
from licet.integrations.coverage import Surveyed
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Own, Repeated, Use, Waiting, refuse_ungoverned
from licet.integrations.hosted import hosted_in
from licet.integrations.recorded import plain, text_of
from licet.integrations.spans import current_span
from licet.model import JsonObject, Trace

_ONCE: Final = "_licet_once"
_APPROVAL: Final = "approval_response"
_OCCURRENCE: Final = "function_call_occurrence_id"
_VISIBLE: Final = "original_arguments_for_messages"
_PREPARED: Final = "_prepared_function_arguments"
_BEHIND_A_TOOL: Final[ContextVar[bool]] = ContextVar("licet_behind_a_tool", default=False)


class Functions(FunctionMiddleware):
    """Governs the calls of tools."""

    def __init__(self, governing: Governing[FunctionInvocationContext], *, pause: bool) -> None:
        self.governing = governing
        self._pause = pause

    async def process(self, context: FunctionInvocationContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """One call of a tool, governed. Raises what the tool raised, and by what other middleware ends the run."""
        once: _Once | None = context.__dict__.get(_ONCE)
        if once is not None and once.gate is self.governing.gate:
            await call_next()  # the middleware of the client, within that of the agent: it is one call
            return
        given = to_jsonable_python(context.arguments)
        ended: list[MiddlewareTermination] = []

        async def run(arguments: JsonObject, _: int) -> Any:
            tool = context.function
            # An agent behind a tool works in a session that ends with the call: nobody could go on with it.
            _BEHIND_A_TOOL.set(_agent_behind(tool) is not None)
            with _bound(context, _Once(self.governing.gate, tool, arguments)):
                try:
                    await call_next()
                except MiddlewareTermination as termination:
                    # Somebody's way to end the run with this call's result: the call is done, and is not made again.
                    ended.append(termination)
                    return termination.result if context.result is None else context.result
                return context.result

        is_behind = _BEHIND_A_TOOL.get()
        try:
            ending = await self.governing.asettle(self._use(context, given, run))
        finally:
            _BEHIND_A_TOOL.set(is_behind)
        context.result = self._result(ending, context, given, is_behind=is_behind)
        if ended and isinstance(ending, Came):
            raise ended[0]

    def look_at(self, tools: Iterable[Any]) -> Surveyed:
        """What of these tools passes through here."""
        # A server's tools are told once it is connected; until then it stands for them, as something that is not seen.
        found = [one for tool in tools for one in (getattr(tool, "functions", None) or [tool])]
        seen = [tool for tool in found if isinstance(tool, FunctionTool) and not tool.declaration_only]
        others = [_hosted(tool) for tool in found if not any(tool is one for one in seen)]
        nested = [f"{tool.name} (an agent that is not governed)" for tool in seen if self._leads_past(tool)]
        return Surveyed(
            adopted=tuple(self._adopted(tool) for tool in seen if self._governed_name(tool) is None),
            governed=tuple(name for tool in seen if (name := self._governed_name(tool)) is not None),
            ungoverned=(*others, *nested),
        )

    def _use(self, context: FunctionInvocationContext, given: Any, run: Callable[..., Any]) -> Use[FunctionInvocationContext]:
        tool = context.function
        session = None if context.session is None else str(context.session.session_id)
        call = context.metadata.get("call_id")
        return Use(
            tool=tool.name,
            arguments=given,
            run=run,
            tell=_told,
            call=_call_id(context, session),
            context=context,
            is_async=True,
            adopt=lambda: self._adopted(tool),
            governed=self._governed_name(tool),
            session=session,
            trace=_trace(session, call),
        )

    def _result(self, ending: Ending, context: FunctionInvocationContext, given: Any, *, is_behind: bool) -> Any:
        if isinstance(ending, Came):
            return ending.result
        if isinstance(ending, Repeated):
            return _repeated(ending.value)
        if isinstance(ending, Own):
            return text_of(ending.value)
        pauses = self._pause and context.session is not None and not is_behind
        if isinstance(ending, Waiting) and pauses and ending.held.request is not None:
            return _asked(ending, context, given)
        return ending.text

    def _adopted(self, tool: FunctionTool) -> AdoptedTool:
        return self.governing.adopted(tool.name, tool.description, tool.parameters())

    def _governed_name(self, tool: FunctionTool) -> str | None:
        return self.governing.governed_name(tool.func)

    def _leads_past(self, tool: FunctionTool) -> bool:
        agent = _agent_behind(tool)
        return agent is not None and not any(one.governing.gate is self.governing.gate for one in _found(agent))


class Tools(ChatMiddleware):
    """Looks at the tools that a model is about to be shown."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._seen: list[Any] = []

    async def process(self, context: ChatContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Raises `UngovernedTools`, `CatalogInvalid`."""
        options = context.options or {}
        refuse_ungoverned(hosted_in(options, seen=("tools",)), self._functions.governing.allowed)
        tools = _listed(options.get("tools"))
        if len(tools) != len(self._seen) or any(one is not other for one, other in zip(tools, self._seen, strict=True)):
            surveyed = self._functions.look_at(tools)
            self._functions.governing.see(surveyed.adopted, surveyed.ungoverned)
            self._seen = tools
        await call_next()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # bundles may still change, the framework says: where they do, agents are not made

    class Governance(MiddlewareBundle):
        """What `gate.agent_framework()` gives: both together, or none."""

        def __init__(self, functions: Functions) -> None:
            super().__init__([functions, Tools(functions)])
            self.functions = functions


class _Once:
    """The call for one execution, in its place in the context."""

    def __init__(self, gate: Gate, tool: FunctionTool, arguments: JsonObject) -> None:
        self.gate = gate
        self.tool = tool
        self.text = json.dumps(arguments)
        self.is_taken = False

    def check(self, value: Any) -> None:
        """Rule 1. The framework sets the arguments itself as the tool's own types."""
        if self.is_taken:
            return
        decided = json.loads(self.text)
        given = to_jsonable_python(value)
        if given != decided and given != to_jsonable_python(self.tool._prepare_arguments(decided)):  # noqa: SLF001
            raise self.refusal("its arguments were changed")

    def take(self) -> None:
        """Rule 1. The framework names the tool in the context where it is about to run."""
        if self.is_taken:
            raise self.refusal("it was run again")
        self.is_taken = True

    def refusal(self, what: str) -> EndedAs:
        """What ends the call. Where the tool has run before, nobody may take it for one that did not."""
        name = self.tool.name
        last = "put `gate.agent_framework()` last among the middleware"
        if self.is_taken:
            return EndedAs("error", "not_as_decided", f"`{name}` ran once, and {what} after that, which was refused; {last}")
        return EndedAs("not_executed", "not_as_decided", f"`{name}` is not run: {what} after it was decided on; {last}")


class _Guarded:
    """What a context is for as long as the gate holds its call."""

    @property
    def arguments(self) -> Any:
        """Always those that were decided on, each time anew: what is changed in them changes nothing."""
        return json.loads(self.__dict__[_ONCE].text)

    @arguments.setter
    def arguments(self, value: Any) -> None:
        self.__dict__[_ONCE].check(value)

    @property
    def function(self) -> FunctionTool:
        """The tool that was decided on."""
        found: FunctionTool = self.__dict__[_ONCE].tool
        return found

    @function.setter
    def function(self, value: FunctionTool) -> None:
        if value is not self.function:
            raise self.__dict__[_ONCE].refusal("it was exchanged for another tool")
        self.__dict__[_ONCE].take()


_KINDS: Final[dict[type, type]] = {}


def _guarded(kind: type) -> type:
    return _KINDS.setdefault(kind, type(kind.__name__, (_Guarded, kind), {}))


@contextmanager
def _bound(context: FunctionInvocationContext, once: _Once) -> Iterator[None]:
    """The context with the arguments that were decided on, which no middleware behind can exchange."""
    kind, own, visible = type(context), context.arguments, context.metadata.get(_VISIBLE)
    # The framework compares what runs with what it asked approval for: it is to compare what came in here, without the defaults since.
    context.metadata.setdefault(_VISIBLE, own)
    context.metadata.pop(_PREPARED, None)
    context.__dict__[_ONCE] = once
    context.__class__ = _guarded(kind)
    try:
        yield
    finally:
        context.__class__ = kind
        del context.__dict__[_ONCE]
        if visible is None:
            context.metadata.pop(_VISIBLE, None)


def _call_id(context: FunctionInvocationContext, session: str | None) -> tuple[str | None, ...] | None:
    """The framework gives each call of a model an id of its own, which it keeps; some models number their calls from one."""
    occurrence, call = context.metadata.get(_OCCURRENCE), context.metadata.get("call_id")
    return None if occurrence is None or call is None else (session, str(occurrence), str(call))


def _trace(session: str | None, call: Any) -> Trace:
    """OpenTelemetry's trace where there is one, the session where there is none; within it the call."""
    span = current_span()
    return Trace(trace_id=span.trace_id or session, span_id=None if call is None else str(call), parent=span.span_id)


def _asked(waiting: Waiting, context: FunctionInvocationContext, given: Any) -> Content:
    """The framework's own request for approval. That it is approved grants nothing (rule 2)."""
    call, occurrence = context.metadata.get("call_id"), context.metadata.get(_OCCURRENCE)
    is_again = context.metadata.get(_APPROVAL) is not None
    own = str(occurrence or call)
    name = f"{own}:replacement:{uuid.uuid4().hex}" if is_again else own
    return Content.from_function_approval_request(
        id=name,
        function_call=Content.from_function_call(call_id=str(call), name=context.function.name, arguments=given, id=occurrence),
        additional_properties={"_approval_request_id": name, "_replacement_approval_request": is_again, "licet": waiting.asked},
    )


def _told(result: Any) -> Told:
    contents = result if isinstance(result, list) else [result]
    if all(isinstance(one, Content) and one.type == "text" for one in contents):
        return Told({"content": "\n".join(one.text or "" for one in contents)})
    return Told({"content": [one.to_dict() if isinstance(one, Content) else plain(one) for one in contents]})


def _repeated(value: Any) -> str:
    """What was recorded, as text."""
    return text_of(value["content"] if isinstance(value, dict) and value.keys() == {"content"} else value)


def _listed(tools: Any) -> list[Any]:
    if tools is None:
        return []
    return list(tools) if isinstance(tools, list | tuple) else [tools]


def _hosted(tool: Any) -> str:
    """The name of a tool that does not run through here."""
    if isinstance(tool, Mapping):
        function = tool.get("function")
        named = function.get("name") if isinstance(function, Mapping) else None
        return str(named or tool.get("name") or tool.get("type") or "a tool without a name")
    return str(getattr(tool, "name", None) or getattr(tool, "type", None) or type(tool).__name__)


def _agent_behind(tool: FunctionTool) -> Any:
    """The agent of `agent.as_tool()`, which the framework keeps nowhere else."""
    function: Any = tool.func
    code = getattr(function, "__code__", None)
    if code is None or not code.co_qualname.endswith(".as_tool.<locals>._agent_wrapper"):
        return None
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    return cells["self"].cell_contents if "self" in cells else tool


def _found(agent: Any) -> Iterator[Functions]:
    """Every governance of an agent, and of its client; none where the framework would not ask it."""
    client = getattr(agent, "client", None)
    if not isinstance(client, FunctionInvocationLayer) or not isinstance(client, ChatMiddlewareLayer):
        return
    own = _listed(getattr(agent, "middleware", None)) if isinstance(agent, AgentMiddlewareLayer) else []
    for one in (*own, *client.function_middleware):
        if isinstance(one, Governance):
            yield one.functions
        elif isinstance(one, Functions):
            yield one


def govern(
    gate: Gate,
    *,
    caller: CallerOf[FunctionInvocationContext] | None = None,
    pause: bool = True,
    prefix: str = "",
    allow_ungoverned: Iterable[str] = (),
) -> Governance:
    """What `gate.agent_framework()` gives."""
    governing: Governing[FunctionInvocationContext] = Governing(
        gate, "agent_framework", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned, paused=(UserInputRequiredException,)
    )
    return Governance(Functions(governing, pause=pause))


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of an agent. Tools of a run, of context providers and of servers not yet connected are looked at when it runs."""
    options = getattr(agent, "default_options", None)
    if not isinstance(options, Mapping):
        raise UngovernedTools(f"a `{type(agent).__name__}` shows no tools to look at", ())
    tools = [*_listed(options.get("tools")), *getattr(agent, "mcp_tools", ())]
    here = [one for one in _found(agent) if one.governing.gate is gate]
    return here[0].look_at(tools) if here else Surveyed(ungoverned=tuple(sorted(map(_hosted, tools))))
