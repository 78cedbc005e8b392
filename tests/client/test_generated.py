"""What is generated is what the API says now."""

from __future__ import annotations

import inspect
import sys
import types
from typing import Any

import msgspec
import pytest

from licet.client.operations import Operations
from tests.client.generate import DOCUMENT, OPERATIONS, ROOT, TYPES, files, formatted, openapi, operations_module, snake, types_module


@pytest.mark.parametrize("path", [TYPES, OPERATIONS, DOCUMENT], ids=lambda path: path.name)
def test_the_generated_files_are_those_of_the_document(path: object) -> None:
    found = files()
    for file, content in found.items():
        if file == path:
            assert file.read_text(encoding="utf-8") == content, f"`make clients` writes {file.relative_to(ROOT)} anew"


def test_there_is_a_method_for_each_operation_and_no_other() -> None:
    wanted = {snake(operation["operationId"]) for methods in openapi()["paths"].values() for operation in methods.values()}
    own = {name for name, _ in inspect.getmembers(Operations, inspect.isfunction) if not name.startswith("_")}
    assert own == wanted


class One(msgspec.Struct, tag="one", tag_field="kind", frozen=True):
    """One of two."""

    count: int


class Two(msgspec.Struct, tag="two", tag_field="kind", frozen=True, kw_only=True):
    """The other, whose words run over a line that is longer than any line of this project may be, so that they have to be wrapped anew. "Quoted".

    And a paragraph.
    """

    class_: str = msgspec.field(name="class")
    names: tuple[str, ...] = ()
    pair: tuple[int, str] = (1, "a")
    limit: int | None = None
    late: int | msgspec.UnsetType = msgspec.UNSET
    free: dict[str, Any] = {}
    nested: tuple[One, ...] | None = None
    raw: msgspec.Raw


class Either(msgspec.Struct, frozen=True):
    """What holds one of them."""

    found: One | Two


def test_a_struct_decodes_what_the_type_it_was_made_from_encodes() -> None:
    _, components = msgspec.json.schema_components([Either, Two], ref_template="#/components/schemas/{name}")
    text = formatted(types_module({"components": {"schemas": components}}), TYPES)
    names: dict[str, object] = {"__name__": "tests.client.made"}
    exec(compile(text, "made", "exec"), names)
    made = type("Module", (), names)
    either: Any = msgspec.json.decode(
        msgspec.json.encode(Either(Two(class_="x", names=("a",), nested=(One(3),), raw=msgspec.Raw(b'{"a":1}')))),
        type=_resolved(made.Either, names),  # type: ignore[attr-defined]
    )
    assert (either.found.class_, either.found.names, either.found.pair, either.found.late) == ("x", ("a",), (1, "a"), msgspec.UNSET)
    assert either.found.nested[0].count == 3
    assert either.found.raw == {"a": 1}
    again = msgspec.json.decode(msgspec.json.encode(either), type=Either)
    assert isinstance(again.found, Two)
    assert again.found.class_ == "x"


def test_methods_have_the_parameters_of_the_document() -> None:
    parameter = {"schema": {"type": "string"}, "required": False}
    operation = {
        "operationId": "putThing",
        "summary": "Put it",
        "x-licet-action": "freezes.place",
        "parameters": [
            {"name": "id", "in": "path", **parameter, "required": True},
            {"name": "from", "in": "query", **parameter},
            {"name": "kind", "in": "query", "required": True, "schema": {"type": "array", "items": {"enum": ["a", "b"]}}},
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}},
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}}, "412": {}},
    }
    streamed = {"operationId": "export", "summary": "All", "parameters": [], "responses": {"200": {"content": {"text/plain": {}}}}}
    paths = {"/things/{id}/x": {"put": operation}, "/export": {"get": streamed}}
    whole = {"paths": paths, "components": {"schemas": {"Body": {"properties": {"idempotency_key": {}}}}}}
    text = operations_module(whole)
    assert (
        "def put_thing(self, id_: str, body: types.Body, *, from_: str | None = None, kind: tuple[Literal['a', 'b'], ...], if_match" in text
    )
    assert "def export(self) -> AbstractContextManager[Iterator[bytes]]:" in text
    assert "return self.connection.stream('GET', '/export')" in text
    asked = "self.connection.ask('PUT', f'/things/{in_path(id_)}/x', query={'from': from_, 'kind': kind}, body=body, headers="
    assert asked in text
    assert 'None if if_match is None else {"If-Match": if_match}, repeatable=body.idempotency_key is not None), types.Body)' in text
    assert '"""Put it. Needs `freezes.place`."""' in text


def _resolved(kind: type, names: dict[str, object]) -> type:
    """The annotations of an `exec`'d module are looked up in `sys.modules`, where it is not."""
    module = types.ModuleType("tests.client.made")
    module.__dict__.update(names)
    sys.modules["tests.client.made"] = module
    return kind
