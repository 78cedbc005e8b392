"""Calls that somebody else executes: of no process, and ended once."""

from __future__ import annotations

from licet.ledger.record import OutcomeEntry, microseconds
from licet.ledger.seal import Filing
from licet.model import CallId
from licet.store.contract import Committed, Lost, OpenCall, Store
from licet.store.remote import EndCall, RemoteCall
from licet.store.unsettled import MarkUnsettled
from tests.store.conftest import Database
from tests.store.samples import NOW, call_id, commit, intent, outcome, record, written

AT = microseconds(NOW)


def opened(store: Store, deadline: int) -> CallId:
    call = call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme", deadline),)))
    return call


def missed(call: CallId) -> Filing:
    return Filing((record("recovery", call=call, outcome=OutcomeEntry(status="unknown")),), (EndCall(call), MarkUnsettled(call, "acme")))


def test_an_open_call_says_until_when_its_end_can_be_reported(store: Store) -> None:
    call = opened(store, AT + 5)
    assert store.find_remote_call(call) == RemoteCall(call, "acme", AT + 5)
    assert [(found.call, found.boot) for found in store.open_calls()] == [(call, store.boot)]


def test_one_that_its_own_process_executes_has_no_deadline(store: Store) -> None:
    call = call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme"),)))
    assert store.find_remote_call(call) is None
    assert store.overdue_calls(AT * 2) == ()


def test_overdue_is_what_lies_before_the_moment_the_longest_first(store: Store) -> None:
    late, later, now, soon = opened(store, AT - 9), opened(store, AT - 5), opened(store, AT), opened(store, AT + 5)
    assert [found.call for found in store.overdue_calls(AT)] == [late, later]
    assert [found.call for found in store.overdue_calls(AT, limit=1)] == [late]
    assert [found.call for found in store.overdue_calls(AT + 6)] == [late, later, now, soon]


def test_a_call_is_ended_once(store: Store) -> None:
    call = opened(store, AT)
    ends = Filing((outcome(call),), (EndCall(call),))
    first, second = commit(store, [ends, missed(call)])
    assert isinstance(first, Committed)
    assert isinstance(second, Lost)
    assert second.condition == "call_ended"
    assert [type(answer) for answer in commit(store, [missed(call)])] == [Lost]
    assert [found.kind for found in store.records_of_call(call)] == ["intent", "outcome"]
    assert (store.find_remote_call(call), store.unsettled_calls(), store.overdue_calls(AT * 2)) == (None, (), ())


def test_one_of_which_nothing_was_heard_is_unsettled(store: Store) -> None:
    call = opened(store, AT)
    written(store, missed(call))
    assert [found.call for found in store.unsettled_calls()] == [call]
    assert [type(answer) for answer in commit(store, [Filing((outcome(call),), (EndCall(call),))])] == [Lost]


def test_a_local_call_is_not_ended_as_one_that_somebody_else_executes(store: Store) -> None:
    call = call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme"),)))
    assert [type(answer) for answer in commit(store, [Filing((outcome(call),), (EndCall(call),))])] == [Lost]
    assert [found.call for found in store.open_calls()] == [call]


def test_it_outlives_the_process_that_wrote_its_intent_and_is_recovered_by_nobody(database: Database) -> None:
    keeping, first = database.open(), database.open()
    call = opened(first, AT + 5)
    first.close()
    second = database.open()
    assert second.orphaned_calls() == ()
    assert keeping.orphaned_calls() == ()
    written(second, Filing((outcome(call),), (EndCall(call),)))
    assert second.open_calls() == ()
