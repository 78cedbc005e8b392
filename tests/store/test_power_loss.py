"""A power cut at any moment: what was acknowledged is there, everything fits, and nobody is needed to start again."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import licet.store.checkpoints
import licet.store.sqlite
from licet.ledger.record import Payload, leaf_hash, microseconds
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.model import Receipt
from licet.store.contract import AppendHead, Batch, CloseCall, Committed, Lost, OpenCall
from licet.store.sqlite import SqliteStore
from tests.store.powerloss import LOSSES, Loss, Playback, RecordingDisk, laid_out
from tests.store.samples import KEYS, NOW, call_id, intent, now, outcome, record, small_ledger, written

pytestmark = pytest.mark.heavy

Image = tuple[dict[str, bytes], list[Receipt]]


@pytest.fixture(autouse=True)
def busy_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is copied into the database again and again, so that it begins anew within a short run."""
    monkeypatch.setattr(licet.store.sqlite, "CHECKPOINT_PAGES", 12)
    monkeypatch.setattr(licet.store.checkpoints, "LITTLE_PAGES", 4)


class Acknowledging:
    """A store that marks each receipt on the disk as soon as a caller has it."""

    def __init__(self, store: SqliteStore, disk: RecordingDisk) -> None:
        self._store = store
        self._disk = disk

    def commit(self, batches: Sequence[Batch]) -> list[Committed | Lost]:
        answers = self._store.commit(batches)
        for answer in answers:
            if isinstance(answer, Committed):
                self._disk.mark(answer.receipts)
        return answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def opened(path: Path, disk: RecordingDisk | None = None) -> SqliteStore:
    return SqliteStore.open(path, now=now, keys=KEYS, vfs=None if disk is None else disk.name)


def acknowledging(path: Path, disk: RecordingDisk) -> Any:
    return Acknowledging(opened(path, disk), disk)


def group(store: Any, chance: random.Random) -> list[Filing]:
    """A few calls in a few logs, with payloads of a line or of some pages."""
    batches = []
    for _ in range(chance.randint(1, 4)):
        call, log = call_id(), f"tenant-{chance.randint(1, 3)}"
        text = "x" * chance.choice([10, 300, 6_000])
        batches.append(Filing((intent(call, store, log=log),), (OpenCall(call, log),)))
        batches.append(Filing((record("gap", log, payload=Payload(reason=text)),)))
        if chance.random() < 0.7:
            batches.append(Filing((outcome(call, log=log),), (CloseCall(call),)))
    return batches


def workload(path: Path, disk: RecordingDisk) -> None:
    """Two boots; in the second, two stores at once."""
    chance = random.Random(7)
    first = acknowledging(path, disk)
    small_ledger(first)
    for _ in range(3):
        written(first, *group(first, chance))
        written(first, Filing((), (AppendHead(microseconds(NOW)),)))
    first.close()
    stores = [acknowledging(path, disk) for _ in range(2)]
    for number in range(5):
        written(stores[number % 2], *group(stores[number % 2], chance))
    stores[0].close()
    written(stores[1], *group(stores[1], chance))
    stores[1].close()


def recorded(folder: Path, run: Callable[[Path, RecordingDisk], None], **options: bool) -> RecordingDisk:
    folder.mkdir()
    with RecordingDisk(folder, **options).recording() as disk:
        run(folder / "licet.db", disk)
    return disk


def images(disk: RecordingDisk, loss: Loss, *, tries: int = 1) -> Iterator[Image]:
    """What is left after each event, with the receipts that somebody had by then; what is left twice comes once."""
    playback, seen = Playback(), set()
    for number, event in enumerate(event for event in disk.events for _ in range(tries)):
        if number % tries == 0:
            playback.see(event)
        files = playback.left(loss, seed=number)
        receipts = [receipt for receipts in playback.marks for receipt in receipts]
        digest = hashlib.sha256(b"".join(hashlib.sha256(files[name]).digest() for name in sorted(files)) + bytes([len(files)])).digest()
        if (digest, len(receipts)) not in seen:
            seen.add((digest, len(receipts)))
            yield files, receipts


def left_at_the_end(disk: RecordingDisk, loss: Loss) -> Image:
    """What is left after the last event, with all receipts."""
    playback = Playback()
    for event in disk.events:
        playback.see(event)
    return playback.left(loss, seed=len(disk.events)), [receipt for receipts in playback.marks for receipt in receipts]


def starts_again(folder: Path, image: Image) -> int:
    """Opened by the normal code, it is whole and has what was acknowledged, and goes on. How many records there were."""
    files, receipts = image
    store = opened(laid_out(files, folder) / "licet.db")
    try:
        with store.source() as source:
            report = verify(source)
        assert report.problems == ()
        assert lost(store, receipts) == []
        sizes = {log.log: log.size for log in report.logs}
        assert [orphan.call for orphan in store.orphaned_calls()] == [open_.call for open_ in store.open_calls()]
        assert written(store, Filing((record("gap"),)))[0].receipts[0].index == sizes.get("acme", 0)
    finally:
        store.close()
        shutil.rmtree(folder)
    return report.records


def lost(store: SqliteStore, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Receipts of which the store has another record, or none."""
    there = {log.log: [leaf_hash(stored.envelope).hex() for stored in store.records(log.log)] for log in store.logs()}
    return [receipt for receipt in receipts if there.get(receipt.log, [])[receipt.index : receipt.index + 1] != [receipt.leaf]]


@pytest.mark.parametrize("loss", LOSSES)
def test_after_a_power_cut_at_any_moment_everything_acknowledged_is_there(tmp_path: Path, loss: Loss) -> None:
    disk = recorded(tmp_path / "disk", workload)
    counts = [starts_again(tmp_path / f"{number}", image) for number, image in enumerate(images(disk, loss))]
    assert counts[-1] > 40
    assert len(set(counts)) > 10


def test_a_new_log_whose_name_only_licet_flushed_is_there_after_a_power_cut(tmp_path: Path) -> None:
    """SQLite keeps a failed flush of the folder to itself, and would acknowledge commits in a file that has no name yet."""

    def second_boot(path: Path, disk: RecordingDisk) -> None:
        store = acknowledging(path, disk)
        written(store, Filing((record("gap"),)), Filing((record("gap", "globex"),)))
        store.close()

    folder = tmp_path / "disk"
    folder.mkdir()
    store = opened(folder / "licet.db")
    small_ledger(store)
    store.close()
    with RecordingDisk(folder, sqlite_flushes_folder=False).recording() as disk:
        second_boot(folder / "licet.db", disk)
    left = [image for loss in LOSSES for image in images(disk, loss, tries=4)]
    counts = [starts_again(tmp_path / f"{number}", image) for number, image in enumerate(left)]
    assert set(counts) == {12, 14}
    assert any("licet.db-wal" not in files for files, _ in left)


def test_a_disk_that_lies_about_its_flushes_is_seen_by_these_tests(tmp_path: Path) -> None:
    disk = recorded(tmp_path / "disk", workload, deaf=True)
    files, receipts = list(images(disk, "dropped"))[-1]
    assert not any(files.values())
    store = opened(laid_out(files, tmp_path / "left") / "licet.db")
    assert lost(store, receipts) == receipts != []
    store.close()
