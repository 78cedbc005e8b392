"""Where a request stands can be asked, and waited for, without making the call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from licet.errors import GateClosed
from licet.gate.results import Ok
from licet.model import RequestId, RequestState
from licet.store.versions import RequestStatus
from licet.testing import vote
from tests.gate.asleep import (
    LONG_S,
    Way,
    asleep,
    kinds,
    ways,
)
from tests.gate.waiting import AMOUNT, asked
from tests.world import World, world


@pytest.fixture
def w(kept: World) -> World:
    return kept


def test_where_a_request_stands_can_be_asked_without_a_record(w: World) -> None:
    held = w.held(AMOUNT)
    before = kinds(w)
    assert w.gate.poll(asked(held)) is RequestState.OPEN
    w.clock.advance(timedelta(minutes=15))
    assert w.gate.poll(asked(held)) is RequestState.EXPIRED
    assert w.gate.store.get_request(asked(held)).state is RequestState.OPEN, "nobody has moved it"
    assert kinds(w) == before
    other = w.held(AMOUNT + 1)
    vote(w.gate, other.request, "lena")
    assert w.gate.poll(asked(other)) is RequestState.APPROVED
    assert isinstance(w.adjust(AMOUNT + 1), Ok)
    assert w.gate.poll(asked(other)) is RequestState.CONSUMED


@pytest.mark.parametrize("request_", ["", "nobody's", "\ud800"])
def test_a_request_that_is_not_there_is_said_to_be(w: World, request_: str) -> None:
    unknown = RequestId(request_)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: w.gate.poll(unknown),
        lambda: w.gate.wait(unknown, 10),
        lambda: asyncio.run(w.gate.await_decision(unknown, 10)),
    )
    for ask in attempts:
        with pytest.raises(KeyError, match="no request"):
            ask()


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (lambda w, request: vote(w.gate, request, "lena"), RequestState.APPROVED),
        (lambda w, request: vote(w.gate, request, "lena", verdict="reject"), RequestState.REJECTED),
        (lambda w, request: w.gate.approvals.withdraw(request, "alice"), RequestState.WITHDRAWN),
        (lambda w, _: w.clock.advance(900), RequestState.EXPIRED),
    ],
    ids=["approved", "rejected", "withdrawn", "expired"],
)
@ways
def test_a_request_can_be_waited_for(
    w: World, pool: ThreadPoolExecutor, way: Way, act: Callable[[World, RequestId], object], state: RequestState
) -> None:
    request = asked(w.held(AMOUNT))

    def wait() -> RequestState:
        return w.gate.wait(request, LONG_S) if way == "thread" else asyncio.run(w.gate.await_decision(request, LONG_S))

    found = pool.submit(wait)
    asleep(w)
    act(w, request)
    assert found.result(30) is state
    assert wait() is state, "what has ended is not waited for"
    assert w.ran == []


@ways
def test_a_request_that_stays_open_is_waited_for_so_long_and_no_longer(w: World, way: Way) -> None:
    request = asked(w.held(AMOUNT))
    for limit_s in (0, 0.2):
        found = w.gate.wait(request, limit_s) if way == "thread" else asyncio.run(w.gate.await_decision(request, limit_s))
        assert found is RequestState.OPEN
    with pytest.raises(ValueError, match="`wait` is"):
        w.gate.wait(request, -1)


@ways
def test_who_waits_for_a_request_is_told_that_the_gate_was_closed(pool: ThreadPoolExecutor, way: Way) -> None:
    with world() as w:
        request = asked(w.held(AMOUNT))

        def wait() -> RequestState:
            return w.gate.wait(request, LONG_S) if way == "thread" else asyncio.run(w.gate.await_decision(request, LONG_S))

        found = pool.submit(wait)
        asleep(w)
        w.gate.close()
        with pytest.raises(GateClosed, match="was closed while"):
            found.result(30)


def test_a_store_over_a_network_is_never_asked_on_the_event_loop(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    request, store, on_loop = asked(w.held(AMOUNT)), w.gate.store, list[bool]()
    states_of = store.states_of

    def watched(requests: Sequence[RequestId]) -> Mapping[RequestId, RequestStatus]:
        if threading.current_thread().name != "licet-waiting":
            on_loop.append(threading.current_thread() is threading.main_thread())
        return states_of(requests)

    monkeypatch.setattr(type(store), "is_remote", True)
    monkeypatch.setattr(store, "states_of", watched)
    assert asyncio.run(w.gate.await_decision(request, 0.01)) is RequestState.OPEN
    assert on_loop == [False, False, False]
