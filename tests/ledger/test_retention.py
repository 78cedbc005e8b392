"""Dropping old payloads: what goes, what stays, and what verification makes of it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from licet.ledger.acts import Operator
from licet.ledger.erasure import erase
from licet.ledger.erasure_manifest import ErasureManifest
from licet.ledger.holds import place_hold, release_hold
from licet.ledger.record import Payload, microseconds
from licet.ledger.retention import prune
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.ledger.writer import Writer
from licet.store.contract import CloseCall, DropPayloads, Prunable
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, NOW, now, outcome, record, small_ledger

LATER = microseconds(NOW + timedelta(days=1))


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS)
    writer = Writer(store)
    yield Operator(store=store, writer=writer, environment="test", now=now, by="olga")
    writer.close()
    store.close()


def problems(operator: Operator) -> list[str]:
    with operator.store.source() as source:
        return [str(problem) for problem in verify(source).problems]


def there(operator: Operator, log: str = "acme") -> set[int]:
    return {found.index for found in operator.store.records(log) if found.payload is not None}


def test_old_payloads_go_but_those_of_what_waits_or_runs(operator: Operator) -> None:
    made = small_ledger(operator.store)
    requests = {found.index for found in operator.store.get_dossier(made["waiting"].id).records}
    running = {found.index for found in operator.store.records_of_call(made["left"])}
    size = sum(log.size for log in operator.store.logs() if log.log == "acme")
    assert prune(operator, "acme", LATER, "old", dry_run=True).payloads == size - len(requests | running)
    assert len(there(operator)) == size
    assert prune(operator, "acme", LATER, "old").payloads == size - len(requests | running)
    assert there(operator) == requests | running | {size}, "and the record that says so"
    assert problems(operator) == []
    operator.writer.submit(Filing((outcome(made["left"]),), (CloseCall(made["left"]),))).wait()
    assert prune(operator, "acme", LATER, "old").payloads == len(running) + 1
    assert problems(operator) == []


def test_what_is_young_stays(operator: Operator) -> None:
    small_ledger(operator.store)
    assert prune(operator, "acme", microseconds(NOW), "old").payloads == 0
    assert prune(operator, "nobody", LATER, "old").payloads == 0


def test_a_payload_that_was_kept_is_missed_when_somebody_takes_it_away(operator: Operator, tmp_path: Path) -> None:
    made = small_ledger(operator.store)
    prune(operator, "acme", LATER, "old")
    (index,) = {found.index for found in operator.store.records_of_call(made["left"])}
    with closing(sqlite3.connect(tmp_path / "licet.db")) as con, con:
        con.execute("DELETE FROM payloads WHERE place & 0xffffffffff = ? AND place >> 40 = 1", (index,))
    assert [text for text in problems(operator) if "nothing says that it was erased" in text]


def test_what_is_held_stays_until_the_hold_is_released(operator: Operator) -> None:
    customer = Subject("acme", "Customer", "C-1")
    filing = Filing((record("gap", about=(customer,)), record("gap"), record("gap", about=(customer,))))
    operator.writer.submit(filing).wait()
    hold = place_hold(operator, "acme", customer, "case 7")
    assert prune(operator, "acme", LATER, "old").payloads == 1
    assert there(operator) == {0, 2, 3, 4}
    release_hold(operator, hold.id, "over")
    everything = place_hold(operator, "acme", None, "case 8")
    assert prune(operator, "acme", LATER, "old").held == everything
    release_hold(operator, everything.id, "over")
    assert prune(operator, "acme", LATER, "old").payloads == 2
    assert problems(operator) == []


def test_a_hold_that_is_placed_after_the_search_loses_the_batch_and_nothing_else(operator: Operator) -> None:
    operator.writer.submit(Filing((record("gap"),))).wait()
    found = operator.store.prunable("acme", LATER)
    place_hold(operator, "acme", None, "case 8")
    batch = operator.store.seal(Filing((record("gap"),), (DropPayloads(found),)))
    other = operator.store.seal(Filing((record("gap"),)))
    lost, committed = operator.store.commit([batch, other])
    assert getattr(lost, "condition", None) == "payloads_moved"
    assert getattr(committed, "receipts", None)
    assert there(operator) == {0, 1, 2}
    assert found == Prunable("acme", ((0, 0),), 1, 1)


@pytest.mark.parametrize("seed", range(3))
def test_no_byte_of_what_is_erased_lies_in_any_page(operator: Operator, tmp_path: Path, seed: int) -> None:
    """Rows of several logs come and go between one another, so that pages are split and filled again."""
    chance, subjects = random.Random(seed), [Subject(f"tenant-{number % 3}", "Customer", f"C-{number}") for number in range(60)]
    for _ in range(150):
        some = [chance.choice(subjects) for _ in range(4)]
        size = chance.randrange(10, 2_500)
        filings = [Filing((record("gap", one.tenant, about=(one,), payload=Payload(reason=chance.choice("abc") * size)),)) for one in some]
        for ticket in [operator.writer.submit(filing) for filing in filings]:
            ticket.wait()
    with closing(sqlite3.connect(tmp_path / "licet.db")) as con:
        sealed = con.execute("SELECT CAST(envelope AS TEXT), sealed FROM payloads JOIN records USING (place)").fetchall()
        secrets = dict(con.execute("SELECT pseudonym, wrapped FROM secrets"))
    manifest = ErasureManifest(tmp_path / "licet.db-erasures")
    gone = {one: operator.store.find_pseudonym(one) for one in chance.sample(subjects, 15)}
    for one, pseudonym in gone.items():
        if pseudonym is not None:
            erase(operator, manifest, one, "asked for")
    assert operator.store.rewrite()
    assert operator.store.cut_log()
    lying = b"".join([path.read_bytes() for path in tmp_path.glob("licet.db*") if path.is_file()])
    names = [name for name in gone.values() if name is not None]
    assert [name for name in names if secrets[name] in lying] == []
    assert [text for text, payload in sealed if any(name in text for name in names) and payload in lying] == []
    assert problems(operator) == []
