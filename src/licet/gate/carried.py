"""Tools that an upstream executes: how a call of one is handed to whoever carries it there, and what is read from its result.

A preview is a call of the upstream too: of another tool of it that says what would change, or of the same tool with an argument (`dry_run`)
by which it changes nothing, where somebody answers for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from licet.catalog import strict
from licet.catalog.arguments import ArgumentReader, Arguments
from licet.catalog.effects_map import Mapped, mapped
from licet.catalog.spec import ToolSpec
from licet.catalog.upstream import EXTRA, UpstreamPreview, UpstreamTool
from licet.errors import ArgumentsRefused
from licet.gate.effects import report
from licet.gate.steps import EndedAs
from licet.model import Effect, JsonObject

Carrier: TypeAlias = Callable[[UpstreamTool, JsonObject], Awaitable[Any]]
"""Carries one call, with the arguments that were decided on, to its upstream, and gives the whole result. Raises `EndedAs`."""


class Carried:
    """An upstream's tool as something that this process can run. Each request to the upstream has its time, in which no client is asked."""

    is_async = True
    is_method = False
    keeps_time = True

    def __init__(self, tool: UpstreamTool, carrier: Carrier) -> None:
        async def carry(**arguments: Any) -> Any:
            try:
                result = await carrier(tool, dict(arguments))
            except EndedAs as ended:
                if ended.result is not None:  # what has failed may have changed something all the same
                    _report(tool, arguments, ended.result)
                raise
            _report(tool, arguments, result)
            return result

        self.tool = tool
        self.function: Callable[..., Any] = carry

    def kwargs(self, arguments: Arguments) -> JsonObject:
        """Fresh values, built from the canonical bytes."""
        values: JsonObject = strict.decode(arguments.json)
        return values


def _report(tool: UpstreamTool, arguments: JsonObject, result: Any) -> None:
    """The effects that its result tells of, where it was more than a rehearsal."""
    if tool.effects and arguments.get(tool.preview_argument or "") is not True:
        found = mapped(tool.effects, arguments, result)
        report(found.effects, found.missing)


class CarriedPreview:
    """What a call of an upstream's tool would change, asked of the upstream."""

    is_async = True
    is_method = False
    keeps_time = False

    def __init__(self, preview: UpstreamPreview, carrier: Carrier) -> None:
        tool = preview.tool
        reader = ArgumentReader(preview.takes)

        async def carry(**arguments: Any) -> list[Effect]:
            arguments.pop(EXTRA, None)
            sent = arguments | ({preview.argument: True} if preview.argument is not None else {})
            try:
                reader.read(sent)
            except ArgumentsRefused as refused:
                raise EndedAs("not_executed", "preview_refused", f"`{tool.name}` does not take these arguments: {refused}") from refused
            found = mapped(tool.effects, arguments, await carrier(tool, sent))
            _check_whole(found)
            return list(found.effects)

        self.function: Callable[..., Any] = carry
        self.spec: ToolSpec = tool.spec

    def kwargs(self, arguments: Arguments) -> JsonObject:
        """Fresh values, built from the canonical bytes."""
        values: JsonObject = strict.decode(arguments.json)
        return values


def _check_whole(found: Mapped) -> None:
    """Nobody decides on a part: what is left out could be what they would refuse."""
    if found.missing:
        raise EndedAs("error", "preview_incomplete", f"there is nothing for `{found.missing[0]}`, which the tool's `effects` name")
    if found.count > len(found.effects):
        raise EndedAs("error", "preview_too_long", f"it has {found.count} effects, and {len(found.effects)} are read")
