"""What a schema calls secret is hidden, wherever in the arguments it stands."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from licet.catalog.spec import ToolSpec
from licet.ledger.redact import redact_marked
from licet.model import JsonObject

Pair = tuple[JsonObject, Any]
NAMES = st.sampled_from(["a", "b", "c.d", "*", "[]", 'q"', "ü", "e f"])


def mac(secret: bytes) -> bytes:
    return bytes(32)


def listed(pairs: list[Pair]) -> Pair:
    return {"type": "array", "prefixItems": [schema for schema, _ in pairs]}, [value for _, value in pairs]


def object_of(pairs: dict[str, Pair]) -> Pair:
    return {"type": "object", "properties": {name: schema for name, (schema, _) in pairs.items()}}, {
        name: value for name, (_, value) in pairs.items()
    }


def mapped(pair: Pair, names: list[str]) -> Pair:
    return {"type": "object", "additionalProperties": pair[0]}, dict.fromkeys(names, pair[1])


def either(pair: Pair) -> Pair:
    return {"anyOf": [{"type": "null"}, pair[0]]}, pair[1]


def items(pair: Pair, count: int) -> Pair:
    return {"type": "array", "items": pair[0]}, [pair[1]] * count


leaf = st.sampled_from(
    [
        ({"type": "string"}, "OPEN"),
        ({"type": "string", "writeOnly": True}, "SECRET"),
        ({"type": "string", "format": "password"}, "SECRET"),
        ({"type": "object", "writeOnly": True}, {"deep": ["SECRET"]}),
        ({"$ref": "#/$defs/Key"}, "SECRET"),
        ({"$ref": "#/$defs/Chain"}, {"key": "SECRET", "next": {"key": "SECRET", "next": {"key": "SECRET"}}}),
    ]
)
pairs = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(listed),
        st.dictionaries(NAMES, inner, max_size=3).map(object_of),
        st.builds(mapped, inner, st.lists(NAMES, max_size=2)),
        st.builds(items, inner, st.integers(0, 3)),
        inner.map(either),
    ),
    max_leaves=8,
)
DEFINITIONS = {
    "Key": {"type": "string", "writeOnly": True},
    "Chain": {"type": "object", "properties": {"key": {"$ref": "#/$defs/Key"}, "next": {"$ref": "#/$defs/Chain"}}},
}


@given(st.dictionaries(NAMES, pairs, max_size=4))
def test_what_a_schema_calls_secret_is_hidden_and_no_more_is_needed(fields: dict[str, Pair]) -> None:
    schema, value = object_of(fields)
    spec = ToolSpec(name="t", access="write", input_schema={**schema, "$defs": DEFINITIONS})
    hidden, redactions = redact_marked(json.dumps(value).encode(), spec.secrets, mac)
    assert b"SECRET" not in hidden
    assert bool(redactions) == ("SECRET" in json.dumps(value))
    if not spec.secrets:
        assert json.loads(hidden) == value


@given(st.dictionaries(NAMES, pairs, max_size=4))
def test_the_paths_of_a_spec_are_its_own_when_they_are_listed(fields: dict[str, Pair]) -> None:
    schema = {**object_of(fields)[0], "$defs": DEFINITIONS}
    spec = ToolSpec(name="t", access="write", input_schema=schema)
    assert ToolSpec(name="t", access="write", input_schema=schema, secrets=spec.secrets) == spec


def test_an_open_field_beside_a_secret_one_stays() -> None:
    schema, value = object_of({"a": ({"type": "string"}, "OPEN"), "b": ({"$ref": "#/$defs/Chain"}, {"key": "SECRET"})})
    spec = ToolSpec(name="t", access="write", input_schema={**schema, "$defs": DEFINITIONS})
    hidden, _ = redact_marked(json.dumps(value).encode(), spec.secrets, mac)
    assert json.loads(hidden)["a"] == "OPEN"
