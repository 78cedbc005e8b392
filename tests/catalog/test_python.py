from __future__ import annotations

import dataclasses
import enum
import itertools
import math
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, HttpUrl, StringConstraints, computed_field

from licet.catalog.python import PythonTool, tool_from_function
from licet.errors import ArgumentsRefused
from licet.model import EntityRef, JsonObject

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    sku: str
    price: Decimal = Decimal("1.00")
    due: date | None = None


@dataclasses.dataclass
class Order:
    customer_id: str
    lines: list[Line] = dataclasses.field(default_factory=list)
    express: bool = False


def make(function: Callable[..., Any], **options: Any) -> PythonTool:
    return tool_from_function(function, **{"name": "t", "access": "write", **options})


def passed(tool: PythonTool, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What the function would be called with, after a direct call."""
    return tool.kwargs(tool.reader.read(tool.propose(args, kwargs)))


def refusal(tool: PythonTool, *args: Any, **kwargs: Any) -> ArgumentsRefused:
    with pytest.raises(ArgumentsRefused) as caught:
        passed(tool, *args, **kwargs)
    return caught.value


def refused_json(tool: PythonTool, text: str | JsonObject) -> ArgumentsRefused:
    with pytest.raises(ArgumentsRefused) as caught:
        tool.kwargs(tool.reader.read(text))
    return caught.value


def adjust(customer_id: str, amount_cents: int, note: str | None = None, *, rate: float = 1.0, tags: list[str] = []) -> Unknown:  # noqa: B006 - the default is what is tested
    """Adjust a bill."""


ADJUST = make(adjust, name="billing.adjust", touches={"money"}, targets="Customer::{customer_id}", timeout_s=5, keep_result=False)


def test_the_signature_is_the_schema() -> None:
    assert ADJUST.spec.input_schema == {
        "type": "object",
        "properties": {
            "customer_id": {"type": "string"},
            "amount_cents": {"type": "integer"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "rate": {"type": "number", "default": 1},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["customer_id", "amount_cents"],
        "additionalProperties": False,
    }
    assert (ADJUST.spec.name, ADJUST.spec.access, ADJUST.spec.touches) == ("billing.adjust", "write", frozenset({"money"}))
    assert (ADJUST.spec.description, ADJUST.spec.timeout_s, ADJUST.spec.keep_result) == ("Adjust a bill.", 5, False)
    assert (ADJUST.is_async, ADJUST.is_method) == (False, False)
    assert ADJUST.spec.expand({"customer_id": "C-1"}) == (EntityRef("Customer", "C-1"),)


def test_a_direct_call_by_position_and_by_name_is_one_call() -> None:
    expected = {"customer_id": "C-1", "amount_cents": 5, "note": None, "rate": 1.0, "tags": []}
    assert passed(ADJUST, "C-1", 5) == passed(ADJUST, amount_cents=5, customer_id="C-1") == expected
    by_position = ADJUST.reader.read(ADJUST.propose(("C-1", 5), {}))
    assert by_position.json == ADJUST.reader.read('{"amount_cents":5,"customer_id":"C-1","rate":1.0}').json


def test_a_float_parameter_is_given_a_float_though_one_and_one_point_zero_are_one_value() -> None:
    values = passed(ADJUST, "C-1", 5, rate=2)
    assert (values["rate"], type(values["rate"])) == (2.0, float)
    assert type(passed(make(optional_rate), rate=3)["rate"]) is float
    assert passed(make(optional_rate))["rate"] is None


def optional_rate(rate: float | None = None) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs", "code", "path"),
    [
        (("C-1", "5"), {}, "wrong_type", "/amount_cents"),
        (("C-1", True), {}, "wrong_type", "/amount_cents"),
        (("C-1", 5.5), {}, "wrong_type", "/amount_cents"),
        ((5, 5), {}, "wrong_type", "/customer_id"),
        (("C-1",), {}, "missing", "/amount_cents"),
        (("C-1", 5), {"amount_cents": 6}, "duplicate_argument", ""),
        (("C-1", 5), {"amount": 6}, "unknown_argument", "/amount"),
        (("C-1", 5, None, 1.0), {}, "unknown_argument", ""),
        (("C-1", 5), {"rate": math.nan}, "not_finite", "/rate"),
        (("C-1", 2**63), {}, "number_too_large", "/amount_cents"),
        (("C-1", 5), {"tags": "abc"}, "wrong_type", "/tags"),
        (("C-1", 5), {"tags": {"a"}}, "not_json_value", "/tags"),
    ],
)
def test_a_direct_call_with_a_mistake_is_refused_and_nothing_is_coerced(
    args: tuple[Any, ...], kwargs: JsonObject, code: str, path: str
) -> None:
    refused = refusal(ADJUST, *args, **kwargs)
    assert (refused.code, refused.path) == (code, path)


def test_each_execution_is_given_fresh_values() -> None:
    arguments = ADJUST.reader.read(ADJUST.propose(("C-1", 5), {"tags": ["a"]}))
    ADJUST.kwargs(arguments)["tags"].append("b")
    arguments.value["tags"].append("c")
    assert ADJUST.kwargs(arguments)["tags"] == ["a"]


async def rich(
    order: Order,
    colour: Colour = Colour.RED,
    *,
    when: datetime,
    until: date | None = None,
    price: Decimal = Decimal("9.99"),
    mode: Literal["fast", "slow"] = "fast",
    place: tuple[float, str] | None = None,
    key: UUID | None = None,
    clock: time | None = None,
    wait: timedelta = timedelta(seconds=1.5),
    folder: Path = Path("/tmp"),
) -> None:
    """Does much."""


RICH = make(rich, targets=["Customer::{order.customer_id}", "Item::{order.lines.sku}"])
NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)


def test_models_dataclasses_enums_dates_and_decimals_come_back_as_they_were_meant() -> None:
    order = Order("C-1", [Line(sku="a", price=Decimal("1.50"), due=date(2026, 1, 2))])
    values = passed(RICH, order, Colour.BLUE, when=NOON, place=(1.0, "x"), key=UUID(int=5), clock=time(10, 30))
    assert values == {
        "order": order,
        "colour": Colour.BLUE,
        "when": NOON,
        "until": None,
        "price": Decimal("9.99"),
        "mode": "fast",
        "place": (1.0, "x"),
        "key": UUID(int=5),
        "clock": time(10, 30),
        "wait": timedelta(seconds=1.5),
        "folder": Path("/tmp"),
    }
    assert values["order"] is not order
    assert str(values["order"].lines[0].price) == "1.50"
    assert RICH.is_async


def test_a_direct_call_and_json_of_the_same_call_have_the_same_bytes() -> None:
    direct = RICH.reader.read(RICH.propose((Order("C-1", [Line(sku="a")]),), {"when": NOON}))
    for when in ("2026-02-03T12:00:00Z", "2026-02-03T12:00:00+00:00", "2026-02-03T12:00:00.000Z"):
        assert RICH.reader.read({"order": {"customer_id": "C-1", "lines": [{"sku": "a"}]}, "when": when}).json == direct.json
    assert direct.value["order"] == {"customer_id": "C-1", "lines": [{"sku": "a", "price": "1.00", "due": None}], "express": False}
    assert RICH.spec.expand(direct.value) == (EntityRef("Customer", "C-1"), EntityRef("Item", "a"))


def test_a_decimal_is_an_exact_string_of_the_format_that_policy_knows() -> None:
    assert RICH.spec.input_schema["properties"]["price"] == {"type": "string", "format": "decimal", "default": "9.99"}
    assert passed(RICH, Order("C-1"), when=NOON, price=Decimal("0.10"))["price"].as_tuple() == Decimal("0.10").as_tuple()
    for wrong in (Decimal("1E+5"), Decimal("NaN"), Decimal("Infinity"), 1.5, "9.99"):
        assert refusal(RICH, Order("C-1"), when=NOON, price=wrong).code in {"invalid", "wrong_type"}


@pytest.mark.parametrize(
    "change",
    [
        {"price": 5},
        {"price": "1e5"},
        {"price": "1.5 "},
        {"when": 1_700_000_000},
        {"when": "2026-02-03"},
        {"when": "2026-02-03T12:00:00"},
        {"until": "03.02.2026"},
        {"until": 5},
        {"colour": "green"},
        {"colour": "RED"},
        {"mode": "medium"},
        {"place": [1.0]},
        {"place": ["1.0", "x"]},
        {"key": "5"},
        {"clock": "25:00"},
        {"order": {"customer_id": 5}},
        {"order": {"customer_id": "C-1", "express": "yes"}},
        {"order": {"customer_id": "C-1", "extra": 1}},
        {"order": {"customer_id": "C-1", "lines": [{"sku": "a", "extra": 1}]}},
        {"order": ["C-1"]},
        {"surprise": 1},
    ],
)
def test_json_that_pydantic_would_have_coerced_or_dropped_is_refused(change: JsonObject) -> None:
    good = {"order": {"customer_id": "C-1"}, "when": "2026-02-03T12:00:00Z"}
    assert RICH.reader.read(good)
    assert refused_json(RICH, {**good, **change}).code in {"invalid", "wrong_type", "unknown_argument"}


def test_python_values_of_another_type_are_refused_in_a_direct_call() -> None:
    for change in (
        {"when": "2026-02-03T12:00:00Z"},
        {"colour": "red"},
        {"until": NOON},
        {"order": {"customer_id": "C-1"}},
        {"place": [1.0, "x"]},
    ):
        refused = refusal(RICH, **{"order": Order("C-1"), "when": NOON, **change})
        assert refused.code == "invalid"
        assert refused.path.startswith(f"/{next(iter(change))}")


def test_a_model_filled_with_something_else_behind_pydantics_back_is_refused() -> None:
    for wrong in (Line.model_construct(sku=5), Line.model_construct(sku="a", price=math.nan)):
        assert refusal(RICH, Order("C-1", [wrong]), when=NOON).code in {"invalid", "wrong_type", "not_finite"}


def ratio(value: Ratio) -> None: ...


class Ratio(BaseModel):
    of: float | None


def test_a_nan_inside_a_model_is_refused_and_does_not_become_null() -> None:
    assert refusal(make(ratio), Ratio(of=math.nan)).code == "not_finite"
    assert passed(make(ratio), Ratio(of=2.0)) == {"value": Ratio(of=2.0)}


COUNTER = itertools.count()


def tick(value: str) -> str:
    return f"{value}{next(COUNTER)}"


def unstable(value: Annotated[str, AfterValidator(tick)]) -> None: ...


def growing(value: Annotated[str, AfterValidator(lambda text: text + "x")]) -> None: ...


def settled(value: Annotated[str, AfterValidator(str.strip)]) -> None: ...


def exploding(value: Annotated[str, AfterValidator(lambda text: {}[text])]) -> None: ...


def picky(value: Annotated[str, BeforeValidator(lambda text: text), StringConstraints(max_length=3)]) -> None: ...


@pytest.mark.parametrize("function", [unstable, growing])
def test_a_validator_that_changes_its_own_output_is_refused(function: Callable[..., Any]) -> None:
    assert refused_json(make(function), {"value": "a"}).code == "not_stable"
    assert refusal(make(function), "a").code == "not_stable"


def test_a_validator_that_settles_is_applied_before_the_decision() -> None:
    tool = make(settled)
    arguments = tool.reader.read({"value": "  a "})
    assert arguments.json == b'{"value":"a"}'
    assert tool.kwargs(arguments) == {"value": "a"}


def test_arguments_that_change_between_decision_and_execution_are_refused() -> None:
    state = {"suffix": ""}

    late_text = Annotated[str, AfterValidator(lambda text: text + state["suffix"])]

    def late(value: late_text) -> None: ...

    tool = make(late)
    arguments = tool.reader.read({"value": "a"})
    state["suffix"] = "!"
    with pytest.raises(ArgumentsRefused) as caught:
        tool.kwargs(arguments)
    assert (caught.value.code, str(caught.value)) == (
        "not_stable",
        "the tool's own types do not give back the arguments that were decided on",
    )


def test_whatever_a_validator_raises_is_a_refusal() -> None:
    refused = refused_json(make(exploding), {"value": "a"})
    assert (refused.code, str(refused)) == ("invalid", "the tool's own types refused the arguments with KeyError")
    refused = refused_json(make(picky), {"value": "aaaa"})
    assert (refused.code, refused.path) == ("invalid", "/value")


class Priced(BaseModel):
    net: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gross(self) -> int:
        return self.net * 2


def priced(value: Priced) -> None: ...


def test_a_computed_field_is_no_argument() -> None:
    tool = make(priced)
    assert tool.reader.read(tool.propose((Priced(net=1),), {})).json == b'{"value":{"net":1}}'
    assert refused_json(tool, {"value": {"net": 1, "gross": 99}}).code == "unknown_argument"


def bounded(
    count: Annotated[int, Field(ge=1, le=3, description="how many")], name: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
) -> None: ...


def test_constraints_are_in_the_schema_and_hold() -> None:
    tool = make(bounded)
    assert tool.spec.input_schema["properties"]["count"] == {"type": "integer", "minimum": 1, "maximum": 3, "description": "how many"}
    assert passed(tool, 3) == {"count": 3, "name": "a"}
    assert refused_json(tool, {"count": 4}).path == "/count"
    assert refused_json(tool, {"count": 1, "name": "A"}).path == "/name"


def link(url: HttpUrl) -> None: ...


def test_a_url_is_brought_to_pydantics_form_before_the_decision() -> None:
    assert make(link).reader.read({"url": "HTTPS://Example.com"}).value == {"url": "https://example.com/"}


def odd_names(schema: str, copy: int, model_config: str, _private: str, json: str = "j", self_: int = 1) -> None: ...


def test_parameters_may_be_called_like_attributes_of_pydantic() -> None:
    values = {"schema": "s", "copy": 1, "model_config": "m", "_private": "p"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert passed(make(odd_names), **values) == {**values, "json": "j", "self_": 1}


def nothing() -> None: ...


def test_a_tool_may_take_nothing() -> None:
    assert passed(make(nothing)) == {}
    assert refused_json(make(nothing), {"a": 1}).code == "unknown_argument"


@given(
    st.builds(
        Order,
        st.text(st.characters(exclude_categories=["Cs"])),
        st.lists(
            st.builds(
                Line,
                sku=st.text(st.characters(exclude_categories=["Cs"])),
                price=st.decimals(-1000, 1000, places=2),
                due=st.none() | st.dates(),
            ),
            max_size=3,
        ),
        st.booleans(),
    ),
    st.sampled_from(Colour),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])),
)
def test_every_direct_call_is_executed_with_the_values_it_was_made_with(order: Order, colour: Colour, when: datetime) -> None:
    arguments = RICH.reader.read(RICH.propose((order,), {"colour": colour, "when": when}))
    values = RICH.kwargs(arguments)
    assert (values["order"], values["colour"], values["when"]) == (order, colour, when)
    assert RICH.reader.read(arguments.json).json == arguments.json
    assert RICH.reader.read(arguments.value).json == arguments.json


def test_changing_a_proposed_object_afterwards_changes_nothing() -> None:
    order = Order("C-1", [Line(sku="a")])
    arguments = RICH.reader.read(RICH.propose((order,), {"when": NOON}))
    order.customer_id = "C-2"
    order.lines[0].price = Decimal("0.01")
    assert RICH.kwargs(arguments)["order"] == Order("C-1", [Line(sku="a")])
