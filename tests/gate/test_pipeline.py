"""The order of checks, and the ways out of it that no caller can bring about alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from licet.gate import checks
from licet.gate.pipeline import ATTEMPTS
from licet.gate.results import Denied, Held, Ok, Result
from licet.gate.session import Sessions
from licet.testing import vote
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, Customer, World, world

READ = ("crm.lookup", {"customer_id": "C-1"})
ADJUST = ("billing.adjust", {"customer_id": "C-1", "amount_cents": 5})
Door = Callable[[World, str, Any], Result]


def call(w: World, tool: str, arguments: Any) -> Result:
    with w.alice():
        return w.gate.call(tool, arguments)


def acall(w: World, tool: str, arguments: Any) -> Result:
    with w.alice():
        return asyncio.run(w.gate.acall(tool, arguments))


def test_the_steps_come_in_their_order(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call with everything wrong is refused for the first thing; each mend shows the next."""
    seen: list[str] = []
    for name in ("identify", "find_tool", "parse", "resolve", "decide"):
        original = getattr(checks, name)

        def traced(*args: Any, original: Any = original, name: str = name) -> Any:
            seen.append(name)
            return original(*args)

        monkeypatch.setattr(checks, name, traced)
    w.denied(w.gate.call("no.such", "{"), "no_caller")
    with w.alice():
        w.denied(w.gate.call("no.such", "{"), "unknown_tool")
    with w.gate.acting(agent="support-bot", user="carl"):
        w.denied(w.gate.call("billing.adjust", "{"), "no_permit")
    w.denied(call(w, "billing.adjust", "{"), "not_json")
    w.denied(call(w, "billing.adjust", {"customer_id": "X", "amount_cents": 5_000_000}), "target_not_found")
    w.denied(call(w, "billing.adjust", {"customer_id": "C-1", "amount_cents": 5_000_000}), "no_permit")
    steps = ["identify", "find_tool", "parse", "resolve", "decide"]
    assert seen == [step for length in (1, 2, 2, 3, 4, 5) for step in steps[:length]]
    assert w.ran == []


@pytest.mark.parametrize("door", [call, acall])
@pytest.mark.parametrize("step", ["identify", "find_tool", "parse", "resolve", "decide"])
def test_an_error_while_deciding_is_a_recorded_denial_that_tells_no_secret(
    w: World, monkeypatch: pytest.MonkeyPatch, door: Door, step: str
) -> None:
    def broken(*_: Any) -> Any:
        raise LookupError("the secret")

    monkeypatch.setattr(checks, step, broken)
    denied = w.denied(door(w, *ADJUST), "internal_error", "an error while deciding (LookupError); nothing was done")
    assert "secret" not in denied.decision.message
    assert w.ran == []
    log = "operator" if step == "identify" else "acme"
    record = w.records(log)[-1]
    assert (record.kind, record.receipt) == ("denial", denied.receipt)
    assert record.payload.detail is not None
    assert record.payload.detail["error"] == "LookupError('the secret')"


@pytest.mark.parametrize("door", [call, acall])
def test_an_interrupt_while_deciding_is_recorded_and_passes_on(w: World, monkeypatch: pytest.MonkeyPatch, door: Door) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "decide", interrupt)
    with pytest.raises(KeyboardInterrupt):
        door(w, *ADJUST)
    decision = w.records()[-1].envelope.decision
    assert decision is not None
    assert decision.code == "cancelled"
    assert w.ran == []


def test_a_call_whose_grounds_keep_moving_is_refused_after_some_attempts(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def count(*_: Any) -> bool:
        tries.append(1)
        return False

    monkeypatch.setattr(Sessions, "count", count)
    w.denied(call(w, *ADJUST), "contention", "kept changing while it was decided")
    assert len(tries) == ATTEMPTS
    assert w.ran == []
    (record,) = w.records()
    assert (record.kind, record.envelope.attempt) == ("denial", ATTEMPTS)


@pytest.mark.parametrize("door", [call, acall])
def test_a_resolver_that_answers_from_memory_is_asked_where_the_call_runs(door: Door) -> None:
    with world() as w:
        threads: list[str] = []

        def customer(identifier: str) -> Customer | None:
            threads.append(threading.current_thread().name)
            row = w.customers.get(identifier)
            return Customer(row["tenant"], row["vip"]) if row else None

        w.gate.registry.resolvers.clear()
        w.gate.resource("Customer", blocking=False)(customer)
        assert isinstance(door(w, *READ), Ok)
        w.denied(door(w, "crm.lookup", {"customer_id": "X"}), "target_not_found")
        w.denied(door(w, "crm.lookup", {"customer_id": "G-1"}), "target_not_found")
        assert set(threads) == {threading.current_thread().name}
        assert_whole(w.gate)


@pytest.mark.parametrize("door", [call, acall])
def test_a_target_that_nobody_can_resolve_is_a_denial_that_says_so(w: World, door: Door) -> None:
    w.gate.seal()
    house = w.gate._house
    assert house is not None
    house._scene = replace(house.scene, resolvers={})
    w.denied(door(w, *READ), "target_unresolvable", 'Customer::"C-1"', "this process has no resolver for `Customer`")
    assert w.ran == []


@pytest.mark.parametrize("door", [call, acall])
@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ({"tenant": "acme"}, "returned a `dict` in place of `Customer`"),
        (Customer("", vip=False), "no `tenant`"),
        (Customer(5, vip=False), "cannot be believed"),  # type: ignore[arg-type]
        (Customer("acme", vip="yes"), "a wrong attribute"),  # type: ignore[arg-type]
        (Customer("acme\ud800", vip=False), "cannot be written as JSON"),
    ],
)
def test_a_resolver_that_answers_something_else_than_it_declares_is_a_denial(w: World, door: Door, returned: Any, words: str) -> None:
    w.gate.registry.resolvers["Customer"].resource.function = lambda _: returned  # type: ignore[misc]
    w.denied(door(w, *READ), "target_unresolvable", words)
    assert w.ran == []


def test_without_a_template_the_target_is_the_caller_s_tenant(w: World) -> None:
    w.returns = 1
    assert isinstance(call(w, "odd.now", {}), Ok)
    (target,) = w.records()[-1].payload.targets
    assert (target.type, target.id, target.tenant, target.environment) == ("Tenant", "acme", "acme", "production")


def test_nobody_is_asked_for_what_nobody_can_give() -> None:
    alone = CONFIG.replace('billing-leads = ["lena", "alice", "gina"]', 'billing-leads = ["alice", "gina"]')
    with world(alone) as w:
        w.denied(w.adjust(50_000), "nobody_can_approve", "`adjust-needs-lead` asks for the approval of 1 of `billing-leads`")
        assert w.gate.approvals.all() == ()
        assert w.ran == []
        assert_whole(w.gate)
    sure = POLICIES + '@id("sure") @require_confirmation forbid (principal, action == Action::"billing.adjust", resource);'
    with world(policies=sure) as w:
        with w.gate.acting(agent="free-bot", tenant="acme"):
            w.denied(w.gate.call(*ADJUST), "nobody_can_approve", "`sure` asks the user for whom the agent acts to confirm")
        assert w.ran == []
        assert isinstance(w.adjust(), Held)


def test_many_who_look_at_an_expired_request_record_its_end_once(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    w.clock.advance(3_600)
    barrier = threading.Barrier(8)

    def look(_: int) -> int:
        barrier.wait(10)
        return len(w.gate.approvals.waiting())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(8)))
    assert w.gate.approvals.waiting() == ()
    assert w.kinds() == ["call", "hold", "vote", "expiry"]


def test_a_call_and_a_look_that_expire_one_request_at_once_leave_a_whole_log(w: World) -> None:
    for _ in range(10):
        w.held()
        w.clock.advance(3_600)
        barrier = threading.Barrier(2)

        def look(barrier: threading.Barrier = barrier) -> None:
            barrier.wait(10)
            w.gate.approvals.waiting()

        def ask(barrier: threading.Barrier = barrier) -> Result:
            barrier.wait(10)
            return w.adjust(50_000)

        with ThreadPoolExecutor(2) as pool:
            looking, asking = pool.submit(look), pool.submit(ask)
            looking.result(20)
            assert isinstance(asking.result(20), Held)
    assert w.ran == []
    assert not isinstance(w.adjust(50_000), Denied)
