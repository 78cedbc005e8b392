"""Schemas as MCP servers write them: taken as what they say, closed, and never fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from licet.catalog.arguments import ArgumentReader
from licet.catalog.dialects import PARTS_LIMIT, modernised
from licet.catalog.pins import pins_of
from licet.catalog.spec import ToolSpec
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.policy.views import view_of

DEFINITIONS = sorted((Path(__file__).parent.parent / "gateway/definitions").glob("*.json"))
DRAFT_07 = "http://json-schema.org/draft-07/schema#"


def reader(schema: dict[str, Any]) -> ArgumentReader:
    return ArgumentReader(ToolSpec(name="x__tool", access="read", input_schema=modernised(schema)))


def obj(properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties or {}, **more}


def accepts(schema: dict[str, Any], value: dict[str, Any]) -> bool:
    try:
        reader(schema).read(value)
    except ArgumentsRefused:
        return False
    return True


def tools() -> list[Any]:
    return [pytest.param(tool, id=f"{file.stem}-{tool['name']}") for file in DEFINITIONS for tool in json.loads(file.read_text())]


def test_there_are_definitions_of_three_servers() -> None:
    assert [file.stem for file in DEFINITIONS] == ["everything", "filesystem", "memory"]
    assert len(tools()) >= 35


@pytest.mark.parametrize("tool", tools())
def test_tools_of_servers_that_are_common_are_taken(tool: dict[str, Any]) -> None:
    assert list(pins_of([tool])) == [tool["name"]]
    spec = ToolSpec(name=f"x__{tool['name']}", access="read", input_schema=modernised(tool["inputSchema"]))
    ArgumentReader(spec)
    view_of(spec.input_schema, defaults_filled=True)
    assert spec.input_schema["additionalProperties"] is False


def test_what_is_made_of_a_schema_leaves_it_as_it_was() -> None:
    schema = obj({"a": {"type": "array", "items": [{"type": "string"}]}}, **{"$schema": DRAFT_07, "dependencies": {"a": ["b"]}})
    before = json.dumps(schema)
    modernised(schema)
    assert json.dumps(schema) == before


@pytest.mark.parametrize("open_", [True, {}, {"type": "string"}])
def test_an_open_schema_is_closed(open_: Any) -> None:
    schema = obj({"id": {"type": "string"}}, additionalProperties=open_, patternProperties={"^x": {}})
    assert accepts(schema, {"id": "1"})
    assert not accepts(schema, {"id": "1", "x": "2"})


@pytest.mark.parametrize(
    "dialect", ["draft-04/schema#", "draft-06/schema#", "draft-07/schema", "draft/2019-09/schema", "draft/2020-12/schema"]
)
def test_the_usual_dialects_are_known(dialect: str) -> None:
    assert "$schema" not in modernised({"type": "object", "$schema": f"http://json-schema.org/{dialect}"})


@pytest.mark.parametrize("dialect", ["https://evil.example/schema", "draft-07", 7, ["http://json-schema.org/draft-07/schema#"]])
def test_another_dialect_is_refused_and_not_fetched(dialect: Any) -> None:
    with pytest.raises(CatalogInvalid, match="which is not known here"):
        modernised(obj(**{"$schema": dialect}))


def test_a_tuple_of_draft_07_is_a_tuple() -> None:
    schema = obj({"pair": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False}})
    assert accepts(schema, {"pair": ["a", 1]})
    assert not accepts(schema, {"pair": [1, "a"]})
    assert not accepts(schema, {"pair": ["a", 1, 2]})


def test_an_exclusive_bound_of_draft_04_is_exclusive() -> None:
    schema = obj({"n": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False}})
    assert [accepts(schema, {"n": n}) for n in (0, 1, 9, 10)] == [False, True, True, False]


def test_dependencies_still_depend() -> None:
    schema = obj(
        {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}},
        dependencies={"a": ["b"], "c": {"required": ["a"]}},
    )
    assert [accepts(schema, value) for value in ({"a": "x"}, {"a": "x", "b": "y"}, {"c": "z"}, {})] == [False, True, False, True]


def test_a_reference_by_place_leads_where_it_led() -> None:
    point = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
    schema = obj(
        {"from/to": point, "other": {"$ref": "#/properties/from~1to"}, "both": {"type": "array", "items": {"$ref": "#/properties/other"}}}
    )
    assert accepts(schema, {"other": {"x": 1}, "both": [{"x": 2}]})
    assert not accepts(schema, {"other": {"x": "1"}})
    assert not accepts(schema, {"both": [{"y": 2}]})


def test_a_reference_by_anchor_leads_where_it_led() -> None:
    anchored = {"$anchor": "street", "type": "string", "maxLength": 3}
    schema = obj({"a": {"$ref": "#street"}, "b": {"type": "object", "properties": {"c": anchored}}})
    assert accepts(schema, {"a": "abc", "b": {"c": "abc"}})
    assert not accepts(schema, {"a": "abcd"})
    assert not accepts(schema, {"b": {"c": "abcd"}})


def test_an_anchor_that_nobody_refers_to_says_nothing() -> None:
    assert accepts(obj({"a": {"$anchor": "unused", "type": "string"}}), {"a": "x"})


@pytest.mark.parametrize("named", [{}, {"b": {"$anchor": "twice"}, "c": {"$anchor": "twice"}}])
def test_a_reference_to_no_anchor_or_to_several_is_refused(named: Any) -> None:
    with pytest.raises(CatalogInvalid, match="refers to `#twice`"):
        modernised(obj({"a": {"$ref": "#twice"}, **named}))


def test_a_schema_that_holds_itself_is_taken() -> None:
    schema = obj({"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}})
    assert accepts(schema, {"children": [{"name": "a", "children": [{"name": "b"}]}]})
    assert not accepts(schema, {"children": [{"name": "a", "children": [{"name": 7}]}]})


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    schema = obj(
        {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}, "c": {"$ref": "#/$defs/place1"}},
        **{"$defs": {"place1": {"type": "integer"}}},
    )
    assert accepts(schema, {"b": "text", "c": 1})
    assert not accepts(schema, {"b": 1})
    assert not accepts(schema, {"c": "text"})


@pytest.mark.parametrize(
    "reference",
    ["https://evil.example/schema.json", "file:///etc/passwd", "other.json#/a", "//evil.example", "", 7, None, {"a": 1}],
)
def test_nothing_outside_is_referred_to(reference: Any) -> None:
    with pytest.raises(CatalogInvalid, match="outside of itself: nothing is ever fetched"):
        modernised(obj({"a": {"$ref": reference}}))


@pytest.mark.parametrize("reference", ["#/properties/none", "#/properties/a/9", "#anchor/x", "#/type"])
def test_a_reference_to_nothing_is_refused(reference: str) -> None:
    with pytest.raises(CatalogInvalid, match="the schema refers to"):
        modernised(obj({"a": {"$ref": reference}}))


def test_data_that_looks_like_a_reference_is_data() -> None:
    schema = obj({"a": {"enum": [{"$ref": "https://x"}], "default": {"$ref": "https://x"}}})
    assert accepts(schema, {"a": {"$ref": "https://x"}})


def test_a_property_may_be_called_like_a_keyword() -> None:
    schema = obj({"$ref": {"type": "string"}, "items": {"type": "array"}, "dependencies": {"type": "object"}})
    assert accepts(schema, {"$ref": "x", "items": [], "dependencies": {}})


def test_a_long_chain_of_references_is_taken_or_refused_and_nothing_else() -> None:
    chain = {f"p{number}": {"$ref": f"#/properties/p{number + 1}"} for number in range(5_000)}
    assert len(modernised(obj({**chain, "p5000": {"type": "string"}}))["$defs"]) == 5_000


def test_what_refers_to_itself_over_and_over_is_bounded() -> None:
    wide = {f"p{number}": {"type": "string"} for number in range(1_000)}
    many = {f"q{number}": {"$ref": f"#/properties/r{number}"} for number in range(200)}
    again = {f"r{number}": {"type": "object", "properties": wide} for number in range(200)}
    with pytest.raises(CatalogInvalid, match=f"more than {PARTS_LIMIT} parts"):
        modernised(obj({**many, **again}))


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(40):
        deep = {"type": "object", "properties": {"a": deep}}
    with pytest.raises(CatalogInvalid, match="nested more than"):
        modernised(deep)
