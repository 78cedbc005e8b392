"""What ends a wait early, or makes it longer: cancellation, interrupts, a gate that closes, a store that fails, a freeze."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

from licet.errors import GateClosed, StoreError
from licet.gate.results import Held, Ok, Result
from licet.model import RequestState
from licet.testing import vote
from tests.gate.asleep import (
    LONG_S,
    Way,
    adjust,
    asleep,
    kinds,
    nobody_waits,
    start,
    the_request,
    until,
    waiting_of,
    ways,
)
from tests.gate.faulty import drain, faulty_world
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, RUN, asked
from tests.world import World, world_on


@pytest.fixture
def w(kept: World) -> World:
    return kept


# interruptions


def test_a_task_that_is_cancelled_while_it_waits_leaves_its_request_open(w: World) -> None:
    async def main() -> None:
        with w.alice():
            call = asyncio.ensure_future(w.gate.acall("billing.adjust", RUN[1], wait=LONG_S))
        while not waiting_of(w.gate)._waiters:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    w.gate.seal()
    asyncio.run(main())
    nobody_waits(w)
    assert kinds(w) == ["hold"]
    assert w.gate.poll(the_request(w)) is RequestState.OPEN
    assert w.ran == []
    vote(w.gate, the_request(w), "lena")
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_limit_of_the_callers_own_ends_the_wait(w: World) -> None:
    async def main() -> None:
        with w.alice():
            async with asyncio.timeout(0.2):
                await w.gate.acall("billing.adjust", RUN[1], wait=LONG_S)

    w.gate.seal()
    with pytest.raises(TimeoutError):
        asyncio.run(main())
    nobody_waits(w)
    assert kinds(w) == ["hold"]


def test_an_interrupt_while_a_thread_waits_passes_on(w: World) -> None:
    def interrupt() -> None:
        asleep(w)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    w.gate.seal()
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        adjust(w, "thread")
    thread.join()
    nobody_waits(w)
    assert kinds(w) == ["hold"]
    assert w.gate.poll(the_request(w)) is RequestState.OPEN


@ways
def test_a_gate_that_is_closed_gives_back_what_is_held(tmp_path: Path, pool: ThreadPoolExecutor, way: Way) -> None:
    with world_on(tmp_path) as w:
        found = start(pool, w, way)
        w.gate.close()
        held = found.result(30)
        assert isinstance(held, Held), held
        assert not [thread for thread in threading.enumerate() if thread.name == "licet-waiting"]
        with pytest.raises(GateClosed):
            adjust(w, way)
        assert w.ran == []
    with world_on(tmp_path) as later:
        assert later.gate.poll(asked(held)) is RequestState.OPEN
        vote(later.gate, held.request, "lena")
        assert isinstance(later.adjust(AMOUNT), Ok)
        assert_whole(later.gate)


def test_a_loop_that_ends_while_a_task_waits_leaves_nothing(w: World, pool: ThreadPoolExecutor) -> None:
    loop = asyncio.new_event_loop()

    async def main() -> None:
        with w.alice():
            await w.gate.acall("billing.adjust", RUN[1], wait=LONG_S)

    w.gate.seal()
    task = loop.create_task(main())
    loop.run_until_complete(asyncio.sleep(0.2))
    assert len(waiting_of(w.gate)._waiters) == 1
    found = start_beside(pool, w)
    loop.stop()
    vote(w.gate, the_request(w), "lena")
    assert isinstance(found.result(30), Ok), "a loop that does not run harms nobody else"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def start_beside(pool: ThreadPoolExecutor, w: World) -> Any:
    found = pool.submit(adjust, w, "thread")
    asleep(w, 2)
    return found


# a store that fails


@ways
def test_while_the_store_cannot_be_read_everybody_goes_on_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, pool: ThreadPoolExecutor, way: Way
) -> None:
    caplog.set_level(logging.WARNING)
    with faulty_world(monkeypatch) as (w, store):
        found = start(pool, w, way)
        request = the_request(w)
        store.fail("unreadable", "no commit")
        until(lambda: "is not told of it for now: the database cannot be read" in caplog.text)
        vote(w.gate, request, "lena")
        with pytest.raises(StoreError):
            w.gate.poll(request)
        time.sleep(0.2)
        assert not found.done()
        store.mend()
        assert isinstance(found.result(30), Ok)
        assert caplog.text.count("is not told of it for now") == 1
        drain(w.gate)
        assert_whole(w.gate)


@ways
def test_a_store_that_cannot_be_read_to_the_end_costs_the_wait_and_not_the_hold(
    monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor, way: Way
) -> None:
    with faulty_world(monkeypatch) as (w, store):
        found = start(pool, w, way, wait=0.5)
        store.fail("unreadable", "no commit")
        held = found.result(30)
        assert isinstance(held, Held)
        assert held.waited_s >= 0.5
        store.mend()
        assert w.gate.poll(asked(held)) is RequestState.OPEN
        assert_whole(w.gate)


@ways
def test_a_row_that_cannot_be_read_to_the_end_costs_the_wait_and_not_the_hold(tmp_path: Path, pool: ThreadPoolExecutor, way: Way) -> None:
    with world_on(tmp_path) as w:
        found = start(pool, w, way, wait=0.5)
        asleep(w, 1)
        con = apsw.Connection(str(tmp_path / "licet.db"))
        con.execute("UPDATE requests SET state = 'bogus'")
        con.close()
        assert isinstance(found.result(30), Held)


def test_who_waits_when_no_thread_can_be_started_fails_alone(w: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(w.held(AMOUNT))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            w.gate.wait(request, LONG_S)
    found = pool.submit(w.gate.wait, request, LONG_S)
    asleep(w, 1)
    vote(w.gate, request, "lena")
    assert found.result(30) is RequestState.APPROVED


@ways
def test_a_call_that_cannot_be_recorded_when_it_is_made_again_is_refused(
    monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor, way: Way
) -> None:
    with faulty_world(monkeypatch) as (w, store):
        found = start(pool, w, way)
        request = the_request(w)
        store.fail("down", "intent")
        vote(w.gate, request, "lena")
        w.denied(found.result(30), "log_unavailable")
        assert w.ran == []
        store.mend()
        assert w.gate.poll(request) is RequestState.APPROVED
        assert isinstance(w.adjust(AMOUNT), Ok), "the grant was not used up"
        drain(w.gate)
        assert_whole(w.gate)


# freezes


@ways
def test_a_freeze_wakes_whom_it_stops_and_nobody_else(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    found = start(pool, w, way)
    other = pool.submit(suspend, w)
    asleep(w, 2)
    w.gate.freeze("tool", "billing.adjust", reason="the till is short")
    w.denied(found.result(30), "frozen", "the till is short")
    asleep(w, 1)
    assert not other.done()
    assert w.ran == []
    w.gate.freeze("agent", "support-bot", reason="it has gone astray")
    w.denied(other.result(30), "frozen", "it has gone astray")
    assert {shown.request.state for shown in w.gate.approvals.all()} == {RequestState.OPEN}, "a freeze decides no request"


def test_who_waits_for_a_request_alone_is_not_told_of_freezes(w: World, pool: ThreadPoolExecutor) -> None:
    request = asked(w.held(AMOUNT))
    found = pool.submit(w.gate.wait, request, 0.5)
    asleep(w)
    w.gate.freeze("all", reason="stop")
    assert found.result(30) is RequestState.OPEN


def suspend(w: World) -> Result:
    with w.alice():
        return w.gate.call("account.suspend", {"customer_id": "C-1"}, wait=LONG_S)
