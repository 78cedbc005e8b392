"""A store that is away, channels that hang or answer late, and processes that are killed while they deliver."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from licet.approvals.notify.deliverer import Deliverer
from licet.approvals.notify.message import Message
from licet.errors import StoreUnavailable
from licet.model import RequestId
from licet.store.outbox import EndAttempt
from licet.testing import vote
from tests.approvals.notify.post import ONE, Post, does_nothing, post, post_of, told
from tests.gate.faulty import FaultyStore, faulty_world
from tests.world import World, world_on

LIMIT_S = 30.0


def wait_for(condition: Callable[[], object]) -> None:
    """Until it is so; the limit is for a broken test, not for a slow machine."""
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, "it never was so"
        time.sleep(0.01)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Post, FaultyStore]]:
    with faulty_world(monkeypatch) as (w, store):
        yield post_of(w), store


def test_an_end_that_could_not_be_kept_is_kept_later_and_nothing_is_sent_twice(faulty: tuple[Post, FaultyStore]) -> None:
    p, store = faulty
    deliverer = p.deliverer()
    p.w.held()
    assert deliverer.turn()
    p.box.acts = lambda _: store.fail("down")  # the store goes away while the message is on its way
    with pytest.raises(StoreUnavailable):
        deliverer.send()
    assert p.states() == [("opened", "waiting")]
    p.box.acts = does_nothing
    p.w.clock.advance(60)
    with pytest.raises(StoreUnavailable):
        deliverer.send()
    store.mend()
    assert deliverer.send() == 0
    assert p.states() == [("opened", "sent")]
    assert p.box.events == ["opened"]
    deliverer.close()


def test_an_end_whose_fate_is_not_known_is_not_sent_again(faulty: tuple[Post, FaultyStore]) -> None:
    p, store = faulty
    deliverer = p.deliverer()
    p.w.held()
    assert deliverer.turn()
    p.box.acts = lambda _: store.fail("ambiguous")
    with pytest.raises(StoreUnavailable):
        deliverer.send()
    store.mend()
    p.box.acts = does_nothing
    p.w.clock.advance(60)
    deliverer.send()
    assert p.states() == [("opened", "sent")]
    assert p.box.events == ["opened"]
    deliverer.close()


def test_nothing_is_sent_whose_attempt_could_not_be_counted(faulty: tuple[Post, FaultyStore]) -> None:
    p, store = faulty
    deliverer = p.deliverer()
    p.w.held()
    assert deliverer.turn()
    store.fail("down")
    with pytest.raises(StoreUnavailable):
        deliverer.send()
    assert p.box.got == []
    store.mend()
    assert deliverer.send() == 1
    deliverer.close()


def test_a_store_that_is_away_and_comes_back_loses_nothing(faulty: tuple[Post, FaultyStore]) -> None:
    p, store = faulty
    deliverer = p.deliverer()
    deliverer.start()
    wait_for(lambda: deliverer.holds)
    store.fail("down")
    store.met.wait(0.2)
    store.mend()
    p.w.held()
    wait_for(lambda: p.box.events == ["opened"])
    deliverer.close()
    assert p.box.events == ["opened"], "told once"


def test_two_deliverers_that_both_believe_to_have_the_lease_begin_each_attempt_once() -> None:
    with post() as p:
        one, other = p.deliverer(), p.deliverer()
        assert one.turn()
        assert other.turn()  # the same boot: the lease lets it
        sent: list[int] = []
        p.w.held()
        assert one.turn()
        meet = threading.Barrier(2)

        def send(deliverer: Deliverer) -> None:
            meet.wait()
            sent.append(deliverer.send())

        threads = [threading.Thread(target=send, args=(deliverer,)) for deliverer in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(sent) == [0, 1]
        assert p.box.events == ["opened"]
        one.close()
        other.close()


def test_threads_tell_of_what_happens_and_of_what_expires() -> None:
    with post() as p:
        deliverer = p.deliverer()
        deliverer.start()
        held = p.w.held()
        wait_for(lambda: p.box.events == ["opened"])
        vote(p.w.gate, held.request, "lena")
        wait_for(lambda: p.box.events == ["opened", "approved"])
        p.w.held(60_000)
        wait_for(lambda: len(p.box.events) == 3)
        p.w.clock.advance(3_600)
        wait_for(lambda: p.box.events[3:] == ["expired", "expired"])
        deliverer.close()
        assert p.box.closed.is_set()
        assert p.w.gate.store.find_deliverer() is None


def test_a_channel_that_hangs_holds_up_nobody_else_and_not_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("licet.approvals.notify.deliverer.CLOSE_S", 0.3)
    two = f'{ONE}[[notify.channels]]\nkind = "terminal"\nname = "other"\n'
    release = threading.Event()
    with post(two) as p:
        p.box.acts = lambda _: release.wait(LIMIT_S)
        deliverer = p.deliverer()
        deliverer.start()
        p.w.held()
        wait_for(lambda: p.boxes["other"].events == ["opened"])
        p.w.held(60_000)
        wait_for(lambda: p.boxes["other"].events == ["opened", "opened"])
        deliverer.close()
        assert "channel `box` hangs, and is left behind" in caplog.text
        assert p.states() == [("opened", "waiting"), ("opened", "waiting")]
        release.set()
        wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "licet-notify-box"])


def test_a_channel_that_answers_late_is_overtaken_by_nothing_of_the_same_request() -> None:
    with post() as p:
        entered, release = threading.Event(), threading.Event()

        def slow(message: Message) -> None:
            if message.event == "opened":
                entered.set()
                release.wait(LIMIT_S)

        p.box.acts = slow
        deliverer = p.deliverer()
        deliverer.start()
        held = p.w.held()
        assert entered.wait(LIMIT_S)
        vote(p.w.gate, held.request, "lena", verdict="reject")
        wait_for(lambda: len(p.log()) == 2)
        assert p.box.events == []
        release.set()
        wait_for(lambda: p.box.events == ["opened", "rejected"])
        assert p.box.got[1][1] == "box-1"
        deliverer.close()


def test_an_attempt_that_somebody_else_has_ended_meanwhile_stays_as_they_left_it() -> None:
    with post() as p:
        deliverer = p.deliverer()
        p.w.held()
        assert deliverer.turn()
        number = p.log()[0].number

        def ended_elsewhere(_: Message) -> None:
            p.office.submit(EndAttempt(delivery=number, attempt=1, state="sent", at=0, handle="theirs")).wait()

        p.box.acts = ended_elsewhere
        deliverer.send()
        assert (p.log()[0].state, p.log()[0].handle) == ("sent", "theirs")
        deliverer.close()


def test_a_forked_child_that_closes_the_deliverer_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with post() as p:
        deliverer = p.deliverer()
        assert deliverer.turn()
        with monkeypatch.context() as patch:
            patch.setattr("licet.process.number", lambda: -1)
            deliverer.close()
        p.w.held()
        assert told(deliverer) == 1
        deliverer.close()


KILLED = """
import sys, time
from pathlib import Path
from licet.approvals.notify.deliverer import Deliverer
from tests.approvals.notify.post import Box, post_of, told
from tests.world import World, world_on
with world_on(Path(sys.argv[1])) as w:
    p = post_of(w)
    def stop(message):
        print(message.id, flush=True)
        time.sleep(60)
    p.box.acts = stop
    deliverer = p.deliverer()
    w.held()
    told(deliverer)
"""


@pytest.mark.heavy
def test_a_process_that_is_killed_while_it_delivers_is_followed_by_another_which_sends_it_again(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        identity = process.stdout.readline().strip()
        assert identity
        with world_on(tmp_path) as w:
            p = post_of(w)
            deliverer = p.deliverer()
            assert not deliverer.turn()  # the other one lives
            process.kill()
            process.wait()
            assert deliverer.turn()
            assert deliverer.send() == 0  # its attempt was counted, and the next is not due
            w.clock.advance(2)
            assert deliverer.send() == 1
            assert (p.box.last.id, p.log()[0].attempts) == (identity, 2)
            deliverer.close()
    finally:
        process.kill()
        process.communicate()


GATE = """
import sys
from pathlib import Path
from tests.world import CONFIG, world_on
TABLE = '[notify]\\n[[notify.channels]]\\nkind = "terminal"\\nname = "here"\\nstream = "stdout"\\n'
with world_on(Path(sys.argv[1]), CONFIG + TABLE) as w:
    w.gate.seal()
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.heavy
def test_the_gate_of_one_process_tells_what_another_does_on_the_same_store(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", GATE, str(tmp_path)]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with world_on(tmp_path) as w:
            w.held()
            lines = iter(process.stdout.readline, "")
            assert next(line for line in lines if "waits for approval" in line) == "billing.adjust by support-bot waits for approval\n"
    finally:
        process.kill()
        process.communicate()


def decide(w: World, request: RequestId, dice: Random) -> None:
    found = w.gate.store.get_request(request)
    if found.state == "open" and w.clock() < found.expires_at:
        vote(w.gate, request, "lena", verdict=dice.choice(["approve", "reject"]))


def try_to_tell(deliverer: Deliverer) -> None:
    with contextlib.suppress(StoreUnavailable):
        if deliverer.turn():
            deliverer.send()


@pytest.mark.parametrize("seed", range(25))
def test_whatever_fails_in_whatever_order_each_request_is_told_once_and_its_end_last(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random votes, failures of the store, and restarts: what was sent once is not sent again, and nothing follows an end."""
    dice = Random(seed)
    with faulty_world(monkeypatch) as (w, store):
        p, requests = post_of(w), list[RequestId]()
        deliverer = p.deliverer()
        for step in range(30):
            act = dice.choice(["open", "decide", "tell", "tell", "wait", "fail", "fail while sending", "restart"])
            if act == "open":
                requests.append(RequestId(str(w.held(50_000 + step).request)))
            elif act == "decide" and requests:
                decide(w, dice.choice(requests), dice)
            elif act == "wait":
                w.clock.advance(dice.choice([1, 30, 700]))
            elif act == "restart":
                deliverer.close()
                deliverer = p.deliverer()
            elif act.startswith(("tell", "fail")):
                store.fail("down") if act == "fail" else None
                p.box.acts = (lambda _: store.fail("down")) if act == "fail while sending" else does_nothing
                try_to_tell(deliverer)
                p.box.acts = does_nothing
                store.mend()
        w.clock.advance(3_600)
        for _ in range(5):
            try_to_tell(deliverer)
            w.clock.advance(60)
        sent = [(message.request, message.event) for message, _ in p.box.got]
        assert len(sent) == len(set(sent))
        for request in requests:
            events = [event for told_of, event in sent if told_of == request]
            assert events[-1:] in (["rejected"], ["expired"])
            assert events == [event for event in ("opened", "approved", *events[-1:]) if event in events]
        assert {delivery.state for delivery in p.log()} <= {"sent", "skipped"}
        deliverer.close()


def test_a_process_that_asks_and_ends_at_once_has_told_of_it() -> None:
    with post() as p:
        deliverer = p.deliverer()
        deliverer.start()
        wait_for(lambda: deliverer.holds)
        for amount in range(50_000, 50_010):
            p.w.held(amount)
        deliverer.close()
        assert p.box.events == ["opened"] * 10
        assert {delivery.state for delivery in p.log()} == {"sent"}
