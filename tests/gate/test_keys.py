"""Idempotency keys: a repeat gives the recorded outcome, or says that it is unknown, and runs nothing."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.ledger.record import decode_envelope
from licet.testing import vote
from tests.gate.faulty import drain
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world_on

RUN = ("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500})


def odd(w: World, key: str | None = "k", tool: str = "odd.now") -> Result:
    with w.alice():
        return w.gate.call(tool, {}, idempotency_key=key)


def test_a_repeat_returns_the_recorded_result_and_runs_nothing(w: World) -> None:
    first, again = w.adjust(idempotency_key="k"), w.adjust(idempotency_key="k")
    assert isinstance(first, Ok)
    assert isinstance(again, Ok)
    assert (first.value, first.replayed, again.value, again.replayed) == ("adjusted", False, "adjusted", True)
    assert w.ran == [RUN]
    assert w.customers["C-1"]["balance"] == 2_600
    assert w.kinds() == ["intent", "outcome", "call"]
    repeat = w.records()[-1]
    blind = w.gate.store.blind("acme", "key", "k")
    assert (repeat.receipt, repeat.envelope.call, repeat.envelope.key) == (again.receipt, again.call, blind)
    assert repeat.payload.detail == {"repeats": first.call}
    assert w.records()[0].envelope.key == "k", "its payload has it"
    assert decode_envelope(next(iter(w.gate.store.records("acme"))).envelope).key == blind, "the envelope has its blind"


def test_a_key_that_looks_like_a_credential_repeats_as_well(w: World) -> None:
    key = "ghp_" + "A1b2C3d4E5f6" * 3
    first = w.adjust(idempotency_key=key)
    assert isinstance(first, Ok)
    assert key not in str(w.records())
    again = w.adjust(idempotency_key=key)
    assert isinstance(again, Ok)
    assert again.replayed
    assert len(w.ran) == 1


def test_a_repeat_from_asynchronous_code_finds_what_synchronous_code_did(w: World) -> None:
    w.adjust(idempotency_key="k")
    with w.alice():
        again = asyncio.run(w.gate.acall("billing.adjust", {"amount_cents": 2500.0, "customer_id": "C-1"}, idempotency_key="k"))
    assert isinstance(again, Ok)
    assert again.replayed
    assert w.ran == [RUN]


def test_a_read_with_a_key_keeps_its_result_for_the_repeat(w: World) -> None:
    w.returns = {"a": [1, None]}
    first, again = odd(w), odd(w)
    assert isinstance(first, Ok)
    assert isinstance(again, Ok)
    assert (again.value, again.replayed) == ({"a": [1, None]}, True)
    w.returns = None
    assert isinstance(odd(w, "other"), Ok)
    nothing = odd(w, "other")
    assert isinstance(nothing, Ok)
    assert (nothing.value, nothing.replayed) == (None, True)


@pytest.mark.parametrize(("tool", "arguments"), [("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_501}), ("odd.now", {})])
def test_a_key_that_was_used_for_another_call_is_refused(w: World, tool: str, arguments: dict[str, Any]) -> None:
    w.adjust(idempotency_key="k")
    with w.alice():
        w.denied(w.gate.call(tool, arguments, idempotency_key="k"), "key_reused", "`k` was used for another call")
    assert w.ran == [RUN]
    assert w.records()[-1].kind == "denial"


def test_the_same_key_of_another_caller_is_another_key(w: World) -> None:
    w.adjust(idempotency_key="k")
    with w.gate.acting(agent="free-bot", tenant="acme"):
        other = w.gate.call("billing.adjust", RUN[1], idempotency_key="k")
    with w.gate.acting(agent="free-bot", tenant="acme", user="alice"):
        third = w.gate.call("billing.adjust", RUN[1], idempotency_key="k")
    assert isinstance(other, Ok)
    assert isinstance(third, Ok)
    assert (other.replayed, third.replayed) == (False, False)
    assert w.ran == [RUN] * 3


def test_another_session_of_the_caller_shares_its_keys(w: World) -> None:
    for session in (None, "a", "b"):
        with w.alice(session=session):
            assert isinstance(w.gate.call("billing.adjust", RUN[1], idempotency_key="k"), Ok)
    assert w.ran == [RUN]


def test_a_denied_call_takes_no_key(w: World) -> None:
    w.denied(w.adjust(1_000_001, idempotency_key="k"), "no_permit")
    assert isinstance(w.adjust(idempotency_key="k"), Ok)
    assert w.ran == [RUN]


def test_concurrent_repeats_run_once(w: World) -> None:
    w.gate.seal()
    barrier = threading.Barrier(16)

    def go(_: int) -> Result:
        barrier.wait(20)
        return w.adjust(idempotency_key="k")

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(go, range(16)))
    assert w.ran == [RUN]
    fresh = [result for result in results if isinstance(result, Ok) and not result.replayed]
    assert len(fresh) == 1
    for result in results:
        assert isinstance(result, Ok) or (isinstance(result, Failed) and result.code == "unknown"), result


def test_concurrent_repeats_from_tasks_run_once(w: World) -> None:
    async def main() -> list[Result]:
        with w.alice():
            return await asyncio.gather(*[w.gate.acall("billing.refund", RUN[1], idempotency_key="k") for _ in range(16)])

    results = asyncio.run(main())
    assert len(w.ran) == 1
    assert sum(isinstance(result, Ok) and not result.replayed for result in results) == 1


def test_a_repeat_while_the_first_still_runs_says_that_its_end_is_unknown(w: World) -> None:
    @w.gate.tool("slow.keyed", access="write", touches={"access"})
    def slow() -> str:
        w.ran.append(("slow.keyed", {}))
        w.started.set()
        w.release.wait(30)
        return "done"

    w.gate.seal()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: odd(w, tool="slow.keyed"))
        assert w.started.wait(10)
        early = odd(w, tool="slow.keyed")
        assert isinstance(early, Failed)
        assert (early.code, early.executed, early.retry) == ("unknown", True, False)
        assert "has not ended, or nobody saw its end; nothing ran now" in early.message
        w.release.set()
        assert isinstance(running.result(20), Ok)
    late = odd(w, tool="slow.keyed")
    assert isinstance(late, Ok)
    assert (late.value, late.replayed) == ("done", True)
    assert len(w.ran) == 1


def test_a_repeat_of_a_call_that_raised_gives_the_recorded_failure(w: World) -> None:
    w.raises = ValueError("no funds")
    assert isinstance(odd(w), Failed)
    w.raises = None
    again = odd(w)
    assert isinstance(again, Failed)
    assert (again.code, again.message, again.executed, again.retry, again.error) == ("ValueError", "no funds", True, False, None)
    assert len(w.ran) == 1


def test_a_repeat_of_a_call_that_took_too_long_gives_its_late_end_once_it_is_known(w: World) -> None:
    assert isinstance(odd(w, tool="slow.now"), Failed)
    again = odd(w, tool="slow.now")
    assert isinstance(again, Failed)
    assert (again.code, again.executed, again.retry) == ("timeout", True, False)
    w.release.set()
    for _ in range(2_000):
        if w.kinds().count("outcome") == 2:
            break
        threading.Event().wait(0.005)
    drain(w.gate)
    late = odd(w, tool="slow.now")
    assert isinstance(late, Ok)
    assert (late.value, late.replayed) == ("late", True)
    assert len(w.ran) == 1


def test_a_repeat_after_a_restart_runs_nothing(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        first = w.adjust(idempotency_key="k")
    with world_on(tmp_path) as w:
        again = w.adjust(idempotency_key="k")
        assert isinstance(first, Ok)
        assert isinstance(again, Ok)
        assert (again.value, again.replayed) == ("adjusted", True)
        assert w.ran == []
        assert_whole(w.gate)


@pytest.mark.parametrize(
    ("config", "policies", "code"),
    [
        (CONFIG, POLICIES + '@id("stop") forbid (principal, action == Action::"billing.adjust", resource);', "forbidden"),
        (
            CONFIG.replace('[users.alice]\ntenants = ["acme"]', '[users.alice]\ntenants = ["acme"]\ndisabled = true'),
            POLICIES,
            "user_disabled",
        ),
        (
            CONFIG.replace(
                '[users.alice]\ntenants = ["acme"]\nroles = ["support", "billing"', '[users.alice]\ntenants = ["acme"]\nroles = ["support"'
            ),
            POLICIES,
            "no_permit",
        ),
    ],
)
def test_a_repeat_by_a_caller_who_is_denied_by_now_is_denied(tmp_path: Path, config: str, policies: str, code: str) -> None:
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(idempotency_key="k"), Ok)
    with world_on(tmp_path, config, policies) as w:
        w.denied(w.adjust(idempotency_key="k"), code)
        assert w.ran == []
        assert_whole(w.gate)


def test_a_repeat_of_an_approved_call_asks_nobody_again(w: World) -> None:
    held = w.adjust(50_000, idempotency_key="k")
    assert isinstance(held, Held)
    vote(w.gate, held.request, "lena")
    first = w.adjust(50_000, idempotency_key="k")
    assert isinstance(first, Ok)
    again = w.adjust(50_000, idempotency_key="k")
    assert isinstance(again, Ok)
    assert (again.value, again.replayed) == ("adjusted", True)
    assert len(w.ran) == 1
    assert len(w.gate.approvals.all()) == 1, "no second request was opened"
    assert isinstance(w.adjust(50_000, idempotency_key="other"), Held), "another key is another call"


def test_a_repeat_of_an_approved_call_needs_no_preview(w: World) -> None:
    held = w.adjust(50_000, idempotency_key="k")
    assert isinstance(held, Held)
    vote(w.gate, held.request, "lena")
    assert isinstance(w.adjust(50_000, idempotency_key="k"), Ok)

    def gone(**_: Any) -> Any:
        raise LookupError

    w.gate.registry.previews["billing.adjust"].function = gone
    assert isinstance(w.adjust(50_000, idempotency_key="k"), Ok)
    assert len(w.ran) == 1


def test_of_concurrent_repeats_of_an_approved_call_one_runs_and_none_is_denied(w: World) -> None:
    held = w.adjust(50_000, idempotency_key="k")
    assert isinstance(held, Held)
    vote(w.gate, held.request, "lena")
    barrier = threading.Barrier(8)

    def go(_: int) -> Result:
        barrier.wait(20)
        return w.adjust(50_000, idempotency_key="k")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(go, range(8)))
    assert len(w.ran) == 1
    assert not [result for result in results if isinstance(result, Denied | Held)]


def test_a_held_call_takes_no_key(w: World) -> None:
    assert isinstance(w.adjust(50_000, idempotency_key="k"), Held)
    assert isinstance(w.adjust(2_500, idempotency_key="k"), Ok)


def test_a_key_that_was_used_for_another_call_is_refused_by_rule_whatever_people_have_approved(w: World) -> None:
    assert isinstance(w.adjust(idempotency_key="k"), Ok)
    held = w.held()
    vote(w.gate, held.request, "lena")
    w.denied(w.adjust(50_000, idempotency_key="k"), "key_reused")
    decision = w.records()[-1].envelope.decision
    assert decision is not None
    assert (decision.code, decision.decided_by) == ("key_reused", "rule")
    assert isinstance(w.adjust(50_000), Ok), "the approval is still there"
