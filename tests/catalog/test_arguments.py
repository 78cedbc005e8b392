from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.catalog import strict
from licet.catalog.arguments import ArgumentReader, Limits
from licet.catalog.spec import ToolSpec
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import JsonObject

REFUND: JsonObject = {
    "type": "object",
    "properties": {
        "customer_id": {"type": "string", "minLength": 1},
        "amount_cents": {"type": "integer", "minimum": 1},
        "rate": {"type": "number", "default": 0.5},
        "order": {"$ref": "#/$defs/Order"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Order"}, "maxItems": 3, "default": []},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "free": {"type": "object"},
    },
    "required": ["customer_id", "amount_cents"],
    "$defs": {
        "Order": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "express": {"type": "boolean", "default": False}, "parent": {"$ref": "#/$defs/Order"}},
            "required": ["id"],
            "additionalProperties": False,
        },
    },
}
GOOD: JsonObject = {"customer_id": "C-1", "amount_cents": 5}


def spec(schema: JsonObject | None = None) -> ToolSpec:
    return ToolSpec(name="billing.adjust", access="write", input_schema=REFUND if schema is None else schema)


def one(part: JsonObject) -> ArgumentReader:
    return ArgumentReader(spec({"type": "object", "properties": {"a": part}, "required": ["a"]}))


READER = ArgumentReader(spec())


def refusal(unverified: Any, reader: ArgumentReader = READER) -> ArgumentsRefused:
    with pytest.raises(ArgumentsRefused) as caught:
        reader.read(unverified)
    return caught.value


def test_defaults_are_filled_in_and_keys_sorted_so_that_one_call_has_one_form() -> None:
    expected = b'{"amount_cents":5,"customer_id":"C-1","lines":[],"note":null,"rate":0.5}'
    for unverified in (GOOD, '{"customer_id":"C-1","amount_cents":5}', b' {"amount_cents":5.0, "customer_id":"\\u0043-1", "rate":0.5}'):
        arguments = READER.read(unverified)
        assert arguments.json == expected
        assert arguments.value == strict.decode(expected)


def test_defaults_are_filled_in_inside_objects_lists_and_references_to_themselves() -> None:
    arguments = READER.read({**GOOD, "order": {"id": "1", "parent": {"id": "0"}}, "lines": [{"id": "2"}, {"id": "3", "express": True}]})
    assert arguments.value["order"] == {"id": "1", "express": False, "parent": {"id": "0", "express": False}}
    assert arguments.value["lines"] == [{"id": "2", "express": False}, {"id": "3", "express": True}]


def test_a_default_is_given_afresh_to_each_call() -> None:
    READER.read(GOOD).value["lines"].append("tampered")
    assert READER.read(GOOD).value["lines"] == []


@pytest.mark.parametrize(
    ("change", "code", "path", "message"),
    [
        ({"customer_id": 5}, "wrong_type", "/customer_id", "`5` is not of type string (at `/customer_id`)"),
        ({"amount_cents": "5"}, "wrong_type", "/amount_cents", '`"5"` is not of type integer (at `/amount_cents`)'),
        ({"amount_cents": True}, "wrong_type", "/amount_cents", "`true` is not of type integer (at `/amount_cents`)"),
        ({"amount_cents": 2.5}, "wrong_type", "/amount_cents", "`2.5` is not of type integer (at `/amount_cents`)"),
        ({"amount_cents": None}, "wrong_type", "/amount_cents", "`null` is not of type integer (at `/amount_cents`)"),
        ({"amount_cents": 0}, "invalid", "/amount_cents", "`0` is refused: the value is less than the minimum of 1 (at `/amount_cents`)"),
        ({"amount": 1}, "unknown_argument", "/amount", 'there is no argument `"amount"` (at `/amount`)'),
        ({"order": {}}, "missing", "/order/id", 'the argument `"id"` is missing (at `/order/id`)'),
        ({"order": {"id": "1", "x": 1}}, "unknown_argument", "/order/x", 'there is no argument `"x"` (at `/order/x`)'),
        ({"note": 5}, "wrong_type", "/note", "`5` is not of type string or null (at `/note`)"),
        ({"lines": [{"id": "1"}, {"id": 2}]}, "wrong_type", "/lines/1/id", "`2` is not of type string (at `/lines/1/id`)"),
        ({"lines": [{"id": "1"}] * 4}, "invalid", "/lines", "a list is refused: the value has more than 3 items (at `/lines`)"),
    ],
)
def test_what_the_schema_refuses_is_said_with_its_place(change: JsonObject, code: str, path: str, message: str) -> None:
    refused = refusal({**GOOD, **change})
    assert (refused.code, refused.path, str(refused)) == (code, path, message)


def test_a_missing_argument_is_named() -> None:
    refused = refusal({"customer_id": "C-1"})
    assert (refused.code, refused.path, str(refused)) == (
        "missing",
        "/amount_cents",
        'the argument `"amount_cents"` is missing (at `/amount_cents`)',
    )


@pytest.mark.parametrize("unverified", ["[]", "5", "null", '"x"', [], None, 5, bytearray(b"{}")])
def test_arguments_are_one_object(unverified: Any) -> None:
    assert refusal(unverified).code in {"not_object", "not_json_value"}


def test_a_huge_value_is_refused_in_a_short_message() -> None:
    for value in ("x" * 900_000, ["x"] * 100_000, {"x" * 900_000: 1}):
        assert len(str(refusal({**GOOD, "amount_cents": value}))) < 300
        assert len(str(refusal({**GOOD, "order": value}))) < 300
    assert len(str(refusal({**GOOD, "k" * 900_000: 1}))) < 300


@pytest.mark.parametrize("where", ["customer_id", "unknown"])
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(where: str) -> None:
    refused = refusal({**GOOD, where: "\ud800"})
    assert (refused.code, refused.path) == ("bad_text", f"/{where}")
    assert refusal('{"customer_id":"\\udc00","amount_cents":1}').code == "bad_text"
    assert refusal({**GOOD, "\ud800": 1}).code == "bad_text"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2024-02-29T10:00:00Z", "2024-02-30T10:00:00Z"),
        ("date-time", "2024-02-29T10:00:00+02:00", "2024-02-29T10:00:00"),
        ("date", "2024-02-29", "2023-02-29"),
        ("email", "a@example.com", "a@"),
        ("uri", "https://example.com/", "not a uri"),
        ("uuid", "12345678-1234-1234-1234-123456789012", "12345678"),
        ("decimal", "-10.50", "1e5"),
        ("decimal", "0", "01"),
        ("resolved-uri", "memo://a/b..c", "memo://a/%2e./c"),
    ],
)
def test_formats_are_asserted(name: str, good: str, bad: str) -> None:
    reader = one({"type": "string", "format": name})
    assert reader.read({"a": good}).value == {"a": good}
    refused = refusal({"a": bad}, reader)
    assert (refused.code, refused.path) == ("invalid", "/a")
    assert f'is not a "{name}"' in str(refused)


def test_a_pattern_cannot_be_made_to_backtrack() -> None:
    assert refusal({"a": "a" * 100_000 + "!"}, one({"type": "string", "pattern": "^(a+)+$"})).code == "invalid"


def test_the_limit_counts_bytes_before_and_after_defaults() -> None:
    small = READER.within(Limits(size_bytes=80))
    assert len(small.read(GOOD).json) == 72
    assert refusal({**GOOD, "note": "x" * 20}, small).code == "too_large"
    assert refusal(b'{"customer_id":"C-1",' + b" " * 80 + b'"amount_cents":5}', small).code == "too_large"
    assert refusal({**GOOD, "note": "\u20ac" * 10}, small).code == "too_large"


def test_changing_what_was_proposed_changes_nothing_afterwards() -> None:
    proposed = {**GOOD, "free": {"deep": [1, {"x": 1}]}}
    arguments = READER.read(proposed)
    before = arguments.json
    proposed["free"]["deep"][1]["x"] = 2
    proposed["amount_cents"] = 999_999
    assert (arguments.json, arguments.value["free"], arguments.value["amount_cents"]) == (before, {"deep": [1, {"x": 1}]}, 5)


def test_another_thread_that_changes_the_proposal_never_makes_value_and_bytes_differ() -> None:
    proposed: JsonObject = {**GOOD, "free": {str(number): number for number in range(50)}}
    stop = threading.Event()

    def mutate() -> None:
        while not stop.is_set():
            proposed["amount_cents"] = proposed["amount_cents"] % 1_000 + 1
            proposed["free"]["0"] = [proposed["amount_cents"]]
            proposed["free"].pop("1", None)
            proposed["free"]["1"] = {"x": 1}

    with ThreadPoolExecutor(1) as pool:
        mutation = pool.submit(mutate)
        try:
            for _ in range(500):
                arguments = READER.read(proposed)
                assert strict.decode(arguments.json) == arguments.value
        finally:
            stop.set()
        mutation.result()


def test_one_reader_serves_many_threads() -> None:
    def read(number: int) -> bytes:
        return READER.read({"customer_id": f"C-{number}", "amount_cents": number + 1}).json

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(400))) == [read(number) for number in range(400)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["customer_id", "amount_cents", "rate", "note", "free", "lines"]), JSON))
def test_whatever_is_accepted_is_accepted_again_as_the_same_bytes(unverified: JsonObject) -> None:
    try:
        arguments = READER.read(unverified)
    except ArgumentsRefused:
        return
    assert READER.read(arguments.json).json == arguments.json
    assert READER.read(arguments.value).json == arguments.json


def test_a_normal_form_is_applied_and_validated_again() -> None:
    reader = ArgumentReader(spec(), normalise=lambda value: {**value, "customer_id": value["customer_id"].upper()})
    assert reader.read({"customer_id": "c-1", "amount_cents": 1}).value["customer_id"] == "C-1"
    broken = ArgumentReader(spec(), normalise=lambda value: {**value, "customer_id": 5})
    assert refusal(GOOD, broken).code == "wrong_type"


def test_a_normal_form_that_never_settles_is_refused() -> None:
    reader = ArgumentReader(spec(), normalise=lambda value: {**value, "amount_cents": value["amount_cents"] + 1})
    refused = refusal(GOOD, reader)
    assert (refused.code, str(refused)) == ("not_stable", "the tool's own types change these arguments each time they read them")


def test_defaults_that_lie_behind_endless_references_are_refused_when_the_reader_is_built() -> None:
    definitions: JsonObject = {f"D{level}": {"$ref": f"#/$defs/D{level + 1}"} for level in range(5_000)}
    definitions["D5000"] = {"type": "object", "properties": {"a": {"default": 1}}}
    spec = ToolSpec(
        name="t", access="read", input_schema={"type": "object", "properties": {"x": {"$ref": "#/$defs/D0"}}, "$defs": definitions}
    )
    with pytest.raises(CatalogInvalid, match="references are nested too deeply"):
        ArgumentReader(spec)
