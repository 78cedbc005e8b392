"""Every committed byte that is flipped is found, in the rows and in the file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from licet.ledger.seal import Filing
from licet.ledger.vault import Vault
from licet.ledger.verify import verify
from licet.store.contract import CloseCall, OpenCall
from licet.store.sqlite import SqliteStore
from licet.store.sqlite_rows import ConnectionSecrets
from licet.store.sqlite_source import SqliteSource
from tests.store.samples import KEYS, call_id, intent, now, outcome, small_ledger, written

PLACES = (1 << 40, (1 << 40) + 1)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A ledger with an intent and its outcome, all in one file."""
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    call = call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme"),)), Filing((outcome(call),), (CloseCall(call),)))
    store.close()
    assert not path.with_name("licet.db-wal").exists()
    return path


@contextmanager
def connected(path: Path) -> Iterator[apsw.Connection]:
    con = apsw.Connection(str(path))
    con.pragma("synchronous", "OFF")
    try:
        yield con
    finally:
        con.close()


def is_found(con: apsw.Connection) -> bool:
    return not verify(source_of(con)).ok


def source_of(con: apsw.Connection) -> SqliteSource:
    return SqliteSource(con, Vault(KEYS, ConnectionSecrets(con)))


@pytest.mark.parametrize(("table", "column"), [("records", "envelope"), ("records", "leaf"), ("payloads", "sealed")])
def test_every_flipped_byte_of_a_row_is_found(closed: Path, table: str, column: str) -> None:
    with connected(closed) as con:
        assert not is_found(con)
        for place in PLACES:
            content = con.execute(f"SELECT {column} FROM {table} WHERE place = ?", (place,)).get
            assert isinstance(content, bytes)
            for at in range(len(content)):
                flipped = content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
                con.execute(f"UPDATE {table} SET {column} = ? WHERE place = ?", (flipped, place))
                assert is_found(con), (table, column, place, at)
            con.execute(f"UPDATE {table} SET {column} = ? WHERE place = ?", (content, place))
        assert not is_found(con)


def test_every_flipped_byte_of_a_record_in_the_file_is_found(closed: Path) -> None:
    with connected(closed) as con:
        rows = con.execute("SELECT envelope, leaf, sealed FROM records JOIN payloads USING (place)").fetchall()
        rows += con.execute("SELECT wrapped FROM secrets").fetchall()
    whole = closed.read_bytes()
    offsets = [start + at for row in rows for part in row for start in [whole.index(part)] for at in range(len(part))]  # type: ignore[arg-type]
    assert len(offsets) > 1000
    missed = [offset for offset in offsets if not is_found_in_file(closed, whole, offset)]
    assert missed == []


@pytest.mark.heavy
def test_a_flipped_byte_anywhere_in_the_file_is_found_or_changes_nothing_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    small_ledger(store)
    with store.source() as source:
        expected = everything(source)
    store.close()
    whole = path.read_bytes()
    for offset in random.Random(7).sample(range(len(whole)), 1500):
        assert is_found_in_file(path, whole, offset, expected), offset


def is_found_in_file(path: Path, whole: bytes, offset: int, expected: object = None) -> bool:
    path.write_bytes(whole[:offset] + bytes([whole[offset] ^ (1 << offset % 8)]) + whole[offset + 1 :])
    try:
        with connected(path) as con:
            return is_found(con) or (expected is not None and everything(source_of(con)) == expected)
    except apsw.Error:
        return True  # SQLite itself refuses the file


def everything(source: SqliteSource) -> object:
    rows = [(tree, [list(chunk) for chunk in source.rows(tree.log)]) for tree in source.trees()]
    rest = [source.requests(), source.votes(), source.taken_keys(), source.open_calls(), source.blobs()]
    return rows, [list(part) for part in rest]
