"""Target templates: which resources a call acts on, read from its arguments.

    Customer::{customer_id}           an argument
    Customer::{order.customer_id}     inside an object, or inside every object of a list
    File::{path:path}                 of another kind than `id`
    LogStream::production             always the same one

Rules:

1. A value must be a string in the canonical form of its kind; an integer stands for its digits where the kind is `id`. Nothing else.
2. A list stands for all its elements. All templates of a tool together name at most 100 targets; the same one twice counts once.
3. A placeholder that yields nothing (absent, null, an empty list) is refused as `target_missing`: a call that names no target would be
   decided over nothing.
4. A template is checked against the tool's input schema when the tool is registered.
"""

from __future__ import annotations

import re
from typing import Any, get_args

from msgspec import Struct

from licet.catalog.canonical import Kind, canonical
from licet.catalog.names import check_resource_type
from licet.catalog.schema import resolved
from licet.catalog.strict import pointer, shown
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import EntityRef, JsonObject

TARGET_LIMIT = 100
"""Every target is resolved and decided by itself: this bounds the work that one call can ask for."""
_REF_LIMIT = 32

_TEMPLATE = re.compile(r"(?P<type>[^:{}]+)::(?:\{(?P<path>[^{}:]+)(?::(?P<kind>[^{}:]*))?\}|(?P<constant>[^{}]+))")


class TargetTemplate(Struct, frozen=True):
    """One template: a resource type and either the path of a placeholder with its kind, or a constant id."""

    type: str
    path: tuple[str, ...] = ()
    kind: Kind = "id"
    constant: str | None = None

    @classmethod
    def parse(cls, text: str) -> TargetTemplate:
        """Read `Type::{path.to.argument:kind}` or `Type::constant`. Raises CatalogInvalid."""
        match = _TEMPLATE.fullmatch(text)
        if match is None:
            raise CatalogInvalid(f"`{text}` is not a target template: write `Type::{{argument}}`, `Type::{{argument:kind}}` or `Type::id`")
        check_resource_type(match["type"])
        if match["constant"] is not None:
            return cls(match["type"], constant=_constant(text, match["constant"]))
        path = tuple(match["path"].split("."))
        kind = _kind(match["kind"])
        if not all(path) or kind is None:
            raise CatalogInvalid(
                f"`{text}` is not a target template: the kinds are {', '.join(get_args(Kind))}, and path parts are not empty"
            )
        return cls(match["type"], path, kind)

    def __str__(self) -> str:
        if self.constant is not None:
            return f"{self.type}::{self.constant}"
        kind = "" if self.kind == "id" else f":{self.kind}"
        return f"{self.type}::{{{'.'.join(self.path)}{kind}}}"

    def expand(self, value: JsonObject) -> tuple[EntityRef, ...]:
        """The targets that these arguments name, each once, in order. Raises ArgumentsRefused."""
        return expand_all((self,), value)

    def check(self, schema: JsonObject) -> None:
        """Raise CatalogInvalid unless `schema` has the placeholder, as a string or integer or a list of them."""
        if self.constant is None:
            _check(self, schema, schema, self.path, 0)


def expand_all(templates: tuple[TargetTemplate, ...], value: JsonObject) -> tuple[EntityRef, ...]:
    """The targets that these arguments name by all templates together, each once, in order. Raises ArgumentsRefused."""
    found: dict[EntityRef, None] = {}
    for template in templates:
        if template.constant is not None:
            found[EntityRef(template.type, template.constant)] = None
        else:
            first = value.get(template.path[0])
            if type(first) is str and len(template.path) == 1:
                found[EntityRef(template.type, _id(template, first, template.path))] = None
            else:
                _collect(template, first, 1, (template.path[0],), found)
        if len(found) > TARGET_LIMIT:
            raise _too_many()
    return tuple(found)


def _collect(template: TargetTemplate, value: Any, depth: int, trail: tuple[str | int, ...], found: dict[EntityRef, None]) -> None:
    if isinstance(value, list) and value:
        for index, item in enumerate(value):
            _collect(template, item, depth, (*trail, index), found)
            if len(found) > TARGET_LIMIT:
                raise _too_many()
    elif value is None or value == []:
        raise ArgumentsRefused("target_missing", f"the call names no `{template.type}`: nothing at `{pointer(trail)}`", pointer(trail))
    elif depth == len(template.path):
        found[EntityRef(template.type, _id(template, value, trail))] = None
    elif isinstance(value, dict):
        part = template.path[depth]
        _collect(template, value.get(part), depth + 1, (*trail, part), found)
    else:
        raise ArgumentsRefused("target_missing", f"`{pointer(trail)}` is not an object with `{template.path[depth]}`", pointer(trail))


def _id(template: TargetTemplate, value: Any, trail: tuple[str | int, ...]) -> str:
    # bool is an int to Python; `True` names nothing.
    if type(value) is int and template.kind == "id":
        return str(value)
    if type(value) is not str:
        raise ArgumentsRefused("target_missing", f"{shown(value)} cannot name a `{template.type}`", pointer(trail))
    try:
        return canonical(template.kind, value)
    except ArgumentsRefused as refused:
        refused.path = pointer(trail)
        raise


def _too_many() -> ArgumentsRefused:
    return ArgumentsRefused("too_many_targets", f"a call may act on at most {TARGET_LIMIT} targets")


def _kind(written: str | None) -> Kind | None:
    kinds: tuple[Kind, ...] = get_args(Kind)
    return "id" if written is None else next((kind for kind in kinds if kind == written), None)


def _constant(text: str, constant: str) -> str:
    try:
        return canonical("id", constant)
    except ArgumentsRefused as refused:
        raise CatalogInvalid(f"`{text}` is not a target template: {refused}") from refused


def _check(template: TargetTemplate, root: JsonObject, schema: Any, path: tuple[str, ...], depth: int) -> None:
    if depth > _REF_LIMIT or not isinstance(schema, dict):
        raise CatalogInvalid(f"the template `{template}` leads into a part of the input schema that cannot be followed")
    if "$ref" in schema:
        return _check(template, root, resolved(root, schema["$ref"]), path, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            choices = [choice for choice in schema[keyword] if choice != {"type": "null"}]
            for choice in choices:
                _check(template, root, choice, path, depth + 1)
            if choices:
                return None
    if len(schema.get("allOf", ())) == 1 and "type" not in schema:
        return _check(template, root, schema["allOf"][0], path, depth + 1)
    return _check_type(template, root, schema, path, depth)


def _check_type(template: TargetTemplate, root: JsonObject, schema: JsonObject, path: tuple[str, ...], depth: int) -> None:
    types = _types(schema)
    if types == {"array"}:
        return _check(template, root, schema.get("items"), path, depth + 1)
    if path:
        properties = schema.get("properties", {})
        if types != {"object"} or path[0] not in properties:
            raise CatalogInvalid(f"the template `{template}` names `{path[0]}`, which the input schema does not have")
        return _check(template, root, properties[path[0]], path[1:], depth + 1)
    if not types or not types <= ({"string", "integer"} if template.kind == "id" else {"string"}):
        raise CatalogInvalid(f"the template `{template}` needs a string{' or an integer' * (template.kind == 'id')}, or a list of them")
    return None


def _types(schema: JsonObject) -> set[str]:
    """The JSON types that a schema lets through, null left out; empty where it does not say."""
    declared = schema.get("type")
    if isinstance(declared, str):
        return {declared} - {"null"}
    if isinstance(declared, list):
        return set(declared) - {"null"}
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    names = {str: "string", int: "integer", type(None): "null"}
    return {names.get(type(value), "other") for value in values} - {"null"}
