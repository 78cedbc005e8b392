from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.catalog.templates import TargetTemplate, expand_all
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import EntityRef, JsonObject


def expand(text: str, value: JsonObject) -> tuple[EntityRef, ...]:
    return TargetTemplate.parse(text).expand(value)


def refusal(text: str, value: JsonObject) -> ArgumentsRefused:
    with pytest.raises(ArgumentsRefused) as caught:
        expand(text, value)
    return caught.value


def schema(**properties: Any) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "$defs": {"Order": {"type": "object", "properties": {"customer_id": {"type": "string"}}}},
    }


@pytest.mark.parametrize(
    "text",
    [
        "Customer::{customer_id}",
        "Customer::{order.customer_id}",
        "File::{path:path}",
        "Page::{a.b.c:url}",
        "LogStream::production",
        "A_b1::{x-y}",
    ],
)
def test_a_template_is_written_as_it_was_read(text: str) -> None:
    assert str(TargetTemplate.parse(text)) == text
    assert TargetTemplate.parse(str(TargetTemplate.parse(text))) == TargetTemplate.parse(text)


def test_the_kind_id_need_not_be_written() -> None:
    assert str(TargetTemplate.parse("Customer::{customer_id:id}")) == "Customer::{customer_id}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`` is not a target template: write `Type::{argument}`, `Type::{argument:kind}` or `Type::id`"),
        ("Customer", "`Customer` is not a target template"),
        ("Customer::", "`Customer::` is not a target template"),
        ("Customer::{}", "`Customer::{}` is not a target template"),
        ("Customer:{x}", "`Customer:{x}` is not a target template"),
        ("Customer::{a}{b}", "`Customer::{a}{b}` is not a target template"),
        ("Customer::x{a}", "`Customer::x{a}` is not a target template"),
        ("Customer::{a..b}", "the kinds are id, path, url, email, and path parts are not empty"),
        ("Customer::{a:regex}", "the kinds are id, path, url, email"),
        ("Customer::{a:}", "the kinds are id, path, url, email"),
        ("Customer::a\u200bb", "U+200B"),
        ("customer::{a}", "the resource type `customer` must be a capital followed by"),
        ("Cust omer::{a}", "the resource type `Cust omer` must be a capital followed by"),
        ("User::{a}", "the resource type `User` is reserved"),
        ("Tenant::{a}", "the resource type `Tenant` is reserved"),
        ("Action::{a}", "the resource type `Action` is reserved"),
        ("String::{a}", "the resource type `String` is reserved"),
    ],
)
def test_what_is_no_template_is_refused(text: str, message: str) -> None:
    with pytest.raises(CatalogInvalid) as caught:
        TargetTemplate.parse(text)
    assert message in str(caught.value)


def test_strings_and_integers_name_targets() -> None:
    assert expand("Customer::{customer_id}", {"customer_id": "C-1"}) == (EntityRef("Customer", "C-1"),)
    assert expand("Customer::{customer_id}", {"customer_id": 42}) == (EntityRef("Customer", "42"),)
    assert expand("Customer::{customer_id}", {"customer_id": -7}) == (EntityRef("Customer", "-7"),)
    assert expand("LogStream::production", {}) == (EntityRef("LogStream", "production"),)
    assert expand("File::{path:path}", {"path": "/etc"}) == (EntityRef("File", "/etc"),)


def test_paths_lead_through_objects_and_lists_and_each_target_counts_once() -> None:
    value = {"orders": [{"lines": [{"sku": "a"}, {"sku": "b"}]}, {"lines": [{"sku": "b"}, {"sku": "c"}]}]}
    assert [ref.id for ref in expand("Item::{orders.lines.sku}", value)] == ["a", "b", "c"]
    assert [ref.id for ref in expand("Item::{ids}", {"ids": ["x", "y", "x", 1, "1"]})] == ["x", "y", "1"]
    assert [ref.id for ref in expand("Item::{ids}", {"ids": [["x"], ["y"]]})] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "value", "path", "message"),
    [
        ("Customer::{a}", {}, "/a", "the call names no `Customer`: nothing at `/a`"),
        ("Customer::{a}", {"a": None}, "/a", "the call names no `Customer`: nothing at `/a`"),
        ("Customer::{a}", {"a": []}, "/a", "the call names no `Customer`: nothing at `/a`"),
        ("Customer::{a}", {"a": ["x", []]}, "/a/1", "the call names no `Customer`: nothing at `/a/1`"),
        ("Customer::{a}", {"a": ["x", None]}, "/a/1", "the call names no `Customer`: nothing at `/a/1`"),
        ("Customer::{a.b}", {"a": {}}, "/a/b", "the call names no `Customer`: nothing at `/a/b`"),
        ("Customer::{a.b}", {"a": [{"b": "x"}, {}]}, "/a/1/b", "the call names no `Customer`: nothing at `/a/1/b`"),
        ("Customer::{a.b}", {"a": "x"}, "/a", "`/a` is not an object with `b`"),
        ("Customer::{a}", {"a": True}, "/a", "`true` cannot name a `Customer`"),
        ("Customer::{a}", {"a": 1.5}, "/a", "`1.5` cannot name a `Customer`"),
        ("Customer::{a}", {"a": {"b": "x"}}, "/a", "an object cannot name a `Customer`"),
        ("File::{a:path}", {"a": 5}, "/a", "`5` cannot name a `File`"),
    ],
)
def test_a_call_that_names_no_target_is_refused(text: str, value: JsonObject, path: str, message: str) -> None:
    refused = refusal(text, value)
    assert (refused.code, refused.path, str(refused)) == ("target_missing", path, message)


@pytest.mark.parametrize(
    ("text", "value", "path"),
    [
        ("File::{a:path}", {"a": "/data/../etc"}, "/a"),
        ("File::{a:path}", {"a": ["/data", "/data/"]}, "/a/1"),
        ("Customer::{a}", {"a": "C\u200b-1"}, "/a"),
        ("Customer::{a.b}", {"a": {"b": " C-1"}}, "/a/b"),
        ("Page::{a:url}", {"a": "HTTP://x/"}, "/a"),
        ("Inbox::{a:email}", {"a": "A@b.com"}, "/a"),
    ],
)
def test_a_value_that_is_not_canonical_is_refused_with_its_place(text: str, value: JsonObject, path: str) -> None:
    refused = refusal(text, value)
    assert (refused.code, refused.path) == ("not_canonical", path)


def test_a_hundred_targets_over_all_templates_are_the_most() -> None:
    both = (TargetTemplate.parse("Item::{a}"), TargetTemplate.parse("Item::{b}"), TargetTemplate.parse("Queue::x"))
    ids = [str(number) for number in range(99)]
    assert len(expand_all(both, {"a": ids, "b": ids})) == 100
    with pytest.raises(ArgumentsRefused) as caught:
        expand_all(both, {"a": ids, "b": "another"})
    assert (caught.value.code, str(caught.value)) == ("too_many_targets", "a call may act on at most 100 targets")
    assert refusal("Item::{a}", {"a": list(range(500_000))}).code == "too_many_targets"


@given(st.lists(st.integers(0, 5) | st.sampled_from(["a", "b", "1"]), min_size=1))
def test_expansion_names_each_value_once_in_order(values: list[int | str]) -> None:
    assert [ref.id for ref in expand("Item::{ids}", {"ids": values})] == list(dict.fromkeys(map(str, values)))


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        ("Customer::{a}", schema(a={"type": "string"})),
        ("Customer::{a}", schema(a={"type": "integer"})),
        ("Customer::{a}", schema(a={"type": ["string", "null"]})),
        ("Customer::{a}", schema(a={"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]})),
        ("Customer::{a}", schema(a={"type": "array", "items": {"type": "string"}})),
        ("Customer::{a}", schema(a={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})),
        ("Customer::{a}", schema(a={"enum": ["x", "y"]})),
        ("Customer::{a}", schema(a={"const": "x"})),
        ("Customer::{a.customer_id}", schema(a={"$ref": "#/$defs/Order"})),
        ("Customer::{a.customer_id}", schema(a={"type": "array", "items": {"$ref": "#/$defs/Order"}})),
        ("Customer::{a.customer_id}", schema(a={"anyOf": [{"$ref": "#/$defs/Order"}, {"type": "null"}]})),
        ("Customer::{a.customer_id}", schema(a={"allOf": [{"$ref": "#/$defs/Order"}]})),
        ("Queue::x", schema()),
    ],
)
def test_a_template_that_fits_the_schema_is_taken(text: str, declared: JsonObject) -> None:
    TargetTemplate.parse(text).check(declared)


@pytest.mark.parametrize(
    ("text", "declared", "message"),
    [
        ("Customer::{b}", schema(a={"type": "string"}), "names `b`, which the input schema does not have"),
        ("Customer::{a.b}", schema(a={"type": "string"}), "names `b`, which the input schema does not have"),
        ("Customer::{a.id}", schema(a={"$ref": "#/$defs/Order"}), "names `id`, which the input schema does not have"),
        ("Customer::{a}", schema(a={"type": "boolean"}), "needs a string or an integer, or a list of them"),
        ("Customer::{a}", schema(a={"type": "number"}), "needs a string or an integer, or a list of them"),
        ("Customer::{a}", schema(a={"type": "object"}), "needs a string or an integer, or a list of them"),
        ("Customer::{a}", schema(a={}), "needs a string or an integer, or a list of them"),
        ("Customer::{a}", schema(a={"anyOf": [{"type": "string"}, {"type": "number"}]}), "needs a string or an integer, or a list of them"),
        ("Customer::{a}", schema(a={"type": "array"}), "leads into a part of the input schema that cannot be followed"),
        ("Customer::{a}", schema(a=True), "leads into a part of the input schema that cannot be followed"),
        ("Customer::{a}", schema(a={"enum": ["x", 1.5]}), "needs a string or an integer, or a list of them"),
        ("File::{a:path}", schema(a={"type": "integer"}), "needs a string, or a list of them"),
        ("Customer::{a}", {**schema(a={"$ref": "#/$defs/Loop"}), "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}}, "cannot be followed"),
    ],
)
def test_a_template_that_does_not_fit_the_schema_is_refused(text: str, declared: JsonObject, message: str) -> None:
    with pytest.raises(CatalogInvalid) as caught:
        TargetTemplate.parse(text).check(declared)
    assert message in str(caught.value)
