"""Plans: several calls proposed at once, one question for people, each step decided, used once, in its order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw
import pytest

from licet.errors import VoteRefused
from licet.gate.plans import STEPS_LIMIT, PlannedCall, PlanResult
from licet.gate.results import Denied, Failed, Held, Ok
from licet.model import PlanId, RequestState
from tests.gate.faulty import drain, faulty_world
from tests.gate.proof import assert_whole
from tests.world import World, world, world_on

LOOKUP = ("crm.lookup", {"customer_id": "C-1"})


def adjust(amount: int, customer: str = "C-1") -> tuple[str, dict[str, Any]]:
    return "billing.adjust", {"customer_id": customer, "amount_cents": amount}


SUSPEND = ("account.suspend", {"customer_id": "C-1"})
MIXED = (LOOKUP, adjust(50_000), adjust(100), SUSPEND)
"""A read, a held write, a write that nobody need decide on, and one that two people must."""


def propose(w: World, calls: Iterable[Any] = MIXED, **more: Any) -> PlanResult:
    with w.alice():
        return w.gate.plan(calls, **more)


def held(w: World, calls: Iterable[Any] = MIXED, **more: Any) -> PlanResult:
    result = propose(w, calls, **more)
    assert result.state == "held", result
    return result


def plan_of(result: PlanResult) -> PlanId:
    assert result.plan is not None
    return result.plan


def decide(w: World, result: PlanResult, voter: str, **verdicts: Any) -> None:
    w.gate.approvals.vote_plan(plan_of(result), voter, {int(step[1:]): verdict for step, verdict in verdicts.items()})


def kinds(result: PlanResult) -> list[str | None]:
    return [type(step.result).__name__ if step.result is not None else None for step in result.steps]


def test_a_plan_of_safe_calls_runs_without_asking(w: World) -> None:
    result = propose(w, (LOOKUP, adjust(100), adjust(200)))
    assert result.state == "done"
    assert [value if isinstance(value, str) else "row" for value in result.unwrap()] == ["row", "adjusted", "adjusted"]
    assert [arguments.get("amount_cents") for _, arguments in w.ran] == [None, 100, 200]
    assert w.gate.approvals.all() == ()


def test_safe_steps_run_up_to_the_first_that_is_held_and_people_are_asked_about_all_at_once(w: World) -> None:
    result = held(w)
    assert kinds(result) == ["Ok", "Held", None, "Held"]
    assert [name for name, _ in w.ran] == ["crm.lookup"]
    steps = w.gate.approvals.plan(plan_of(result))
    assert [(shown.request.step, shown.request.steps, shown.request.tool) for shown in steps] == [
        (2, 4, "billing.adjust"),
        (4, 4, "account.suspend"),
    ]
    assert [shown.request.id for shown in steps] == [result.steps[1].request, result.steps[3].request]


def test_a_plan_whose_steps_are_decided_runs_to_its_end_and_each_step_once(w: World) -> None:
    result = held(w)
    decide(w, result, "lena", s2="approve")
    decide(w, result, "dana", s4="approve")
    decide(w, result, "omar", s4="approve")
    done = propose(w)
    assert done.state == "done"
    assert done.plan == result.plan
    assert [name for name, _ in w.ran] == ["crm.lookup", "billing.adjust", "billing.adjust", "account.suspend"]
    first = done.steps[0].result
    assert isinstance(first, Ok)
    assert first.replayed, "what ran before people were asked does not run again"
    assert_whole(w.gate)


def test_a_plan_that_is_decided_in_part_goes_on_as_far_as_that(w: World) -> None:
    result = held(w)
    decide(w, result, "lena", s2="approve")
    again = held(w)
    assert again.plan == result.plan
    assert kinds(again) == ["Ok", "Ok", "Ok", "Held"]
    assert [name for name, _ in w.ran] == ["crm.lookup", "billing.adjust", "billing.adjust"]
    assert len(w.gate.approvals.all()) == 2, "nobody was asked a second time"


def test_a_later_step_that_is_approved_first_waits_for_its_turn(w: World) -> None:
    result = held(w)
    for voter in ("dana", "omar"):
        decide(w, result, voter, s4="approve")
    again = held(w)
    assert kinds(again) == ["Ok", "Held", None, None]
    assert [name for name, _ in w.ran] == ["crm.lookup"]


def test_a_rejected_step_stops_the_plan_and_what_follows_is_asked_of_nobody(w: World) -> None:
    result = held(w)
    decide(w, result, "lena", s2="reject")
    stopped = propose(w)
    assert stopped.state == "stopped"
    denied = next(step.result for step in stopped.steps if step.result is not None and not isinstance(step.result, Ok))
    assert isinstance(denied, Denied)
    assert denied.decision.code == "rejected"
    assert [name for name, _ in w.ran] == ["crm.lookup"]
    states = {shown.request.step: shown.request.state for shown in w.gate.approvals.plan(plan_of(result))}
    assert states == {2: RequestState.REJECTED, 4: RequestState.WITHDRAWN}
    assert_whole(w.gate)


def test_a_step_that_fails_stops_what_follows(w: World) -> None:
    @w.gate.tool("odd.fails", access="write", touches={"access"})
    def fails() -> None:
        raise ValueError("no")

    calls: tuple[Any, ...] = (("odd.fails", {}), SUSPEND)
    result = propose(w, calls)
    assert (result.state, kinds(result)) == ("stopped", ["Failed", None])
    assert w.gate.approvals.waiting() == (), "its requests are withdrawn"
    again = propose(w, calls)
    assert again.plan != result.plan, "a plan that has stopped is another one when it is proposed again"
    assert isinstance(again.steps[0].result, Failed)
    assert not again.steps[0].result.replayed


def test_one_denied_step_and_none_of_the_plan_runs(w: World) -> None:
    result = propose(w, (LOOKUP, adjust(100), ("no.such.tool", {})))
    assert result.state == "stopped"
    assert kinds(result) == [None, None, "Denied"]
    assert result.plan is None
    assert w.ran == []
    assert w.kinds() == ["denial"]


@pytest.mark.parametrize(
    "other", [(adjust(50_000),), (adjust(50_000), LOOKUP), (LOOKUP, adjust(50_000)), (*MIXED[:1], adjust(50_000), LOOKUP)]
)
def test_an_approved_step_is_of_no_use_elsewhere(w: World, other: tuple[Any, ...]) -> None:
    result = held(w)
    decide(w, result, "lena", s2="approve")
    ran = len(w.ran)
    assert isinstance(w.adjust(50_000), Held), "not to the same call alone"
    elsewhere = held(w, other)
    assert elsewhere.plan != result.plan
    assert not [name for name, _ in w.ran[ran:] if name == "billing.adjust"]


def test_an_approved_call_is_of_no_use_to_a_plan(w: World) -> None:
    alone = w.held(50_000)
    assert alone.request is not None
    w.gate.approvals.vote(alone.request, "lena", "approve")
    assert held(w, (adjust(50_000), LOOKUP)).steps[0].request != alone.request
    assert w.ran == []


def test_two_equal_steps_need_two_decisions(w: World) -> None:
    calls = (SUSPEND, SUSPEND)
    result = held(w, calls)
    for voter in ("dana", "omar"):
        decide(w, result, voter, s1="approve")
    again = held(w, calls)
    assert [name for name, _ in w.ran] == ["account.suspend"]
    assert kinds(again) == ["Ok", "Held"]


def test_a_step_whose_preview_has_changed_by_its_turn_is_held_anew_in_its_plan(w: World) -> None:
    calls = (adjust(50_000), adjust(60_000))
    result = held(w, calls)
    decide(w, result, "lena", s1="approve", s2="approve")
    again = held(w, calls)
    assert kinds(again) == ["Ok", "Held"]
    second = again.steps[1].result
    assert isinstance(second, Held)
    assert "held anew, since the call would now change `balance`" in second.decision.message
    shown = w.gate.approvals.plan(plan_of(result))
    assert [(one.request.step, one.request.state) for one in shown] == [(1, RequestState.CONSUMED), (2, RequestState.OPEN)]
    with pytest.raises(VoteRefused, match="step 2 was asked about anew"):
        decide(w, result, "lena", s2="approve")
    assert second.request is not None
    w.gate.approvals.vote(second.request, "lena", "approve")
    assert propose(w, calls).state == "done"
    assert w.customers["C-1"]["balance"] == 110_100


def test_a_finished_plan_that_is_proposed_again_asks_anew(w: World) -> None:
    calls = (adjust(50_000),)
    first = held(w, calls)
    decide(w, first, "lena", s1="approve")
    assert propose(w, calls).state == "done"
    second = held(w, calls)
    assert second.plan != first.plan
    assert len(w.ran) == 1


def test_a_finished_plan_with_an_idempotency_key_gives_its_results_again(w: World) -> None:
    calls = (LOOKUP, adjust(50_000))
    first = held(w, calls, idempotency_key="ticket-1")
    decide(w, first, "lena", s2="approve")
    assert propose(w, calls, idempotency_key="ticket-1").state == "done"
    again = propose(w, calls, idempotency_key="ticket-1")
    assert again.state == "done"
    assert all(isinstance(step.result, Ok) and step.result.replayed for step in again.steps)
    assert len(w.ran) == 2


def test_votes_on_a_plan_are_cast_all_or_none(w: World) -> None:
    result = held(w)
    with pytest.raises(VoteRefused, match="not in `security-leads`"):
        decide(w, result, "lena", s2="approve", s4="approve")
    with pytest.raises(VoteRefused, match="the plan has no step 3"):
        decide(w, result, "lena", s2="approve", s3="approve")
    assert all(not shown.votes for shown in w.gate.approvals.plan(plan_of(result)))


def test_a_plan_survives_a_restart_and_goes_on_in_another_process(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        result = held(w)
        decide(w, result, "lena", s2="approve")
    with world_on(tmp_path) as w:
        again = held(w)
        assert again.plan == result.plan
        assert [name for name, _ in w.ran] == ["billing.adjust", "billing.adjust"], "the lookup of before is not made again"
        for voter in ("dana", "omar"):
            decide(w, again, voter, s4="approve")
        assert propose(w).state == "done"
        assert_whole(w.gate)


def test_sixteen_threads_that_propose_one_plan_run_each_step_once(w: World) -> None:
    calls = (LOOKUP, adjust(50_000), adjust(100))
    result = held(w, calls)
    decide(w, result, "lena", s2="approve")
    w.ran.clear()
    found: list[PlanResult] = []
    threads = [threading.Thread(target=lambda: found.append(propose(w, calls))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert [arguments["amount_cents"] for name, arguments in w.ran if name == "billing.adjust" and arguments["amount_cents"] == 50_000] == [
        50_000
    ]
    assert sum(shown.request.state is RequestState.CONSUMED for shown in w.gate.approvals.plan(plan_of(result))) == 1
    assert_whole(w.gate)


def test_an_asynchronous_caller_proposes_the_same_plan(w: World) -> None:
    result = held(w)
    decide(w, result, "lena", s2="approve")
    for voter in ("dana", "omar"):
        decide(w, result, voter, s4="approve")

    async def later() -> PlanResult:
        with w.alice():
            return await w.gate.aplan(MIXED)

    done = asyncio.run(later())
    assert (done.state, done.plan) == ("done", result.plan)


def test_a_plan_can_wait_for_people(w: World) -> None:
    started = threading.Event()
    found: list[PlanResult] = []

    def wait() -> None:
        started.set()
        found.append(propose(w, wait=30))

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    while len(w.gate.approvals.waiting()) < 2:
        pass
    plan = w.gate.approvals.waiting()[0].request.plan
    assert plan is not None
    w.gate.approvals.vote_plan(plan, "lena", {2: "approve"})
    w.gate.approvals.vote_plan(plan, "dana", {4: "approve"})
    w.gate.approvals.vote_plan(plan, "omar", {4: "approve"})
    thread.join(30)
    assert [result.state for result in found] == ["done"]
    assert [name for name, _ in w.ran] == ["crm.lookup", "billing.adjust", "billing.adjust", "account.suspend"]


def test_a_plan_that_has_expired_asks_anew(w: World) -> None:
    result = held(w)
    w.clock.advance(16 * 60)
    again = held(w)
    assert again.plan != result.plan


@pytest.mark.parametrize("calls", [(), (LOOKUP,) * (STEPS_LIMIT + 1)], ids=["none", "too many"])
def test_a_plan_has_some_steps_and_not_too_many(w: World, calls: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=f"a plan has 1 to {STEPS_LIMIT} steps"):
        propose(w, calls)
    with pytest.raises(ValueError, match="an idempotency key is text"):
        propose(w, (LOOKUP,), idempotency_key="\n")


def test_each_step_may_have_a_reason_of_its_own(w: World) -> None:
    held(w, (PlannedCall(*adjust(50_000), reason="first ticket"), PlannedCall(*adjust(60_000), reason="second")))
    reasons = [record.payload.reason for record in w.records() if record.kind == "hold" and record.payload is not None]
    assert reasons == ["first ticket", "second"]


def test_the_requests_of_a_plan_are_opened_in_one_transaction(w: World) -> None:
    held(w)
    holds = [place for place, kind in enumerate(w.kinds()) if kind == "hold"]
    assert holds[1] == holds[0] + 1, "no record of anything else lies between them"


def test_every_record_of_a_step_names_its_plan_and_place(w: World) -> None:
    result = held(w, (LOOKUP, adjust(50_000)))
    decide(w, result, "lena", s2="approve")
    propose(w, (LOOKUP, adjust(50_000)))
    said = [
        (record.kind, (record.payload.detail or {}).get("plan"))
        for record in w.records()
        if record.kind in {"hold", "intent"} and record.payload is not None
    ]
    place = {"id": result.plan, "steps": 2}
    assert said == [("hold", {**place, "step": 2}), ("intent", {**place, "step": 1}), ("intent", {**place, "step": 2})]


def test_another_caller_s_equal_plan_is_another_plan() -> None:
    with world() as w:
        result = held(w, (adjust(50_000),))
        decide(w, result, "lena", s1="approve")
        with w.gate.acting(agent="free-bot", user="alice", tenant="acme"):
            other = w.gate.plan((adjust(50_000),))
        assert other.plan != result.plan
        assert w.ran == []


def test_a_store_that_cannot_be_read_denies_the_plan_and_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch) as (w, store):
        held(w)
        store.fail("unreadable")
        result = propose(w)
        assert (result.plan, result.state, kinds(result)) == (None, "stopped", ["Denied", None, None, None])
        w.denied(one_result(result), "log_unavailable", "the log cannot be read")
        store.mend()
        drain(w.gate)
        assert held(w).state == "held", "what waits, waits on"


def test_a_plan_whose_request_was_moved_to_another_record_is_denied_and_that_is_recorded(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        result = held(w, (adjust(50_000), SUSPEND))
        con = apsw.Connection(str(tmp_path / "licet.db"))
        con.execute("UPDATE records SET request = 'another' WHERE request = ?", (result.steps[0].request,))
        con.close()
        denied = w.denied(one_result(propose(w, (adjust(50_000), SUSPEND))), "approval_not_in_log", "audit verify")
        assert denied.receipt is not None
        assert w.ran == []


def test_requests_that_could_not_be_opened_are_named_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch) as (w, store):
        store.fail("down", "hold")
        result = propose(w, (LOOKUP, adjust(50_000), SUSPEND))
        assert kinds(result) == ["Ok", "Denied", None]
        assert [step.request for step in result.steps] == [None, None, None]
        store.mend()
        drain(w.gate)
        again = held(w, (LOOKUP, adjust(50_000), SUSPEND))
        assert [step.request for step in again.steps if step.request] == [shown.request.id for shown in w.gate.approvals.waiting()]


def test_a_step_that_is_held_anew_at_its_turn_names_the_request_that_waits(w: World) -> None:
    """The first step changes what the second one was shown to change."""
    calls = (adjust(50_000), adjust(60_000))
    result = held(w, calls)
    decide(w, result, "lena", s1="approve", s2="approve")
    again = held(w, calls)
    assert kinds(again) == ["Ok", "Held"]
    assert isinstance(again.steps[1].result, Held)
    assert again.steps[1].request == again.steps[1].result.request != result.steps[1].request


def one_result(result: PlanResult) -> Any:
    """That of the one step that has one."""
    (found,) = [step.result for step in result.steps if step.result is not None]
    return found
