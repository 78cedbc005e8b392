"""Changing the key-encryption key while others write, and after crashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from licet.errors import KeyUnavailable, StoreError
from licet.ledger.acts import Operator
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.rewrap import rewrap
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.ledger.writer import Writer
from licet.store.sqlite import SqliteStore
from tests.store.faulty import FaultyDisk
from tests.store.samples import now, record

OLD, NEW = os.urandom(32), os.urandom(32)


def about(*ids: str) -> Filing:
    return Filing(tuple([record("gap", about=(Subject("acme", "Customer", id_),)) for id_ in ids]))


def opened(path: Path, *keys: bytes, vfs: str | None = None) -> tuple[SqliteStore, Operator]:
    store = SqliteStore.open(path, now=now, keys=KeyEncryptionKeys(keys), vfs=vfs)
    return store, Operator(store=store, writer=Writer(store), environment="test", now=now, by="olga")


def closed(store: SqliteStore, operator: Operator) -> None:
    operator.writer.close()
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store, operator = opened(tmp_path / "licet.db", OLD)
    operator.writer.submit(about(*[f"C-{number}" for number in range(20)])).wait()
    closed(store, operator)
    return tmp_path / "licet.db"


def assert_whole_under(path: Path, *keys: bytes) -> None:
    store, operator = opened(path, *keys)
    with store.source() as source:
        report = verify(source)
    assert (report.problems, report.locked) == ((), 0)
    closed(store, operator)


def test_everything_lies_under_the_new_key_and_the_old_one_can_go(path: Path) -> None:
    store, operator = opened(path, NEW, OLD)
    done = rewrap(operator, KeyEncryptionKeys([NEW, OLD]))
    assert (done.secrets, done.retired) == (21, (KeyEncryptionKeys([OLD]).current,))
    again = rewrap(operator, KeyEncryptionKeys([NEW, OLD]))
    assert (again.secrets, again.signing_keys) == (0, 0)
    kinds = [found.kind for found in store.records("operator")]
    assert kinds == ["key_rotation", "key_rotation"], "a second run says nothing, for it did nothing"
    closed(store, operator)
    assert_whole_under(path, NEW)
    with pytest.raises(KeyUnavailable, match="which is not among those at hand"):
        opened(path, OLD)


def test_a_process_that_has_only_the_old_key_writes_about_nobody_new_and_says_why(path: Path) -> None:
    late, others = opened(path, OLD)
    others.writer.submit(about("C-1")).wait()
    store, operator = opened(path, NEW, OLD)
    rewrap(operator, KeyEncryptionKeys([NEW, OLD]))
    others.writer.submit(about("C-1")).wait()  # it knows this one
    with pytest.raises(KeyUnavailable, match="which is not among those at hand"):  # what it knew was forgotten when it was refused
        others.writer.submit(about("C-99")).wait()
    closed(store, operator)
    closed(late, others)
    assert_whole_under(path, NEW)


def test_without_the_key_that_is_needed_nothing_is_changed(path: Path) -> None:
    store, operator = opened(path, OLD)
    with pytest.raises(KeyUnavailable, match="secrets lie under the key"):
        rewrap(operator, KeyEncryptionKeys([NEW]))
    assert not any(use.retired for use in store.key_uses())
    closed(store, operator)


def test_a_key_that_was_replaced_never_wraps_again(path: Path) -> None:
    store, operator = opened(path, NEW, OLD)
    rewrap(operator, KeyEncryptionKeys([NEW, OLD]))
    with pytest.raises(KeyUnavailable, match="was replaced before"):
        rewrap(operator, KeyEncryptionKeys([OLD, NEW]))
    closed(store, operator)


@pytest.mark.parametrize("done_first", [False, True])
def test_a_crash_at_each_write_leaves_what_the_next_run_ends(path: Path, *, done_first: bool) -> None:
    disk, made = FaultyDisk(), path.read_bytes()
    number, failed = 0, True
    while failed:
        copy = path.with_name(f"{number}.db")
        copy.write_bytes(made)
        store, operator = opened(copy, NEW, OLD, vfs=disk.name)
        disk.fail(number, done_first=done_first, still=True)
        try:
            rewrap(operator, KeyEncryptionKeys([NEW, OLD]))
            failed = len(disk.operations) > number
        except StoreError:
            pass
        disk.fail(None)
        closed(store, operator)
        store, operator = opened(copy, NEW, OLD)
        rewrap(operator, KeyEncryptionKeys([NEW, OLD]))
        closed(store, operator)
        assert_whole_under(copy, NEW)
        number += 1
    assert number > 3
