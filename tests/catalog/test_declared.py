from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet.catalog.arguments import ArgumentReader
from licet.catalog.declared import ResourceSettings, ToolSettings, resource_from_settings, short_schema, tool_from_settings
from licet.catalog.spec import ResourceSpec, ToolSpec
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import EntityRef, JsonObject

NOWHERE = Path("/nonexistent")


def tool(text: str, folder: Path = NOWHERE) -> ToolSpec:
    return tool_from_settings("account.suspend", msgspec.convert(tomllib.loads(text), ToolSettings), folder=folder)


def resource(text: str, folder: Path = NOWHERE) -> ResourceSpec:
    return resource_from_settings("Customer", msgspec.convert(tomllib.loads(text), ResourceSettings), folder=folder)


def test_a_tool_in_the_short_form() -> None:
    spec = tool("""
        access = "destructive"
        touches = ["access", "customers"]
        description = "suspends an account"
        targets = ["Customer::{customer_id}", "Account::{accounts}"]
        input = {customer_id = "string", amount_cents = "integer", accounts = "string[]", until = "date?", tags = "string[]?", price = "decimal", note = {type = "string", default = "none"}}
        timeout_s = 2.5
        keep_result = false
    """)
    assert spec.input_schema == {
        "type": "object",
        "properties": {
            "customer_id": {"type": "string"},
            "amount_cents": {"type": "integer"},
            "accounts": {"type": "array", "items": {"type": "string"}},
            "until": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "price": {"type": "string", "format": "decimal"},
            "note": {"type": "string", "default": "none"},
        },
        "required": ["customer_id", "amount_cents", "accounts", "price"],
        "additionalProperties": False,
    }
    assert (spec.access, spec.touches, spec.description) == ("destructive", frozenset({"access", "customers"}), "suspends an account")
    assert (spec.timeout_s, spec.keep_result) == (2.5, False)
    read = ArgumentReader(spec).read({"customer_id": "C-1", "amount_cents": 5, "accounts": ["a"], "price": "1.50"})
    assert read.value["note"] == "none"
    assert spec.expand(read.value) == (EntityRef("Customer", "C-1"), EntityRef("Account", "a"))


def test_a_tool_without_input_takes_nothing() -> None:
    spec = tool('access = "read"\ntargets = "Queue::production"')
    assert ArgumentReader(spec).read({}).json == b"{}"
    assert spec.expand({}) == (EntityRef("Queue", "production"),)
    with pytest.raises(ArgumentsRefused, match='there is no argument `"a"`'):
        ArgumentReader(spec).read({"a": 1})


def test_a_whole_schema_stands_in_the_table_or_in_a_file(tmp_path: Path) -> None:
    schema: JsonObject = {"type": "object", "properties": {"customer_id": {"type": "string"}}, "required": ["customer_id"]}
    (tmp_path / "input.json").write_text(json.dumps(schema))
    inline = tool('access = "read"\nschema = {type = "object", properties = {customer_id = {type = "string"}}, required = ["customer_id"]}')
    assert inline == tool('access = "read"\nschema_file = "input.json"', tmp_path)
    assert inline == tool('access = "read"\ninput = {customer_id = "string"}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'input = {a = "strng"}',
            "`a` has the unknown type `strng`: use one of boolean, date, date-time, decimal, email, integer, number, string, uri, uuid",
        ),
        ('input = {a = "?"}', "`a` has the unknown type `?`"),
        ('input = {a = "string?[]"}', "`a` has the unknown type `string?[]`"),
        ('input = {a = {type = "strng"}}', "is not valid JSON Schema"),
        ("input = {a = {const = 1979-05-27}}", "a value of type `date` is not JSON"),
        ('input = {a = "string"}\nschema = {type = "object"}', "give the short form, `schema` or `schema_file`, and only one of them"),
        ('schema_file = "missing.json"', "the schema file `/nonexistent/missing.json` cannot be read: No such file or directory"),
        ('schema_file = "a\\u0000b"', "the schema file's name is not a path"),
        ('targets = "Customer::{a}"', "names `a`, which the input schema does not have"),
        ('targets = "Customer"', "`Customer` is not a target template"),
        ("timeout_s = 0", "timeout_s must be a positive number of seconds"),
    ],
)
def test_a_mistake_in_a_tool_is_said_with_its_name(text: str, message: str) -> None:
    with pytest.raises(CatalogInvalid) as caught:
        tool(f'access = "read"\n{text}')
    assert str(caught.value).startswith("tool `account.suspend`: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "malformed JSON"), (b"[]", "holds no JSON object"), (b'{"a":1,"a":2}', 'the key `"a"` stands twice'), (b"\xff", "not UTF-8")],
)
def test_a_schema_file_that_is_no_schema_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "input.json").write_bytes(content)
    with pytest.raises(CatalogInvalid) as caught:
        tool('access = "read"\nschema_file = "input.json"', tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (ToolSettings, "touches = []"),
        (ToolSettings, 'access = "execute"'),
        (ToolSettings, 'access = "read"\ntouches = ["mony"]'),
        (ToolSettings, 'access = "read"\ntarget = "Customer::{a}"'),
        (ToolSettings, 'access = "read"\ninput = {a = 5}'),
        (ResourceSettings, 'tenant = "argument"'),
        (ResourceSettings, 'attribute = {vip = "boolean"}'),
    ],
)
def test_unknown_keys_and_words_do_not_load(settings: Any, text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(tomllib.loads(text), settings)


def test_a_resource_in_the_short_form_and_in_full() -> None:
    spec = resource('attributes = {vip = "boolean", since = "date?"}\ntenant = "caller"')
    assert spec.tenant_from == "caller"
    assert spec.attributes == short_schema({"vip": "boolean", "since": "date?"})
    assert resource("").attributes["properties"] == {}
    assert resource("").tenant_from == "resolver"
    assert resource('schema = {type = "object", properties = {vip = {type = "boolean"}}, required = ["vip"]}') == resource(
        'attributes = {vip = "boolean"}'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('attributes = {tenant = "string"}', "`tenant` is not an attribute, every target has it"),
        ('attributes = {vip = "bool"}', "`vip` has the unknown type `bool`"),
        ('schema = {type = "string"}', '`"type": "object"` at the top'),
    ],
)
def test_a_mistake_in_a_resource_is_said_with_its_type(text: str, message: str) -> None:
    with pytest.raises(CatalogInvalid) as caught:
        resource(text)
    assert str(caught.value).startswith("resource `Customer`: ")
    assert message in str(caught.value)


def test_a_declared_tool_says_what_is_secret() -> None:
    spec = tool("""
        access = "write"
        secrets = ["note"]
        input = {note = "string", pin = {type = "string", writeOnly = true}, code = {type = "string", format = "password"}, open = "string"}
    """)
    assert spec.secrets == ("code", "note", "pin")


def test_a_declared_secret_that_is_nowhere_is_refused_by_name() -> None:
    with pytest.raises(CatalogInvalid, match="the secret `not` is nowhere in the input schema; did you mean `note`"):
        tool('access = "write"\nsecrets = ["not"]\ninput = {note = "string"}')
