"""JSON Schema from Python types, made by pydantic.

Where Licet wants something else than pydantic's default: decimals are exact strings, clock times and durations carry no RFC 3339 format
that Python's own would fail, objects are closed at every depth, and what cannot be expressed is an error and never a warning.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from licet.catalog.schema import subschemas
from licet.errors import CatalogInvalid
from licet.model import JsonObject


class SchemaGenerator(GenerateJsonSchema):
    """Pydantic's generator with Licet's choices."""

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        """A string: JSON numbers pass through floats in too many places to be money."""
        bounds = sorted({"ge", "gt", "le", "lt", "multiple_of", "max_digits", "decimal_places"} & set(schema))
        # The bounds stay pydantic's to check, since JSON Schema has none for strings: they are not lost.
        described = {"description": f"bounds: {', '.join(f'{name}={schema[name]}' for name in bounds)}"} if bounds else {}
        return {"type": "string", "format": "decimal", **described}

    def time_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002 - pydantic's signature
        """A string that pydantic reads: RFC 3339 wants an offset, a Python time has none."""
        return {"type": "string"}

    def timedelta_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002 - pydantic's signature
        """A string in ISO 8601, fractions included."""
        return {"type": "string"}

    def json_or_python_schema(self, schema: Any) -> JsonSchemaValue:
        """As pydantic has it; and where its generic `Secret` is at work, which pydantic marks for `SecretStr` only, marked as a secret."""
        described = super().json_or_python_schema(schema)
        writer = schema.get("serialization", {}).get("function")
        is_secret = getattr(writer, "__module__", None) == "pydantic.types" and "secret" in getattr(writer, "__name__", "")
        return {**described, "writeOnly": True} if is_secret else described

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """No titles: they repeat the names."""
        return False

    def emit_warning(self, kind: Any, detail: str) -> None:
        """An error: a default that the schema cannot say would be an argument that no policy saw."""
        raise CatalogInvalid(f"the types cannot be written as JSON Schema: {kind}: {detail}")


def finished(schema: JsonObject) -> JsonObject:
    """The generated schema with every object closed. Raises CatalogInvalid for sets."""
    for part in subschemas(schema):
        part.pop("title", None)
        if "properties" in part:
            part.setdefault("additionalProperties", False)
        if part.get("uniqueItems"):
            raise CatalogInvalid("a set has no order, so equal arguments would have different bytes: use a list")
    return schema
