"""JSON Schemas of the OpenAPI document as Python types: msgspec Structs that decode exactly what the server encodes."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
WIDTH = 132
PREFIX = "#/components/schemas/"


class Names:
    """The schemas, and the name that each has in Python."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self.schemas = schemas
        self.tags = dict(_tags(schemas))

    def of(self, reference: str) -> str:
        """The Python name of what a `$ref` points to."""
        return identifier(reference.removeprefix(PREFIX))

    def properties(self, schema: Schema) -> dict[str, Any]:
        """The members of an object, followed through one reference."""
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"].removeprefix(PREFIX)]
        found: dict[str, Any] = schema.get("properties", {})
        return found


def identifier(name: str) -> str:
    """A schema's name as that of a class: `Page_Line_` as `PageLine`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name) if part)


def class_of(names: Names, name: str, schema: Schema) -> str:
    """The Struct, or the alias, that stands for a named schema."""
    own = identifier(name)
    described = schema.get("description", "")
    if "properties" not in schema and not (schema.get("type") == "object" and "additionalProperties" not in schema):
        if schema.get("type") == "array" and "prefixItems" in schema and described:
            return _array(names, own, schema)
        alias = f"{own}: TypeAlias = {python_type(names, schema, quoted=True)!r}" if own != name else ""
        alias = f"{own}: TypeAlias = {python_type(names, schema, quoted=True)}"
        return f'{alias}\n"""{_sentence(described)}"""' if described else alias
    tag, fields = _fields(names, name, schema)
    lines = [f"class {own}(Struct, frozen=True, kw_only=True{tag}):", _docstring(described or f"`{name}` of the API."), ""]
    return "\n".join([*lines, *(fields or ["    pass"])])


def _tags(found: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    """Of each schema that is one of several: the member that tells them apart, and its value."""
    if isinstance(found, list):
        yield from (tag for one in found for tag in _tags(one))
    elif isinstance(found, dict):
        known = found.get("discriminator", {})
        for value, reference in known.get("mapping", {}).items() if isinstance(known, dict) else ():
            yield reference.removeprefix(PREFIX), (known["propertyName"], value)
        yield from (tag for one in found.values() for tag in _tags(one))


def _fields(names: Names, name: str, schema: Schema) -> tuple[str, list[str]]:
    required = set(schema.get("required", ()))
    member_name, value = names.tags.get(name, ("", ""))
    tag = f", tag_field={member_name!r}, tag={value!r}" if member_name else ""
    members = {one: member for one, member in schema.get("properties", {}).items() if one != member_name}
    return tag, [_field(names, one, member, is_required=one in required) for one, member in members.items()]


def _field(names: Names, name: str, member: Schema, *, is_required: bool) -> str:
    kind = python_type(names, member)
    own = f"{name}_" if keyword.iskeyword(name) or not name.isidentifier() else name
    own = re.sub(r"\W", "_", own)
    renamed = f"name={name!r}" if own != name else ""
    if is_required:
        return f"    {own}: {kind}" + (f" = field({renamed})" if renamed else "")
    value = member.get("default")
    if "default" not in member or (isinstance(value, list | dict) and value):  # what is left out, the server fills in
        return f"    {own}: {kind} | UnsetType = " + (f"field(default=UNSET, {renamed})" if renamed else "UNSET")
    default = "()" if value == [] else repr(value)
    return f"    {own}: {kind} = " + (f"field(default={default}, {renamed})" if renamed else default)


def _array(names: Names, own: str, schema: Schema) -> str:
    """A Struct that is an array in JSON."""
    return f'{own}: TypeAlias = {python_type(names, schema, quoted=True)}\n"""{_sentence(schema["description"])}"""'


def python_type(names: Names, schema: Schema, room: str = "", *, quoted: bool = False) -> str:
    """The annotation for a schema; names of Structs are looked up in `room`."""
    found = _type(names, schema, room)
    return f'"{found}"' if quoted and re.search(r"[A-Z]\w+", found.replace("Any", "").replace("Literal", "")) else found


def _type(names: Names, schema: Schema, room: str) -> str:
    if "$ref" in schema:
        return room + names.of(schema["$ref"])
    if "anyOf" in schema:
        kinds = list(dict.fromkeys(_type(names, one, room) for one in schema["anyOf"]))
        return "Any" if "Any" in kinds else " | ".join(sorted(kinds, key=lambda kind: kind == "None"))
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    return _of_kind(names, schema, room)


def _of_kind(names: Names, schema: Schema, room: str) -> str:
    match schema.get("type"):
        case "array":
            return _sequence(names, schema, room)
        case "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {_type(names, values, room)}]" if isinstance(values, dict) and values else "dict[str, Any]"
        case "string":
            return {"date-time": "datetime"}.get(schema.get("format", ""), "bytes" if schema.get("contentEncoding") == "base64" else "str")
        case plain:
            return _PLAIN[plain]


_PLAIN = {"integer": "int", "number": "float", "boolean": "bool", "null": "None", None: "Any"}


def _sequence(names: Names, schema: Schema, room: str) -> str:
    if "prefixItems" in schema:
        return f"tuple[{', '.join(_type(names, one, room) for one in schema['prefixItems'])}]"
    items = schema.get("items") or {}
    return f"tuple[{_type(names, items, room)}, ...]"


def _docstring(text: str) -> str:
    text = _sentence(text).replace("\\", "\\\\").replace('"""', "'''")
    first, _, rest = text.partition("\n")
    whole = f'    """{first}{rest and chr(10)}'
    more = "\n".join(textwrap.indent(rest.strip("\n"), "    ").splitlines()) if rest else ""
    closed = f"{whole}{chr(10) if rest else ''}{more}" + ('\n    """' if rest else '"""')
    return "\n".join(line.rstrip() for line in closed.split("\n"))


def _sentence(text: str) -> str:
    """The description with its paragraphs wrapped anew, and a period at its end."""
    paragraphs = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    found = "\n\n".join("\n".join(textwrap.wrap(part, WIDTH, break_long_words=False)) for part in paragraphs)
    return found if found.endswith((".", "!", "?")) else f"{found}."
