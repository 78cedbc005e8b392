"""Cancelled or interrupted at any moment: what happened is recorded, and the cancellation goes on to whoever sent it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import pytest

from licet.gate.results import Ok
from licet.ledger.writer import Ticket
from licet.testing import Read
from tests.gate.faulty import drain
from tests.world import CONFIG, World, world

READ = ("crm.lookup", {"customer_id": "C-1"})


async def cancelled_while(act: Awaitable[Any], ready: Callable[[], Awaitable[Any]]) -> None:
    """Start it, cancel it once it is ready, and see that the cancellation comes out."""
    task = asyncio.ensure_future(act)
    await ready()
    task.cancel("stop")
    with pytest.raises(asyncio.CancelledError, match="stop"):
        await task


def last(w: World) -> Read:
    return w.records()[-1]


@pytest.mark.parametrize("is_async", [False, True])
def test_cancelled_while_a_target_is_resolved_nothing_runs_and_that_it_was_asked_is_recorded(w: World, *, is_async: bool) -> None:
    entered = threading.Event()

    async def find_awaited(identifier: str) -> Any:
        entered.set()
        await asyncio.Event().wait()

    def find(identifier: str) -> Any:
        entered.set()
        w.release.wait(30)

    resource = w.gate.registry.resolvers["Customer"].resource
    resource.function = find_awaited if is_async else find  # type: ignore[misc]
    resource.is_async = is_async  # type: ignore[misc]

    async def main() -> None:
        with w.alice():
            await cancelled_while(w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": 5}), lambda: until(entered))

    asyncio.run(main())
    w.release.set()
    (record,) = w.records()
    assert record.envelope.decision is not None
    assert (record.kind, record.envelope.decision.code) == ("denial", "cancelled")
    assert record.payload.message == "the call was cancelled before it was decided"
    assert w.ran == []


async def until(event: threading.Event) -> None:
    """An event of another thread, awaited."""
    assert await asyncio.to_thread(event.wait, 20)


class SlowAppend:
    """Holds the writer's answer to one kind of record back, from the event loop's point of view, until `release`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        self.waiting = asyncio.Event()
        self.release = asyncio.Event()
        original = Ticket.wait_async

        async def wait_async(ticket: Ticket) -> Any:
            if any(record.kind == kind for record in ticket.batch.records):
                self.waiting.set()
                await self.release.wait()
            return await original(ticket)

        monkeypatch.setattr(Ticket, "wait_async", wait_async)


@pytest.mark.parametrize("tool", ["billing.adjust", "billing.refund"])
def test_cancelled_while_the_intent_is_written_nothing_runs_and_the_intent_is_closed(
    w: World, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    async def main() -> None:
        slow = SlowAppend(monkeypatch, "intent")
        with w.alice():
            task = asyncio.ensure_future(w.gate.acall(tool, {"customer_id": "C-1", "amount_cents": 5}))
        await slow.waiting.wait()
        task.cancel("stop")
        await asyncio.sleep(0)
        assert not task.done(), "a durable step is not abandoned"
        slow.release.set()
        with pytest.raises(asyncio.CancelledError, match="stop"):
            await task

    asyncio.run(main())
    assert w.ran == []
    assert w.kinds() == ["intent", "outcome"]
    outcome = last(w).envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("not_executed", "CancelledError")
    assert w.gate.store.open_calls() == ()


def test_cancelled_while_an_asynchronous_tool_runs_it_is_cancelled_and_its_end_is_unknown(w: World) -> None:
    seen: list[str] = []

    @w.gate.tool("slow.kind", access="write", touches={"access"})
    async def slow() -> None:
        w.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        with w.alice():
            await cancelled_while(w.gate.acall("slow.kind", {}), lambda: until(w.started))

    asyncio.run(main())
    assert seen == ["cancelled"]
    assert w.kinds() == ["intent", "outcome"]
    outcome = last(w).envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("unknown", "CancelledError")


def test_a_tool_that_ends_well_although_it_was_cancelled_is_recorded_as_it_ended(w: World) -> None:
    @w.gate.tool("slow.stubborn", access="write", touches={"access"})
    async def stubborn() -> str:
        w.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    async def main() -> Any:
        with w.alice():
            task = asyncio.ensure_future(w.gate.acall("slow.stubborn", {}))
        await until(w.started)
        task.cancel()
        return await task

    result = asyncio.run(main())
    assert isinstance(result, Ok)
    outcome = last(w).envelope.outcome
    assert outcome is not None
    assert outcome.status == "ok"


@pytest.mark.parametrize("timeout_s", [None, 30.0])
def test_cancelled_while_a_synchronous_tool_runs_it_goes_on_and_its_late_end_is_recorded(w: World, timeout_s: float | None) -> None:
    @w.gate.tool("slow.thread", access="write", touches={"access"}, timeout_s=timeout_s)
    def slow() -> str:
        w.started.set()
        w.release.wait(30)
        return "late"

    async def main() -> None:
        with w.alice():
            await cancelled_while(w.gate.acall("slow.thread", {}), lambda: until(w.started))
        w.release.set()

    asyncio.run(main())
    deadline = time.monotonic() + 20
    while w.kinds() != ["intent", "outcome", "outcome"]:
        assert time.monotonic() < deadline, w.kinds()
        threading.Event().wait(0.005)
    drain(w.gate)
    statuses = [record.envelope.outcome.status for record in w.records() if record.envelope.outcome]
    assert statuses == ["unknown", "ok"]
    assert last(w).payload.detail == {"late": True}


def test_cancelled_while_the_outcome_is_written_it_is_recorded_and_the_cancellation_goes_on(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        slow = SlowAppend(monkeypatch, "outcome")
        with w.alice():
            task = asyncio.ensure_future(w.gate.acall("billing.refund", {"customer_id": "C-1", "amount_cents": 5}))
        await slow.waiting.wait()
        for _ in range(3):
            task.cancel("stop")
            await asyncio.sleep(0)
        assert not task.done()
        slow.release.set()
        with pytest.raises(asyncio.CancelledError, match="stop"):
            await task

    asyncio.run(main())
    assert w.kinds() == ["intent", "outcome"]
    outcome = last(w).envelope.outcome
    assert outcome is not None
    assert outcome.status == "ok"
    assert len(w.ran) == 1


def test_cancelled_while_a_denial_is_written_it_is_recorded(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        slow = SlowAppend(monkeypatch, "denial")
        with w.alice():
            task = asyncio.ensure_future(w.gate.acall("no.such", {}))
        await slow.waiting.wait()
        task.cancel("stop")
        await asyncio.sleep(0)
        slow.release.set()
        with pytest.raises(asyncio.CancelledError, match="stop"):
            await task

    asyncio.run(main())
    assert w.kinds() == ["denial"]


def test_a_deadline_around_a_call_ends_it_with_its_record(w: World) -> None:
    async def main() -> None:
        with w.alice(), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await w.gate.acall("slow.awaited", {})

    asyncio.run(main())
    outcome = last(w).envelope.outcome
    assert outcome is not None
    assert outcome.status == "unknown"


def test_a_task_group_that_fails_cancels_its_calls_and_every_one_is_recorded(w: World) -> None:
    async def main() -> None:
        async def fail() -> None:
            await until(w.started)
            raise LookupError

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(w.gate.acall("slow.awaited", {}))
                group.create_task(fail())

        with w.alice(), pytest.raises(ExceptionGroup):
            await all_of_them()

    asyncio.run(main())
    statuses = [record.envelope.outcome.status for record in w.records() if record.envelope.outcome]
    assert statuses == ["unknown"] * 3


def test_an_interrupt_while_the_intent_is_written_runs_nothing(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, "intent")
    with pytest.raises(KeyboardInterrupt):
        w.adjust()
    assert w.ran == []
    assert w.kinds() == ["intent", "outcome"]
    outcome = last(w).envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("not_executed", "KeyboardInterrupt")


def test_an_interrupt_while_the_outcome_is_written_is_passed_on_afterwards(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, "outcome")
    with pytest.raises(KeyboardInterrupt):
        w.adjust()
    assert len(w.ran) == 1
    outcome = last(w).envelope.outcome
    assert outcome is not None
    assert outcome.status == "ok"


def interrupted(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The first wait for a record of this kind is interrupted, as by Ctrl-C."""
    original = Ticket.wait
    pending = [kind]

    def wait(ticket: Ticket, timeout_s: float | None = None) -> Any:
        if pending and any(record.kind == pending[0] for record in ticket.batch.records):
            pending.clear()
            raise KeyboardInterrupt
        return original(ticket, timeout_s)

    monkeypatch.setattr(Ticket, "wait", wait)


def test_an_interrupt_while_a_tool_runs_in_the_portal_cancels_it(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Future.result
    pending = [1]

    def result(future: Future[Any], timeout: float | None = None) -> Any:
        if pending and threading.current_thread() is threading.main_thread():
            pending.clear()
            assert w.started.wait(20)
            raise KeyboardInterrupt
        return original(future, timeout)

    @w.gate.tool("slow.kind", access="write", touches={"access"})
    async def slow() -> None:
        w.started.set()
        await asyncio.Event().wait()

    w.gate.seal()
    monkeypatch.setattr(Future, "result", result)
    with w.alice(), pytest.raises(KeyboardInterrupt):
        w.gate.call("slow.kind", {})
    assert w.kinds() == ["intent", "outcome"]
    outcome = last(w).envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("unknown", "KeyboardInterrupt")


def test_a_resolver_that_ends_the_process_is_recorded_first_and_one_that_raises_is_a_denial(w: World) -> None:
    def find(identifier: str) -> Any:
        raise w.raises or LookupError

    w.gate.registry.resolvers["Customer"].resource.function = find  # type: ignore[misc]
    for error in (ValueError("secret"), StopIteration(), GeneratorExit(), TimeoutError()):
        w.raises = error
        denied = w.denied(w.adjust(), "target_unresolvable", f"`{type(error).__name__}`")
        assert "secret" not in denied.decision.message
        with w.alice():
            w.denied(asyncio.run(w.gate.acall(*READ)), "target_unresolvable", f"`{type(error).__name__}`")
    for ending in (SystemExit(3), KeyboardInterrupt()):
        w.raises = ending
        with pytest.raises(type(ending)):
            w.adjust()
        decision = last(w).envelope.decision
        assert decision is not None
        assert decision.code == "cancelled"
    assert w.ran == []


def test_a_resolver_that_does_not_answer_is_a_denial_that_says_so() -> None:
    for is_async in (False, True):
        with world(CONFIG + "\n[limits]\nresolver_timeout_s = 0.05\n") as w:

            def find(identifier: str, w: World = w) -> Any:
                w.release.wait(30)

            async def find_awaited(identifier: str) -> Any:
                await asyncio.Event().wait()

            resource = w.gate.registry.resolvers["Customer"].resource
            resource.function = find_awaited if is_async else find  # type: ignore[misc]
            resource.is_async = is_async  # type: ignore[misc]
            w.denied(w.adjust(), "target_unresolvable", 'Customer::"C-1" cannot be resolved: no answer within 0.05 s')
            with w.alice():
                w.denied(asyncio.run(w.gate.acall(*READ)), "target_unresolvable", "no answer within")
            assert w.ran == []
            w.release.set()
