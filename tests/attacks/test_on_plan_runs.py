"""Attacks on the runs of plans: killed, made by many at once, robbed of their keys. Nothing runs twice, or by another run's approval."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from licet.gate.plans import STEPS_LIMIT, PlanResult
from licet.gate.results import Denied, Held
from licet.model import PlanId, RequestState
from licet.testing import vote
from tests.attacks import dying_plan
from tests.attacks.test_on_plans import BIG, LOOKUP, SHOWN, SUSPEND, adjust, approved, propose, ran, refund
from tests.gate.proof import assert_whole
from tests.world import CONFIG, World, world, world_on


def test_other_calls_under_the_name_of_a_plan_that_ran_are_refused() -> None:
    with world() as w:
        approved(w, (adjust(BIG), LOOKUP), idempotency_key="ticket-1")
        assert propose(w, (adjust(BIG), LOOKUP), idempotency_key="ticket-1").state == "done"
        other = propose(w, (adjust(BIG + 1), LOOKUP), idempotency_key="ticket-1")
        assert other.state == "stopped"
        assert isinstance(other.steps[0].result, Denied)
        assert other.steps[0].result.decision.code == "key_reused"
        assert ran(w) == 1
        assert_whole(w.gate)


@pytest.mark.heavy
def test_votes_on_a_run_that_died_do_not_count_for_the_next_one(tmp_path: Path) -> None:
    """A run whose process dies in a step cannot withdraw what follows: what is approved of it is not for another run."""
    dying_plan.killed_in(tmp_path, 1)
    with world_on(tmp_path) as w:
        dying_plan.leave_traces(w, tmp_path)
        (first,) = w.gate.approvals.waiting()
        vote(w.gate, first.request.id, "dana", "omar")
        again = dying_plan.propose(w)
        assert again.state == "held"
        assert again.plan != first.request.plan
        assert again.steps[1].request != first.request.id
        assert "the run of the plan" in again.steps[1].result.decision.message
        assert dying_plan.effects(tmp_path) == ["billing.adjust 100"]
        assert w.gate.approvals.show(first.request.id).request.state is RequestState.SUPERSEDED
        vote(w.gate, again.steps[1].request, "dana", "omar")
        assert dying_plan.propose(w).state == "done"
        assert dying_plan.effects(tmp_path) == ["billing.adjust 100", "account.suspend ", "billing.adjust 200"]
        assert_whole(w.gate)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("step", "done"), [(1, ["account.suspend "]), (2, ["account.suspend ", "billing.adjust 200"])], ids=["held", "last"]
)
def test_a_plan_that_is_killed_in_a_later_step_repeats_nothing_of_what_was_approved(tmp_path: Path, step: int, done: list[str]) -> None:
    with world_on(tmp_path) as w:
        dying_plan.leave_traces(w, tmp_path)
        first = dying_plan.propose(w)
        vote(w.gate, first.steps[1].request, "dana", "omar")
    dying_plan.killed_in(tmp_path, step)
    with world_on(tmp_path) as w:
        dying_plan.leave_traces(w, tmp_path)
        again = dying_plan.propose(w)
        assert again.state == "held", "the approval was used by the run that died"
        assert again.plan != first.plan
        suspended = dying_plan.effects(tmp_path).count("account.suspend ")
        assert suspended == done[: step - 1].count("account.suspend ")
        assert_whole(w.gate)


def other_arguments(w: World, plan: PlanId) -> PlanResult:
    with w.alice():
        for step in (1, 2, 3):
            w.gate.call("crm.lookup", {"customer_id": "C-1"}, idempotency_key=f"plan:{plan}:{step}")
    return propose(w, SHOWN)


def the_same_arguments(w: World, plan: PlanId) -> PlanResult:
    with w.alice():
        w.gate.call(*refund(), idempotency_key=f"plan:{plan}:1")
        for call, step in ((adjust(BIG), 2), (SUSPEND, 3)):
            assert isinstance(w.gate.call(*call, idempotency_key=f"plan:{plan}:{step}"), Held), "not by the approvals of the plan"
    return propose(w, SHOWN)


def of_the_last_step(w: World, plan: PlanId) -> PlanResult:
    """The last step looks begun, so that the run looks ended."""
    with w.alice():
        w.gate.call("crm.lookup", {"customer_id": "C-1"}, idempotency_key=f"plan:{plan}:3")
    return propose(w, SHOWN)


def by_somebody_else(w: World, plan: PlanId) -> PlanResult:
    with w.gate.acting(agent="support-bot", user="carl"):
        for step in (1, 2, 3):
            w.gate.call("crm.lookup", {"customer_id": "C-1"}, idempotency_key=f"plan:{plan}:{step}")
    return propose(w, SHOWN)


@pytest.mark.parametrize("taken", [other_arguments, the_same_arguments, of_the_last_step, by_somebody_else])
def test_whoever_takes_the_keys_of_a_plan_first_runs_nothing_that_was_not_approved_and_nothing_twice(
    taken: Callable[[World, PlanId], PlanResult],
) -> None:
    with world() as w:
        plan = approved(w)
        result = taken(w, plan)
        assert ran(w, "billing.refund", 100) <= 2, "a step that needs nobody may run in the run that was ended and in the next"
        assert ran(w) <= 1
        assert ran(w, "account.suspend") <= ran(w), "in its order"
        consumed = w.gate.approvals.all([RequestState.CONSUMED])
        assert len(consumed) == ran(w) + ran(w, "account.suspend"), "each by an approval of its own"
        if taken is by_somebody_else:
            assert result.state == "done"
        assert_whole(w.gate)


def test_two_hundred_proposals_from_sixteen_threads_use_each_approval_once() -> None:
    with world() as w:
        approved(w)
        results: list[PlanResult] = []

        def go() -> None:
            results.extend(propose(w, SHOWN) for _ in range(12))

        threads = [threading.Thread(target=go) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (ran(w), ran(w, "account.suspend")) == (1, 1)
        assert len(w.gate.approvals.all([RequestState.CONSUMED])) == 2
        assert_whole(w.gate)


@pytest.mark.heavy
def test_processes_that_run_one_approved_plan_at_once_do_each_step_once(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        dying_plan.leave_traces(w, tmp_path)
        first = dying_plan.propose(w)
        vote(w.gate, first.steps[1].request, "dana", "omar")
    command = [sys.executable, "-m", "tests.attacks.dying_plan", str(tmp_path), "0"]
    together = [subprocess.Popen(command, cwd=dying_plan.ROOT) for _ in range(3)]
    assert [process.wait(60) for process in together] == [0, 0, 0]
    # Who comes after the end begins another run, whose first step needs nobody, and waits for people at the second.
    assert [line for line in dying_plan.effects(tmp_path) if line != "billing.adjust 100"] == ["account.suspend ", "billing.adjust 200"]
    with world_on(tmp_path) as w:
        assert_whole(w.gate)


def test_a_plan_that_waits_runs_with_the_arguments_that_people_saw() -> None:
    with world() as w:
        seen = {"customer_id": "C-1", "amount_cents": BIG}
        calls = [("billing.adjust", seen), LOOKUP]
        found: list[PlanResult] = []
        waiting = threading.Thread(target=lambda: found.append(propose(w, calls, wait=30)))
        waiting.start()
        while not w.gate.approvals.waiting():
            pass
        seen["amount_cents"] = 900_000
        calls.reverse()
        vote(w.gate, w.gate.approvals.waiting()[0].request.id, "lena")
        waiting.join(30)
        assert [result.state for result in found] == ["done"]
        assert [arguments.get("amount_cents") for _, arguments in w.ran] == [BIG, None]
        assert_whole(w.gate)


def test_a_plan_that_asks_for_more_than_a_caller_may_asks_for_nothing() -> None:
    with world(CONFIG.replace("[approvals]", "[approvals]\nopen_per_caller = 49")) as w:
        result = propose(w, [refund(), *(adjust(BIG + step) for step in range(STEPS_LIMIT - 1))])
        assert result.state == "held", "as many as it may"
        w.clock.advance(16 * 60)
        result = propose(w, [adjust(BIG + step) for step in range(STEPS_LIMIT)])
        assert result.state == "stopped"
        assert w.gate.approvals.waiting() == ()
        assert [name for name, _ in w.ran] == ["billing.refund"]
        assert_whole(w.gate)
