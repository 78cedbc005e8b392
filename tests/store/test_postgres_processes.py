"""Several processes on one PostgreSQL: one log without forks while one is killed and while the server is restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.model import CallId
from licet.store.contract import OpenIntent
from licet.store.postgres import PostgresStore
from tests.store.conftest import PostgresDatabase
from tests.store.postgres import Server, remove_server, start_server
from tests.store.samples import record, written

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_server() -> Iterator[Server]:
    """One that the test may stop."""
    server = start_server(fsync="on")
    yield server
    remove_server(server)


@pytest.fixture
def own_postgres(own_server: Server) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(own_server)
    yield database
    for store in database.opened:
        store.close()


def start(verb: str, url: str, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.process", verb, url, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def go(process: subprocess.Popen[str]) -> None:
    """It was ready and goes on."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == "ready"
    process.stdin.write("go\n")
    process.stdin.flush()


def receipts(process: subprocess.Popen[str]) -> dict[int, str]:
    """What it was given, until it ended however it did."""
    out, _ = process.communicate(timeout=120)
    found: dict[int, str] = {}
    for line in out.splitlines():
        try:
            for index, leaf in json.loads(line):
                assert index not in found
                found[index] = leaf
        except json.JSONDecodeError:
            continue  # it was killed within the line
    return found


def size_of(store: PostgresStore) -> int:
    return sum(log.size for log in store.logs())


def assert_there(store: PostgresStore, given: list[dict[int, str]]) -> int:
    """Each receipt is of the record that lies there, no index was given twice, and the ledger verifies; how many records it has."""
    stored = [hashed.envelope for hashed in store.records("acme")]
    told: dict[int, str] = {}
    for one in given:
        assert not told.keys() & one.keys()
        told |= one
    with store.source() as source:
        leaves = [row[5].hex() for rows in source.rows("acme") for row in rows]
        assert verify(source).problems == ()
    assert all(leaves[index] == leaf for index, leaf in told.items())
    return len(stored)


def test_four_processes_write_one_log_without_a_fork(postgres: PostgresDatabase) -> None:
    postgres.open().close()
    processes = [start("append", postgres.url, "50") for _ in range(4)]
    for process in processes:
        go(process)
    given = [receipts(process) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert [len(one) for one in given] == [200] * 4
    assert assert_there(postgres.open(), given) == 800


def test_processes_that_are_killed_lose_nothing_that_was_answered(postgres: PostgresDatabase) -> None:
    store = postgres.open()
    for round_ in range(3):
        processes = [start("append", postgres.url, "100000") for _ in range(3)]
        for process in processes:
            go(process)
        seen = size_of(store)
        until = time.monotonic() + 60
        while size_of(store) < seen + 100:
            assert time.monotonic() < until
            time.sleep(0.02)
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        given = [receipts(process) for process in processes]
        assert all(given), round_
        assert assert_there(store, given) >= sum(map(len, given))
        written(store, Filing((record("gap"),)))


def test_the_calls_of_a_killed_process_are_orphaned(postgres: PostgresDatabase) -> None:
    store = postgres.open()
    process = start("die", postgres.url)
    assert process.stdout is not None
    call, boot = json.loads(process.stdout.readline())
    assert store.orphaned_calls() == ()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + 30
    while not (orphans := store.orphaned_calls()):
        assert time.monotonic() < until
    assert orphans == (OpenIntent(CallId(call), "acme", boot),)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["in order", "as by a crash"])
def test_a_server_that_is_restarted_loses_nothing_and_processes_go_on(own_postgres: PostgresDatabase, how: signal.Signals) -> None:
    store = own_postgres.open()
    written(store, Filing((record("gap"),)))
    processes = [start("append", own_postgres.url, "400") for _ in range(2)]
    for process in processes:
        go(process)
    time.sleep(0.3)
    own_postgres.server.stop(how)
    own_postgres.server.start()
    given = [receipts(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [len(one) for one in given] == [1600, 1600]
    assert assert_there(store, given) == 3201
    written(store, Filing((record("gap"),)))
