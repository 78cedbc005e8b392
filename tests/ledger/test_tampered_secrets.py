"""What somebody can do to the secrets who can write the file and has no key; and what verification says without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from licet.errors import KeyUnavailable, SecretBroken
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.record import Actor
from licet.ledger.report import Report
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, commit, now, record, small_ledger, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(path, now=now, keys=KEYS)
    yield store
    store.close()


def verified(store: SqliteStore) -> Report:
    with store.source() as source:
        return verify(source)


def tamper(path: Path, text: str) -> None:
    con = apsw.Connection(str(path))
    con.execute(text)
    con.close()


def swap(path: Path, column: str, one: int, two: int) -> None:
    """Two rows of `secrets` have exchanged a value. By way of others, since some are unique."""
    con = apsw.Connection(str(path))
    kept = dict(con.execute(f"SELECT rowid, {column} FROM secrets WHERE rowid IN (?, ?)", (one, two)))
    for place, value in ((one, b"between" if column in ("lookup", "wrapped") else "between"), (two, kept[one]), (one, kept[two])):
        con.execute(f"UPDATE secrets SET {column} = ? WHERE rowid = ?", (value, place))
    con.close()


@pytest.mark.parametrize(("one", "two"), [(1, 2), (2, 3)], ids=["log and person", "two people"])
@pytest.mark.parametrize("column", ["wrapped", "pseudonym"])
def test_secrets_that_were_swapped_open_nothing_and_are_found(store: SqliteStore, path: Path, column: str, one: int, two: int) -> None:
    small_ledger(store)
    swap(path, column, one, two)
    report = verified(store)
    assert any("its bytes are not those that were sealed" in str(problem) for problem in report.problems)
    assert report.locked == 0


def test_every_byte_of_a_secret_that_is_flipped_is_found(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    con = apsw.Connection(str(path))
    for place, wrapped in list(con.execute("SELECT rowid, wrapped FROM secrets")):
        assert isinstance(wrapped, bytes)
        for at in range(0, len(wrapped), 7):
            flipped = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
            con.execute("UPDATE secrets SET wrapped = ? WHERE rowid = ?", (flipped, place))
            assert not verified(store).ok, (place, at)
        con.execute("UPDATE secrets SET wrapped = ? WHERE rowid = ?", (wrapped, place))
    con.close()
    assert verified(store).ok


def test_a_secret_that_was_deleted_is_found_by_every_payload_that_needs_it(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    tamper(path, "DELETE FROM secrets WHERE tenant = 'acme' AND rowid = 2")
    missing = {problem.index for problem in verified(store).problems if "nothing says that it was erased" in problem.message}
    envelopes = {stored.index: json.loads(stored.envelope) for stored in store.records("acme")}
    assert missing == {index for index, envelope in envelopes.items() if envelope.get("actor", {}).get("user")} != set()


def test_a_secret_that_is_said_to_be_under_another_key_is_counted_as_locked(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    tamper(path, "UPDATE secrets SET key = 'ffffffffffffffff' WHERE rowid = 1")
    report = verified(store)
    assert (report.problems, report.locked) == ((), 11)
    store.close()
    with pytest.raises(KeyUnavailable, match=r"1 secrets of the ledger .* are under the key `ffffffffffffffff`"):
        SqliteStore.open(path, now=now, keys=KEYS)


def test_without_the_key_the_hashes_are_checked_and_the_payloads_counted(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    store.close()
    reader = SqliteStore.open(path, now=now, keys=None, read_only=True)
    report = verified(reader)
    assert (report.ok, report.records, report.locked) == (True, 12, 12)
    tamper(path, "UPDATE requests SET state = 'approved' WHERE state = 'open'")
    assert verified(reader).ok  # what nobody can read says nothing of requests
    tamper(path, "UPDATE records SET envelope = CAST(replace(CAST(envelope AS TEXT), 'agent', 'agend') AS BLOB)")
    assert not verified(reader).ok
    reader.close()


def test_a_lookup_that_was_pointed_at_another_secret_is_found_before_a_record_is_about_the_wrong_one(
    store: SqliteStore, path: Path
) -> None:
    alice, bob = (Filing((record(actor=Actor(agent="bot", user=user)),)) for user in ("alice", "bob"))
    written(store, alice, bob)
    store.close()
    swap(path, "lookup", 2, 3)
    again = SqliteStore.open(path, now=now, keys=KEYS)
    for about in (alice, bob):
        with pytest.raises(SecretBroken, match="belongs to another subject than it was found for"):
            commit(again, [about])
    again.close()


def test_a_ledger_is_written_with_no_key_but_its_own(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    store.close()
    before = path.read_bytes()
    with pytest.raises(KeyUnavailable, match=r"are under the key `630dcd2966c43366`, which is not among those at hand: [0-9a-f]{16}$"):
        SqliteStore.open(path, now=now, keys=KeyEncryptionKeys.generate())
    with pytest.raises(KeyUnavailable, match="cannot be written without its key"):
        SqliteStore.open(path, now=now, keys=None)
    assert path.read_bytes() == before
    stranger = SqliteStore.open(path, now=now, keys=KeyEncryptionKeys.generate(), read_only=True)
    report = verified(stranger)
    assert (report.ok, report.locked) == (True, 12)
    stranger.close()


def test_without_the_key_records_are_listed_with_envelopes_and_say_that_they_are_locked(store: SqliteStore, path: Path) -> None:
    small_ledger(store)
    open_ = list(store.records("acme"))
    reader = SqliteStore.open(path, now=now, keys=None, read_only=True)
    locked = list(reader.records("acme"))
    assert [stored.envelope for stored in locked] == [stored.envelope for stored in open_]
    assert {(stored.salt, stored.payload, stored.closed) for stored in locked} == {(None, None, "locked")}
    with pytest.raises(KeyUnavailable, match="was opened without its key"):
        reader.find_dossier("acme", "waiting")
    reader.close()
