"""A caller that waits for people sees what they decide, and then makes the same call again."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet import Gate
from licet.config import loads
from licet.gate.results import Held, Ok, Result
from licet.gate.waiting import LONGEST_WAIT_S
from licet.model import RequestState
from licet.testing import vote
from tests.gate.asleep import (
    LONG_S,
    Way,
    adjust,
    asleep,
    kinds,
    start,
    the_request,
    waiting_of,
    ways,
)
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, RUN
from tests.world import CONFIG, POLICIES, World, populate, world


@pytest.fixture
def w(kept: World) -> World:
    return kept


# what people decide


@ways
def test_an_approval_wakes_the_caller_whose_call_then_runs_once(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    found = start(pool, w, way)
    vote(w.gate, the_request(w), "lena")
    result = found.result(30)
    assert isinstance(result, Ok), result
    assert w.ran == [RUN]
    assert kinds(w) == ["hold", "vote", "intent", "outcome"]
    hold, _, intent, _ = [record for record in w.records() if record.kind != "call"]
    assert intent.envelope.call == result.call != hold.envelope.call, "each try is a call of its own"
    assert intent.payload.arguments == hold.payload.arguments


@ways
def test_a_vote_that_is_not_yet_enough_wakes_nobody(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    def suspend() -> Result:
        async def main() -> Result:
            return await w.gate.acall("account.suspend", {"customer_id": "C-1"}, wait=LONG_S)

        with w.alice():
            return asyncio.run(main()) if way == "task" else w.gate.call("account.suspend", {"customer_id": "C-1"}, wait=LONG_S)

    w.gate.seal()
    found = pool.submit(suspend)
    asleep(w)
    vote(w.gate, the_request(w), "dana")
    assert w.gate.wait(the_request(w), 0.2) is RequestState.OPEN
    assert not found.done()
    assert kinds(w) == ["hold", "vote"]
    vote(w.gate, the_request(w), "omar")
    assert isinstance(found.result(30), Ok)


@ways
def test_a_rejection_is_the_answer(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    found = start(pool, w, way)
    vote(w.gate, the_request(w), "lena", verdict="reject")
    w.denied(found.result(30), "rejected", "`lena` rejected exactly this call")
    assert w.ran == []
    assert len(w.gate.approvals.all()) == 1


@ways
def test_a_request_that_is_withdrawn_is_not_opened_again(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    found = start(pool, w, way)
    w.gate.approvals.withdraw(the_request(w), "alice")
    w.denied(found.result(30), "withdrawn", "was withdrawn")
    assert [shown.request.state for shown in w.gate.approvals.all()] == [RequestState.WITHDRAWN]
    assert isinstance(w.adjust(AMOUNT), Held), "whoever still wants it asks anew"


@ways
def test_a_request_whose_time_is_over_by_the_gates_clock_wakes_the_caller(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    found = start(pool, w, way)
    w.clock.advance(15 * 60 - 1)
    assert w.gate.wait(the_request(w), 0.2) is RequestState.OPEN
    w.clock.advance(1)
    denied = w.denied(found.result(30), "expired", "expired at 2026-01-05 09:15 UTC", "nobody had decided")
    assert denied.receipt is not None
    assert w.ran == []
    assert len(w.gate.approvals.all()) == 1
    assert isinstance(w.adjust(AMOUNT), Held)


@ways
def test_a_request_expires_by_the_real_clock_too(tmp_path: Path, pool: ThreadPoolExecutor, way: Way) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text(POLICIES)
    short = CONFIG.replace('expires = "15m"', 'expires = "1s"')
    with Gate(loads(short, file=tmp_path / "licet.toml")) as gate:
        w = populate(World(gate, None))  # type: ignore[arg-type]  # its clock is the machine's
        found = start(pool, w, way)
        w.denied(found.result(30), "expired")
        assert w.ran == []
        assert_whole(gate)


@ways
def test_when_the_time_is_over_the_call_is_still_held(w: World, way: Way) -> None:
    began = time.monotonic()
    held = adjust(w, way, wait=0.3)
    assert time.monotonic() - began >= 0.3
    assert isinstance(held, Held)
    assert held.waited_s >= 0.3
    assert kinds(w) == ["hold"], "waiting records nothing"
    vote(w.gate, held.request, "lena")
    again = w.adjust(AMOUNT)
    assert isinstance(again, Ok), "the grant is there for the next call"


@ways
def test_a_decision_that_is_there_when_the_time_is_over_counts(pool: ThreadPoolExecutor, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gate.waiting.POLL_S", 60.0)  # the watcher looks once, and not again before the time is over
    with world() as w:
        found = start(pool, w, way, wait=1.0)
        vote(w.gate, the_request(w), "lena")
        assert isinstance(found.result(30), Ok)
        assert_whole(w.gate)


@ways
def test_an_approval_at_the_instant_of_the_limit_is_never_lost(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    for round_ in range(12):
        amount = AMOUNT + round_
        found = start(pool, w, way, amount, wait=0.1)
        time.sleep(0.085 + 0.003 * round_)
        vote(w.gate, the_request(w), "lena")
        result = found.result(30)
        assert isinstance(result, Ok | Held), result
        if isinstance(result, Held):
            assert isinstance(w.adjust(amount), Ok)
        assert len(w.ran) == round_ + 1


# what is waited for


@pytest.mark.parametrize("wait", [None, 0, 0.0])
@ways
def test_without_a_time_nobody_waits(w: World, way: Way, wait: float | None) -> None:
    held = adjust(w, way, wait=wait)
    assert isinstance(held, Held)
    assert held.waited_s == 0
    assert waiting_of(w.gate)._thread is None


@pytest.mark.parametrize("wait", [-1, -0.001, math.nan, math.inf, LONGEST_WAIT_S + 1, True, "10"], ids=str)
def test_a_time_that_is_none_is_refused_before_anything_is_asked(w: World, wait: Any) -> None:
    w.gate.seal()
    for attempt in (
        lambda: adjust(w, "thread", wait=wait),
        lambda: adjust(w, "task", wait=wait),
        lambda: w.gate.acting(agent="support-bot", wait=wait),
    ):
        with pytest.raises(ValueError, match="`wait` is"):
            attempt()
    assert kinds(w) == []


def test_what_nobody_can_decide_is_not_waited_for(pool: ThreadPoolExecutor) -> None:
    policies = POLICIES + '@id("look-only")\n@preview_only\nforbid (principal, action == Action::"billing.adjust", resource);'
    with world(policies=policies) as w:
        held = pool.submit(adjust, w, "thread").result(30)
        assert isinstance(held, Held)
        assert held.request is None
        w.denied(pool.submit(adjust, w, "thread", 2_000_000).result(30), "no_permit")
        assert waiting_of(w.gate)._thread is None


@ways
def test_a_call_that_runs_or_is_denied_at_once_waits_for_nobody(w: World, way: Way) -> None:
    assert isinstance(adjust(w, way, 100), Ok)
    w.denied(adjust(w, way, 2_000_000), "no_permit")
    assert waiting_of(w.gate)._thread is None


def test_the_limit_of_a_block_holds_for_calls_that_say_nothing_else(w: World) -> None:
    arguments = {"customer_id": "C-1", "amount_cents": AMOUNT}
    with w.alice(wait=0.2):
        waited = w.gate.call("billing.adjust", arguments)
        at_once = w.gate.call("billing.adjust", arguments, wait=0)
        longer = w.gate.call("billing.adjust", arguments, wait=0.4)
        assert isinstance(waited, Held)
        assert isinstance(at_once, Held)
        assert isinstance(longer, Held)
        assert (waited.waited_s >= 0.2, at_once.waited_s, longer.waited_s >= 0.4) == (True, 0, True)
        with w.alice():
            inner = w.gate.call("billing.adjust", arguments)
            assert isinstance(inner, Held)
            assert inner.waited_s == 0, "nothing is inherited"
