"""Input schemas: which JSON Schema a tool may have, and validators built from it once.

Rules:

1. JSON Schema 2020-12, `"type": "object"` at the top with `additionalProperties` false: an argument nobody declared is one that no policy
   saw.
2. References lead only into the schema's own `$defs` (or `definitions`). Nothing is ever fetched.
3. Patterns run in linear time: an argument cannot stop the process by making a pattern backtrack.
4. `format` is asserted. Two are ours: `decimal`, an exact decimal number written as a string, and `resolved-uri`, text without a segment
   `.` or `..`, plain or encoded: whoever resolves it (RFC 3986, 5.2.4) would read another place than policies were asked about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from licet.catalog import strict
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import JsonObject

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DOT_SEGMENT = re.compile(r"(?:^|[/\\:]|%2f|%5c)(?:\.|%2e){1,2}(?:[/\\?#;]|%2f|%5c|$)", re.IGNORECASE)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = re.compile(r"#/(\$defs|definitions)/[^/]+")
_ELSEWHERE = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")
# Keywords whose value is data or a map by name, where a key that looks like a keyword is none.
_DATA = frozenset({"const", "enum", "default", "examples"})
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def checked(schema: JsonObject) -> JsonObject:
    """A closed deep copy of an input schema that obeys the rules of this module. Raises CatalogInvalid."""
    try:
        copy: JsonObject = strict.copied(schema, limit_values=strict.LIMIT_BYTES)  # its author's choice: an enumeration may be long
    except ArgumentsRefused as refused:
        raise CatalogInvalid(f"the schema cannot be used: {refused} (at `{refused.path}`)") from refused
    if copy.get("type") != "object":
        raise CatalogInvalid('the schema must have `"type": "object"` at the top')
    if copy.setdefault("additionalProperties", False) is not False or "patternProperties" in copy:
        raise CatalogInvalid("the schema must not allow additional properties at the top: no policy could speak of them")
    if copy.get("$schema", _DIALECT) != _DIALECT:
        raise CatalogInvalid(f"the schema must be of the dialect `{_DIALECT}`")
    try:
        # First of all, so that whoever walks the schema afterwards finds objects where objects belong.
        jsonschema_rs.meta.validate(copy)
    except jsonschema_rs.ValidationError as error:
        raise CatalogInvalid(f"the schema is not valid JSON Schema: {error.message[:200]}") from error
    for part in subschemas(copy):
        _check_part(part, copy)
    validator(copy)
    _check_defaults(copy)
    return copy


def validator(schema: JsonObject) -> jsonschema_rs.Draft202012Validator:
    """A compiled validator, safe to share between threads. Raises CatalogInvalid."""
    try:
        return jsonschema_rs.Draft202012Validator(
            schema,
            validate_formats=True,
            formats={"decimal": _is_decimal, "resolved-uri": _is_resolved},
            pattern_options=jsonschema_rs.RegexOptions(),
            mask="the value",
            offline=True,
        )
    except (ValueError, TypeError, jsonschema_rs.ReferencingError) as error:
        raise CatalogInvalid(f"the schema is not valid JSON Schema: {str(error)[:200]}") from error


def subschemas(schema: Any) -> Iterator[JsonObject]:
    """A schema and every schema inside it, in document order; references are not followed."""
    if isinstance(schema, list):
        for item in schema:
            yield from subschemas(item)
    if not isinstance(schema, dict):
        return
    yield schema
    for keyword, value in schema.items():
        if keyword in _BY_NAME and isinstance(value, dict):
            for named in value.values():
                yield from subschemas(named)
        elif keyword not in _DATA:
            yield from subschemas(value)


def _check_defaults(root: JsonObject) -> None:
    definitions: JsonObject = {holder: root[holder] for holder in ("$defs", "definitions") if holder in root}
    for name, part in root.get("properties", {}).items():
        if isinstance(part, dict) and "default" in part and not validator({**part, **definitions}).is_valid(part["default"]):
            raise CatalogInvalid(f"the default of `{name}` is not what its own schema asks for")


def _check_part(part: JsonObject, root: JsonObject) -> None:
    for keyword in _ELSEWHERE:
        if keyword in part and not (part is root and keyword == "$id"):
            raise CatalogInvalid(f"the schema uses `{keyword}`, which is not supported")
    reference = part.get("$ref")
    if reference is None:
        return
    if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        raise CatalogInvalid(f"the schema refers to `{str(reference)[:80]}`: references lead into `#/$defs/` only")
    if not isinstance(resolved(root, reference), dict | bool):
        raise CatalogInvalid(f"the schema refers to `{reference[:80]}`, which it does not have")


def resolved(root: JsonObject, reference: str) -> Any:
    """What a `#/$defs/Name` (or `#/definitions/Name`) of this schema stands for; None if nothing."""
    _, holder, name = reference.split("/", 2)
    return root.get(holder, {}).get(name.replace("~1", "/").replace("~0", "~"))


def _is_decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None


def _is_resolved(text: str) -> bool:
    return _DOT_SEGMENT.search(text) is None
