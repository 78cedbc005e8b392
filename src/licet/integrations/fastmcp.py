"""FastMCP: a middleware that sends every call of a server's tools through the gate.

    server = FastMCP("crm", middleware=[gate.fastmcp()])

Rules:

1. It is the last of the middleware: what stood behind it could change what was decided on, so that a server that has such calls nothing.
2. A tool that could never be permitted to whoever asks, or that nobody classified, is not listed: the pipeline's step 1, by the same
   code. Being listed is no permission.
3. A call that waits for people is refused with its request's id, and the same call again goes on once they have decided: the protocol has
   no pause that outlives a request. Each request is a call of its own, since its id says nothing beyond its connection.
4. Resources and prompts are no tools, and not governed here; in front of other servers the gateway governs them too. A tool that may run
   as a background task runs past the middleware: it is let past by name, or not at all.

Source: fastmcp 4.x, `server/middleware/middleware.py`, `server/server.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from weakref import WeakSet

from fastmcp import FastMCP
from fastmcp.server.middleware import Middleware, MiddlewareContext
from fastmcp.server.middleware.dereference import DereferenceRefsMiddleware
from fastmcp.tools.base import Tool, ToolResult

from licet.catalog.adopted import AdoptedTool
from licet.errors import CallerRefused, ConfigInvalid
from licet.gate import checks
from licet.gate.brought import Told
from licet.gate.gate import Gate
from licet.integrations.coverage import Surveyed
from licet.integrations.elsewhere import awaited_elsewhere
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Repeated, Use, refuse_ungoverned
from licet.integrations.recorded import plain, text_of
from licet.integrations.spans import current_span
from licet.model import JsonObject, Trace
from licet.names import quoted

_HARMLESS: Final = (DereferenceRefsMiddleware,)
"""The framework's own, which changes lists and no calls."""


class Governance(Middleware):
    """The middleware of `gate.fastmcp()`. `caller` says who calls, from the `MiddlewareContext` of a request."""

    def __init__(
        self,
        gate: Gate,
        *,
        caller: CallerOf[MiddlewareContext[Any]] | None = None,
        prefix: str = "",
        allow_ungoverned: Iterable[str] = (),
    ) -> None:
        self.governing: Governing[MiddlewareContext[Any]] = Governing(
            gate, "fastmcp", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        self._known: dict[str, tuple[Tool, AdoptedTool]] = {}
        self._seen: WeakSet[FastMCP[Any]] = WeakSet()

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: Any) -> Any:
        """One call of a tool, governed. Raises what the tool raised."""
        server = _server(context)
        _refuse_behind(self, server)
        name = context.message.name
        tool = await server.get_tool(name)
        if server not in self._seen:  # before its first call, all of its tools: policies speak of them together
            surveyed = self.look_at(await server.list_tools(run_middleware=False))
            self.governing.see(surveyed.adopted, surveyed.ungoverned)
            self._seen.add(server)
        if tool is not None:
            refuse_ungoverned(_past([tool]), self.governing.allowed)

        async def run(arguments: JsonObject, stops: int) -> Any:  # noqa: ARG001 - a tool is never stopped here
            return await call_next(context.copy(message=context.message.model_copy(update={"arguments": arguments})))

        use = Use(
            tool=name,
            arguments=context.message.arguments or {},
            run=run,
            tell=_told,
            call=None,
            context=context,
            is_async=True,
            adopt=lambda: None if tool is None else self._adopted(tool),
            governed=None if tool is None else self._governed_name(tool),
            session=None,
            trace=_trace(context),
        )
        return _answer(await self.governing.asettle(use))

    async def on_list_tools(self, context: MiddlewareContext[Any], call_next: Any) -> Sequence[Tool]:
        """The tools that whoever asks may ever call (rule 2). Raises `UngovernedTools`, `CatalogInvalid`."""
        tools: Sequence[Tool] = await call_next(context)
        surveyed = self.look_at(tools)
        self.governing.see(surveyed.adopted, surveyed.ungoverned)
        shown = self._shown(context, [self._name(tool) for tool in tools])
        return [tool for tool in tools if self._name(tool) in shown]

    def look_at(self, tools: Iterable[Tool]) -> Surveyed:
        """What of these tools passes through here."""
        found = list(tools)
        return Surveyed(
            adopted=tuple(self._adopted(tool) for tool in found if self._governed_name(tool) is None),
            governed=tuple(name for tool in found if (name := self._governed_name(tool)) is not None),
            ungoverned=tuple(_past(found)),
        )

    def _shown(self, context: MiddlewareContext[Any], names: list[str]) -> set[str]:
        scene = self.governing.gate.scene
        try:
            caller = checks.caller_of(self.governing.acting_of(context), scene)
            principals = scene.directory.principals(caller)
        except CallerRefused:
            return set()
        specs = {name: spec for name in names if (spec := scene.catalog.find_tool(name)) is not None}
        return {name for name, spec in specs.items() if checks.find_excluded(scene, spec, caller, principals) is None}

    def _name(self, tool: Tool) -> str:
        return self._governed_name(tool) or self.governing.prefix + tool.name

    def _adopted(self, tool: Tool) -> AdoptedTool:
        known = self._known.get(tool.name)
        if known is None or known[0].parameters != tool.parameters:
            known = self._known[tool.name] = (tool, self.governing.adopted(tool.name, tool.description, tool.parameters))
        return known[1]

    def _governed_name(self, tool: Tool) -> str | None:
        return self.governing.governed_name(getattr(tool, "fn", None))


def govern(
    gate: Gate,
    *,
    caller: CallerOf[MiddlewareContext[Any]] | None = None,
    pause: bool = True,  # noqa: ARG001 - a server cannot pause its client's agent
    prefix: str = "",
    allow_ungoverned: Iterable[str] = (),
) -> Governance:
    """What `gate.fastmcp()` gives."""
    return Governance(gate, caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned)


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of a server: its tools, if a middleware of this gate is the last of its own."""
    assert isinstance(agent, FastMCP)
    tools: list[Tool] = list(awaited_elsewhere(lambda: agent.list_tools(run_middleware=False)))
    here = [one for one in agent.middleware if isinstance(one, Governance) and one.governing.gate is gate]
    if not here:
        return Surveyed(ungoverned=tuple(tool.name for tool in tools))
    _refuse_behind(here[0], agent)
    return here[0].look_at(tools)


def _server(context: MiddlewareContext[Any]) -> FastMCP[Any]:
    found = context.fastmcp_context
    assert found is not None
    return found.fastmcp


def _refuse_behind(governance: Governance, server: FastMCP[Any]) -> None:
    """Rule 1. Raises `ConfigInvalid`."""
    place = next((number for number, one in enumerate(server.middleware) if one is governance), None)
    behind = [] if place is None else [one for one in server.middleware[place + 1 :] if not isinstance(one, _HARMLESS)]
    if behind:
        names = ", ".join(quoted(type(one).__name__) for one in behind)
        raise ConfigInvalid(f"{names} stands behind the gate and could change what was decided on: put `gate.fastmcp()` last")


def _past(tools: Iterable[Tool]) -> list[str]:
    """Tools that may run in the background (rule 4)."""
    return [tool.name for tool in tools if (config := getattr(tool, "task_config", None)) is not None and config.supports_tasks()]


def _trace(context: MiddlewareContext[Any]) -> Trace:
    """OpenTelemetry's trace where the server is instrumented; within it the request, by its id."""
    found, request = current_span(), None
    if context.fastmcp_context is not None and context.fastmcp_context.request_context is not None:
        request = str(context.fastmcp_context.request_id)
    return Trace(trace_id=found.trace_id, span_id=request, parent=found.span_id)


def _told(result: Any) -> Told:
    recorded = {"content": plain(result.content), "structured": plain(result.structured_content)} if isinstance(result, ToolResult) else {}
    failed = isinstance(result, ToolResult) and result.is_error
    return Told(recorded or plain(result), failed=text_of(plain(result.content)) if failed else None)


def _answer(ending: Ending) -> Any:
    if isinstance(ending, Came):
        return ending.result
    if isinstance(ending, Repeated):
        return ToolResult(content=text_of(ending.value))
    return ToolResult(content=ending.text, is_error=True)
