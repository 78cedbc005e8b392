"""Whoever waits asks the store whether anything was committed, and where requests stand (store/versions.py)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from licet.errors import GateClosed, StoreError
from licet.ledger.seal import Filing
from licet.model import RequestId, RequestState
from licet.store.contract import CloseCall, PutBlob, RequestStatus, Store
from licet.store.postgres import PostgresStore
from licet.store.sqlite import SqliteStore
from licet.store.sqlite_versions import FileWatch
from tests.store.conftest import Database
from tests.store.samples import KEYS, NOW, call_id, commit, consuming, now, opening, record, request, voting, written

ROOT = Path(__file__).parents[2]
ASKED = request()
ASKED_ANEW = request("anew")
COMMITS: dict[str, Filing] = {
    "a record": Filing((record(),)),
    "a request": opening(ASKED),
    "a vote": voting(ASKED, "dana"),
    "a move": voting(ASKED, "omar", seen=1, move=RequestState.APPROVED),
    "a snapshot alone": Filing((), (PutBlob("a" * 64, "bundle", b"x"),)),
}


def told(store: Store, before: int) -> int:
    """The token once the store has been told of a commit: at once, or soon after where that goes through a server."""
    until = time.monotonic() + (20 if isinstance(store, PostgresStore) else 0)
    while (token := store.version()) == before and time.monotonic() < until:
        time.sleep(0.001)
    return token


def read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if json.loads(found) == line:
            return
    raise AssertionError(f"the process ended with {process.wait()}")


def test_a_token_stays_as_long_as_nobody_commits(store: Store) -> None:
    written(store, opening(request()))
    assert {store.version() for _ in range(5)} == {store.version()}
    store.requests()
    store.states_of([RequestId("nobody's")])
    assert len({store.version() for _ in range(5)}) == 1


def test_every_commit_of_ones_own_changes_it(store: Store) -> None:
    seen = [store.version()]
    for filing in COMMITS.values():
        written(store, filing)
        seen.append(store.version())
    assert len(set(seen)) == len(COMMITS) + 1


def test_every_commit_of_another_store_on_the_database_changes_it(database: Database) -> None:
    watching, writing = database.open(), database.open()
    seen = [watching.version()]
    for filing in COMMITS.values():
        written(writing, filing)
        seen.append(told(watching, seen[-1]))
    assert len(set(seen)) == len(COMMITS) + 1
    assert len({writing.version() for _ in range(3)}) == 1


def test_a_commit_of_another_process_changes_it(database: Database) -> None:
    if ":memory:" in database.url:
        pytest.skip("no other process has it")
    store = database.open()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.store.process", "told", database.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        read_until(process, "ready")
        seen = [store.version()]
        for _ in range(5):
            process.stdin.write("again\n")
            process.stdin.flush()
            read_until(process, "committed")
            seen.append(told(store, seen[-1]))
        process.stdin.close()
        assert process.wait() == 0
    assert len(set(seen)) == 6


def test_a_commit_between_the_token_and_the_states_changes_the_next_token(database: Database) -> None:
    watching, writing = database.open(), database.open()
    asked = request()
    written(writing, opening(asked))
    before = watching.version()
    written(writing, voting(asked, "dana", "reject", move=RequestState.REJECTED))
    assert watching.states_of([asked.id])[asked.id].state is RequestState.REJECTED
    assert told(watching, before) != before


def test_it_can_be_asked_from_many_threads_while_others_commit(store: Store) -> None:
    seen: list[list[int]] = [[] for _ in range(4)]
    over = threading.Event()

    def ask(found: list[int]) -> None:
        while not over.is_set():
            found.append(store.version())
            time.sleep(0.0002)  # threads that never rest would measure how the interpreter shares itself out

    threads = [threading.Thread(target=ask, args=(found,)) for found in seen]
    for thread in threads:
        thread.start()
    for _ in range(50):
        written(store, Filing((record(),)))
    over.set()
    for thread in threads:
        thread.join()
    last = store.version()
    for found in seen:
        assert len(set(found)) <= 51 + 1
        written(store, Filing((record(),)))
        assert store.version() not in {last, *found}


def test_a_store_that_only_reads_sees_commits_too(database: Database) -> None:
    if ":memory:" in database.url:
        pytest.skip("nobody opens it for reading only")
    writing = database.open()
    written(writing, opening(ASKED_ANEW))
    reading = database.read()
    try:
        before = reading.version()
        written(writing, voting(ASKED_ANEW, "dana", "reject", move=RequestState.REJECTED))
        assert told(reading, before) != before
        assert reading.states_of([ASKED_ANEW.id])[ASKED_ANEW.id].state is RequestState.REJECTED, "without the key"
    finally:
        reading.close()


def test_states_are_those_of_the_rows_and_what_is_not_there_is_left_out(store: Store) -> None:
    open_, soon, rejected, used = request("a"), request("b", expires_in=timedelta(seconds=1)), request("c"), request("d", count=1)
    written(store, *[opening(one) for one in (open_, soon, rejected, used)])
    written(store, voting(rejected, "dana", "reject", move=RequestState.REJECTED), voting(used, "omar", move=RequestState.APPROVED))
    assert store.states_of([used.id]) == {used.id: RequestStatus(RequestState.APPROVED, used.expires_at)}
    written(store, consuming(used, call_id(), store))
    found = store.states_of([one.id for one in (used, rejected, soon, open_)] + [RequestId("nobody's")])
    assert found == {
        open_.id: RequestStatus(RequestState.OPEN, open_.expires_at),
        soon.id: RequestStatus(RequestState.OPEN, NOW + timedelta(seconds=1)),
        rejected.id: RequestStatus(RequestState.REJECTED, rejected.expires_at),
        used.id: RequestStatus(RequestState.CONSUMED, used.expires_at),
    }
    assert store.states_of([]) == {}


def test_states_of_thousands_of_requests_are_read_at_once(store: Store) -> None:
    asked = [request(f"key-{number}") for number in range(2_000)]
    for start in range(0, 2_000, 200):
        written(store, *[opening(one) for one in asked[start : start + 200]])
    assert set(store.states_of({one.id for one in asked})) == {one.id for one in asked}


@pytest.mark.parametrize("name", ["'; DROP TABLE requests; --", "\x00", "\ud83d", '"]', "x" * 100_000])
def test_no_id_is_anything_but_an_id(store: Store, name: str) -> None:
    asked = request()
    written(store, opening(asked))
    assert list(store.states_of([RequestId(name), asked.id])) == [asked.id]


@pytest.mark.parametrize("ask", [lambda store: store.version(), lambda store: store.states_of([RequestId("r")])], ids=["version", "states"])
def test_a_closed_store_says_so(store: Store, ask: Callable[[Store], object]) -> None:
    ask(store)
    store.close()
    with pytest.raises(GateClosed):
        ask(store)


def test_after_an_error_the_token_differs_from_all_before(path: Path) -> None:
    store = SqliteStore.open(path, now=now, keys=KEYS)
    written(store, Filing((record(),)))
    seen = {store.version()}
    assert isinstance(store._watch, FileWatch)
    con = store._watch._con
    assert con is not None
    con.set_progress_handler(lambda: True, 1)  # every statement is interrupted from now on
    with pytest.raises(StoreError):
        store.version()
    assert store.version() not in seen
    written(store, Filing((), (CloseCall(call_id()),)))
    assert commit(store, [Filing((record(),))])
    store.close()
