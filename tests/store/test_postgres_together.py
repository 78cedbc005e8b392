"""Four stores on one PostgreSQL database, as four replicas would have it, all at once: each condition holds at the commit of whoever wins."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from licet.ledger.frozen import Called, Freeze
from licet.ledger.record import Payload, microseconds
from licet.ledger.seal import Filing
from licet.model import Request, RequestState
from licet.store import postgres_commit
from licet.store.contract import Committed, Lost, OpenCall, OpenRequest, TakeBackVote
from licet.store.freezes import PutFreeze, RefuseFrozen
from tests.store.conftest import PostgresDatabase
from tests.store.replicas import Replica, assert_whole, at_once, lost, replicas_of, won
from tests.store.samples import NOW, call_id, consuming, intent, opening, record, request, taking, voting

CALL = Called(tenant="acme", tool="billing.adjust", agent="bot", session="s-1")


@pytest.fixture
def replicas(postgres: PostgresDatabase) -> Iterator[list[Replica]]:
    with replicas_of(postgres) as made:
        yield made


def approved(replica: Replica, key: str) -> Request:
    asked = request(key)
    replica.write(opening(asked))
    replica.write(voting(asked, "dana"))
    replica.write(voting(asked, "omar", seen=1, move=RequestState.APPROVED))
    return asked


def test_of_sixteen_consumers_of_one_approval_one_has_it(replicas: list[Replica]) -> None:
    for round_ in range(5):
        asked = approved(replicas[0], f"key-{round_}")
        answers = at_once(replicas, lambda replica, _, asked=asked: replica.answer(consuming(asked, call_id(), replica.store)))  # type: ignore[misc]
        assert won(answers) == 1
        assert lost(answers) == {Lost("request_moved", f"request `{asked.id}` is not approved any more")}
        assert replicas[1].store.get_request(asked.id).state is RequestState.CONSUMED
    assert len(replicas[2].store.open_calls()) == 5
    assert assert_whole(replicas[3].store) == 5 * 4


def test_of_sixteen_takers_of_one_key_one_has_it(replicas: list[Replica]) -> None:
    def take(replica: Replica, number: int) -> Committed | Lost:
        call = call_id()
        return replica.answer(
            Filing((intent(call, replica.store, key=f"key-{number // 16}"),), (OpenCall(call, "acme"), taking(f"key-{number // 16}", call)))
        )

    answers = at_once(replicas, take)
    assert won(answers) == 1
    assert lost(answers) == {Lost("key_taken", "another call has taken the idempotency key `key-0`")}
    assert_whole(replicas[0].store)


def test_sixteen_votes_beside_each_other_all_count_in_one_order(replicas: list[Replica]) -> None:
    asked = request(count=16)
    replicas[0].write(opening(asked))
    again = Counter[str]()

    def cast(replica: Replica, number: int) -> int:
        while True:
            seen = replica.store.get_dossier(asked.id).ballots
            found = replica.answer(voting(asked, f"voter-{number}", seen=seen, move=RequestState.APPROVED if seen == 15 else None))
            if isinstance(found, Committed):
                return seen
            again[found.condition] += 1

    assert sorted(at_once(replicas, cast)) == list(range(16))
    assert set(again) <= {"votes_moved"}
    dossier = replicas[1].store.get_dossier(asked.id)
    assert dossier.request.state is RequestState.APPROVED
    assert len({vote.voter for vote in dossier.votes}) == 16
    assert [person for person, _ in dossier.people] == [replicas[0].store.blind("acme", "person", vote.person) for vote in dossier.votes]
    assert_whole(replicas[2].store)


def test_one_person_votes_once_and_takes_it_back_once(replicas: list[Replica]) -> None:
    asked = request()
    replicas[0].write(opening(asked))
    answers = at_once(replicas, lambda replica, _: replica.answer(voting(asked, "dana")))
    assert won(answers) == 1
    assert {one.condition for one in lost(answers)} == {"already_voted"}

    def take_back(replica: Replica, _: int) -> Committed | Lost:
        said = record(
            "vote", payload=Payload(detail={"taken_back": {"request": asked.id, "voter": "dana", "person": "person-dana", "at": NOW}})
        )
        return replica.answer(Filing((said,), (TakeBackVote(asked.id, "person-dana", "acme", 1, NOW),)))

    answers = at_once(replicas, take_back)
    assert won(answers) == 1
    assert {one.condition for one in lost(answers)} == {"votes_moved"}
    assert [live for _, live in replicas[3].store.get_dossier(asked.id).people] == [False, False]


def test_a_vote_beside_the_use_of_its_approval_is_one_or_the_other(replicas: list[Replica]) -> None:
    for round_ in range(8):
        asked = approved(replicas[0], f"key-{round_}")

        def act(replica: Replica, number: int, asked: Request = asked) -> Committed | Lost:
            if number % 2:
                return replica.answer(consuming(asked, call_id(), replica.store))
            said = record("vote", payload=Payload(detail={}))
            return replica.answer(Filing((said,), (TakeBackVote(asked.id, "person-dana", "acme", 2, NOW),)))

        answers = at_once(replicas, act, each=1)
        used, taken = answers[1::2], answers[::2]
        assert won(used) <= 1
        assert won(taken) <= 1
        assert won(answers) >= 1
        if won(taken) == 0:
            assert {one.condition for one in lost(taken)} == {"request_moved"}


def test_one_key_has_one_live_request(replicas: list[Replica]) -> None:
    answers = at_once(replicas, lambda replica, _: replica.answer(opening(request("the-key"))))
    assert won(answers) == 1
    assert lost(answers) == {Lost("request_exists", "the same call already waits for people")}
    assert_whole(replicas[0].store)


def test_no_caller_has_more_requests_open_than_it_may(replicas: list[Replica]) -> None:
    def ask(replica: Replica, number: int) -> Committed | Lost:
        asked = request(f"key-{number}")
        filing = opening(asked)
        return replica.answer(Filing(filing.statements, (OpenRequest(asked, limit=5),)))

    answers = at_once(replicas, ask)
    assert won(answers) == 5
    assert {one.condition for one in lost(answers)} == {"too_many_open"}
    assert len(replicas[0].store.requests(states=(RequestState.OPEN,))) == 5
    assert_whole(replicas[0].store)


def freezing() -> tuple[Freeze, Filing]:
    said = record("freeze", "operator", payload=Payload(detail={"act": "freeze"}), at=microseconds(NOW), marks=("Agent::bot",))
    freeze = Freeze(said.id, "operator", "agent", "bot", said.at)
    return freeze, Filing((said,), (PutFreeze(freeze),))


def beginning(replica: Replica) -> Filing:
    started = call_id()
    return Filing((intent(started, replica.store),), (OpenCall(started, "acme"), RefuseFrozen(CALL)))


def test_no_intent_begins_after_the_receipt_of_its_freeze(replicas: list[Replica]) -> None:
    frozen, stop = threading.Event(), threading.Event()
    replicas[0].write(beginning(replicas[0]))

    def begin(replica: Replica, number: int) -> tuple[int, int]:
        """How many were committed although the freeze had its receipt when they were begun, and how many in all."""
        late = whole = 0
        if number == 0:
            while whole < 20:
                whole += isinstance(replica.answer(beginning(replica)), Committed)
            replica.write(freezing()[1])
            frozen.set()
            stop.wait(1)
            stop.set()
            return 0, whole
        while not stop.is_set():
            known = frozen.is_set()
            found = replica.answer(beginning(replica))
            whole += isinstance(found, Committed)
            late += known and isinstance(found, Committed)
        return late, whole

    done = at_once(replicas, begin)
    assert sum(late for late, _ in done) == 0
    assert len(replicas[0].store.open_calls()) == 1 + sum(whole for _, whole in done)
    assert_whole(replicas[0].store)


def test_a_freeze_waits_for_the_groups_under_way_and_later_groups_for_the_freeze(
    replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, third, watcher = replicas
    one.write(beginning(one))
    entered, leave = threading.Event(), threading.Event()
    write = postgres_commit._Group.write

    async def slow(group: postgres_commit._Group, leaves: Sequence[Sequence[bytes]]) -> list[Committed | Lost]:
        if not entered.is_set():
            entered.set()
            while not leave.is_set():
                await asyncio.sleep(0.005)
                await group._con.fetchval("SELECT 1")  # or the server would take it for one that has stopped
        return await write(group, leaves)

    def wait_for_waiters(count: int) -> None:
        while watcher.store._rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")[0][0] < count:
            assert not leave.is_set()

    monkeypatch.setattr(postgres_commit._Group, "write", slow)
    freeze, filing = freezing()
    with ThreadPoolExecutor(3) as threads:
        under_way = threads.submit(one.answer, beginning(one))
        assert entered.wait(30)
        placing = threads.submit(other.answer, filing)
        wait_for_waiters(1)
        later = threads.submit(third.answer, beginning(third))
        wait_for_waiters(2)
        assert not placing.done()
        assert not later.done()
        leave.set()
        assert isinstance(under_way.result(30), Committed)
        assert isinstance(placing.result(30), Committed)
        assert later.result(30) == Lost("frozen", f"agent `bot` is frozen (freeze `{freeze.id}`)")
    assert len(one.store.open_calls()) == 2
    assert_whole(one.store)
