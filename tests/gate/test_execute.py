"""Step 7 and after: whatever a tool does, its end is recorded, and the result leaves only then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from licet.gate import conclude
from licet.gate.conclude import Latecomer
from licet.gate.results import Failed, Ok, Result
from licet.gate.steps import Ran
from licet.gate.sync_driver import Portal
from licet.testing import Read
from tests.gate.faulty import drain
from tests.world import World


class OwnEnd(BaseException):
    """Neither an `Exception` nor one of the interpreter's own."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Deadly(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)


ORDINARY = [
    ValueError("bad"),
    StopIteration(3),
    StopAsyncIteration(),
    TimeoutError("mine"),
    MemoryError(),
    RecursionError(),
    Mute(),
    Deadly(),
]
CONTROL = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError("mine"), OwnEnd("x")]

Door = Callable[[World, str], Result]


def sync_of_sync(w: World, kind: str) -> Result:
    return w.gate.call(f"odd.{kind}", {})


def async_of_sync(w: World, kind: str) -> Result:
    return asyncio.run(w.gate.acall(f"odd.{kind}", {}))


def ended(w: World) -> Read:
    """The outcome that stands last."""
    record = w.records()[-1]
    assert record.kind in {"outcome", "call"}
    return record


@pytest.mark.parametrize("door", [sync_of_sync, async_of_sync])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_ordinary_exception_is_a_failure_with_its_error(tools: World, door: Door, kind: str) -> None:
    for error in ORDINARY:
        tools.raises = error
        with tools.alice():
            result = door(tools, kind)
        assert isinstance(result, Failed)
        # A coroutine cannot end by raising StopIteration: Python makes a RuntimeError of it (PEP 479), in any framework.
        swapped = kind == "async" and isinstance(error, StopIteration)
        code = "RuntimeError" if swapped else type(error).__name__
        assert (result.code, result.executed, result.retry) == (code, True, False)
        assert result.error is error or swapped
        record = ended(tools)
        assert record.receipt == result.receipt
        assert record.envelope.outcome is not None
        assert (record.envelope.outcome.status, record.envelope.outcome.code) == ("error", code)
        assert record.payload.message == result.message
    assert tools.kinds() == ["intent", "outcome"] * len(ORDINARY)
    assert tools.gate.store.open_calls() == ()
    assert len(tools.ran) == len(ORDINARY)


@pytest.mark.parametrize("door", [sync_of_sync, async_of_sync])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_control_exception_is_recorded_and_passes_on(tools: World, door: Door, kind: str) -> None:
    for error in CONTROL:
        tools.raises = error
        with tools.alice(), pytest.raises(type(error)):
            door(tools, kind)
        outcome = ended(tools).envelope.outcome
        assert outcome is not None
        cancelled = kind == "async" and isinstance(error, asyncio.CancelledError)
        assert (outcome.status, outcome.code) == ("unknown" if cancelled else "error", type(error).__name__)
    assert tools.kinds() == ["intent", "outcome"] * len(CONTROL)
    assert tools.gate.store.open_calls() == ()


@pytest.mark.parametrize("error", [Mute(), Deadly()], ids=["mute", "deadly"])
def test_an_exception_that_cannot_be_shown_says_so(tools: World, error: Exception) -> None:
    tools.raises = error
    with tools.alice():
        result = tools.gate.call("odd.sync", {})
    assert isinstance(result, Failed)
    assert result.message == "(its message cannot be shown)"


def test_a_long_message_is_cut_and_stands_in_the_payload_only(w: World) -> None:
    w.raises = ValueError("secret" * 1_000)
    with w.alice():
        result = w.gate.call("odd.now", {})
    assert isinstance(result, Failed)
    assert len(result.message) == conclude.MESSAGE_LIMIT
    stored = list(w.gate.store.records("acme"))[-1]
    assert b"secret" not in stored.envelope
    assert b"secret" in (stored.payload or b"")


def test_a_task_of_a_tool_that_ends_the_process_does_not_end_the_portal(w: World) -> None:
    @w.gate.tool("odd.child", access="read")
    async def child(code: int) -> int:
        async def leave() -> None:
            raise SystemExit(code)

        await asyncio.create_task(leave())
        return 0

    with w.alice():
        for code in (1, 2):
            with pytest.raises(SystemExit) as raised:
                w.gate.call("odd.child", {"code": code})
            assert raised.value.code == code
    assert [record.envelope.outcome.code for record in w.records() if record.envelope.outcome] == ["SystemExit"] * 2


def test_closing_the_portal_cancels_what_runs_there() -> None:
    portal = Portal()
    started = threading.Event()

    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    future = portal.submit(endless())
    assert started.wait(10)
    portal.close()
    with pytest.raises(BaseException) as raised:  # concurrent.futures has a CancelledError of its own
        future.result(10)
    assert type(raised.value).__name__ == "CancelledError"
    portal.close()


@pytest.mark.parametrize("kind", ["now", "awaited"])
@pytest.mark.parametrize("awaited", [False, True])
def test_a_tool_that_takes_too_long_is_a_timeout_whose_effect_is_unknown(w: World, kind: str, *, awaited: bool) -> None:
    with w.alice():
        result = asyncio.run(w.gate.acall(f"slow.{kind}", {})) if awaited else w.gate.call(f"slow.{kind}", {})
    assert isinstance(result, Failed)
    assert (result.code, result.executed, result.retry, result.error) == ("timeout", True, False, None)
    assert result.message == "the tool did not end within its time; what it did is not known"
    outcome = w.records()[0].envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("timeout", "timeout")
    w.release.set()


@pytest.fixture
def slow(w: World) -> Iterator[World]:
    @w.gate.tool("slow.write", access="write", touches={"access"}, timeout_s=0.05)
    def slow_write() -> str:
        w.started.set()
        w.release.wait(30)
        if w.raises is not None:
            raise w.raises
        return "late"

    yield w
    w.release.set()
    drain(w.gate)


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("access", ["write", "now"])
def test_the_late_end_of_a_tool_is_recorded_and_linked(slow: World, access: str, *, awaited: bool) -> None:
    tool = f"slow.{access}"

    async def main() -> Result:
        return await slow.gate.acall(tool, {})

    with slow.alice():
        result = asyncio.run(main()) if awaited else slow.gate.call(tool, {})
    assert isinstance(result, Failed)
    assert result.code == "timeout"
    slow.release.set()
    wait_for_kinds(slow, "outcome", 2 if access == "write" else 1)
    ends = [record for record in slow.records() if record.envelope.outcome is not None]
    assert [record.envelope.outcome.status for record in ends if record.envelope.outcome] == ["timeout", "ok"]
    assert {record.envelope.call for record in ends} == {result.call}
    assert ends[1].payload.detail is not None
    assert ends[1].payload.detail["late"] is True
    if access == "write":
        assert bytes(ends[1].payload.result) == b'"late"'
    else:
        assert ends[1].payload.detail["result_bytes"] == len(b'"late"')


def wait_for_kinds(w: World, kind: str, count: int) -> None:
    """Until that many records of a kind are there; the clerk writes them from its own thread."""
    for _ in range(2_000):
        if w.kinds().count(kind) >= count:
            return
        threading.Event().wait(0.005)
    raise AssertionError(w.kinds())


def test_a_late_failure_is_recorded_as_one(slow: World) -> None:
    slow.raises = SystemExit(4)
    with slow.alice():
        assert isinstance(slow.gate.call("slow.write", {}), Failed)
    slow.release.set()
    wait_for_kinds(slow, "outcome", 2)
    outcome = slow.records()[-1].envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("error", "SystemExit")


def test_a_late_end_waits_for_the_end_that_was_recorded_in_its_place() -> None:
    told: list[Ran] = []
    early, late = Ran(status="ok", duration_us=1), Ran(status="ok", duration_us=2)
    first = Latecomer(told.append)
    first(early)
    assert told == []
    first.admit()
    assert told == [early]
    second = Latecomer(told.append)
    second.admit()
    assert told == [early]
    second(late)
    assert told == [early, late]


def test_a_tool_for_which_there_was_no_thread_in_time_was_not_executed(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gate.workers.WORKERS_LIMIT", 1)
    ran = []

    @w.gate.tool("busy.long", access="write", touches={"access"}, timeout_s=30)
    def long() -> None:
        w.started.set()
        w.release.wait(30)

    @w.gate.tool("busy.short", access="write", touches={"access"}, timeout_s=0.05)
    def short() -> None:
        ran.append(1)

    def call() -> Result:
        with w.alice():
            return w.gate.call("busy.long", {})

    w.gate.seal()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(call)
        assert w.started.wait(10)
        with w.alice():
            for result in (w.gate.call("busy.short", {}), asyncio.run(w.gate.acall("busy.short", {}))):
                assert isinstance(result, Failed)
                assert (result.code, result.executed, result.retry) == ("not_executed", False, True)
        w.release.set()
        assert isinstance(running.result(), Ok)
    assert ran == []


def test_a_tool_of_the_catalog_without_a_function_is_denied(w: World) -> None:
    config_tool = w.gate.registry.catalog.find_tool("odd.now")
    assert config_tool is not None
    w.gate.seal()
    house = w.gate._house
    assert house is not None
    scene = house.scene
    house._scene = msgspec.structs.replace(scene, implementations={})
    with w.alice():
        w.denied(w.gate.call("odd.now", {}), "no_implementation", "`odd.now`", "no function for it")
    assert w.ran == []
    assert w.kinds() == ["denial"]


def test_asynchronous_tools_can_call_each_other_from_synchronous_code_to_any_depth(w: World) -> None:
    @w.gate.tool("deep.call", access="read")
    async def deep(depth: int) -> int:
        if depth == 0:
            return 0
        result = w.gate.call("deep.call", {"depth": depth - 1})
        assert isinstance(result, Ok)
        return 1 + int(result.value)

    def run() -> Result:
        with w.alice():
            return w.gate.call("deep.call", {"depth": 3})

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run).result(30)
    assert isinstance(result, Ok)
    assert result.value == 3
    assert w.kinds() == ["call"] * 4


def test_arguments_that_are_changed_while_the_tool_runs_change_neither_the_call_nor_its_record(w: World) -> None:
    sent: dict[str, Any] = {"names": ["a"], "more": {"x": 1}}
    seen: list[Any] = []

    @w.gate.tool("odd.mutable", access="write", touches={"access"})
    def mutable(names: list[str], more: dict[str, int]) -> None:
        sent["names"].append("changed")
        sent["more"]["x"] = 2
        seen.append((list(names), dict(more)))
        names.append("mine")

    with w.alice():
        assert isinstance(w.gate.call("odd.mutable", sent), Ok)
    assert seen == [(["a"], {"x": 1})]
    assert bytes(w.records()[0].payload.arguments) == b'{"more":{"x":1},"names":["a"]}'
