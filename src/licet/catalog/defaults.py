"""Defaults of an input schema, filled in before anything is validated or decided.

A default that only the tool knew would be an argument that no policy saw. Defaults are found under `properties`, `items` and `$ref`, at any
depth where the object that holds them is there; not under `anyOf` and its like, where nobody can say which branch is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from licet.catalog import strict
from licet.catalog.schema import resolved
from licet.errors import CatalogInvalid
from licet.model import JsonObject

Filler = Callable[[Any], None]


def filler(schema: JsonObject) -> Filler | None:
    """A function that fills defaults into a value in place; None if the schema has no default it could fill. Raises CatalogInvalid."""
    if not _has_default(schema):
        return None
    try:
        return _filler(schema, schema, {})
    except RecursionError as error:
        raise CatalogInvalid("the schema cannot be used: its references are nested too deeply") from error


def _has_default(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_default, schema))
    return isinstance(schema, dict) and ("default" in schema or any(map(_has_default, schema.values())))


def _filler(schema: Any, root: JsonObject, known: dict[str, list[Filler]]) -> Filler | None:
    if not isinstance(schema, dict):
        return None
    if isinstance(schema.get("$ref"), str):
        return _referred(schema["$ref"], root, known)
    if isinstance(schema.get("properties"), dict):
        return _object_filler(schema["properties"], root, known)
    if isinstance(schema.get("items"), dict):
        return _list_filler(_filler(schema["items"], root, known))
    return None


def _referred(reference: str, root: JsonObject, known: dict[str, list[Filler]]) -> Filler:
    # A schema may refer to itself: the cell is filled after the function that uses it exists.
    cell = known.get(reference)
    if cell is None:
        cell = known[reference] = []
        built = _filler(resolved(root, reference), root, known)
        if built is not None:
            cell.append(built)

    def fill(value: Any) -> None:
        for function in cell:
            function(value)

    return fill


def _object_filler(properties: JsonObject, root: JsonObject, known: dict[str, list[Filler]]) -> Filler:
    defaults = {name: strict.encode(part["default"]) for name, part in properties.items() if isinstance(part, dict) and "default" in part}
    inner = [(name, found) for name, part in properties.items() if (found := _filler(part, root, known)) is not None]

    def fill(value: Any) -> None:
        if not isinstance(value, dict):
            return
        for name, default in defaults.items():
            if name not in value:
                value[name] = strict.decode(default)
        for name, function in inner:
            if name in value:
                function(value[name])

    return fill


def _list_filler(inner: Filler | None) -> Filler | None:
    if inner is None:
        return None

    def fill(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                inner(item)

    return fill
