"""A ledger is made by numbered migrations; an older one is upgraded, a later one used where it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from licet.errors import IntegrityBroken, NotAStore, StoreOutdated
from licet.ledger.report import Report
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.model import RequestId, RequestState
from licet.store.backup import back_up
from licet.store.contract import CloseCall, OpenCall
from licet.store.migrations import on_sqlite
from licet.store.migrations.numbered import Database, Migration, read_migrations, shipped
from licet.store.sqlite import SqliteStore
from licet.store.upgrading import missing_migrations, upgrade_file
from tests.store.earlier import HELD, LEFT, put_ledger_v3
from tests.store.samples import KEYS, call_id, intent, now, outcome, record, small_ledger, voting, written

LAST = shipped("sqlite")[-1].number


def opened(path: Path, *, read_only: bool = False) -> SqliteStore:
    return SqliteStore.open(path, now=now, keys=KEYS, create=False, read_only=read_only)


def verified(path: Path) -> Report:
    store = opened(path, read_only=True)
    with store.source() as source:
        report = verify(source)
    store.close()
    return report


def schema(path: Path) -> Any:
    con = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = con.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
    con.close()
    return found


def changed(path: Path, migration: Migration) -> None:
    """The ledger has seen one more migration than this program ships."""
    con = apsw.Connection(str(path))
    on_sqlite.upgrade(con, [migration], 7)
    con.close()


# what is shipped


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_shipped_migrations_have_no_gap_and_say_what_they_are(database: Database) -> None:
    migrations = shipped(database)
    assert [migration.number for migration in migrations] == list(range(migrations[0].number, migrations[0].number + len(migrations)))


def test_every_later_migration_of_sqlite_says_how_a_ledger_without_it_is_read_or_is_a_contract() -> None:
    assert [migration.title for migration in shipped("sqlite")[1:] if migration.reading is None and migration.kind == "expand"] == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"0001_a.sql": "-- expand\n", "0003_b.sql": "-- expand\n"}, "migration `0003_b` does not come next after `0001_a`"),
        ({"0001_a.sql": "-- expand\n", "0001_b.sql": "-- expand\n"}, "migration `0001_b` does not come next after `0001_a`"),
        ({"0001_a.sql": "CREATE TABLE a (b)"}, "the first line of `0001_a.sql` is neither `-- expand` nor `-- contract`"),
        ({"1_a.sql": "-- expand\n"}, "`1_a.sql` is not named `NNNN_name.sql`"),
    ],
    ids=["gap", "twice", "kind", "name"],
)
def test_files_that_are_no_migrations_are_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="^" + message.replace("`", "`") + "$"):
        read_migrations(tmp_path)


# an earlier ledger


def test_a_ledger_of_version_3_is_not_written_and_its_file_stays_as_it_is(path: Path) -> None:
    put_ledger_v3(path)
    before = path.read_bytes()
    with pytest.raises(StoreOutdated, match=r"has not seen `0004_remote_calls`.*; `licet db upgrade` applies what is missing"):
        opened(path)
    assert path.read_bytes() == before
    assert not path.with_name("licet.db-wal").exists()


def test_a_ledger_of_version_3_can_be_read_and_verified_as_it_is(path: Path) -> None:
    put_ledger_v3(path)
    before = path.read_bytes()
    store = opened(path, read_only=True)
    assert [intent.call for intent in store.open_calls()] == [LEFT]
    store.close()
    report = verified(path)
    assert report.problems == ()
    assert report.records == 12
    assert path.read_bytes() == before


def test_a_ledger_of_version_3_is_upgraded_beside_a_copy_and_goes_on(path: Path, tmp_path: Path) -> None:
    put_ledger_v3(path)
    before, copy = verified(path), tmp_path / "kept.db"
    assert [migration.number for migration in missing_migrations(path)] == list(range(4, LAST + 1))
    assert [migration.number for migration in upgrade_file(path, 7, copy)] == list(range(4, LAST + 1))
    assert upgrade_file(path, 8, tmp_path / "no.db") == ()
    assert not (tmp_path / "no.db").exists(), "what is current is not copied"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert on_sqlite.applied(apsw.Connection(str(copy))) == 3
    store = opened(path)
    waiting = store.get_request(RequestId(HELD))
    assert waiting.state is RequestState.OPEN
    assert [intent.call for intent in store.orphaned_calls()] == [LEFT]
    written(store, Filing((record("gap"),)), voting(waiting, "dana"))
    call = call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme"),)))
    written(store, Filing((outcome(call),), (CloseCall(call),)))
    store.close()
    after = verified(path)
    assert after.problems == ()
    assert after.records == before.records + 4


def test_an_upgraded_ledger_has_the_schema_of_a_new_one(path: Path, tmp_path: Path) -> None:
    put_ledger_v3(path)
    upgrade_file(path, 7, None)
    fresh = tmp_path / "fresh.db"
    SqliteStore.open(fresh, now=now, keys=KEYS).close()
    assert schema(path) == schema(fresh)


def test_a_migration_that_fails_leaves_the_ledger_at_the_one_before(path: Path) -> None:
    put_ledger_v3(path)
    con = apsw.Connection(str(path))
    broken = Migration(5, "broken", "expand", "CREATE TABLE more (a); CREATE TABLE records (b);")
    with pytest.raises(apsw.SQLError, match="records"):
        on_sqlite.upgrade(con, [shipped("sqlite")[1], broken], 7)
    assert on_sqlite.applied(con) == 4
    assert con.execute("SELECT number, kind FROM migrations").fetchall() == [(4, "expand")]
    assert con.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").get == 0
    con.close()


def test_a_backup_of_an_earlier_ledger_is_a_backup(path: Path, tmp_path: Path) -> None:
    put_ledger_v3(path)
    back_up(path, tmp_path / "copy.db")
    assert verified(tmp_path / "copy.db").problems == ()


# a later ledger


def test_a_ledger_that_is_one_expansion_ahead_is_read_and_written(path: Path) -> None:
    SqliteStore.open(path, now=now, keys=KEYS).close()
    changed(path, Migration(LAST + 1, "more", "expand", "CREATE TABLE more (a); ALTER TABLE keys ADD COLUMN note TEXT;"))
    store = opened(path)
    small_ledger(store)
    store.close()
    report = verified(path)
    assert [problem.message for problem in report.problems] == [
        f"the schema is of version {LAST + 1}, which this program cannot check: verify with the program that made it"
    ]


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "reading"])
def test_a_ledger_with_a_contraction_that_the_program_does_not_know_is_not_opened(path: Path, *, read_only: bool) -> None:
    SqliteStore.open(path, now=now, keys=KEYS).close()
    changed(path, Migration(LAST + 1, "more", "expand", "CREATE TABLE more (a);"))
    changed(path, Migration(LAST + 2, "less", "contract", "DROP TABLE more;"))
    with pytest.raises(NotAStore, match=f"schema version {LAST + 2}, which this program does not know; it knows up to version {LAST}"):
        opened(path, read_only=read_only)


def test_who_adds_a_table_without_a_migration_is_found(path: Path) -> None:
    put_ledger_v3(path)
    con = apsw.Connection(str(path))
    con.execute("CREATE TRIGGER quiet AFTER INSERT ON records BEGIN SELECT 1; END")
    con.close()
    assert [problem.message for problem in verified(path).problems] == ["`quiet` of the schema was added"]
    upgrade_file(path, 7, None)
    assert [problem.message for problem in verified(path).problems] == ["`quiet` of the schema was added"]


def test_what_is_damaged_is_not_upgraded(path: Path, tmp_path: Path) -> None:
    put_ledger_v3(path)
    con = apsw.Connection(str(path))
    con.execute("UPDATE logs SET size = size - 1 WHERE name = 'acme'")
    con.close()
    with pytest.raises(IntegrityBroken, match="log `acme` does not end where its tree says"):
        upgrade_file(path, 7, tmp_path / "copy.db")
    assert missing_migrations(path)[0].number == 4
