"""Attacks on undo and effects through plans, freezes, approvals and other callers: what was done is taken back once, by who may."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import pytest

import licet
from licet import Effect, Held, Ok
from licet.errors import EffectRefused, UndoRefused, VoteRefused
from licet.gate.results import Result
from licet.ledger.frozen import Scope
from licet.model import CallId
from licet.testing import vote
from tests.gate.proof import assert_whole
from tests.world import POLICIES, World, world

BIG = 50_000
WHY = "it does harm"
CHANGING = (
    POLICIES
    + """
@id("security-changes")
permit (principal in Role::"security", action in [Action::"tier.set", Action::"tier.set.undo"], resource);

@id("gold-needs-a-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"tier.set", resource) when { context.input.tier == "gold" };
"""
)
UNDO_HELD = CHANGING + (
    '@id("undo-needs-a-lead") @require_approval("1 of Group::\\"billing-leads\\"")'
    ' forbid (principal, action == Action::"tier.set.undo", resource);'
)


def equip(w: World) -> World:
    """A tool that reports what it changes, and its undo."""

    @w.gate.tool("tier.set", access="write", targets="Customer::{customer_id}")
    def set_tier(customer_id: str, tier: str) -> None:
        before = w.customers[customer_id].get("tier")
        w.customers[customer_id]["tier"] = tier
        licet.effect(f'Customer::"{customer_id}"', "tier", before=before, after=tier)

    @set_tier.undo
    def unset_tier(customer_id: str, tier: str, effects: list[Effect]) -> None:
        w.ran.append(("undo", {"effects": effects}))
        w.customers[customer_id]["tier"] = effects[0].after

    return w


def set_tier(w: World, tier: str = "silver") -> Result:
    with w.alice():
        return w.gate.call("tier.set", {"customer_id": "C-1", "tier": tier})


def done(result: Result) -> CallId:
    assert isinstance(result, Ok), result
    return result.call


def undo(w: World, call: CallId) -> Result:
    with w.alice():
        return w.gate.undo(call)


def tools(w: World) -> list[str]:
    return [name for name, _ in w.ran]


def test_a_step_of_a_plan_is_undone_once_and_not_by_its_plan() -> None:
    with world(policies=CHANGING) as w:
        equip(w)
        calls: list[Any] = [
            ("tier.set", {"customer_id": "C-1", "tier": "silver"}),
            ("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG}),
        ]
        with w.alice():
            held = w.gate.plan(calls)
            first = held.steps[0].result
            assert first is not None
            assert isinstance(undo(w, done(first)), Ok)
            vote(w.gate, held.steps[1].request, "lena")
            again = w.gate.plan(calls)
        assert again.state == "done"
        assert w.customers["C-1"]["tier"] is None, "what was undone is not done again when the plan goes on"
        replayed = again.steps[0].result
        assert replayed is not None
        for call in (done(first), done(replayed)):
            with pytest.raises(UndoRefused):
                undo(w, call)
        assert tools(w).count("undo") == 1
        assert_whole(w.gate)


def test_an_undo_of_what_people_approved_asks_people_where_a_policy_says_so() -> None:
    with world(policies=UNDO_HELD) as w:
        held = set_tier(equip(w), "gold")
        assert isinstance(held, Held)
        vote(w.gate, held.request, "lena")
        call = done(set_tier(w, "gold"))
        asked = undo(w, call)
        assert isinstance(asked, Held), "the approval of the call is none of its undo"
        with pytest.raises(VoteRefused):
            vote(w.gate, asked.request, "alice")
        assert isinstance(undo(w, call), Held)
        vote(w.gate, asked.request, "lena")
        assert isinstance(undo(w, call), Ok)
        assert tools(w) == ["undo"]
        assert_whole(w.gate)


def test_an_approved_undo_of_one_call_undoes_no_other() -> None:
    with world(policies=UNDO_HELD) as w:
        first, second = done(set_tier(equip(w), "silver")), done(set_tier(w, "bronze"))
        asked = undo(w, first)
        assert isinstance(asked, Held)
        vote(w.gate, asked.request, "lena")
        assert isinstance(undo(w, second), Held)
        assert w.ran == []
        assert_whole(w.gate)


@pytest.mark.parametrize(("scope", "name"), [("agent", "support-bot"), ("tool", "tier.set.undo")])
def test_nothing_is_undone_by_who_is_frozen_and_it_can_be_once_that_is_lifted(scope: Scope, name: str) -> None:
    with world(policies=UNDO_HELD) as w:
        call = done(set_tier(equip(w)))
        asked = undo(w, call)
        assert isinstance(asked, Held)
        vote(w.gate, asked.request, "lena")
        stopped = w.gate.freeze(scope, name, reason=WHY)
        w.denied(undo(w, call), "frozen")
        assert w.ran == []
        w.gate.lift(stopped.id, reason="mended")
        assert isinstance(undo(w, call), Ok)
        assert_whole(w.gate)


def test_the_undo_of_a_frozen_tool_is_a_tool_of_its_own() -> None:
    """Whoever stops a tool that does harm may want its harm taken back; docs/freeze.md says so."""
    with world(policies=CHANGING) as w:
        call = done(set_tier(equip(w)))
        w.gate.freeze("tool", "tier.set", reason=WHY)
        w.denied(set_tier(w, "bronze"), "frozen")
        assert isinstance(undo(w, call), Ok)


def test_an_undo_is_decided_for_who_proposes_it() -> None:
    with world(policies=CHANGING) as w:
        call = done(set_tier(equip(w)))
        for caller in ({"agent": "support-bot", "user": "carl"}, {"agent": "night-bot"}, {"agent": "free-bot", "user": "alice"}):
            with w.gate.acting(tenant="acme", **caller):  # type: ignore[arg-type]
                w.denied(w.gate.undo(call), "no_permit")
        with w.gate.acting(agent="free-bot", user="gina", tenant="globex"), pytest.raises(UndoRefused):
            w.gate.undo(call)
        assert w.ran == []
        assert isinstance(undo(w, call), Ok)


def test_an_effect_that_is_reported_after_the_end_is_in_no_record_and_undone_by_nobody() -> None:
    with world(policies=CHANGING) as w:
        equip(w)
        go, told = threading.Event(), []

        def later() -> None:
            go.wait(20)
            try:
                licet.effect('Customer::"C-1"', "balance", before=0, after=1)
            except EffectRefused as refused:
                told.append(refused.code)

        threads = []

        @w.gate.tool("late.report", access="write", touches={"access"})
        def report() -> None:
            threads.append(threading.Thread(target=contextvars.copy_context().run, args=(later,)))
            threads[0].start()

        with w.alice():
            result = w.gate.call("late.report", {})
        go.set()
        threads[0].join(20)
        assert told == ["call_ended"]
        assert isinstance(result, Ok)
        assert result.effects == ()
        assert_whole(w.gate)


def test_an_effect_that_names_another_tenants_target_stays_text_in_the_log_of_who_reported_it() -> None:
    with world() as w:

        @w.gate.tool("odd.write", access="write", touches={"access"})
        def write() -> None:
            licet.effect('Customer::"G-1"', "balance", before=7, after=0)

        with w.alice():
            assert isinstance(w.gate.call("odd.write", {}), Ok)
        assert w.records("globex") == []
        outcome = next(record for record in w.records() if record.kind == "outcome")
        assert not any("G-1" in target for target in outcome.envelope.targets)
        assert [effect.target for effect in outcome.payload.effects] == ['Customer::"G-1"']
        assert_whole(w.gate)
