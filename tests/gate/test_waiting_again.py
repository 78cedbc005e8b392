"""What is made again after a wait is the same call, decided afresh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from licet import CallDenied, CallHeld, Effect
from licet.gate.pipeline import govern
from licet.gate.results import Held, Ok, Result
from licet.gate.steps import FindRequest, Step
from licet.gate.sync_driver import SyncDriver
from licet.identity.directory import Directory
from licet.model import RequestId, RequestState
from licet.testing import vote
from tests.gate.asleep import (
    LONG_S,
    WITH_LEAD,
    Way,
    asleep,
    kinds,
    reload,
    start,
    the_request,
    until,
    ways,
)
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, RUN
from tests.world import POLICIES, World, world_on


@pytest.fixture
def w(kept: World) -> World:
    return kept


@pytest.fixture
def books(w: World) -> World:
    """Tools that take a list: a function, an asynchronous one, and a method."""

    @w.gate.tool("book.now", access="write", touches={"access"})
    def now(lines: list[str], at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> int:
        w.ran.append(("book.now", {"lines": lines, "at": at}))
        return len(lines)

    @w.gate.tool("book.later", access="write", touches={"access"})
    async def later(lines: list[str]) -> int:
        w.ran.append(("book.later", {"lines": lines}))
        await asyncio.sleep(0)
        return len(lines)

    class Book:
        def __init__(self, name: str) -> None:
            self.name = name

        @w.gate.tool("book.method", access="write", touches={"access"})
        def method(self, lines: list[str]) -> str:
            w.ran.append(("book.method", {"lines": lines}))
            return self.name

    w.tools = {"book.now": now, "book.later": later, "book.method": Book("ours").method}  # type: ignore[attr-defined]
    reload(w, POLICIES + "".join(WITH_LEAD.format(tool=tool) for tool in ("book.now", "book.later", "book.method")))
    return w


def directly(w: World, tool: str, lines: list[str], wait: float = LONG_S) -> Any:
    async def main(call: Callable[[list[str]], Any]) -> Any:
        return await call(lines)

    with w.alice(wait=wait):
        call = w.tools[tool]  # type: ignore[attr-defined]
        return asyncio.run(main(call)) if tool == "book.later" else call(lines)


@pytest.mark.parametrize(("tool", "value"), [("book.now", 2), ("book.later", 2), ("book.method", "ours")])
def test_a_decorated_function_waits_and_returns_its_value(books: World, pool: ThreadPoolExecutor, tool: str, value: Any) -> None:
    lines = ["one", "two"]
    found = pool.submit(directly, books, tool, lines)
    asleep(books)
    lines.append("three")  # what the caller changes meanwhile was not decided on
    vote(books.gate, the_request(books), "lena")
    assert found.result(30) == value
    assert [(name, arguments["lines"]) for name, arguments in books.ran] == [(tool, ["one", "two"])]


@pytest.mark.parametrize("tool", ["book.now", "book.later", "book.method"])
def test_a_decorated_function_that_waited_raises_what_was_decided(books: World, pool: ThreadPoolExecutor, tool: str) -> None:
    found = pool.submit(directly, books, tool, ["one"])
    asleep(books)
    vote(books.gate, the_request(books), "lena", verdict="reject")
    with pytest.raises(CallDenied, match="`lena` rejected exactly this call"):
        found.result(30)
    with pytest.raises(CallHeld, match="billing-leads"):
        directly(books, tool, ["two"], wait=0.1)
    assert books.ran == []


@ways
def test_arguments_are_those_that_were_read_first(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    arguments = {"customer_id": "C-1", "amount_cents": AMOUNT}

    def propose() -> Result:
        async def main() -> Result:
            return await w.gate.acall("billing.adjust", arguments, wait=LONG_S)

        with w.alice():
            return asyncio.run(main()) if way == "task" else w.gate.call("billing.adjust", arguments, wait=LONG_S)

    w.gate.seal()
    found = pool.submit(propose)
    asleep(w)
    arguments["amount_cents"] = 1
    vote(w.gate, the_request(w), "lena")
    assert isinstance(found.result(30), Ok)
    assert w.ran == [RUN]


@ways
def test_reason_session_and_caller_are_those_of_the_first_try(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    def propose() -> Result:
        async def main() -> Result:
            return await w.gate.acall("billing.adjust", RUN[1], wait=LONG_S, reason="the customer was charged twice")

        with w.alice(session="s-1", workflow="refunds"):
            return (
                asyncio.run(main())
                if way == "task"
                else w.gate.call("billing.adjust", RUN[1], wait=LONG_S, reason="the customer was charged twice")
            )

    w.gate.seal()
    found = pool.submit(propose)
    asleep(w)
    vote(w.gate, the_request(w), "lena")
    assert isinstance(found.result(30), Ok)
    hold, _, intent, _ = [record for record in w.records() if record.kind != "call"]
    assert intent.payload.reason == hold.payload.reason == "the customer was charged twice"
    assert intent.envelope.actor == hold.envelope.actor
    assert intent.envelope.trace == hold.envelope.trace
    assert intent.envelope.actor is not None
    assert intent.envelope.actor.session == "s-1"


@ways
def test_what_changed_meanwhile_is_held_anew_and_waited_for(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    found = start(pool, w, way)
    first = the_request(w)
    w.customers["C-1"]["balance"] = 7
    vote(w.gate, first, "lena")
    until(lambda: [shown.request.id for shown in w.gate.approvals.waiting()] != [first])
    second = the_request(w)
    asleep(w)
    assert w.gate.poll(first) is RequestState.SUPERSEDED
    assert w.ran == []
    vote(w.gate, second, "lena")
    result = found.result(30)
    assert isinstance(result, Ok), result
    assert w.customers["C-1"]["balance"] == 7 + AMOUNT
    assert kinds(w) == ["hold", "vote", "expiry", "hold", "vote", "intent", "outcome"]


@ways
def test_what_was_held_anew_and_not_decided_says_what_changed(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    found = start(pool, w, way, wait=2.0)
    first = the_request(w)
    w.customers["C-1"]["balance"] = 7
    vote(w.gate, first, "lena")
    held = found.result(30)
    assert isinstance(held, Held)
    assert held.request != first
    assert "held anew, since the call would now change `balance`" in held.decision.message
    assert held.waited_s >= 2


@ways
def test_a_policy_that_was_tightened_meanwhile_decides(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    found = start(pool, w, way)
    reload(w, POLICIES + '@id("stop")\n@reason("not today")\nforbid (principal, action == Action::"billing.adjust", resource);')
    vote(w.gate, the_request(w), "lena")
    w.denied(found.result(30), "forbidden", "not today")
    assert w.ran == []


@ways
def test_a_voter_who_left_meanwhile_does_not_count(w: World, pool: ThreadPoolExecutor, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gate.waiting.POLL_S", 0.3)  # long enough for the voter to leave before anybody is woken
    found = start(pool, w, way)
    first = the_request(w)
    vote(w.gate, first, "lena")
    house = w.gate._house
    assert house is not None
    content = msgspec.json.decode(house.scene.directory.content)
    content["groups"]["billing-leads"]["members"] = ["alice", "gina", "carl"]
    house._scene = msgspec.structs.replace(house.scene, directory=Directory.from_content(msgspec.json.encode(content)))
    until(lambda: w.gate.poll(first) is RequestState.SUPERSEDED)
    asleep(w)
    assert w.ran == []
    vote(w.gate, the_request(w), "carl")
    assert isinstance(found.result(30), Ok)


class Till(msgspec.Struct, frozen=True):
    """What a resolver says of `Till::"T-1"`."""

    tenant: str


@ways
def test_a_vote_taken_back_just_then_leaves_the_caller_waiting(w: World, pool: ThreadPoolExecutor, way: Way) -> None:
    taken_back: list[RequestId] = []

    @w.gate.resource("Till")
    def till(_identifier: str) -> Till:
        shown = w.gate.approvals.waiting()
        if shown and not taken_back:  # the call is made again: its approval was seen, and goes away while the target is looked up
            taken_back.append(shown[0].request.id)
            w.gate.approvals.take_back(shown[0].request.id, "lena")
        return Till("acme")

    @w.gate.tool("till.pay", access="write", touches={"money"}, targets="Till::T-1")
    def pay() -> str:
        w.ran.append(("till.pay", {}))
        return "paid"

    reload(
        w,
        POLICIES
        + '@id("pays")\npermit (principal in Role::"billing", action == Action::"till.pay", resource);'
        + WITH_LEAD.format(tool="till.pay"),
    )

    def propose() -> Result:
        async def main() -> Result:
            return await w.gate.acall("till.pay", {}, wait=LONG_S)

        with w.alice():
            return asyncio.run(main()) if way == "task" else w.gate.call("till.pay", {}, wait=LONG_S)

    found = pool.submit(propose)
    asleep(w)
    request = the_request(w)
    vote(w.gate, request, "lena")
    until(lambda: bool(taken_back))
    asleep(w)
    assert w.gate.poll(request) is RequestState.OPEN
    assert w.ran == []
    vote(w.gate, request, "lena")
    assert isinstance(found.result(30), Ok)
    assert w.ran == [("till.pay", {})]
    assert len(w.gate.approvals.all()) == 1


class Overtaken(SyncDriver):
    """A driver between whose look at the key and look at the request the same call is made elsewhere."""

    meanwhile: Callable[[], object]
    is_overtaken = False

    def _perform(self, step: Step) -> Any:
        if isinstance(step, FindRequest) and not self.is_overtaken:
            self.is_overtaken = True
            self.meanwhile()
        return super()._perform(step)


def test_an_approval_used_just_then_by_the_same_call_with_the_same_key_gives_its_result(w: World) -> None:
    with w.alice():
        held = w.gate.call("billing.adjust", RUN[1], idempotency_key="k")
        draft = w.gate._draft("billing.adjust", RUN[1], "k", None)
    assert isinstance(held, Held)
    vote(w.gate, held.request, "lena")
    draft.awaited = w.gate.store.get_request(RequestId(str(held.request)))
    house = w.gate._opened()
    driver = Overtaken(house.services, house.portal)
    driver.meanwhile = lambda: w.adjust(AMOUNT, idempotency_key="k")
    result = driver.run(govern(draft, house.house))
    assert isinstance(result, Ok), result
    assert (result.value, result.replayed) == ("adjusted", True)
    assert w.ran == [RUN]


def test_what_is_registered_while_somebody_waits_is_no_obstacle(w: World, pool: ThreadPoolExecutor) -> None:
    found = start(pool, w, "thread")

    @w.gate.tool("odd.new", access="read")
    def new() -> int:
        return 1

    vote(w.gate, the_request(w), "lena")
    assert isinstance(found.result(30), Ok)


def test_an_undecided_preview_runs_once_for_each_try_and_none_while_waiting(w: World, pool: ThreadPoolExecutor) -> None:
    previews = 0
    real = w.gate.registry.previews["billing.adjust"]

    @w.gate.tool("odd.seen", access="write", touches={"access"})
    def seen() -> str:
        return "done"

    @seen.preview
    def preview() -> list[Effect]:
        nonlocal previews
        previews += 1
        return [Effect(target="x", field="y", before=0, after=1)]

    assert real is not None
    reload(w, POLICIES + WITH_LEAD.format(tool="odd.seen"))

    def propose() -> Result:
        with w.alice():
            return w.gate.call("odd.seen", {}, wait=LONG_S)

    found = pool.submit(propose)
    asleep(w)
    time.sleep(0.2)
    assert previews == 1
    vote(w.gate, the_request(w), "lena")
    assert isinstance(found.result(30), Ok)
    assert previews == 2


@ways
def test_an_approval_written_into_the_row_wakes_the_caller_and_runs_nothing(tmp_path: Path, pool: ThreadPoolExecutor, way: Way) -> None:
    with world_on(tmp_path) as w:
        found = start(pool, w, way)
        first = the_request(w)
        con = apsw.Connection(str(w.gate.settings.store_path))
        con.execute("UPDATE requests SET state = 'approved' WHERE id = ?", (first,))
        con.close()
        until(lambda: w.gate.poll(first) is RequestState.SUPERSEDED)
        asleep(w)
        assert w.ran == []
        vote(w.gate, the_request(w), "lena")
        assert isinstance(found.result(30), Ok)
        assert w.ran == [RUN]
        assert_whole(w.gate)
