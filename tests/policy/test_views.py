from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import pytest
from cedarpy import _internal as cedar
from pydantic import BaseModel

from licet.catalog.python import tool_from_function
from licet.catalog.spec import ResourceSpec
from licet.model import JsonObject
from licet.policy.schema import Vocabulary
from licet.policy.shape import DecimalShape, Field, RecordShape, Scalar, SetShape, Shape
from licet.policy.views import View, view_of
from tests.policy.scene import catalog, engine, principals, question, tool

STRING, LONG, BOOLEAN = Scalar("String"), Scalar("Long"), Scalar("Boolean")


def view(properties: JsonObject, *required: str, **more: Any) -> View:
    return view_of(
        {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False, **more},
        defaults_filled=True,
    )


@pytest.mark.parametrize(
    ("schema", "shape", "required"),
    [
        ({"type": "integer"}, LONG, True),
        ({"type": "integer", "minimum": 0, "maximum": 5}, LONG, True),
        ({"type": "string", "format": "date-time"}, STRING, True),
        ({"type": "string", "pattern": "^C-", "maxLength": 9}, STRING, True),
        ({"type": "string", "format": "decimal"}, DecimalShape(), True),
        ({"type": "boolean"}, BOOLEAN, True),
        ({"enum": ["a", "b"]}, STRING, True),
        ({"type": "string", "enum": ["a"]}, STRING, True),
        ({"enum": [1, 2]}, LONG, True),
        ({"enum": [True, False]}, BOOLEAN, True),
        ({"enum": ["a", None]}, STRING, False),
        ({"const": "a"}, STRING, True),
        ({"type": ["integer", "null"]}, LONG, False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, LONG, False),
        ({"oneOf": [{"type": "string", "format": "uuid"}, {"type": "string"}]}, STRING, True),
        ({"allOf": [{"type": "integer"}]}, LONG, True),
        ({"$ref": "#/$defs/Kind"}, STRING, True),
        ({"type": "array", "items": {"type": "string"}}, SetShape(STRING), True),
        ({"type": "array", "items": {"type": "array", "items": {"$ref": "#/$defs/Kind"}}}, SetShape(SetShape(STRING)), True),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            },
            RecordShape({"a": Field(LONG, required=True), "b": Field(STRING, required=False)}),
            True,
        ),
        ({"type": "object", "properties": {}, "additionalProperties": False}, RecordShape({}), True),
    ],
)
def test_what_has_an_exact_type_is_seen_under_it(schema: JsonObject, shape: Shape, *, required: bool) -> None:
    found = view({"x": schema}, "x", **{"$defs": {"Kind": {"enum": ["a", "b"]}}})
    assert (found.shape.fields, found.left_out) == ({"x": Field(shape, required=required)}, {})


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "number"}, "it is a floating-point number, which has no exact comparison"),
        ({"type": "number", "multipleOf": 0.01}, "it is a floating-point number, which has no exact comparison"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "it may have several types"),
        ({"anyOf": [{"type": "null"}]}, "it may have several types"),
        ({"type": ["string", "integer"]}, "it may have several types"),
        ({"type": "null"}, "it may have several types"),
        ({"enum": ["a", 1]}, "its values have several types"),
        ({"enum": [True, 1]}, "its values have several types"),
        ({"const": 1.5}, "its values have several types"),
        ({"type": "object"}, "it is an object of any form"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "it is an object of any form"),
        ({"type": "array"}, "it is a list whose elements may have several types"),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
            "it is a list whose elements may have several types",
        ),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "it is a list whose elements may be null"),
        ({"type": "array", "items": {"type": "number"}}, "it is a floating-point number, which has no exact comparison"),
        (
            {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "integer"}}}},
            "it is a list whose elements cannot be seen whole",
        ),
        ({"allOf": [{"type": "integer"}, {"minimum": 1}]}, "it combines several schemas"),
        ({"$ref": "#/$defs/Node"}, None),
        ({"$ref": "#/$defs/Loop"}, "it is recursive"),
        ({"$ref": "#/$defs/Gone"}, "it refers to `#/$defs/Gone`, which is not there"),
        ({"$ref": "https://example.com/x"}, "it refers to another document"),
        (True, "it may be anything"),
        ({}, "it may be anything"),
        ({"type": "strange"}, "it may be anything"),
    ],
)
def test_what_has_no_exact_type_is_left_out_with_the_reason(schema: Any, why: str | None) -> None:
    definitions = {
        "Node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}},
            "required": ["name"],
            "additionalProperties": False,
        },
        "Loop": {"$ref": "#/$defs/Loop"},
    }
    found = view({"x": schema}, "x", **{"$defs": definitions})
    if why is None:
        assert found.shape.fields["x"].shape == RecordShape({"name": Field(STRING, required=True)})
        assert found.left_out == {("x", "next"): "it is recursive"}
    else:
        assert (found.shape.fields, found.left_out) == ({}, {("x",): why})


@pytest.mark.parametrize("name", ["__entity", "__extn", "__expr"])
def test_a_name_that_cedar_reads_as_something_else_is_left_out(name: str) -> None:
    assert view({name: {"type": "string"}}).left_out == {(name,): "its name is reserved"}


def test_nesting_without_end_is_cut() -> None:
    schema: JsonObject = {"type": "string"}
    for _ in range(40):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    (path,) = view({"a": schema}).left_out
    assert len(path) == 33


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"$ref": "#/$defs/Gone"}, {"type": "string"}])
def test_a_schema_without_named_properties_shows_nothing(schema: JsonObject) -> None:
    found = view_of(schema, defaults_filled=True)
    assert found.shape == RecordShape({})
    assert () in found.left_out


def test_a_default_makes_an_argument_present_and_says_nothing_of_a_target() -> None:
    schema: JsonObject = {
        "type": "object",
        "properties": {"a": {"type": "integer", "default": 1}, "b": {"type": "integer", "default": None}},
    }
    assert [field.required for field in view_of(schema, defaults_filled=True).shape.fields.values()] == [True, False]
    assert [field.required for field in view_of(schema, defaults_filled=False).shape.fields.values()] == [False, False]


def test_a_default_in_a_branch_of_a_choice_is_not_filled_in_so_it_says_nothing() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}
    for choice in ({"anyOf": [inner, {"type": "null"}]}, {"allOf": [inner]}):
        found = view({"x": choice, "y": inner}, "x", "y").shape.fields
        assert found["x"].shape == RecordShape({"a": Field(LONG, required=False)})
        assert found["y"].shape == RecordShape({"a": Field(LONG, required=True)})


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    sku: str
    count: int = 1
    gift: bool | None = None


class Order(BaseModel):
    id: str
    lines: list[Line]
    total: Decimal
    weight: float
    due: date


def place(  # noqa: PLR0917 - a tool's signature
    order: Order, colour: Colour, mode: Literal["a", "b"], tags: list[str], at: datetime, limit: int | None = None, retries: int = 3
) -> str:
    return f"{order}{colour}{mode}{tags}{at}{limit}{retries}"


def test_a_python_signature_is_seen_whole_but_for_its_floats() -> None:
    """The catalog's schemas and this room's views are made for one another."""
    spec = tool_from_function(place, name="shop.place", access="write", touches=(), targets=()).spec
    found = view_of(spec.input_schema, defaults_filled=True)
    line = RecordShape({"sku": Field(STRING, required=True), "count": Field(LONG, required=True), "gift": Field(BOOLEAN, required=False)})
    order = found.shape.fields["order"].shape
    assert isinstance(order, RecordShape)
    assert order.fields["lines"] == Field(SetShape(line), required=True)
    assert order.fields["due"] == Field(STRING, required=True)
    assert order.fields["total"] == Field(DecimalShape(), required=True)
    expected: dict[str, tuple[Shape, bool]] = {
        "colour": (STRING, True),
        "mode": (STRING, True),
        "tags": (SetShape(STRING), True),
        "at": (STRING, True),
        "limit": (LONG, False),
        "retries": (LONG, True),
    }
    assert {name: (field.shape, field.required) for name, field in found.shape.fields.items() if name != "order"} == expected
    assert found.left_out == {("order", "weight"): "it is a floating-point number, which has no exact comparison"}


AWKWARD = tool(
    "a.b-c.d_e",
    {"x-y": {"type": "integer"}, 'q"uote': {"type": "string"}, "has": {"type": "boolean"}, "ünï": {"type": "string"}},
    "Customer::c",
)


def test_names_with_dots_dashes_quotes_and_keywords_can_be_used_in_policies() -> None:
    policy = (
        '@id("x") permit (principal, action == Action::"a.b-c.d_e", resource) '
        'when { context.input["x-y"] == 1 && context.input["q\\"uote"] == "z" && context.input["has"] && context.input["ünï"] like "*" };'
    )
    loaded = engine(policy, AWKWARD)
    value = {"x-y": 1, 'q"uote': "z", "has": True, "ünï": "z"}
    assert loaded.decide(question(AWKWARD, value, by=principals()[1:])).verdict == "allow"
    assert loaded.decide(question(AWKWARD, {**value, "x-y": 2}, by=principals()[1:])).code == "no_permit"


def test_the_schema_of_any_catalog_is_one_that_cedar_reads() -> None:
    spec = tool_from_function(place, name="shop.place", access="destructive", touches=("money",), targets=()).spec
    attributes = {"type": "object", "properties": {"price": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}}}
    made = Vocabulary(catalog(spec, AWKWARD, resources=(ResourceSpec(type="Order", attributes=attributes),)), ("spent",))
    declared = json.loads(made.content)[""]
    assert cedar.Schema.from_json_str(made.content.decode())
    assert made.type_left_out == {"Order": {("price",): "it is a floating-point number, which has no exact comparison"}}
    assert declared["actions"]["shop.place"]["memberOf"] == [{"id": "destructive"}, {"id": "touches-money"}]
    assert declared["actions"]["destructive"] == {"memberOf": [{"id": "write"}]}
    assert sorted(made.reserved) == [f"touches-nothing-{group}" for group in ("touches-access", "touches-customers", "touches-production")]
    assert made.tools["shop.place"].types == ("Tenant",)
    assert made.tools["a.b-c.d_e"].types == ("Customer",)


def repeated(depth: int, *, as_choice: bool) -> JsonObject:
    """A schema of which every definition refers to the next one twice."""
    definitions: JsonObject = {f"D{depth}": {"type": "string"}}
    for level in range(depth):
        below = {"$ref": f"#/$defs/D{level + 1}"}
        definitions[f"D{level}"] = (
            {"anyOf": [below, below]}
            if as_choice
            else {
                "type": "object",
                "properties": {"a": below, "b": below},
                "additionalProperties": False,
            }
        )
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/D0"}, "y": {"type": "string"}}, "$defs": definitions}


@pytest.mark.parametrize("as_choice", [True, False])
def test_a_small_schema_that_means_billions_of_parts_is_not_seen_at_all(as_choice: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert view_of(repeated(30, as_choice=as_choice), defaults_filled=True) == View(
        RecordShape({}), {(): "the schema has more than 10000 parts"}
    )
    assert view_of(repeated(5, as_choice=as_choice), defaults_filled=True).left_out == {}


def test_a_schema_that_refers_on_and_on_is_not_seen_at_all() -> None:
    definitions: JsonObject = {f"D{level}": {"$ref": f"#/$defs/D{level + 1}"} for level in range(5_000)}
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/D0"}}, "$defs": {**definitions, "D5000": {"type": "string"}}}
    assert view_of(schema, defaults_filled=True) == View(RecordShape({}), {(): "the schema is nested too deeply"})


@pytest.mark.parametrize(
    ("more", "is_open"),
    [
        ({}, True),
        ({"additionalProperties": {"type": "string"}}, True),
        ({"additionalProperties": False, "patternProperties": {"^x": {}}}, True),
        ({"additionalProperties": False}, False),
        ({"unevaluatedProperties": False}, False),
    ],
)
def test_an_object_that_may_hold_more_than_is_declared_cannot_be_seen_whole(more: JsonObject, *, is_open: bool) -> None:
    found = view({"order": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"], **more}}, "order")
    assert found.shape == RecordShape({"order": Field(RecordShape({"id": Field(STRING, required=True)}), required=True)})
    assert found.left_out == ({("order", "*"): "it may have properties that are not declared"} if is_open else {})
