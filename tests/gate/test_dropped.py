"""Calls that nobody carries to their end: interrupted between two steps, or dropped with their event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from licet.ledger.writer import Ticket
from tests.gate.faulty import drain
from tests.world import World


def drained(w: World) -> list[tuple[str, str]]:
    """How each record says that its call ended, once the clerk is done."""
    drain(w.gate)
    return [(record.kind, record.envelope.outcome.status) for record in w.records() if record.envelope.outcome is not None]


@pytest.mark.parametrize("access", ["sync", "read"])
def test_a_call_that_is_interrupted_between_its_steps_is_recorded_as_unknown(
    tools: World, monkeypatch: pytest.MonkeyPatch, access: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    tools.gate.seal()
    with monkeypatch.context() as patch:
        patch.setattr("licet.gate.pipeline.outcome_of", interrupt)
        with tools.alice(), pytest.raises(KeyboardInterrupt):
            tools.gate.call("odd.sync" if access == "sync" else "odd.now", {})
    assert drained(tools) == [("outcome" if access == "sync" else "call", "unknown")]
    last = tools.records()[-1]
    assert last.envelope.outcome is not None
    assert last.envelope.outcome.code == "interrupted"
    assert last.payload.message == "the call was interrupted, and nobody saw how it ended"
    assert tools.gate.store.open_calls() == ()


def test_a_call_whose_event_loop_is_gone_is_recorded_as_unknown(w: World) -> None:
    @w.gate.tool("odd.forgotten", access="write", touches={"access"})
    async def forgotten() -> None:
        w.started.set()
        await asyncio.Event().wait()

    async def begin() -> None:
        with w.alice():
            kept.append(asyncio.ensure_future(w.gate.acall("odd.forgotten", {})))
        assert await asyncio.to_thread(w.started.wait, 20)

    kept: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()
    kept.clear()
    gc.collect()
    assert drained(w) == [("outcome", "unknown")]
    assert w.gate.store.open_calls() == ()


def test_a_call_that_is_dropped_while_its_intent_is_written_ran_nothing(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: Ticket) -> Any:
        await asyncio.Event().wait()

    async def begin() -> None:
        with w.alice():
            kept.append(asyncio.ensure_future(w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": 5})))
        await asyncio.sleep(0)
        for _ in range(1_000):
            if w.kinds() == ["intent"]:
                return
            await asyncio.sleep(0.005)

    w.gate.seal()
    kept: list[Any] = []
    loop = asyncio.new_event_loop()
    with monkeypatch.context() as patch:
        patch.setattr(Ticket, "wait_async", never)
        loop.run_until_complete(begin())
        loop.close()
        kept.clear()
        gc.collect()
    assert drained(w) == [("outcome", "not_executed")]
    assert w.ran == []


def test_an_entry_that_can_never_be_written_stands_in_nobody_s_way(w: World, caplog: pytest.LogCaptureFixture) -> None:
    w.gate.seal()
    house = w.gate._house
    assert house is not None

    def broken() -> None:
        raise LookupError

    done = threading.Event()
    house._clerk._add(broken)
    house._clerk._add(done.set)
    assert done.wait(20)
    assert "given up" in caplog.text
