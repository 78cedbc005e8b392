from __future__ import annotations

from typing import Any

import pytest

from licet.catalog.schema import checked
from licet.catalog.secret_paths import Every, hides, is_hidden, parse, secrets_of, written
from licet.errors import CatalogInvalid
from licet.model import JsonObject

HIDDEN: JsonObject = {"type": "string", "writeOnly": True}


def of(properties: JsonObject, *listed: str, **more: Any) -> tuple[str, ...]:
    return secrets_of(checked({"type": "object", "properties": properties, **more}), listed)


def problem(properties: JsonObject, *listed: str, **more: Any) -> str:
    with pytest.raises(CatalogInvalid) as caught:
        of(properties, *listed, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("token", ("token",)),
        ("auth.token", ("auth", "token")),
        ("items[].secret", ("items", Every.ITEM, "secret")),
        ("grid[][]", ("grid", Every.ITEM, Every.ITEM)),
        ("headers.*", ("headers", Every.MEMBER)),
        ("*[].x", (Every.MEMBER, Every.ITEM, "x")),
        ('auth."x.token"', ("auth", "x.token")),
        ('"a\\"[]*"', ('a"[]*',)),
        ("x-api key", ("x-api key",)),
    ],
)
def test_a_path_is_read_and_written_back(text: str, path: tuple[str | Every, ...]) -> None:
    assert parse(text) == path
    assert written(path) == text


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "[]", "[].a", "a[", "a]", "a[0]", "a.[]", "a[]b", "ab*", "*a", '""', '"a', "a" * 201]
)
def test_what_is_no_path_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(CatalogInvalid, match="is not a path"):
        parse(text)


def test_a_schema_says_itself_what_is_secret_at_any_depth() -> None:
    found = of(
        {
            "plain": {"type": "string"},
            "pin": {"type": "string", "format": "password"},
            "auth": {"type": "object", "properties": {"token": HIDDEN, "user": {"type": "string"}}},
            "keys": {"type": "array", "items": HIDDEN},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, HIDDEN]},
            "headers": {"type": "object", "additionalProperties": HIDDEN},
            "either": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"key": HIDDEN}}]},
            "named": {"$ref": "#/$defs/Login"},
        },
        **{"$defs": {"Login": {"type": "object", "properties": {"password": HIDDEN}}}},
    )
    assert found == ("auth.token", "either.key", "headers.*", "keys[]", "named.password", "pair[]", "pin")


def test_listed_and_stated_secrets_are_one_sorted_list() -> None:
    assert of({"b": HIDDEN, "a": {"type": "string"}}, "a", "b", "a") == ("a", "b")


def test_a_schema_inside_itself_is_secret_from_its_second_turn_on() -> None:
    node = {"type": "object", "properties": {"secret": HIDDEN, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}
    assert of({"tree": {"$ref": "#/$defs/Node"}}, **{"$defs": {"Node": node}}) == ("tree.children[]", "tree.secret")


def test_a_schema_inside_itself_without_secrets_has_none() -> None:
    node = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}
    assert of({"tree": {"$ref": "#/$defs/Node"}, "pin": HIDDEN}, **{"$defs": {"Node": node}}) == ("pin",)


def test_references_that_double_at_every_step_are_walked_once() -> None:
    steps = {f"S{n}": {"anyOf": [{"$ref": f"#/$defs/S{n + 1}"}] * 2} for n in range(60)}
    found = of({"deep": {"$ref": "#/$defs/S0"}, "pin": HIDDEN}, "pin", **{"$defs": {**steps, "S60": {"type": "string"}}})
    assert found == ("pin",)


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ("auth.tokn", "the secret `auth.tokn` is nowhere in the input schema; did you mean `auth.token`?"),
        ("token", "the secret `token` is nowhere in the input schema; did you mean `auth.token`?"),
        ("keys.x", "the secret `keys.x` is nowhere in the input schema; did you mean `keys`?"),
        ("zzz", "the secret `zzz` is nowhere in the input schema"),
    ],
)
def test_a_path_to_nothing_is_refused_with_the_nearest_one(listed: str, says: str) -> None:
    auth = {"type": "object", "properties": {"token": {"type": "string"}}, "additionalProperties": False}
    assert problem({"auth": auth, "keys": {"type": "array", "items": {"type": "string"}}}, listed) == says


def test_what_a_schema_leaves_open_can_be_secret() -> None:
    assert of({"headers": {"type": "object"}, "any": True}, "headers.authorization", "any.deep[].down") == (
        "any.deep[].down",
        "headers.authorization",
    )


def test_the_arguments_as_a_whole_are_not_a_secret() -> None:
    assert problem({"a": {"type": "string"}}, writeOnly=True) == "the arguments as a whole cannot be secret: mark their fields"


def test_more_than_a_hundred_secrets_are_refused() -> None:
    assert "more than 100 fields are secret" in problem({f"f{n}": HIDDEN for n in range(101)})


@pytest.mark.parametrize("default", ["hunter2", 5, ["a"], False])
def test_a_secret_has_no_default(default: object) -> None:
    assert problem({"pin": {"writeOnly": True, "default": default}}).startswith(
        "the secret `pin` has a default, which would stand in the catalog"
    )


def test_an_object_whose_default_holds_a_secret_is_refused() -> None:
    auth = {"type": "object", "properties": {"token": HIDDEN}, "default": {"token": "hunter2"}}
    assert problem({"auth": auth}).startswith("the secret `auth.token` has a default")


@pytest.mark.parametrize("default", [None, ""])
def test_nothing_is_an_allowed_default(default: object) -> None:
    assert of({"pin": {"type": ["string", "null"], "writeOnly": True, "default": default}}) == ("pin",)


def test_a_lone_text_is_not_a_list_of_paths() -> None:
    with pytest.raises(CatalogInvalid, match=r'write `\["pin"\]`'):
        secrets_of({"type": "object"}, "pin")


@pytest.mark.parametrize(
    ("secret", "template", "is_in_it"),
    [
        ("auth.token", ("auth", "token"), True),
        ("auth", ("auth", "id"), True),
        ("orders[].key", ("orders", "key"), True),
        ("headers.*", ("headers", "id"), True),
        ("auth.token", ("auth", "id"), False),
        ("auth.token", ("auth",), False),
    ],
)
def test_a_template_that_names_a_secret_is_found(secret: str, template: tuple[str, ...], *, is_in_it: bool) -> None:
    assert (hides([parse(secret)], template) is not None) is is_in_it


def test_a_place_in_a_secret_value_is_hidden() -> None:
    secrets = [parse("auth.token"), parse("keys[]")]
    assert is_hidden(secrets, ["auth", "token", "deep", 0])
    assert is_hidden(secrets, ["keys", 3])
    assert not is_hidden(secrets, ["auth"])
    assert not is_hidden(secrets, ["keys", "3"])
