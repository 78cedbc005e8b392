"""Copies of a ledger: whole, private, and made while others write."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from licet.errors import GateClosed, IntegrityBroken, NotAStore, StorePoisoned, StoreUnavailable
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.store.backup import alone, back_up, put_back, verify_copy
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, now, record, small_ledger, written


def opened(path: Path) -> SqliteStore:
    return SqliteStore.open(path, now=now, keys=KEYS)


def assert_whole(path: Path) -> int:
    store = SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    with store.source() as source:
        report = verify(source)
    store.close()
    assert report.problems == ()
    return report.records


def test_a_copy_that_is_made_while_others_write_is_whole(path: Path, tmp_path: Path) -> None:
    store, stop = opened(path), threading.Event()
    small_ledger(store)

    def write() -> None:
        while not stop.is_set():
            written(store, Filing((record("gap"),)))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        sizes = []
        for number in range(5):
            back_up(path, tmp_path / f"copy-{number}")
            sizes.append(assert_whole(tmp_path / f"copy-{number}"))
    finally:
        stop.set()
        thread.join()
        store.close()
    assert sizes == sorted(sizes)
    assert [found.name for found in tmp_path.glob("*.part")] == []


def test_a_copy_is_one_private_file_and_writes_over_nothing(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    small_ledger(store)
    copy = tmp_path / "copy"
    size = back_up(path, copy)
    assert (copy.stat().st_size, copy.stat().st_mode & 0o777) == (size, 0o600)
    with pytest.raises(StoreUnavailable, match="is there already"):
        back_up(path, copy)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        back_up(path, tmp_path / "no" / "copy")
    assert_whole(copy)
    store.close()


def test_what_is_damaged_or_no_ledger_is_no_copy(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    small_ledger(store)
    copy = tmp_path / "copy"
    back_up(path, copy)
    store.close()
    content = bytearray(copy.read_bytes())
    for page in range(4096 * 2, len(content), 4096):
        content[page : page + 64] = b"\xff" * 64
    (tmp_path / "damaged").write_bytes(bytes(content))
    with pytest.raises((IntegrityBroken, StorePoisoned)):
        verify_copy(tmp_path / "damaged")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(NotAStore):
        verify_copy(tmp_path / "empty")


def test_nothing_is_put_back_while_somebody_writes(path: Path) -> None:
    store = opened(path)
    with pytest.raises(GateClosed, match="another process has the ledger"), alone(path):
        pytest.fail("somebody writes")
    store.close()
    with alone(path), pytest.raises(StoreUnavailable, match="another process has been writing"):
        opened(path)
    opened(path).close()


def test_what_was_there_is_kept_and_the_copy_takes_its_place(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    small_ledger(store)
    copy = tmp_path / "copy"
    back_up(path, copy)
    before = assert_whole(copy)
    written(store, Filing((record("gap"),)))
    store.close()
    kept = put_back(copy, path, "then")
    assert kept == path.with_name("licet.db.before-then")
    assert (assert_whole(path), assert_whole(kept)) == (before, before + 1)
    reopened = opened(path)
    written(reopened, Filing((record("gap"),)))
    reopened.close()
