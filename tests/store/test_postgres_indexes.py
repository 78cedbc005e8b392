"""What is asked all the time, or with a count as a condition, goes through an index on PostgreSQL."""

from __future__ import annotations

import pytest

from licet.store.postgres import PostgresStore
from licet.store.postgres_credentials import _RECORDS
from licet.store.postgres_freezes import _COUNT, _ENVELOPES
from licet.store.postgres_reading import Connection
from licet.store.request_rows import LIVE
from tests.store.conftest import PostgresDatabase
from tests.store.samples import small_ledger

ASKED = {
    "records_of_freezes": _COUNT,
    "records_of_freezes ": _ENVELOPES,
    "records_of_admin": _RECORDS.replace("$1", "1").replace("$2", "9"),
    "records_by_call": "SELECT place FROM records WHERE call = 'c' ORDER BY place",
    "records_by_request": "SELECT place FROM records WHERE request = ANY('{r}')",
    "requests_by_asker": "SELECT count(*) FROM requests WHERE asker = 'a' AND expires_at > 1 AND state IN ('open', 'withdrawn', 'superseded') "
    "AND (state != 'withdrawn' OR plan IS NOT NULL)",
    "requests_waiting": f"SELECT id FROM requests WHERE {LIVE} AND (expires_at, number) > (1, 1) ORDER BY expires_at, number LIMIT 20",
    "requests_by_tenant": "SELECT id FROM requests WHERE tenant = 't' AND (expires_at, number) > (1, 1) ORDER BY expires_at, number LIMIT 20",
    "requests_by_key": "SELECT id FROM requests WHERE key = 'k' ORDER BY number DESC LIMIT 1",
    "requests_by_plan": "SELECT id FROM requests WHERE plan = 'p' ORDER BY number",
    "votes_by_request": "SELECT request, person, live FROM votes WHERE request = 'r' ORDER BY number",
    "keys_by_call": "UPDATE keys SET digest = 'd' WHERE call = 'c'",
    "notices_new": "SELECT number FROM notices WHERE spread = 0 ORDER BY number LIMIT 1",
    "deliveries_waiting": "SELECT min(due_at) FROM deliveries WHERE channel = 'b' AND state = 'waiting'",
    "deliveries_by_subject": "SELECT handle FROM deliveries WHERE channel = 'b' AND subject = 's' AND state = 'sent' ORDER BY number DESC LIMIT 1",
    "deliveries_notice_channel_key": "DELETE FROM deliveries WHERE notice = 1",
    "open_calls_overdue": "SELECT call FROM open_calls WHERE deadline IS NOT NULL AND deadline < 1 ORDER BY deadline, call LIMIT 5",
    "secrets_by_tenant": "SELECT min(tenant) FROM secrets WHERE tenant > 't'",
}


@pytest.mark.parametrize("index", ASKED)
def test_what_is_asked_all_the_time_goes_through_its_index(postgres: PostgresDatabase, index: str) -> None:
    store = postgres.open()
    small_ledger(store)
    plan = _explained(store, ASKED[index])
    assert f" {index.strip()} " in f"{plan} "
    assert "Seq Scan" not in plan


def _explained(store: PostgresStore, text: str) -> str:
    """The plan where tables are too large to be read as a whole; those of the tests are not."""

    async def explain(con: Connection) -> str:
        await con.execute("SET LOCAL enable_seqscan = off")
        await con.execute("SET LOCAL enable_sort = off")
        await con.execute("SET LOCAL enable_bitmapscan = off")
        return " ".join([row[0] for row in await con.fetch(f"EXPLAIN (COSTS OFF) {text}")])

    return store._moment(explain)
