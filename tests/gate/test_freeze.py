"""A freeze stops calls: at step 0, and at the latest in the transaction of the intent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from licet.errors import FreezeRefused
from licet.gate.results import Denied, Held, Ok
from licet.ledger.frozen import SCOPES, Scope
from licet.testing import vote
from tests.gate.freezes import NAMES, READ, WHY, freeze, look_up
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, approved, asked
from tests.world import CONFIG, World, world

# every scope


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_frozen_call_is_denied_and_says_why(w: World, scope: Scope, *, awaited: bool) -> None:
    assert isinstance(look_up(w, scope, awaited=awaited), Ok)
    stopped = freeze(w, scope, by="lena")
    words = (stopped.what, "2026-01-05 09:00 UTC", "`lena`", WHY, "calling again will not help")
    w.denied(look_up(w, scope, awaited=awaited), "frozen", *words)
    assert len(w.ran) == 1
    w.gate.lift(stopped.id, reason="mended")
    assert isinstance(look_up(w, scope, awaited=awaited), Ok)


@pytest.mark.parametrize("scope", ["agent", "tool", "session"])
def test_a_freeze_of_another_tenant_stops_nothing_here(w: World, scope: Scope) -> None:
    freeze(w, scope, tenant="globex", anyway=True)
    assert isinstance(look_up(w), Ok)


def test_for_one_tenant_a_name_of_another_is_as_one_that_nobody_has(w: World) -> None:
    messages = []
    for name in ("support-bot", "no-such-bot"):
        with pytest.raises(
            FreezeRefused, match=f"there is no agent `{name}` in the tenant `globex`, so nothing would be stopped"
        ) as refused:
            w.gate.freeze("agent", name, tenant="globex", reason=WHY)
        messages.append((refused.value.code, str(refused.value).replace(name, "")))
    assert messages[0] == messages[1]
    assert messages[0][0] == "unknown_name"
    assert w.gate.freeze("agent", "free-bot", tenant="globex", reason=WHY).tenant == "globex"


def test_a_freeze_of_a_tenant_stops_nobody_elses(w: World) -> None:
    w.gate.freeze("agent", "free-bot", tenant="acme", reason=WHY)
    with w.gate.acting(agent="free-bot", user="gina", tenant="globex"):
        assert isinstance(w.gate.call("crm.lookup", {"customer_id": "G-1"}), Ok)
    with w.gate.acting(agent="free-bot", tenant="acme"):
        w.denied(w.gate.call(*READ), "frozen", "of tenant `acme`")


def test_the_check_says_what_a_call_would(w: World) -> None:
    freeze(w)
    with w.alice():
        assert w.gate.check(*READ).code == "frozen"


# what is recorded


def test_freeze_and_lift_are_records_that_name_who_and_why(w: World) -> None:
    stopped = freeze(w, tenant="acme", by="lena")
    w.gate.lift(stopped.id, reason="mended", by="dana")
    placed, lifted = [record for record in w.records() if record.kind == "freeze"]
    said = placed.payload.detail or {}
    assert {name: said[name] for name in ("act", "scope", "name", "tenant", "reason", "by")} == {
        "act": "freeze",
        "scope": "agent",
        "name": "support-bot",
        "tenant": "acme",
        "reason": WHY,
        "by": "lena",
    }
    assert placed.envelope.id == stopped.id
    assert placed.envelope.targets == ("Agent::support-bot",)
    assert lifted.envelope.targets == (f"Freeze::{stopped.id}",)
    ended = lifted.payload.detail or {}
    assert (ended["act"], ended["freeze"], ended["reason"], ended["by"]) == ("lift", stopped.id, "mended", "dana")
    assert said["operating_user"] == ended["operating_user"] == stopped.operating_user


def test_a_freeze_and_its_lift_name_the_credential_that_was_shown(w: World) -> None:
    stopped = w.gate.freeze("agent", "support-bot", reason=WHY, tenant="acme", by="lena", credential="k-1")
    assert (stopped.by, stopped.credential, stopped.operating_user) == ("lena", "k-1", None)
    assert stopped.sentence.endswith(f" by `lena`: {WHY}")
    w.gate.lift(stopped.id, reason="mended", by="dana", credential="k-2")
    said = [record.payload.detail or {} for record in w.records() if record.kind == "freeze"]
    assert [(one["credential"], one["operating_user"]) for one in said] == [("k-1", None), ("k-2", None)]


def test_a_freeze_by_a_program_is_told_by_its_credential(w: World) -> None:
    assert w.gate.freeze("agent", "support-bot", reason=WHY, credential="k-1").sentence.endswith(f" by `k-1`: {WHY}")


@pytest.mark.parametrize(
    ("scope", "tenant", "log"),
    [("agent", None, "operator"), ("agent", "acme", "acme"), ("tenant", None, "acme"), ("all", None, "operator")],
)
def test_it_is_recorded_where_it_holds(w: World, scope: Scope, tenant: str | None, log: str) -> None:
    freeze(w, scope, tenant=tenant)
    assert [name for name in ("acme", "globex", "operator") if "freeze" in w.kinds(name)] == [log]


def test_the_denial_is_recorded_with_what_was_attempted(w: World) -> None:
    stopped = freeze(w)
    look_up(w)
    denial = w.records()[-1]
    assert denial.kind == "denial"
    assert denial.envelope.decision is not None
    assert denial.envelope.decision.code == "frozen"
    assert denial.envelope.tool is not None
    assert denial.envelope.tool.name == "crm.lookup"
    assert bytes(denial.payload.arguments) == b'{"customer_id":"C-1"}'
    assert (denial.payload.detail or {})["freeze"] == stopped.id


def test_a_secret_of_a_frozen_call_does_not_enter_the_log(w: World) -> None:
    @w.gate.tool("account.open", access="write", touches={"access"}, secrets=["password"])
    def open_account(password: str) -> str:
        return password

    freeze(w)
    with w.alice():
        w.denied(w.gate.call("account.open", {"password": "correct horse battery"}), "frozen")
    assert b"correct horse" not in bytes(w.records()[-1].payload.arguments)
    assert "correct horse" not in str(w.records()[-1])


@pytest.mark.parametrize("unverified", [{"customer_id": 7}, b"{", {}], ids=["a number", "no JSON", "nothing"])
def test_a_frozen_call_that_cannot_be_read_is_denied_as_frozen(w: World, unverified: Any) -> None:
    freeze(w)
    with w.alice():
        w.denied(w.gate.call("crm.lookup", unverified), "frozen")
        w.denied(w.gate.call("no.such.tool", unverified), "frozen")


def test_a_denial_that_is_counted_still_says_it() -> None:
    with world(f"{CONFIG}\n[limits]\ndenials_per_minute = 2\n") as w:
        freeze(w, by="lena")
        for _ in range(5):
            look_up(w)
        opened = w.gate._house
        assert opened is not None
        opened._clerk.close()
        denials = [record for record in w.records() if record.kind == "denial"]
        decisions = [record.envelope.decision for record in denials]
        assert [(decision.code, decision.count) for decision in decisions if decision] == [("frozen", None)] * 2 + [("frozen", 3)]
        assert all(WHY in (record.payload.message or "") for record in denials)


# what waits, and what was decided before


def test_an_approval_of_a_frozen_agent_is_not_used(w: World) -> None:
    held = approved(w)
    stopped = freeze(w)
    w.denied(w.adjust(AMOUNT), "frozen")
    w.gate.lift(stopped.id, reason="mended")
    assert w.gate.approvals.show(asked(held)).request.state == "approved"
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_request_that_waits_stays_and_can_be_decided(w: World) -> None:
    waiting = w.held()
    stopped = freeze(w)
    vote(w.gate, waiting.request, "lena")
    w.denied(w.adjust(50_000), "frozen")
    w.gate.lift(stopped.id, reason="mended")
    assert isinstance(w.adjust(50_000), Ok)


@dataclass
class Account:
    tenant: str


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "service"])
def test_a_call_that_is_frozen_after_its_decision_is_refused_at_its_intent(w: World, scope: Scope, *, awaited: bool) -> None:
    name = {"tool": "account.pay"}.get(scope, NAMES[scope])

    @w.gate.resource("Account")
    def account(_: str) -> Account:
        w.gate.freeze(scope, name, reason=WHY, by="lena")  # behind step 0 of the call that is being resolved
        return Account("acme")

    @w.gate.tool("account.pay", access="write", touches={"access"}, targets="Account::{to}")
    def pay(to: str) -> str:
        w.ran.append(("account.pay", {"to": to}))
        return "paid"

    with w.alice(session="s-1"):
        result = asyncio.run(w.gate.acall("account.pay", {"to": "A-1"})) if awaited else w.gate.call("account.pay", {"to": "A-1"})
    w.denied(result, "frozen", "by `lena`", WHY, "calling again will not help")
    assert w.ran == []
    assert "intent" not in w.kinds()
    assert w.kinds()[-1] == "denial"
    assert (w.records()[-1].payload.detail or {})["freeze"]


def test_an_approval_is_not_used_by_a_call_that_is_frozen_before_its_intent(w: World) -> None:
    held = approved(w)
    armed = [True]

    class Account(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            if name == "balance" and armed and armed.pop():
                w.gate.freeze("agent", "support-bot", reason=WHY)  # while the preview is computed again
            return super().__getitem__(name)

    w.customers["C-1"] = Account(w.customers["C-1"])
    w.denied(w.adjust(AMOUNT), "frozen")
    assert w.gate.approvals.show(asked(held)).request.state == "approved"
    assert w.ran == []
    w.gate.lift(w.gate.freezes()[0].id, reason="mended")
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_read_that_was_decided_before_may_end(w: World) -> None:
    @w.gate.resource("Account")
    def account(_: str) -> Account:
        freeze(w)
        return Account("acme")

    @w.gate.tool("account.show", access="read", targets="Account::{of}")
    def show(of: str) -> str:
        return of

    with w.alice():
        assert isinstance(w.gate.call("account.show", {"of": "A-1"}), Ok)
        w.denied(w.gate.call("account.show", {"of": "A-1"}), "frozen")


def test_a_call_whose_tool_runs_ends_and_its_outcome_is_recorded(w: World) -> None:
    @w.gate.tool("account.close", access="write", touches={"access"})
    def close() -> str:
        freeze(w, "all")
        return "closed"

    with w.alice():
        assert isinstance(w.gate.call("account.close", {}), Ok)
    assert w.kinds()[-1] == "outcome"


def test_a_plan_goes_no_further_once_its_agent_is_frozen(w: World) -> None:
    @w.gate.tool("account.first", access="write", touches={"access"})
    def first() -> str:
        freeze(w)
        return "done"

    @w.gate.tool("account.second", access="write", touches={"access"})
    def second() -> str:
        w.ran.append(("account.second", {}))
        return "done"

    with w.alice():
        result = w.gate.plan([("account.first", {}), ("account.second", {})])
        assert result.state == "stopped"
        assert isinstance(result.steps[0].result, Ok)
        assert result.steps[1].result is not None
        w.denied(result.steps[1].result, "frozen", WHY)
        again = w.gate.plan([("account.second", {})])
    assert again.state == "stopped"
    assert w.ran == []


def test_a_repeated_key_of_a_frozen_caller_gives_nothing_out(w: World) -> None:
    assert isinstance(w.adjust(5, idempotency_key="once"), Ok)
    freeze(w)
    w.denied(w.adjust(5, idempotency_key="once"), "frozen")


def test_held_calls_are_not_denied_by_what_is_frozen_elsewhere(w: World) -> None:
    freeze(w, "tool")
    assert isinstance(w.held(), Held)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_whatever_is_frozen_and_lifted_in_whatever_order_calls_go_as_a_list_says(data: st.DataObject) -> None:
    """Against the plainest thing that can be said of freezes: a list."""
    with world() as w:
        standing: list[tuple[str, Scope, str | None, str | None]] = []
        for _ in range(data.draw(st.integers(1, 8))):
            lifts: bool = bool(standing) and data.draw(st.booleans())
            if lifts:
                gone = data.draw(st.sampled_from(standing))
                w.gate.lift(gone[0], reason="mended")
                standing.remove(gone)
            else:
                scope: Scope = data.draw(st.sampled_from(SCOPES))
                name = data.draw(st.sampled_from([NAMES[scope], OTHERS[scope]]))
                tenant = None if scope in {"all", "tenant"} else data.draw(st.sampled_from([None, "acme", "globex"]))
                standing.append((w.gate.freeze(scope, name, reason=WHY, tenant=tenant, anyway=True).id, scope, name, tenant))
            expected = any(stops(scope, name, tenant) for _, scope, name, tenant in standing)
            assert isinstance(look_up(w), Denied) is expected
            assert sorted(one.id for one in w.gate.freezes()) == sorted(one[0] for one in standing)
        assert_whole(w.gate)


OTHERS: dict[Scope, str | None] = {
    "agent": "free-bot",
    "service": "importer",
    "tool": "billing.adjust",
    "tenant": "globex",
    "session": "s-2",
    "all": None,
}


def stops(scope: Scope, name: str | None, tenant: str | None) -> bool:
    """Whether a freeze stops `look_up`."""
    called = {"agent": "support-bot", "tool": "crm.lookup", "tenant": "acme", "session": "s-1", "all": None}
    return scope in called and called[scope] == name and tenant in (None, "acme")
