"""A preview is a governed read: its own decision, its own record, and votes that are bound to what it showed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licet import Effect
from licet.errors import CallHeld, CatalogInvalid
from licet.gate.results import Held, Ok, Result
from licet.testing import Read, vote
from tests.gate.faulty import drain, faulty_world
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT, RUN, approved, superseded
from tests.world import CONFIG, POLICIES, World, world, world_on

PREVIEW = "billing.adjust.preview"
ARGUMENTS = {"customer_id": "C-1", "amount_cents": AMOUNT}
BALANCE = {"target": 'Customer::"C-1"', "field": "balance", "before": 100, "after": 50_100}
NO_PREVIEW = f'\n@id("no-preview")\n@reason("balances are for people")\nforbid (principal, action == Action::"{PREVIEW}", resource);\n'
MARKING = (
    POLICIES
    + """
@id("marks")
permit (principal in Role::"support", action == Action::"crm.mark", resource);

@id("marks-need-a-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"crm.mark", resource);
"""
)


@pytest.fixture
def marking(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world with a tool that has no preview; one of its arguments is an attribute of its target, one is a secret."""
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with world(policies=MARKING) as w:

        @w.gate.tool("crm.mark", access="write", touches={"customers"}, targets="Customer::{customer_id}", secrets=["tenant"])
        def mark(customer_id: str, vip: bool, tenant: str, note: str = "") -> None:  # noqa: FBT001 - called by name
            w.ran.append(("crm.mark", {"customer_id": customer_id, "vip": vip, "tenant": tenant, "note": note}))

        yield w
        assert_whole(w.gate)


def mark(w: World, **more: Any) -> Result:
    with w.alice():
        return w.gate.call("crm.mark", {"customer_id": "C-1", "vip": True, "tenant": "x", **more})


def previews(w: World) -> list[Read]:
    return [record for record in w.records() if record.envelope.tool is not None and record.envelope.tool.name.endswith(".preview")]


def shown(w: World, held: Result) -> dict[str, Any]:
    """What people are shown of the request that this call waits on."""
    assert isinstance(held, Held), held
    assert held.request is not None
    summary: dict[str, Any] = msgspec.json.decode(w.gate.approvals.show(held.request).request.summary)
    return summary


# Its decision and its record


def test_a_preview_is_recorded_as_a_read_of_its_own_before_the_hold(w: World) -> None:
    held = w.held(AMOUNT)
    read, hold = w.records()
    assert (read.kind, hold.kind) == ("call", "hold")
    assert read.envelope.tool is not None
    assert (read.envelope.tool.name, read.envelope.tool.access) == (PREVIEW, "read")
    assert read.envelope.decision is not None
    assert (read.envelope.decision.verdict, read.envelope.decision.code) == ("allow", "allowed")
    assert read.envelope.decision.policies == ("support-reads",)
    assert read.envelope.call != held.call
    assert read.payload.detail == {"previews": held.call}
    assert msgspec.json.decode(read.payload.arguments) == ARGUMENTS
    assert [str(target.ref) for target in read.payload.targets] == ['Customer::"C-1"']
    assert msgspec.json.decode(read.payload.result) == [BALANCE]
    assert read.envelope.actor == hold.envelope.actor
    assert shown(w, held)["previewed_by"] == "tool"


def test_it_runs_when_a_request_opens_and_before_the_call_runs_and_not_for_a_retry(w: World) -> None:
    first = w.held(AMOUNT)
    w.customers["C-1"]["balance"] = 7
    for _ in range(3):
        again = w.held(AMOUNT)
        assert (again.request, again.preview) == (first.request, first.preview), "it waits with what it showed"
    assert len(previews(w)) == 1
    w.customers["C-1"]["balance"] = 100
    vote(w.gate, first.request, "lena")
    assert isinstance(w.adjust(AMOUNT), Ok)
    assert len(previews(w)) == 2
    assert w.ran == [RUN]


def test_what_changed_while_people_decided_holds_the_call_anew_once_they_have(w: World) -> None:
    first = w.held(AMOUNT)
    w.customers["C-1"]["balance"] = 7
    vote(w.gate, first.request, "lena")
    again = w.held(AMOUNT)
    assert again.request != first.request
    assert "from `7` to `50007`" in again.decision.message
    assert w.ran == []


def test_what_needs_nobody_runs_without_its_preview(w: World) -> None:
    assert isinstance(w.adjust(), Ok)
    assert previews(w) == []


def test_a_preview_that_policy_denies_denies_the_call_and_shows_nothing() -> None:
    with world(policies=POLICIES + NO_PREVIEW) as w:
        ran = []
        w.gate.registry.previews["billing.adjust"].function = lambda **_: ran.append(1)
        result = w.denied(w.adjust(AMOUNT), "preview_denied", f"`{PREVIEW}` is not allowed", "`no-preview`", "balances are for people")
        assert ran == []
        read, denial = w.records()
        assert (read.kind, denial.kind) == ("denial", "denial")
        assert read.envelope.tool is not None
        assert read.envelope.tool.name == PREVIEW
        assert read.envelope.decision is not None
        assert (read.envelope.decision.verdict, read.envelope.decision.code) == ("deny", "forbidden")
        assert "no-preview" in read.envelope.decision.policies
        assert read.payload.detail == {"previews": result.call}
        assert denial.payload.detail == {"preview": read.envelope.call}
        assert w.gate.approvals.all() == ()
        assert isinstance(w.adjust(), Ok), "a call that nobody needs to decide on asks for no preview"
        assert_whole(w.gate)


def test_a_preview_that_no_permit_names_denies_the_call() -> None:
    policies = POLICIES.replace('action in Action::"read"', 'action == Action::"crm.lookup"')
    with world(policies=policies) as w:
        w.denied(w.adjust(AMOUNT), "preview_denied", f"`{PREVIEW}` is not allowed", "no policy permits")
    permit = f'@id("sees")\npermit (principal in Role::"billing", action == Action::"{PREVIEW}", resource);\n'
    with world(policies=policies + permit) as w:
        w.held(AMOUNT)


@pytest.mark.parametrize("obligation", ['@require_approval("1 of Group::\\"billing-leads\\"")', "@require_confirmation", "@preview_only"])
def test_a_preview_that_people_would_have_to_allow_is_denied(obligation: str) -> None:
    held = f'\n@id("ask-first")\n{obligation}\nforbid (principal, action == Action::"{PREVIEW}", resource);\n'
    with world(policies=POLICIES + held) as w:
        w.denied(w.adjust(AMOUNT), "preview_denied", f"`{PREVIEW}` is not allowed", "`ask-first`")
        assert w.kinds() == ["denial", "denial"]
        decision = previews(w)[0].envelope.decision
        assert decision is not None
        assert decision.verdict == "deny"
        assert w.gate.approvals.all() == ()
        assert_whole(w.gate)


def test_a_preview_is_decided_again_before_an_approved_call_runs(w: World) -> None:
    held = approved(w)
    (w.gate.settings.policies / "stop.cedar").write_text(NO_PREVIEW)

    @w.gate.tool("odd.more", access="read")  # what is registered later loads the policies anew
    def more() -> None: ...

    w.denied(w.adjust(AMOUNT), "preview_denied", "`no-preview`")
    assert w.ran == []
    assert held.request is not None
    assert w.gate.store.get_request(held.request).state == "approved", "it is not used up"


def test_a_frozen_preview_shows_nothing(w: World) -> None:
    w.gate.freeze("tool", PREVIEW, reason="it shows too much")
    ran = []
    w.gate.registry.previews["billing.adjust"].function = lambda **_: ran.append(1)
    w.denied(w.adjust(AMOUNT), "preview_denied", "it shows too much")
    assert ran == []
    decision = previews(w)[0].envelope.decision
    assert decision is not None
    assert decision.code == "frozen"


def test_denials_of_a_preview_that_repeat_are_counted() -> None:
    with world(CONFIG + "\n[limits]\ndenials_per_minute = 2\n", POLICIES + NO_PREVIEW) as w:
        for _ in range(20):
            w.denied(w.adjust(AMOUNT), "preview_denied")
        assert len(previews(w)) == 2
        assert w.kinds() == ["denial"] * 4


# As a tool that an agent calls


def test_an_agent_may_call_a_preview_as_the_read_that_it_is(w: World) -> None:
    with w.alice():
        result = w.gate.call(PREVIEW, ARGUMENTS)
    assert isinstance(result, Ok), result
    assert msgspec.to_builtins(result.value) == [BALANCE]
    assert w.kinds() == ["call"]
    assert w.gate.approvals.all() == ()


def test_a_preview_that_an_agent_calls_is_held_to_the_same_rules(w: World) -> None:
    with w.alice():
        w.denied(w.gate.call(PREVIEW, {**ARGUMENTS, "customer_id": "C-2"}), "no_permit")
        w.denied(w.gate.call(PREVIEW, {**ARGUMENTS, "customer_id": "G-1"}), "target_not_found", 'no Customer::"G-1"')
        w.denied(w.gate.call(PREVIEW, {**ARGUMENTS, "amount": 1}), "unknown_argument")
    w.denied(w.gate.call(PREVIEW, ARGUMENTS), "no_caller")


def test_what_may_not_be_read_is_not_shown_through_a_call_that_would_be_held(w: World) -> None:
    ran = []
    w.gate.registry.previews["billing.adjust"].function = lambda **_: ran.append(1)
    w.denied(w.adjust(AMOUNT, "C-2"), "preview_denied", 'Customer::"C-2"')
    w.denied(w.adjust(AMOUNT, "G-1"), "target_not_found")
    assert ran == []


def test_the_name_of_a_preview_cannot_be_taken_twice(w: World) -> None:
    with pytest.raises(CatalogInvalid, match=r"`billing\.adjust\.preview`"):

        @w.gate.tool(PREVIEW, access="read")
        def other(customer_id: str) -> None: ...


# Kinds of functions, and how they end


def test_a_preview_of_a_method_has_its_object(w: World) -> None:
    class Books:
        closed = False

        @w.gate.tool("books.shut", access="write", touches={"access"})
        def shut(self) -> str:
            self.closed = True
            return "shut"

        @shut.preview
        def would(self) -> list[Effect]:
            return [Effect(target="Books", field="closed", before=self.closed, after=True)]

    (w.gate.settings.policies / "more.cedar").write_text(
        '@id("shut") @require_approval("1 of Group::\\"security-leads\\"") forbid (principal, action == Action::"books.shut", resource);'
    )
    books = Books()
    with w.alice():
        with pytest.raises(CallHeld) as held:
            books.shut()
        assert msgspec.json.decode(previews(w)[0].payload.result) == [
            {"target": "Books", "field": "closed", "before": False, "after": True}
        ]
        w.denied(w.gate.call("books.shut.preview", {}), "no_instance")
        vote(w.gate, held.value.request, "dana")
        assert books.shut() == "shut"
    assert books.closed


@contextmanager
def previewed(function: Any, *, timeout_s: float | None = None) -> Iterator[World]:
    """A world in which closing the books is held, and this says what it would change."""
    with world(policies=MARKING.replace("crm.mark", "books.close")) as w:

        @w.gate.tool("books.close", access="write", touches={"money"}, timeout_s=timeout_s)
        def close() -> str:
            w.ran.append(("books.close", {}))
            return "closed"

        close.preview(function)
        yield w
        assert_whole(w.gate)


def close(w: World) -> Result:
    with w.alice():
        return w.gate.call("books.close", {})


async def aclose(w: World) -> Result:
    with w.alice():
        return await w.gate.acall("books.close", {})


CLOSED = Effect(target="Books", field="closed", before=False, after=True)


def test_a_preview_may_be_asynchronous() -> None:
    async def would() -> list[Effect]:
        await asyncio.sleep(0)
        return [CLOSED]

    with previewed(would) as w:
        held = close(w)
        assert isinstance(held, Held), held
        assert held.preview == (CLOSED,)
        vote(w.gate, held.request, "lena")
        assert isinstance(asyncio.run(aclose(w)), Ok)
        assert w.kinds() == ["call", "hold", "vote", "call", "intent", "outcome"]


def test_a_preview_that_takes_too_long_is_recorded_and_denies_the_call() -> None:
    release = threading.Event()

    def slow() -> list[Effect]:
        release.wait(20)
        return [CLOSED]

    with previewed(slow, timeout_s=0.1) as w:
        try:
            w.denied(close(w), "preview_failed", "(timeout)", "nobody can see what the call would change")
        finally:
            release.set()
        read, denial = w.records()
        assert read.envelope.outcome is not None
        assert (read.kind, read.envelope.outcome.status, denial.kind) == ("call", "timeout", "denial")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=lambda error: type(error).__name__)
def test_a_preview_that_ends_everything_is_recorded_first_however_the_call_is_made(error: BaseException) -> None:
    def leave() -> list[Effect]:
        raise error

    with previewed(leave) as w:
        with pytest.raises(type(error)):
            close(w)
        assert [record.kind for record in w.records()] == ["call", "denial"]
        read, denial = w.records()
        assert read.envelope.outcome is not None
        assert read.envelope.outcome.code == type(error).__name__
        assert denial.envelope.decision is not None
        assert denial.envelope.decision.code == "cancelled"
        assert w.ran == []


@pytest.mark.parametrize(
    "garbage",
    [None, 5, "x", {"target": "T"}, [[]], [{"target": "T"}], [{"target": 1, "field": "f"}], [float("nan")], [object()]],
    ids=["nothing", "number", "text", "object", "lists", "no-field", "no-target", "nan", "no-json"],
)
def test_a_preview_that_returns_garbage_is_recorded_and_denies_the_call(garbage: Any) -> None:
    with previewed(lambda: garbage) as w:
        w.denied(close(w), "preview_failed")
        assert w.kinds() == ["call", "denial"]
        assert w.gate.approvals.all() == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter([CLOSED]),
        lambda: (one for one in [CLOSED]),
        lambda: [Effect(target="T", field="f", after=float("nan"))],
        lambda: {CLOSED},
    ],
    ids=["iterator", "generator", "nan", "set"],
)
def test_nobody_is_shown_what_the_record_of_a_preview_does_not_hold_as_a_list(make: Any) -> None:
    with previewed(make) as w:
        w.denied(close(w), "preview_failed")
        assert w.kinds() == ["call", "denial"]
        assert w.gate.approvals.all() == ()


@pytest.mark.parametrize("how", ["down", "ambiguous"])
def test_nothing_is_shown_while_the_preview_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch, how: Any) -> None:
    with faulty_world(monkeypatch) as (w, store):
        store.fail(how, "call")
        denied = w.denied(w.adjust(AMOUNT), "log_unavailable", "the audit log cannot be written, so nothing was shown or done")
        store.mend()
        drain(w.gate)
        assert "50100" not in denied.decision.message
        assert w.gate.approvals.all() == ()
        assert [kind for kind in w.kinds() if kind != "call"] == ["denial"]
        w.held(AMOUNT)
        assert_whole(w.gate)


# From the arguments


def test_without_a_preview_people_see_the_arguments_beside_the_attributes(marking: World) -> None:
    held = mark(marking, note="please")
    assert isinstance(held, Held)
    seen = shown(marking, held)
    assert seen["previewed_by"] == "arguments"
    assert seen["preview"] == [{"target": 'Customer::"C-1"', "field": "vip", "before": False, "after": True}]
    assert marking.kinds() == ["hold"], "nothing was read that is not in the hold"


def test_the_caller_is_not_told_the_attributes_that_nobody_allowed_it_to_read(marking: World) -> None:
    for _ in range(2):
        held = mark(marking)
        assert isinstance(held, Held)
        (effect,) = held.preview or ()
        assert (effect.field, effect.before, effect.before_unknown, effect.after) == ("vip", None, True, True)


def test_nor_is_the_caller_that_proposes_a_plan(marking: World) -> None:
    with marking.alice():
        result = marking.gate.plan([("crm.mark", {"customer_id": "C-1", "vip": True, "tenant": "x"})])
    held = result.steps[0].result
    assert isinstance(held, Held)
    (effect,) = held.preview or ()
    assert (effect.field, effect.before, effect.before_unknown, effect.after) == ("vip", None, True, True)


def test_a_secret_argument_is_in_no_preview_and_no_record(marking: World) -> None:
    held = mark(marking, tenant="correct-horse-battery-staple")
    assert isinstance(held, Held)
    assert [effect["field"] for effect in shown(marking, held)["preview"]] == ["vip"]
    vote(marking.gate, held.request, "lena")
    assert isinstance(mark(marking, tenant="correct-horse-battery-staple"), Ok)
    for record in marking.records():
        assert b"correct-horse" not in msgspec.json.encode((record.envelope, record.payload))


def test_an_attribute_that_changed_after_the_approval_holds_the_call_anew_and_is_named(marking: World) -> None:
    held = mark(marking, note="same")
    assert isinstance(held, Held)
    vote(marking.gate, held.request, "lena")
    marking.customers["C-1"]["vip"] = True
    again = mark(marking, note="same")
    assert isinstance(again, Held), again
    changed = '`vip` of Customer::"C-1", which the call would change, is not what it was'
    assert again.decision.message.startswith(f"held anew, since {changed}: ")
    assert superseded(marking)["changed"] == changed
    assert marking.ran == []
    vote(marking.gate, again.request, "lena")
    assert isinstance(mark(marking, note="same"), Ok)


def test_an_attribute_that_no_argument_names_is_bound_too() -> None:
    with world() as w:
        with w.alice():
            held = w.gate.call("account.suspend", {"customer_id": "C-1"})
            assert isinstance(held, Held)
            assert held.preview == ()
            vote(w.gate, held.request, "dana", "omar")
            w.customers["C-1"]["vip"] = True
            again = w.gate.call("account.suspend", {"customer_id": "C-1"})
        assert isinstance(again, Held), again
        assert again.request != held.request
        assert again.decision.message.startswith('held anew, since `vip` of Customer::"C-1" is not what it was: ')
        assert w.ran == []


def test_where_a_preview_is_added_after_the_approval_the_call_is_held_anew(marking: World) -> None:
    held = mark(marking)
    assert isinstance(held, Held)
    vote(marking.gate, held.request, "lena")

    def nothing(customer_id: str, vip: bool, tenant: str, note: str = "") -> list[Effect]:  # noqa: FBT001
        return []

    marking.gate.registry.add_preview("crm.mark", nothing)
    again = mark(marking)
    assert isinstance(again, Held), again
    assert "worked out in another way" in again.decision.message
    assert marking.ran == []


# What a vote is bound to

VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2) | st.lists(st.integers(0, 2), max_size=2)
EFFECTS = st.lists(
    st.builds(Effect, target=st.sampled_from(["T", "U"]), field=st.sampled_from(["f", "g"]), before=VALUES, after=VALUES), max_size=3
)


@settings(max_examples=25, deadline=None)
@given(seen=EFFECTS, now=EFFECTS, same=st.booleans())
def test_an_approval_is_used_exactly_where_the_preview_is_what_people_saw(seen: list[Effect], now: list[Effect], *, same: bool) -> None:
    told = [seen]
    with previewed(lambda: list(told[0])) as w:
        held = close(w)
        assert isinstance(held, Held), held
        vote(w.gate, held.request, "lena")
        told[0] = seen if same else now
        result = close(w)
        equal = msgspec.json.encode(told[0]) == msgspec.json.encode(seen)
        assert isinstance(result, Ok if equal else Held), result
        assert len(w.ran) == equal
        if isinstance(result, Held):
            assert result.request != held.request
            assert result.decision.message.startswith("held anew, since ")


def test_a_request_about_another_tenant_s_target_holds_none_of_its_attributes() -> None:
    config = CONFIG.replace("[tenants.acme]", 'cross_tenant = [["acme", "partner"]]\n[tenants.acme]\n[tenants.partner]')
    policies = POLICIES.replace("== principal.tenant };", '== principal.tenant || resource.tenant == Tenant::"partner" };', 1)
    with world(config, policies) as w:
        w.customers["P-1"] = {"tenant": "partner", "vip": True, "balance": 0, "suspended": False}
        with w.alice():
            held = w.gate.call("account.suspend", {"customer_id": "P-1"})
        assert isinstance(held, Held)
        assert held.request is not None
        (target,) = msgspec.json.decode(w.gate.store.get_request(held.request).summary)["targets"]
        assert (target["tenant"], target.get("attributes") or {}) == ("partner", {})
        w.gate.approvals.vote(held.request, "dana", "approve")
        w.gate.approvals.vote(held.request, "omar", "approve")
        w.customers["P-1"]["vip"] = False
        with w.alice():
            again = w.gate.call("account.suspend", {"customer_id": "P-1"})
        assert isinstance(again, Held), "an attribute that nobody was shown is bound all the same"
        assert "held anew" in again.decision.message
        assert "vip" not in again.decision.message


NO_MORE = """
@id("previews-are-closed")
forbid (principal, action == Action::"billing.adjust.preview", resource);
"""


def test_a_retry_is_told_what_was_shown_only_while_the_preview_may_be_read(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        first = w.held(AMOUNT)
        assert first.preview is not None
        assert w.held(AMOUNT).preview == first.preview
    with world_on(tmp_path, policies=POLICIES + NO_MORE) as w:
        again = w.held(AMOUNT)
        assert (again.request, again.preview) == (first.request, None)
