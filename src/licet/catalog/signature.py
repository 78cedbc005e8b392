"""The parameters of a Python function, with their annotations resolved.

Rules: every parameter is passed by name and has an annotation, so that the JSON Schema says all there is to say. `*args`, `**kwargs` and
positional-only parameters are refused. `self` of a method, and `cls` of a class method, is nobody's argument and is left out.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from types import FrameType
from typing import Any

from msgspec import Struct

from licet.errors import CatalogInvalid

MISSING: Any = inspect.Parameter.empty
"""Stands for a default that is not there."""


class Parameter(Struct, frozen=True):
    """One parameter: its name, its resolved annotation, and its default or `MISSING`."""

    name: str
    annotation: Any
    default: Any


class Signature(Struct, frozen=True):
    """What a function takes. `positional` counts the parameters that may also be passed by position."""

    parameters: tuple[Parameter, ...]
    positional: int
    is_method: bool


def read_signature(function: Callable[..., Any]) -> Signature:
    """The parameters of a function as a tool has them. Raises CatalogInvalid with the parameter that is in the way."""
    found = list(_signature(function).parameters.values())
    is_method = bool(found) and found[0].name in {"self", "cls"} and found[0].annotation is MISSING and not inspect.ismethod(function)
    kept = found[1:] if is_method else found
    for parameter in kept:
        _check_parameter(parameter)
    annotations = resolve(function, {parameter.name: parameter.annotation for parameter in kept})
    return Signature(
        tuple(Parameter(parameter.name, annotations[parameter.name], parameter.default) for parameter in kept),
        sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in kept),
        is_method,
    )


def return_annotation(function: Callable[..., Any]) -> Any:
    """The resolved return annotation; `MISSING` without one. Raises CatalogInvalid if it cannot be resolved."""
    annotation = _signature(function).return_annotation
    return annotation if annotation is MISSING else resolve(function, {"return": annotation})["return"]


def resolve(function: Callable[..., Any], annotations: dict[str, Any]) -> dict[str, Any]:
    """Annotations with every string in them evaluated where the function was defined. Raises CatalogInvalid."""
    plain = inspect.unwrap(function)
    owner = getattr(plain, "__func__", plain)
    names = getattr(owner, "__globals__", None)
    if names is None:
        # An object with __call__, or a partial: its annotations stand where its code does.
        inner = owner.func if isinstance(owner, functools.partial) else type(owner).__call__
        names, owner = getattr(inner, "__globals__", {}), inner
    holder = type("holder", (), {"__annotations__": annotations})
    try:
        return typing.get_type_hints(holder, names, _enclosing_names(owner, names), include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise CatalogInvalid(f"an annotation cannot be resolved: {error}") from error


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if isinstance(function, classmethod | staticmethod):
        raise CatalogInvalid("put `@classmethod` and `@staticmethod` above the tool's decorator, not below it")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise CatalogInvalid("a generator cannot be a tool: it would run after its outcome was recorded")
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise CatalogInvalid(f"the parameters cannot be read: {error}") from error


def _check_parameter(parameter: inspect.Parameter) -> None:
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        raise CatalogInvalid(f"the parameter `{stars}{parameter.name}` takes arguments that no schema describes: name each one")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise CatalogInvalid(f"the parameter `{parameter.name}` is positional-only, and tools are called by name")
    if parameter.annotation is MISSING:
        raise CatalogInvalid(f"the parameter `{parameter.name}` has no annotation, so nothing would check what it is given")


def _enclosing_names(owner: Any, names: dict[str, Any]) -> dict[str, Any]:
    """What the functions and class bodies around `owner` call by name, found on the stack: its decorator runs inside them."""
    parts = getattr(owner, "__qualname__", "").split(".")
    scopes = {".".join(parts[:count]).removesuffix(".<locals>") for count in range(1, len(parts))}
    found: list[dict[str, Any]] = []
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and scopes:
        if frame.f_code.co_qualname in scopes and frame.f_globals is names:
            found.append(frame.f_locals)
        frame = frame.f_back
    return {name: value for local in reversed(found) for name, value in local.items()}
