"""From hold to execution: an approval covers exactly the call that was shown, once, until it expires or the world has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from licet import Effect
from licet.gate.results import Denied, Held, Ok, Result
from licet.model import RequestState
from licet.testing import vote
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, RUN, approved, asked, superseded
from tests.world import CONFIG, POLICIES, World, world, world_on

S = RequestState


def test_a_held_call_says_what_must_happen_and_runs_nothing(w: World) -> None:
    held = w.held(AMOUNT)
    assert w.ran == []
    decision = held.decision
    assert (decision.verdict, decision.code) == ("hold", "approval_required")
    assert decision.message == (
        "approval of 1 member of `billing-leads` is required by `adjust-needs-lead` (policies/policies.cedar:17): "
        "adjustments over $100 need a billing lead"
    )
    assert [(one.policy, one.kind, one.count, one.group, one.principal) for one in decision.obligations] == [
        ("adjust-needs-lead", "approval", 1, "billing-leads", 'Agent::"support-bot"'),
        ("adjust-needs-lead", "approval", 1, "billing-leads", 'User::"alice"'),
    ]
    assert held.preview == (Effect(target='Customer::"C-1"', field="balance", before=100, after=50_100),)
    read, record = w.records()
    assert (read.kind, read.payload.detail) == ("call", {"previews": held.call}), (
        "what it would change was read, and that is recorded first"
    )
    assert (record.kind, record.receipt, record.envelope.call) == ("hold", held.receipt, held.call)
    assert record.envelope.approval is not None
    assert record.envelope.approval.request == held.request
    assert record.envelope.decision is not None
    assert record.envelope.decision.obligations == ("adjust-needs-lead",)
    assert record.payload.detail is not None
    assert record.payload.detail["request"]["id"] == held.request
    assert msgspec.json.decode(record.payload.preview)[0]["after"] == 50_100


def test_held_then_approved_the_same_call_runs_once_and_a_third_is_held_anew(w: World) -> None:
    held = approved(w)
    result = w.adjust(AMOUNT)
    assert isinstance(result, Ok)
    assert (result.value, result.decision.verdict, result.decision.code) == ("adjusted", "allow", "allowed")
    assert w.ran == [RUN]
    again = w.held(AMOUNT)
    assert again.request != held.request
    assert w.ran == [RUN]
    assert w.kinds() == ["call", "hold", "vote", "call", "intent", "outcome", "call", "hold"]
    intent = w.records()[4].envelope
    assert intent.approval is not None
    assert intent.decision is not None
    assert (intent.approval.request, intent.approval.voters, intent.decision.decided_by) == (held.request, ("lena",), "human")
    assert w.gate.store.get_request(asked(held)).state is S.CONSUMED


def test_a_retry_waits_on_the_same_request(w: World) -> None:
    first = w.held(AMOUNT)
    for _ in range(5):
        assert w.held(AMOUNT).request == first.request
    assert len(w.gate.approvals.all()) == 1
    assert w.kinds() == ["call"] + ["hold"] * 6, "what it would change is read once"


def test_another_session_trace_or_reason_finds_the_same_request(w: World) -> None:
    first = w.held(AMOUNT)
    with w.alice(session="restarted", workflow="other", reason="please"):
        again = w.gate.call("billing.adjust", {"amount_cents": AMOUNT, "customer_id": "C-1"})
    assert isinstance(again, Held)
    assert again.request == first.request
    with w.alice():
        as_text = w.gate.call("billing.adjust", '{"amount_cents": 50000.0, "customer_id": "C-1"}')
    assert isinstance(as_text, Held)
    assert as_text.request == first.request


def call(
    w: World, arguments: Any, tool: str = "billing.adjust", agent: str = "support-bot", user: str | None = "alice", **more: Any
) -> Result:
    with w.gate.acting(agent=agent, user=user, tenant="acme", **more):
        return w.gate.call(tool, arguments)


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (lambda w: w.adjust(AMOUNT + 1), "hold"),
        (lambda w: w.adjust(AMOUNT - 1), "hold"),
        (lambda w: w.adjust(AMOUNT, "C-2"), "hold"),
        (lambda w: w.adjust(AMOUNT, "G-1"), "deny"),
        (lambda w: call(w, {"customer_id": "C-1", "amount_cents": AMOUNT}, user="brenda"), "hold"),
        (lambda w: call(w, {"customer_id": "C-1", "amount_cents": AMOUNT}, agent="free-bot"), "hold"),
        (lambda w: call(w, {"customer_id": "C-1", "amount_cents": AMOUNT}, agent="free-bot", user=None), "hold"),
        (lambda w: call(w, {"customer_id": "C-1", "amount": AMOUNT}), "deny"),
        (lambda w: call(w, {"customer_id": "C-1", "amount_cents": AMOUNT, "note": "x"}), "deny"),
        (lambda w: call(w, {"customer_id": "C-1 ", "amount_cents": AMOUNT}), "deny"),
        (lambda w: call(w, {"customer_id": "C-1\u200b", "amount_cents": AMOUNT}), "deny"),
        (lambda w: call(w, {"customer_id": "\uff23-1", "amount_cents": AMOUNT}), "deny"),
        (lambda w: call(w, {"customer_id": "C-1", "amount_cents": str(AMOUNT)}), "deny"),
        (lambda w: call(w, {"customer_id": "C-1"}, tool="account.suspend"), "hold"),
    ],
)
def test_an_approval_covers_no_other_call(other: Callable[[World], Result], verdict: str) -> None:
    config = CONFIG.replace("[users.carl]", '[users.brenda]\ntenants = ["acme"]\nroles = ["billing"]\n[users.carl]')
    previews = '@id("previews") permit (principal in Role::"billing", action == Action::"billing.adjust.preview", resource);\n'
    with world(config, POLICIES + previews) as w:
        held = approved(w)
        result = other(w)
        assert isinstance(result, Held if verdict == "hold" else Denied), result
        assert result.decision.verdict == verdict
        if isinstance(result, Held):
            assert result.request != held.request
        assert w.ran == []
        assert w.gate.store.get_request(asked(held)).state is S.APPROVED
        assert isinstance(w.adjust(AMOUNT), Ok), "the call that was approved still runs"
        assert w.ran == [RUN]
        assert_whole(w.gate)


@pytest.mark.parametrize("restarts", ["before the vote", "after the vote", "both"])
def test_an_approval_survives_a_restart_and_is_used_once(tmp_path: Path, restarts: str) -> None:
    with world_on(tmp_path) as w:
        held = w.held(AMOUNT)
        if restarts != "before the vote":
            vote(w.gate, held.request, "lena")
    with world_on(tmp_path) as w:
        if restarts == "before the vote":
            vote(w.gate, held.request, "lena")
        assert isinstance(w.adjust(AMOUNT), Ok)
        assert w.ran == [RUN]
        w.customers["C-1"]["balance"] = 100
    with world_on(tmp_path) as w:
        assert w.held(AMOUNT).request != held.request
        assert w.ran == []
        assert_whole(w.gate)


def test_two_gates_on_one_store_use_an_approval_once(tmp_path: Path) -> None:
    with world_on(tmp_path) as first, world_on(tmp_path) as second:
        held = first.held(AMOUNT)
        assert second.held(AMOUNT).request == held.request
        vote(second.gate, held.request, "lena")
        results = [first.adjust(AMOUNT), second.adjust(AMOUNT)]
        assert [type(result) for result in results] == [Ok, Held]
        assert (first.ran, second.ran) == ([RUN], [])
        assert_whole(first.gate)


def test_approved_but_expired_is_held_anew(w: World) -> None:
    held = approved(w)
    w.clock.advance(15 * 60)
    again = w.held(AMOUNT)
    assert again.request != held.request
    assert w.ran == []
    assert w.kinds() == ["call", "hold", "vote", "call", "expiry", "hold"]
    assert superseded(w) == {"request": held.request, "event": "expire", "changed": None}
    vote(w.gate, again.request, "lena")
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_an_approval_can_be_used_until_its_last_moment(w: World) -> None:
    approved(w)
    w.clock.advance(15 * 60 - 0.000_001)
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_an_approval_that_expires_between_matching_and_consuming_is_not_used(w: World) -> None:
    approved(w)

    class Leaping:
        """Time leaps between the decision and the intent."""

        times = 0

        def __call__(self) -> Any:
            self.times += 1
            return w.clock() if self.times <= 1 else w.clock.advance(15 * 60)

    house = w.gate._house
    assert house is not None
    house.house = replace(house.house, now=Leaping())
    result = w.adjust(AMOUNT)
    assert isinstance(result, Denied | Held), result
    assert w.ran == []
    assert w.gate.store.open_calls() == ()


def test_rejected_the_same_call_is_denied_until_the_request_would_have_expired_and_names_who(w: World) -> None:
    held = w.held(AMOUNT)
    vote(w.gate, held.request, "lena", verdict="reject")
    w.clock.advance(14 * 60)
    denied = w.denied(w.adjust(AMOUNT), "rejected", "`lena` rejected exactly this call", "asked again after 2026-01-05 09:15 UTC")
    record = w.records()[-1]
    assert (record.kind, record.receipt) == ("denial", denied.receipt)
    assert record.payload.detail == {"request": held.request}
    assert isinstance(w.adjust(AMOUNT + 1), Held), "another call may be asked about"
    w.clock.advance(60)
    again = w.held(AMOUNT)
    assert again.request != held.request
    assert w.ran == []


TIGHTER = POLICIES.replace('@require_approval("1 of Group', '@require_approval("2 of Group')
REWORDED = POLICIES.replace("context.input.amount_cents > 10000 };", "context.input.amount_cents > 10001 };")


@pytest.mark.parametrize("policies", [TIGHTER, REWORDED])
def test_a_policy_that_changed_after_the_approval_holds_the_call_anew_and_says_so(tmp_path: Path, policies: str) -> None:
    with world_on(tmp_path) as w:
        held = approved(w)
    with world_on(tmp_path, CONFIG.replace('"gina"]', '"gina", "dana"]'), policies) as w:
        again = w.held(AMOUNT)
        assert again.request != held.request
        assert w.ran == []
        changed = "policy `adjust-needs-lead` now asks for something that was not decided on"
        assert again.decision.message.startswith(f"held anew, since {changed}: approval of")
        assert superseded(w) == {"request": held.request, "event": "supersede", "changed": changed}
        assert w.gate.store.get_request(asked(held)).state is S.SUPERSEDED
        assert msgspec.json.decode(w.gate.store.get_request(asked(again)).summary)["changed"] == changed
        assert_whole(w.gate)


def test_another_policy_that_asks_for_more_holds_the_call_anew(tmp_path: Path) -> None:
    more = (
        POLICIES
        + '\n@id("also-security")\n@require_approval("1 of Group::\\"security-leads\\"")\nforbid (principal, action == Action::"billing.adjust", resource);\n'
    )
    with world_on(tmp_path) as w:
        approved(w)
    with world_on(tmp_path, policies=more) as w:
        assert "`also-security` now asks" in w.held(AMOUNT).decision.message
        assert w.ran == []


def test_a_policy_that_denies_by_now_is_a_denial_whatever_was_approved(tmp_path: Path) -> None:
    stop = POLICIES + '\n@id("stop")\nforbid (principal, action == Action::"billing.adjust", resource);\n'
    with world_on(tmp_path) as w:
        approved(w)
    with world_on(tmp_path, policies=stop) as w:
        w.denied(w.adjust(AMOUNT), "forbidden", "`stop`")
        assert w.ran == []


def test_a_policy_that_asks_no_more_lets_the_call_run_and_leaves_the_approval(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        held = approved(w)
    with world_on(
        tmp_path, policies=POLICIES.replace("context.input.amount_cents > 10000 };", "context.input.amount_cents > 90000 };")
    ) as w:
        assert isinstance(w.adjust(AMOUNT), Ok)
        assert w.gate.store.get_request(asked(held)).state is S.APPROVED
        assert_whole(w.gate)


def test_a_vote_of_somebody_who_has_left_the_group_goes_with_them_and_the_request_waits_again(tmp_path: Path) -> None:
    config = CONFIG.replace('billing-leads = ["lena", "alice", "gina"]', 'billing-leads = ["lena", "dana"]')
    with world_on(tmp_path, config) as w:
        held = approved(w)
    with world_on(tmp_path, config.replace('billing-leads = ["lena", "dana"]', 'billing-leads = ["dana"]')) as w:
        again = w.held(AMOUNT)
        assert again.request == held.request
        taken = [record.payload.detail or {} for record in w.records() if record.kind == "vote"][-1]
        assert (taken["event"], taken["taken_back"]["voter"], taken["taken_back"]["by"]) == ("reopen", "lena", "directory")
        assert w.ran == []
        vote(w.gate, again.request, "dana")
        assert isinstance(w.adjust(AMOUNT), Ok)
        assert_whole(w.gate)


def test_arguments_that_are_changed_while_people_decide_are_another_call(w: World) -> None:
    arguments: dict[str, Any] = {"customer_id": "C-1", "amount_cents": AMOUNT}
    held = call(w, arguments)
    assert isinstance(held, Held)
    arguments["amount_cents"] = 900_000
    shown = msgspec.json.decode(w.gate.approvals.show(asked(held)).request.summary)
    assert shown["arguments"]["amount_cents"] == AMOUNT
    vote(w.gate, held.request, "lena")
    again = call(w, arguments)
    assert isinstance(again, Held)
    assert again.request != held.request
    assert w.ran == []


FEW = CONFIG.replace('expires = "15m"', 'expires = "15m"\nopen_per_caller = 2')


def test_a_caller_that_asks_too_much_is_denied_until_some_of_it_is_decided() -> None:
    with world(FEW) as w:
        first, second = w.held(20_000), w.held(30_000)
        denied = w.denied(w.adjust(40_000), "too_many_open", "2 requests of this caller wait for people already")
        assert denied.receipt is not None
        assert isinstance(w.adjust(20_000), Held), "what waits already may be asked for again"
        assert isinstance(w.adjust(100), Ok), "what nobody need decide on runs"
        with w.gate.acting(agent="free-bot", tenant="acme"):
            assert isinstance(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 40_000}), Held), "another caller asks"
        vote(w.gate, second.request, "lena")
        third = w.held(40_000)
        assert third.request is not None
        w.denied(w.adjust(50_000), "too_many_open")
        w.clock.advance(15 * 60)
        assert isinstance(w.adjust(50_000), Held), "what is past its time waits for nobody, whoever has looked"
        assert first.request is not None


def test_a_plan_that_asks_too_much_asks_nothing() -> None:
    with world(FEW) as w, w.alice():
        result = w.gate.plan([("billing.adjust", {"customer_id": "C-1", "amount_cents": amount}) for amount in (20_000, 30_000, 40_000)])
        assert result.state == "stopped"
        (denied,) = [step.result for step in result.steps if step.result is not None]
        assert isinstance(denied, Denied)
        assert denied.decision.code == "too_many_open"
        assert w.gate.approvals.all() == ()
