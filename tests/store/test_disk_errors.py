"""An error at every write and every flush of a run: what it does to this process, to the next one, and after a power cut.

The disk works again right after the error, which is the worst that it can do: whoever goes on is told that all is well.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import licet.store.checkpoints
import licet.store.sqlite
from licet.errors import StoreError, StorePoisoned, StoreUnavailable
from licet.ledger.verify import verify
from tests.store.faulty import broken, full
from tests.store.powerloss import Loss, RecordingDisk
from tests.store.samples import commit
from tests.store.test_power_loss import acknowledging, group, left_at_the_end, opened, recorded, starts_again

pytestmark = pytest.mark.heavy

GROUPS = 4
"""Enough for the log to be copied and to begin anew."""
TRIED: tuple[Loss, ...] = ("dropped", "torn")


@pytest.fixture(autouse=True)
def busy_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is copied into the database again and again."""
    monkeypatch.setattr(licet.store.sqlite, "CHECKPOINT_PAGES", 8)
    monkeypatch.setattr(licet.store.checkpoints, "LITTLE_PAGES", 4)


def commit_groups(store: Any, count: int = GROUPS) -> list[type[Exception] | None]:
    """What became of each: None where it was acknowledged."""
    chance = random.Random(3)
    became: list[type[Exception] | None] = []
    for _ in range(count):
        try:
            commit(store, group(store, chance))
            became.append(None)
        except StoreError as error:
            became.append(type(error))
    return became


def operations_of_a_run(folder: Path) -> list[str]:
    operations: list[str] = []

    def run(path: Path, disk: RecordingDisk) -> None:
        store = acknowledging(path, disk)
        disk.fail(None)
        commit_groups(store)
        while "flush database" not in disk.operations:  # the log is copied beside the commits, a little later at times
            commit_groups(store, 1)
        operations.extend(disk.operations)
        store.close()

    recorded(folder, run)
    return operations


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted anyway"])
def test_after_an_error_anywhere_nothing_is_acknowledged_until_the_next_process_which_is_safe(tmp_path: Path, *, persisted: bool) -> None:
    """Pages that a failed flush gave up can still be read, so the next process must not put its own behind them."""
    poisoned = 0
    for at, _ in enumerate(operations_of_a_run(tmp_path / "counted")):
        became: list[type[Exception] | None] = []

        def run(path: Path, disk: RecordingDisk, at: int = at, became: list[Any] = became) -> None:
            store = acknowledging(path, disk)
            disk.fail(at, done_first=persisted)
            became += commit_groups(store)
            disk.fail(None)
            became += commit_groups(store, 2)
            store.close()
            after = acknowledging(path, disk)
            assert commit_groups(after, 2) == [None, None]
            with after.source() as source:
                assert verify(source).ok
            disk.cut_power()
            after.close()

        disk = recorded(tmp_path / f"{at}", run)
        first = became.index(StorePoisoned) if StorePoisoned in became else len(became)
        assert became == [None] * first + [StorePoisoned] * (len(became) - first)
        poisoned += first < len(became)
        for loss in TRIED:
            starts_again(tmp_path / f"{at} {loss}", left_at_the_end(disk, loss))
    assert poisoned > at / 2


def test_a_full_disk_anywhere_refuses_what_is_not_there_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    refused = 0
    for at, operation in enumerate(operations_of_a_run(tmp_path / "counted")):
        if not operation.startswith("write"):
            continue
        became: list[type[Exception] | None] = []

        def run(path: Path, disk: RecordingDisk, at: int = at, became: list[Any] = became) -> None:
            store = acknowledging(path, disk)
            disk.fail(at, error=full, still=True)
            became += commit_groups(store)
            disk.fail(None)
            assert commit_groups(store, 2) == [None, None]
            disk.cut_power()
            store.close()

        disk = recorded(tmp_path / f"{at}", run)
        assert set(became) <= {None, StoreUnavailable}
        refused += StoreUnavailable in became
        for loss in TRIED:
            image = left_at_the_end(disk, loss)
            assert starts_again(tmp_path / f"{at} {loss}", image) == len(image[1]), "what was refused is not there"
    assert refused > 10


@pytest.mark.parametrize("error", [broken, full])
@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted anyway"])
@pytest.mark.parametrize("earlier", ["nothing", "a ledger", "a log left behind"])
def test_an_opening_that_fails_anywhere_needs_nobody_to_be_tried_again(
    tmp_path: Path, earlier: str, error: Any, *, persisted: bool
) -> None:
    def prepared(folder: Path) -> int:
        folder.mkdir()
        if earlier != "nothing":
            store = opened(folder / "source.db")
            commit_groups(store, 1)
            size = sum(log.size for log in store.logs())
            names = ("source.db", "source.db-wal") if earlier == "a log left behind" else ("source.db",)
            if earlier == "a ledger":
                store.close()
            for name in names:
                (folder / name.replace("source", "licet")).write_bytes((folder / name).read_bytes())
            store.close()
            return size
        return 0

    at, failed = 0, True
    while failed:
        folder = tmp_path / f"{at}"
        size = prepared(folder)
        with RecordingDisk(folder).recording() as disk:
            disk.fail(at, done_first=persisted, error=error)
            try:
                store = opened(folder / "licet.db", disk)
                failed = False
            except StoreError:
                disk.fail(None)
                store = opened(folder / "licet.db", disk)
            disk.fail(None)
            assert sum(log.size for log in store.logs()) == size
            assert commit_groups(store, 1) == [None]
            store.close()
        at += 1
    assert at > 5
