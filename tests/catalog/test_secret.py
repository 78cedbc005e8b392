from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr
from pydantic import Secret as SecretBox

import licet
from licet.catalog.python import PythonTool, tool_from_function
from licet.catalog.secret import Secret, opened
from licet.catalog.spec import Catalog
from licet.errors import ArgumentsRefused, CatalogInvalid


class Auth(BaseModel):
    user: str
    token: Annotated[str, Secret()]


class Boxed(BaseModel):
    pin: SecretStr
    note: str = ""


@dataclass
class Login:
    password: Annotated[str, Secret]


class Keys(BaseModel):
    keys: list[Annotated[str, Secret()]]


def tool(function: Any, **more: Any) -> PythonTool:
    return tool_from_function(function, name="t", access="write", **more)


def plain(user: str, token: Annotated[str, Secret()], old: Annotated[str | None, Secret()] = None) -> str:
    return user + token


def nested(auth: Auth, login: Login, keys: Keys, headers: dict[str, Annotated[str, Secret()]]) -> None: ...


def boxed(
    pin: SecretStr, raw: SecretBytes, number: SecretBox[int], pins: list[SecretStr], deep: Boxed, *, maybe: SecretStr | None = None
) -> None: ...


def test_secret_is_a_public_name() -> None:
    assert licet.Secret is Secret


def test_a_marked_parameter_is_secret_and_an_ordinary_text_to_the_function() -> None:
    made = tool(plain)
    assert made.spec.secrets == ("old", "token")
    assert made.spec.input_schema["properties"]["token"] == {"type": "string", "writeOnly": True}
    arguments = made.reader.read({"user": "a", "token": "hunter2"})
    assert made.kwargs(arguments) == {"user": "a", "token": "hunter2", "old": None}
    assert made._types is None


def test_fields_of_models_dataclasses_lists_and_maps_can_be_secret() -> None:
    assert tool(nested).spec.secrets == ("auth.token", "headers.*", "keys.keys[]", "login.password")


def test_boxes_of_pydantic_are_secret_and_given_to_the_function_closed() -> None:
    made = tool(boxed)
    assert made.spec.secrets == ("deep.pin", "maybe", "number", "pin", "pins[]", "raw")
    sent = {"pin": "p", "raw": "r", "number": 5, "pins": ["x", "y"], "deep": {"pin": "z", "note": "n"}, "maybe": None}
    arguments = made.reader.read(sent)
    assert arguments.value == sent
    given = made.kwargs(arguments)
    assert given["pin"] == SecretStr("p")
    assert given["raw"] == SecretBytes(b"r")
    assert given["number"].get_secret_value() == 5
    assert [pin.get_secret_value() for pin in given["pins"]] == ["x", "y"]
    assert given["deep"] == Boxed(pin=SecretStr("z"), note="n")


def test_a_direct_call_opens_the_boxes_that_it_was_given() -> None:
    made = tool(boxed)
    proposed = made.propose((SecretStr("p"), SecretBytes(b"r"), SecretBox[int](5), [SecretStr("x")], Boxed(pin=SecretStr("z"))), {})
    assert proposed == {"pin": "p", "raw": "r", "number": 5, "pins": ["x"], "deep": {"pin": "z", "note": ""}, "maybe": None}


def test_two_secrets_are_two_calls() -> None:
    made = tool(boxed)
    sent = {"pin": "p", "raw": "r", "number": 5, "pins": [], "deep": {"pin": "z"}}
    assert made.reader.read(sent).json != made.reader.read({**sent, "pin": "q"}).json


def test_listed_secrets_are_part_of_the_definition() -> None:
    def send(to: str, body: str) -> None: ...

    open_tool, secret_tool = tool(send), tool(send, secrets=["body"])
    assert secret_tool.spec.secrets == ("body",)
    assert open_tool.spec.definition != secret_tool.spec.definition
    assert tool(send, secrets="body").spec == secret_tool.spec


def test_a_snapshot_keeps_what_is_secret() -> None:
    catalog = Catalog()
    catalog.add_tool(tool(nested, secrets=["auth.user"]).spec)
    read = Catalog.from_snapshot(catalog.snapshot())
    assert read.tools["t"].secrets == ("auth.token", "auth.user", "headers.*", "keys.keys[]", "login.password")
    assert read.snapshot() == catalog.snapshot()


def test_a_misspelt_secret_is_refused_with_tool_and_suggestion() -> None:
    with pytest.raises(
        CatalogInvalid, match=r"tool `t`: the secret `auth.tken` is nowhere in the input schema; did you mean `auth.token`\?"
    ):
        tool(nested, secrets=["auth.tken"])


@pytest.mark.parametrize("target", ["Session::{token}", "Session::{auth.token}", "Session::{keys.keys}"])
def test_a_secret_names_no_target(target: str) -> None:
    function = plain if target == "Session::{token}" else nested
    with pytest.raises(CatalogInvalid, match=r"tool `t`: the target `.*` would name the secret `.*` in policies and in the log"):
        tool(function, targets=target)


def test_a_secret_parameter_has_no_default() -> None:
    def with_default(token: Annotated[str, Secret()] = "hunter2") -> None: ...
    def with_box(token: SecretStr = SecretStr("hunter2")) -> None: ...  # noqa: B008

    for function in (with_default, with_box):
        with pytest.raises(CatalogInvalid, match="tool `t`: the secret `token` has a default"):
            tool(function)


def picky(pin: Annotated[str, Secret(), Field(min_length=50)], auth: Auth | int, plain: int = 0) -> None: ...


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"pin": "hunter2", "auth": 1}, "/pin"),
        ({"pin": 123456, "auth": 1}, "/pin"),
        ({"pin": "x" * 50, "auth": {"user": "u", "token": 123456}}, "/auth"),
        ({"pin": "x" * 50, "auth": "hunter2"}, "/auth"),
    ],
)
def test_a_refusal_quotes_no_secret(sent: dict[str, Any], path: str) -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        tool(picky).reader.read(sent)
    assert str(refused.value) == f"a secret value is not what the tool's schema asks for (at `{path}`)"
    assert (refused.value.code, refused.value.path) == ("invalid", path)


def test_a_refusal_still_quotes_what_is_no_secret() -> None:
    with pytest.raises(ArgumentsRefused, match=r'`"five"` is not of type integer'):
        tool(picky).reader.read({"pin": "x" * 50, "auth": 1, "plain": "five"})


def test_a_direct_call_with_a_wrong_secret_quotes_nothing_of_it() -> None:
    with pytest.raises(ArgumentsRefused, match="a secret value is not what") as refused:
        tool(boxed).propose((["hunter2"],), {"raw": b"r", "number": SecretBox[int](5), "pins": [], "deep": Boxed(pin=SecretStr("z"))})
    assert "hunter2" not in str(refused.value)


def test_a_box_that_the_schema_does_not_mark_is_refused() -> None:
    with pytest.raises(ArgumentsRefused, match="a secret type stands where no secret is known"):
        opened({"a": ["***"]}, {"a": [SecretStr("x")]}, [("b",)])
