"""Attacks on the patience of those who decide: questions without end, of which one is approved by fatigue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from licet.gate.results import Denied, Held, Result
from tests.attacks.test_on_plans import adjust, propose
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world

BIG = 50_000


def in_many_sessions(w: World, turn: int) -> Result:
    with w.alice(session=f"s-{turn}", workflow=f"w-{turn}", reason=f"r-{turn}"):
        return w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG + turn})


def with_many_keys(w: World, turn: int) -> Result:
    return w.adjust(BIG + turn, idempotency_key=f"k-{turn}")


def in_plans(w: World, turn: int) -> Result:
    with w.alice():
        calls = [("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG + turn * 10 + step}) for step in range(3)]
        result = w.gate.plan(calls)
    return next(step.result for step in result.steps if step.result is not None)


def in_named_plans(w: World, turn: int) -> Result:
    with w.alice():
        result = w.gate.plan([("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG})], idempotency_key=f"k-{turn}").steps[0].result
    assert result is not None
    return result


def in_sessions_that_disagree(w: World, turn: int) -> Result:
    """Each has another policy ask, and takes the place of what the other asked."""
    with w.alice(session=f"s-{turn % 2}"):
        w.gate.label(f"label-{turn % 2}")
        return w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 5})


LABELS = POLICIES + "".join(
    f'@id("label-{number}") @require_approval("1 of Group::\\"billing-leads\\"") forbid (principal, action == Action::"billing.adjust", resource)'
    f' when {{ context.session.labels.contains("label-{number}") }};'
    for number in range(2)
)


@pytest.mark.parametrize("ask", [in_many_sessions, with_many_keys, in_plans, in_named_plans, in_sessions_that_disagree])
def test_nobody_is_asked_more_than_the_limit(ask: Callable[[World, int], Result]) -> None:
    with world(CONFIG.replace("[approvals]", "[approvals]\nopen_per_caller = 6"), LABELS) as w:
        results = [ask(w, turn) for turn in range(12)]
        assert len(w.gate.approvals.all()) <= 6
        assert {result.decision.code for result in results if isinstance(result, Denied)} == {"too_many_open"}
        w.clock.advance(16 * 60)
        assert isinstance(ask(w, 99), Held)
        assert_whole(w.gate)


def test_an_agent_may_ask_that_much_for_each_of_its_users_and_no_more() -> None:
    """A limit of each caller, so that one user's agent cannot keep another's from asking."""
    config = CONFIG.replace("[approvals]", "[approvals]\nopen_per_caller = 2").replace(
        '[users.carl]\ntenants = ["acme"]\nroles = ["support"]', '[users.carl]\ntenants = ["acme"]\nroles = ["support", "billing"]'
    )
    with world(config) as w:
        for user in ("alice", "carl"):
            with w.gate.acting(agent="support-bot", user=user):
                for turn in range(5):
                    w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG + turn})
        assert len(w.gate.approvals.waiting()) == 4


def test_plans_that_stop_by_themselves_without_end_bury_nobody() -> None:
    """Each asks people and takes it back at once: as many questions as an agent likes, of which none is ever open for long."""
    with world(CONFIG.replace("[approvals]", "[approvals]\nopen_per_caller = 9")) as w:

        @w.gate.tool("odd.fails", access="write", touches={"access"})
        def fails() -> None:
            raise ValueError("no")

        for turn in range(8):
            propose(w, [("odd.fails", {}), *(adjust(BIG + turn * 10 + step) for step in range(3))])
        assert len(w.gate.approvals.all()) <= 9
        w.denied(w.adjust(BIG), "too_many_open")
        w.clock.advance(16 * 60)
        assert isinstance(w.adjust(BIG), Held)
        assert_whole(w.gate)
