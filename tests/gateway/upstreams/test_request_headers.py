"""The headers of requests to upstreams: what is mirrored and how, and what of a client's headers may go on."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.gateway.connection import NotSent
from licet.gateway.upstreams.request_headers import TOOLS, Mirrors, encoded, mirrored, modern_headers, passed_on
from licet.model import JsonObject


def schema(**properties: Any) -> JsonObject:
    return {"type": "object", "properties": properties}


def of(header: Any, kind: Any = "string") -> JsonObject:
    return {"type": kind, "x-mcp-header": header}


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("", "=?base64??="),
        ("a b\tc", "a b\tc"),
        ("a\r\nx-admin: 1", "=?base64?YQ0KeC1hZG1pbjogMQ==?="),
    ],
)
def test_the_examples_of_the_specification_and_some_worse_ones(text: str, header: str) -> None:
    assert encoded(text) == header


@given(st.text())
def test_whatever_the_text_its_header_is_plain_and_stands_for_it(text: str) -> None:
    header = encoded(text)
    assert all(one == "\t" or " " <= one <= "~" for one in header)
    assert header == header.strip()
    if header.startswith("=?base64?") and header.endswith("?="):
        assert base64.b64decode(header[9:-2]).decode() == text
    else:
        assert header == text


def test_nested_properties_are_mirrored_by_their_path() -> None:
    found = mirrored(schema(a=of("A"), b=schema(c=of("C", "integer"), d=of("D", "boolean")), plain={"type": "string"}))
    assert found == (("Mcp-Param-A", ("a",)), ("Mcp-Param-C", ("b", "c")), ("Mcp-Param-D", ("b", "d")))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (schema(a=of("")), "is no name of a header"),
        (schema(a=of("a b")), "is no name of a header"),
        (schema(a=of("A\r\nX: 1")), "is no name of a header"),
        (schema(a=of(7)), "is no name of a header"),
        (schema(a=of("A", "number")), "is no string, integer or boolean"),
        (schema(a=of("A", "object")), "is no string, integer or boolean"),
        (schema(a=of("A", ["string", "null"])), "is no string, integer or boolean"),
        (schema(a=of("Same"), b=of("sAME")), "two of its arguments have one"),
        (schema(a={"type": "array", "items": of("A")}), "cannot be reached by `properties` alone"),
        (schema(a={"anyOf": [of("A")]}), "cannot be reached by `properties` alone"),
        (schema() | {"$defs": {"x": of("A")}}, "cannot be reached by `properties` alone"),
        (schema() | {"if": schema(a=of("A"))}, "cannot be reached by `properties` alone"),
        (schema() | {"x-mcp-header": "A"}, "cannot be reached by `properties` alone"),
    ],
)
def test_a_definition_that_the_specification_refuses_is_refused(wrong: JsonObject, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        mirrored(wrong)


def test_a_property_of_that_name_and_values_that_look_so_want_nothing_mirrored() -> None:
    kept = schema(**{"x-mcp-header": {"type": "string", "default": {"x-mcp-header": "no"}}})
    assert mirrored(kept) == ()


def test_a_number_too_large_for_its_readers_is_not_sent() -> None:
    mirrors = Mirrors()
    mirrors.learn({"tools": [{"name": "t", "inputSchema": schema(n=of("N", "integer"))}]})
    assert dict(mirrors.headers("t", {"n": -(2**53) + 1})) == {"Mcp-Param-N": "-9007199254740991"}
    with pytest.raises(NotSent, match=r"^`9007199254740992` is too large a number to be mirrored into a header$"):
        dict(mirrors.headers("t", {"n": 2**53}))


def test_another_page_forgets_nothing_and_a_tool_that_is_listed_anew_is_as_it_is_now() -> None:
    mirrors = Mirrors()
    mirrors.learn({"tools": [{"name": "a", "inputSchema": schema(x=of("X"))}], "nextCursor": "2"})
    mirrors.learn({"tools": [{"name": "b", "inputSchema": schema(y=of("Y"))}]})
    assert dict(mirrors.headers("a", {"x": "1"})) == {"Mcp-Param-X": "1"}
    mirrors.learn({"tools": [{"name": "a", "inputSchema": schema(x={"type": "string"})}]})
    assert dict(mirrors.headers("a", {"x": "1"})) == {}
    assert dict(mirrors.headers("b", {"y": True})) == {"Mcp-Param-Y": "true"}


@pytest.mark.parametrize("page", [None, [], {"tools": {}}, {"tools": [7, {"name": 7}, {"name": "a"}, {"name": "a", "inputSchema": []}]}])
def test_a_list_that_is_none_teaches_nothing(page: object) -> None:
    mirrors = Mirrors()
    mirrors.learn(page)
    assert dict(mirrors.headers("a", {"x": "1"})) == {}


def test_a_list_without_end_fills_no_memory() -> None:
    mirrors = Mirrors()
    mirrors.learn({"tools": [{"name": f"t{i}", "inputSchema": schema(x=of("X"))} for i in range(TOOLS + 10)]})
    assert len(mirrors._of) == TOOLS


def test_a_request_that_names_nothing_has_no_name_in_its_headers() -> None:
    assert modern_headers("2026-07-28", "tools/list", {"name": "x"}, Mirrors()) == {
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/list",
    }
    assert "Mcp-Name" not in modern_headers("2026-07-28", "tools/call", {"name": 7}, Mirrors())


@pytest.mark.parametrize(
    "name",
    ["Authorization", "cookie", "X-Forwarded-For", "Forwarded", "Host", "Mcp-Param-Region", "mcp-session-id", "Proxy-Authorization", "Via"],
)
def test_what_proves_or_routes_is_never_passed_on_even_where_it_is_named(name: str) -> None:
    assert passed_on({name: "x"}, frozenset({name.lower()})) == {}


def test_only_what_is_named_is_passed_on_and_only_as_one_header() -> None:
    headers = {"x-request-id": "r 1", "x-other": "x", "x-bad": "a\nb", "x-b\u00e4d": "x"}
    assert passed_on(headers, frozenset({"x-request-id", "x-bad", "x-b\u00e4d"})) == {"x-request-id": "r 1"}
