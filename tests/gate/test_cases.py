"""The corpus of calls, through every way into the gate: all of them must answer alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from licet.gate.acting import acting_for
from licet.gate.recorder import MASKED
from licet.gate.rehearsal import Rehearsal
from licet.gate.results import Denied, Held, Ok, Result
from licet.model import Decision
from licet.testing import Read
from tests.cases.corpus import CORPUS_CONFIG, CORPUS_POLICIES, Case, cases, equip
from tests.gate.proof import assert_whole
from tests.world import World, world

CASES = cases()
LOGS = ("acme", "globex", "operator")
Door = Callable[[World, Case], Result]


def call(w: World, case: Case) -> Result:
    with case.acting(w):
        return w.gate.call(case.tool, case.proposed)


def acall(w: World, case: Case) -> Result:
    with case.acting(w):
        return asyncio.run(w.gate.acall(case.tool, case.proposed))


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with world(CORPUS_CONFIG, CORPUS_POLICIES) as made:
        equip(made).gate.seal()
        yield made
        assert_whole(made.gate)


@pytest.fixture
def w(made: World) -> World:
    made.ran.clear()
    house = made.gate._house
    assert house is not None
    house.sessions._facts.clear()
    made.customers["C-1"]["balance"] = 100
    return made


@pytest.fixture(scope="module")
def rehearsal(made: World) -> Iterator[Rehearsal]:
    rehearsal = Rehearsal(made.gate.settings, made.gate.registry)
    yield rehearsal
    rehearsal.close()


def once(ids: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))


def assert_decided(case: Case, decision: Decision) -> None:
    expect = case.expect
    assert (decision.verdict, decision.code) == (expect.verdict, expect.code), decision
    assert set(once(policy.id for policy in decision.policies)) == set(expect.policies)
    assert set(once(obligation.policy for obligation in decision.obligations)) == set(expect.obligations)
    for words in expect.says:
        assert words in decision.message
    for policy in decision.policies:
        assert policy.file == "policies/policies.cedar"
        assert policy.line > 0
    assert decision.message[0].islower() or decision.message[0] in "`(" or "`" in decision.message
    assert not decision.message.endswith(".")


def expected_kinds(w: World, case: Case, found: list[Read]) -> tuple[str, ...]:
    if case.expect.records:
        return case.expect.records
    if case.expect.verdict == "allow":
        return ("call",) if w.gate.registry.tools[case.tool].spec.access == "read" else ("intent", "outcome")
    if case.expect.verdict == "hold":
        opens = any("request" in (record.payload.detail or {}) for record in found)  # through another door it may wait already
        return ("call", "hold") if opens and f"{case.tool}.preview" in w.gate.registry.tools else ("hold",)
    return ("denial",)


def assert_recorded(w: World, case: Case, result: Result, found: list[Read]) -> None:
    """The records say what was decided, for whom, on what, and that is what the receipt points to."""
    expect = case.expect
    assert tuple(record.kind for record in found) == expected_kinds(w, case, found)
    assert result.receipt == found[-1].receipt
    previews = [record for record in found if (record.payload.detail or {}).get("previews") == result.call]
    assert [record.envelope.tool and record.envelope.tool.name for record in previews] == [f"{case.tool}.preview"] * len(previews)
    own = [record for record in found if record not in previews]
    assert {record.envelope.call for record in own} == {result.call}
    first = own[0]
    decision, actor = first.envelope.decision, first.envelope.actor
    assert decision is not None
    assert actor is not None
    assert (decision.verdict, decision.code) == (expect.verdict, expect.code)
    assert set(decision.policies) == set(expect.policies)
    assert set(decision.obligations) == set(expect.obligations)
    assert decision.decided_by == ("policy" if expect.policies else "rule")
    assert decision.bundle == w.gate.scene.digest
    assert (actor.agent, actor.service, actor.user) == tuple(case.caller.get(name) for name in ("agent", "service", "user"))
    assert actor.session == case.name
    assert first.envelope.environment == "production"
    if isinstance(result, Ok):
        assert msgspec.json.decode(first.payload.arguments)
    elif case.json is not None and expect.verdict == "deny":
        assert first.payload.detail is not None
        assert first.payload.detail["unread_arguments"]["bytes"] == len(case.json.encode("utf-8", "backslashreplace"))
    if expect.verdict != "allow":
        assert first.payload.message == result.decision.message  # type: ignore[union-attr]


def lengths(w: World) -> dict[str, int]:
    return {log: len(w.records(log)) for log in LOGS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("door", [call, acall])
def test_a_case_is_answered_and_recorded_as_it_says(w: World, door: Door, case: Case) -> None:
    before = lengths(w)
    result = door(w, case)
    added = {log: w.records(log)[before[log] :] for log in LOGS}
    expect = case.expect
    assert isinstance(result, {"allow": Ok, "deny": Denied, "hold": Held}[expect.verdict]), result
    assert_decided(case, result.decision)
    twins = [record for record in added["operator"] if record.kind == "admin"]
    own = [record for record in added[expect.log] if record not in twins]
    assert_recorded(w, case, result, own)
    assert len(twins) == expect.twin
    assert sum(map(len, added.values())) == len(own) + expect.twin, "nothing else was recorded"
    if isinstance(result, Ok):
        assert [tool for tool, _ in w.ran] == [case.tool]
        if expect.result is not msgspec.UNSET:
            assert msgspec.to_builtins(result.value) == msgspec.to_builtins(expect.result)
    else:
        assert w.ran == [], "nothing runs unless it was allowed"
    if isinstance(result, Held):
        assert (result.request is None) == (expect.code == "preview_only")
    for twin in twins:
        detail = twin.payload.detail
        assert detail is not None
        assert detail["twin"] == result.call
        assert all(target["tenant"] != "acme" for target in detail["targets"])
        assert all(target.tenant in ("acme", MASKED) for record in added[expect.log] for target in record.payload.targets)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_check_and_a_rehearsal_decide_a_case_as_the_gate_does_and_leave_no_trace(w: World, rehearsal: Rehearsal, case: Case) -> None:
    before = lengths(w)
    with case.acting(w):
        checked = w.gate.check(case.tool, case.proposed)
        rehearsed = rehearsal.check(acting_for(w.gate._token), case.tool, case.proposed, now=w.clock()).decision
    assert_decided(case, checked)
    assert rehearsed == checked
    assert lengths(w) == before
    assert w.ran == []


def test_the_corpus_has_every_code_that_a_call_can_be_refused_with() -> None:
    found = {case.expect.code for case in CASES}
    identity = {
        "no_caller",
        "unknown_caller",
        "unknown_tenant",
        "no_tenant",
        "no_agent",
        "agent_and_service",
        "unknown_agent",
        "unknown_service",
        "unknown_user",
        "not_in_tenant",
        "user_disabled",
        "acts_for_user",
        "acts_for_self",
    }
    arguments = {
        "missing",
        "unknown_argument",
        "wrong_type",
        "invalid",
        "not_object",
        "not_json",
        "duplicate_key",
        "not_finite",
        "number_too_large",
        "bad_text",
        "forbidden_key",
        "not_canonical",
        "target_missing",
    }
    decided = {
        "allowed",
        "no_permit",
        "forbidden",
        "unknown_tool",
        "target_not_found",
        "approval_required",
        "confirmation_required",
        "preview_only",
    }
    assert found >= identity | arguments | decided


def test_missing_and_foreign_targets_cannot_be_told_apart(w: World) -> None:
    """Everything that the caller gets is the same but for the id that it sent itself."""
    w.customers["G-9"] = {"tenant": "globex", "vip": True, "balance": 1, "suspended": True}
    for tool, arguments in (("crm.lookup", {}), ("billing.adjust", {"amount_cents": 50_000}), ("account.suspend", {})):
        answers = []
        for customer in ("G-9", "X-9"):
            with w.alice():
                result = w.gate.call(tool, {"customer_id": customer, **arguments})
                checked = w.gate.check(tool, {"customer_id": customer, **arguments})
            assert isinstance(result, Denied)
            assert checked == result.decision
            assert result.receipt is not None
            record = w.records()[-1]
            assert record.payload.targets == ()
            shown = msgspec.to_builtins(result.decision), record.payload.detail
            answers.append(repr(shown).replace(customer, "ID"))
        assert answers[0] == answers[1]
    assert w.ran == []


def test_arguments_of_the_largest_size_are_read_and_larger_ones_are_refused(w: World) -> None:
    with w.alice():
        w.denied(w.gate.call("crm.lookup", {"customer_id": "C" * 513}), "not_canonical", "1 to 512 characters")
        w.denied(w.gate.call("crm.lookup", '{"customer_id": "' + "C" * (1024 * 1024) + '"}'), "too_large", "larger than 1048576 bytes")
        w.denied(w.gate.call("crm.lookup", {"customer_id": "C" * (1024 * 1024)}), "too_large")
        nested: Any = "C-1"
        for _ in range(70):
            nested = [nested]
        w.denied(w.gate.call("crm.compare", {"customer_ids": nested}), "too_deep", "64 deep")
        w.denied(w.gate.call("crm.lookup", "[" * 20_000), "too_deep")
        w.denied(w.gate.call("crm.lookup", "[" * 100_000), "too_many_values", "more than 10000 values")
        w.denied(w.gate.call("crm.compare", {"customer_ids": [f"C-{number}" for number in range(101)]}), "too_many_targets", "100")
        w.denied(w.gate.call("crm.lookup", {"customer_id": object()}), "not_json_value", "`object`")
    assert w.ran == []
    for record in w.records()[-8:]:
        assert record.kind == "denial"
        assert record.payload.detail is None or len(record.payload.detail["unread_arguments"]["text"]) <= 4_096
