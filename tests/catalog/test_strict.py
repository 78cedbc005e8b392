from __future__ import annotations

import enum
import json
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.catalog import strict
from licet.errors import ArgumentsRefused

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(strict.INT_MIN, strict.INT_MAX) | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(lambda key: key not in strict.FORBIDDEN_KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


def refusal(unverified: Any) -> ArgumentsRefused:
    with pytest.raises(ArgumentsRefused) as caught:
        strict.encode(strict.parse(unverified) if isinstance(unverified, bytes | str) else strict.copied(unverified))
    return caught.value


@given(VALUES)
def test_canonical_bytes_decode_to_what_was_copied_and_are_their_own_canonical_bytes(value: Any) -> None:
    copy = strict.copied(value)
    canonical = strict.encode(copy)
    assert copy == value
    assert strict.parse(canonical) == copy
    assert strict.encode(strict.parse(canonical)) == canonical


TEXTS = st.lists(
    st.sampled_from([*'{}[],:"0123456789.eE-+ \n\\u', '"a"', "__e", "__entity", "9" * 18, "\xe9", "true", "null"]), max_size=24
)


@given(TEXTS.map("".join) | VALUES.map(json.dumps) | VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)))
def test_a_text_that_seems_plain_is_read_as_one_that_was_copied(text: str) -> None:
    def outcome(read: Callable[[], Any]) -> Any:
        try:
            return repr(read())
        except ArgumentsRefused as refused:
            return refused.code, str(refused), refused.path

    careful = outcome(lambda: strict.copied(strict._decoded(text, strict.VALUES_LIMIT)))
    assert outcome(lambda: strict.parse(text)) == careful
    assert not strict._is_plain(text + " " * (strict.VALUES_LIMIT + 1), strict.VALUES_LIMIT)


@given(VALUES)
def test_a_value_is_never_too_large_for_a_limit_of_its_own_size(value: Any) -> None:
    canonical = strict.encode(strict.copied(value))
    assert strict.parse(canonical, limit_bytes=len(canonical)) == value
    assert strict.copied(value, limit_bytes=len(canonical)) == value


def number_of_values(value: Any) -> int:
    """Members and items, at all depths."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return len(inner) + sum(map(number_of_values, inner))


@given(VALUES)
def test_a_value_never_has_too_many_values_for_a_limit_of_its_own_and_always_for_one_less(value: Any) -> None:
    count = number_of_values(value)
    text = json.dumps(value)
    assert strict.parse(text, limit_values=count) == value
    assert strict.copied(value, limit_values=count) == value
    if count:
        for read, given_as in ((strict.parse, text), (strict.copied, value)):
            with pytest.raises(ArgumentsRefused) as caught:
                read(given_as, limit_values=count - 1)
            assert (caught.value.code, caught.value.path) == ("too_many_values", "")
            assert str(caught.value) == f"more than {count - 1} values; send less at once, or put them behind a reference"


@pytest.mark.parametrize("text", ['"' + '\\"' * 500_000, '"' + "\\" * 500_000, '""' * 250_000, '"a",' * 250_000, '{"' * 300_000])
def test_what_never_ends_or_has_no_meaning_is_refused_without_reading_it_twice(text: str) -> None:
    assert refusal(text).code in {"not_json", "too_many_values", "too_large"}


@given(VALUES)
def test_however_it_was_written_one_value_has_one_canonical_form(value: Any) -> None:
    spaced = json.dumps(value, indent=3)
    assert strict.encode(strict.parse(spaced)) == strict.encode(strict.copied(value))


@given(st.binary(max_size=64) | st.text(max_size=64))
def test_garbage_is_refused_or_read_and_nothing_else_happens(garbage: bytes | str) -> None:
    try:
        value = strict.parse(garbage)
    except ArgumentsRefused:
        return
    assert strict.parse(strict.encode(value)) == value


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a":1,"a":2}', "a"),
        ('{"x":{"y":[{"a":1,"b":2,"a":1}]}}', "a"),
        ('{"amount":1,"\\u0061mount":2}', "amount"),
    ],
)
def test_a_key_twice_is_refused_at_any_depth_and_however_escaped(text: str, key: str) -> None:
    refused = refusal(text)
    assert refused.code == "duplicate_key"
    assert str(refused) == f'the key `"{key}"` stands twice in one object'


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"__entity":{"type":"Role","id":"admin"}}', "/__entity"),
        ('{"a":[1,{"b":{"__extn":{"fn":"unknown","arg":"x"}}}]}', "/a/1/b/__extn"),
        ('{"a":[{"\\u005f_entity":{}}]}', "/a/0/__entity"),
        ('{"a/b":{"~":{"__entity":1}}}', "/a~1b/~0/__entity"),
    ],
)
def test_keys_that_cedar_reads_as_code_are_refused_anywhere(text: str, path: str) -> None:
    for unverified in (text, json.loads(text)):
        refused = refusal(unverified)
        assert (refused.code, refused.path) == ("forbidden_key", path)
        assert "is reserved and may stand nowhere in arguments" in str(refused)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_refused_in_text_and_in_values(text: str) -> None:
    assert refusal(f'{{"a":[{text}]}}').code == "not_finite"
    assert refusal({"a": [float(text)]}).path == "/a/0"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30, 1e300, 2.0**53, -(2.0**53)])
def test_numbers_that_do_not_say_which_integer_is_meant_are_refused(number: float) -> None:
    for unverified in ({"a": number}, json.dumps({"a": number})):
        refused = refusal(unverified)
        assert refused.code == "number_too_large"
        assert refused.path == "/a"


def test_a_number_of_a_million_digits_is_refused_without_being_read() -> None:
    refused = refusal('{"a":' + "9" * 1_000_000 + "}")
    assert (refused.code, str(refused)) == ("number_too_large", "an integer does not fit 64 bits")


@pytest.mark.parametrize(
    ("written", "canonical"), [("1.0", b"1"), ("-0.0", b"0"), ("1e2", b"100"), ("0.5", b"0.5"), ("9007199254740991.0", b"9007199254740991")]
)
def test_a_float_without_fraction_is_the_integer_it_equals(written: str, canonical: bytes) -> None:
    assert strict.encode(strict.parse(written)) == canonical
    assert strict.encode(strict.copied(float(written))) == canonical


def test_sixty_four_levels_are_read_and_sixty_five_are_refused() -> None:
    assert strict.parse("[" * 64 + "]" * 64)
    assert refusal("[" * 65 + "]" * 65).code == "too_deep"
    assert refusal('{"a":' * 65 + "1" + "}" * 65).code == "too_deep"


def test_many_brackets_are_refused_as_too_deep_and_half_a_million_before_anything_is_built() -> None:
    assert refusal("[" * 20_000).code == "too_deep"
    assert refusal("[" * 500_000).code == "too_many_values"


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert refusal(loop).code == "too_deep"


def test_a_small_value_that_is_endless_in_json_is_refused_before_it_is_written() -> None:
    value: list[Any] = ["x"]
    for _ in range(50):
        value = [value] * 10
    assert refusal(value).code == "too_many_values"
    assert refusal(["x" * 1_000_000] * 1_000).code == "too_large"


def test_one_mebibyte_is_the_default_limit() -> None:
    assert strict.parse(b'"' + b"x" * (strict.LIMIT_BYTES - 2) + b'"')
    refused = refusal(b'"' + b"x" * (strict.LIMIT_BYTES - 1) + b'"')
    assert (refused.code, str(refused)) == ("too_large", "the arguments are larger than 1048576 bytes")


@pytest.mark.parametrize("unverified", ['{"a":"\\ud800"}', {"a": "\udfff"}, {"\ud800": 1}])
def test_half_a_surrogate_pair_is_refused(unverified: Any) -> None:
    assert refusal(unverified).code == "bad_text"


@pytest.mark.parametrize("text", [b"\xff{}", b'{"a":"\xc0\xae"}', "{}".encode("utf-16")])
def test_bytes_that_are_not_utf8_json_are_refused(text: bytes) -> None:
    assert refusal(text).code in {"bad_text", "not_json"}


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", '{"a":1,}', "{} {}", "\ufeff{}", '{"a":"\n"}', "tru", "01", "+1", ".5"])
def test_malformed_json_is_refused_with_its_place(text: str) -> None:
    refused = refusal(text)
    assert refused.code == "not_json"
    assert str(refused).startswith("malformed JSON at character ")


class Broken(dict[str, int]):
    def __iter__(self) -> Any:
        raise RuntimeError

    def keys(self) -> Any:
        raise RuntimeError


def test_a_container_that_cannot_be_read_is_refused() -> None:
    refused = refusal({"a": Broken(x=1)})
    assert (refused.code, refused.path, str(refused)) == ("not_json_value", "/a", "a value of type `Broken` could not be read")


class Colour(enum.StrEnum):
    RED = "red"


class Liar(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


def test_subclasses_become_plain_values_and_cannot_lie_about_themselves() -> None:
    copy = strict.copied(OrderedDict(a=Colour.RED, b=Liar("truth"), c=(1, 2), d=MappingProxyType({"e": enum.IntEnum("N", "ONE").ONE})))  # type: ignore[attr-defined]
    assert copy == {"a": "red", "b": "truth", "c": [1, 2], "d": {"e": 1}}
    assert [type(copy["a"]), type(copy["b"]), type(copy["d"]), type(copy["d"]["e"])] == [str, str, dict, int]


@pytest.mark.parametrize("value", [datetime.now(UTC), b"x", {1}, object(), {1: "a"}, {None: 1}, 1j])
def test_what_json_cannot_say_is_refused_and_not_converted(value: Any) -> None:
    refused = refusal({"a": value})
    assert (refused.code, refused.path) == ("not_json_value", "/a")


def test_an_error_quotes_at_most_a_few_characters_of_what_was_sent() -> None:
    assert strict.shown("x" * 10_000) == '`"' + "x" * 39 + "...`"
    assert strict.shown({"a": "x" * 10_000}) == "an object"
    assert strict.shown(["x"]) == "a list"
    assert len(str(refusal('{"' + "k" * 5_000 + '":1,"' + "k" * 5_000 + '":1}'))) < 120
