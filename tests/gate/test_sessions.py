"""Sessions: what an agent has done in a run counts, however its calls are made, and nothing that it writes wins it back."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from licet.errors import CallerRefused
from licet.gate import session
from licet.gate.results import Denied, Ok, Result
from licet.gate.session import SessionFacts, Sessions
from licet.model import Caller
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world

WHO = Caller(tenant="acme", agent="support-bot", user="alice")
OTHER = Caller(tenant="acme", agent="free-bot")


def refund(w: World, amount: Any, customer: str = "C-1", **acting: Any) -> Result:
    with w.alice(**acting):
        return w.gate.call("billing.refund", {"customer_id": customer, "amount_cents": amount})


def meters(w: World) -> list[Any]:
    """What each decision on a refund saw."""
    contexts = [record.payload.context for record in w.records() if record.kind in {"intent", "denial"}]
    return [(context or {}).get("meters", {}).get("refunded") for context in contexts]


def test_what_a_session_refunds_adds_up_until_the_limit(w: World) -> None:
    assert isinstance(refund(w, 30_000), Ok)
    assert isinstance(refund(w, 20_000), Ok)
    denied = w.denied(refund(w, 1), "forbidden", "`refunds-are-metered`", "a session refunds $500 at most")
    assert [policy.id for policy in denied.decision.policies] == ["refunds-are-metered"] * 2
    assert meters(w) == [0, 30_000, 50_000]
    assert len(w.ran) == 2


def test_synchronous_and_asynchronous_calls_share_the_meter(w: World) -> None:
    assert isinstance(refund(w, 30_000), Ok)

    async def main() -> Result:
        with w.alice():
            return await w.gate.acall("billing.refund", {"customer_id": "C-2", "amount_cents": 30_000})

    w.denied(asyncio.run(main()), "forbidden", "at most")


def test_leaving_the_session_out_resets_nothing(w: World) -> None:
    assert isinstance(refund(w, 50_000), Ok)
    for _ in range(3):
        w.denied(refund(w, 1), "forbidden")


def test_another_session_and_another_caller_have_their_own_meter(w: World) -> None:
    assert isinstance(refund(w, 50_000), Ok)
    assert isinstance(refund(w, 50_000, session="second"), Ok)
    with w.gate.acting(agent="free-bot", tenant="acme"):
        assert isinstance(w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 50_000}), Ok)
    w.denied(refund(w, 1), "forbidden")


@pytest.mark.parametrize("amount", [-1, -50_000, -(2**63)])
def test_a_negative_amount_wins_nothing_back(w: World, amount: int) -> None:
    assert isinstance(refund(w, 50_000), Ok)
    refund(w, amount)
    w.denied(refund(w, 1), "forbidden")
    assert meters(w)[-1] == 50_000


def test_a_meter_that_would_overflow_denies(w: World) -> None:
    w.gate.seal()
    house = w.gate._house
    assert house is not None
    house.sessions._put((WHO, None), SessionFacts(meters={"refunded": 2**63 - 1}))
    w.denied(refund(w, 1), "policy_error")
    assert w.ran == []


def test_refunds_that_race_cannot_pass_the_limit_together(w: World) -> None:
    w.gate.seal()
    for turn in range(5):
        barrier = threading.Barrier(8)

        def go(_: int, turn: int = turn, barrier: threading.Barrier = barrier) -> Result:
            barrier.wait(20)
            return refund(w, 20_000, session=f"s-{turn}")

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(go, range(8)))
        assert [type(result) for result in results].count(Ok) <= 2
        assert {result.decision.code for result in results if isinstance(result, Denied)} <= {"forbidden", "contention"}
    assert len(w.ran) <= 10


def test_refunds_that_race_from_tasks_cannot_pass_the_limit_together(w: World) -> None:
    async def main() -> list[Result]:
        with w.alice():
            calls = [w.gate.acall("billing.refund", {"customer_id": "C-1", "amount_cents": 20_000}) for _ in range(16)]
            return await asyncio.gather(*calls)

    results = asyncio.run(main())
    assert [type(result) for result in results].count(Ok) == 2
    assert len(w.ran) == 2


def test_a_denied_call_counts_nothing(w: World) -> None:
    for _ in range(3):
        w.denied(refund(w, 50_001), "forbidden")
    w.denied(refund(w, 5, "G-1"), "target_not_found")
    assert isinstance(refund(w, 50_000), Ok)


def test_a_label_is_seen_from_the_next_decision_on_and_never_comes_off(w: World) -> None:
    assert isinstance(w.adjust(), Ok)
    with w.alice():
        w.gate.label("untrusted")
        w.gate.label("other")
    w.denied(w.adjust(), "forbidden", "the session has read text from outside")
    with w.alice():
        assert isinstance(w.gate.call("crm.lookup", {"customer_id": "C-1"}), Ok), "reads still pass"
    with w.alice(session="fresh"):
        assert isinstance(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), Ok)
    context = w.records()[2].payload.context
    assert context is not None
    assert context["labels"] == ["other", "untrusted"]


def test_a_label_for_nobody_is_refused(w: World) -> None:
    with pytest.raises(CallerRefused, match="nobody is calling"):
        w.gate.label("untrusted")


def test_a_second_look_finds_that_a_meter_has_moved() -> None:
    sessions = Sessions(("m",))
    seen = sessions.facts(WHO, None)
    assert (seen.calls, seen.meters, seen.revision) == (0, {"m": 0}, 0)
    assert sessions.count(WHO, None, seen, {"m": 5})
    assert not sessions.count(WHO, None, seen, {"m": 5})
    assert sessions.facts(WHO, None) == SessionFacts((), 1, {"m": 5}, 1)
    assert sessions.count(WHO, None, seen), "a call that is not metered rests on no meter"
    assert sessions.facts(WHO, None).calls == 2
    assert sessions.facts(OTHER, None) == SessionFacts((), 0, {"m": 0}, 0)
    assert sessions.facts(WHO, "s") == SessionFacts((), 0, {"m": 0}, 0)


def test_a_label_moves_the_revision_so_a_metered_call_is_decided_again() -> None:
    sessions = Sessions(("m",))
    seen = sessions.facts(WHO, None)
    sessions.label(WHO, None, "untrusted")
    assert not sessions.count(WHO, None, seen, {"m": 1})


def test_the_sessions_used_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "SESSIONS_KEPT", 3)
    sessions = Sessions()
    for name in ("a", "b", "c", "a", "d"):
        sessions.label(WHO, name, "x")
    assert [sessions.facts(WHO, name).labels for name in "abcd"] == [("x",), (), ("x",), ("x",)]


def test_counts_from_many_threads_are_all_there() -> None:
    sessions = Sessions(("m",))

    def count(_: int) -> None:
        for _ in range(50):
            while not sessions.count(WHO, None, sessions.facts(WHO, None), {"m": 1}):
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    facts = sessions.facts(WHO, None)
    assert (facts.calls, facts.meters) == (400, {"m": 400})


def test_a_policy_can_limit_calls_of_a_session() -> None:
    policies = POLICIES + '@id("few") @reason("three calls") forbid (principal, action, resource) when { context.session.calls >= 3 };'
    with world(CONFIG, policies) as w:
        for _ in range(3):
            assert isinstance(w.adjust(), Ok)
        w.denied(w.adjust(), "forbidden", "three calls")
        assert_whole(w.gate)
