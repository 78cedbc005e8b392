"""Whole calls on a ledger in PostgreSQL, and two gates on one database: what holds on a file holds there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet.errors import StoreUnavailable
from licet.gate.opening import OpenLedger
from licet.gate.results import Denied, Failed, Held, Ok
from licet.gate.writable import whoever_runs_this
from licet.ledger.erasure import erase
from licet.ledger.vault import Subject
from licet.model import RequestState
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, RUN, approved, asked
from tests.world import CONFIG, World, world_on


def config(url: str) -> str:
    return f'store = "{url}"\n{CONFIG}'


@pytest.fixture
def p(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with world_on(tmp_path, config(postgres_url)) as made:
        yield made
        assert_whole(made.gate)


@pytest.fixture
def beside(p: World, postgres_url: str, tmp_path: Path) -> Iterator[World]:
    """Another replica of the same application."""
    with world_on(tmp_path, config(postgres_url)) as made:
        yield made


def test_a_call_is_allowed_and_recorded_and_another_denied(p: World) -> None:
    done = p.adjust()
    assert isinstance(done, Ok)
    assert (done.value, done.decision.code) == ("adjusted", "allowed")
    with p.alice():
        denied = p.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_000_000})
    assert isinstance(denied, Denied)
    assert (denied.decision.code, denied.decision.policies) == ("no_permit", ())
    assert p.kinds() == ["intent", "outcome", "denial"]
    assert len(p.ran) == 1


def test_a_held_call_is_approved_through_one_gate_and_runs_once_through_the_other(p: World, beside: World) -> None:
    held = approved(p)
    result = beside.adjust(AMOUNT)
    assert isinstance(result, Ok)
    assert beside.ran == [RUN]
    assert p.gate.store.get_request(asked(held)).state is RequestState.CONSUMED
    again = p.adjust(AMOUNT)
    assert isinstance(again, Held)
    assert again.request != held.request
    assert p.ran == []


def test_of_many_calls_at_once_through_two_gates_one_uses_the_approval(p: World, beside: World) -> None:
    approved(p)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: (p if number % 2 else beside).adjust(AMOUNT), range(8)))
    assert sum(isinstance(result, Ok) for result in results) == 1
    assert len(p.ran + beside.ran) == 1


def test_an_idempotency_key_is_used_once_through_two_gates(p: World, beside: World) -> None:
    first = p.adjust(idempotency_key="order-1")
    again = beside.adjust(idempotency_key="order-1")
    assert isinstance(first, Ok)
    assert isinstance(again, Ok)
    assert (again.value, again.replayed, first.replayed) == (first.value, True, False)
    assert (len(p.ran), beside.ran) == (1, [])
    other = beside.adjust(3_000, idempotency_key="order-1")
    assert isinstance(other, Denied)
    assert other.decision.code == "key_reused"


def test_a_freeze_through_one_gate_stops_the_other(p: World, beside: World) -> None:
    assert isinstance(beside.adjust(), Ok)
    frozen = p.gate.freeze("tool", "billing.adjust", reason="wrong amounts")
    stopped = [beside.adjust() for _ in range(3)]
    assert [isinstance(one, Denied) and one.decision.code for one in stopped] == ["frozen"] * 3
    assert len(beside.ran) == 1
    assert [one.id for one in beside.gate.freezes()] == [frozen.id]


def test_calls_on_an_event_loop_never_read_the_database_on_it(p: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert p.gate.store.is_remote
    run = type(p.gate.store)._run  # type: ignore[attr-defined]

    def watched(self: Any, *args: Any, **more: Any) -> Any:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return run(self, *args, **more)

    async def calls() -> list[Any]:
        with p.alice():
            made = [p.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": 100}, idempotency_key=f"k-{n}") for n in range(8)]
            return await asyncio.gather(*made)

    p.adjust()  # what is in force is written
    monkeypatch.setattr(type(p.gate.store), "_run", watched)
    results = asyncio.run(calls())
    assert [type(result) for result in results] == [Ok] * 8


def test_somebody_who_was_erased_is_gone_and_proofs_stand(p: World, postgres_url: str) -> None:
    assert isinstance(p.adjust(), Ok)
    with OpenLedger(p.gate.settings, p.clock) as ledger:
        done = erase(
            ledger.operator(p.gate.settings, whoever_runs_this().name), ledger.manifest, Subject("acme", "Customer", "C-1"), "asked to"
        )
        assert done.payloads == 2
        assert ledger.store.rewrite()
    assert p.gate.settings.beside.with_name("licet-erasures").exists()
    assert {record.closed for record in p.gate.store.records("acme") if record.kind in {"intent", "outcome"}} == {"erased"}
    assert isinstance(p.adjust(), Ok), "it is written about under a new pseudonym"


def test_without_its_database_nothing_runs_and_with_it_calls_go_on(p: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the ledger cannot be reached")

    with monkeypatch.context() as down:
        down.setattr(type(p.gate.store), "commit", lost)
        result = p.adjust()
        assert isinstance(result, Denied | Failed)
        assert p.ran == []
    assert isinstance(p.adjust(), Ok)
