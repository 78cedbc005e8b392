"""Notices in the transaction of what they tell of, and the rows of their deliveries."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest

from licet.errors import ConditionLost, VoteRefused
from licet.gate.results import Held
from licet.model import RequestId
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
from licet.store.sqlite import SqliteStore
from licet.testing import vote
from tests.approvals.notify.post import Post, let_live, post, sql
from tests.gate.proof import assert_whole

SECOND = 1_000_000


@pytest.fixture
def p() -> Iterator[Post]:
    with post() as made:
        yield made


def do(p: Post, change: OutboxChange) -> None:
    p.office.submit(change).wait()


def lost(p: Post, change: OutboxChange) -> str:
    with pytest.raises(ConditionLost) as raised:
        do(p, change)
    return raised.value.condition


def events(p: Post) -> list[tuple[str, str]]:
    return [(notice.request, notice.event) for notice in p.w.gate.store.new_notices()]


def spread(p: Post, amount_cents: int = 50_000, subject: str | None = None) -> int:
    """A request whose opening has one delivery; its number."""
    request = p.w.held(amount_cents).request
    notice = p.w.gate.store.new_notices()[-1]
    assert notice.request == request
    do(p, Spread(notice.number, (NewDelivery(channel="box", subject=subject or str(request)),), p.office.now_us()))
    return p.log()[-1].number


def test_everything_that_happens_to_a_request_leaves_a_notice(p: Post) -> None:
    request = RequestId(str(p.w.held().request))
    desk = p.w.gate.approvals
    vote(p.w.gate, request, "lena")
    desk.take_back(request, "lena")
    vote(p.w.gate, request, "lena")
    p.w.adjust(50_000)
    assert [event for _, event in events(p)] == ["opened", "vote", "approved", "vote", "reopened", "vote", "approved", "consumed"]
    other = RequestId(str(p.w.held(60_000).request))
    desk.withdraw(other, "alice")
    third = RequestId(str(p.w.held(70_000).request))
    p.w.clock.advance(3_600)
    desk.show(third)
    assert events(p)[8:] == [(other, "opened"), (other, "withdrawn"), (third, "opened"), (third, "expired")]
    assert {notice.tenant for notice in p.w.gate.store.new_notices()} == {"acme"}


def test_what_was_held_anew_is_told_with_its_successor(p: Post) -> None:
    request = str(p.w.held().request)
    vote(p.w.gate, RequestId(request), "lena")
    p.w.customers["C-1"]["balance"] += 1
    anew = p.w.adjust(50_000)
    assert isinstance(anew, Held)
    assert events(p)[-2:] == [(request, "superseded"), (anew.request, "opened")]


def test_what_is_refused_leaves_no_notice(p: Post) -> None:
    request = p.w.held().request
    before = events(p)
    for voter in ("alice", "carl"):
        with pytest.raises(VoteRefused):
            vote(p.w.gate, request, voter)
    p.w.held()  # the same call finds its request
    assert events(p) == before


def test_a_notice_is_spread_once(p: Post) -> None:
    p.w.held()
    notice = p.w.gate.store.new_notices()[0]
    change = Spread(notice.number, (NewDelivery(channel="box", subject="s"), NewDelivery(channel="other", subject="s")), 1)
    do(p, change)
    assert p.w.gate.store.new_notices() == ()
    assert lost(p, change) == "notice_spread"
    assert len(p.log()) == len(p.log("other")) == 1
    assert p.w.gate.store.get_notice(notice.number) == notice
    with pytest.raises(KeyError):
        p.w.gate.store.get_notice(notice.number + 1)


def test_an_attempt_begins_once_and_ends_once(p: Post) -> None:
    number = spread(p)
    begin = BeginAttempt(number, 1, 5, 7 * SECOND)
    do(p, begin)
    assert lost(p, begin) == "delivery_moved"
    assert lost(p, BeginAttempt(number, 3, 5, 7)) == "delivery_moved"
    assert lost(p, EndAttempt(delivery=number, attempt=2, state="sent", at=6)) == "delivery_moved"
    do(p, EndAttempt(delivery=number, attempt=1, state="sent", at=6, handle="h"))
    assert lost(p, EndAttempt(delivery=number, attempt=1, state="failed", at=6)) == "delivery_moved"
    assert lost(p, BeginAttempt(number, 2, 5, 7)) == "delivery_moved"
    (delivery,) = p.log()
    assert (delivery.state, delivery.attempts, delivery.done_at, delivery.handle) == ("sent", 1, 6, "h")
    assert p.w.gate.store.find_handle("box", delivery.subject) == "h"
    assert p.w.gate.store.find_handle("other", delivery.subject) is None


def test_a_newer_delivery_of_the_same_subject_hides_the_older_and_ends_it_when_it_begins(p: Post) -> None:
    store, first, second, other = p.w.gate.store, spread(p, subject="s"), spread(p, 60_000, subject="s"), spread(p, 70_000)
    assert [one.number for one in store.due_deliveries("box", p.office.now_us())] == [second, other]
    do(p, BeginAttempt(second, 1, 5, p.office.now_us() + 9 * SECOND))
    assert [one.state for one in p.log()] == ["skipped", "waiting", "waiting"]
    assert [one.number for one in store.due_deliveries("box", p.office.now_us())] == [other]
    assert store.next_due("box") == p.office.now_us()
    assert store.next_due("other") is None
    assert first < second


def test_an_error_is_cut(p: Post) -> None:
    number = spread(p)
    do(p, EndAttempt(delivery=number, attempt=0, state="failed", at=1, error="x" * 10_000))
    error = p.log()[0].error
    assert error is not None
    assert len(error) == ERROR_LIMIT
    assert error.endswith("...")


def test_the_log_is_asked_by_channel_and_state_the_newest_first(p: Post) -> None:
    store, numbers = p.w.gate.store, [spread(p, amount) for amount in (50_000, 60_000, 70_000)]
    do(p, EndAttempt(delivery=numbers[1], attempt=0, state="failed", at=1))
    assert [one.number for one in store.deliveries()] == numbers[::-1]
    assert [one.number for one in store.deliveries(states=("failed",))] == [numbers[1]]
    assert [one.number for one in store.deliveries(states=("waiting",), channel="box", limit=1)] == [numbers[2]]
    assert store.deliveries(channel="other") == ()


def test_what_is_stale_is_counted_and_skipped_and_nothing_else(p: Post) -> None:
    store = p.w.gate.store
    spread(p)
    p.w.held(60_000)
    p.w.clock.advance(100)
    spread(p, 70_000)
    before = p.office.now_us() - 50 * SECOND
    assert store.count_stale(before) == (1, 1)
    do(p, SkipStale(before, 9, "too old"))
    assert store.count_stale(before) == (0, 0)
    assert [(one.state, one.error) for one in p.log()] == [("skipped", "too old"), ("waiting", None)]
    assert store.new_notices() == ()


def test_the_lease_passes_on_when_its_holder_is_gone_silent_or_has_ended_and_not_before(p: Post) -> None:
    store = p.w.gate.store
    do(p, TakeDelivering(store.boot, 100, 0))
    do(p, TakeDelivering(store.boot, 200, 0))
    let_live(p, "other")
    assert lost(p, TakeDelivering("other", 210, 199)) == "delivering_taken"
    do(p, TakeDelivering("other", 210, 200))  # silent since
    assert lost(p, TakeDelivering(store.boot, 220, 0)) == "delivering_taken"
    do(p, TakeDelivering(store.boot, 220, 0, gone="other"))
    do(p, EndDelivering("other"))  # says nothing about who delivers now
    holder = store.find_deliverer()
    assert holder is not None
    assert (holder.boot, holder.at) == (store.boot, 220)
    do(p, EndDelivering(store.boot))
    assert store.find_deliverer() is None
    do(p, TakeDelivering("other", 230, 0))
    sql(p, "UPDATE boots SET state = 'dead' WHERE id = 'other'")
    do(p, TakeDelivering(store.boot, 240, 0))


def test_what_is_too_old_goes_when_something_new_comes_and_no_number_is_used_twice(p: Post) -> None:
    spread(p)
    spread(p, 60_000)
    p.w.clock.advance(KEPT_S + 1)
    p.w.held(70_000)
    assert p.log() == []
    (notice,) = p.w.gate.store.new_notices()
    assert notice.number == 3
    p.w.clock.advance(KEPT_S + 1)
    p.w.held(80_000)
    assert p.w.gate.store.new_notices()[-1].number > 3


def test_overdue_requests_are_the_live_ones_past_their_time_the_oldest_first(p: Post) -> None:
    store, first = p.w.gate.store, p.w.held().request
    p.w.clock.advance(10)
    second, third = p.w.held(60_000).request, p.w.held(70_000).request
    vote(p.w.gate, third, "lena", verdict="reject")
    assert store.overdue_requests(p.office.now_us()) == ()
    p.w.clock.advance(3_600)
    assert store.overdue_requests(p.office.now_us()) == (first, second)
    assert store.overdue_requests(p.office.now_us(), limit=1) == (first,)


def test_verification_has_no_use_for_any_of_it(p: Post) -> None:
    spread(p)
    sql(p, "DELETE FROM deliveries")
    sql(p, "DELETE FROM notices")
    assert_whole(p.w.gate)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT number FROM notices WHERE spread = 0 ORDER BY number LIMIT 1",
        "SELECT min(due_at) FROM deliveries WHERE channel = 'box' AND state = 'waiting'",
        "SELECT handle FROM deliveries WHERE channel = 'b' AND subject = 's' AND state = 'sent' ORDER BY number DESC LIMIT 1",
        "SELECT id FROM requests WHERE state IN ('open', 'approved') AND expires_at <= 1 ORDER BY expires_at LIMIT 1",
        "DELETE FROM deliveries WHERE notice = 1",
    ],
)
def test_what_is_asked_all_the_time_goes_through_an_index(p: Post, text: str) -> None:
    store = p.w.gate.store
    assert isinstance(store, SqliteStore)
    con = store._writer
    assert isinstance(con, apsw.Connection)
    plan = [row[3] for row in con.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert [step for step in plan if "INDEX" in step]
    assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step]
