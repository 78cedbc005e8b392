"""Tools of agents' frameworks as tools of the catalog: whose word counts for what, and schemas as frameworks write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from licet.catalog.adopted import AdoptedTool, adopted_spec, is_classified_so, is_open, say_the_same, says_too_little
from licet.catalog.arguments import ArgumentReader
from licet.catalog.declared import ToolSettings
from licet.catalog.spec import ToolSpec
from licet.errors import ArgumentsRefused, CatalogInvalid

READ = ToolSettings(access="read")
WRITE = ToolSettings(access="write", touches=("money", "customers"), targets="Account::{account}")
TAKES = {"type": "object", "properties": {"account": {"type": "string"}, "cents": {"type": "integer"}}, "required": ["account"]}


def tool(schema: dict[str, Any], name: str = "pay", description: str = "Pays.") -> AdoptedTool:
    return AdoptedTool(name=name, description=description, schema=schema, framework="test")


def spec_of(schema: dict[str, Any], table: ToolSettings = READ, timeout_s: float | None = None, **more: str) -> ToolSpec:
    return adopted_spec(tool(schema, **more), table, folder=Path(), timeout_s=timeout_s)


# Who says what


def test_the_framework_says_name_description_and_arguments_and_the_table_what_it_can_do() -> None:
    spec = spec_of(TAKES, WRITE)
    assert (spec.name, spec.description) == ("pay", "Pays.")
    assert (spec.access, sorted(spec.touches), [str(target) for target in spec.targets]) == (
        "write",
        ["customers", "money"],
        ["Account::{account}"],
    )
    assert spec.input_schema["properties"] == TAKES["properties"]


def test_a_table_that_describes_the_tool_is_believed_before_the_framework() -> None:
    assert spec_of(TAKES, replace(READ, description="Said here.")).description == "Said here."


def test_a_table_that_gives_a_schema_is_what_arguments_are_validated_by() -> None:
    spec = spec_of(TAKES, replace(READ, input={"only": "string"}))
    assert set(spec.input_schema["properties"]) == {"only"}


def test_the_time_of_tools_counts_where_the_table_gives_none() -> None:
    assert spec_of(TAKES, READ, 30).timeout_s == 30
    assert spec_of(TAKES, replace(READ, timeout_s=2), 30).timeout_s == 2
    assert spec_of(TAKES, READ).timeout_s is None


def test_what_a_tool_says_of_itself_is_read_as_no_classification() -> None:
    schema = {**TAKES, "access": "read", "x-access": "read", "annotations": {"readOnlyHint": True}, "readOnly": True}
    assert spec_of(schema, WRITE).access == "write"


def test_what_the_schema_itself_calls_secret_is_secret() -> None:
    assert spec_of({"type": "object", "properties": {"pin": {"type": "string", "format": "password"}}}).secrets == ("pin",)


# Schemas as frameworks write them


def read(schema: dict[str, Any], arguments: dict[str, Any]) -> Any:
    return ArgumentReader(spec_of(schema)).read(arguments).value


FRAMEWORK_SCHEMA = {
    "$defs": {
        "Address": {
            "title": "Address",
            "type": "object",
            "properties": {"street": {"title": "Street", "type": "string"}},
            "required": ["street"],
        }
    },
    "title": "PayArguments",
    "description": "Pays.",
    "properties": {
        "account": {"title": "Account", "type": "string", "description": "Whose."},
        "to": {"$ref": "#/$defs/Address"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "title": "Note"},
        "kinds": {"type": "array", "items": {"enum": ["a", "b"], "type": "string"}, "default": ["a"]},
    },
    "required": ["account", "to"],
    "additionalProperties": True,
}


def test_titles_definitions_alternatives_and_defaults_are_taken_as_they_are() -> None:
    given = {"account": "A-1", "to": {"street": "Long"}}
    assert read(FRAMEWORK_SCHEMA, given) == {**given, "note": None, "kinds": ["a"]}
    assert read(FRAMEWORK_SCHEMA, {**given, "note": "x", "kinds": ["b"]})["note"] == "x"


@pytest.mark.parametrize(
    "arguments",
    [
        {"to": {"street": "Long"}},
        {"account": "A-1", "to": {"street": 1}},
        {"account": "A-1", "to": {"street": "Long"}, "note": 1},
        {"account": "A-1", "to": {"street": "Long"}, "kinds": ["c"]},
        {"account": "A-1", "to": {"street": "Long"}, "more": 1},
    ],
)
def test_what_the_framework_would_refuse_is_refused_and_so_is_what_nobody_declared(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentsRefused):
        read(FRAMEWORK_SCHEMA, arguments)


@pytest.mark.parametrize("more", [{"additionalProperties": True}, {"additionalProperties": {"type": "string"}}, {}])
def test_arguments_that_are_not_declared_are_refused_also_where_the_framework_takes_any(more: dict[str, Any]) -> None:
    with pytest.raises(ArgumentsRefused, match="there is no argument"):
        read({"type": "object", "properties": {"a": {"type": "string"}}, **more}, {"a": "1", "b": "2"})


@pytest.mark.parametrize("schema", [{}, {"properties": {}}, {"type": "object"}, {"type": "object", "properties": {}, "required": []}])
def test_a_schema_that_says_nothing_is_that_of_a_tool_that_takes_nothing(schema: dict[str, Any]) -> None:
    assert read(schema, {}) == {}
    with pytest.raises(ArgumentsRefused):
        read(schema, {"a": 1})


def test_a_schema_of_an_older_dialect_says_what_it_said() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"cents": {"type": "integer", "minimum": 0}},
        "type": "object",
        "properties": {"cents": {"$ref": "#/definitions/cents"}},
    }
    assert read(schema, {"cents": 1}) == {"cents": 1}
    with pytest.raises(ArgumentsRefused):
        read(schema, {"cents": -1})


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string"}, "object"),
        ({"properties": {"a": {"$ref": "https://example.com/a.json"}}}, "nothing is ever fetched"),
        ({"properties": {"a": {"$ref": "#/$defs/gone"}}}, "gone"),
        ({"$schema": "https://example.com/own"}, "not known here"),
        ({"properties": {"a": {"type": "strnig"}}}, "strnig"),
        ({"properties": "all"}, '"all" is not of type'),
    ],
)
def test_a_schema_that_cannot_be_validated_by_is_refused_and_names_its_tool(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(CatalogInvalid, match="tool `pay`") as caught:
        spec_of(schema)
    assert why in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "pay\n", "é", "a" * 129, "read", "Write", "touches-money", "../x", "pay`"])
def test_a_name_that_no_catalog_takes_is_refused(name: str) -> None:
    with pytest.raises(CatalogInvalid, match="the tool name"):
        spec_of(TAKES, name=name)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "properties", "$ref", "a"]), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_whatever_a_framework_writes_is_a_definition_or_refused(schema: Any) -> None:
    made = schema if isinstance(schema, dict) else {"properties": {"a": schema}}
    try:
        spec = spec_of(made)
    except CatalogInvalid:
        return
    assert spec.input_schema["additionalProperties"] is False
    assert spec.input_schema["type"] == "object"


# What a table says


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (READ, True),
        (replace(READ, input={}), False),
        (replace(READ, input={"a": "string"}), False),
        (replace(READ, schema={}), False),
        (replace(READ, schema_file="a.json"), False),
        (replace(READ, secrets=("a",), targets="Account::{a}"), True),
    ],
)
def test_a_table_is_open_that_does_not_say_what_its_tool_takes(table: ToolSettings, expected: bool) -> None:  # noqa: FBT001 - a table
    assert is_open(table) is expected


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (READ, False),
        (replace(READ, targets="Account::A-1"), False),
        (replace(READ, targets=("Account::A-1", "Account::A-2")), False),
        (replace(READ, targets="Account::{account}"), True),
        (replace(READ, targets=("Account::A-1", "Account::{account}")), True),
        (replace(READ, secrets=("pin",)), True),
        (replace(READ, targets="Account::{account}", input={"account": "string"}), False),
        (replace(READ, secrets=("pin",), schema={"properties": {"pin": {}}}), False),
    ],
)
def test_a_table_says_too_little_that_names_arguments_which_nobody_has_declared(
    table: ToolSettings,
    expected: bool,  # noqa: FBT001 - a table
) -> None:
    assert says_too_little(table) is expected


SPEC = spec_of(TAKES, replace(WRITE, keep_result=False, secrets=("cents",)))
SAID = replace(WRITE, keep_result=False, secrets=("cents",))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (SAID, True),
        (replace(SAID, targets=("Account::{account}",)), True),
        (replace(SAID, touches=("customers", "money")), True),
        (replace(SAID, description="Other.", timeout_s=5, input={"x": "string"}), True),
        (replace(SAID, secrets=()), True),  # what the schema itself marks is secret beside what the table says
        (replace(SAID, secrets=("cents", "account")), False),
        (replace(SAID, access="read"), False),
        (replace(SAID, access="destructive"), False),
        (replace(SAID, touches=("money",)), False),
        (replace(SAID, touches=("money", "customers", "access")), False),
        (replace(SAID, targets=()), False),
        (replace(SAID, targets=("Account::{account}", "Account::A-1")), False),
        (replace(SAID, keep_result=None), False),
    ],
)
def test_a_definition_is_classified_so_by_what_it_can_do_alone(table: ToolSettings, expected: bool) -> None:  # noqa: FBT001 - a table
    assert is_classified_so(SPEC, table) is expected


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (replace(SAID, targets=("Account::{account}",)), True),
        (replace(SAID, touches=("customers", "money")), True),
        (replace(SAID, touches=("customers", "money", "money")), True),
        (replace(SAID, description="Other.", input={"account": "string", "cents": "integer"}), True),
        (replace(SAID, secrets=()), False),
        (replace(SAID, access="read"), False),
        (replace(SAID, touches=()), False),
        (replace(SAID, targets="Account::{cents}"), False),
        (replace(SAID, timeout_s=1), False),
        (replace(SAID, keep_result=True), False),
    ],
)
def test_two_tables_say_the_same_in_whatever_form_and_order(other: ToolSettings, expected: bool) -> None:  # noqa: FBT001 - a table
    assert say_the_same(SAID, other) is expected
    assert say_the_same(other, SAID) is expected
