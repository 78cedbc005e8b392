from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import licet
from licet import Denied, Effect, Failed, Gate, Held, Ok
from licet.errors import CatalogInvalid, UndoRefused
from licet.gate.results import Result
from licet.model import CallId
from licet.testing import vote
from tests.gate.proof import assert_whole
from tests.gate.test_cancellation import SlowAppend
from tests.world import POLICIES, World, world

UNDO = """
@id("support-changes-plans")
permit (principal in Role::"support", action in [Action::"plan.set", Action::"plan.seats"], resource);

@id("billing-undoes")
permit (principal in Role::"billing", action == Action::"plan.set.undo", resource);

@id("seats-undo-is-held")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"plan.seats.undo", resource);

@id("support-undoes-seats")
permit (principal in Role::"support", action == Action::"plan.seats.undo", resource);
"""


@pytest.fixture
def w(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with world(policies=POLICIES + UNDO) as made:
        populate(made)
        yield made
        assert_whole(made.gate)


def populate(w: World) -> None:  # noqa: C901 (small tools, not one complicated function)
    """Two tools that report what they change, each with an undo."""
    gate, customers = w.gate, w.customers

    def change(customer_id: str, field: str, value: Any) -> None:
        before = customers[customer_id].get(field)
        customers[customer_id][field] = value
        licet.effect(f'Customer::"{customer_id}"', field, before=before, after=value)

    def restore(customer_id: str, effects: list[Effect]) -> None:
        for effect in effects:
            if customers[customer_id].get(effect.field) != effect.before:
                raise ValueError(f"{effect.field} has changed since")
            change(customer_id, effect.field, effect.after)

    @gate.tool("plan.set", access="write", targets="Customer::{customer_id}")
    def set_plan(customer_id: str, plan: str, note: str | None = None) -> str:
        w.ran.append(("plan.set", {"plan": plan}))
        change(customer_id, "plan", plan)
        if note is not None:
            change(customer_id, "note", note)
        return "set"

    @set_plan.undo
    def unset_plan(customer_id: str, plan: str, effects: list[Effect], note: str | None = None) -> str:
        w.ran.append(("plan.set.undo", {"plan": plan, "effects": effects}))
        if w.raises is not None:
            raise w.raises
        restore(customer_id, effects)
        return "unset"

    @gate.tool("plan.seats", access="destructive", touches={"customers"}, targets="Customer::{customer_id}")
    async def set_seats(customer_id: str, seats: int) -> None:
        await asyncio.sleep(0)
        change(customer_id, "seats", seats)

    @gate.undoes("plan.seats")
    async def unset_seats(*, effects: list[Effect], customer_id: str, seats: int) -> None:
        await asyncio.sleep(0)
        w.ran.append(("plan.seats.undo", {}))
        restore(customer_id, effects)


def done(w: World, tool: str = "plan.set", **arguments: Any) -> CallId:
    """A call that was made and reported what it changed."""
    with w.alice():
        result = w.gate.call(tool, {"customer_id": "C-1", **(arguments or {"plan": "pro"})})
    assert isinstance(result, Ok), result
    return result.call


def undo(w: World, call: CallId, **more: Any) -> Result:
    with w.alice():
        return w.gate.undo(call, **more)


def refused(w: World, call: CallId, code: str, *words: str) -> UndoRefused:
    """Check that nothing is proposed, recorded or run, with this code and these words."""
    records, ran = len(w.records()), len(w.ran)
    with pytest.raises(UndoRefused) as error:
        undo(w, call)
    assert error.value.code == code, str(error.value)
    for word in words:
        assert word in str(error.value)
    assert (len(w.records()), len(w.ran)) == (records, ran)
    return error.value


def test_an_undo_brings_back_what_was_there(w: World) -> None:
    call = done(w, plan="pro", note="asked by phone")
    assert (w.customers["C-1"]["plan"], w.customers["C-1"]["note"]) == ("pro", "asked by phone")
    result = undo(w, call, reason="wrong customer")
    assert isinstance(result, Ok), result
    assert (w.customers["C-1"]["plan"], w.customers["C-1"]["note"]) == (None, None)
    assert w.ran[-1][1]["effects"] == [
        Effect(target='Customer::"C-1"', field="note", before="asked by phone", after=None),
        Effect(target='Customer::"C-1"', field="plan", before="pro", after=None),
    ]


def test_its_record_says_which_call_it_undoes(w: World) -> None:
    call = done(w)
    result = undo(w, call, reason="wrong customer")
    intent = next(record for record in w.records() if record.envelope.call == result.call)
    assert intent.kind == "intent"
    assert intent.payload.detail is not None
    assert intent.payload.detail["undoes"] == call
    assert intent.payload.reason == "wrong customer"
    assert intent.envelope.tool is not None
    assert (intent.envelope.tool.name, intent.envelope.tool.access) == ("plan.set.undo", "write")
    arguments = msgspec.json.decode(intent.payload.arguments)
    assert arguments == {
        "customer_id": "C-1",
        "plan": "pro",
        "note": None,
        "effects": [{"target": 'Customer::"C-1"', "field": "plan", "before": "pro", "after": None}],
    }


def test_the_undo_of_a_tool_is_a_tool_like_its_tool(w: World) -> None:
    w.gate.seal()
    tools = w.gate.scene.catalog.tools
    mine, its = tools["plan.seats.undo"], tools["plan.seats"]
    assert (mine.access, mine.touches, mine.targets) == (its.access, its.touches, its.targets)


def test_an_undo_needs_a_permit_of_its_own(w: World) -> None:
    call = done(w)
    with w.gate.acting(agent="support-bot", user="carl"):
        result = w.gate.undo(call)
    assert isinstance(result, Denied)
    assert result.decision.code == "no_permit"
    assert w.customers["C-1"]["plan"] == "pro"
    [denial] = [record for record in w.records() if record.kind == "denial"]
    assert denial.payload.detail is not None
    assert denial.payload.detail["undoes"] == call


def test_an_undo_that_is_held_shows_the_reverse_and_runs_once_it_is_approved(w: World) -> None:
    call = done(w, "plan.seats", seats=9)
    held = undo(w, call)
    assert isinstance(held, Held), held
    reverse = (Effect(target='Customer::"C-1"', field="seats", before=9, after=None),)
    assert held.preview == reverse
    assert held.request is not None
    assert msgspec.json.decode(w.gate.store.get_request(held.request).summary)["undoes"] == call, "people are told what is undone"
    assert w.customers["C-1"]["seats"] == 9
    vote(w.gate, held.request, "lena")
    result = undo(w, call)
    assert isinstance(result, Ok), result
    assert (result.effects, result.as_previewed) == (reverse, True)
    assert w.customers["C-1"]["seats"] is None


def test_the_approval_of_one_undo_is_of_no_use_to_that_of_another_call_that_did_the_same(w: World) -> None:
    calls = []
    for _ in range(2):
        w.customers["C-1"]["seats"] = 1
        calls.append(done(w, "plan.seats", seats=9))
    held = undo(w, calls[0])
    assert isinstance(held, Held)
    vote(w.gate, held.request, "lena")
    other = undo(w, calls[1])
    assert isinstance(other, Held), other
    assert other.request != held.request
    assert w.customers["C-1"]["seats"] == 9
    assert isinstance(undo(w, calls[0]), Ok)


def test_a_preview_of_its_own_shows_what_is_there_now(w: World) -> None:
    call = done(w, "plan.seats", seats=9)
    seats = w.gate.registry.tools["plan.seats.undo"]
    assert seats.is_async

    @w.gate.preview("plan.seats.undo")
    def preview(effects: list[Effect], customer_id: str, seats: int) -> list[Effect]:
        return [msgspec.structs.replace(effect, before=w.customers[customer_id]["seats"]) for effect in effects]

    w.customers["C-1"]["seats"] = 12
    held = undo(w, call)
    assert isinstance(held, Held), held
    assert held.preview is not None
    assert held.preview[0].before == 12


def test_a_call_is_undone_once(w: World) -> None:
    call = done(w)
    first = undo(w, call)
    assert isinstance(first, Ok)
    error = refused(w, call, "already_undone", f"`{first.call}`", "ended as ok")
    assert f"`{call}`" in str(error)


def test_a_call_is_undone_once_whoever_asks(w: World) -> None:
    call = done(w)
    assert isinstance(undo(w, call), Ok)
    with w.gate.acting(agent="free-bot", user="alice", tenant="acme"), pytest.raises(UndoRefused) as error:
        w.gate.undo(call)
    assert error.value.code == "already_undone"
    assert [name for name, _ in w.ran] == ["plan.set", "plan.set.undo"]


def test_an_undo_that_failed_is_not_made_again(w: World) -> None:
    call = done(w)
    w.raises = ValueError("half done")
    assert isinstance(undo(w, call), Failed)
    w.raises = None
    refused(w, call, "already_undone", "ended as error")


def test_an_undo_that_cannot_be_told_apart_from_later_changes_is_its_functions_to_refuse(w: World) -> None:
    call = done(w)
    w.customers["C-1"]["plan"] = "gold"
    result = undo(w, call)
    assert isinstance(result, Failed)
    assert "changed since" in result.message
    assert w.customers["C-1"]["plan"] == "gold"


def test_an_undo_is_undone_by_nothing(w: World) -> None:
    result = undo(w, done(w))
    refused(w, result.call, "no_undo", "`plan.set.undo`")


def test_undo_on_a_loop(w: World) -> None:
    async def undone(call: CallId) -> Result:
        with w.alice():
            return await w.gate.aundo(call)

    assert isinstance(asyncio.run(undone(done(w))), Ok)
    assert w.customers["C-1"]["plan"] is None


@pytest.mark.parametrize("door", ["call", "function"])
def test_an_agent_cannot_choose_what_an_undo_changes(w: World, door: str) -> None:
    chosen = [{"target": 'Customer::"C-1"', "field": "balance", "before": 100, "after": 10**9}]
    arguments = {"customer_id": "C-1", "plan": "pro", "effects": chosen}
    with w.alice():
        if door == "call":
            w.denied(w.gate.call("plan.set.undo", arguments), "only_as_undo", "`licet undo CALL`")
            assert w.gate.check("plan.set.undo", arguments).code == "only_as_undo"
        else:
            tool = w.gate.undoes("billing.refund")(lambda_undo)
            with pytest.raises(licet.CallDenied) as error:
                tool(customer_id="C-1", amount_cents=1, effects=chosen)
            assert error.value.decision.code == "only_as_undo"
    assert w.ran == []


def lambda_undo(customer_id: str, amount_cents: int, effects: list[Effect]) -> None:
    raise AssertionError


def test_a_rehearsal_decides_an_undo_as_one(w: World) -> None:
    from contextlib import closing  # noqa: PLC0415

    from licet.gate.acting import Acting  # noqa: PLC0415
    from licet.gate.rehearsal import Rehearsal  # noqa: PLC0415

    with closing(Rehearsal(w.gate.settings, w.gate.registry)) as rehearsal:
        arguments = {"customer_id": "C-1", "plan": "pro", "effects": []}
        assert rehearsal.check(Acting(agent="support-bot", user="alice"), "plan.set.undo", arguments).decision.verdict == "allow"
        assert rehearsal.check(Acting(agent="support-bot", user="carl"), "plan.set.undo", arguments).decision.verdict == "deny"


def test_who_is_nobody_undoes_nothing(w: World) -> None:
    call = done(w)
    with pytest.raises(UndoRefused) as error:
        w.gate.undo(call)
    assert error.value.code == "no_caller"


def test_a_call_that_is_not_there_is_not_undone(w: World) -> None:
    refused(w, CallId("0" * 32), "no_such_call", "`acme`")


def test_a_denied_call_is_not_undone(w: World) -> None:
    denied = w.adjust(customer="nobody")
    refused(w, denied.call, "no_such_call")


def test_a_tool_without_an_undo(w: World) -> None:
    @w.gate.tool("plan.touch", access="write", touches={"access"})
    def touch() -> None:
        licet.effect("x", "y", before=1, after=2)

    with w.alice():
        result = w.gate.call("plan.touch", {})
    refused(w, result.call, "no_undo", "`plan.touch` has no undo in this process")


def odd(w: World, run: Any, **more: Any) -> CallId:
    """A call of a tool with an undo that does `run`."""

    @w.gate.tool("odd.change", access="write", touches={"access"}, **more)
    def change(token: str) -> Any:
        return run()

    @w.gate.undoes("odd.change")
    def back(token: str, effects: list[Effect]) -> None:
        raise AssertionError

    with w.alice():
        return w.gate.call("odd.change", {"token": "correct horse battery"}).call


def test_a_call_that_reported_nothing(w: World) -> None:
    refused(w, odd(w, lambda: None), "no_effects")


def test_a_call_that_did_not_report_what_was_there_before(w: World) -> None:
    def run() -> None:
        licet.effect("x", "known", before=1, after=2)
        licet.effect("x", "plan", after=2)

    refused(w, odd(w, run), "no_before", "`plan` of x")


def test_a_call_that_failed(w: World) -> None:
    def run() -> None:
        licet.effect("x", "plan", before=1, after=2)
        raise ValueError("half done")

    refused(w, odd(w, run), "not_ok", "ended as error")


def test_a_call_of_which_nobody_saw_the_end(w: World) -> None:
    def run() -> None:
        licet.effect("x", "plan", before=1, after=2)
        w.release.wait(30)

    call = odd(w, run, timeout_s=0.1)
    refused(w, call, "not_ended")
    w.release.set()


def test_a_call_that_reported_more_than_is_kept(w: World) -> None:
    def run() -> None:
        for number in range(1_001):
            licet.effect("x", "counter", before=number, after=number + 1)

    refused(w, odd(w, run), "effects_not_kept", "1001", "1000")


def test_secrets_in_the_arguments(w: World) -> None:
    call = odd(w, lambda: licet.effect("x", "plan", before=1, after=2), secrets={"token"})
    refused(w, call, "hidden", "all arguments", "secret:arguments.token")


def test_secrets_in_the_effects(w: World) -> None:
    token = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
    call = odd(w, lambda: licet.effect("x", "token", before=token, after=None))
    refused(w, call, "hidden", "all effects")


def test_a_call_in_another_tenants_log_is_not_there(w: World) -> None:
    call = done(w)
    with w.gate.acting(agent="free-bot", user="gina", tenant="globex"), pytest.raises(UndoRefused) as error:
        w.gate.undo(call)
    assert error.value.code == "no_such_call"
    assert "acme" not in str(error.value)


def test_effects_that_the_tool_returned_are_undone_too(w: World) -> None:
    call = odd(w, lambda: [Effect(target="x", field="plan", before=1, after=2)])
    with w.alice():
        found = w.gate.reversal(call)
    assert found.tool == "odd.change.undo"
    arguments = {"token": "correct horse battery", "effects": [{"target": "x", "field": "plan", "before": 2, "after": 1}]}
    assert msgspec.json.decode(found.arguments) == arguments


def bad_signature(customer_id: str, amount_cents: int) -> None: ...


def bad_default(customer_id: str, amount_cents: int, effects: list[Effect] | None = None) -> None: ...


def bad_arguments(customer_id: str, effects: list[Effect]) -> None: ...


class Method:
    def back(self, customer_id: str, amount_cents: int, effects: list[Effect]) -> None: ...


@pytest.mark.parametrize(
    ("tool", "function", "words"),
    [
        ("billing.refund", bad_signature, "effects: list[Effect]"),
        ("billing.refund", bad_default, "effects: list[Effect]"),
        ("billing.refund", bad_arguments, "the arguments of its tool"),
        ("billing.refund", Method.back, "make it a function"),
        ("crm.lookup", lambda_undo, "only reads"),
        ("no.tool", lambda_undo, "there is no `no.tool`"),
    ],
    ids=["none", "default", "arguments", "method", "read", "unknown"],
)
def test_an_undo_that_cannot_be_one_is_refused(w: World, tool: str, function: Any, words: str) -> None:
    with pytest.raises(CatalogInvalid) as error:
        w.gate.undoes(tool)(function)
    assert words in str(error.value)


def test_a_tool_with_an_argument_called_effects_has_no_undo(w: World) -> None:
    @w.gate.tool("odd.effects", access="write")
    def odd_effects(effects: str) -> None: ...

    with pytest.raises(CatalogInvalid, match="has an argument `effects`"):
        w.gate.undoes("odd.effects")(lambda_undo)


def test_a_tool_has_one_undo(w: World) -> None:
    w.gate.undoes("billing.refund")(lambda_undo)
    with pytest.raises(CatalogInvalid, match=r"`billing.refund.undo` is already registered"):
        w.gate.undoes("billing.refund")(lambda_undo)
    assert isinstance(w.gate, Gate)


def test_an_undo_that_was_not_executed_gives_way_to_another(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    call = done(w)

    async def cancelled() -> None:
        slow = SlowAppend(monkeypatch, "intent")
        with w.alice():
            task = asyncio.ensure_future(w.gate.aundo(call))
        await slow.waiting.wait()
        task.cancel("stop")
        slow.release.set()
        with pytest.raises(asyncio.CancelledError, match="stop"):
            await task

    asyncio.run(cancelled())
    monkeypatch.undo()
    ended = w.records()[-1].envelope.outcome
    assert ended is not None
    assert ended.status == "not_executed"
    assert w.customers["C-1"]["plan"] == "pro"
    assert isinstance(undo(w, call), Ok)
    assert w.customers["C-1"]["plan"] is None
    refused(w, call, "already_undone")


def test_a_held_undo_can_be_waited_for(w: World) -> None:
    call = done(w, "plan.seats", seats=9)

    def decide() -> None:
        while not (waiting := w.gate.approvals.waiting()):
            time.sleep(0.005)
        vote(w.gate, waiting[0].request.id, "lena")

    with ThreadPoolExecutor(1) as pool:
        decided = pool.submit(decide)
        result = undo(w, call, wait=60)
        decided.result(60)
    assert isinstance(result, Ok), result
    intent = next(record for record in w.records() if record.envelope.call == result.call)
    assert intent.payload.detail is not None
    assert intent.payload.detail["undoes"] == call


PLANS = st.text(max_size=4).filter(lambda text: text.isprintable())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(PLANS, st.none() | PLANS), min_size=1, max_size=5))
def test_what_is_undone_backwards_is_as_it_was(changes: list[tuple[str, str | None]]) -> None:
    with world(policies=POLICIES + UNDO) as w:
        populate(w)
        before = dict(w.customers["C-1"])
        calls = [done(w, plan=plan, note=note) if note is not None else done(w, plan=plan) for plan, note in changes]
        for call in reversed(calls):
            assert isinstance(undo(w, call), Ok)
        after = {name: value for name, value in w.customers["C-1"].items() if value is not None}
        assert after == before
        assert_whole(w.gate)
