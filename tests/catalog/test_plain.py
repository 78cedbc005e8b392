from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional, Union

import annotated_types
import pytest
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from licet.catalog.plain import is_plain, wants_float

CustomerId = NewType("CustomerId", str)
Rate = NewType("Rate", float)


class Colour(enum.StrEnum):
    RED = "red"


class Model(BaseModel):
    x: int


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        int,
        bool,
        float,
        None,
        Any,
        list,
        dict,
        CustomerId,
        Rate,
        str | None,
        Optional[int],  # noqa: UP045 - both spellings
        Union[str, int],  # noqa: UP007 - both spellings
        list[str],
        list[CustomerId | None],
        dict[str, Any],
        dict[str, list[int]],
        Literal["a", 1, True] | None,
        Annotated[int, Field(ge=1, description="x")],
        Annotated[str, annotated_types.MinLen(1), "a comment"],
        float | None,
    ],
)
def test_types_whose_json_is_their_value_are_plain(annotation: Any) -> None:
    assert is_plain(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        date,
        Decimal,
        bytes,
        Colour,
        Model,
        list[date],
        list[float],
        dict[str, float],
        dict[int, str],
        str | date,
        float | str,
        tuple[int, str],
        Sequence[str],
        set[str],
        Literal[Colour.RED],
        Annotated[str, AfterValidator(str.strip)],
        Annotated[str, StringConstraints(strip_whitespace=True)],
        Annotated[int, Field(default=5)],
        Annotated[int, Field(default_factory=int)],
        Annotated[int, Field(alias="x")],
        object,
    ],
)
def test_types_that_json_cannot_be_as_it_is_are_left_to_pydantic(annotation: Any) -> None:
    assert not is_plain(annotation)


def test_only_floats_want_floats() -> None:
    assert [wants_float(annotation) for annotation in (float, float | None, Rate, Annotated[float, Field(ge=0)])] == [True] * 4
    assert [wants_float(annotation) for annotation in (int, int | float, str, list[float], None, Any)] == [False] * 6
