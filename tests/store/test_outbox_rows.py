"""Notices and deliveries as rows, on every database: beside the requests that they tell of, and between processes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec import structs

from licet.ledger.record import microseconds
from licet.ledger.seal import Filing
from licet.model import Request, RequestState
from licet.store.contract import Lost, Store
from licet.store.outbox import (
    ERROR_LIMIT,
    KEPT_S,
    BeginAttempt,
    EndAttempt,
    EndDelivering,
    NewDelivery,
    OutboxChange,
    SkipStale,
    Spread,
    TakeDelivering,
)
from licet.store.outbox_rows import SUPERSEDED
from tests.store.conftest import Database, PostgresDatabase
from tests.store.raw import execute
from tests.store.replicas import Replica, at_once, replicas_of, won
from tests.store.samples import NOW, call_id, commit, consuming, opening, request, voting, written

AT = microseconds(NOW)


def do(store: Store, change: OutboxChange) -> Lost | None:
    """What was lost, if something was."""
    (answer,) = commit(store, [Filing((), (change,))])
    return answer if isinstance(answer, Lost) else None


def events(store: Store) -> list[tuple[str, str]]:
    return [(notice.request, notice.event) for notice in store.new_notices()]


def spread(store: Store, key: str = "key", subject: str | None = None, at: int = AT) -> int:
    """A request whose opening has one delivery; its number."""
    asked = request(key)
    written(store, opening(asked))
    notice = store.new_notices()[-1]
    assert notice.request == asked.id
    assert do(store, Spread(notice.number, (NewDelivery(channel="box", subject=subject or asked.id),), at)) is None
    return store.deliveries()[0].number


def later(seconds: int) -> Request:
    """A request that is opened that much later."""
    made = request(f"key-{seconds}", expires_in=timedelta(days=90))
    return structs.replace(made, opened_at=NOW + timedelta(seconds=seconds))


def test_what_happens_to_a_request_leaves_its_notices_in_the_same_batch(store: Store) -> None:
    asked = request()
    written(store, opening(asked), voting(asked, "dana"), voting(asked, "omar", seen=1, move=RequestState.APPROVED))
    written(store, consuming(asked, call_id(), store))
    assert [event for _, event in events(store)] == ["opened", "vote", "vote", "approved", "consumed"]
    assert {(notice.request, notice.tenant, notice.at) for notice in store.new_notices()} == {(asked.id, "acme", AT)}
    commit(store, [consuming(asked, call_id(), store), opening(asked)])
    assert len(events(store)) == 5, "what is lost leaves none"
    assert store.new_notices(2) == store.new_notices()[:2]


def test_a_notice_is_spread_once_and_found_afterwards(store: Store) -> None:
    written(store, opening(request()))
    (notice,) = store.new_notices()
    ended = NewDelivery(channel="other", subject="s", state="skipped", error="not wanted")
    change = Spread(notice.number, (NewDelivery(channel="box", subject="s"), ended), 7)
    assert do(store, change) is None
    assert do(store, change) == Lost("notice_spread", f"notice {notice.number} has its deliveries")
    assert store.new_notices() == ()
    assert store.get_notice(notice.number) == notice
    with pytest.raises(KeyError, match="no notice"):
        store.get_notice(notice.number + 1)
    other, box = store.deliveries()
    assert (box.channel, box.state, box.due_at, box.done_at, box.event, box.tenant) == ("box", "waiting", 7, None, "opened", "acme")
    assert (other.channel, other.state, other.done_at, other.error) == ("other", "skipped", 7, "not wanted")


def test_an_attempt_begins_once_and_ends_once(store: Store) -> None:
    number = spread(store)
    moved = Lost("delivery_moved", f"delivery {number} is somebody else's")
    begin = BeginAttempt(number, 1, 5, 9)
    assert [do(store, begin), do(store, begin), do(store, BeginAttempt(number, 3, 5, 9))] == [None, moved, moved]
    assert do(store, EndAttempt(delivery=number, attempt=2, state="sent", at=6)) == moved
    assert do(store, EndAttempt(delivery=number, attempt=1, state="waiting", at=6, due_at=20, error="x" * 1000)) is None
    (delivery,) = store.deliveries()
    assert (delivery.state, delivery.attempts, delivery.due_at, delivery.done_at) == ("waiting", 1, 20, None)
    assert delivery.error == f"{'x' * (ERROR_LIMIT - 3)}..."
    assert do(store, EndAttempt(delivery=number, attempt=1, state="sent", at=21, handle="h")) is None
    assert do(store, EndAttempt(delivery=number, attempt=1, state="failed", at=22)) == moved
    assert (store.find_handle("box", delivery.subject), store.find_handle("other", delivery.subject)) == ("h", None)
    assert store.deliveries()[0].done_at == 21


def test_of_one_subject_the_newest_delivery_is_due_and_ends_the_others(store: Store) -> None:
    first, second, other = spread(store, "a", "s", 1), spread(store, "b", "s", 2), spread(store, "c", at=3)
    assert [one.number for one in store.due_deliveries("box", 3)] == [second, other]
    assert [one.number for one in store.due_deliveries("box", 2)] == [second]
    assert [one.number for one in store.due_deliveries("box", 3, 1)] == [second]
    assert store.due_deliveries("box", 0) == store.due_deliveries("other", 9) == ()
    assert (store.next_due("box"), store.next_due("other")) == (1, None)
    assert do(store, BeginAttempt(second, 1, 5, 50)) is None
    ended = store.deliveries(states=("skipped",))
    assert [(one.number, one.error, one.done_at) for one in ended] == [(first, SUPERSEDED, 5)]
    assert [one.number for one in store.deliveries(channel="box", states=("waiting", "sent"), limit=1)] == [other]
    assert [one.number for one in store.deliveries()] == [other, second, first]
    assert store.deliveries(channel="elsewhere") == ()


def test_what_is_stale_is_counted_and_skipped_and_nothing_else(store: Store) -> None:
    spread(store)
    written(store, opening(request("unspread")))
    written(store, opening(later(100)))
    before = AT + 50_000_000
    assert store.count_stale(before) == (1, 1)
    assert do(store, SkipStale(before, 9, "too old")) is None
    assert store.count_stale(before) == (0, 0)
    assert [(one.state, one.error) for one in store.deliveries()] == [("skipped", "too old")]
    assert [notice.at for notice in store.new_notices()] == [AT + 100_000_000]


def test_what_is_too_old_goes_when_something_new_comes_and_no_number_is_used_twice(store: Store) -> None:
    numbers = [spread(store, key) for key in ("a", "b")]
    newest = store.deliveries()[0].notice
    written(store, opening(later(KEPT_S + 1)))
    assert store.deliveries() == ()
    (notice,) = store.new_notices()
    assert notice.number > newest
    with pytest.raises(KeyError):
        store.get_notice(newest)
    assert numbers == sorted(numbers)


def test_the_lease_passes_on_when_its_holder_is_gone_silent_or_has_ended_and_not_before(database: Database) -> None:
    store, other = database.open(), database.open()
    taken = Lost("delivering_taken", "another process delivers")
    assert do(store, TakeDelivering(store.boot, 100, 0)) is None
    assert do(store, TakeDelivering(store.boot, 200, 0)) is None
    assert do(other, TakeDelivering(other.boot, 210, 199)) == taken
    assert do(other, TakeDelivering(other.boot, 210, 200)) is None, "silent since"
    assert do(store, TakeDelivering(store.boot, 220, 0)) == taken
    assert do(store, TakeDelivering(store.boot, 220, 0, gone=other.boot)) is None
    assert do(store, EndDelivering(other.boot)) is None
    holder = store.find_deliverer()
    assert holder is not None
    assert (holder.boot, holder.at) == (store.boot, 220)
    assert do(store, EndDelivering(store.boot)) is None
    assert store.find_deliverer() is None
    assert do(other, TakeDelivering(other.boot, 230, 0)) is None
    execute(store, "UPDATE boots SET state = 'dead' WHERE id = ?", other.boot)
    assert do(store, TakeDelivering(store.boot, 240, 0)) is None


def test_overdue_requests_are_the_live_ones_past_their_time_the_oldest_first(store: Store) -> None:
    asked = [request(f"key-{seconds}", expires_in=timedelta(seconds=seconds)) for seconds in (30, 10, 20)]
    written(store, *[opening(one) for one in asked])
    written(store, voting(asked[2], "dana", "reject", move=RequestState.REJECTED))
    assert store.overdue_requests(AT + 9_999_999) == ()
    assert store.overdue_requests(AT + 30_000_000) == (asked[1].id, asked[0].id)
    assert store.overdue_requests(AT + 30_000_000, limit=1) == (asked[1].id,)


def test_what_a_peer_says_can_be_kept_whatever_it_is(postgres: PostgresDatabase) -> None:
    """PostgreSQL holds no NUL character and no half of a surrogate pair: an error that has one must not stop the deliverer."""
    store = postgres.open()
    number = spread(store)
    assert do(store, EndAttempt(delivery=number, attempt=0, state="failed", at=1, error="a\0b\ud800c", handle="h\0")) is None
    (delivery,) = store.deliveries()
    assert (delivery.error, delivery.handle) == ("a\ufffdb?c", "h\ufffd")
    assert store.find_handle("b\0x", "s\ud800") is None


@pytest.fixture
def replicas(postgres: PostgresDatabase) -> Iterator[list[Replica]]:
    with replicas_of(postgres) as made:
        yield made


def test_of_sixteen_who_try_one_delivers_spreads_and_begins(replicas: list[Replica]) -> None:
    store = replicas[0].store
    written(store, opening(request()))
    (notice,) = store.new_notices()
    takes = at_once(replicas, lambda replica, _: replica.answer(Filing((), (TakeDelivering(replica.store.boot, 100, 0),))))
    holder = store.find_deliverer()
    assert holder is not None
    assert won(takes) == 4, "each thread of one process may, and nobody else"
    spreads = at_once(
        replicas, lambda replica, _: replica.answer(Filing((), (Spread(notice.number, (NewDelivery(channel="box", subject="s"),), 1),)))
    )
    assert won(spreads) == 1
    (delivery,) = store.deliveries()
    begins = at_once(replicas, lambda replica, _: replica.answer(Filing((), (BeginAttempt(delivery.number, 1, 5, 9),))))
    assert won(begins) == 1
    assert store.deliveries()[0].attempts == 1


def test_old_notices_go_while_the_outbox_is_at_work_and_nobody_waits_in_a_ring(replicas: list[Replica]) -> None:
    for number in range(40):
        spread(replicas[0].store, f"old-{number}")
    deliveries = [one.number for one in replicas[0].store.deliveries()]

    def act(replica: Replica, number: int) -> None:
        if number % 2:
            for round_ in range(10):
                made = later(KEPT_S + 1 + number * 100 + round_)
                replica.write(opening(made))
        else:
            for delivery in deliveries[number * 2 : number * 2 + 10]:
                replica.answer(Filing((), (BeginAttempt(delivery, 1, 5, 9), SkipStale(AT + 1, 9, "old"))))
                replica.answer(Filing((), (EndAttempt(delivery=delivery, attempt=1, state="sent", at=6),)))

    at_once(replicas, act)
    replicas[1].write(*[opening(later(KEPT_S + 10_000 + number)) for number in range(6)])
    assert replicas[2].store.deliveries() == ()
    assert len(replicas[2].store.new_notices()) == 80 + 6
