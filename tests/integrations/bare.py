"""A framework that is nothing but functions: it calls tools as models ask for them, through what the adapters share.

It runs in the ordinary suite, where no framework is installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from licet import Gate
from licet.catalog.adopted import AdoptedTool
from licet.gate.brought import Brought, Paused, Told
from licet.integrations.governing import CallerOf, Ending, Governing, Use
from licet.integrations.recorded import plain
from licet.model import JsonObject, Trace

AGENT = "shop-bot"
_TYPES = {"str": "string", "int": "integer", "bool": "boolean", str: "string", int: "integer", bool: "boolean"}


class Stop(Exception):
    """By which this framework stops a tool, to go on with it later."""


def schema_of(function: Callable[..., Any]) -> JsonObject:
    """The schema of a function's arguments as frameworks write it: with titles, and closed by nobody."""
    parameters = inspect.signature(function).parameters.values()
    properties = {one.name: {"title": one.name.title(), "type": _TYPES[one.annotation]} for one in parameters}
    required = [one.name for one in parameters if one.default is inspect.Parameter.empty]
    return {"title": f"{function.__name__}Arguments", "type": "object", "properties": properties, "required": required}


def told(result: Any) -> Told:
    """What is recorded of a result: text that begins with `failed:` says itself that the tool has failed."""
    if isinstance(result, str) and result.startswith("failed:"):
        return Told({"content": result}, failed=result)
    return Told({"content": plain(result)})


def adopted(name: str, *arguments: str, schema: JsonObject | None = None, description: str = "") -> AdoptedTool:
    """A tool whose arguments are text, all of them required."""
    made = {"type": "object", "properties": {one: {"type": "string"} for one in arguments}, "required": list(arguments)}
    return AdoptedTool(name=name, description=description, schema=schema or made, framework="bare")


def brought(run: Callable[[JsonObject], Any], *, paused: Paused = (), stops: int = 0) -> Brought:
    """A call's tool that is this function of its arguments."""
    is_async = inspect.iscoroutinefunction(run)
    return Brought(lambda arguments, _: run(arguments), told, is_async=is_async, paused=paused, stops=stops)


class Bare:
    """An agent's framework with tools of its own, governed by a gate.

    `stops_of` are the numbers of earlier stops that each run of a tool was told.
    """

    def __init__(
        self, gate: Gate, *tools: Callable[..., Any], caller: CallerOf[Any] | None = None, prefix: str = "", name: str = "bare"
    ) -> None:
        self.gate = gate
        self.governing: Governing[Any] = Governing(gate, name, caller=caller, prefix=prefix, paused=(Stop,))
        self.tools = {tool.__name__: tool for tool in tools}
        self.known = {
            tool.__name__: self.governing.adopted(tool.__name__, tool.__doc__, schema_of(tool))
            for tool in tools
            if self.governing.governed_name(tool) is None
        }
        self.stops_of: list[int] = []

    def use(
        self,
        tool: str,
        arguments: Mapping[str, Any] | str,
        call: str | None = "call-1",
        *,
        context: Any = None,
        session: str | None = None,
        trace: Trace = Trace(),  # noqa: B008 - it is frozen
    ) -> Use[Any]:
        """One call as the framework makes it. `call` is None where it has no identity."""
        function = self.tools.get(tool)

        def run(decided: JsonObject, stops: int) -> Any:
            assert function is not None
            self.stops_of.append(stops)
            return function(**decided)

        return Use(
            tool=tool,
            arguments=arguments,
            run=run,
            tell=told,
            call=None if call is None else ("thread", call),
            context=context,
            is_async=inspect.iscoroutinefunction(function),
            adopt=lambda: self.known.get(tool),
            governed=None if function is None else self.governing.governed_name(function),
            session=session,
            trace=trace,
        )

    def ask(self, tool: str, arguments: Mapping[str, Any] | str, call: str | None = "call-1", **more: Any) -> Ending:
        """The model asks for a tool, in the name of the shop's agent and alice, or of whom `caller` says."""
        with self.gate.acting(agent=AGENT, user="alice"):
            return self.governing.settle(self.use(tool, arguments, call, **more))

    async def aask(self, tool: str, arguments: Mapping[str, Any] | str, call: str | None = "call-1", **more: Any) -> Ending:
        """As `ask`, on the running event loop."""
        with self.gate.acting(agent=AGENT, user="alice"):
            return await self.governing.asettle(self.use(tool, arguments, call, **more))
