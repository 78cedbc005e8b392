"""What is told, to whom, in which order and how often, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from licet.approvals.notify.message import Message
from licet.approvals.notify.retries import ATTEMPTS, LONGEST_S, pause_s
from licet.errors import DeliveryFailed, NobodyToTell
from licet.gate.results import Held
from licet.model import RequestId
from licet.store.outbox_rows import SUPERSEDED
from licet.testing import vote
from tests.approvals.notify.post import ONE, Post, delivering, does_nothing, let_live, post, raises, sql, told


@pytest.fixture
def p() -> Iterator[Post]:
    with post() as made:
        yield made


def opened(p: Post, amount_cents: int = 50_000) -> RequestId:
    held = p.w.held(amount_cents)
    assert held.request is not None
    return held.request


def suspended(p: Post) -> RequestId:
    """A request for two security leads."""
    with p.w.alice():
        held = p.w.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(held, Held)
    assert held.request is not None
    return held.request


def failing(*, retry: bool, retry_after_s: float | None = None) -> DeliveryFailed:
    return DeliveryFailed("the server is away", retry, retry_after_s=retry_after_s)


def test_a_request_is_told_when_it_opens_and_when_it_is_decided_and_the_second_message_names_the_first(p: Post) -> None:
    with delivering(p) as deliverer:
        request = opened(p)
        assert told(deliverer) == 1
        vote(p.w.gate, request, "lena")
        assert told(deliverer) == 1
        assert told(deliverer) == 0
    assert p.box.events == ["opened", "approved"]
    assert [earlier for _, earlier in p.box.got] == [None, "box-1"]
    assert (p.box.got[0][0].decidable, p.box.last.decidable) == (True, False)
    assert p.states() == [("opened", "sent"), ("approved", "sent")]


def test_a_request_that_expires_while_nobody_looks_is_expired_and_told(p: Post) -> None:
    with delivering(p) as deliverer:
        request = opened(p)
        told(deliverer)
        p.w.clock.advance(15 * 60 + 1)
        told(deliverer)
    assert p.box.events == ["opened", "expired"]
    assert p.w.gate.store.get_request(request).state == "expired"
    assert p.w.kinds()[-1] == "expiry"


def test_nobody_is_asked_for_what_is_decided_by_the_time_they_would_be(p: Post) -> None:
    with delivering(p) as deliverer:
        request = opened(p)
        vote(p.w.gate, request, "lena")
        told(deliverer)
    assert p.box.events == ["approved"]
    assert p.states() == [("opened", "skipped"), ("approved", "sent")]
    assert p.log()[0].error == SUPERSEDED


def test_a_channel_that_hears_only_of_openings_is_not_asked_for_what_is_decided() -> None:
    with post(f'{ONE}events = ["opened"]\n') as p, delivering(p) as deliverer:
        request = opened(p)
        deliverer.turn()
        vote(p.w.gate, request, "lena", verdict="reject")
        assert told(deliverer) == 0
        assert p.states() == [("opened", "skipped")]
        assert p.log()[0].error == "things have gone on since"


def test_votes_that_are_not_enough_yet_are_told_to_those_who_want_it() -> None:
    two = f'{ONE}events = ["opened", "vote", "approved"]\n[[notify.channels]]\nkind = "terminal"\nname = "quiet"\n'
    with post(two) as p, delivering(p) as deliverer:
        request = suspended(p)
        told(deliverer)
        vote(p.w.gate, request, "dana")
        told(deliverer)
        assert p.box.last.needs == ("1 of 2 of security-leads (dana)",)
        assert p.box.last.title == "account.suspend by support-bot has 1 of 2 votes"
        vote(p.w.gate, request, "omar")
        told(deliverer)
        assert p.box.events == ["opened", "vote", "approved"]
        assert p.boxes["quiet"].events == ["opened", "approved"]


@pytest.mark.parametrize(
    ("wanted", "boxes"),
    [
        ('tenants = ["acme"]', ["opened"]),
        ('tenants = ["globex"]', []),
        ('groups = ["billing-leads"]', ["opened"]),
        ('groups = ["security-leads"]', []),
        ('tenants = ["globex", "acme"]\ngroups = ["security-leads", "billing-leads"]', ["opened"]),
        ('events = ["expired"]', []),
    ],
)
def test_a_channel_hears_what_it_asks_for(wanted: str, boxes: list[str]) -> None:
    with post(f"{ONE}{wanted}\n") as p, delivering(p) as deliverer:
        opened(p)
        told(deliverer)
        assert p.box.events == boxes
        assert p.w.gate.store.new_notices() == ()


def test_a_failed_delivery_is_tried_again_later_and_later_and_told_once(p: Post) -> None:
    with delivering(p) as deliverer:
        opened(p)
        p.box.acts = raises(failing(retry=True))
        assert told(deliverer) == 0
        assert p.states() == [("opened", "waiting")]
        assert (p.log()[0].attempts, p.log()[0].error) == (1, "the server is away")
        assert told(deliverer) == 0  # not due yet
        assert p.log()[0].attempts == 1
        p.w.clock.advance(LONGEST_S)
        assert told(deliverer) == 0
        assert p.log()[0].attempts == 2
        p.box.acts = does_nothing
        p.w.clock.advance(60)
        assert told(deliverer) == 1
        assert p.box.events == ["opened"]
        assert (p.log()[0].state, p.log()[0].attempts, p.log()[0].error) == ("sent", 3, None)


def test_after_the_last_attempt_it_is_given_up(p: Post) -> None:
    with delivering(p) as deliverer:
        p.box.acts = raises(failing(retry=True))
        with p.w.alice():
            opened(p)
        for attempt in range(ATTEMPTS):
            told(deliverer)
            state = "waiting" if attempt < ATTEMPTS - 1 else "failed"
            assert (p.log()[0].attempts, p.log()[0].state) == (attempt + 1, state)
            p.w.clock.advance(40)  # less than the life of the request in all, more than each early pause
            if p.log()[0].due_at > deliverer._office.now_us():
                p.w.clock.advance((p.log()[0].due_at - deliverer._office.now_us()) / 1_000_000)
            if p.w.gate.store.overdue_requests(deliverer._office.now_us()):
                break
        assert p.log()[0].attempts >= 8


def test_what_will_never_work_is_given_up_at_once_and_holds_nothing_else_up(p: Post) -> None:
    with delivering(p) as deliverer:
        first, second = opened(p), opened(p, 60_000)

        def act(message: Message) -> None:
            if message.request == first:
                raise failing(retry=False)

        p.box.acts = act
        assert told(deliverer) == 1
        assert p.states() == [("opened", "failed"), ("opened", "sent")]
        assert p.box.last.request == second


def test_a_channel_with_nobody_to_tell_says_so(p: Post) -> None:
    with delivering(p) as deliverer:
        opened(p)
        p.box.acts = raises(NobodyToTell("none of those who may vote has an address here"))
        told(deliverer)
        assert (p.log()[0].state, p.log()[0].error) == ("skipped", "none of those who may vote has an address here")


def test_a_channel_that_asks_to_be_left_alone_is(p: Post) -> None:
    with delivering(p) as deliverer:
        opened(p)
        opened(p, 60_000)
        p.box.acts = raises(failing(retry=True, retry_after_s=300.0))
        told(deliverer)
        p.box.acts = does_nothing
        p.w.clock.advance(299)
        assert told(deliverer) == 0
        p.w.clock.advance(2)
        assert told(deliverer) == 2


def test_a_channel_that_is_down_costs_one_attempt_at_a_time_and_not_one_for_each_delivery(p: Post) -> None:
    with delivering(p) as deliverer:
        for amount in range(50_000, 50_010):
            opened(p, amount)
        p.box.acts = raises(failing(retry=True))
        told(deliverer)
        assert [delivery.attempts for delivery in p.log()] == [1] + [0] * 9


def test_what_a_channel_raises_beyond_its_contract_is_a_failure_whose_words_are_not_kept(p: Post) -> None:
    with delivering(p) as deliverer:
        opened(p)
        p.box.acts = raises(RuntimeError("token xoxb-12345"))
        told(deliverer)
        assert (p.log()[0].state, p.log()[0].error) == ("waiting", "an unexpected `RuntimeError`")


def test_one_channel_that_fails_does_not_keep_another_from_hearing() -> None:
    two = f'{ONE}[[notify.channels]]\nkind = "terminal"\nname = "other"\n'
    with post(two) as p, delivering(p) as deliverer:
        p.box.acts = raises(failing(retry=True))
        opened(p)
        told(deliverer)
        assert p.boxes["other"].events == ["opened"]


def test_a_message_has_the_same_id_whenever_it_is_sent_again_and_another_than_every_other(p: Post) -> None:
    seen: list[str] = []

    def act(message: Message) -> None:
        seen.append(message.id)
        if len(seen) < 3:
            raise failing(retry=True)

    p.box.acts = act
    with delivering(p) as deliverer:
        request = opened(p)
        for _ in range(3):
            told(deliverer)
            p.w.clock.advance(10)
        vote(p.w.gate, request, "lena")
        told(deliverer)
    assert len(seen) == 4
    assert len(set(seen[:3])) == 1
    assert seen[3] != seen[0]
    assert seen[0].isalnum()


def test_a_later_event_takes_the_place_of_one_that_is_still_being_tried(p: Post) -> None:
    with delivering(p) as deliverer:
        request = opened(p)
        p.box.acts = raises(failing(retry=True, retry_after_s=100.0))
        told(deliverer)
        vote(p.w.gate, request, "lena", verdict="reject")
        p.box.acts = does_nothing
        p.w.clock.advance(101)
        told(deliverer)
        told(deliverer)
    assert p.box.events == ["rejected"]
    assert p.states() == [("opened", "skipped"), ("rejected", "sent")]


@pytest.mark.heavy
def test_a_thousand_events_are_told_each_once_and_in_their_order(p: Post) -> None:
    with delivering(p) as deliverer:
        for start in range(0, 500, 100):
            requests = [opened(p, 50_000 + start + number) for number in range(100)]
            while told(deliverer):
                pass
            for request in requests:
                vote(p.w.gate, request, "lena", verdict="reject")
            while told(deliverer):
                pass
            assert [message.request for message, _ in p.box.got[2 * start :]] == requests * 2
        assert len({message.id for message, _ in p.box.got}) == len(p.box.got) == 1_000
        assert p.box.events == (["opened"] * 100 + ["rejected"] * 100) * 5


def test_nothing_is_told_twice_by_the_next_deliverer(p: Post) -> None:
    with delivering(p) as deliverer:
        opened(p)
        told(deliverer)
    with delivering(p) as deliverer:
        assert told(deliverer) == 0
    assert p.box.events == ["opened"]


def test_a_crash_between_sending_and_saying_so_sends_it_again_with_the_same_id_and_one_attempt_less(p: Post) -> None:
    class Crash(BaseException):
        pass

    def act(message: Message) -> None:
        p.box.got.append((message, None))
        raise Crash

    with delivering(p) as deliverer:
        opened(p)
        p.box.acts = act
        with pytest.raises(Crash):
            told(deliverer)
    p.box.acts = does_nothing
    with delivering(p) as deliverer:
        p.w.clock.advance(2)
        assert told(deliverer) == 1
    assert p.box.got[0][0].id == p.box.got[1][0].id
    assert p.log()[0].attempts == 2


def test_an_erased_request_is_not_told(p: Post) -> None:
    with delivering(p) as deliverer:
        request = opened(p)
        deliverer.turn()
        sql(p, "DELETE FROM payloads")
        assert told(deliverer) == 0
        assert (p.log()[0].state, p.log()[0].error) == ("skipped", "the request was erased")
        assert p.log()[0].request == request


def test_a_request_that_is_not_what_its_record_says_is_not_told_and_the_others_are(p: Post) -> None:
    with delivering(p) as deliverer:
        opened(p)
        deliverer.turn()
        opened(p, 60_000)
        sql(p, "UPDATE payloads SET sealed = zeroblob(200) WHERE place = (SELECT min(place) FROM records WHERE kind = 'hold')")
        assert told(deliverer) == 1
        assert p.states() == [("opened", "failed"), ("opened", "sent")]
        assert p.box.last.preview == ("Customer C-1 balance: 100 -> 60100",)


def test_a_request_that_cannot_be_read_keeps_no_other_from_expiring_and_is_said_once(p: Post, caplog: pytest.LogCaptureFixture) -> None:
    with delivering(p) as deliverer:
        opened(p)
        second = opened(p, 60_000)
        told(deliverer)
        sql(p, "UPDATE payloads SET sealed = zeroblob(200) WHERE place = (SELECT min(place) FROM records WHERE kind = 'hold')")
        p.w.clock.advance(3_600)
        told(deliverer)
        told(deliverer)
        assert (p.box.last.request, p.box.last.event) == (second, "expired")
        assert caplog.text.count("cannot be expired") == 1


def test_what_happened_long_ago_is_skipped_and_said(p: Post, caplog: pytest.LogCaptureFixture) -> None:
    opened(p)
    with delivering(p) as deliverer:
        deliverer.turn()  # spread, not sent
    opened(p, 60_000)
    p.w.clock.advance(86_401)
    with delivering(p) as deliverer:
        assert "1 events and 1 notifications are older than 86400 s (`max_age`), and nobody is told of them" in caplog.text
        told(deliverer)
        assert p.states()[0] == ("opened", "skipped")
        assert p.box.events == ["expired", "expired"]  # that happened now


@pytest.mark.parametrize("attempt", range(1, 20))
def test_pauses_grow_up_to_their_limit_and_are_spread(attempt: int) -> None:
    pauses = [pause_s(attempt, Random(seed)) for seed in range(50)]
    whole = min(2.0 ** (attempt - 1), LONGEST_S)
    assert all(whole / 2 <= pause <= whole for pause in pauses)
    assert len(set(pauses)) > 40


# the lease


def test_only_one_delivers_and_the_next_one_does_when_it_has_ended(p: Post) -> None:
    store = p.w.gate.store
    with delivering(p):
        holder = store.find_deliverer()
        assert holder is not None
        assert holder.boot == store.boot
    assert store.find_deliverer() is None


def test_a_deliverer_that_died_is_followed_at_once_and_one_that_is_silent_after_a_minute(p: Post) -> None:
    now = p.office.now_us()
    sql(p, "INSERT INTO deliverer VALUES (1, 'somebody-who-died', ?)", now)
    deliverer = p.deliverer()
    assert deliverer.turn()
    deliverer.close()
    let_live(p, "alive")
    sql(p, "INSERT INTO deliverer VALUES (1, 'alive', ?)", now)
    deliverer = p.deliverer()
    opened(p)
    assert not deliverer.turn()
    assert deliverer.send() == 0
    p.w.clock.advance(61)
    assert deliverer.turn()
    assert deliverer.send() == 1
    deliverer.close()


def test_a_deliverer_that_lost_its_lease_stops_and_closes_its_channels(p: Post) -> None:
    store = p.w.gate.store
    deliverer = p.deliverer()
    assert deliverer.turn()
    let_live(p, "alive")
    p.w.clock.advance(30)
    sql(p, "UPDATE deliverer SET boot = 'alive', at = ?", p.office.now_us())
    opened(p)
    assert not deliverer.turn()
    assert not deliverer.holds
    assert deliverer.send() == 0
    assert p.box.closed.is_set()
    deliverer.close()
    holder = store.find_deliverer()
    assert holder is not None
    assert holder.boot == "alive"
