"""The log is copied into the database beside the commits, and begins anew."""

from __future__ import annotations

import time
from pathlib import Path

import apsw
import pytest

import licet.store.sqlite
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, now, record, written


def log_bytes(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def some() -> list[Filing]:
    return [Filing((record("gap"),)) for _ in range(20)]


def test_the_log_stays_small_while_commits_go_on_without_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licet.store.sqlite, "CHECKPOINT_PAGES", 50)
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    sizes = []
    for _ in range(400):
        written(store, *some())
        sizes.append(log_bytes(path))
    assert path.stat().st_size > 2_000_000
    assert max(sizes) < path.stat().st_size / 2
    with store.source() as source:
        assert verify(source).records == 8000
    store.close()


def test_a_reader_that_needs_the_log_only_delays_the_copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licet.store.sqlite, "CHECKPOINT_PAGES", 20)
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    written(store, *some())
    with store.source() as source:
        before = sum(len(chunk) for chunk in source.rows("acme"))
        for _ in range(60):
            written(store, *some())
        assert sum(len(chunk) for chunk in source.rows("acme")) == before
    grown = log_bytes(path)
    deadline = time.monotonic() + 20
    while log_pages(path) > 200 and time.monotonic() < deadline:
        written(store, *some())
    assert log_pages(path) <= 200 < grown // 4096
    store.close()


def log_pages(path: Path) -> int:
    """Pages in the log that are valid, copied or not."""
    con = apsw.Connection(str(path))
    try:
        return con.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)[0]
    finally:
        con.close()


def test_closing_leaves_everything_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    written(store, *some())
    store.close()
    assert not path.with_name("licet.db-wal").exists()
    reader = SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    assert len(list(reader.records("acme"))) == 20
    reader.close()
