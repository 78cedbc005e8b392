"""The undo of a tool, as a tool of its own: `NAME.undo`.

Rules:

1. It takes the arguments of its tool, and `effects`: the changes to bring about. Access, touches, targets, secrets are those of its tool.
2. Nobody chooses its arguments: it runs for `Gate.undo` alone, which takes them from the record of a call. Proposed in any other way, it is
   refused before policy is asked, so that a permit on it never lets anybody set what they like.
3. Who decides on it is shown the effects that it was given, unless it has a preview of its own, which can look at what is there now.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from licet.catalog.python import PythonTool, tool_from_function
from licet.catalog.signature import Parameter, read_signature
from licet.catalog.spec import Catalog, ToolSpec
from licet.errors import CatalogInvalid
from licet.model import Effect, JsonObject

EFFECTS = "effects"
"""The parameter that takes the effects."""
UNDO = ".undo"


def undo_name(tool: str) -> str:
    """What the undo of a tool is called in the catalog, in policies and in the log."""
    return f"{tool}{UNDO}"


class Undoing:
    """A function with `effects` as `Effect`s, called with them as JSON. `is_undo`: it is the undo itself, not its preview or probe."""

    def __init__(self, function: Callable[..., Any], parameters: Iterable[Parameter], *, is_undo: bool) -> None:
        self._function = function
        self.is_undo = is_undo
        self.__doc__ = inspect.getdoc(function)
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__signature__ = inspect.Signature([_as_json(parameter) for parameter in parameters])

    def __call__(self, **values: Any) -> Any:
        """Call the function."""
        return self._function(**_with_effects(values))


class AwaitedUndoing(Undoing):
    """The same of an asynchronous function."""

    async def __call__(self, **values: Any) -> Any:
        """Call the function."""
        return await self._function(**_with_effects(values))


def undoing(function: Callable[..., Any], *, is_undo: bool = False) -> Undoing:
    """The function of an undo, of its preview or its probe, as one of JSON values.

    Raises `CatalogInvalid` where it does not take `effects`, or is a method.
    """
    signature = read_signature(function)
    if signature.is_method:
        raise CatalogInvalid("it is called when no object is at hand: make it a function")
    if not any(parameter.name == EFFECTS and parameter.default is inspect.Parameter.empty for parameter in signature.parameters):
        raise CatalogInvalid(f"it takes the arguments of its tool and `{EFFECTS}: list[Effect]`, the changes to bring about")
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - a callable object's own
    return (AwaitedUndoing if is_async else Undoing)(function, signature.parameters, is_undo=is_undo)


def undo_tool(spec: ToolSpec, function: Callable[..., Any], *, by_name: bool = False) -> PythonTool:
    """The undo of a tool (rules 1 and 2). Raises `CatalogInvalid`.

    `by_name` where a framework has written the tool's schema, with titles and descriptions of its own.
    """
    if spec.access == "read":
        raise CatalogInvalid(f"the tool `{spec.name}` only reads, so there is nothing to undo")
    if EFFECTS in spec.input_schema.get("properties", {}):
        raise CatalogInvalid(f"the tool `{spec.name}` has an argument `{EFFECTS}`, which its undo needs for itself")
    try:
        wrapped = undoing(function, is_undo=True)
    except CatalogInvalid as invalid:
        raise CatalogInvalid(f"the undo of `{spec.name}`: {invalid}") from invalid
    found = tool_from_function(
        wrapped,
        name=undo_name(spec.name),
        access=spec.access,
        touches=spec.touches,
        targets=spec.targets,
        description=wrapped.__doc__ or f"Takes back what a call of `{spec.name}` has changed.",
        timeout_s=spec.timeout_s,
        keep_result=spec.keep_result,
        secrets=spec.secrets,
    )
    takes = without_effects(found.spec.input_schema)
    if takes != spec.input_schema and not (by_name and takes["properties"].keys() == spec.input_schema.get("properties", {}).keys()):
        raise CatalogInvalid(f"the undo of `{spec.name}` must take the arguments of its tool, with the same types and defaults")
    return found


def is_undo(function: Callable[..., Any]) -> bool:
    """Whether this is the function of an undo."""
    return isinstance(function, Undoing) and function.is_undo


def takes_back(catalog: Catalog, spec: ToolSpec) -> bool:
    """Whether this is the undo of a tool of the catalog, whoever executes it: nobody chooses its arguments (rule 2)."""
    tool = catalog.find_tool(spec.name.removesuffix(UNDO)) if spec.name.endswith(UNDO) else None
    return tool is not None and EFFECTS in spec.input_schema.get("properties", {})


def without_effects(schema: JsonObject) -> JsonObject:
    """The schema of an undo's arguments without that of `effects`."""
    left = {**schema, "properties": {name: part for name, part in schema["properties"].items() if name != EFFECTS}}
    required = [name for name in schema.get("required", []) if name != EFFECTS]
    if required or "required" not in schema:
        return {**left, "required": required} if required else left
    del left["required"]
    return left


def effects_in(arguments: JsonObject) -> tuple[Effect, ...]:
    """The effects among the arguments of an undo."""
    return msgspec.convert(arguments[EFFECTS], tuple[Effect, ...])


def _with_effects(values: JsonObject) -> JsonObject:
    return {**values, EFFECTS: msgspec.convert(values[EFFECTS], list[Effect])}


def _as_json(parameter: Parameter) -> inspect.Parameter:
    if parameter.name == EFFECTS:
        parameter = replace(parameter, annotation=list[dict[str, Any]])
    return inspect.Parameter(parameter.name, inspect.Parameter.KEYWORD_ONLY, default=parameter.default, annotation=parameter.annotation)
