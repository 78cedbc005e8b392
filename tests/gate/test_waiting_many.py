"""Many callers wait at once: one runs for each grant, and waiting costs next to nothing."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from licet.gate.results import Denied, Failed, Ok, Result
from licet.testing import vote
from tests.gate.asleep import (
    LONG_S,
    adjust,
    asleep,
    the_request,
    waiting_of,
)
from tests.gate.waiting import AMOUNT, RUN
from tests.world import World


@pytest.fixture
def w(kept: World) -> World:
    return kept


@pytest.mark.parametrize("keyed", [False, True], ids=["no key", "one key"])
@pytest.mark.parametrize("kind", ["threads", "tasks", "both"])
def test_of_sixteen_callers_that_wait_for_one_grant_exactly_one_runs(w: World, pool: ThreadPoolExecutor, kind: str, *, keyed: bool) -> None:
    more: dict[str, Any] = {"idempotency_key": "once"} if keyed else {}
    tasks = {"threads": 0, "tasks": 16, "both": 8}[kind]

    async def main() -> list[Result]:
        with w.alice():
            return await asyncio.gather(*[w.gate.acall("billing.adjust", RUN[1], wait=LONG_S, **more) for _ in range(tasks)])

    w.gate.seal()
    calls = [pool.submit(adjust, w, "thread", **more) for _ in range(16 - tasks)]
    loop = threading.Thread(target=lambda: awaited.extend(asyncio.run(main())))
    awaited: list[Result] = []
    loop.start()
    asleep(w, 16)
    assert len(w.gate.approvals.all()) == 1
    vote(w.gate, the_request(w), "lena")
    results = [call.result(30) for call in calls]
    loop.join(30)
    results += awaited
    assert len(results) == 16
    assert w.ran == [RUN]
    ran = [result for result in results if isinstance(result, Ok) and not result.replayed]
    assert len(ran) == 1
    for result in results:
        if keyed and isinstance(result, Failed):
            assert (result.code, result.replayed) == ("unknown", True), "the first one was still running"
        elif keyed and isinstance(result, Ok):
            assert result.value == "adjusted"
        elif result not in ran:
            assert isinstance(result, Denied), result
            assert result.decision.code == "approval_used", result.decision
    assert len(w.gate.approvals.all()) == 1, "nobody is asked a second time for what one of them has done"


def test_a_hundred_waiting_tasks_need_one_thread_and_their_loop_goes_on(w: World) -> None:
    w.gate.seal()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def main() -> tuple[list[Result], int]:
        with w.alice():
            calls = [
                asyncio.ensure_future(w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": AMOUNT + n}, wait=LONG_S))
                for n in range(100)
            ]
        ticking = asyncio.ensure_future(tick())
        waiting = waiting_of(w.gate)
        while len(waiting._waiters) < 100 or waiting._unseen:  # noqa: ASYNC110  the watcher is a thread and sets no event
            await asyncio.sleep(0.01)
        before, threads = ticks, sum(thread.name == "licet-waiting" for thread in threading.enumerate())
        await asyncio.sleep(0.3)
        assert ticks > before
        for shown in await asyncio.to_thread(w.gate.approvals.waiting):
            await asyncio.to_thread(vote, w.gate, shown.request.id, "lena", verdict="reject")
        results = await asyncio.gather(*calls)
        ticking.cancel()
        return results, threads

    results, threads = asyncio.run(main())
    assert threads == 1
    for result in results:
        w.denied(result, "rejected")
    assert w.ran == []
