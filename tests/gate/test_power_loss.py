"""A power cut at any moment of governed calls: no effect without its intent, nothing that a caller was told is lost, no approval twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet.gate import clerk
from licet.gate.results import Denied, Failed, Held, Ok
from licet.store.sqlite import SqliteStore
from licet.testing import Read, vote
from tests.gate.faulty import IMPATIENT
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT
from tests.store.faulty import broken, full
from tests.store.powerloss import Loss, Mark, Playback, RecordingDisk, laid_out
from tests.world import CONFIG, World, world_on

pytestmark = pytest.mark.heavy


@contextmanager
def stored_on(disk: RecordingDisk) -> Iterator[None]:
    """Gates that open in here have their ledger on this disk."""
    open_ = SqliteStore.open.__func__  # type: ignore[attr-defined]  # what a class method wraps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteStore, "open", classmethod(lambda cls, *args, **kwargs: open_(cls, *args, vfs=disk.name, **kwargs)))
        patch.setattr(clerk, "TICK_S", 0.01)
        yield


def made_known(w: World, disk: RecordingDisk) -> None:
    """Effects are marked on the disk's record as the world outside sees them: at the moment at which they happen."""
    tool = w.gate.registry.tools["billing.adjust"]
    adjust = tool.function

    def marked(**arguments: Any) -> Any:
        disk.mark(("effect", arguments["amount_cents"]))
        return adjust(**arguments)

    tool.function = marked


def told(disk: RecordingDisk, result: Any) -> None:
    """The caller has its result."""
    assert isinstance(result, Ok), result
    disk.mark(("told", result.receipt))


def calls(folder: Path) -> tuple[RecordingDisk, bytes]:
    """Two processes, one after the other: writes with and without keys, reads, a held call that is approved. And the ledger's key."""
    folder.mkdir()
    with RecordingDisk(folder).recording() as disk, stored_on(disk):
        for first in (100, 200):
            with world_on(folder) as w:
                made_known(w, disk)
                for number in range(first, first + 3):
                    told(disk, w.adjust(number, idempotency_key=f"k-{number}" if number % 2 else None))
                with w.alice():
                    told(disk, w.gate.call("crm.lookup", {"customer_id": "C-1"}))
                held = w.held(AMOUNT + first)
                vote(w.gate, held.request, "lena")
                told(disk, w.adjust(AMOUNT + first))
        return disk, (folder / "licet.key").read_bytes()


def cuts(disk: RecordingDisk) -> Iterator[tuple[Playback, Loss]]:
    """Right before and after each moment at which the world outside sees something, and now and then between them."""
    playback = Playback()
    for number, (event, later) in enumerate(itertools.pairwise([*disk.events, Mark(None)])):
        playback.see(event)
        if isinstance(event, Mark):
            yield playback, "dropped"
        elif isinstance(later, Mark):
            yield playback, "kept"
        elif number % 16 == 0:
            yield playback, ("shuffled", "torn")[number // 16 % 2]


def test_after_a_power_cut_no_effect_is_without_its_intent_and_nothing_told_is_lost(tmp_path: Path) -> None:
    disk, key = calls(tmp_path / "disk")
    recovered = 0
    for number, (playback, loss) in enumerate(cuts(disk)):
        folder = laid_out(playback.left(loss, seed=number), tmp_path / f"{number}")
        (folder / "licet.key").write_bytes(key)
        (folder / "licet.key").chmod(0o600)
        with world_on(folder) as w:
            recovered += starts_again(w, playback.marks)
    assert len(playback.marks) == 18
    assert recovered > 0


def starts_again(w: World, marks: list[Any]) -> int:
    """The next process knows what the world outside knows. How many calls it says are unknown."""
    w.gate.seal()
    assert_whole(w.gate)
    assert w.gate.store.open_calls() == ()
    records = w.records()
    leaves = [record.receipt for record in records]
    assert {what for kind, what in marks if kind == "told"} <= set(leaves)
    effects = [what for kind, what in marks if kind == "effect"]
    assert set(effects) <= set(intended(records)), "an effect without an intent"
    consumed = [record.envelope.approval.request for record in records if record.kind == "intent" and record.envelope.approval]
    assert len(set(consumed)) == len(consumed)
    for amount in [amount for amount in effects if amount >= AMOUNT]:
        assert isinstance(w.adjust(amount), Held), "its approval was used up"
    for amount in [amount for amount in effects if amount % 2 and amount < AMOUNT]:
        w.adjust(amount, idempotency_key=f"k-{amount}")
    assert w.ran == []
    return len([record for record in records if record.kind == "recovery"])


def intended(records: list[Read]) -> list[int]:
    """The amounts of the writes whose intent is recorded."""
    return [
        msgspec.json.decode(record.payload.arguments)["amount_cents"]
        for record in records
        if record.kind == "intent" and record.payload.arguments
    ]


@pytest.mark.parametrize("error", [broken, full])
def test_a_disk_error_at_any_moment_lets_nothing_run_without_its_intent_and_no_result_out_without_its_outcome(
    tmp_path: Path, error: Any
) -> None:
    """On a full disk the same gate goes on when there is room; after any other error nothing runs until it is opened again."""
    at, denied, withheld = 0, 0, 0
    while True:
        folder = tmp_path / f"{at}"
        folder.mkdir()
        with RecordingDisk(folder).recording() as disk, stored_on(disk):
            with world_on(folder) as w:
                w.gate.seal()
                disk.fail(at, error=error, still=error is full)
                results = [w.adjust(100), w.adjust(101)]
                reached = len(disk.operations) > at
                ran = len(w.ran)
                disk.fail(None)
                after = w.adjust(102)
                assert isinstance(after, Ok) or error is broken
                assert len(w.ran) - ran == (not isinstance(after, Denied))
            with world_on(folder) as again:
                again.gate.seal()
                assert_whole(again.gate)
                assert again.gate.store.open_calls() == ()
                records = again.records()
                assert {arguments["amount_cents"] for _, arguments in w.ran} <= set(intended(records))
                there = {record.receipt for record in records}
                assert {result.receipt for result in [*results, after] if isinstance(result, Ok)} <= there
                assert isinstance(again.adjust(103), Ok)
        denied += any(isinstance(result, Denied) for result in results)
        withheld += any(isinstance(result, Failed) for result in results)
        if not reached:
            break
        at += 3 if error is full else 1
    assert denied > 0
    assert withheld > 0


def test_a_disk_that_hangs_is_given_up_after_the_deadline_and_serves_again_when_it_answers(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    answers = threading.Event()
    answers.set()

    class HangingDisk(RecordingDisk):
        def flushed(self, file: int, *, failed: bool) -> None:
            assert answers.wait(30)
            super().flushed(file, failed=failed)

    with HangingDisk(folder).recording() as disk, stored_on(disk), world_on(folder, config=IMPATIENT) as w:
        assert isinstance(w.adjust(), Ok)
        answers.clear()
        w.denied(w.adjust(), "log_unavailable", "nothing was done")
        with ThreadPoolExecutor(4) as pool:
            assert all(isinstance(result, Denied) for result in pool.map(w.adjust, range(1, 5)))
        assert len(w.ran) == 1
        answers.set()
        result = w.adjust(300)
        for _ in range(200):
            if isinstance(result, Ok):
                break
            threading.Event().wait(0.02)
            result = w.adjust(300)
        assert isinstance(result, Ok)
        assert len(w.ran) == 2
    with world_on(folder, config=CONFIG) as w:
        w.gate.seal()
        assert_whole(w.gate)
        ends = [record.envelope.outcome.status for record in w.records() if record.kind == "outcome" and record.envelope.outcome]
        assert sorted(ends) == ["not_executed", "ok", "ok"]
