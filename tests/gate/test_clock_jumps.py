"""A clock that jumps, back an hour or on by a year: order is by index, leases do not know the time, and nothing becomes allowed by it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from licet.gate.results import Held, Ok, Result
from licet.ledger.record import microseconds
from licet.testing import START, vote
from tests.gate.proof import assert_whole
from tests.world import World, world_on

HOUR = timedelta(hours=1)
YEAR = timedelta(days=365)
JUMPS = pytest.mark.parametrize("jump", [-HOUR, YEAR, -YEAR], ids=["back an hour", "on a year", "back a year"])


@JUMPS
def test_records_written_across_a_jump_are_in_order_of_their_index(w: World, jump: timedelta) -> None:
    receipts = []
    for number in range(6):
        if number == 3:
            w.clock.advance(jump)
        result = w.adjust(100 + number)
        assert isinstance(result, Ok)
        receipts.append(result.receipt)
    indexes = [receipt.index for receipt in receipts if receipt]
    assert indexes == [1, 3, 5, 7, 9, 11]
    times = [record.envelope.at for record in w.records()]
    assert times == [microseconds(START)] * 6 + [microseconds(START + jump)] * 6
    assert_whole(w.gate)


@JUMPS
def test_a_tool_during_which_the_clock_jumps_has_lasted_as_long_as_it_did(w: World, jump: timedelta) -> None:
    @w.gate.tool("slow.write", access="write", touches={"access"})
    def slow() -> str:
        w.clock.advance(jump)
        return "done"

    with w.alice():
        result = w.gate.call("slow.write", {})
    assert isinstance(result, Ok)
    outcome = w.records()[-1].envelope.outcome
    assert outcome is not None
    assert outcome.duration_us is not None
    assert 0 <= outcome.duration_us < 60_000_000
    assert_whole(w.gate)


def test_an_approval_that_expired_is_not_brought_back_by_a_clock_that_goes_back(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    w.clock.advance(YEAR)
    anew = w.held()
    assert anew.request != held.request
    w.clock.advance(-YEAR)
    again = w.adjust(50_000)
    assert isinstance(again, Held)
    assert again.request == anew.request
    assert w.ran == []


def test_an_approval_is_used_once_however_often_the_clock_goes_back(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    assert isinstance(w.adjust(50_000), Ok)
    for _ in range(3):
        w.clock.advance(-HOUR)
        assert isinstance(w.adjust(50_000), Held)
    assert len(w.ran) == 1


@JUMPS
def test_a_key_stays_taken_across_a_jump(w: World, jump: timedelta) -> None:
    first = w.adjust(idempotency_key="k")
    w.clock.advance(jump)
    again = w.adjust(idempotency_key="k")
    assert isinstance(first, Ok)
    assert isinstance(again, Ok)
    assert (again.replayed, again.value) == (True, first.value)
    assert len(w.ran) == 1


@JUMPS
def test_a_process_whose_clock_is_elsewhere_is_not_taken_for_dead_and_takes_nobody_for_dead(tmp_path: Path, jump: timedelta) -> None:
    with world_on(tmp_path) as w, world_on(tmp_path) as other:
        ran: list[Result] = []
        other.clock.advance(jump)

        @w.gate.tool("slow.write", access="write", touches={"access"})
        def slow() -> str:
            ran.append(other.adjust())
            return "done"

        with w.alice():
            assert isinstance(w.gate.call("slow.write", {}), Ok)
        assert isinstance(ran[0], Ok)
        assert isinstance(w.adjust(), Ok)
        assert "recovery" not in w.kinds()
        assert_whole(w.gate)


@JUMPS
def test_after_a_restart_under_another_clock_keys_and_requests_are_what_they_were(tmp_path: Path, jump: timedelta) -> None:
    with world_on(tmp_path) as w:
        held = w.held()
        first = w.adjust(idempotency_key="k")
    with world_on(tmp_path) as w:
        w.clock.advance(jump)
        again = w.adjust(idempotency_key="k")
        assert isinstance(first, Ok)
        assert isinstance(again, Ok)
        assert (again.replayed, w.ran) == (True, [])
        waiting = w.held()
        assert (waiting.request == held.request) is (jump < timedelta(0)), "a request ends by the clock of now"
        assert isinstance(w.adjust(300), Ok)
        assert_whole(w.gate)
