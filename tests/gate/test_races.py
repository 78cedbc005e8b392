"""Many at once: one approval is used once, one request is opened."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from licet.gate.results import Denied, Held, Ok, Result
from licet.testing import vote
from tests.gate.waiting import AMOUNT, RUN, approved
from tests.world import World


def race(w: World, width: int, act: Callable[[], Result]) -> list[Result]:
    """All at once, from threads."""
    barrier = threading.Barrier(width)

    def go(_: int) -> Result:
        barrier.wait(20)
        return act()

    with ThreadPoolExecutor(width) as pool:
        return list(pool.map(go, range(width)))


def test_of_sixteen_threads_that_race_on_one_approval_exactly_one_executes(w: World) -> None:
    approved(w)
    results = race(w, 16, lambda: w.adjust(AMOUNT))
    assert [type(result) for result in results].count(Ok) == 1
    assert w.ran == [RUN]
    for result in results:
        if isinstance(result, Denied):
            assert result.decision.code == "approval_used", result.decision
        assert isinstance(result, Ok | Held | Denied)
    assert w.kinds().count("intent") == w.kinds().count("outcome") == 1


def test_of_sixteen_tasks_that_race_on_one_approval_exactly_one_executes(w: World) -> None:
    approved(w)

    async def main() -> list[Result]:
        with w.alice():
            return await asyncio.gather(
                *[w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": AMOUNT}) for _ in range(16)]
            )

    results = asyncio.run(main())
    assert [type(result) for result in results].count(Ok) == 1
    assert w.ran == [RUN]
    for result in results:
        if isinstance(result, Denied):
            assert result.decision.code == "approval_used", result.decision
    assert w.kinds().count("intent") == w.kinds().count("outcome") == 1


@pytest.mark.parametrize("awaited", [False, True])
def test_sixteen_callers_that_ask_at_once_open_one_request(w: World, *, awaited: bool) -> None:
    w.gate.seal()

    async def main() -> list[Result]:
        with w.alice():
            return await asyncio.gather(*[w.gate.acall("account.suspend", {"customer_id": "C-1"}) for _ in range(16)])

    def suspend() -> Result:
        with w.alice():
            return w.gate.call("account.suspend", {"customer_id": "C-1"})

    results = asyncio.run(main()) if awaited else race(w, 16, suspend)
    assert {type(result) for result in results} == {Held}
    assert len({result.request for result in results if isinstance(result, Held)}) == 1
    assert len(w.gate.approvals.all()) == 1
    assert w.kinds() == ["hold"] * 16
    assert w.ran == []


def test_a_call_beside_votes_that_are_being_cast_never_runs_early(w: World) -> None:
    def suspend() -> Result:
        with w.alice():
            return w.gate.call("account.suspend", {"customer_id": "C-1"})

    held = suspend()
    assert isinstance(held, Held)
    barrier = threading.Barrier(4)
    votes_cast: list[str] = []

    def cast(voter: str) -> None:
        barrier.wait(20)
        try:
            vote(w.gate, held.request, voter)
        finally:
            votes_cast.append(voter)

    def keep_calling(_: int) -> int:
        barrier.wait(20)
        done = 0
        while done == 0 and len(votes_cast) < 2:
            done += isinstance(suspend(), Ok)
        return done

    with ThreadPoolExecutor(4) as pool:
        voting = [pool.submit(cast, voter) for voter in ("dana", "omar")]
        ran = sum(pool.map(keep_calling, range(2)))
        for one in voting:
            one.result(20)
    assert ran + isinstance(suspend(), Ok) == 1
    assert len(w.ran) == 1
