"""Pydantic AI: a capability that sends every call of a tool through the gate.

    agent = Agent(model, tools=tools, capabilities=[gate.pydantic_ai()])

Rules:

1. The gate stands around the toolsets themselves, behind the hooks and the toolsets of every other capability: what these make of the
   arguments is decided on as it is then, and the tool runs with exactly that. So there is one such capability; with a second the
   framework finds no order, and raises.
2. A call that waits for people defers the run (`ApprovalRequired`) where the agent's output may be `DeferredToolRequests`; where it may
   not, it is refused, with its request's id. What the run goes on with grants nothing: an approved call is made again, and decided afresh.
3. Tools that the model's provider runs, tools that are executed outside of the run, and functions that take the output do not pass
   through a toolset: the agent does not start with one, and an output function that a single run brings is refused before it is called.

4. Only a tool that asks for approval itself is called again under the same id. One that asks for another call, is late or goes on
   elsewhere may have done something by then: a history that is replayed does not run it anew.

Source: pydantic-ai 2.x, `capabilities/abstract.py`, `toolsets/wrapper.py`, `tool_manager.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_ai import Agent, RunContext
from pydantic_ai.agent import WrapperAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.capabilities.abstract import CapabilityOrdering
from pydantic_ai.exceptions import ApprovalRequired, ToolFailed
from pydantic_ai.messages import ModelResponse, ToolCallPart, ToolReturn
from pydantic_ai.native_tools._tool_search import ToolSearchTool
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset, ToolsetTool, WrapperToolset
from pydantic_ai.usage import RunUsage
from pydantic_core import to_jsonable_python

from licet.catalog.adopted import AdoptedTool
from licet.errors import LicetError
from licet.gate.brought import Told
from licet.gate.gate import Gate
from licet.integrations.coverage import Surveyed
from licet.integrations.elsewhere import awaited_elsewhere
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Own, Refused, Repeated, Use, Waiting, refuse_ungoverned
from licet.integrations.hosted import hosted_in
from licet.integrations.recorded import plain
from licet.integrations.spans import current_span
from licet.model import JsonObject, Trace

_STEERING: Final = (ApprovalRequired,)
"""By this a tool asks to be called again under the same id."""


class NotFaithful(LicetError):
    """A tool's arguments have no JSON from which the same values come again."""


@dataclass(init=False)
class Governance(AbstractCapability[Any]):
    """The capability of `gate.pydantic_ai()`. `caller` says who calls, from the `RunContext` of a call."""

    def __init__(
        self,
        gate: Gate,
        *,
        caller: CallerOf[RunContext[Any]] | None = None,
        pause: bool = True,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.governing: Governing[RunContext[Any]] = Governing(
            gate, "pydantic_ai", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned, paused=_STEERING
        )
        self.pause = pause

    def get_ordering(self) -> CapabilityOrdering | None:
        """Innermost, also of those: nothing of another capability stands between the gate and the toolsets."""
        return CapabilityOrdering(position="innermost", wrapped_by=[AbstractCapability])

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """The agent's toolset, behind the gate."""
        return GovernedToolset(toolset, self)

    async def before_model_request(self, ctx: RunContext[Any], request_context: Any) -> Any:
        """Look at what the model is about to be shown. Raises `UngovernedTools`, `CatalogInvalid`."""
        shown = request_context.model_request_parameters
        hosted = [*_native_names(shown.native_tools), *_external(shown.function_tools), *_output_functions(ctx.agent)]
        refuse_ungoverned([*hosted, *_set(request_context.model_settings)], self.governing.allowed)
        return request_context

    async def before_output_process(self, ctx: RunContext[Any], *, output_context: Any, output: Any) -> Any:  # noqa: ARG002 - the framework's signature
        """An output function is code that a model's words run. Raises `UngovernedTools` for one that nobody has let go past."""
        if output_context.has_function:
            refuse_ungoverned([output_context.function_name or "an output function"], self.governing.allowed)
        return output


@dataclass
class GovernedToolset(WrapperToolset[Any]):
    """All toolsets of an agent, behind the gate."""

    governance: Governance
    _known: dict[str, tuple[ToolDefinition, AdoptedTool]] = field(default_factory=dict)

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """The tools, made known to the gate. Raises `CatalogInvalid`."""
        found = await super().get_tools(ctx)
        self.see(found.values())
        return found

    def see(self, tools: Iterable[ToolsetTool[Any]]) -> None:
        """Make tools known to the gate. Raises `CatalogInvalid`."""
        adopted = [self._adopted(tool.tool_def) for tool in tools if self._governed_name(tool) is None]
        self.governance.governing.see(adopted, ())

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]) -> Any:
        """One call of a tool, governed. Raises what the tool raised, and the framework's own exceptions."""

        async def run(arguments: JsonObject, stops: int) -> Any:  # noqa: ARG001 - a tool that was stopped is called as ever
            values = _values(tool, arguments, ctx)
            return await super(GovernedToolset, self).call_tool(name, values, ctx, tool)

        try:
            use = self._use(name, tool_args, ctx, tool, run)
        except Exception as error:  # noqa: BLE001 - a validator's own code may raise anything, and nothing has run
            return _answer(self.governance.governing.refused(name, error), defers=False)
        return _answer(await self.governance.governing.asettle(use), self.governance.pause and _defers(ctx))

    def _use(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any], run: Callable[[JsonObject, int], Any]
    ) -> Use[RunContext[Any]]:
        response = _response_of(ctx)
        return Use(
            tool=name,
            arguments=_arguments(tool, tool_args, ctx, response),
            run=run,
            tell=_told,
            call=None if response is None else (*_identity(response), ctx.tool_call_id),
            context=ctx,
            is_async=True,
            adopt=lambda: self._adopted(tool.tool_def),
            governed=self._governed_name(tool),
            session=ctx.conversation_id,
            trace=_trace(ctx),
        )

    def _adopted(self, definition: ToolDefinition) -> AdoptedTool:
        known = self._known.get(definition.name)
        if known is None or known[0] != definition:
            adopted = self.governance.governing.adopted(definition.name, definition.description, definition.parameters_json_schema)
            known = self._known[definition.name] = (definition, adopted)
        return known[1]

    def _governed_name(self, tool: ToolsetTool[Any]) -> str | None:
        return self.governance.governing.governed_name(_function_of(tool))


def govern(
    gate: Gate,
    *,
    caller: CallerOf[RunContext[Any]] | None = None,
    pause: bool = True,
    prefix: str = "",
    allow_ungoverned: Iterable[str] = (),
) -> Governance:
    """What `gate.pydantic_ai()` gives."""
    return Governance(gate, caller=caller, pause=pause, prefix=prefix, allow_ungoverned=allow_ungoverned)


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of an agent: its toolsets, if the capability of this gate is among its own."""
    agent = _inner(agent)
    assert isinstance(agent, Agent)
    found: list[Governance] = []
    agent.root_capability.apply(lambda one: found.append(one) if isinstance(one, Governance) and one.governing.gate is gate else None)
    tools = _listed(agent)
    hosted = (*_native_names(agent.root_capability.get_native_tools()), *_output_functions(agent))
    if not found:
        return Surveyed(ungoverned=(*tools, *hosted))
    seen = GovernedToolset(FunctionToolset(), found[0])
    inside = {name: tool for name, tool in tools.items() if tool.tool_def.kind != "external"}
    return Surveyed(
        adopted=tuple(seen._adopted(tool.tool_def) for tool in inside.values() if seen._governed_name(tool) is None),  # noqa: SLF001
        governed=tuple(name for tool in inside.values() if (name := seen._governed_name(tool)) is not None),  # noqa: SLF001
        ungoverned=(*hosted, *sorted(tools.keys() - inside.keys())),
    )


def _listed(agent: Agent[Any, Any]) -> dict[str, ToolsetTool[Any]]:
    """The tools of an agent's toolsets, asked of them as a run would."""

    async def ask() -> dict[str, ToolsetTool[Any]]:
        ctx: RunContext[Any] = RunContext(deps=None, model=agent.model, usage=RunUsage(), agent=agent)  # type: ignore[arg-type]
        found: dict[str, ToolsetTool[Any]] = {}
        for toolset in agent.toolsets:
            found.update(await (await toolset.for_run(ctx)).get_tools(ctx))
        return found

    return {name: tool for name, tool in awaited_elsewhere(ask).items() if tool.tool_def.kind != "output"}


def _inner(agent: Any) -> Any:
    """The agent itself, of one that wraps another."""
    while isinstance(agent, WrapperAgent):
        agent = agent.wrapped
    return agent


def _arguments(tool: ToolsetTool[Any], values: dict[str, Any], ctx: RunContext[Any], response: ModelResponse | None) -> JsonObject:
    """The JSON from which the tool's values come again, exactly. Raises `NotFaithful`."""
    for unverified in _written(tool, values, ctx, response):
        try:
            if _values(tool, unverified, ctx) == values:
                return unverified
        except ValueError:  # a value is not written as it is read: a secret, a field that is left out or has another name
            continue
    raise NotFaithful("the arguments cannot be written as JSON from which the same would be read")


def _written(tool: ToolsetTool[Any], values: dict[str, Any], ctx: RunContext[Any], response: ModelResponse | None) -> Iterator[JsonObject]:
    """The values as they are written; then the words of the model, in which secrets are not masked."""
    whole = getattr(_schema_of(tool), "single_arg_name", None)  # the model is shown the fields of the one argument
    with suppress(ValueError):  # bytes that are no text, or what holds itself
        yield to_jsonable_python(values if whole is None else values[whole], fallback=plain)
    for part in response.parts if response is not None else ():
        if isinstance(part, ToolCallPart) and part.tool_call_id == ctx.tool_call_id:
            yield part.args_as_dict()


def _values(tool: ToolsetTool[Any], arguments: JsonObject, ctx: RunContext[Any]) -> dict[str, Any]:
    """What the tool is called with: as JSON, since a strict type reads no date from a text of Python's."""
    values: dict[str, Any] = tool.args_validator.validate_json(json.dumps(arguments), context=ctx.validation_context)
    return values


def _set(settings: Mapping[str, Any] | None) -> Iterator[str]:
    """The settings by which a provider is given tools past the framework."""
    given = settings or {}
    yield from (name for name, value in given.items() if value and name.endswith(("_native_tools", "_builtin_tools")))
    yield from hosted_in({"extra_body": given.get("extra_body")})


def _function_of(tool: ToolsetTool[Any]) -> object:
    """The Python function behind a tool, as it was given; None where there is none, as of a server's tool."""
    return getattr(_schema_of(tool), "function", None)


def _schema_of(tool: ToolsetTool[Any]) -> object:
    """What the framework knows of the Python function behind a tool; None where there is none."""
    while hasattr(tool, "source_tool"):  # toolsets that are made of others wrap what these gave
        tool = tool.source_tool
    return getattr(getattr(tool, "call_func", None), "__self__", None)


def _native_names(tools: Iterable[Any]) -> list[str]:
    """Tools that the provider runs. Its search among the agent's own tools runs none of them."""
    return [
        str(getattr(tool, "unique_id", None) or getattr(tool, "kind", None) or getattr(tool, "__name__", type(tool).__name__))
        for tool in tools
        if not isinstance(tool, ToolSearchTool)
    ]


def _external(tools: Iterable[ToolDefinition]) -> list[str]:
    return [tool.name for tool in tools if tool.kind == "external"]


def _output_functions(agent: Any) -> list[str]:
    """The functions that take an agent's output, by the names of the tools that lead to them."""
    schema = getattr(_inner(agent), "_output_schema", None)
    toolset = getattr(schema, "toolset", None)
    processors = dict(getattr(toolset, "processors", None) or {})
    names = [name for name, one in processors.items() if getattr(one, "_function_schema", None) is not None]
    if not processors:  # the output is text, or an object that the model writes as text
        for processor in (getattr(schema, "text_processor", None), getattr(schema, "processor", None)):
            function = getattr(processor, "_function_schema", None)
            if function is not None:
                names.append(getattr(function.function, "__name__", "an output function"))
    return list(dict.fromkeys(names))


def _defers(ctx: RunContext[Any]) -> bool:
    """Whether the run may end with calls that wait. Where a single run says otherwise, the framework ends it with an error."""
    return bool(getattr(getattr(_inner(ctx.agent), "_output_schema", None), "allows_deferred_tools", False))


def _response_of(ctx: RunContext[Any]) -> ModelResponse | None:
    """The message in which the model made this call: it is kept, as it is, in the history that a run goes on from."""
    if ctx.tool_call_id is None:
        return None
    for message in reversed(ctx.messages):
        if isinstance(message, ModelResponse) and any(
            isinstance(part, ToolCallPart) and part.tool_call_id == ctx.tool_call_id for part in message.parts
        ):
            return message
    return None


def _identity(response: ModelResponse) -> tuple[str | None, ...]:
    return response.conversation_id, response.run_id, response.timestamp.isoformat()


def _trace(ctx: RunContext[Any]) -> Trace:
    """OpenTelemetry's trace where the agent is instrumented, the run where it is not; within it the call, under the span it is of."""
    span = current_span()
    return Trace(trace_id=span.trace_id or ctx.run_id, span_id=ctx.tool_call_id, parent=span.span_id)


def _told(result: Any) -> Told:
    if isinstance(result, ToolReturn):
        return Told({"value": plain(result.return_value), "content": plain(result.content)})
    try:
        return Told({"value": plain(to_jsonable_python(result, fallback=plain))})
    except ValueError:  # it holds itself, or bytes that are no text: the tool has run all the same
        return Told({"value": plain(result)})


def _repeated(value: Any) -> Any:
    """What the tool gave, from what was recorded of it."""
    is_ours = isinstance(value, dict) and "value" in value and value.keys() <= {"value", "content"}
    return value["value"] if is_ours else value


def _answer(ending: Ending, defers: bool) -> Any:  # noqa: FBT001 - of the only caller
    if isinstance(ending, Came):
        return ending.result
    if isinstance(ending, Repeated):
        return _repeated(ending.value)
    if isinstance(ending, Own):
        return ending.value
    if isinstance(ending, Waiting) and defers and ending.held.request is not None:
        raise ApprovalRequired(metadata=ending.asked)
    assert isinstance(ending, Refused | Waiting)
    raise ToolFailed(ending.text)
