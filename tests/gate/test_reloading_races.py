"""What an acknowledged reload means for calls that are between their decision and their intent: none lands under what was in force before.

Threads are held at seams (the writer's queue, the store's commit, the swap), never by time.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet.errors import PolicyInvalid, StoreUnavailable
from licet.gate.house import OpenHouse
from licet.gate.results import Denied, Ok, Proposed
from licet.ledger.seal import Filing
from licet.ledger.writer import Ticket
from licet.store.contract import Batch
from tests.gate.files import Files, world_of_files
from tests.gate.proof import assert_whole
from tests.gate.remoting import propose
from tests.gate.test_on_postgres import config
from tests.world import CONFIG, POLICIES

TIGHTER = POLICIES.replace("<= 1000000", "<= 1000")
BROKEN = POLICIES + '@id("typo")\nforbid (principal, action, resource) when { resource.nothing == 1 };'
ALICE = '[users.alice]\ntenants = ["acme"]\nroles = ["support", "billing", "security"]\n'
ARGUMENTS = {"customer_id": "C-1", "amount_cents": 2_500}


class Shared(Files):
    """A world of files whose licet.toml begins with the store that it is on."""

    before: str

    def tighten(self) -> None:
        """Reload policies that permit less."""
        self.policies(TIGHTER)
        self.gate.reload()

    def remove(self) -> None:
        """Take a role from alice beside a policy that does not load."""
        self.policies(BROKEN)
        self.config(self.before + CONFIG.replace(ALICE, ALICE.replace('"billing", ', "")))
        with pytest.raises(PolicyInvalid):
            self.gate.reload()


@pytest.fixture(params=["sqlite", "postgres"])
def w(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    text = CONFIG if request.param == "sqlite" else config(request.getfixturevalue("postgres_url"))
    with world_of_files(tmp_path, text) as made:
        made.gate.seal()
        shared = Shared(made.gate, made.clock, made.customers, made.ran)
        shared.folder, shared.before = made.folder, text.removesuffix(CONFIG)
        yield shared
        assert_whole(made.gate)


def synchronous(w: Shared) -> Proposed:
    return w.adjust(2_500)


def asynchronous(w: Shared) -> Proposed:
    async def call() -> Proposed:
        with w.alice():
            return await w.gate.acall("billing.adjust", ARGUMENTS)

    return asyncio.run(call())


def executed_elsewhere(w: Shared) -> Proposed:
    return propose(w, tool="billing.adjust")


CALLS = [synchronous, asynchronous, executed_elsewhere]
RELOADS = [Shared.tighten, Shared.remove]


class Held:
    """Holds the thread that hands a record of this kind to the writer, once, until it is let go."""

    def __init__(self, w: Shared, kind: str, patch: pytest.MonkeyPatch) -> None:
        self.here, self.go = threading.Event(), threading.Event()
        writer = w.gate._opened().writer
        submit = writer.submit

        def held(filing: Filing) -> Ticket:
            if not self.here.is_set() and any(statement.kind == kind for statement in filing.statements):
                self.here.set()
                assert self.go.wait(60)
            return submit(filing)

        patch.setattr(writer, "submit", held)


def begin(call: Callable[[Shared], Proposed], w: Shared) -> tuple[ThreadPoolExecutor, Future[Proposed]]:
    pool = ThreadPoolExecutor(2)
    return pool, pool.submit(call, w)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("reload", RELOADS, ids=lambda reload: reload.__name__)
def test_an_intent_on_its_way_to_the_queue_when_a_reload_returns_is_decided_again(
    w: Shared, call: Callable[[Shared], Proposed], reload: Callable[[Shared], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(w, "intent", monkeypatch)
    pool, calling = begin(call, w)
    with pool:
        assert held.here.wait(60)
        reload(w)
        held.go.set()
        w.denied(calling.result(60), "no_permit")
    assert (w.ran, w.kinds()) == ([], ["denial"])
    (record,) = w.records()
    assert record.envelope.attempt == 2
    assert record.envelope.decision is not None
    assert record.envelope.decision.bundle == w.gate.scene.digest
    assert w.gate.store.open_calls() == ()


def test_a_repeat_on_its_way_to_the_queue_when_a_reload_returns_gives_nothing(w: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(w.adjust(2_500, idempotency_key="once"), Ok)
    held = Held(w, "call", monkeypatch)
    pool, calling = begin(lambda w: w.adjust(2_500, idempotency_key="once"), w)
    with pool:
        assert held.here.wait(60)
        w.tighten()
        held.go.set()
        w.denied(calling.result(60), "no_permit")
    assert w.kinds() == ["intent", "outcome", "denial"]


def test_a_call_that_is_decided_again_does_not_stand_in_its_own_way(w: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session refunds 50,000 at most: the first attempt, whose intent was refused, is not counted."""

    def refund(amount_cents: int) -> Proposed:
        with w.alice():
            return w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": amount_cents})

    held = Held(w, "intent", monkeypatch)
    pool, calling = begin(lambda _: refund(30_000), w)
    with pool:
        assert held.here.wait(60)
        w.policies(POLICIES + "// reviewed")
        assert w.gate.reload().changed
        held.go.set()
        assert isinstance(calling.result(60), Ok)
    assert [record.envelope.attempt for record in w.records() if record.kind == "intent"] == [2]
    assert isinstance(refund(20_000), Ok)
    w.denied(refund(1), "forbidden", "a session refunds $500 at most")
    seen = [record.payload.context or {} for record in w.records() if record.kind == "intent"]
    assert [(context["calls"], context["meters"]) for context in seen] == [(0, {"refunded": 0}), (1, {"refunded": 30_000})]


class Committing:
    """Holds the writer with a group that has an intent, `before` or after it is durable, until somebody else has done something."""

    def __init__(self, w: Shared, patch: pytest.MonkeyPatch, until: threading.Event, *, before: bool) -> None:
        self.here = threading.Event()
        house = w.gate._opened()
        commit = house.store.commit

        def held(batches: Sequence[Batch]) -> Any:
            ours = not self.here.is_set() and any(record.kind == "intent" for batch in batches for record in batch.records)
            answers = None if ours and before else commit(batches)
            if ours:
                self.here.set()
                assert until.wait(60)
            return commit(batches) if answers is None else answers

        patch.setattr(house.store, "commit", held)


def meeting(queued: Held, group: Committing) -> Callable[[], None]:
    """Lets the intent go to the queue, and waits until the writer holds its group."""

    def meet() -> None:
        queued.go.set()
        assert group.here.wait(60)

    return meet


def at_swap(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Do these around each swap."""
    swap = OpenHouse._swap

    def swapped(self: OpenHouse, *what: Any) -> None:
        before()
        swap(self, *what)
        after()

    monkeypatch.setattr(OpenHouse, "_swap", swapped)


@pytest.mark.parametrize("reload", RELOADS, ids=lambda reload: reload.__name__)
def test_an_intent_whose_group_is_not_written_yet_at_the_swap_is_decided_again(
    w: Shared, reload: Callable[[Shared], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = threading.Event()
    queued, group = Held(w, "intent", monkeypatch), Committing(w, monkeypatch, swapped, before=True)
    at_swap(monkeypatch, meeting(queued, group), swapped.set)
    pool, calling = begin(synchronous, w)
    with pool:
        assert queued.here.wait(60)
        reload(w)
        w.denied(calling.result(60), "no_permit")
    assert (w.ran, w.kinds()) == ([], ["denial"])


@pytest.mark.parametrize("reload", RELOADS, ids=lambda reload: reload.__name__)
def test_a_reload_returns_after_the_group_that_was_written_at_the_swap(
    w: Shared, reload: Callable[[Shared], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intent landed before the swap, so its call runs; and it landed before whoever reloaded was told."""
    house, asked, returned = w.gate._opened(), threading.Event(), threading.Event()
    queued, group = Held(w, "intent", monkeypatch), Committing(w, monkeypatch, asked, before=False)
    at_swap(monkeypatch, meeting(queued, group), lambda: None)
    submit, commit, order = house.writer.submit, house.store.commit, []

    def asking(filing: Filing) -> Ticket:
        ticket = submit(filing)
        if not filing.statements and not filing.changes:
            asked.set()
        return ticket

    def committed(batches: Sequence[Batch]) -> Any:
        answers = commit(batches)
        if any(record.kind == "intent" for batch in batches for record in batch.records):
            order.append("returned" if returned.is_set() else "not yet returned")
        return answers

    monkeypatch.setattr(house.writer, "submit", asking)
    monkeypatch.setattr(house.store, "commit", committed)
    pool, calling = begin(synchronous, w)
    with pool:
        assert queued.here.wait(60)
        reload(w)
        returned.set()
        asked.set()  # where nobody has asked, the writer goes on now, and has seen that the reload had returned
        assert isinstance(calling.result(60), Ok)
    assert order == ["not yet returned"]
    assert w.kinds() == ["intent", "outcome"]


def test_a_store_that_takes_nothing_does_not_keep_a_removal_from_being_answered(w: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(w.gate._opened().store, "commit", down)
        w.remove()
    w.denied(w.adjust(2_500), "no_permit")


def test_a_reload_speaks_for_its_own_process(w: Shared, tmp_path: Path) -> None:
    """Each replica has files of its own: what one has reloaded, another one decides under when it has reloaded too."""
    if not w.before:
        w.before = f'store = "sqlite:{w.folder}/licet.db"\n'
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(w.folder / "licet.key", other)
    with world_of_files(other, w.before + CONFIG) as beside:
        beside.gate.seal()
        w.tighten()
        assert isinstance(w.adjust(2_500), Denied)
        assert isinstance(beside.adjust(2_500), Ok)
        beside.policies(TIGHTER)
        beside.gate.reload()
        beside.denied(beside.adjust(2_500), "no_permit")
