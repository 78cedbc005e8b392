"""What is left when the disk fails, fills up, or is not there; each time the whole ledger is verified afterwards."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import licet.store.sqlite
import licet.store.sqlite_open
from licet.errors import IntegrityBroken, NotAStore, StoreError, StorePoisoned, StoreUnavailable
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.store.leases import Turn
from licet.store.sqlite import SqliteStore
from tests.store.faulty import FaultyDisk, full
from tests.store.samples import KEYS, commit, now, record, small_ledger, written


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    yield disk
    disk.fail(None)
    disk.unregister()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are waited for a tenth of a second."""
    monkeypatch.setattr(licet.store.sqlite_open, "BUSY_TIMEOUT_S", 0.1)
    monkeypatch.setattr(licet.store.sqlite, "BUSY_TIMEOUT_S", 0.05)


def one() -> Filing:
    return Filing((record("gap"),))


def ledger_is_whole(path: Path, sizes: set[int]) -> None:
    """Opened afresh, everything fits, and it can be written again."""
    store = SqliteStore.open(path, now=now, keys=KEYS)
    with store.source() as source:
        report = verify(source)
    assert report.problems == ()
    assert report.records in sizes
    assert written(store, one())[0].receipts[0].index == report.records
    with store.source() as source:
        assert verify(source).ok
    store.close()


def answered(store: SqliteStore) -> int:
    """How many of one commit were answered."""
    try:
        return len(commit(store, [one()]))
    except StorePoisoned:
        return 0


def refusal_of(store: SqliteStore) -> StoreUnavailable | None:
    try:
        commit(store, [one()])
    except StoreUnavailable as error:
        return error
    return None


def operations_of_a_commit(path: Path, disk: FaultyDisk) -> list[str]:
    store = SqliteStore.open(path, now=now, keys=KEYS, vfs=disk.name)
    written(store, one())
    disk.fail(None)
    written(store, one())
    counted = list(disk.operations)
    store.close()
    return counted


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted anyway"])
def test_every_write_and_flush_of_a_commit_may_fail(tmp_path: Path, disk: FaultyDisk, *, persisted: bool) -> None:
    operations = operations_of_a_commit(tmp_path / "counted.db", disk)
    assert "flush log" in operations
    assert len(operations) > 4
    for at, operation in enumerate(operations):
        path = tmp_path / f"{at}.db"
        store = SqliteStore.open(path, now=now, keys=KEYS, vfs=disk.name)
        written(store, one())
        disk.fail(at, done_first=persisted)
        with pytest.raises(StorePoisoned, match="failed in a way whose extent is unknown") as failed:
            commit(store, [one()])
        assert failed.value.ambiguous, operation
        disk.fail(None)  # the disk answers again: the next flush would be acknowledged
        with pytest.raises(StorePoisoned):
            commit(store, [one()])
        assert [stored.index for stored in store.records("acme")] in ([0], [0, 1])
        assert disk.operations == []
        store.close()
        assert disk.operations == [], "closing a poisoned store wrote to it"
        ledger_is_whole(path, {1, 2})


def test_a_failed_write_back_of_the_log_answers_the_group_and_then_poisons(
    tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(licet.store.sqlite, "CHECKPOINT_PAGES", 1)
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS, vfs=disk.name)
    disk.fail(None)
    written(store, one())
    disk.fail("flush database")
    committed = 1
    while store._broken is None:  # the log is copied beside the commits: some may still be answered
        committed += answered(store)
    assert "flush database" in disk.operations
    disk.fail(None)
    with pytest.raises(StorePoisoned, match="could not be written back"):
        commit(store, [one()])
    store.close()
    assert disk.operations == []
    ledger_is_whole(path, {committed})


def test_a_disk_that_fills_up_refuses_and_goes_on_when_there_is_room(tmp_path: Path, disk: FaultyDisk) -> None:
    operations = operations_of_a_commit(tmp_path / "counted.db", disk)
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS, vfs=disk.name)
    written(store, one())
    for at, operation in enumerate(operations):
        if operation.startswith("write"):
            disk.fail(at, error=full, still=True)
            with pytest.raises(StoreUnavailable, match="cannot grow: the disk is full") as failed:
                commit(store, [one()])
            assert not failed.value.ambiguous
    disk.fail(None)
    assert written(store, one())[0].receipts[0].index == 1
    store.close()
    ledger_is_whole(path, {2})


def test_a_database_at_its_page_limit_refuses_and_goes_on_when_it_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    assert store._writer is not None
    store._writer.pragma("max_page_count", store._writer.pragma("page_count") + 8)
    answers = [refusal_of(store) for _ in range(200)]
    committed = answers.count(None)
    assert 0 < committed < 200
    assert "cannot grow: the disk is full" in str(answers[-1])
    store._writer.pragma("max_page_count", 1 << 30)
    assert written(store, one())[0].receipts[0].index == committed
    store.close()
    ledger_is_whole(path, {committed + 1})


def test_a_checkpoint_on_a_full_disk_loses_nothing(tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licet.store.sqlite, "CHECKPOINT_PAGES", 1)
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS, vfs=disk.name)
    disk.fail(None)
    written(store, one())
    disk.fail("write database", error=full)
    count = 1
    while disk.operations.count("write database") < 3:
        assert written(store, one())[0].receipts[0].index == count
        count += 1
    disk.fail(None)
    assert written(store, one())[0].receipts[0].index == count
    store.close()
    ledger_is_whole(path, {count + 1})


# locked


def test_a_database_that_somebody_else_has_locked_is_waited_for_and_then_refused(tmp_path: Path, impatient: None) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="is locked by another process"):
        commit(store, [one()])
    assert time.monotonic() - began < 5
    assert list(store.records("acme")) == []  # reading does not wait
    other.execute("ROLLBACK")
    other.close()
    assert written(store, one())[0].receipts[0].index == 0
    store.close()


def test_a_turn_that_another_process_does_not_give_back_is_refused_in_time(tmp_path: Path, impatient: None) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    other = Turn(path, 0o600, 1)
    with other, pytest.raises(StoreUnavailable, match=r"another process has been writing to the ledger for more than 0\.1 s"):
        commit(store, [one()])
    assert written(store, one())[0].receipts[0].index == 0
    other.close()
    store.close()


def test_turns_are_taken_in_turn(tmp_path: Path) -> None:
    """Whoever has just had it cannot take it again before the one who waits."""
    path, taken = tmp_path / "licet.db", []
    turns = [Turn(path, 0o600, 10) for _ in range(2)]

    def work(name: int) -> None:
        for _ in range(30):
            with turns[name]:
                taken.append(name)
                time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    first = taken[:30]
    assert 10 <= first.count(0) <= 20
    for turn in turns:
        turn.close()


# not ours to write


def test_a_read_only_file_is_refused_for_writing_and_can_be_read(tmp_path: Path, disk: FaultyDisk) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    small_ledger(store)
    store.close()
    disk.read_only = True
    with pytest.raises(StoreUnavailable, match="is read-only"):
        SqliteStore.open(path, now=now, keys=KEYS, vfs=disk.name)
    reader = SqliteStore.open(path, now=now, keys=KEYS, read_only=True, vfs=disk.name)
    with reader.source() as source:
        assert verify(source).records == 12
    with pytest.raises(StoreUnavailable, match="was opened read-only"):
        commit(reader, [one()])
    with pytest.raises(StoreUnavailable, match="was opened read-only"):
        reader.orphaned_calls()
    assert reader.boot == ""
    reader.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_without_write_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    SqliteStore.open(path, now=now, keys=KEYS).close()
    path.chmod(0o400)
    with pytest.raises(StoreUnavailable, match="is read-only"):
        SqliteStore.open(path, now=now, keys=KEYS)


def test_a_reader_sees_what_a_writer_writes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    reader = SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    written(store, one())
    assert [stored.index for stored in reader.records("acme")] == [0]
    reader.close()
    store.close()


def test_reading_only_leaves_no_boot_behind(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    SqliteStore.open(path, now=now, keys=KEYS).close()
    SqliteStore.open(path, now=now, keys=KEYS, read_only=True).close()
    con = apsw.Connection(str(path))
    assert con.execute("SELECT count(*) FROM boots").get == 1
    con.close()


# something else


def other_database(path: Path) -> None:
    con = apsw.Connection(str(path))
    con.execute("CREATE TABLE customers (id)")
    con.close()


def later_version(path: Path) -> None:
    SqliteStore.open(path, now=now, keys=KEYS).close()
    con = apsw.Connection(str(path))
    con.pragma("user_version", 99)
    con.close()


def other_application(path: Path) -> None:
    con = apsw.Connection(str(path))
    con.pragma("application_id", 77)
    con.close()


SOMETHING_ELSE = [
    (lambda path: path.write_text("to whom it may concern\n" * 100), "is not a SQLite database"),
    (lambda path: path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000), "is not a SQLite database"),
    (other_database, "is a SQLite database, but not a ledger"),
    (other_application, "is a SQLite database, but not a ledger"),
    (later_version, "is a ledger of schema version 99, which this program does not know"),
]


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "reading"])
@pytest.mark.parametrize(("make", "message"), SOMETHING_ELSE, ids=["text", "garbage", "database", "application", "version"])
def test_something_else_is_refused_and_left_as_it_is(tmp_path: Path, make, message: str, *, read_only: bool) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "licet.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(NotAStore, match=message):
        SqliteStore.open(path, now=now, keys=KEYS, read_only=read_only)
    assert path.read_bytes() == before


def test_a_folder_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="is a folder, not a ledger"):
        SqliteStore.open(tmp_path, now=now, keys=KEYS)


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_a_missing_ledger_is_not_made_by_accident(tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "licet.db"
    with pytest.raises(NotAStore, match="there is no ledger at"):
        SqliteStore.open(path, now=now, keys=KEYS, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"a ledger cannot be created at .*: No such file or directory"):
        SqliteStore.open(tmp_path / "missing" / "licet.db", now=now, keys=KEYS)


def test_an_empty_file_becomes_a_ledger_when_it_is_opened_for_writing_only(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    path.touch()
    with pytest.raises(NotAStore, match="is empty, not a ledger"):
        SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    store = SqliteStore.open(path, now=now, keys=KEYS)
    written(store, one())
    store.close()


# appending to what was damaged


def test_nobody_appends_to_a_log_whose_end_is_not_where_its_tree_says(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    for _ in range(3):
        written(store, one())
    store.close()
    con = apsw.Connection(str(path))
    con.execute("DELETE FROM records WHERE place & 255 = 2")
    con.close()
    with pytest.raises(IntegrityBroken, match="log `acme` ends after 2 records, its tree after 3; run `licet audit verify`"):
        SqliteStore.open(path, now=now, keys=KEYS)
    SqliteStore.open(path, now=now, keys=KEYS, read_only=True).close()


def test_a_tree_state_that_was_set_back_while_open_cannot_be_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    for _ in range(3):
        written(store, one())
    con = apsw.Connection(str(path))
    con.execute("UPDATE logs SET size = 2, compact_range = zeroblob(32)")
    with pytest.raises(StorePoisoned, match="UNIQUE constraint failed"):
        commit(store, [one()])
    store.close()
    con.execute("UPDATE logs SET size = 7")
    con.close()
    with pytest.raises(IntegrityBroken):
        SqliteStore.open(path, now=now, keys=KEYS)


def test_a_tree_state_that_contradicts_itself_poisons(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    written(store, one())
    con = apsw.Connection(str(path))
    con.execute("UPDATE logs SET compact_range = x'00'")
    con.close()
    with pytest.raises(StorePoisoned, match="the stored tree state of log `acme` is damaged"):
        commit(store, [one()])
    store.close()


# durability


def test_a_commit_is_flushed_and_the_folder_is_before_the_first(tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[list[str]] = []
    fsync = os.fsync

    def seen(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink() == tmp_path.resolve():
            flushed.append(sorted(path.name for path in tmp_path.iterdir()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", seen)
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS, vfs=disk.name)
    assert any({"licet.db", "licet.db-wal"} <= set(names) for names in flushed)
    assert store._writer is not None
    assert (store._writer.pragma("synchronous"), store._writer.pragma("journal_mode")) == (2, "wal")
    disk.fail(None)
    written(store, one())
    assert disk.operations[-1] == "flush log"
    store.close()


def test_a_new_ledger_and_what_lies_beside_it_are_private(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*")}
    store.close()
    assert modes["licet.db-boots"] == "0o700"
    assert {mode for name, mode in modes.items() if name != "licet.db-boots"} == {"0o600"}


def test_an_error_on_opening_leaves_no_lease_and_no_connection(tmp_path: Path, disk: FaultyDisk) -> None:
    path = tmp_path / "licet.db"
    SqliteStore.open(path, now=now, keys=KEYS).close()
    disk.fail(0, still=True)
    with pytest.raises(StoreError):
        SqliteStore.open(path, now=now, keys=KEYS, vfs=disk.name)
    assert list((tmp_path / "licet.db-boots").iterdir()) == []
    ledger_is_whole(path, {0})
