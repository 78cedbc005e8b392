"""A caller that waits for people sees what they decide, and then makes the same call again."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet import CallDenied, CallHeld, Effect, Gate
from licet.config import loads
from licet.errors import GateClosed, StoreError
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.gate.waiting import LONGEST_WAIT_S
from licet.identity.directory import Directory
from licet.model import RequestId, RequestState
from licet.testing import vote
from tests.gate.asleep import LONG_S, WAYS, Way, adjust, asleep, nobody_waits, start, the_request, until, waiting_of
from tests.gate.faulty import drain, faulty_world
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, RUN, asked
from tests.world import CONFIG, POLICIES, World, populate, world, world_on

ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(params=["memory", "file"])
def w(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with world() if request.param == "memory" else world_on(tmp_path) as made:
        yield made
        nobody_waits(made)
        assert_whole(made.gate)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def kinds(w: World) -> list[str]:
    """The kinds of the records, without those of previews."""
    return [kind for kind in w.kinds() if kind != "call"]


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


# what is tried again


WITH_LEAD = """
@id("{tool}-needs-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"{tool}", resource);
"""


def reload(w: World, policies: str) -> None:
    """These policies are in force from now on."""
    for file in w.gate.settings.policies.glob("*.cedar"):
        file.write_text(policies)
    house = w.gate._house
    if house is not None:
        house._revision = -1  # as if something had been registered: everything is put into force anew
    w.gate.seal()


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
    assert kinds(w) == ["hold", "vote", "hold", "vote", "intent", "outcome"]


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


def test_what_is_registered_while_somebody_waits_is_no_obstacle(w: World, pool: ThreadPoolExecutor) -> None:
    found = start(pool, w, "thread")

    @w.gate.tool("odd.new", access="read")
    def new() -> int:
        return 1

    vote(w.gate, the_request(w), "lena")
    assert isinstance(found.result(30), Ok)


# many callers


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


# requests without a call


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
