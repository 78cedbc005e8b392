"""Shapes: what policy sees of a JSON value, as a Cedar type and as the value to hand to Cedar.

Rules:

1. A shape writes its own Cedar type and encodes only values of it; anything else raises `ShapeMismatch`, and a decision that meets it is
   a denial.
2. Encoding copies declared attributes and nothing else, so no value can bring a key that Cedar would read as an entity or an extension.
3. A JSON null is an absent attribute: Cedar has no null.
4. `narrow` keeps what a set of policies reads. Encoding with the narrow shape gives those policies the same view as with the whole one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct

from licet.model import EntityRef, JsonObject

Reads: TypeAlias = "Mapping[str, Reads] | None"
"""The attributes that are read of a value, and what is read of those; None for the whole value."""

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
_DECIMAL = re.compile(r"(-?)0*([0-9]{1,15})(?:\.([0-9]{1,4})0*)?")
_UTC = timedelta(0)


class ShapeMismatch(ValueError):
    """A value is not of the type that policies were validated against. The message names the attribute, never the value."""


class Shape(Protocol):
    """A Cedar type with the way to write its values."""

    def cedar(self) -> JsonObject:
        """The type, as Cedar's JSON schema writes it."""
        ...

    def encode(self, value: Any) -> Any:
        """The value, as Cedar's JSON reads it under that type. Raises `ShapeMismatch`."""
        ...

    def narrow(self, reads: Reads) -> Shape:
        """The part of the shape that is read."""
        ...


class Scalar(Struct, frozen=True):
    """A string, a 64-bit integer or a boolean."""

    type: Literal["String", "Long", "Boolean"]

    def cedar(self) -> JsonObject:
        """A primitive."""
        return {"type": self.type}

    def encode(self, value: Any) -> Any:
        """The value itself. Booleans are no integers here, and integers have 64 bits."""
        kind = type(value)
        if self.type == "String":
            if kind is str:
                return value
        elif self.type == "Long":
            if kind is int and LONG_MIN <= value <= LONG_MAX:
                return value
        elif kind is bool:
            return value
        raise ShapeMismatch(f"is not a {self.type}")

    def narrow(self, reads: Reads) -> Shape:  # noqa: ARG002 - a scalar is read whole
        """The same."""
        return self


class DecimalShape(Struct, frozen=True):
    """An exact decimal with at most 4 places, given as a string or an integer."""

    def cedar(self) -> JsonObject:
        """Cedar's decimal."""
        return {"type": "Extension", "name": "decimal"}

    def encode(self, value: Any) -> Any:
        """Cedar wants a point and one to four places: `12` becomes `12.0`. More places or digits than it has are refused, never rounded."""
        match = _DECIMAL.fullmatch(str(value)) if type(value) in {str, int} else None
        if match is None:
            raise ShapeMismatch("is not a decimal with at most 15 digits and 4 places")
        return f"{match[1]}{match[2]}.{match[3] or '0'}"

    def narrow(self, reads: Reads) -> Shape:  # noqa: ARG002 - a decimal is read whole
        """The same."""
        return self


class DatetimeShape(Struct, frozen=True):
    """A moment in UTC, to the millisecond."""

    def cedar(self) -> JsonObject:
        """Cedar's datetime."""
        return {"type": "Extension", "name": "datetime"}

    def encode(self, value: Any) -> Any:
        """RFC 3339 in UTC with milliseconds; finer parts are cut off. A time without zone is refused."""
        if not isinstance(value, datetime) or value.utcoffset() != _UTC:
            raise ShapeMismatch("is not a time in UTC")
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"

    def narrow(self, reads: Reads) -> Shape:  # noqa: ARG002 - a moment is read whole
        """The same."""
        return self


class EntityShape(Struct, frozen=True):
    """A reference to an entity of one type."""

    type: str

    def cedar(self) -> JsonObject:
        """An entity type."""
        return {"type": "Entity", "name": self.type}

    def encode(self, value: Any) -> Any:
        """The reference in the dict form, which takes any id."""
        if not isinstance(value, EntityRef) or value.type != self.type:
            raise ShapeMismatch(f"is not a {self.type}")
        return {"type": value.type, "id": value.id}

    def narrow(self, reads: Reads) -> Shape:  # noqa: ARG002 - a reference is read whole
        """The same."""
        return self


class SetShape(Struct, frozen=True):
    """Any number of values of one shape, without order and repetition."""

    element: Shape

    def cedar(self) -> JsonObject:
        """Cedar's set."""
        return {"type": "Set", "element": self.element.cedar()}

    def encode(self, value: Any) -> Any:
        """Each element by the element's shape."""
        if type(value) not in {list, tuple}:
            raise ShapeMismatch("is not a list")
        encode = self.element.encode
        return [encode(element) for element in value]

    def narrow(self, reads: Reads) -> Shape:  # noqa: ARG002 - Cedar cannot look into the elements of a set
        """The same."""
        return self


class Field(Struct, frozen=True):
    """An attribute of a record."""

    shape: Shape
    required: bool


class RecordShape(Struct, frozen=True):
    """Named attributes, each with its own shape."""

    fields: dict[str, Field]

    def cedar(self) -> JsonObject:
        """Cedar's record, closed."""
        attributes = {name: {**field.shape.cedar(), "required": field.required} for name, field in self.fields.items()}
        return {"type": "Record", "attributes": attributes}

    def encode(self, value: Any) -> Any:
        """The declared attributes that are there. What is not declared stays behind."""
        if type(value) is not dict:
            raise ShapeMismatch("is not an object")
        encoded = {}
        for name, field in self.fields.items():
            found = value.get(name)
            if found is not None:
                try:
                    encoded[name] = field.shape.encode(found)
                except ShapeMismatch as error:
                    raise ShapeMismatch(f"`{name}` {error}") from None
            elif field.required:
                raise ShapeMismatch(f"`{name}` is missing")
        return encoded

    def narrow(self, reads: Reads) -> RecordShape:
        """Only the attributes that are read."""
        if reads is None:
            return self
        kept = ((name, field, reads[name]) for name, field in self.fields.items() if name in reads)
        return RecordShape({name: Field(field.shape.narrow(below), field.required) for name, field, below in kept})
