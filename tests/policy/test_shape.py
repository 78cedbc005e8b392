from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.model import EntityRef
from licet.policy.shape import DatetimeShape, DecimalShape, EntityShape, Field, Reads, RecordShape, Scalar, SetShape, Shape, ShapeMismatch

STRING, LONG, BOOLEAN = Scalar("String"), Scalar("Long"), Scalar("Boolean")
RECORD = RecordShape(
    {
        "a": Field(LONG, required=True),
        "b": Field(SetShape(STRING), required=False),
        "c": Field(RecordShape({"d": Field(BOOLEAN, required=True)}), required=False),
    }
)


@pytest.mark.parametrize(
    ("shape", "value", "encoded"),
    [
        (STRING, "x", "x"),
        (LONG, -(2**63), -(2**63)),
        (BOOLEAN, False, False),
        (DecimalShape(), "12", "12.0"),
        (DecimalShape(), "-0.5000", "-0.5000"),
        (DecimalShape(), "0012.34000", "12.3400"),
        (DecimalShape(), 7, "7.0"),
        (DatetimeShape(), datetime(2026, 1, 2, 3, 4, 5, 678999, UTC), "2026-01-02T03:04:05.678Z"),
        (EntityShape("User"), EntityRef("User", 'a"\n'), {"type": "User", "id": 'a"\n'}),
        (SetShape(LONG), [1, 1, 2], [1, 1, 2]),
        (SetShape(LONG), (), []),
        (RECORD, {"a": 1}, {"a": 1}),
        (RECORD, {"a": 1, "b": None, "c": {"d": True}, "__entity": {"type": "Role"}, "e": 1.5}, {"a": 1, "c": {"d": True}}),
    ],
)
def test_a_value_of_the_type_is_encoded_as_cedar_reads_it(shape: Shape, value: Any, encoded: Any) -> None:
    assert shape.encode(value) == encoded


@pytest.mark.parametrize(
    ("shape", "value", "told"),
    [
        (STRING, 1, "is not a String"),
        (STRING, {"__extn": {"fn": "unknown", "arg": "x"}}, "is not a String"),
        (STRING, None, "is not a String"),
        (LONG, True, "is not a Long"),
        (LONG, 1.0, "is not a Long"),
        (LONG, 2**63, "is not a Long"),
        (LONG, "1", "is not a Long"),
        (BOOLEAN, 1, "is not a Boolean"),
        (DecimalShape(), "0.00001", "is not a decimal with at most 15 digits and 4 places"),
        (DecimalShape(), "1e3", "is not a decimal with at most 15 digits and 4 places"),
        (DecimalShape(), "1.", "is not a decimal with at most 15 digits and 4 places"),
        (DecimalShape(), "1" * 16, "is not a decimal with at most 15 digits and 4 places"),
        (DecimalShape(), "٣.٤", "is not a decimal with at most 15 digits and 4 places"),
        (DecimalShape(), 1.5, "is not a decimal with at most 15 digits and 4 places"),
        (DecimalShape(), True, "is not a decimal with at most 15 digits and 4 places"),
        (DatetimeShape(), datetime(2026, 1, 1), "is not a time in UTC"),  # noqa: DTZ001 - that is the point
        (DatetimeShape(), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))), "is not a time in UTC"),
        (DatetimeShape(), "2026-01-01T00:00:00Z", "is not a time in UTC"),
        (EntityShape("User"), EntityRef("Role", "admin"), "is not a User"),
        (EntityShape("User"), {"type": "User", "id": "x"}, "is not a User"),
        (SetShape(LONG), "12", "is not a list"),
        (SetShape(LONG), [1, "2"], "is not a Long"),
        (RECORD, [], "is not an object"),
        (RECORD, {}, "`a` is missing"),
        (RECORD, {"a": None}, "`a` is missing"),
        (RECORD, {"a": 1, "c": {"d": "x"}}, "`c` `d` is not a Boolean"),
    ],
)
def test_any_other_value_is_a_mismatch_that_names_the_attribute_and_not_the_value(shape: Shape, value: Any, told: str) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        shape.encode(value)
    assert str(caught.value) == told


@given(st.decimals(min_value=-(10**14), max_value=10**14, places=4))
def test_every_decimal_with_four_places_is_the_same_number_for_cedar(number: Decimal) -> None:
    encoded = DecimalShape().encode(f"{number:f}")
    policy = f'permit (principal, action, resource) when {{ context.x == decimal("{number:.4f}") }};'
    context = {"x": {"__extn": {"fn": "decimal", "arg": encoded}}}
    assert cedarpy.is_authorized(
        {"principal": 'U::"a"', "action": 'Action::"a"', "resource": 'U::"a"', "context": context}, policy, "[]"
    ).allowed


@pytest.mark.parametrize(
    ("reads", "names"),
    [
        (None, {"a": {}, "b": {}, "c": {"d": {}}}),
        ({}, {}),
        ({"a": None, "z": None}, {"a": {}}),
        ({"c": {}}, {"c": {}}),
        ({"c": {"d": None}}, {"c": {"d": {}}}),
        ({"c": None, "b": {"q": None}}, {"b": {}, "c": {"d": {}}}),
    ],
)
def test_narrowing_keeps_what_is_read_and_leaves_the_types_alone(reads: Reads, names: dict[str, Any]) -> None:
    narrow = RECORD.narrow(reads)
    assert nested(narrow) == names
    assert all(narrow.fields[name].required == RECORD.fields[name].required for name in narrow.fields)
    assert json.dumps(narrow.cedar())


def nested(shape: Shape) -> dict[str, Any]:
    return {name: nested(field.shape) for name, field in shape.fields.items()} if isinstance(shape, RecordShape) else {}
