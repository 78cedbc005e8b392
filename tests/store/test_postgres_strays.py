"""What nobody wrote into a PostgreSQL database is found."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.store.contract import AppendHead, Store
from licet.store.postgres import PostgresStore
from tests.store.conftest import PostgresDatabase
from tests.store.postgres import Server
from tests.store.raw import execute
from tests.store.samples import record, small_ledger, written
from tests.store.schema_of_postgres import FILE, made


def problems(store: Store) -> list[str]:
    with store.source() as source:
        return [problem.message for problem in verify(source).problems]


@pytest.fixture
def store(postgres: PostgresDatabase) -> PostgresStore:
    store = postgres.open()
    small_ledger(store)
    assert problems(store) == []
    return store


def test_what_is_shipped_of_the_schema_is_what_the_migrations_make(postgres_server: Server) -> None:
    """Write it anew with `python -m tests.store.schema_of_postgres`."""
    url = postgres_server.make_database()
    assert msgspec.json.decode(FILE.read_bytes()) == asyncio.run(made(url))
    postgres_server.drop_database(url)


_ACTS = "CREATE FUNCTION act() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
CHANGES = {
    "a trigger": (
        f"{_ACTS}; CREATE TRIGGER quiet BEFORE DELETE ON freezes FOR EACH ROW EXECUTE FUNCTION act()",
        "`trigger quiet of freezes` of the schema was added",
    ),
    "a rule": ("CREATE RULE quiet AS ON DELETE TO freezes DO INSTEAD NOTHING", "`rule quiet of freezes` of the schema was added"),
    "a policy": (
        "CREATE POLICY hides ON votes USING (live = 1); ALTER TABLE votes ENABLE ROW LEVEL SECURITY",
        "`policy hides of votes` of the schema was added, `table votes` of the schema was changed",
    ),
    "an index that is gone": ("DROP INDEX requests_live", "`index requests_live` of the schema is missing"),
    "an index that is another": (
        "DROP INDEX votes_live; CREATE UNIQUE INDEX votes_live ON votes (request, person, number) WHERE live = 1",
        "`index votes_live` of the schema was changed",
    ),
    "a table that forgets": (
        "ALTER TABLE keys SET UNLOGGED",
        "`table keys` of the schema was changed",
    ),
    "a column": ("ALTER TABLE records ADD COLUMN note TEXT", "`table records` of the schema was changed"),
    "a value by itself": ("ALTER TABLE votes ALTER COLUMN live SET DEFAULT 0", "`table votes` of the schema was changed"),
    "a table below": ("CREATE TABLE more () INHERITS (records)", "`table more` of the schema was added"),
    "a constraint": (
        "ALTER TABLE freezes ADD CONSTRAINT no CHECK (name <> 'bot') NOT VALID",
        "`constraint no of freezes` of the schema was added",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_schema_that_was_changed_is_found(store: PostgresStore, name: str) -> None:
    text, message = CHANGES[name]
    execute(store, text)
    found = problems(store)
    assert [part for part in message.split(", ") if part not in found] == []
    assert [part for part in found if "of the schema" not in part] == []


def test_other_tables_of_the_database_are_not_looked_at(store: PostgresStore) -> None:
    execute(store, "CREATE TABLE of_others (id BIGINT PRIMARY KEY); CREATE SCHEMA beside; CREATE TABLE beside.records (place BIGINT)")
    assert problems(store) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "UPDATE head_tiles SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1)",
            "tile 0 of level 0 of the head log is not what its entries make",
        ),
        ("DELETE FROM head_tiles", "tile 0 of level 0 of the head log is not what its entries make"),
        ("INSERT INTO head_tiles VALUES (1, 0, 'x')", "tile 0 of level 1 of the head log is of entries that are not there"),
        ("INSERT INTO payloads VALUES ((1::BIGINT << 40) | 9999, 'x')", "a payload belongs to no record"),
        ("INSERT INTO payloads VALUES (7777::BIGINT << 40, 'x')", "a row of payloads belongs to no log"),
    ],
)
def test_rows_that_do_not_fit_are_found(store: PostgresStore, text: str, message: str) -> None:
    written(store, *[Filing((record("gap", f"log-{number:03}"),)) for number in range(256)])
    written(store, Filing((), (AppendHead(1),)))
    assert problems(store) == []
    execute(store, text)
    assert [found for found in problems(store) if message in found]


def test_a_signing_key_under_another_name_is_found(store: PostgresStore) -> None:
    execute(
        store, "INSERT INTO signing_keys (vkey, key, wrapped) SELECT 'licet.invalid/x+00000000+AAAA', key, wrapped FROM secrets LIMIT 1"
    )
    assert "signing key 1 is not the one that it is kept as" in problems(store)
