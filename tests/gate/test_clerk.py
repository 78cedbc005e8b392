"""What is counted rather than recorded each time: the same denial, again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from licet.gate import clerk
from licet.gate.results import Denied, Held, Result
from licet.testing import Read
from tests.gate.faulty import faulty_world
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world_on

LIMITED = CONFIG + "\n[limits]\ndenials_per_minute = 3\n"


class Minute:
    """The monotonic clock, as the clerk sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(clerk, "time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _: float) -> None:
        return


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> Minute:
    return Minute(monkeypatch)


@contextmanager
def counted(folder: Path, config: str = LIMITED, policies: str = POLICIES) -> Iterator[World]:
    """A world whose gate is closed at the end, and whose records can be read afterwards through `after`."""
    with world_on(folder, config, policies) as w:
        yield w


def after(folder: Path, kind: str) -> list[Read]:
    with world_on(folder) as w:
        w.gate.seal()
        assert_whole(w.gate)
        return [record for log in ("acme", "operator") for record in w.records(log) if record.kind == kind]


def counts(found: list[Read]) -> list[int | None]:
    return [record.envelope.decision.count for record in found if record.envelope.decision is not None]


def lookup(w: World, customer: str) -> Result:
    with w.alice():
        return w.gate.call("crm.lookup", {"customer_id": customer})


def test_the_same_denial_is_recorded_a_few_times_and_then_counted_in_one_record(tmp_path: Path) -> None:
    with counted(tmp_path) as w:
        results = [lookup(w, f"X-{number}") for number in range(10)]
        for result in results:
            w.denied(result, "target_not_found", "has no Customer")
        assert [result.receipt is not None for result in results if isinstance(result, Denied)] == [True] * 3 + [False] * 7
        assert w.ran == []
    found = after(tmp_path, "denial")
    assert counts(found) == [None, None, None, 7]
    assert found[-1].envelope.decision is not None
    assert found[-1].envelope.decision.code == "target_not_found"
    assert found[-1].envelope.call == results[-1].call, "the last of those that were counted stands for all"


def test_another_tool_caller_or_code_is_counted_by_itself(tmp_path: Path) -> None:
    with counted(tmp_path) as w:
        for _ in range(4):
            lookup(w, "X")
            w.adjust(5, "X")
            w.adjust(1_000_001)
            with w.gate.acting(agent="night-bot"):
                w.gate.call("crm.lookup", {"customer_id": "X"})
    assert counts(after(tmp_path, "denial")) == [None] * 12 + [1] * 4


def test_denials_of_nobody_are_counted_in_the_operator_s_log(tmp_path: Path) -> None:
    with counted(tmp_path) as w:
        for _ in range(5):
            w.denied(w.gate.call("crm.lookup", {}), "no_caller")
    found = after(tmp_path, "denial")
    assert counts(found) == [None, None, None, 2]
    assert {record.envelope.log for record in found} == {"operator"}


def test_holds_that_wait_on_one_request_are_counted_too(tmp_path: Path) -> None:
    with counted(tmp_path) as w:
        requests = {w.held().request for _ in range(8)}
        assert len(requests) == 1
    found = after(tmp_path, "hold")
    # The first opened the request and is always recorded.
    assert counts(found) == [None, None, None, None, 4]
    assert {record.envelope.approval.request for record in found if record.envelope.approval is not None} == requests


def test_holds_without_a_request_are_counted_as_holds(tmp_path: Path) -> None:
    policies = (
        POLICIES
        + '@id("look") @preview_only forbid (principal, action == Action::"billing.refund", resource) when { context.input.amount_cents > 100 };'
    )
    with counted(tmp_path, policies=policies) as w, w.alice():
        for _ in range(5):
            assert isinstance(w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 101}), Held)
    assert counts(after(tmp_path, "hold")) == [None, None, None, 2]


def test_when_the_minute_is_over_the_count_is_written_and_recording_begins_anew(
    tmp_path: Path, minute: Minute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clerk, "TICK_S", 0.005)
    with counted(tmp_path) as w:
        for _ in range(5):
            lookup(w, "X")
        assert counts(w.records()) == [None] * 3
        minute.now += 59
        lookup(w, "X")
        assert counts(w.records()) == [None] * 3
        minute.now += 1
        wait_for(w, 4)
        assert counts(w.records()) == [None, None, None, 3]
        minute.now += 1
        assert lookup(w, "X").receipt is not None
        assert counts(w.records()) == [None, None, None, 3, None]


def wait_for(w: World, count: int) -> None:
    for _ in range(2_000):
        if len(w.kinds()) >= count:
            return
        threading.Event().wait(0.005)
    raise AssertionError(w.kinds())


def test_no_denial_is_lost_between_threads(tmp_path: Path) -> None:
    with counted(tmp_path) as w:
        w.gate.seal()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: lookup(w, "X"), range(200)))
    found = counts(after(tmp_path, "denial"))
    assert found.count(None) == 3
    assert sum(count or 1 for count in found) == 200


def test_what_is_counted_while_a_count_is_written_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clerk, "TICK_S", 3_600.0)
    with counted(tmp_path) as w:
        for _ in range(5):
            lookup(w, "X")
        house = w.gate._house
        assert house is not None
        keeper = house._clerk
        append = keeper._append

        def append_slowly(batch: Any) -> None:
            append(batch)
            monkeypatch.setattr(keeper, "_append", append)
            lookup(w, "X")

        monkeypatch.setattr(keeper, "_append", append_slowly)
        keeper._work(everything=True)
        keeper._work(everything=True)
    assert counts(after(tmp_path, "denial")) == [None, None, None, 2, 1]


def test_counts_that_cannot_be_written_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch, tmp_path, LIMITED) as (w, store):
        for _ in range(3):
            lookup(w, "X")
        store.fail("down")
        for _ in range(4):
            assert lookup(w, "X").receipt is None
        store.mend()
    assert counts(after(tmp_path, "denial")) == [None, None, None, 4]


def test_what_cannot_be_written_until_the_gate_closes_is_said_in_the_log_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with faulty_world(monkeypatch, tmp_path) as (w, store):
        store.fail("down")
        w.adjust()
        w.gate.close()
        store.mend()
    assert "2 entries could not be written to the audit log before closing" in caplog.text


def test_old_counts_are_forgotten(tmp_path: Path, minute: Minute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clerk, "KEPT_LIMIT", 10)
    with counted(tmp_path) as w:
        house_keeps = []
        for number in range(40):
            with w.alice():
                w.gate.call(f"no.such{number}", {})
            minute.now += 10
            house = w.gate._house
            assert house is not None
            house_keeps.append(len(house._clerk._repeats))
        assert max(house_keeps) <= 12


class Scene:
    """A clerk without a gate, whose chores are what a test says."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.entered, self.release = threading.Event(), threading.Event()
        nothing: Any = None  # chores are all that it is given
        self.clerk = clerk.Clerk(nothing, nothing, nothing, lambda: 0, 20)

    def add(self, number: int) -> None:
        self.clerk._add(lambda: self.done.append(number))

    def add_slow(self, number: int) -> None:
        def slow() -> None:
            self.entered.set()
            self.release.wait(20)
            self.done.append(number)

        self.clerk._add(slow)


def test_closing_does_not_do_once_more_what_the_thread_is_still_doing() -> None:
    scene = Scene()
    scene.add_slow(1)
    scene.add(2)
    assert scene.entered.wait(10)
    closing = threading.Thread(target=lambda: scene.clerk.close(0.05))
    closing.start()
    closing.join(10)
    assert not closing.is_alive(), "it waits for as long as it said, and no longer"
    thread = scene.clerk._thread
    assert thread is not None
    scene.release.set()
    thread.join(10)
    assert scene.done == [1, 2]


def test_what_is_given_up_when_there_is_too_much_is_the_oldest_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clerk, "KEPT_LIMIT", 3)
    scene = Scene()
    scene.add_slow(0)
    assert scene.entered.wait(10)
    for number in range(1, 6):
        scene.add(number)
    scene.release.set()
    scene.clerk.close()
    assert scene.done == [0, 3, 4, 5]


def test_a_log_that_stays_away_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with faulty_world(monkeypatch, tmp_path) as (w, store):
        w.adjust()
        store.fail("down")
        w.adjust()
        before = store.failures
        while store.failures < before + 12:
            store.met.clear()
            assert store.met.wait(20)
        store.mend()
    assert caplog.text.count("still cannot be written") == 1
