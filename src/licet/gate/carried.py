"""Tools that an upstream executes: how a call of one is handed to whoever carries it there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from licet.catalog import strict
from licet.catalog.arguments import Arguments
from licet.catalog.upstream import UpstreamTool
from licet.model import JsonObject

Carrier: TypeAlias = Callable[[UpstreamTool, JsonObject], Awaitable[Any]]
"""Carries one call, with the arguments that were decided on, to its upstream, and gives the whole result. Raises `EndedAs`."""


class Carried:
    """An upstream's tool as something that this process can run."""

    is_async = True
    is_method = False

    def __init__(self, tool: UpstreamTool, carrier: Carrier) -> None:
        async def carry(**arguments: Any) -> Any:
            return await carrier(tool, arguments)

        self.tool = tool
        self.function: Callable[..., Any] = carry

    def kwargs(self, arguments: Arguments) -> JsonObject:
        """Fresh values, built from the canonical bytes."""
        values: JsonObject = strict.decode(arguments.json)
        return values
