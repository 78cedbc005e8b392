"""What a store promises of calls of which nobody saw the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec import structs

from licet.ledger.entropy import new_id
from licet.ledger.record import OutcomeEntry, Payload
from licet.ledger.seal import Filing, Statement
from licet.ledger.verify import verify
from licet.model import CallId
from licet.store.contract import CloseCall, Committed, Lost, OpenCall, Store
from licet.store.sqlite import SqliteStore
from licet.store.unsettled import EndUnsettled, MarkUnsettled, Settle, UnsettledCall
from tests.store.conftest import Database
from tests.store.samples import KEYS, call_id, commit, intent, now, outcome, record, small_ledger, written


def ended(call: CallId, status: str = "unknown", log: str = "acme") -> Statement:
    return record("outcome", log, payload=Payload(), call=call, outcome=OutcomeEntry(status=status))


def begin(store: Store, log: str = "acme") -> CallId:
    """A call that is open."""
    call = call_id()
    written(store, Filing((intent(call, store, log=log),), (OpenCall(call, log),)))
    return call


def lose(store: Store, log: str = "acme", status: str = "unknown") -> CallId:
    """A call of which nobody saw the end."""
    call = begin(store, log)
    written(store, Filing((ended(call, status, log),), (CloseCall(call), MarkUnsettled(call, log))))
    return call


def settling(call: CallId) -> Filing:
    return Filing((outcome(call, late=True),), (Settle(call),))


def problems(store: Store) -> list[str]:
    with store.source() as source:
        return [problem.message for problem in verify(source).problems]


def test_a_call_is_unsettled_until_it_is_settled(store: Store) -> None:
    call = lose(store)
    assert store.unsettled_calls() == (UnsettledCall(call, "acme"),)
    assert store.is_unsettled(call)
    written(store, settling(call))
    assert store.unsettled_calls() == ()
    assert not store.is_unsettled(call)
    assert problems(store) == []


def test_calls_are_listed_by_log_the_oldest_first(store: Store) -> None:
    first, there, last = lose(store), lose(store, "globex"), lose(store)
    calls = sorted([first, there, last])
    assert [found.call for found in store.unsettled_calls()] == calls
    assert store.unsettled_calls("globex") == (UnsettledCall(there, "globex"),)
    assert store.unsettled_calls("nowhere") == ()


def test_a_late_end_needs_no_row(store: Store) -> None:
    call = lose(store)
    late = Filing((outcome(call, late=True),), (EndUnsettled(call),))
    written(store, late, Filing((outcome(call, late=True),), (EndUnsettled(call),)))
    assert store.unsettled_calls() == ()
    assert problems(store) == []


def test_a_late_end_that_nobody_saw_either_leaves_the_call_unsettled(store: Store) -> None:
    call = lose(store)
    said = record("outcome", payload=Payload(detail={"late": True}), call=call, outcome=OutcomeEntry(status="timeout", code="TimeoutError"))
    written(store, Filing((said,)))
    assert store.is_unsettled(call)
    assert problems(store) == []
    written(store, settling(call), Filing((structs.replace(said, id=new_id()),)))
    assert not store.is_unsettled(call), "and nothing makes a settled call unsettled again"
    assert problems(store) == []


def test_of_two_settlements_in_one_group_the_second_is_lost_alone(store: Store) -> None:
    call, other = lose(store), lose(store)
    first, second, third = commit(store, [settling(call), settling(call), settling(other)])
    assert isinstance(first, Committed)
    assert second == Lost("already_settled", f"call `{call}` is not unsettled, or not any more")
    assert isinstance(third, Committed)
    assert len([one for one in store.records_of_call(call) if one.kind == "outcome"]) == 2
    assert problems(store) == []


def test_a_call_that_is_lost_and_settled_in_one_group_is_settled(store: Store) -> None:
    call = begin(store)
    lost = Filing((ended(call),), (CloseCall(call), MarkUnsettled(call, "acme")))
    assert [type(answer) for answer in commit(store, [lost, settling(call)])] == [Committed, Committed]
    assert store.unsettled_calls() == ()
    assert problems(store) == []


def test_a_call_that_ended_is_not_settled(store: Store) -> None:
    call = begin(store)
    written(store, Filing((outcome(call),), (CloseCall(call),)))
    (answer,) = commit(store, [settling(call)])
    assert isinstance(answer, Lost)
    assert len(store.records_of_call(call)) == 2


def test_what_loses_another_condition_leaves_the_call_unsettled(store: Store) -> None:
    call, ended_call = lose(store), lose(store)
    written(store, settling(ended_call))
    (answer,) = commit(store, [Filing((outcome(call, late=True),), (Settle(call), Settle(ended_call)))])
    assert isinstance(answer, Lost)
    assert store.is_unsettled(call)


def test_of_two_processes_one_settles(database: Database) -> None:
    one, other = database.open(), database.open()
    calls = [lose(one) for _ in range(20)]
    with ThreadPoolExecutor(2) as threads:
        mine, theirs = threads.map(lambda store: [commit(store, [settling(call)])[0] for call in calls], (one, other))
    settled = [[isinstance(answer, Committed) for answer in answers] for answers in (mine, theirs)]
    assert [sum(pair) for pair in zip(*settled, strict=True)] == [1] * len(calls)
    assert problems(one) == []


@pytest.mark.parametrize("status", ["unknown", "timeout"])
def test_a_row_that_was_deleted_is_missed(path: Path, status: str) -> None:
    store = _on(path)
    call = lose(store, status=status)
    assert problems(store) == []
    with store._writing() as con:
        con.execute("DELETE FROM unsettled WHERE call = ?", (call,))
    assert problems(store) == ["a call of which nobody saw the end is not known as unsettled"]
    store.close()


@pytest.mark.parametrize("edit", ["INSERT INTO unsettled VALUES (?, 'acme')", "INSERT INTO unsettled VALUES (?, 'globex')"])
def test_a_row_that_no_record_explains_is_found(path: Path, edit: str) -> None:
    store = _on(path)
    call = begin(store)
    written(store, Filing((outcome(call),), (CloseCall(call),)))
    with store._writing() as con:
        con.execute(edit, (call,))
    assert problems(store) == [f"the row of call {call} is not what the records say"]
    store.close()


def test_a_row_that_was_moved_to_another_log_is_found(path: Path) -> None:
    store = _on(path)
    call = lose(store)
    with store._writing() as con:
        con.execute("UPDATE unsettled SET log = 'globex'")
    assert problems(store) == [f"the row of call {call} is not what the records say"]
    store.close()


def test_a_record_that_says_unknown_without_its_row_is_found(store: Store) -> None:
    call = begin(store)
    written(store, Filing((ended(call, "timeout"),), (CloseCall(call),)))
    assert problems(store) == ["a call of which nobody saw the end is not known as unsettled"]


def test_a_word_that_stands_elsewhere_in_the_envelope_is_no_status(store: Store) -> None:
    call = begin(store)
    said = record("outcome", payload=Payload(), call=call, outcome=OutcomeEntry(status="ok", code="timeout unknown"))
    written(store, Filing((said,), (CloseCall(call),)))
    assert problems(store) == []


def test_a_ledger_without_such_calls_has_no_rows(store: Store) -> None:
    small_ledger(store)
    assert store.unsettled_calls() == ()
    assert problems(store) == []


def _on(path: Path) -> SqliteStore:
    return SqliteStore.open(path, now=now, keys=KEYS)
