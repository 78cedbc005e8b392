"""Several real processes on one ledger: dense logs, leases that the kernel drops, and nothing that survives a fork."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.errors import GateClosed
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.model import CallId
from licet.store.contract import CloseCall, OpenIntent
from licet.store.sqlite import SqliteStore
from licet.store.unsettled import MarkUnsettled
from tests.store.samples import KEYS, commit, now, record, written

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `tests/store/process.py`; whatever still runs after the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(verb: str, path: Path, count: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.store.process", verb, str(path), str(count)]
        root = Path(__file__).parents[2]
        process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def tell(process: subprocess.Popen[str], line: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def kill(process: subprocess.Popen[str]) -> list[Any]:
    """Kills it and gives what it had said until then, whole lines only."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    return [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]


def test_two_processes_at_once_write_one_dense_log(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "licet.db"
    processes = [start("append", path, 40) for _ in range(2)]
    assert [heard(process) for process in processes] == ["ready", "ready"]
    said = []
    for process in processes:
        tell(process)
    for process in processes:
        out, _ = process.communicate(timeout=60)
        said.append([receipt for line in out.splitlines() for receipt in json.loads(line)])
    store = SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    stored = list(store.records("acme"))
    with store.source() as source:
        assert verify(source).ok
    store.close()
    assert sorted(index for receipts in said for index, _ in receipts) == list(range(320)) == [record.index for record in stored]
    assert len({json.loads(stored_record.envelope)["boot"] for stored_record in stored}) == 2
    assert [sorted(receipts) == receipts for receipts in said] == [True, True]


def test_processes_that_create_one_ledger_at_once_create_it_once(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "licet.db"
    processes = [start("append", path, 2) for _ in range(4)]
    assert [heard(process) for process in processes] == ["ready"] * 4
    for process in processes:
        tell(process)
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 4
    store = SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    assert [record.index for record in store.records("acme")] == list(range(32))
    store.close()


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.03, 0.1])
def test_a_process_that_is_killed_while_it_writes_leaves_every_acknowledged_record(tmp_path: Path, start: Start, after_s: float) -> None:
    path = tmp_path / "licet.db"
    process = start("append", path, 10_000)
    assert heard(process) == "ready"
    tell(process)
    time.sleep(after_s)
    acknowledged = [receipt for receipts in kill(process) for receipt in receipts]
    store = SqliteStore.open(path, now=now, keys=KEYS)
    with store.source() as source:
        report = verify(source)
    assert report.problems == ()
    assert report.records >= len(acknowledged)
    leaves = {record.index: record for record in store.records("acme")}
    assert all(index in leaves for index, _ in acknowledged)
    assert written(store, Filing((record("gap"),)))[0].receipts[0].index == report.records
    store.close()


def test_the_open_calls_of_a_killed_process_are_orphaned_and_recovered(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "licet.db"
    process = start("die", path)
    call, boot = heard(process)
    store = SqliteStore.open(path, now=now, keys=KEYS)
    assert store.open_calls() == (OpenIntent(CallId(call), "acme", boot),)
    assert store.orphaned_calls() == ()  # it lives
    kill(process)
    assert store.orphaned_calls() == (OpenIntent(CallId(call), "acme", boot),)
    assert store.orphaned_calls() == (OpenIntent(CallId(call), "acme", boot),), "it has not closed it yet"
    written(store, Filing((record("recovery", call=CallId(call)),), (CloseCall(CallId(call)), MarkUnsettled(CallId(call), "acme"))))
    with store.source() as source:
        assert verify(source).problems == ()
    assert store.open_calls() == store.orphaned_calls() == ()
    assert [entry.name for entry in (tmp_path / "licet.db-boots").iterdir()] == [store.boot]
    store.close()


def test_a_child_that_outlives_its_parent_does_not_keep_the_lease(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "licet.db"
    process = start("fork", path)
    call, boot, child = heard(process)
    store = SqliteStore.open(path, now=now, keys=KEYS)
    try:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(child, 0)  # the child lives
        orphans = store.orphaned_calls()
        deadline = time.monotonic() + 10
        while not orphans and time.monotonic() < deadline:  # the child lets go in its first moments, which it may not have had yet
            orphans = store.orphaned_calls()
        assert orphans == (OpenIntent(CallId(call), "acme", boot),)
    finally:
        os.kill(child, signal.SIGKILL)
        store.close()


def test_a_process_that_was_declared_dead_by_mistake_commits_nothing_more(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "licet.db"
    process = start("told", path)
    assert heard(process) == "ready"
    tell(process)
    assert heard(process) == "committed"
    for lock in (tmp_path / "licet.db-boots").iterdir():
        lock.unlink()  # somebody tidied up
    store = SqliteStore.open(path, now=now, keys=KEYS)
    assert store.orphaned_calls() == ()
    tell(process)
    assert heard(process) == "LeaseLost"
    tell(process)
    assert heard(process) == "LeaseLost"
    assert [record.index for record in store.records("acme")] == [0]
    store.close()


def test_a_stopped_process_that_holds_the_turn_is_not_waited_for_for_ever(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "licet.db"
    process = start("append", path, 10_000)
    assert heard(process) == "ready"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    tell(process)
    heard(process)
    process.send_signal(signal.SIGSTOP)
    outcome = store_answer(store)
    process.send_signal(signal.SIGCONT)
    assert outcome in ("committed", "StoreUnavailable")  # wherever it was stopped
    assert store_answer(store) == "committed"
    store.close()


def store_answer(store: SqliteStore) -> str:
    try:
        commit(store, [Filing((record("gap"),))])
    except Exception as error:  # noqa: BLE001  its name is the answer
        return type(error).__name__
    return "committed"


def test_a_forked_child_refuses_everything_and_the_parent_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    written(store, Filing((record("gap"),)))
    child = os.fork()
    if child == 0:
        refused = 0
        for attempt in (lambda: commit(store, [Filing((record("gap"),))]), store.logs, store.orphaned_calls):
            try:
                attempt()
            except GateClosed:
                refused += 1
        store.close()
        for read_only in (False, True):
            try:
                SqliteStore.open(path, now=now, keys=KEYS, read_only=read_only)  # SQLite would believe in locks that only the parent holds
            except GateClosed:
                refused += 1
        os._exit(40 + refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 45
    assert store._leases is not None
    assert not store._leases.is_gone(store.boot)
    assert written(store, Filing((record("gap"),)))[0].receipts[0].index == 1
    store.close()


def test_a_child_may_open_what_its_parent_had_closed_before_the_fork(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    SqliteStore.open(path, now=now, keys=KEYS).close()
    child = os.fork()
    if child == 0:
        own = SqliteStore.open(path, now=now, keys=KEYS)
        commit(own, [Filing((record("gap"),))])
        own.close()
        os._exit(42)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    store = SqliteStore.open(path, now=now, keys=KEYS)
    assert [stored.index for stored in store.records("acme")] == [0]
    store.close()
