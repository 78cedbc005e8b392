"""What is left of the search index when the disk fails, the file is damaged, or two processes meet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licet.errors import GateClosed, StoreError, StoreUnavailable
from licet.store import index_open
from licet.store.index import Index
from licet.store.index_ask import Query
from licet.store.index_open import IndexDamaged
from licet.store.index_take import IndexRow
from licet.store.indexer import Indexer
from tests.store.faulty import FaultyDisk, full
from tests.store.index_samples import AT, Ledger, row, sealed
from tests.store.powerloss import LOSSES, Loss, Playback, RecordingDisk, laid_out


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db-index"


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    yield disk
    disk.fail(None)
    disk.unregister()


def rows(start: int, stop: int) -> list[IndexRow]:
    return [row(number, f"text {number}", at=AT + number, payload=sealed("a" * 32)) for number in range(start, stop)]


def is_whole(index: Index, size: int) -> bool:
    """Everything that was taken is found by every way, and no more."""
    expected = list(range(size - 1, -1, -1))
    ways = (Query(), Query(filters={"log": ("acme",)}), Query(text="text"), Query(text="text", filters={"kind": ("intent",)}))
    counted = sum(bar.count for bar in index.rollup("tool", since_us=AT - AT % 3_600_000_000, until_us=AT + 3_600_000_000))
    found = [[place.index for place in index.search(query, limit=1000).places] for query in ways]
    return found == [expected] * 4 and counted == size and index.cursors() == ({"acme": size} if size else {})


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted anyway"])
def test_every_write_of_taking_may_fail_and_nothing_is_half_there(tmp_path: Path, disk: FaultyDisk, *, persisted: bool) -> None:
    Index.open(tmp_path / "empty").close()
    with_three = tmp_path / "three"
    index = Index.open(with_three)
    index.take("acme", rows(0, 3))
    index.close()
    shutil.copy(with_three, tmp_path / "counted")
    counted = Index.open(tmp_path / "counted", vfs=disk.name)
    disk.fail(None)
    counted.take("acme", rows(3, 6))
    operations = len(disk.operations)
    counted.close()
    assert operations > 5
    for at in range(operations):
        path = tmp_path / f"{at}.db-index"
        shutil.copy(with_three, path)
        index = Index.open(path, vfs=disk.name)
        disk.fail(at, done_first=persisted)
        with pytest.raises(IndexDamaged, match="is damaged"):
            index.take("acme", rows(3, 6))
        disk.fail(None)
        assert index.damaged
        index.close()
        again = Index.open(path)
        size = again.cursors()["acme"]
        assert size in (3, 6)
        assert is_whole(again, size)
        again.take("acme", rows(0, 8))
        assert is_whole(again, 8)
        again.close()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_power_cut_at_any_moment_leaves_an_index_that_is_whole_or_made_anew(tmp_path: Path, loss: Loss) -> None:
    folder = tmp_path / "before"
    folder.mkdir()
    with RecordingDisk(folder).recording() as disk, patch.object(index_open, "CHECKPOINT_PAGES", 8):
        index = Index.open(folder / "licet.db-index", vfs=disk.name)
        for start in range(0, 12, 3):
            index.take("acme", rows(start, start + 3))
        index.forget("acme", ["b" * 32])
        index.close()
    playback, sizes = Playback(), set()
    for number, event in enumerate(disk.events):
        playback.see(event)
        if number % 5 == 0:
            left = laid_out(playback.left(loss, seed=number), tmp_path / str(number))
            again = Index.open(left / "licet.db-index")
            size = again.cursors().get("acme", 0)
            sizes.add(size)
            assert is_whole(again, size)
            again.take("acme", rows(size, 15))
            assert is_whole(again, 15)
            again.close()
            shutil.rmtree(left)
    assert len(sizes) > 1


def test_a_full_disk_takes_nothing_and_goes_on_when_there_is_space(path: Path, disk: FaultyDisk) -> None:
    index = Index.open(path, vfs=disk.name)
    index.take("acme", rows(0, 3))
    disk.fail("write log", error=full)
    with pytest.raises(StoreUnavailable, match="the disk is full") as refused:
        index.take("acme", rows(3, 6))
    assert not isinstance(refused.value, IndexDamaged)
    disk.fail(None)
    assert is_whole(index, 3)
    index.take("acme", rows(3, 6))
    assert is_whole(index, 6)
    index.close()


@pytest.mark.parametrize(
    "stored",
    [b"", b"hello", b"\0" * 8192, os.urandom(30_000), b"SQLite format 3\0" + os.urandom(9000)],
    ids=["empty", "short", "zeros", "garbage", "header"],
)
def test_whatever_lies_there_an_index_is_made_of_it(path: Path, stored: bytes) -> None:
    path.write_bytes(stored)
    index = Index.open(path)
    assert index.cursors() == {}
    index.take("acme", rows(0, 4))
    assert is_whole(index, 4)
    index.close()


@pytest.mark.parametrize(
    "change", ["PRAGMA user_version = 7", "PRAGMA user_version = 1", "PRAGMA application_id = 5", "DROP TABLE docs", "DROP TABLE terms"]
)
def test_an_index_of_another_version_or_half_of_one_is_made_anew(path: Path, change: str) -> None:
    index = Index.open(path)
    index.take("acme", rows(0, 3))
    index.close()
    con = apsw.Connection(str(path))
    con.execute(change)
    con.close()
    with pytest.raises(IndexDamaged):
        Index.open(path, read_only=True).search(Query(filters={"kind": ("intent",)}))
    again = Index.open(path)
    assert again.cursors() == {}
    again.take("acme", rows(0, 3))
    assert is_whole(again, 3)
    again.close()


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_damaged_file_is_found_out_or_made_anew_and_never_stops_the_indexer(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "licet.db-index"
    index = Index.open(path)
    index.take("acme", rows(0, 200))
    index.close()
    stored = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(stored) - 1), min_size=1, max_size=40)):
        stored[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(stored[: data.draw(st.sampled_from([len(stored), len(stored) // 2, 100]))])
    index = Index.open(path)
    ledger = Ledger({"acme": rows(0, 203)})
    indexer = Indexer(index, ledger)
    for _ in range(5):  # each error leads to a rebuild
        try:
            indexer.catch_up()
            index.search(Query(text="text"))
            index.search(Query(filters={"kind": ("intent",)}))
            break
        except StoreError:
            assert index.damaged
    assert indexer.behind() == 0
    indexer.close()
    index.close()


@pytest.mark.parametrize("version", [0, 3, 255])
def test_a_file_that_asks_for_a_later_database_is_made_use_of_all_the_same(path: Path, version: int) -> None:
    Index.open(path).close()
    stored = bytearray(path.read_bytes())
    stored[18] = version
    path.write_bytes(stored)
    index = Index.open(path)
    index.take("acme", rows(0, 3))
    assert index.cursors() == {"acme": 3}
    index.close()


def test_a_rebuild_is_seen_by_whoever_has_the_index_open(path: Path) -> None:
    writer, reader = Index.open(path), Index.open(path, read_only=True)
    writer.take("acme", rows(0, 5))
    assert is_whole(reader, 5)
    writer.rebuild()
    assert is_whole(reader, 0)
    writer.take("acme", rows(0, 7))
    assert is_whole(reader, 7)
    reader.close()
    writer.close()


def test_two_that_open_a_new_index_make_it_once(path: Path) -> None:
    one, other = Index.open(path), Index.open(path)
    one.take("acme", rows(0, 3))
    other.take("acme", rows(0, 5))
    one.take("acme", rows(4, 6))
    assert is_whole(one, 6)
    assert is_whole(other, 6)
    one.close()
    other.close()


def test_a_closed_index_and_one_that_is_only_read_take_nothing(path: Path) -> None:
    index = Index.open(path)
    reader = Index.open(path, read_only=True)
    with pytest.raises(StoreUnavailable, match="closed or opened for reading"):
        reader.take("acme", rows(0, 1))
    reader.close()
    index.close()
    index.close()
    with pytest.raises(GateClosed, match="was closed"):
        index.search(Query())


def test_a_forked_child_refuses(path: Path) -> None:
    index = Index.open(path)
    child = os.fork()
    if child == 0:
        try:
            index.search(Query())
        except GateClosed:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    index.close()
