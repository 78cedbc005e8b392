"""DESIGN 3, "when things break": no record, no action; no outcome, no result; and what could not be written is written when it can be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from licet.errors import GateClosed
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.testing import Read, vote
from tests.gate.faulty import IMPATIENT, FaultyStore, drain, faulty_world
from tests.gate.proof import assert_whole
from tests.world import World

Faulty = tuple[World, FaultyStore]
Call = Callable[[World], Result]
READ = ("crm.lookup", {"customer_id": "C-1"})


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    with faulty_world(monkeypatch) as made:
        yield made
        made[1].mend()
        drain(made[0].gate)
        assert_whole(made[0].gate)


def read(w: World) -> Result:
    with w.alice():
        return w.gate.call(*READ)


def read_awaited(w: World) -> Result:
    with w.alice():
        return asyncio.run(w.gate.acall(*READ))


def adjust(w: World) -> Result:
    return w.adjust()


def adjust_awaited(w: World) -> Result:
    with w.alice():
        return asyncio.run(w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500}))


def refund(w: World) -> Result:
    with w.alice():
        return w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 2_500})


def gaps(w: World) -> list[Read]:
    return [record for record in w.records() if record.kind == "gap"]


@pytest.mark.parametrize("call", [adjust, adjust_awaited, refund])
def test_a_write_is_denied_and_nothing_runs_while_the_log_is_down(faulty: Faulty, call: Call) -> None:
    w, store = faulty
    store.fail("down")
    for _ in range(3):
        result = w.denied(call(w), "log_unavailable", "audit log cannot be written", "nothing was done", "the database is locked")
        assert result.receipt is None
    assert w.ran == []
    assert w.customers["C-1"]["balance"] == 100
    store.mend()
    drain(w.gate)
    assert w.kinds() == ["gap"]
    detail = w.records()[0].payload.detail
    assert detail is not None
    assert (detail["count"], detail["reason"]) == (3, "the database is locked")
    assert w.gate.store.open_calls() == ()


def test_gaps_are_counted_for_each_log(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("down")
    w.adjust()
    w.gate.call(*READ)
    w.gate.call(*READ)
    store.mend()
    drain(w.gate)
    assert [record.payload.detail["count"] for record in gaps(w) if record.payload.detail] == [1]
    operator = [record for record in w.records("operator") if record.kind == "gap"]
    assert [record.payload.detail["count"] for record in operator if record.payload.detail] == [2]


def test_what_is_denied_while_an_earlier_gap_cannot_be_written_is_added_to_it(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("down")
    w.adjust()
    store.met.clear()
    assert store.met.wait(10), "the clerk has tried to write the gap, and could not"
    w.adjust()
    w.clock.advance(60)
    w.adjust()
    store.mend()
    drain(w.gate)
    details = [record.payload.detail for record in gaps(w) if record.payload.detail]
    assert sum(detail["count"] for detail in details) == 3
    assert max(detail["last_at"] for detail in details) - min(detail["first_at"] for detail in details) == 60_000_000


def test_a_call_passes_again_when_the_log_is_back(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("down")
    assert isinstance(w.adjust(), Denied)
    store.mend()
    assert isinstance(w.adjust(), Ok)
    assert w.ran == [("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500})]


def test_a_hold_that_cannot_be_recorded_is_a_denial_and_opens_no_request(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("down", "hold")
    w.denied(w.adjust(50_000), "log_unavailable", "nothing was done")
    store.mend()
    drain(w.gate)
    assert w.gate.approvals.all() == ()
    assert w.ran == []


def test_a_request_that_cannot_be_looked_up_is_a_denial(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("unreadable", "nothing")
    w.denied(w.adjust(50_000), "log_unavailable", "the log cannot be read")
    w.denied(w.adjust(idempotency_key="k"), "log_unavailable", "cannot be read")
    assert w.ran == []


@pytest.mark.parametrize("call", [read, read_awaited])
def test_a_merged_read_ran_and_its_result_is_withheld_while_the_log_is_down(faulty: Faulty, call: Call) -> None:
    w, store = faulty
    store.fail("down")
    result = call(w)
    assert isinstance(result, Failed)
    assert (result.code, result.executed, result.retry, result.receipt, result.error) == ("outcome_not_recorded", True, True, None, None)
    assert "its result is withheld" in result.message
    assert "tenant" not in repr(result), "nothing of what was read leaves"
    store.mend()
    drain(w.gate)
    (record,) = w.records()
    assert (record.kind, record.envelope.call) == ("call", result.call)


@pytest.mark.parametrize("how", ["down", "ambiguous"])
@pytest.mark.parametrize("call", [adjust, adjust_awaited, refund])
def test_a_write_whose_outcome_cannot_be_recorded_is_withheld_and_recorded_once_later(faulty: Faulty, call: Call, how: str) -> None:
    w, store = faulty
    store.fail("down" if how == "down" else "ambiguous", "outcome")
    result = call(w)
    assert isinstance(result, Failed)
    assert (result.code, result.executed, result.retry, result.receipt) == ("outcome_not_recorded", True, False, None)
    assert "cannot be recorded" in result.message
    assert len(w.ran) == 1
    store.mend()
    drain(w.gate)
    assert w.kinds() == ["intent", "outcome"]
    outcome = w.records()[1].envelope.outcome
    assert outcome is not None
    assert outcome.status == "ok"
    assert w.gate.store.open_calls() == ()


def test_what_a_tool_raised_is_withheld_too_but_control_passes_on(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("down", "call")
    w.raises = ValueError("the balance is 17")
    with w.alice():
        result = w.gate.call("odd.now", {})
        assert isinstance(result, Failed)
        assert result.error is None
        assert "17" not in result.message
        w.raises = SystemExit(3)
        with pytest.raises(SystemExit):
            w.gate.call("odd.now", {})
    store.mend()
    drain(w.gate)
    assert [record.envelope.outcome.code for record in w.records() if record.envelope.outcome] == ["ValueError", "SystemExit"]


@pytest.mark.parametrize("call", [adjust, adjust_awaited, refund])
def test_an_intent_that_landed_although_it_was_refused_ran_nothing_and_is_closed_as_such(faulty: Faulty, call: Call) -> None:
    w, store = faulty
    store.fail("ambiguous", "intent")
    w.denied(call(w), "log_unavailable", "nothing was done", "the disk did not answer")
    assert w.ran == []
    store.mend()
    drain(w.gate)
    assert w.kinds() == ["intent", "outcome", "gap"]
    ended = w.records()[1]
    assert ended.envelope.outcome is not None
    assert (ended.envelope.outcome.status, ended.envelope.outcome.code) == ("not_executed", "intent_refused")
    assert ended.payload.message == "the log refused the intent, so nothing ran"
    assert w.gate.store.open_calls() == ()


def test_an_intent_that_was_refused_and_did_not_land_leaves_only_its_gap(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("down", "intent")
    w.denied(w.adjust(), "log_unavailable")
    drain(w.gate)
    assert w.kinds() == ["gap"]


def test_an_approval_that_an_ambiguous_intent_used_up_is_not_used_again(faulty: Faulty) -> None:
    w, store = faulty
    held = w.held()
    vote(w.gate, held.request, "lena")
    store.fail("ambiguous", "intent")
    w.denied(w.adjust(50_000), "log_unavailable")
    store.mend()
    drain(w.gate)
    again = w.held()
    assert again.request != held.request
    assert w.ran == []


def test_a_key_that_an_ambiguous_intent_took_says_that_nothing_ran(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("ambiguous", "intent")
    w.denied(w.adjust(idempotency_key="k"), "log_unavailable")
    store.mend()
    drain(w.gate)
    result = w.adjust(idempotency_key="k")
    assert isinstance(result, Failed)
    assert (result.code, result.executed, result.retry) == ("intent_refused", False, False)
    assert w.ran == []


def test_a_denial_that_cannot_be_recorded_is_a_denial_all_the_same(faulty: Faulty) -> None:
    w, store = faulty
    store.fail("down")
    with w.alice():
        result = w.denied(w.gate.call("no.such", {}), "unknown_tool")
    assert result.receipt is None
    store.mend()
    drain(w.gate)
    assert w.kinds() == ["gap"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    with faulty_world(monkeypatch, config=IMPATIENT) as made:
        yield made
        made[1].mend()
        drain(made[0].gate)
        assert_whole(made[0].gate)


@pytest.mark.parametrize("call", [adjust, adjust_awaited])
def test_an_intent_on_which_the_store_hangs_ran_nothing_even_if_it_lands_at_last(impatient: Faulty, call: Call) -> None:
    w, store = impatient
    store.fail("hang", "intent")
    w.denied(call(w), "log_unavailable", "nothing was done", "has not answered")
    assert w.ran == []
    store.mend()
    drain(w.gate)
    assert sorted(w.kinds()) == ["gap", "intent", "outcome"]
    assert w.gate.store.open_calls() == ()


@pytest.mark.parametrize("call", [adjust, adjust_awaited, refund])
def test_an_outcome_on_which_the_store_hangs_is_recorded_once_when_it_answers(impatient: Faulty, call: Call) -> None:
    w, store = impatient
    store.fail("hang", "outcome")
    result = call(w)
    assert isinstance(result, Failed)
    assert (result.code, result.executed, result.retry) == ("outcome_not_recorded", True, False)
    store.mend()
    drain(w.gate)
    assert w.kinds() == ["intent", "outcome"]


def test_calls_are_refused_at_once_while_the_store_hangs(impatient: Faulty) -> None:
    w, store = impatient
    store.fail("hang")
    w.denied(w.adjust(), "log_unavailable")
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: w.adjust(), range(8)):
            w.denied(result, "log_unavailable")
    assert w.ran == []


def test_a_poisoned_log_refuses_until_the_gate_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch) as (w, store):
        assert isinstance(w.adjust(), Ok)
        store.fail("poisoned")
        w.denied(w.adjust(), "log_unavailable", "the disk failed")
        store.mend()
        w.denied(w.adjust(), "log_unavailable", "the disk failed")
        assert len(w.ran) == 1
        assert_whole(w.gate)


def test_a_gate_that_is_closed_while_a_tool_runs_withholds_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch) as (w, _):
        started, release = threading.Event(), threading.Event()

        @w.gate.tool("billing.slow", access="read")
        def slow() -> str:
            started.set()
            release.wait(10)
            return "secret"

        with ThreadPoolExecutor(1) as pool:

            def call() -> Result:
                with w.alice():
                    return w.gate.call("billing.slow", {})

            running = pool.submit(call)
            assert started.wait(10)
            w.gate.close()
            release.set()
            result = running.result(10)
        assert isinstance(result, Failed)
        assert (result.code, result.executed, result.receipt) == ("outcome_not_recorded", True, None)
        assert "secret" not in repr(result)
        with pytest.raises(GateClosed, match="closed"):
            w.adjust()


def test_votes_that_cannot_be_recorded_are_not_cast(faulty: Faulty) -> None:
    w, store = faulty
    held = w.held()
    store.fail("down", "vote")
    with pytest.raises(Exception, match="locked"):
        vote(w.gate, held.request, "lena")
    store.mend()
    assert isinstance(w.adjust(50_000), Held)
    assert w.ran == []
    vote(w.gate, held.request, "lena")
    assert isinstance(w.adjust(50_000), Ok)


def test_a_tool_that_is_registered_while_the_log_is_down_is_in_force_when_it_is_back(faulty: Faulty) -> None:
    w, store = faulty
    assert isinstance(read(w), Ok)
    store.fail("down")

    @w.gate.tool("new.one", access="read")
    def one() -> int:
        return 1

    with w.alice():
        w.denied(w.gate.call("new.one", {}), "unknown_tool")
        store.mend()
        assert isinstance(w.gate.call("new.one", {}), Ok)
