"""What a tool returns: recorded as JSON, or as a digest, or withheld."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, computed_field

from licet.gate import conclude
from licet.gate.results import Failed, Ok, Result
from licet.ledger.record import NOTHING
from licet.testing import Read
from tests.world import World

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


Door = Callable[[World, str], Result]


def sync_of_sync(w: World, kind: str) -> Result:
    return w.gate.call(f"odd.{kind}", {})


def ended(w: World) -> Read:
    """The outcome that stands last."""
    record = w.records()[-1]
    assert record.kind in {"outcome", "call"}
    return record


@dataclass
class Plain:
    x: int
    y: float


class Model(BaseModel):
    name: str
    when: datetime
    amount: Decimal


class Raising(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def x(self) -> int:
        raise RuntimeError("no")


RESULTS: list[tuple[Any, bytes]] = [
    (None, b"null"),
    ({"a": [1, 2.5, "é", None, True]}, '{"a":[1,2.5,"é",null,true]}'.encode()),
    (Plain(1, 2.5), b'{"x":1,"y":2.5}'),
    (Model(name="n", when=NEW_YEAR, amount=Decimal("1.10")), b'{"name":"n","when":"2026-01-01T00:00:00Z","amount":"1.10"}'),
    ([Model(name="n", when=NEW_YEAR, amount=Decimal(1))], b'[{"name":"n","when":"2026-01-01T00:00:00Z","amount":"1"}]'),
    ({"no": "null", "none": None}, b'{"no":"null","none":null}'),
    (msgspec.Raw(b'{"a": 1}'), b'{"a": 1}'),
]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_write_s_result_is_recorded_as_json_and_released_as_it_is(tools: World, kind: str) -> None:
    for value, recorded in RESULTS:
        tools.returns = value
        with tools.alice():
            result = sync_of_sync(tools, kind)
        assert isinstance(result, Ok)
        assert result.value is value
        assert bytes(ended(tools).payload.result) == recorded


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)


NO_RESULTS: list[Any] = [
    object(),
    {"a": {"b": [math.nan]}},
    [math.inf],
    Plain(1, -math.inf),
    {1: {2: object()}},
    "\ud800",
    Raising(),
    msgspec.Raw(b'1},"detail":{"late":true'),
    msgspec.Raw(b""),
    msgspec.Raw(b'"\xff"'),
    len,
    CIRCULAR,
]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_result_that_is_not_json_is_withheld_and_its_write_recorded_as_executed(tools: World, kind: str) -> None:
    for value in NO_RESULTS:
        tools.returns = value
        with tools.alice():
            result = sync_of_sync(tools, kind)
        assert isinstance(result, Failed)
        assert (result.code, result.executed, result.retry, result.error) == ("result_not_json", True, False, None)
        assert result.message.startswith("what the tool returned is not JSON")
        record = ended(tools)
        assert record.payload.result is NOTHING
        assert record.envelope.outcome is not None
        assert (record.envelope.outcome.status, record.envelope.outcome.code) == ("error", "result_not_json")


def test_a_huge_result_is_released_and_recorded_as_digest_and_size(w: World) -> None:
    w.returns = "x" * (conclude.RESULT_LIMIT_BYTES + 1)

    @w.gate.tool("odd.huge", access="write", touches={"access"})
    def huge() -> Any:
        return w.returns

    with w.alice():
        result = w.gate.call("odd.huge", {})
        again = w.gate.call("odd.huge", {}, idempotency_key="k")
        repeat = w.gate.call("odd.huge", {}, idempotency_key="k")
    assert isinstance(result, Ok)
    assert isinstance(again, Ok)
    detail = w.records()[1].payload.detail
    assert detail is not None
    assert detail["result_bytes"] == conclude.RESULT_LIMIT_BYTES + 3
    assert len(detail["result_sha256"]) == len(detail["result_salt"]) == 64
    assert isinstance(repeat, Failed)
    assert (repeat.code, repeat.executed, repeat.retry) == ("result_not_kept", True, False)


def test_reads_keep_a_salted_digest_of_their_result_unless_they_opt_in(w: World) -> None:
    @w.gate.tool("odd.kept", access="read", keep_result=True)
    def kept() -> str:
        return "kept"

    @w.gate.tool("odd.dropped", access="write", touches={"access"}, keep_result=False)
    def dropped() -> str:
        return "dropped"

    w.returns = "secret"
    with w.alice():
        for name in ("odd.now", "odd.now", "odd.kept", "odd.dropped"):
            assert isinstance(w.gate.call(name, {}), Ok)
    first, second, third, _, fourth = w.records()
    assert first.payload.detail is not None
    assert second.payload.detail is not None
    assert first.payload.detail["result_sha256"] != second.payload.detail["result_sha256"], "the salt hides equal results"
    assert bytes(third.payload.result) == b'"kept"'
    assert fourth.payload.result is NOTHING
    assert not any(b"secret" in (record.payload or b"") for record in w.gate.store.records("acme"))


def test_what_is_changed_after_the_call_does_not_change_the_record(tools: World) -> None:
    tools.returns = {"a": [1]}
    with tools.alice():
        result = tools.gate.call("odd.sync", {})
    assert isinstance(result, Ok)
    result.value["a"].append(2)
    assert bytes(ended(tools).payload.result) == b'{"a":[1]}'


def test_a_function_that_returns_a_coroutine_without_being_one_is_a_failure(w: World) -> None:
    closed = []

    class Later:
        def __await__(self) -> Any:
            closed.append(1)

    @w.gate.tool("odd.later", access="read")
    def later() -> Any:
        return Later()

    with w.alice():
        result = w.gate.call("odd.later", {})
    assert isinstance(result, Failed)
    assert result.code == "result_not_json"
    assert closed == []
