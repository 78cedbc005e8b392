"""What verification takes for an explanation of a payload that is gone, and what it must not; and records that stand twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from licet.ledger.forgotten import range_of
from licet.ledger.record import Actor, ApprovalEntry, Payload
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.model import RequestState
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, call_id, consuming, now, opening, record, request, voting, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with_store = SqliteStore.open(path, now=now, keys=KEYS)
    yield with_store
    with_store.close()


def problems(store: SqliteStore) -> list[str]:
    """All but what is missing beside the records: the rows of holds and erasures, which these records come without."""
    with store.source() as source:
        return [str(problem) for problem in verify(source).problems if problem.field not in {"holds", "erasures"}]


def tamper(path: Path, text: str, *values: object) -> None:
    con = apsw.Connection(str(path))
    con.execute(text, values)
    con.close()


def drop(path: Path, index: int) -> None:
    """The payload is gone, as a retention rule leaves it."""
    tamper(path, "UPDATE payloads SET sealed = NULL WHERE place = (1 << 40) + ?", index)


def test_an_erasure_explains_payloads_in_every_log(store: SqliteStore, path: Path) -> None:
    """A call that reached into another tenant has a twin in `operator`, which only the erasure in the tenant's log explains."""
    bob = Subject("acme", "Customer", "C-1")
    twin, own = record("denial", "operator", targets=(bob,)), record("denial", "acme", targets=(bob,))
    written(store, Filing((twin, own)))
    pseudonym = store.find_pseudonym(bob)
    written(store, Filing((record("erasure", "acme", marks=(f"Customer::{pseudonym}",)),)))
    tamper(path, "DELETE FROM secrets WHERE pseudonym = ?", pseudonym)
    assert problems(store) == []


def test_an_erasure_explains_nothing_that_came_after_it(store: SqliteStore, path: Path) -> None:
    written(store, Filing((record("erasure", marks=(range_of(0, 9),)),)), Filing((record("gap"), record("gap"))))
    drop(path, 1)
    assert problems(store) == ["log `acme`, record 1, payload: it is missing, and nothing says that it was erased"]


def test_no_erasure_explains_that_of_an_erasure_or_a_legal_hold(store: SqliteStore, path: Path) -> None:
    written(store, Filing((record("legal_hold"), record("erasure"), record("gap"), record("erasure", marks=(range_of(0, 2),)))))
    for index in range(3):
        drop(path, index)
    assert [problem.split(", payload")[0] for problem in problems(store)] == ["log `acme`, record 0", "log `acme`, record 1"]


def test_an_erasure_explains_nothing_that_was_held(store: SqliteStore, path: Path) -> None:
    hold, gap, drops = record("legal_hold", marks=("Tenant::acme",)), record("gap"), record("erasure", marks=(range_of(1, 1),))
    written(store, Filing((hold, gap, drops)))
    drop(path, 1)
    assert problems(store) == ["log `acme`, record 1, payload: it is missing, and nothing says that it was erased"]


def test_a_vote_that_was_erased_makes_the_next_request_for_the_same_call_no_rival(store: SqliteStore, path: Path) -> None:
    first, again = request(), request()
    written(store, opening(first), voting(first, "dana"), voting(first, "omar", seen=1, move=RequestState.APPROVED))
    written(store, consuming(first, call_id(), store), opening(again))
    assert problems(store) == []
    omar = store.find_pseudonym(Subject("acme", "User", "omar"))
    written(store, Filing((record("erasure", marks=(f"User::{omar}",)),)))
    tamper(path, "DELETE FROM secrets WHERE pseudonym = ?", omar)
    assert problems(store) == []


@pytest.mark.parametrize("kind", ["denial", "policy", "gap", "access", "expiry"])
def test_a_record_that_stands_twice_is_found(store: SqliteStore, kind: str) -> None:
    asked = ApprovalEntry(request().id)
    once = record(kind, actor=Actor(agent="bot"), approval=asked, payload=Payload(detail={"event": "expire"}))  # type: ignore[arg-type]
    written(store, Filing((once, record("gap"), once)))
    assert f"log `acme`, record 2, id: record 0 has it already: found `{once.id}`" in problems(store)


def test_one_id_in_two_logs_is_two_records(store: SqliteStore) -> None:
    written(store, Filing((record("gap", id="same"), record("gap", "operator", id="same"))))
    assert problems(store) == []


def test_a_secret_that_is_not_found_by_its_subject_is_found(store: SqliteStore, path: Path) -> None:
    written(store, Filing((record(actor=Actor(agent="bot", user="alice"), kind="denial"),)))
    tamper(path, "UPDATE secrets SET lookup = randomblob(32) WHERE pseudonym = ?", store.find_pseudonym(Subject("acme", "User", "alice")))
    (problem,) = problems(store)
    assert problem.startswith('log `acme`, record 0, payload.names: a pseudonym is not that of this name: expected `User::"alice"`')
