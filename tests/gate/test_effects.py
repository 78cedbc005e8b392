from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import licet
from licet import Effect, Failed, Held, Ok
from licet.errors import EffectRefused
from licet.gate.effects import EFFECTS_LIMIT, EFFECTS_LIMIT_BYTES, NAME_LIMIT, Reported, compare
from licet.gate.results import Result
from licet.ledger.record import OutcomeEntry
from licet.model import CallId, OutcomeStatus
from licet.testing import Read, vote
from tests.gate.faulty import drain
from tests.gate.proof import assert_whole
from tests.world import POLICIES, Customer, World, world

TARGET = 'Customer::"C-1"'
ONE = Effect(target=TARGET, field="plan", before="basic", after="pro")
TWO = Effect(target=TARGET, field="seats", before=3, after=5)
BLIND = Effect(target=TARGET, field="seats", after=5, before_unknown=True)

HELD = """
@id("seats-need-a-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"seats.set", resource);
"""


@pytest.fixture
def w(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with world(policies=POLICIES + HELD) as made:

        @made.gate.tool("seats.set", access="write", touches={"access"}, targets="Customer::{customer_id}")
        def set_seats(customer_id: str, seats: int) -> Any:
            return made.returns() if made.returns is not None else None

        @set_seats.preview
        def preview(customer_id: str, seats: int) -> list[Effect]:
            return [Effect(target=f'Customer::"{customer_id}"', field="seats", before=3, after=seats)]

        yield made
        assert_whole(made.gate)


def report(*effects: Effect) -> None:
    """Report these, as a tool does."""
    for one in effects:
        if one.has_before:
            licet.effect(one.target, one.field, before=one.before, after=one.after)
        else:
            licet.effect(one.target, one.field, after=one.after)


def tool(w: World, function: Any, name: str = "plan.change", *, timeout_s: float | None = None) -> None:
    """Register a function without arguments as a tool that alice's agent may use."""
    w.gate.tool(name, access="write", touches={"access"}, timeout_s=timeout_s)(function)


def call(w: World, name: str = "plan.change") -> Result:
    with w.alice():
        return w.gate.call(name, {})


async def acall(w: World, name: str = "plan.change") -> Result:
    with w.alice():
        return await w.gate.acall(name, {})


def ends(w: World, of: CallId) -> list[Read]:
    """The records that say how a call ended, oldest first."""
    return [record for record in w.records() if record.envelope.call == of and record.envelope.outcome is not None]


def entry(w: World, of: CallId) -> OutcomeEntry:
    """What the last of them says in its envelope."""
    found = ends(w, of)[-1].envelope.outcome
    assert found is not None
    return found


def test_what_a_tool_reports_is_in_its_result_and_in_its_record(w: World) -> None:
    tool(w, lambda: report(ONE, TWO))
    result = call(w)
    assert isinstance(result, Ok)
    assert result.effects == (ONE, TWO)
    assert result.as_previewed is None
    assert ends(w, result.call)[-1].payload.effects == (ONE, TWO)
    assert entry(w, result.call).effects == 2
    assert not entry(w, result.call).deviates


@pytest.mark.parametrize("timeout_s", [None, 30.0], ids=["here", "in a worker"])
@pytest.mark.parametrize("door", ["sync", "async"])
@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_reports_arrive_from_whatever_runs_the_tool(w: World, timeout_s: float | None, door: str, kind: str) -> None:
    async def awaited() -> None:
        await asyncio.sleep(0)
        report(ONE)
        await asyncio.gather(asyncio.create_task(later(TWO)), asyncio.to_thread(report, TWO))

    async def later(effect: Effect) -> None:
        await asyncio.sleep(0)
        report(effect)

    tool(w, (lambda: report(ONE, TWO, TWO)) if kind == "function" else awaited, timeout_s=timeout_s)
    result = call(w) if door == "sync" else asyncio.run(acall(w))
    assert isinstance(result, Ok), result
    assert result.effects == (ONE, TWO, TWO)


def test_two_calls_on_one_loop_keep_their_reports_apart(w: World) -> None:
    async def first() -> None:
        await asyncio.sleep(0)
        report(ONE)
        await asyncio.sleep(0)

    async def second() -> None:
        report(TWO)
        await asyncio.sleep(0)

    async def both() -> list[Result]:
        return list(await asyncio.gather(acall(w, "a.first"), acall(w, "a.second"), acall(w, "a.first")))

    tool(w, first, "a.first")
    tool(w, second, "a.second")
    results = asyncio.run(both())
    assert [result.effects for result in results if isinstance(result, Ok)] == [(ONE,), (TWO,), (ONE,)]


@pytest.mark.parametrize("inner", ["function", "coroutine"])
def test_a_call_within_a_call_has_its_own_reports(w: World, inner: str) -> None:
    async def awaited() -> None:
        report(TWO)

    found: list[Result] = []

    def outer() -> None:
        report(ONE)
        found.append(w.gate.call("a.inner", {}))
        report(ONE)

    tool(w, (lambda: report(TWO)) if inner == "function" else awaited, "a.inner")
    tool(w, outer)
    result = call(w)
    assert isinstance(result, Ok)
    assert result.effects == (ONE, ONE)
    assert isinstance(found[0], Ok)
    assert found[0].effects == (TWO,)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=["error", "exit", "interrupt"])
def test_reports_survive_however_the_tool_ends(w: World, error: BaseException) -> None:
    def breaks() -> None:
        report(ONE)
        raise error

    tool(w, breaks)
    if isinstance(error, Exception):
        result = call(w)
        assert isinstance(result, Failed)
        assert result.effects == (ONE,)
    else:
        with pytest.raises(type(error)):
            call(w)
    [record] = [record for record in w.records() if record.kind == "outcome"]
    assert record.envelope.outcome is not None
    assert (record.envelope.outcome.status, record.envelope.outcome.effects) == ("error", 1)
    assert record.payload.effects == (ONE,)


def test_a_timeout_has_the_reports_so_far_and_the_late_end_has_all(w: World) -> None:
    def slow() -> None:
        report(ONE)
        w.started.set()
        w.release.wait(30)
        report(TWO)

    tool(w, slow, timeout_s=0.2)
    result = call(w)
    assert isinstance(result, Failed)
    assert (result.status, result.effects) == ("timeout", (ONE,))
    w.release.set()
    until = time.monotonic() + 60
    while len(ends(w, result.call)) < 2 and time.monotonic() < until:
        time.sleep(0.005)
    first, late = ends(w, result.call)
    assert first.payload.effects == (ONE,)
    assert late.payload.effects == (ONE, TWO)


def test_a_cancelled_tool_has_the_reports_so_far(w: World) -> None:
    started = asyncio.Event()

    async def waits() -> None:
        report(ONE)
        started.set()
        await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.create_task(acall(w))
        await started.wait()
        task.cancel()
        await task

    tool(w, waits)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    [record] = [record for record in w.records() if record.kind == "outcome"]
    assert record.envelope.outcome is not None
    assert record.envelope.outcome.status == "unknown"
    assert record.payload.effects == (ONE,)


def test_outside_of_a_tool_nothing_can_be_reported() -> None:
    with pytest.raises(EffectRefused, match="from within a governed tool") as refused:
        report(ONE)
    assert refused.value.code == "no_call"


def test_previews_and_resolvers_report_nothing_even_within_a_call(w: World) -> None:
    codes: list[str] = []

    def reporting(_identifier: str) -> Customer:
        try:
            report(TWO)
        except EffectRefused as refused:
            codes.append(refused.code)
        return Customer("acme", vip=False)

    def outer() -> None:
        w.gate.call("a.inner", {"ticket": "T-1"})

    w.gate.resource("Ticket")(reporting)

    @w.gate.tool("a.inner", access="write", touches={"access"}, targets="Ticket::{ticket}")
    def inner(ticket: str) -> None:
        report(ONE)

    tool(w, outer)
    result = call(w)
    assert isinstance(result, Ok)
    assert result.effects == ()
    assert codes == ["no_call"]


def test_what_runs_on_after_the_call_is_told_that_its_report_is_in_no_record(w: World) -> None:
    refused: list[EffectRefused] = []
    go = threading.Event()

    def later() -> None:
        go.wait(30)
        try:
            report(TWO)
        except EffectRefused as error:
            refused.append(error)

    threads: list[threading.Thread] = []

    def starts() -> None:
        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(later,)))
        threads[0].start()
        report(ONE)

    tool(w, starts)
    result = call(w)
    go.set()
    threads[0].join(30)
    assert isinstance(result, Ok)
    assert result.effects == (ONE,)
    assert [error.code for error in refused] == ["call_ended"]


class Odd:
    """No value of JSON."""


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"after": float("nan")}, "not_json"),
        ({"after": float("inf")}, "not_json"),
        ({"after": "\ud800"}, "not_json"),
        ({"after": {"\udfff": 1}}, "not_json"),
        ({"after": 2**63}, "not_json"),
        ({"after": 1e300}, "not_json"),
        ({"after": Odd()}, "not_json"),
        ({"after": b"bytes"}, "not_json"),
        ({"after": msgspec.Raw(b'"a"},"x":{')}, "not_json"),
        ({"after": {1: 2}}, "not_json"),
        ({"after": nested(65)}, "not_json"),
        ({"after": 1, "before": Odd()}, "not_json"),
        ({"after": 1, "field": ""}, "bad_name"),
        ({"after": 1, "field": 7}, "bad_name"),
        ({"after": 1, "target": "x" * (NAME_LIMIT + 1)}, "bad_name"),
        ({"after": 1, "target": "\ud800"}, "not_json"),
    ],
)
def test_a_value_that_is_not_json_is_refused_and_the_tool_goes_on(w: World, values: dict[str, Any], code: str) -> None:
    refused: list[EffectRefused] = []

    def careful() -> str:
        try:
            licet.effect(**{"target": TARGET, "field": "plan", **values})
        except EffectRefused as error:
            refused.append(error)
        report(ONE)
        return "done"

    tool(w, careful)
    result = call(w)
    assert isinstance(result, Ok)
    assert (result.value, result.effects) == ("done", (ONE,))
    assert [error.code for error in refused] == [code]


def test_a_value_is_recorded_as_it_was_when_it_was_reported(w: World) -> None:
    def changes() -> None:
        seats = ["ann"]
        licet.effect(TARGET, "seats", before=[], after=seats)
        seats.append("bob")

    tool(w, changes)
    result = call(w)
    assert isinstance(result, Ok)
    assert result.effects[0].after == ["ann"]


def test_more_effects_than_are_kept_are_counted(w: World) -> None:
    def busy() -> None:
        for number in range(EFFECTS_LIMIT + 7):
            licet.effect(TARGET, "counter", before=number, after=number + 1)

    tool(w, busy)
    result = call(w)
    assert isinstance(result, Ok)
    assert len(result.effects) == EFFECTS_LIMIT
    assert entry(w, result.call).effects == EFFECTS_LIMIT + 7
    assert ends(w, result.call)[-1].payload.detail == {"effects": {"reported": EFFECTS_LIMIT + 7, "kept": EFFECTS_LIMIT}}


def test_effects_that_are_too_large_are_counted(w: World) -> None:
    def large() -> None:
        licet.effect(TARGET, "text", before="", after="x" * EFFECTS_LIMIT_BYTES)
        report(ONE)

    tool(w, large)
    result = call(w)
    assert isinstance(result, Ok)
    assert result.effects == (ONE,)
    assert ends(w, result.call)[-1].payload.detail == {"effects": {"reported": 2, "kept": 1}}


@pytest.mark.parametrize("value", [ONE, [ONE, TWO], (TWO,)], ids=["one", "list", "tuple"])
def test_effects_that_a_tool_returns_are_reported_and_released_as_they_are(w: World, value: Any) -> None:
    tool(w, lambda: value)
    result = call(w)
    assert isinstance(result, Ok)
    assert result.value is value
    assert result.effects == ((value,) if isinstance(value, Effect) else tuple(value))


@pytest.mark.parametrize("value", [[], [ONE, 1], {"effect": ONE}, ["x"]], ids=["empty", "mixed", "within", "other"])
def test_anything_else_that_a_tool_returns_reports_nothing(w: World, value: Any) -> None:
    tool(w, lambda: value)
    result = call(w)
    assert isinstance(result, Ok)
    assert result.effects == ()


def test_effects_that_a_read_or_a_preview_returns_have_not_happened(w: World) -> None:
    w.gate.tool("plan.guess", access="read")(lambda: [ONE])
    with w.alice():
        guess = w.gate.call("plan.guess", {})
        held = w.gate.call("seats.set", {"customer_id": "C-1", "seats": 5})
    assert isinstance(guess, Ok)
    assert guess.effects == ()
    assert isinstance(held, Held)
    assert held.preview == (TWO,)
    read = [record for record in w.records() if record.kind == "call"]
    assert [record.envelope.outcome.effects for record in read if record.envelope.outcome is not None] == [0, 0]


def test_a_returned_effect_that_could_not_have_been_reported_is_counted_only(w: World) -> None:
    tool(w, lambda: [ONE, Effect(target="", field="x", after=1)])
    result = call(w)
    assert isinstance(result, Ok)
    assert result.effects == (ONE,)
    assert entry(w, result.call).effects == 2


def approved(w: World, run: Any, seats: int = 5) -> Result:
    """A call that a lead has approved by its preview, and whose tool does `run`."""
    w.returns = run
    with w.alice():
        held = w.gate.call("seats.set", {"customer_id": "C-1", "seats": seats})
        assert isinstance(held, Held), held
        vote(w.gate, held.request, "lena")
        return w.gate.call("seats.set", {"customer_id": "C-1", "seats": seats})


def test_a_tool_that_does_what_was_approved_is_as_previewed(w: World) -> None:
    result = approved(w, lambda: report(TWO))
    assert isinstance(result, Ok)
    assert result.as_previewed is True
    assert not entry(w, result.call).deviates
    assert ends(w, result.call)[-1].payload.detail == {"effects": {"as_previewed": True}}


def test_a_tool_that_does_something_else_is_flagged(w: World) -> None:
    result = approved(w, lambda: report(ONE))
    assert isinstance(result, Ok)
    assert result.as_previewed is False
    assert entry(w, result.call).deviates
    detail = ends(w, result.call)[-1].payload.detail
    assert detail == {"effects": {"as_previewed": False, "missing": [msgspec.to_builtins(TWO)], "unexpected": [msgspec.to_builtins(ONE)]}}


def test_a_tool_that_reports_nothing_is_said_to_and_not_flagged(w: World) -> None:
    result = approved(w, lambda: None)
    assert isinstance(result, Ok)
    assert result.as_previewed is None
    assert not entry(w, result.call).deviates
    detail = ends(w, result.call)[-1].payload.detail
    assert detail == {"effects": {"as_previewed": None, "unreported": True, "missing": [msgspec.to_builtins(TWO)]}}


def test_a_tool_that_failed_after_something_unapproved_is_flagged(w: World) -> None:
    def breaks() -> None:
        report(ONE)
        raise ValueError("half done")

    result = approved(w, breaks)
    assert isinstance(result, Failed)
    assert result.as_previewed is False
    assert entry(w, result.call).deviates


def test_a_tool_that_failed_and_did_nothing_is_neither_flagged_nor_said_to_be_silent(w: World) -> None:
    def breaks() -> None:
        raise ValueError("nothing done")

    result = approved(w, breaks)
    assert isinstance(result, Failed)
    assert result.as_previewed is None
    assert not entry(w, result.call).deviates
    detail = ends(w, result.call)[-1].payload.detail
    assert detail == {"effects": {"as_previewed": None, "missing": [msgspec.to_builtins(TWO)]}}


def test_a_tool_that_promised_nothing_and_did_nothing_is_as_previewed() -> None:
    assert compare((), Reported(), "ok").as_previewed is True
    assert compare((), Reported((ONE,), 1), "ok").as_previewed is False


def test_a_call_that_nobody_had_to_approve_is_compared_with_nothing(w: World) -> None:
    tool(w, lambda: report(ONE))
    result = call(w)
    assert isinstance(result, Ok)
    assert result.as_previewed is None
    assert ends(w, result.call)[-1].payload.detail is None


def test_a_credential_in_an_effect_is_not_stored(w: World) -> None:
    token = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
    tool(w, lambda: licet.effect(TARGET, "token", before=None, after=f"use {token}"))
    result = call(w)
    assert isinstance(result, Ok)
    record = ends(w, result.call)[-1]
    assert token not in msgspec.json.encode(record.payload).decode()
    assert any(entry.endswith(":effects") for entry in record.envelope.redactions)


def test_a_marked_secret_that_an_effect_repeats_is_not_stored(w: World) -> None:
    @w.gate.tool("token.set", access="write", touches={"access"}, secrets={"token"})
    def set_token(token: str) -> None:
        licet.effect(TARGET, "token", before=None, after=token)

    with w.alice():
        result = w.gate.call("token.set", {"token": "open sesame now"})
    assert isinstance(result, Ok)
    record = ends(w, result.call)[-1]
    assert "open sesame now" not in msgspec.json.encode(record.payload).decode()
    assert "secret:effects" in record.envelope.redactions


def test_a_repeated_key_gives_the_recorded_effects_again(w: World) -> None:
    w.returns = lambda: report(TWO)
    seats = {"customer_id": "C-1", "seats": 5}
    with w.alice():
        held = w.gate.call("seats.set", seats, idempotency_key="once")
        assert isinstance(held, Held)
        vote(w.gate, held.request, "lena")
        first = w.gate.call("seats.set", seats, idempotency_key="once")
        again = w.gate.call("seats.set", seats, idempotency_key="once")
    assert isinstance(first, Ok)
    assert isinstance(again, Ok)
    assert again.replayed
    assert (again.effects, again.as_previewed) == (first.effects, True)


def test_a_call_that_is_interrupted_after_its_tool_has_its_reports(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    tool(w, lambda: report(ONE))
    w.gate.seal()
    with monkeypatch.context() as patch:
        patch.setattr("licet.gate.pipeline.outcome_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            call(w)
    drain(w.gate)
    [record] = [record for record in w.records() if record.kind == "outcome"]
    assert record.envelope.outcome is not None
    assert (record.envelope.outcome.status, record.envelope.outcome.effects) == ("unknown", 1)
    assert record.payload.effects == (ONE,)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2), max_leaves=3
)
EFFECTS = st.builds(
    Effect,
    target=st.sampled_from(["a", "b"]),
    field=st.sampled_from(["x", "y"]),
    before=VALUES,
    after=VALUES,
)


@given(st.lists(EFFECTS, max_size=6), st.randoms(use_true_random=False))
def test_order_does_not_count(effects: list[Effect], random: Any) -> None:
    shuffled = list(effects)
    random.shuffle(shuffled)
    found = compare(tuple(effects), Reported(tuple(shuffled), len(shuffled)), "ok")
    assert found.as_previewed is True
    assert (found.missing, found.unexpected) == ((), ())


@given(st.lists(EFFECTS, max_size=6), st.lists(EFFECTS, max_size=6), st.sampled_from(["ok", "error", "timeout", "unknown"]))
def test_every_effect_is_matched_missing_or_unexpected(before: list[Effect], after: list[Effect], status: OutcomeStatus) -> None:
    found = compare(tuple(before), Reported(tuple(after), len(after)), status)
    assert len(before) - len(found.missing) == len(after) - len(found.unexpected)
    assert all(one in before for one in found.missing)
    assert all(one in after for one in found.unexpected)
    if found.unexpected:
        assert found.as_previewed is False
    if found.as_previewed:
        assert not found.missing
        assert not found.unexpected


@given(st.lists(EFFECTS, max_size=5))
def test_an_effect_reported_without_before_is_compared_without_it(effects: list[Effect]) -> None:
    blind = tuple([msgspec.structs.replace(one, before=None, before_unknown=True) for one in effects])
    assert compare(tuple(effects), Reported(blind, len(blind)), "ok").as_previewed is True


def test_an_effect_that_knows_its_before_is_matched_first() -> None:
    three = msgspec.structs.replace(TWO, before=4)
    found = compare((TWO, three), Reported((BLIND, TWO), 2), "ok")
    assert found.as_previewed is True


def test_one_effect_twice_is_not_that_effect_once() -> None:
    found = compare((TWO,), Reported((TWO, TWO), 2), "ok")
    assert (found.as_previewed, found.unexpected) == (False, (TWO,))


def test_a_whole_number_is_the_same_however_it_is_written() -> None:
    assert compare((msgspec.structs.replace(TWO, before=3.0),), Reported((TWO,), 1), "ok").as_previewed is True


def test_effects_beyond_those_that_are_kept_cannot_be_what_was_approved() -> None:
    assert compare((TWO,), Reported((TWO,), 2), "ok").as_previewed is False
    assert compare((TWO, ONE), Reported((TWO,), 2), "ok").as_previewed is None


@pytest.mark.parametrize("effect", [ONE, BLIND, msgspec.structs.replace(TWO, before=None)], ids=["known", "unknown", "created"])
def test_an_effect_is_read_as_it_was_written(effect: Effect) -> None:
    encoded = msgspec.json.encode(effect)
    assert msgspec.json.decode(encoded, type=Effect) == effect
    assert (b"before_unknown" in encoded) is not effect.has_before
    assert msgspec.convert(msgspec.to_builtins(effect), Effect) == effect


def test_an_effect_taken_back_twice_is_the_effect() -> None:
    assert ONE.reversed() == Effect(target=TARGET, field="plan", before="pro", after="basic")
    assert ONE.reversed().reversed() == ONE
