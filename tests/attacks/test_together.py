"""Attacks through what is safe alone: freezes, plans, waiting, undo, effects, previews and notices, each used against another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet import Denied, Effect, Held, Ok
from licet.errors import FreezeRefused
from licet.gate.results import Failed, Result
from licet.model import RequestState
from licet.testing import vote
from tests.attacks.test_on_approvals import edit
from tests.attacks.test_on_undo import CHANGING, equip
from tests.gate.proof import assert_whole, report_of
from tests.world import World, world, world_on

BIG = 50_000
WHY = "it does harm"


def tools(w: World) -> list[str]:
    return [name for name, _ in w.ran]


def test_what_was_approved_and_is_frozen_is_neither_used_nor_lost() -> None:
    with world() as w:
        held = w.held(BIG)
        vote(w.gate, held.request, "lena")
        for scope, name in (("agent", "support-bot"), ("tool", "billing.adjust"), ("tenant", "acme"), ("all", None)):
            stopped = w.gate.freeze(scope, name, reason=WHY)  # type: ignore[arg-type]
            w.denied(w.adjust(BIG), "frozen")
            w.gate.lift(stopped.id, reason="mended")
        assert isinstance(w.adjust(BIG), Ok)
        assert len(w.ran) == 1
        assert_whole(w.gate)


def test_a_tool_that_freezes_its_agent_stops_the_plan_that_it_is_a_step_of() -> None:
    with world() as w:

        @w.gate.tool("alarm.raise", access="write", touches={"access"})
        def alarm() -> None:
            w.gate.freeze("agent", "support-bot", reason=WHY)

        suspend = ("account.suspend", {"customer_id": "C-1"})
        with w.alice():
            first = w.gate.plan([suspend, ("alarm.raise", {}), ("billing.adjust", {"customer_id": "C-1", "amount_cents": 5})])
            vote(w.gate, first.steps[0].request, "dana", "omar")
            frozen = w.gate.plan([suspend, ("alarm.raise", {}), ("billing.adjust", {"customer_id": "C-1", "amount_cents": 5})])
        assert frozen.state == "stopped"
        assert tools(w) == ["account.suspend"]
        (stop,) = w.gate.freezes()
        w.gate.lift(stop.id, reason="mended")
        assert_whole(w.gate)


def test_a_preview_that_is_frozen_has_nothing_approved_and_nothing_run() -> None:
    with world() as w:
        held = w.held(BIG)
        vote(w.gate, held.request, "lena")
        stopped = w.gate.freeze("tool", "billing.adjust.preview", reason=WHY)
        w.denied(w.adjust(BIG), "preview_denied")
        w.denied(w.adjust(BIG + 1), "preview_denied")
        assert w.ran == []
        w.gate.lift(stopped.id, reason="mended")
        assert isinstance(w.adjust(BIG), Ok)
        assert_whole(w.gate)


def test_a_call_that_waits_does_not_run_where_it_was_frozen_and_approved_meanwhile() -> None:
    with world() as w, ThreadPoolExecutor(1) as pool:

        def wait() -> Result:
            with w.alice():
                return w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG}, wait=30)

        waiting = pool.submit(wait)
        while not w.gate.approvals.waiting():
            pass
        w.gate.freeze("agent", "support-bot", reason=WHY)
        vote(w.gate, w.gate.approvals.waiting()[0].request.id, "lena")
        result = waiting.result(30)
        assert isinstance(result, Denied)
        assert result.decision.code == "frozen"
        assert w.ran == []
        assert_whole(w.gate)


def test_a_frozen_plan_goes_on_only_by_a_lift_that_is_recorded(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        calls = [("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG})]
        with w.alice():
            held = w.gate.plan(calls)
            vote(w.gate, held.steps[0].request, "lena")
            stopped = w.gate.freeze("agent", "support-bot", reason=WHY)
            assert w.gate.plan(calls).state == "stopped"
            edit(tmp_path, "DELETE FROM freezes")
            assert w.gate.plan(calls).state == "stopped", "the row is gone, and the record stands"
            assert w.ran == []
            w.gate.lift(stopped.id, reason="mended")
            assert w.gate.plan(calls).state == "done"


def test_one_frozen_agent_is_not_heard_through_its_own_calls_in_the_tool_of_another() -> None:
    """Who acts is who the host says: a tool that another agent runs may speak for nobody who is frozen."""
    with world() as w:
        inside: list[Result] = []

        @w.gate.tool("relay.pass", access="write", touches={"access"})
        def relay() -> None:
            with w.alice():
                inside.append(w.gate.call("crm.lookup", {"customer_id": "C-1"}))

        policies = w.gate.settings.policies / "more.cedar"
        policies.write_text('@id("relay") permit (principal, action == Action::"relay.pass", resource);')
        w.gate.freeze("agent", "support-bot", reason=WHY)
        with w.gate.acting(agent="free-bot", user="alice", tenant="acme"):
            assert isinstance(w.gate.call("relay.pass", {}), Ok)
        w.denied(inside[0], "frozen")
        with w.gate.acting(agent="support-bot", user="alice", session="another"):
            w.denied(w.gate.call("relay.pass", {}), "frozen")
        with w.gate.acting(service="importer"):
            assert isinstance(w.gate.call("crm.lookup", {"customer_id": "C-1"}), Ok), (
                "a service is not the agent: freeze the tool or tenant"
            )


def test_a_call_inside_a_tool_whose_agent_was_frozen_meanwhile_is_refused() -> None:
    with world() as w:
        inside: list[Result] = []

        @w.gate.tool("relay.pass", access="write", touches={"access"})
        def relay() -> None:
            w.gate.freeze("agent", "support-bot", reason=WHY)
            inside.append(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 5}))

        with w.alice():
            assert isinstance(w.gate.call("relay.pass", {}), Ok), "what runs already ends"
        w.denied(inside[0], "frozen")
        assert w.ran == []
        assert_whole(w.gate)


def test_a_session_is_left_by_leaving_it_out_and_an_agent_is_not() -> None:
    with world() as w:
        w.gate.freeze("session", "s-1", reason=WHY)
        with w.alice(session="s-1"):
            w.denied(w.gate.call("crm.lookup", {"customer_id": "C-1"}), "frozen")
        with w.alice():
            assert isinstance(w.gate.call("crm.lookup", {"customer_id": "C-1"}), Ok), "as docs/freeze.md says: freeze the agent"
        w.gate.freeze("agent", "support-bot", reason=WHY)
        for session in (None, "s-2"):
            with w.alice(session=session):
                w.denied(w.gate.call("crm.lookup", {"customer_id": "C-1"}), "frozen")


@pytest.mark.parametrize("freeze", ["", "x", "Freeze::x", "%", "*", "' OR 1=1 --"])
def test_no_name_lifts_what_it_is_not(freeze: str) -> None:
    with world() as w:
        w.gate.freeze("all", reason=WHY)
        with pytest.raises(FreezeRefused):
            w.gate.lift(freeze, reason="mended", by="lena")
        w.denied(w.adjust(5), "frozen")


@pytest.mark.parametrize("tool", ["billing.adjust.preview", "tier.set.undo", "billing.adjust"])
@pytest.mark.parametrize("agent", ["support-bot", "free-bot"])
def test_an_agent_gets_from_no_side_tool_what_its_user_may_not(agent: str, tool: str) -> None:
    policies = CHANGING + (
        '@id("reads-money") permit (principal in Role::"billing", action == Action::"billing.adjust.preview", resource);'
        '@id("no-reads") forbid (principal, action == Action::"billing.adjust.preview", resource)'
        ' unless { principal in Role::"billing" };'
    )
    with world(policies=policies) as w:
        equip(w)
        arguments: dict[str, Any] = {"customer_id": "C-1", "amount_cents": 5}
        if tool == "tier.set.undo":
            arguments = {"customer_id": "C-1", "tier": "gold", "effects": []}
        with w.gate.acting(agent=agent, user="carl", tenant="acme"):
            result = w.gate.call(tool, arguments)
        assert isinstance(result, Denied), result
        assert w.ran == []


def test_what_was_approved_for_an_agent_alone_is_not_for_it_and_a_user_nor_the_other_way() -> None:
    with world() as w:
        arguments = {"customer_id": "C-1", "amount_cents": BIG}
        for asks, uses in ((None, "alice"), ("alice", None)):
            with w.gate.acting(agent="free-bot", user=asks, tenant="acme"):
                held = w.gate.call("billing.adjust", arguments)
            assert isinstance(held, Held)
            vote(w.gate, held.request, "lena")
            with w.gate.acting(agent="free-bot", user=uses, tenant="acme"):
                assert isinstance(w.gate.call("billing.adjust", arguments), Held)
            w.gate.approvals.take_back(held.request, "lena")  # type: ignore[arg-type]
        assert w.ran == []


def test_a_label_that_a_session_has_got_since_counts_against_what_was_approved() -> None:
    with world() as w:
        with w.alice(session="s-1"):
            held = w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG})
            assert isinstance(held, Held)
            vote(w.gate, held.request, "lena")
            w.gate.label("untrusted")
            w.denied(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": BIG}), "forbidden")
        assert w.ran == []


def test_no_row_of_a_notice_or_a_delivery_decides_anything(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        held = w.held(BIG)
        place = "(SELECT coalesce(max(number), 0) + 1 FROM notices)"
        for event in ("approved", "consumed", "vote"):
            edit(tmp_path, f"INSERT INTO notices VALUES ({place}, ?, 'acme', ?, 1, 0)", (held.request, event))
        text = "INSERT INTO deliveries (notice, channel, subject, state, due_at, handle) VALUES (1, 'slack', ?, 'sent', 1, 'approve')"
        edit(tmp_path, text, (held.request,))
        assert isinstance(w.adjust(BIG), Held)
        assert held.request is not None
        assert w.gate.approvals.show(held.request).request.state is RequestState.OPEN
        edit(tmp_path, "DELETE FROM notices")
        edit(tmp_path, "DELETE FROM deliveries")
        assert isinstance(w.adjust(BIG), Held)
        vote(w.gate, held.request, "lena")
        assert isinstance(w.adjust(BIG), Ok), "who was not told can decide all the same"
        assert report_of(w.gate).ok


def test_a_preview_that_calls_tools_has_each_call_decided_and_recorded() -> None:
    with world() as w:
        inside: list[Result] = []

        def preview(**_: Any) -> list[Effect]:
            inside.append(w.gate.call("account.suspend", {"customer_id": "C-1"}))
            return []

        w.gate.registry.previews["billing.adjust"].function = preview
        w.held(BIG)
        assert isinstance(inside[0], Held)
        assert w.ran == []
        assert_whole(w.gate)


def test_a_tool_that_fails_after_it_was_approved_has_used_its_approval() -> None:
    with world() as w:
        held = w.held(BIG)
        vote(w.gate, held.request, "lena")

        def fails(**_: Any) -> str:
            raise ValueError("again, please")

        w.gate.registry.tools["billing.adjust"].function = fails
        assert isinstance(w.adjust(BIG), Failed)
        assert isinstance(w.adjust(BIG), Held)
        summary = msgspec.json.decode(w.gate.approvals.waiting()[0].request.summary)
        assert summary["arguments"] == {"customer_id": "C-1", "amount_cents": BIG}
        assert_whole(w.gate)
