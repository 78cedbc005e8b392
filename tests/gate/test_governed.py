"""What stands in a tool's place: called like the function, governed like every other call."""

from __future__ import annotations

import asyncio
import functools
import inspect
import typing
from typing import Any

import pytest

from licet import CallDenied, CallHeld
from licet.errors import CallFailed, CatalogInvalid
from licet.gate.governed import GovernedTool
from licet.gate.results import Ok
from licet.testing import vote
from tests.world import World


def test_it_keeps_name_docstring_module_and_signature(w: World) -> None:
    @w.gate.tool("odd.sum", access="read")
    def add(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    assert isinstance(add, GovernedTool)
    assert [getattr(add, name) for name in ("__name__", "__doc__", "__module__")] == ["add", "Add.", __name__]
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    assert (add.spec.name, add.spec.access, add.spec.description) == ("odd.sum", "read", "Add.")


def test_unwrapping_it_does_not_lead_past_the_gate(w: World) -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    @w.gate.tool("odd.sum", access="read")
    @logged
    def add(a: int, b: float = 2) -> int:
        return a

    assert inspect.unwrap(add) is add
    assert str(inspect.signature(add)) == "(a: 'int', b: 'float' = 2) -> 'int'"
    assert typing.get_type_hints(add) == {"a": int, "b": float, "return": int}
    with pytest.raises(CallDenied, match="nobody is calling"):
        inspect.unwrap(add)(1)


def test_a_direct_call_gives_the_value_by_position_and_by_name(w: World) -> None:
    @w.gate.tool("odd.sum", access="read")
    def add(a: int, b: int = 2) -> int:
        return a + b

    with w.alice():
        assert (add(1), add(1, 5), add(b=7, a=1)) == (3, 6, 8)
    assert w.kinds() == ["call"] * 3


def test_a_direct_call_raises_the_denial_with_decision_call_and_receipt(w: World) -> None:
    adjust = tool_of(w, "billing.adjust")
    with w.alice(), pytest.raises(CallDenied, match="no policy permits") as raised:
        adjust("C-1", 1_000_001)
    error = raised.value
    assert (error.decision.verdict, error.decision.code) == ("deny", "no_permit")
    record = w.records()[-1]
    assert (record.receipt, record.envelope.call) == (error.receipt, error.call)
    assert w.ran == []


def test_a_direct_call_raises_the_hold_and_runs_once_approved(w: World) -> None:
    adjust = tool_of(w, "billing.adjust")
    with w.alice(), pytest.raises(CallHeld, match="approval of 1 member of `billing-leads`") as raised:
        adjust("C-1", 50_000)
    vote(w.gate, raised.value.request, "lena")
    with w.alice():
        assert adjust("C-1", 50_000) == "adjusted"
    assert w.customers["C-1"]["balance"] == 50_100


def tool_of(w: World, name: str) -> Any:
    return GovernedTool(w.gate, w.gate.registry.tools[name])


def test_a_direct_call_raises_what_the_tool_raised(w: World) -> None:
    w.raises = LookupError("gone")
    with w.alice(), pytest.raises(LookupError, match="gone"):
        tool_of(w, "odd.now")()
    assert w.kinds() == ["call"]


def test_a_direct_call_whose_tool_takes_too_long_says_that_it_was_started(w: World) -> None:
    with w.alice(), pytest.raises(CallFailed, match="what it did is not known") as raised:
        tool_of(w, "slow.now")()
    assert (raised.value.executed, raised.value.retry) == (True, False)
    w.release.set()


@pytest.mark.parametrize(
    ("args", "kwargs", "code", "words"),
    [
        ((), {"customer_id": "C-1"}, "missing", "amount_cents"),
        (("C-1", "5"), {}, "wrong_type", "is not of type integer"),
        (("C-1", 5.5), {}, "wrong_type", "is not of type integer"),
        (("C-1", True), {}, "wrong_type", "is not of type integer"),
        (("C-1", None), {}, "wrong_type", "is not of type integer"),
        (("C-1", object()), {}, "not_json_value", "`object` is not JSON"),
        (("C-1", 5, 6), {}, "unknown_argument", "takes 2 arguments by position, 3 were given"),
        (("C-1",), {"customer_id": "C-1", "amount_cents": 5}, "duplicate_argument", "given twice"),
        (("C-1", 5), {"extra": 1}, "unknown_argument", "there is no argument"),
        (("C-1", 2**63), {}, "number_too_large", "64 bits"),
        (("C-1", float("nan")), {}, "not_finite", "not a number of JSON"),
        (("C-1", "\ud800"), {}, "bad_text", "surrogate"),
        (("C-1", {"__entity": {"type": "Role", "id": "admin"}}), {}, "forbidden_key", "__entity"),
    ],
)
def test_wrong_python_values_are_a_recorded_denial(w: World, args: Any, kwargs: Any, code: str, words: str) -> None:
    with w.alice(), pytest.raises(CallDenied, match=words) as raised:
        tool_of(w, "billing.adjust")(*args, **kwargs)
    assert raised.value.decision.code == code
    assert w.ran == []
    (record,) = w.records()
    assert record.kind == "denial"
    assert record.payload.detail is not None
    assert record.payload.detail["unread_arguments"]["bytes"] > 0


def test_a_value_whose_repr_raises_is_a_recorded_denial(w: World) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError

    with w.alice(), pytest.raises(CallDenied):
        tool_of(w, "billing.adjust")("C-1", Shy())
    (record,) = w.records()
    assert record.payload.detail is not None
    assert record.payload.detail["unread_arguments"]["text"] == "(cannot be shown)"


def test_an_asynchronous_function_stays_one(w: World) -> None:
    @w.gate.tool("odd.soon", access="read")
    async def soon(a: int) -> int:
        return a + 1

    async def main() -> int:
        with w.alice():
            return await soon(1)

    assert asyncio.run(main()) == 2
    with w.alice(), pytest.raises(CallDenied, match="is not of type integer"):
        asyncio.run(soon("1"))  # type: ignore[arg-type]


def equip(w: World) -> Any:
    gate = w.gate

    class Counter:
        total = 10

        def __init__(self, start: int) -> None:
            self.start = start

        @gate.tool("count.now", access="write", touches={"access"})
        def now(self, by: int) -> int:
            return self.start + by

        @gate.tool("count.awaited", access="write", touches={"access"})
        async def awaited(self, by: int) -> int:
            return self.start + by

        @staticmethod
        @gate.tool("count.fixed", access="write", touches={"access"})
        def fixed(by: int) -> int:
            return by

        @classmethod
        @gate.tool("count.shared", access="write", touches={"access"})
        def shared(cls, by: int) -> int:
            return cls.total + by

        def plain(self, by: int) -> int:
            return self.start - by

    return Counter


def test_methods_run_on_the_object_they_are_called_on_and_record_only_the_arguments(w: World) -> None:
    counter = equip(w)
    with w.alice():
        assert counter(1).now(5) == 6
        assert counter(2).now(by=5) == 7
        assert counter.now(counter(3), 5) == 8
        assert asyncio.run(counter(4).awaited(5)) == 9
        assert counter.fixed(5) == counter(9).fixed(5) == 5
        assert counter.shared(5) == counter(9).shared(5) == 15
    assert [bytes(record.payload.arguments) for record in w.records() if record.kind == "intent"] == [b'{"by":5}'] * 8


def test_a_bound_method_can_be_registered(w: World) -> None:
    counter = equip(w)(100)
    bound = w.gate.tool("count.bound", access="read")(counter.plain)
    with w.alice():
        assert bound(1) == 99
        result = w.gate.call("count.bound", {"by": 2})
    assert isinstance(result, Ok)
    assert result.value == 98


def test_a_method_without_its_object_is_denied_and_recorded(w: World) -> None:
    counter = equip(w)
    with w.alice():
        w.denied(w.gate.call("count.now", {"by": 5}), "no_instance", "call it on its object")
        with pytest.raises(CallDenied, match="call it on its object"):
            counter.now(by=5)
    assert w.kinds() == ["denial", "denial"]


def test_subclasses_run_their_own_method(w: World) -> None:
    counter = equip(w)

    class Twice(counter):  # type: ignore[misc, valid-type]
        def __init__(self, start: int) -> None:
            super().__init__(2 * start)

    with w.alice():
        assert Twice(5).now(1) == 11


@pytest.mark.parametrize("wrap", [classmethod, staticmethod])
def test_the_wrong_order_of_decorators_is_refused_and_says_the_right_one(w: World, wrap: Any) -> None:
    with pytest.raises(CatalogInvalid, match="above the tool's decorator"):
        w.gate.tool("odd.wrapped", access="read")(wrap(lambda: None))


def test_nested_governed_calls_are_each_decided_and_recorded(w: World) -> None:
    adjust = tool_of(w, "billing.adjust")

    @w.gate.tool("billing.outer", access="read", targets="Customer::{customer_id}")
    def outer(customer_id: str, amount_cents: int) -> str:
        return str(adjust(customer_id, amount_cents))

    with w.alice():
        assert outer("C-1", 5) == "adjusted"
        with pytest.raises(CallDenied, match="no policy permits"):
            outer("C-1", 1_000_001)
    assert w.kinds() == ["intent", "outcome", "call", "denial", "call"]
    last = w.records()[-1]
    assert last.envelope.outcome is not None
    assert (last.envelope.outcome.status, last.envelope.outcome.code) == ("error", "CallDenied")


def test_a_name_can_be_registered_once(w: World) -> None:
    with pytest.raises(CatalogInvalid, match="already registered"):
        w.gate.tool("odd.now", access="read")(lambda: None)


def test_a_preview_must_take_the_arguments_of_its_tool(w: World) -> None:
    with pytest.raises(CatalogInvalid, match="must take the arguments of its tool"):

        @w.gate.preview("billing.adjust")
        def wrong(customer_id: str) -> list[Any]:
            return []

    with pytest.raises(CatalogInvalid, match="registered before it"):
        w.gate.preview("no.such")(lambda: None)
