"""Results of frameworks' tools as JSON: whatever a tool gives, its record can be written, and says that there was something."""

from __future__ import annotations

import base64
import enum
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from licet.gate.conclude import RESULT_LIMIT_BYTES, outcome_of
from licet.gate.steps import Ran
from licet.integrations.recorded import DEPTH_LIMIT, VALUES_LIMIT, plain, text_of
from tests.catalog.test_adopted import spec_of


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    YES = "yes"


class Model(BaseModel):
    value: Any


@dataclass
class Data:
    value: Any


class Record(msgspec.Struct):
    value: Any


class Text(str):
    """A subclass that lies about itself."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


class Whole(int):
    def __int__(self) -> int:
        raise RuntimeError


class Share(float):
    def __float__(self) -> float:
        raise RuntimeError


class Nameless:
    __hash__ = object.__hash__

    def __str__(self) -> str:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class Hostile(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError


class Endless(list[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


def is_recorded(value: Any) -> bool:
    """Whether an outcome with this result is the good end that it is, and what was recorded is what was given."""
    outcome = outcome_of(Ran(status="ok", duration_us=1, value=value), spec_of({}), keep=True)
    return outcome.status == "ok" and outcome.result is not None and msgspec.json.decode(bytes(outcome.result)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1, 1),
        (2**63, 2**63),
        (-0.5, -0.5),
        ("text", "text"),
        ((1, [2], {"a": (3,)}), [1, [2], {"a": [3]}]),
        ({1: "a", None: "b", 1.5: "c"}, {"1": "a", "None": "b", "1.5": "c"}),
        ({Word.YES: 1}, {"yes": 1}),
        (frozenset({1}), [1]),
        (OrderedDict(a=1), {"a": 1}),
        (b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        (datetime(2026, 1, 5, 9, tzinfo=UTC), "2026-01-05T09:00:00Z"),
        (date(2026, 1, 5), "2026-01-05"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=0), str(UUID(int=0))),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        (Word.YES, "yes"),
        (Model(value=Data(1)), {"value": {"value": 1}}),
        (Data(Record((1, 2))), {"value": {"value": [1, 2]}}),
        (Text("text"), "text"),
        (Whole(3), 3),
        (Share(0.5), 0.5),
    ],
)
def test_what_has_a_json_form_is_recorded_in_it(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert is_recorded(plain(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (object(), {"not_json": "object"}),
        (float("nan"), {"not_json": "float"}),
        ([float("inf")], [{"not_json": "float"}]),
        (Data(float("nan")), {"value": {"not_json": "float"}}),
        ([10**5_000], [{"not_json": "int"}]),
        ({"a": print}, {"a": {"not_json": "builtin_function_or_method"}}),
        (iter([1]), {"not_json": "list_iterator"}),
        ({Nameless(): 1}, {"not_json": "dict"}),
        (Hostile(a=1), {"not_json": "Hostile"}),
        (1j, {"not_json": "complex"}),
        (ValueError("x"), {"not_json": "ValueError"}),
        (Data({(1, 2): 3}), {"value": {"(1, 2)": 3}}),
    ],
)
def test_what_has_none_stands_there_as_the_name_of_its_type(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert is_recorded(plain(value))


def test_half_of_a_character_is_written_so_that_it_can_be_read() -> None:
    broken = "a\ud800"
    assert plain({broken: [broken, Data(broken), Model(value=broken)]}) == {
        "a\\ud800": ["a\\ud800", {"value": "a\\ud800"}, {"value": "a\\ud800"}]
    }
    assert text_of(broken) == "a\\ud800"
    assert is_recorded(plain(broken))


def test_what_holds_itself_ends() -> None:
    loop: list[Any] = []
    loop += [loop]
    found = plain(loop)
    for _ in range(DEPTH_LIMIT):
        (found,) = found
    assert found == [{"not_json": "list"}]
    table: dict[str, Any] = {}
    table["again"] = table
    assert is_recorded(plain(table))


def test_what_holds_one_thing_many_times_over_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.integrations.recorded.VALUES_LIMIT", 10_000)
    many: list[Any] = []
    for _ in range(DEPTH_LIMIT):
        many = [many, many]
    assert '{"not_json":"list"}' in msgspec.json.encode(plain(many)).decode()


def test_what_never_ends_is_cut_where_no_record_could_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2 * VALUES_LIMIT >= RESULT_LIMIT_BYTES
    monkeypatch.setattr("licet.integrations.recorded.VALUES_LIMIT", 10_000)
    found = plain(Endless())
    assert len(found) == 10_000
    assert found[-1] == {"not_json": "int"}
    assert set(map(str, found[:-1])) == {"1"}


def test_a_result_that_a_record_can_hold_is_not_cut() -> None:
    whole = [1] * (VALUES_LIMIT - 1)
    assert plain(whole) == whole


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=()))
    | st.binary(max_size=5)
    | st.decimals()
    | st.datetimes()
    | st.timedeltas()
    | st.complex_numbers()
    | st.uuids()
    | st.sampled_from([object(), Colour.RED, Number.ONE, Word.YES, Nameless(), Text("a"), Whole(1), Share(1.5), print, Hostile(a=1), type]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(alphabet=st.characters(exclude_categories=())) | st.integers() | st.none() | st.binary(), inner, max_size=4
        )
        | st.builds(Data, inner)
        | st.builds(Record, inner)
        | st.builds(Model, value=inner)
    ),
    max_leaves=20,
)


@given(ANYTHING)
def test_whatever_a_tool_gives_can_be_recorded_and_told(value: Any) -> None:
    found = plain(value)
    assert is_recorded(found)
    assert plain(found) == found
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    text_of(value).encode()
    if not isinstance(value, str):
        assert json.loads(text_of(value)) == found


@given(st.text())
def test_text_is_told_as_it_is(text: str) -> None:
    assert text_of(text) == text
    assert plain(text) == text


def test_anything_else_is_told_as_json_with_its_own_letters() -> None:
    assert text_of({"a": ["é", None]}) == '{"a": ["é", null]}'
