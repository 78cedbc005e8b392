"""From JSON Schema to the shape that policies see.

Rules:

1. Integers become Long, exact decimals (a string with `format: decimal`) decimal, strings and enums of strings String (dates and times
   too: they compare as text), booleans Boolean, arrays of one type Set, objects with named properties records, `$ref` what it refers to.
2. What cannot be said exactly is left out of the policy's view, with the reason: floats, unions, free-form objects, mixed arrays,
   recursion, names that Cedar's JSON reserves. A policy that uses a field that was left out does not load.
   An object that may hold more than its named properties is seen, but cannot be used whole: `==` would not see the rest.
3. A property that may be null is optional. One with a default is always there, because defaults are filled in before anything is decided.
   In the branches of `anyOf` and its like they are not, and in the attributes of targets there is nobody who would: there a default
   counts for nothing.
4. Lengths, patterns, bounds and formats are the validator's business; it has run before.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from licet.model import JsonObject
from licet.policy.shape import DecimalShape, Field, RecordShape, Scalar, SetShape, Shape

CEDAR_KEYS = frozenset({"__entity", "__extn", "__expr"})
DEPTH_LIMIT = 32
"""Levels of nested objects and lists that policies see; a schema that refers to itself without end is cut here too."""
OTHERS = "*"
"""Stands in a path for what an object may hold beside its named properties: whoever compares it whole would not see that."""
PARTS_LIMIT = 10_000
"""Parts of a schema that are looked at, each as often as something refers to it. Thirty definitions that each refer to the next one twice
are a billion parts."""
_SCALARS: dict[str, Shape] = {"string": Scalar("String"), "integer": Scalar("Long"), "boolean": Scalar("Boolean")}

Path = tuple[str, ...]


class View(Struct, frozen=True):
    """What policies see of an object, and why they do not see the rest (by path of property names)."""

    shape: RecordShape
    left_out: dict[Path, str]


def view_of(schema: JsonObject, *, defaults_filled: bool) -> View:
    """The view of an object's JSON Schema (2020-12)."""
    reader = _Reader(schema, defaults_filled=defaults_filled)
    try:
        shape, _ = reader.read(schema, (), ())
    except (_LeftOutError, _TooLargeError) as error:
        return View(RecordShape({}), {(): str(error)})
    except RecursionError:
        return View(RecordShape({}), {(): "the schema is nested too deeply"})
    # A schema that is no object at the top has no named properties to see.
    return View(shape, reader.left_out) if isinstance(shape, RecordShape) else View(RecordShape({}), {(): "it is no object"})


class _LeftOutError(Exception):
    """This part of the schema has no exact Cedar type; the message says why."""


class _TooLargeError(Exception):
    """Nothing of the schema is seen: which part was looked at first must not say what is."""


class _Reader:
    def __init__(self, root: JsonObject, *, defaults_filled: bool) -> None:
        self.root = root
        self.defaults_filled = defaults_filled
        self.left_out: dict[Path, str] = {}
        self._parts = 0

    def read(self, schema: Any, path: Path, refs: tuple[str, ...]) -> tuple[Shape, bool]:
        """The shape and whether null is allowed as well."""
        if not isinstance(schema, dict):
            raise _LeftOutError("it may be anything")
        self._parts += 1
        if self._parts > PARTS_LIMIT:
            raise _TooLargeError(f"the schema has more than {PARTS_LIMIT} parts")
        if len(path) > DEPTH_LIMIT:
            raise _LeftOutError(f"it is nested deeper than {DEPTH_LIMIT} levels")
        if "$ref" in schema:
            reference = schema["$ref"]
            if reference in refs:
                raise _LeftOutError("it is recursive")
            return self.read(self._resolve(reference), path, (*refs, reference))
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self._union(schema[union], path, refs)
        if "allOf" in schema:
            parts = schema["allOf"]
            if len(parts) != 1:
                raise _LeftOutError("it combines several schemas")
            return self._unfilled(parts, path, refs)[0]
        return self._plain(schema, path, refs)

    def _resolve(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise _LeftOutError("it refers to another document")
        found: Any = self.root
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise _LeftOutError(f"it refers to `{reference}`, which is not there")
            found = found[name]
        return found

    def _union(self, branches: list[Any], path: Path, refs: tuple[str, ...]) -> tuple[Shape, bool]:
        """A union has a Cedar type where its branches, null aside, have one and the same."""
        values = [branch for branch in branches if not (isinstance(branch, dict) and branch.get("type") == "null")]
        shapes = self._unfilled(values, path, refs)
        if not shapes or any(shape != shapes[0][0] for shape, _ in shapes):
            raise _LeftOutError("it may have several types")
        return shapes[0][0], len(values) < len(branches) or any(nullable for _, nullable in shapes)

    def _unfilled(self, branches: list[Any], path: Path, refs: tuple[str, ...]) -> list[tuple[Shape, bool]]:
        """Branches of a choice: nobody fills in defaults there, since nobody can say which branch is meant."""
        filled, self.defaults_filled = self.defaults_filled, False
        try:
            return [self.read(branch, path, refs) for branch in branches]
        finally:
            self.defaults_filled = filled

    def _plain(self, schema: JsonObject, path: Path, refs: tuple[str, ...]) -> tuple[Shape, bool]:
        if "enum" in schema or "const" in schema:
            return _of_values(schema.get("enum", [schema.get("const")]))
        declared = schema.get("type")
        types = declared if isinstance(declared, list) else [declared]
        named = [one for one in types if one != "null"]
        if len(named) != 1:
            raise _LeftOutError("it may have several types")
        return self._typed(named[0], schema, path, refs), len(named) < len(types)

    def _typed(self, name: Any, schema: JsonObject, path: Path, refs: tuple[str, ...]) -> Shape:
        if name == "string" and schema.get("format") == "decimal":
            return DecimalShape()
        if name in _SCALARS:
            return _SCALARS[name]
        if name == "object":
            return self._record(schema, path, refs)
        if name == "array":
            return self._set(schema, path, refs)
        if name == "number":
            raise _LeftOutError("it is a floating-point number, which has no exact comparison")
        raise _LeftOutError("it may be anything")

    def _record(self, schema: JsonObject, path: Path, refs: tuple[str, ...]) -> RecordShape:
        properties = schema.get("properties")
        if not properties and schema.get("additionalProperties") is not False:
            raise _LeftOutError("it is an object of any form")
        required = schema.get("required", [])
        fields: dict[str, Field] = {}
        for name, below in (properties or {}).items():
            if name in CEDAR_KEYS:
                self.left_out[(*path, name)] = "its name is reserved"
                continue
            try:
                shape, nullable = self.read(below, (*path, name), refs)
            except _LeftOutError as error:
                self.left_out[(*path, name)] = str(error)
                continue
            filled = self.defaults_filled and isinstance(below, dict) and below.get("default") is not None
            fields[name] = Field(shape, required=not nullable and (filled or name in required))
        if path and not _is_closed(schema):  # the top of an input is always closed, and a target is never compared whole
            self.left_out[(*path, OTHERS)] = "it may have properties that are not declared"
        return RecordShape(fields)

    def _set(self, schema: JsonObject, path: Path, refs: tuple[str, ...]) -> SetShape:
        if "prefixItems" in schema or "items" not in schema:
            raise _LeftOutError("it is a list whose elements may have several types")
        before = dict(self.left_out)
        element, nullable = self.read(schema["items"], (*path, "*"), refs)
        if nullable:
            raise _LeftOutError("it is a list whose elements may be null")
        if self.left_out != before:
            # A set of records compares whole records, so a part of one is of no use.
            self.left_out = before
            raise _LeftOutError("it is a list whose elements cannot be seen whole")
        return SetShape(element)


def _is_closed(schema: JsonObject) -> bool:
    """Whether an object has no properties but those that are named."""
    return "patternProperties" not in schema and False in (schema.get("additionalProperties"), schema.get("unevaluatedProperties"))


def _of_values(values: list[Any]) -> tuple[Shape, bool]:
    kinds = {type(value) for value in values if value is not None}
    nullable = None in values
    if kinds == {str}:
        return _SCALARS["string"], nullable
    if kinds == {int}:
        return _SCALARS["integer"], nullable
    if kinds == {bool}:
        return _SCALARS["boolean"], nullable
    raise _LeftOutError("its values have several types")
