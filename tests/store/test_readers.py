"""Connections for reading: whatever other threads do at the same moment, a read gets one, and none stays open."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import apsw
import pytest

from licet.ledger.seal import Filing
from licet.store.sqlite import SqliteStore
from licet.store.sqlite_read import Readers
from tests.store.samples import KEYS, now, record, written


class Contended(list[apsw.Connection]):
    """Idle connections that another thread takes between two looks."""

    def __bool__(self) -> bool:
        return True


@pytest.fixture
def opened() -> list[apsw.Connection]:
    return []


@pytest.fixture
def readers(tmp_path: Path, opened: list[apsw.Connection]) -> Readers:
    def connect() -> apsw.Connection:
        opened.append(apsw.Connection(str(tmp_path / "some.db")))
        return opened[-1]

    return Readers(connect)


def is_closed(con: apsw.Connection) -> bool:
    with contextlib.suppress(apsw.ConnectionClosedError):
        con.execute("SELECT 1")
        return False
    return True


def test_a_connection_is_used_again(readers: Readers, opened: list[apsw.Connection]) -> None:
    for _ in range(3):
        with readers.one() as con:
            assert con is opened[0]
    with readers.one(), readers.one():
        assert len(opened) == 2


def test_an_idle_connection_that_another_thread_takes_first_is_replaced(readers: Readers, opened: list[apsw.Connection]) -> None:
    readers._idle = Contended()
    with readers.one() as con:
        assert con is opened[0]


def test_closing_leaves_none_open(readers: Readers, opened: list[apsw.Connection]) -> None:
    with readers.one(), readers.one():
        pass
    with readers.one():
        readers.close()
        assert [is_closed(con) for con in opened].count(True) == 1
    assert all(map(is_closed, opened))


def test_verifications_that_run_for_long_hold_no_call_up(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS)
    written(store, Filing((record(),)))
    with contextlib.ExitStack() as running:
        for _ in range(4):  # as many as there are connections for calls
            assert running.enter_context(store.source()).trees()
        looked: list[str] = []
        looking = threading.Thread(target=lambda: looked.append(store.get_record("acme", 0).kind), daemon=True)
        looking.start()
        looking.join(10)
        assert looked == ["intent"]
    store.close()
