"""FastMCP: a middleware that sends every call of a server's tools through the gate.

    server = FastMCP("crm", middleware=[gate.fastmcp()])

Rules:

1. Nothing that could change what was decided on, or run it again, stands behind it: no other middleware, no middleware of a server that is
   mounted, no extension that takes part in calls. Nothing before it answers from a cache. A server where it is otherwise calls nothing, and
   the tool is run from here, not through what is said to come next.
2. A tool that could never be permitted to whoever asks, or that nobody classified, is not listed: the pipeline's step 1, by the same
   code. Being listed is no permission.
3. A call that waits for people is refused with its request's id, and the same call again goes on once they have decided. That a client is
   asked to wait, where its version of the protocol can, is what the gateway does in front of a server. Each request is a call of its own,
   since its id says nothing beyond its connection; what middleware before this one makes of one request, by trying it again, is one call.
4. Of a tool with several versions the newest is governed; a call that asks for another is refused.
5. Resources and prompts are no tools, and not governed here; in front of other servers the gateway governs them too. A tool that may run
   as a background task runs past the middleware: it is let past by name, or not at all.

Source: fastmcp 4.x, `server/middleware/middleware.py`, `server/server.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from uuid import uuid4
from weakref import WeakSet, finalize

from fastmcp import FastMCP
from fastmcp.server.extensions import ServerExtension
from fastmcp.server.middleware import Middleware, MiddlewareContext
from fastmcp.server.middleware.caching import ResponseCachingMiddleware
from fastmcp.server.middleware.dereference import DereferenceRefsMiddleware
from fastmcp.tools.base import Tool, ToolResult
from fastmcp.utilities.json_schema import dereference_refs
from fastmcp.utilities.versions import VersionSpec, version_sort_key
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from licet.catalog.adopted import AdoptedTool
from licet.errors import CallerRefused, ConfigInvalid, UngovernedTools
from licet.gate import checks
from licet.gate.brought import Told
from licet.gate.gate import Gate
from licet.integrations.coverage import Surveyed
from licet.integrations.elsewhere import awaited_elsewhere
from licet.integrations.governing import CallerOf, Came, Ending, Governing, Own, Repeated, Use, refuse_ungoverned
from licet.integrations.recorded import plain, text_of
from licet.integrations.spans import current_span
from licet.model import JsonObject, Trace
from licet.names import quoted

_HARMLESS: Final = (DereferenceRefsMiddleware,)
"""The framework's own, which changes lists and no calls. Not what is derived from it: that may do anything."""
_TASKS: Final = "io.modelcontextprotocol/tasks"
"""The extension by which tools run in the background. It leaves the calls of others alone, and those are refused (rule 5)."""
_CACHED: Final = ("_call_tool_settings", "_list_tools_settings")


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
        self._requests: dict[int, str] = {}

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: Any) -> Any:
        """One call of a tool, governed. Raises what the tool raised."""
        server = _server(context)
        refuse_misplaced(self, server)
        name = context.message.name
        tool = await server.get_tool(name)
        if server not in self._seen:  # before its first call, all of its tools: policies speak of them together
            surveyed = self.look_at(await server.list_tools(run_middleware=False))
            self.governing.see(surveyed.adopted, surveyed.ungoverned)
            self._seen.add(server)
        is_let_past = False
        if tool is not None:
            refuse_ungoverned(_past([tool]), self.governing.allowed)
            await refuse_behind_tool(tool)
            is_let_past = bool(_past([tool]))
            if not _wanted(context).matches(tool.version):
                return _refusal(f"denied (other_version): only the newest version of `{name}`, {tool.version}, passes through the gate")

        async def run(arguments: JsonObject, stops: int) -> Any:  # noqa: ARG001 - a tool is never stopped here
            if is_let_past:
                return await call_next(context.copy(message=context.message.model_copy(update={"arguments": arguments})))
            return await server.call_tool(name, arguments, run_middleware=False)  # rules 1 and 4

        use = Use(
            tool=name,
            arguments=context.message.arguments or {},
            run=run,
            tell=_told,
            call=self._call(context, server),
            context=context,
            is_async=True,
            adopt=lambda: None if tool is None else self._adopted(tool),
            governed=None if tool is None else self._governed_name(tool),
            session=_session(context),
            trace=_trace(context),
        )
        return _answer(await self.governing.asettle(use))

    async def on_list_tools(self, context: MiddlewareContext[Any], call_next: Any) -> Sequence[Tool]:
        """The tools that whoever asks may ever call (rule 2). Raises `UngovernedTools`, `CatalogInvalid`."""
        refuse_misplaced(self, _server(context))
        tools: Sequence[Tool] = await call_next(context)
        surveyed = self.look_at(tools)
        self.governing.see(surveyed.adopted, surveyed.ungoverned)
        shown = self._shown(context, [self._name(tool) for tool in tools])
        return [tool for tool in tools if self._name(tool) in shown]

    def look_at(self, tools: Iterable[Tool]) -> Surveyed:
        """What of these tools passes through here."""
        found = _newest(tools)
        return Surveyed(
            adopted=tuple(self._adopted(tool) for tool in found if self._governed_name(tool) is None),
            governed=tuple(name for tool in found if (name := self._governed_name(tool)) is not None),
            ungoverned=tuple(_past(found)),
        )

    def _call(self, context: MiddlewareContext[Any], server: FastMCP[Any]) -> tuple[str | None, ...] | None:
        """Rule 3: what identifies a call for as long as one request is worked on; None where nothing can come back with it."""
        current = context.fastmcp_context
        if server.middleware[0] is self or current is None:
            return None
        request = self._requests.get(id(current))
        if request is None:
            request = self._requests[id(current)] = uuid4().hex
            finalize(current, self._requests.pop, id(current), None)
        arguments = json.dumps(context.message.arguments or {}, sort_keys=True, default=repr)
        return (request, context.message.name, arguments)

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
            schema = dereference_refs(tool.parameters)  # lists show it so, and calls do not
            known = self._known[tool.name] = (tool, self.governing.adopted(tool.name, tool.description, schema))
        return known[1]

    def _governed_name(self, tool: Tool) -> str | None:
        return self.governing.governed_name(getattr(tool, "fn", None))


def govern(
    gate: Gate,
    *,
    caller: CallerOf[MiddlewareContext[Any]] | None = None,
    prefix: str = "",
    allow_ungoverned: Iterable[str] = (),
) -> Governance:
    """What `gate.fastmcp()` gives."""
    return Governance(gate, caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned)


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of a server: its tools, if a middleware of this gate is the last of its own.

    Raises `ConfigInvalid`, and `UngovernedTools` for what is no server.
    """
    if not isinstance(agent, FastMCP):
        raise UngovernedTools(f"a `{type(agent).__name__}` is no server: nobody can see where it leads", ())
    tools: list[Tool] = list(awaited_elsewhere(lambda: agent.list_tools(run_middleware=False)))
    here = [one for one in agent.middleware if isinstance(one, Governance) and one.governing.gate is gate]
    if not here:
        return Surveyed(ungoverned=tuple(sorted({tool.name for tool in tools})))
    refuse_misplaced(here[0], agent)
    for tool in _newest(tools):
        awaited_elsewhere(lambda tool=tool: refuse_behind_tool(tool))  # type: ignore[misc]
    return here[0].look_at(tools)


def _server(context: MiddlewareContext[Any]) -> FastMCP[Any]:
    found = context.fastmcp_context
    assert found is not None
    return found.fastmcp


def refuse_misplaced(governance: Governance, server: FastMCP[Any]) -> None:
    """Rule 1, of a server's own. Raises `ConfigInvalid`."""
    place = next((number for number, one in enumerate(server.middleware) if one is governance), None)
    if place is None:
        raise ConfigInvalid("the gate is inside of other middleware, which could change what was decided on: give it to the server itself")
    _refuse(_taking_part(server.middleware[place + 1 :], server), "put `gate.fastmcp()` last")
    caching = [type(one).__name__ for one in server.middleware[:place] if isinstance(one, ResponseCachingMiddleware) and _caches(one)]
    if caching:
        names = ", ".join(map(quoted, caching))
        how = "give it `call_tool_settings` and `list_tools_settings` with `enabled` false"
        raise ConfigInvalid(f"{names} answers before the gate is asked, whoever calls: {how}")


async def refuse_behind_tool(tool: Tool) -> None:
    """Rule 1, of the servers that a tool is mounted from. Raises `ConfigInvalid`."""
    found: Tool | None = tool
    while found is not None:
        server, name = getattr(found, "_server", None), getattr(found, "_original_name", None)
        if isinstance(server, FastMCP) and name is not None:
            others = [one for one in server.middleware if not isinstance(one, Governance)]
            _refuse(_taking_part(others, server), f"give the gate to the mounted server {quoted(server.name)} in its place")
            found = await server.get_tool(name)
        else:
            found = getattr(found, "parent_tool", None)


def _taking_part(middleware: Iterable[Middleware], server: FastMCP[Any]) -> Iterator[str]:
    """What of a server could change a call."""
    yield from (type(one).__name__ for one in middleware if type(one) not in _HARMLESS)
    for extension in server._extensions.values():  # noqa: SLF001 - there is no other way to see them
        is_idle = type(extension).intercept_tool_call is ServerExtension.intercept_tool_call
        if not is_idle and extension.identifier != _TASKS:
            yield type(extension).__name__


def _refuse(behind: Iterable[str], how: str) -> None:
    names = ", ".join(map(quoted, behind))
    if names:
        raise ConfigInvalid(f"{names} stands behind the gate and could change what was decided on: {how}")


def _caches(caching: ResponseCachingMiddleware) -> bool:
    """Whether it keeps answers about tools; what it does not say, it does."""
    return any(getattr(caching, name, {}).get("enabled") is not False for name in _CACHED)


def _newest(tools: Iterable[Tool]) -> list[Tool]:
    """Rule 4."""
    found: dict[str, Tool] = {}
    for tool in tools:
        known = found.get(tool.name)
        if known is None or version_sort_key(tool) > version_sort_key(known):
            found[tool.name] = tool
    return list(found.values())


def _wanted(context: MiddlewareContext[Any]) -> VersionSpec:
    """Which versions of a tool a request asks for. What runs is the newest, whatever it says (rule 4)."""
    told = ((context.message.meta or {}).get("fastmcp") or {}).get("version")
    return VersionSpec(**told) if isinstance(told, dict) else VersionSpec(eq=told)


def _past(tools: Iterable[Tool]) -> list[str]:
    """Tools that may run in the background (rule 4)."""
    return [tool.name for tool in tools if (config := getattr(tool, "task_config", None)) is not None and config.supports_tasks()]


def _session(context: MiddlewareContext[Any]) -> str | None:
    """The session of a connection that has one: of the protocol of 2026-07-28 each request is a connection of its own."""
    current = context.fastmcp_context
    request = None if current is None else current.request_context
    if current is None or request is None or request.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return None
    return current.session_id


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
        return _repeated(ending.value)
    if isinstance(ending, Own):
        return ToolResult(content=text_of(ending.value))
    return _refusal(ending.text)


def _refusal(text: str) -> ToolResult:
    return ToolResult(content=text, is_error=True)


def _repeated(value: Any) -> ToolResult:
    """What was recorded of a result, as one."""
    recorded = value if isinstance(value, dict) else {}
    content, structured = recorded.get("content"), recorded.get("structured")
    texts = [part.get("text") for part in content or () if isinstance(part, dict)]
    is_text = bool(texts) and all(isinstance(text, str) for text in texts)
    text = "\n".join(map(str, texts)) if is_text else text_of(value if content is None else content)
    return ToolResult(content=text, structured_content=structured if isinstance(structured, dict) else None)
