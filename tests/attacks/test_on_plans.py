"""Attacks on plans: a decision on a step is for that step of that plan, as it was shown, in its order, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from licet import Effect
from licet.errors import IntegrityBroken, VoteRefused
from licet.gate.plans import PlanResult
from licet.gate.results import Denied, Held, Ok
from licet.model import PlanId, RequestState
from licet.testing import vote
from tests.attacks.test_on_approvals import edit
from tests.attacks.test_on_previews import LIMITING, equip
from tests.gate.proof import assert_whole, report_of
from tests.world import CONFIG, POLICIES, World, world, world_on

BIG = 50_000
LOOKUP = ("crm.lookup", {"customer_id": "C-1"})
SUSPEND = ("account.suspend", {"customer_id": "C-1"})
Calls = tuple[Any, ...]


def adjust(amount: int = BIG, customer: str = "C-1") -> tuple[str, dict[str, Any]]:
    return "billing.adjust", {"customer_id": customer, "amount_cents": amount}


def refund(amount: int = 100, customer: str = "C-1") -> tuple[str, dict[str, Any]]:
    return "billing.refund", {"customer_id": customer, "amount_cents": amount}


SHOWN: Calls = (refund(), adjust(BIG), SUSPEND)
"""A write that nobody need decide on, one for a lead, one for two people."""


def propose(w: World, calls: Iterable[Any], **more: Any) -> PlanResult:
    with w.alice():
        return w.gate.plan(calls, **more)


def held(w: World, calls: Iterable[Any], **more: Any) -> tuple[PlanId, PlanResult]:
    result = propose(w, calls, **more)
    assert result.state == "held", result
    assert result.plan is not None
    return result.plan, result


def approve(w: World, plan: PlanId, voter: str, *steps: int) -> None:
    w.gate.approvals.vote_plan(plan, voter, dict.fromkeys(steps, "approve"))


def approved(w: World, calls: Iterable[Any] = SHOWN, **more: Any) -> PlanId:
    """A plan of which everything is approved, and nothing that was held has run."""
    plan, _ = held(w, calls, **more)
    asked = {shown.request.step: shown.request.tool for shown in w.gate.approvals.plan(plan)}
    for step, tool in asked.items():
        for voter in ("dana", "omar") if tool == "account.suspend" else ("lena",):
            approve(w, plan, voter, step)
    return plan


def ran(w: World, tool: str = "billing.adjust", amount: int = BIG) -> int:
    return sum(name == tool and arguments.get("amount_cents", amount) == amount for name, arguments in w.ran)


OTHERS: dict[str, Calls] = {
    "the first changed": (refund(200), adjust(BIG), SUSPEND),
    "of another customer": (refund(100, "C-3"), adjust(BIG), SUSPEND),
    "swapped": (adjust(BIG), refund(), SUSPEND),
    "the last two swapped": (refund(), SUSPEND, adjust(BIG)),
    "one twice": (refund(), adjust(BIG), adjust(BIG), SUSPEND),
    "one appended": (*SHOWN, refund(101)),
    "one in front": (LOOKUP, *SHOWN),
    "one left out": SHOWN[1:],
    "cut": SHOWN[:2],
    "twice over": SHOWN * 2,
}


@pytest.mark.parametrize("other", list(OTHERS))
def test_a_plan_that_was_changed_after_its_approval_is_another_plan(other: str) -> None:
    with world() as w:
        w.customers["C-3"] = dict(w.customers["C-1"])
        plan = approved(w)
        again = propose(w, OTHERS[other])
        assert again.state == "held"
        assert again.plan != plan
        assert (ran(w), ran(w, "account.suspend")) == (0, 0)
        assert_whole(w.gate)


def as_another_user(w: World) -> PlanResult:
    with w.gate.acting(agent="support-bot", user="ben"):
        return w.gate.plan(SHOWN)


def as_another_agent(w: World) -> PlanResult:
    with w.gate.acting(agent="free-bot", user="alice", tenant="acme"):
        return w.gate.plan((refund(), adjust(BIG), LOOKUP))


def as_an_agent_without_its_user(w: World) -> PlanResult:
    with w.gate.acting(agent="free-bot", tenant="acme"):
        return w.gate.plan((refund(), adjust(BIG), LOOKUP))


def as_the_agent_of_another_tenant(w: World) -> PlanResult:
    with w.gate.acting(agent="free-bot", user="gina", tenant="globex"):
        return w.gate.plan((adjust(BIG, "G-1"), refund(100, "G-1")))


PEOPLE = CONFIG.replace(
    "[groups]", '[users.ben]\ntenants = ["acme"]\nroles = ["support", "billing", "security"]\n[users.gus]\ntenants = ["globex"]\n[groups]'
)
PEOPLE = PEOPLE.replace('"gina"]', '"gina", "gus"]')


@pytest.mark.parametrize("who", [as_another_user, as_another_agent, as_an_agent_without_its_user, as_the_agent_of_another_tenant])
def test_a_plan_that_somebody_else_proposes_is_another_plan(who: Callable[[World], PlanResult]) -> None:
    with world(PEOPLE) as w:
        plan = approved(w)
        other = who(w)
        assert other.state == "held", other
        assert other.plan != plan
        assert ran(w) == 0
        assert_whole(w.gate)


def test_an_approved_plan_is_of_no_use_in_another_environment(tmp_path: Path) -> None:
    with world_on(tmp_path, CONFIG.replace("production", "staging", 1)) as w:
        plan = approved(w)
    with world_on(tmp_path) as w:
        again = propose(w, SHOWN)
        assert again.state == "held"
        assert again.plan != plan
        assert ran(w) == 0
        assert_whole(w.gate)


def test_a_vote_on_a_named_plan_does_not_count_for_other_calls_under_its_name() -> None:
    """The agent proposes something harmless, and something else by the same name while people look."""
    with world() as w:
        plan, _ = held(w, (adjust(20_000), LOOKUP), idempotency_key="ticket-1")
        assert [shown.request.step for shown in w.gate.approvals.plan(plan)] == [1]
        other, result = held(w, (adjust(900_000), LOOKUP), idempotency_key="ticket-1")
        assert other != plan
        approve(w, plan, "lena", 1)
        assert w.gate.approvals.show(result.steps[0].request or "").request.state is RequestState.OPEN  # type: ignore[arg-type]
        assert propose(w, (adjust(900_000), LOOKUP), idempotency_key="ticket-1").state == "held"
        assert w.ran == []
        assert_whole(w.gate)


def test_a_vote_on_a_step_does_not_count_for_what_took_its_place_while_people_looked() -> None:
    with world() as w:
        calls = (adjust(BIG), LOOKUP)
        plan, first = held(w, calls)
        approve(w, plan, "lena", 1)
        w.customers["C-1"]["balance"] = -900_000
        _, second = held(w, calls)
        assert second.steps[0].request != first.steps[0].request
        with pytest.raises(VoteRefused, match="step 1 was asked about anew"):
            approve(w, plan, "lena", 1)
        assert propose(w, calls).state == "held"
        assert w.ran == []
        vote(w.gate, second.steps[0].request, "lena")
        assert propose(w, calls).state == "done"
        assert_whole(w.gate)


def test_a_vote_on_a_plan_does_not_count_for_a_step_that_was_asked_about_later() -> None:
    """A step that needed nobody needs people once the session has read from outside: nobody has seen it with the others."""
    policies = POLICIES + (
        '@id("outside") @require_approval("1 of Group::\\"billing-leads\\"") forbid (principal, action == Action::"crm.lookup", resource)'
        ' when { context.session.labels.contains("outside") };'
    )
    with world(policies=policies) as w:
        calls = (adjust(BIG), LOOKUP)
        with w.alice(session="s-1"):
            plan = w.gate.plan(calls).plan
            w.clock.advance(1)
            w.gate.label("outside")
            result = w.gate.plan(calls)
        assert plan is not None
        assert result.plan == plan
        assert [shown.request.step for shown in w.gate.approvals.plan(plan)] == [1, 2]
        with pytest.raises(VoteRefused, match="asked"):
            approve(w, plan, "lena", 1, 2)
        approve(w, plan, "lena", 1)
        vote(w.gate, result.steps[1].request, "lena")
        with w.alice(session="s-1"):
            assert w.gate.plan(calls).state == "done"
        assert_whole(w.gate)


def test_a_plan_does_not_show_what_its_agent_may_not_look_up() -> None:
    told = []
    for vip in (False, True):
        with world(policies=LIMITING) as w:
            equip(w).customers["C-1"]["vip"] = vip
            result = propose(w, [("crm.limit", {"customer_id": "C-1", "vip": True})])
            waiting = result.steps[0].result
            assert isinstance(waiting, Held)
            told.append((waiting.decision.message, waiting.preview))
            assert_whole(w.gate)
    assert told[0] == told[1]


def forge_the_plan(folder: Path, plan: PlanId, other: Held) -> None:
    """A request of its own is said to be a step of the plan that people look at."""
    edit(folder, "UPDATE requests SET plan = ? WHERE id = ?", (plan, other.request))


def exchange_the_plans(folder: Path, plan: PlanId, other: Held) -> None:
    """All requests of another plan are said to be those of this one."""
    edit(folder, "UPDATE requests SET plan = ? WHERE plan != ?", (plan, plan))


@pytest.mark.parametrize("forge", [forge_the_plan, exchange_the_plans])
def test_a_request_that_a_row_puts_into_a_plan_is_not_decided_on_with_it(
    tmp_path: Path, forge: Callable[[Path, PlanId, Held], None]
) -> None:
    with world_on(tmp_path) as w:
        plan, _ = held(w, (LOOKUP, adjust(20_000)))
        other = w.held(900_000)
        held(w, (LOOKUP, adjust(900_000)))
        forge(tmp_path, plan, other)
        assert not report_of(w.gate).ok
        with pytest.raises(IntegrityBroken):
            w.gate.approvals.plan(plan)
        with pytest.raises((IntegrityBroken, VoteRefused)):
            approve(w, plan, "lena", 2)
        assert all(not shown.votes for shown in w.gate.approvals.all())


def test_a_plan_in_the_tool_of_a_plan_is_a_plan_of_its_own() -> None:
    with world() as w:
        inner: list[PlanResult] = []

        @w.gate.tool("plan.inside", access="write", touches={"access"})
        def inside() -> None:
            inner.append(w.gate.plan((refund(), adjust(BIG))))

        plan = approved(w, (("plan.inside", {}), adjust(BIG)))
        assert inner[-1].state == "held"
        assert inner[-1].plan != plan
        assert ran(w) == 0
        assert propose(w, (("plan.inside", {}), adjust(BIG))).state == "done"
        assert ran(w) == 1
        assert propose(w, (refund(), adjust(BIG))).state == "held", "what was approved outside is of no use inside"
        assert_whole(w.gate)


def test_a_step_that_changes_what_a_later_one_would_do_has_that_one_asked_about_anew() -> None:
    with world() as w:
        calls = (adjust(20_000), adjust(30_000))
        approved(w, calls)
        result = propose(w, calls)
        assert [type(step.result) for step in result.steps] == [Ok, Held]
        assert ran(w, amount=30_000) == 0


def test_a_step_whose_preview_lies_each_time_never_runs() -> None:
    with world() as w:
        lies = iter(range(1_000))
        w.gate.registry.previews["billing.adjust"].function = lambda **_: [
            Effect(target='Customer::"C-1"', field="balance", after=next(lies))
        ]
        calls = (LOOKUP, adjust(BIG))
        _, result = held(w, calls)
        for _ in range(3):
            vote(w.gate, result.steps[1].request, "lena")
            _, result = held(w, calls)
        assert ran(w) == 0
        assert_whole(w.gate)


def test_a_plan_with_a_step_that_may_only_be_shown_runs_nothing_and_asks_nobody() -> None:
    policies = POLICIES + '@id("shown") @preview_only forbid (principal, action == Action::"account.suspend", resource);'
    with world(policies=policies) as w:
        result = propose(w, (adjust(100), SUSPEND, adjust(BIG)))
        assert result.state == "stopped"
        assert isinstance(result.steps[1].result, Denied)
        assert result.steps[1].result.decision.code == "preview_only"
        assert (w.ran, w.kinds(), w.gate.approvals.all()) == ([], ["denial"], ())
        assert_whole(w.gate)


def test_an_undo_is_no_step_of_a_plan() -> None:
    policies = POLICIES + '@id("all") permit (principal, action, resource);'
    with world(policies=policies) as w:

        @w.gate.tool("crm.tag", access="write", targets="Customer::{customer_id}")
        def tag(customer_id: str) -> None:
            w.ran.append(("crm.tag", {}))

        @tag.undo
        def untag(customer_id: str, effects: list[Effect]) -> None:
            w.ran.append(("undo", {}))

        effects = [{"target": 'Customer::"C-1"', "field": "tag", "before": 1, "after": None}]
        result = propose(w, (("crm.tag", {"customer_id": "C-1"}), ("crm.tag.undo", {"customer_id": "C-1", "effects": effects})))
        assert result.state == "stopped"
        assert isinstance(result.steps[1].result, Denied)
        assert result.steps[1].result.decision.code == "only_as_undo"
        assert w.ran == []


def test_what_was_approved_does_not_run_once_a_policy_forbids_it(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        approved(w)
    forbidding = POLICIES + '@id("never") forbid (principal, action == Action::"billing.adjust", resource);'
    with world_on(tmp_path, policies=forbidding) as w:
        result = propose(w, SHOWN)
        assert result.state == "stopped"
        assert w.ran == []
        assert_whole(w.gate)
    with world_on(tmp_path) as w:
        assert propose(w, SHOWN).state == "done", "and does once it is permitted again, within its time"
        assert_whole(w.gate)


def test_a_step_that_is_rejected_after_the_one_before_it_ran_never_runs() -> None:
    with world() as w:
        calls = (adjust(BIG), SUSPEND)
        plan, _ = held(w, calls)
        approve(w, plan, "lena", 1)
        held(w, calls)
        w.gate.approvals.vote_plan(plan, "dana", {2: "reject"})
        for _ in range(3):
            result = propose(w, calls)
            assert result.state == "stopped"
        assert (ran(w), ran(w, "account.suspend")) == (1, 0)
        assert_whole(w.gate)


def test_meters_count_what_a_plan_uses_step_by_step() -> None:
    with world() as w:
        refund = ("billing.refund", {"customer_id": "C-1", "amount_cents": 20_000})
        with w.alice(session="s-1"):
            result = w.gate.plan([refund] * 5)
        assert result.state == "stopped"
        assert ran(w, "billing.refund", 20_000) == 2
        assert_whole(w.gate)
