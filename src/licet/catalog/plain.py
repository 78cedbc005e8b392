"""Which parameters need no pydantic at call time: those whose JSON value already is their Python value."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from licet.catalog.secret import is_secret_mark

_SCALARS = frozenset({str, int, bool, type(None)})
_UNIONS = frozenset({Union, types.UnionType})
# Constraints that JSON Schema states and checks exactly as pydantic would.
_STATED = (
    str,
    annotated_types.Ge,
    annotated_types.Gt,
    annotated_types.Le,
    annotated_types.Lt,
    annotated_types.MinLen,
    annotated_types.MaxLen,
)


def is_plain(annotation: Any) -> bool:
    """Whether the decoded JSON is the very value a function with this annotation expects; a top-level `float` may come as an int."""
    return _is_float(annotation) or _is_json(annotation)


def wants_float(annotation: Any) -> bool:
    """Whether an int that arrives must become a float: `1.0` and `1` are one value in canonical JSON."""
    return _is_float(annotation)


def _is_float(annotation: Any) -> bool:
    members = _members(annotation)
    return float in members and all(member in {float, type(None)} for member in members)


def _is_json(annotation: Any) -> bool:
    annotation = _bare(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation is None or (isinstance(annotation, type) and annotation in _SCALARS):
        return True
    if origin is Literal:
        return all(type(argument) in _SCALARS for argument in arguments)
    if origin in _UNIONS:
        return all(_is_json(argument) for argument in arguments)
    if annotation is list or annotation is dict:
        return True
    if origin is list:
        return _is_json(arguments[0])
    return origin is dict and arguments[0] is str and _is_json(arguments[1])


def _members(annotation: Any) -> tuple[Any, ...]:
    annotation = _bare(annotation)
    return tuple(map(_bare, get_args(annotation))) if get_origin(annotation) in _UNIONS else (annotation,)


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated and all(map(_is_stated, annotation.__metadata__)):
        return _bare(get_args(annotation)[0])
    return _bare(annotation.__supertype__) if isinstance(annotation, NewType) else annotation


def _is_stated(metadata: Any) -> bool:
    if isinstance(metadata, FieldInfo):
        has_default = metadata.default_factory is not None or not metadata.is_required()
        return not has_default and metadata.alias is None and all(map(_is_stated, metadata.metadata))
    return isinstance(metadata, _STATED) or is_secret_mark(metadata)
