"""JSON Schemas as MCP servers write them, as the one dialect that arguments are validated by.

Rules:

1. The schema that agents are shown is the pinned one, as it was written. This makes the one that decides, and it takes nothing that the
   other refuses, but for what draft-07 and before ignored.
2. Arguments that are not declared are refused, also where the upstream would take any: no policy could speak of them.
3. A reference within the schema leads where it led. One that leads outside is refused, and nothing is ever fetched.
4. What is made of a schema is bounded (`PARTS_LIMIT`), however often it refers to itself.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

from licet.catalog.schema import subschemas
from licet.errors import CatalogInvalid
from licet.model import JsonObject
from licet.names import quoted

PARTS_LIMIT: Final = 50_000
"""Objects and lists of a schema, those counted again that are referred to by their place."""
DEPTH_LIMIT: Final = 48
"""Of a schema; the arguments of a tool are at most 64 deep."""
_DIALECT: Final = re.compile(r"https?://json-schema\.org/(draft-0[4-7]|draft/2019-09|draft/2020-12)/schema#?")
_NAMED: Final = re.compile(r"#/(\$defs|definitions)/[^/]+")
_DATA: Final = frozenset({"const", "enum", "default", "examples"})
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DROPPED: Final = frozenset({"$schema", "$anchor"})
"""Said once for the whole, and a name for references, each of which is written anew."""


def modernised(schema: JsonObject) -> JsonObject:
    """This input schema in JSON Schema 2020-12, closed at the top. Raises `CatalogInvalid`."""
    dialect = schema.get("$schema")
    if dialect is not None and not (isinstance(dialect, str) and _DIALECT.fullmatch(dialect)):
        raise CatalogInvalid(f"the schema is of the dialect {quoted(str(dialect))}, which is not known here")
    found = _Rewriting(schema).whole()
    found.setdefault("type", "object")
    found.pop("patternProperties", None)
    return found | {"additionalProperties": False}


class _Rewriting:
    """One schema on its way: what its references by place lead to becomes a definition of its own, once."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._left = PARTS_LIMIT
        self._names: dict[str, str] = {}
        self._made: dict[str, Any] = {}
        self._waiting: list[tuple[str, Any]] = []
        self._anchors: dict[str, Any] | None = None

    def whole(self) -> JsonObject:
        """The schema, with the definitions that were made."""
        found: JsonObject = self._part(self._root, 0)
        while self._waiting:  # one after the other: a chain of references is no deeper than its deepest part
            name, part = self._waiting.pop()
            self._made[name] = self._part(part, 0)
        if self._made:
            found["$defs"] = {**found.get("$defs", {}), **self._made}
        return found

    def _part(self, part: Any, depth: int) -> Any:
        """A schema, or a list of them."""
        self._spend(depth)
        if isinstance(part, list):
            return [self._part(one, depth + 1) for one in part]
        if not isinstance(part, dict):
            return part
        return _converted({keyword: self._value(keyword, value, depth + 1) for keyword, value in part.items() if keyword not in _DROPPED})

    def _value(self, keyword: str, value: Any, depth: int) -> Any:
        if keyword in _DATA:
            return value
        if keyword == "$ref":
            return self._reference(value)
        if keyword in _BY_NAME and isinstance(value, dict):
            self._spend(depth)
            return {name: self._part(one, depth + 1) for name, one in value.items()}
        if keyword == "dependencies" and isinstance(value, dict):
            return {name: one if isinstance(one, list) else self._part(one, depth + 1) for name, one in value.items()}
        return self._part(value, depth) if isinstance(value, dict | list) else value

    def _reference(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise CatalogInvalid(f"the schema refers to {quoted(str(reference))}, outside of itself: nothing is ever fetched")
        if _NAMED.fullmatch(reference):
            return reference
        if reference not in self._names:
            found = self._found(reference)
            taken = self._root.get("$defs")
            number = len(self._names) + 1
            while isinstance(taken, dict) and f"place{number}" in taken:
                number += len(taken)
            self._names[reference] = name = f"place{number}"
            if found is self._root:
                found = {keyword: value for keyword, value in found.items() if keyword not in {"$defs", "definitions"}}
            self._waiting.append((name, found))
        return f"#/$defs/{self._names[reference]}"

    def _found(self, reference: str) -> Any:
        place = unquote(reference[1:])
        here: Any = self._anchored(place) if place and not place.startswith("/") else self._root
        for step in place.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(here, list) and name.isascii() and name.isdigit() and len(name) < 6 and int(name) < len(here):  # noqa: PLR2004 - enough
                here = here[int(name)]
            elif isinstance(here, dict) and name in here:
                here = here[name]
            else:
                raise CatalogInvalid(f"the schema refers to {quoted(reference)}, which it does not have")
        if not isinstance(here, dict | bool):
            raise CatalogInvalid(f"the schema refers to {quoted(reference)}, which is no schema")
        return here

    def _anchored(self, name: str) -> Any:
        """The schema of this `$anchor`; None if there is none, or more than one."""
        if self._anchors is None:
            self._anchors = {}
            for part in subschemas(self._root):
                if isinstance(anchor := part.get("$anchor"), str):
                    self._anchors[anchor] = None if anchor in self._anchors else part
        return self._anchors.get(name)

    def _spend(self, depth: int) -> None:
        self._left -= 1
        if depth > DEPTH_LIMIT:
            raise CatalogInvalid(f"the schema is nested more than {DEPTH_LIMIT} deep")
        if self._left < 0:
            raise CatalogInvalid(f"the schema has more than {PARTS_LIMIT} parts")


def _converted(part: JsonObject) -> JsonObject:
    """The keywords of older drafts as those that took their place."""
    items = part.get("items")
    if isinstance(items, list):
        rest = part.pop("additionalItems", None)
        part.pop("items")
        if items:
            part["prefixItems"] = items
        if rest is not None:
            part["items"] = rest
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(part.get(exclusive), bool):
            is_exclusive = part.pop(exclusive)
            if is_exclusive and bound in part:
                part[exclusive] = part.pop(bound)
    dependencies = part.pop("dependencies", None)
    if isinstance(dependencies, dict):
        required = {name: one for name, one in dependencies.items() if isinstance(one, list)}
        schemas = {name: one for name, one in dependencies.items() if not isinstance(one, list)}
        if required:
            part["dependentRequired"] = {**part.get("dependentRequired", {}), **required}
        if schemas:
            part["dependentSchemas"] = {**part.get("dependentSchemas", {}), **schemas}
    return part
