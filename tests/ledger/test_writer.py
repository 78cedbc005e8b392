"""The writer: one transaction for all who wait, an answer for everybody, and no way to hang a caller."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from licet.errors import ConditionLost, GateClosed, LeaseLost, SecretBroken, StoreError, StorePoisoned, StoreUnavailable
from licet.ledger.seal import Filing
from licet.ledger.writer import RETRY_PAUSES_S, Writer
from licet.model import CallId, Receipt
from licet.store.contract import Batch, Committed, Lost, TakeKey
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, now, record


class Scripted(SqliteStore):
    """A store in memory whose commits can be held up and made to fail, before or after they were persisted."""

    groups: list[int]
    hold: threading.Event
    entered: threading.Event
    fail: Callable[[int], BaseException | None]
    persist_first: bool

    def commit(self, batches: Sequence[Batch]) -> list[Committed | Lost]:
        self.groups.append(len(batches))
        self.entered.set()
        self.hold.wait(20)
        error = self.fail(len(self.groups))
        if error is None:
            return super().commit(batches)
        if self.persist_first:
            super().commit(batches)
        raise error


@pytest.fixture
def store() -> Iterator[Scripted]:
    store = Scripted.open("sqlite::memory:", now=now, keys=KEYS)
    assert isinstance(store, Scripted)
    store.groups, store.hold, store.entered = [], threading.Event(), threading.Event()
    store.fail, store.persist_first = (lambda _: None), False
    store.hold.set()
    yield store
    store.hold.set()
    store.close()


@pytest.fixture
def writer(store: Scripted) -> Iterator[Writer]:
    writer = Writer(store)
    yield writer
    store.hold.set()
    writer.close()


def one() -> Filing:
    return Filing((record(),))


def taking(key: str) -> Filing:
    return Filing((record(),), (TakeKey("scope", key, "digest", CallId("call"), "acme"),))


def test_a_batch_is_durable_when_its_ticket_answers(store: Scripted, writer: Writer) -> None:
    ticket = writer.submit(one())
    receipts = ticket.wait()
    assert [(r.log, r.index) for r in receipts] == [("acme", 0)]
    assert store.get_record("acme", 0).kind == "intent"
    assert ticket.is_answered
    assert ticket.wait() == receipts


def test_everybody_who_waits_joins_the_next_transaction(store: Scripted, writer: Writer) -> None:
    store.hold.clear()
    first = writer.submit(one())
    store.entered.wait(5)
    rest = [writer.submit(one()) for _ in range(100)]
    store.hold.set()
    receipts = [ticket.wait()[0].index for ticket in [first, *rest]]
    assert receipts == list(range(101))
    assert store.groups == [1, 100]


def test_a_lost_condition_reaches_its_own_caller_only(store: Scripted, writer: Writer) -> None:
    store.hold.clear()
    writer.submit(one())
    store.entered.wait(5)
    tickets = [writer.submit(taking("same")), writer.submit(taking("same")), writer.submit(taking("other"))]
    store.hold.set()
    assert tickets[0].wait()[0].index == 1
    with pytest.raises(ConditionLost, match="another call has taken the idempotency key `same`") as lost:
        tickets[1].wait()
    assert lost.value.condition == "key_taken"
    assert tickets[2].wait()[0].index == 2
    assert store.groups == [1, 3]


def test_64_threads_get_64_different_indexes_many_times_over(writer: Writer) -> None:
    receipts: list[Receipt] = []

    def call() -> None:
        for _ in range(20):
            receipts.extend(writer.submit(one()).wait())

    threads = [threading.Thread(target=call) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(receipt.index for receipt in receipts) == list(range(1280))


def test_64_tasks_of_two_event_loops_are_answered(writer: Writer) -> None:
    receipts: list[Receipt] = []

    async def call() -> None:
        for _ in range(20):
            receipts.extend(await writer.submit(one()).wait_async())

    async def calls() -> None:
        await asyncio.gather(*[call() for _ in range(32)])

    loops = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(2)]
    for thread in loops:
        thread.start()
    for thread in loops:
        thread.join(30)
    assert sorted(receipt.index for receipt in receipts) == list(range(1280))


def test_an_event_loop_is_woken_once_for_a_whole_group(store: Scripted, writer: Writer) -> None:
    wakes: list[object] = []

    async def calls() -> None:
        loop = asyncio.get_running_loop()
        original = loop.call_soon_threadsafe

        def counted(*args: object, **kwargs: object) -> object:
            wakes.append(args)
            return original(*args, **kwargs)  # type: ignore[arg-type]

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign,assignment]
        store.hold.clear()
        waits = [asyncio.ensure_future(writer.submit(one()).wait_async()) for _ in range(50)]
        await asyncio.sleep(0.05)
        store.hold.set()
        await asyncio.gather(*waits)

    asyncio.run(calls())
    assert len(wakes) == len(store.groups) <= 2


def test_a_cancelled_task_does_not_take_its_batch_back(store: Scripted, writer: Writer) -> None:
    async def calls() -> tuple[Receipt, ...]:
        store.hold.clear()
        ticket = writer.submit(one())
        waiting = asyncio.ensure_future(ticket.wait_async())
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        store.hold.set()
        return await ticket.wait_async()

    assert [receipt.index for receipt in asyncio.run(calls())] == [0]
    assert [stored.index for stored in store.records("acme")] == [0]


def test_a_loop_that_was_closed_meanwhile_harms_nobody(store: Scripted, writer: Writer) -> None:
    store.hold.clear()
    loop = asyncio.new_event_loop()
    abandoned = loop.create_task(writer.submit(one()).wait_async())
    loop.run_until_complete(asyncio.sleep(0.01))
    abandoned.cancel()
    loop.run_until_complete(asyncio.gather(abandoned, return_exceptions=True))
    loop.close()
    other = writer.submit(one())
    store.hold.set()
    assert other.wait(5)[0].index in (0, 1)
    assert writer.poisoned is None


def test_several_may_wait_for_one_ticket(store: Scripted, writer: Writer) -> None:
    store.hold.clear()
    ticket, seen = writer.submit(one()), []
    threads = [threading.Thread(target=lambda: seen.append(ticket.wait())) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    store.hold.set()
    for thread in threads:
        thread.join(5)
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_a_group_larger_than_the_limit_is_split(store: Scripted, writer: Writer) -> None:
    store.hold.clear()
    writer.submit(one())
    store.entered.wait(5)
    tickets = [writer.submit(Filing(())) for _ in range(1200)]
    store.hold.set()
    for ticket in tickets:
        ticket.wait()
    assert store.groups == [1, 512, 512, 176]


# errors


def test_an_unavailable_store_is_tried_again(store: Scripted, writer: Writer) -> None:
    store.fail = lambda attempt: StoreUnavailable("locked") if attempt < 3 else None
    assert writer.submit(one()).wait()[0].index == 0
    assert store.groups == [1, 1, 1]


def test_a_store_that_stays_unavailable_fails_the_group_and_serves_the_next(store: Scripted, writer: Writer) -> None:
    attempts = len(RETRY_PAUSES_S) + 1
    store.fail = lambda attempt: StoreUnavailable("the disk is full") if attempt <= attempts else None
    with pytest.raises(StoreUnavailable, match="the disk is full") as failed:
        writer.submit(one()).wait()
    assert not failed.value.ambiguous
    assert len(store.groups) == attempts
    assert writer.submit(one()).wait()[0].index == 0
    assert writer.poisoned is None


ENDS: list[BaseException] = [
    StorePoisoned("input/output error", ambiguous=True),
    LeaseLost("declared dead"),
    ValueError("a bug"),
    SystemExit(1),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted anyway"])
def test_a_writer_that_dies_answers_everybody_and_refuses_from_then_on(store: Scripted, error: BaseException, *, persisted: bool) -> None:
    writer = Writer(store)
    store.fail, store.persist_first = (lambda _: error), persisted
    store.hold.clear()
    working = writer.submit(one())
    store.entered.wait(5)
    queued = writer.submit(one())
    store.hold.set()
    kind = type(error) if isinstance(error, StoreError) else StorePoisoned
    with pytest.raises(kind) as first:
        working.wait(5)
    with pytest.raises(kind) as second:
        queued.wait(5)
    with pytest.raises(kind):
        asyncio.run(queued.wait_async())
    with pytest.raises(kind):
        writer.submit(one())
    assert first.value.ambiguous is not isinstance(error, LeaseLost)
    assert not second.value.ambiguous  # it was never given to the store
    assert isinstance(writer.poisoned, kind)
    assert len(store.groups) == 1
    assert len(list(store.records("acme"))) == persisted
    writer.close()


def test_each_raise_of_a_shared_error_has_a_traceback_of_its_own(store: Scripted) -> None:
    writer = Writer(store)
    store.fail = lambda _: StorePoisoned("input/output error")
    ticket = writer.submit(one())
    errors = []
    for _ in range(2):
        with pytest.raises(StorePoisoned) as raised:
            ticket.wait(5)
        errors.append(raised.value)
    assert errors[0] is not errors[1]
    writer.close()


def test_a_secret_that_cannot_be_read_any_more_fails_its_own_caller_only(
    store: Scripted, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its group was sealed before another process made the secret, and is sealed anew by the writer's thread."""
    broken, whole = one(), one()
    store.hold.clear()
    writer.submit(one())
    store.entered.wait(5)
    tickets = [writer.submit(broken), writer.submit(whole)]
    real_seal, real_commit = store.seal, SqliteStore.commit
    moved: list[Committed | Lost] = [
        Lost("secrets_moved", "another process made a secret"),
        Lost("secrets_moved", "another process made a secret"),
    ]

    def commit(batches: Sequence[Batch]) -> list[Committed | Lost]:
        return moved if len(batches) == len(tickets) else real_commit(store, batches)

    def seal(filing: Filing) -> Batch:
        if filing is broken:
            raise SecretBroken("a stored secret is not what was written")
        return real_seal(filing)

    monkeypatch.setattr(store, "seal", seal)
    monkeypatch.setattr(store, "commit", commit)
    store.hold.set()
    with pytest.raises(SecretBroken):
        tickets[0].wait(10)
    assert tickets[1].wait(10)[0].log == "acme"
    assert writer.poisoned is None
    assert writer.submit(one()).wait(10)


# a store that hangs


def test_a_store_that_hangs_fails_who_waits_and_says_what_may_still_land(store: Scripted) -> None:
    writer = Writer(store, deadline_s=0.2)
    store.hold.clear()
    working = writer.submit(one())
    store.entered.wait(5)
    queued = writer.submit(one())
    with pytest.raises(StoreUnavailable, match=r"the ledger has not answered within 0\.2 s") as first:
        working.wait()
    with pytest.raises(StoreUnavailable) as second:
        queued.wait()
    with pytest.raises(StoreUnavailable, match=r"the ledger has not answered for more than 0\.2 s"):
        writer.submit(one())
    assert (first.value.ambiguous, second.value.ambiguous) == (True, False)
    store.hold.set()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert writer.submit(one()).wait(5)[0].index == 1  # what hung has landed at 0, what was queued never
            break
        except StoreUnavailable:
            time.sleep(0.01)
    assert len(list(store.records("acme"))) == 2
    writer.close()


def test_a_store_that_answers_at_the_last_moment_is_not_taken_for_one_that_hangs(store: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, answered = threading.Event(), threading.Event()

    class Clock:
        """The time as the watch sees it: it has just looked since when the writer works, and the writer is done before it goes on."""

        sleep = staticmethod(time.sleep)

        @staticmethod
        def monotonic() -> float:
            if threading.current_thread().name != "licet-writer-watch" or answered.is_set():
                return time.monotonic()
            looked.set()
            answered.wait(10)
            return time.monotonic() + 3600

    monkeypatch.setattr("licet.ledger.writer.time", Clock)
    writer = Writer(store, deadline_s=0.1)
    store.hold.clear()
    ticket = writer.submit(one())
    assert looked.wait(10)
    store.hold.set()
    assert ticket.wait()[0].index == 0
    while writer._working_since is not None:
        time.sleep(0.001)
    answered.set()
    time.sleep(0.1)
    assert writer.submit(one()).wait()[0].index == 1
    writer.close()


def test_a_wait_with_a_timeout_is_ambiguous_when_it_is_over(store: Scripted, writer: Writer) -> None:
    store.hold.clear()
    ticket = writer.submit(one())
    with pytest.raises(StoreUnavailable, match=r"the ledger has not answered within 0\.05 s") as over:
        ticket.wait(0.05)
    assert over.value.ambiguous
    store.hold.set()
    assert ticket.wait()[0].index == 0


# the end


def test_closing_commits_what_was_submitted_and_refuses_what_comes_later(store: Scripted) -> None:
    writer = Writer(store)
    store.hold.clear()
    tickets = [writer.submit(one()) for _ in range(10)]
    threading.Timer(0.05, store.hold.set).start()
    writer.close()
    writer.close()
    assert sorted(ticket.wait()[0].index for ticket in tickets) == list(range(10))
    with pytest.raises(GateClosed, match="writer was closed"):
        writer.submit(one())


def test_closing_does_not_wait_for_ever(store: Scripted) -> None:
    writer = Writer(store)
    store.hold.clear()
    working = writer.submit(one())
    store.entered.wait(5)
    queued = writer.submit(one())
    writer.close(timeout_s=0.05)
    with pytest.raises(StoreUnavailable, match=r"has not finished within 0\.05 s of closing") as first:
        working.wait()
    with pytest.raises(StoreUnavailable) as second:
        queued.wait()
    assert (first.value.ambiguous, second.value.ambiguous) == (True, False)
    store.hold.set()


def test_submitting_while_closing_is_answered_or_refused_never_lost(store: Scripted) -> None:
    for _ in range(50):
        writer = Writer(store)
        answers: list[str] = []

        def submit(writer: Writer = writer, answers: list[str] = answers) -> None:
            for _ in range(20):
                try:
                    writer.submit(one()).wait(5)
                    answers.append("committed")
                except GateClosed:
                    answers.append("refused")

        threads = [threading.Thread(target=submit) for _ in range(3)]
        for thread in threads:
            thread.start()
        writer.close()
        for thread in threads:
            thread.join(10)
        assert len(answers) == 60


def test_a_forked_child_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS)
    writer = Writer(store)
    writer.submit(one()).wait()
    child = os.fork()
    if child == 0:
        try:
            writer.submit(one())
        except GateClosed:
            writer.close()
            os._exit(42)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert writer.submit(one()).wait()[0].index == 1
    writer.close()
    store.close()


def test_lingering_gathers_callers_that_are_likely_to_be_back(store: Scripted) -> None:
    """A slow store and 16 callers that return at once: groups of nearly all of them, in place of two halves in turn."""
    writer = Writer(store, linger_s=0.01)

    def slowly(_: int) -> None:
        time.sleep(0.03)

    store.fail = slowly

    def call() -> None:
        for _ in range(12):
            writer.submit(Filing(())).wait()

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(store.groups)[len(store.groups) // 2] >= 14
    writer.close()
