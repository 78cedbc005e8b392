"""Where the raw engine fails open, and that the Engine does not.

Each test first shows the raw engine's answer, so that a new version of it that behaves otherwise is noticed.
"""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest
from cedarpy import _internal as cedar

from licet.catalog.arguments import ArgumentReader
from licet.errors import ArgumentsRefused
from licet.model import JsonObject, Target
from licet.policy.engine import Engine
from licet.policy.evaluation import Answer, Diagnostics, asks_of
from licet.policy.judgement import judge
from tests.policy.scene import ADJUST, PROFILE, customer, engine, object_schema, principals, question, tool

ALICE = principals()[1:]
REQUEST = {
    "principal": {"type": "User", "id": "alice"},
    "action": {"type": "Action", "id": "billing.adjust"},
    "resource": {"type": "Customer", "id": "C-412"},
}
TENANT = {"__entity": {"type": "Tenant", "id": "acme"}}
ENTITIES: list[JsonObject] = [
    {"uid": {"type": "User", "id": "alice"}, "attrs": {"tenant": TENANT}, "parents": [{"type": "Role", "id": "billing"}]},
    {"uid": {"type": "Customer", "id": "C-412"}, "attrs": {"tenant": TENANT, "environment": "production", "vip": False}, "parents": []},
]
PERMIT = '@id("yes") permit (principal, action == Action::"billing.adjust", resource);'


def raw(policies: str, context: Any = None, entities: list[JsonObject] | cedarpy.Entities = ENTITIES, **more: Any) -> cedarpy.AuthzResult:
    return cedarpy.is_authorized({**REQUEST, "context": context}, policies, entities, **more)


def test_trap_1_a_forbid_that_errs_is_skipped_by_the_engine_and_denies_here() -> None:
    forbid = 'forbid (principal, action == Action::"billing.adjust", resource) when { context.input.amount_cents + 1 > 100 };'
    most = 2**63 - 1
    answer = raw(PERMIT + forbid, {"input": {"amount_cents": most}})
    assert (answer.allowed, len(answer.diagnostics.errors)) == (True, 1)
    decision = engine(f'{PERMIT}@id("limit") {forbid}').decide(question(arguments={"customer_id": "C-412", "amount_cents": most}, by=ALICE))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")
    assert [one.id for one in decision.policies] == ["limit"]
    assert decision.message == (
        '`limit` (policies/test.cedar:1) could not be evaluated for User::"alice" on Customer::"C-412", and an error is a denial'
    )


def test_trap_2_an_unknown_is_allowed_without_reasons_by_the_engine_and_never_gets_there() -> None:
    unknown = {"__extn": {"fn": "unknown", "arg": "x"}}
    permit = 'permit (principal, action == Action::"customer.profile", resource);'
    forbid = 'forbid (principal, action == Action::"customer.profile", resource) when { context.input.customer_id == "C-666" };'
    asked = {"input": {"customer_id": unknown}}
    answer = cedarpy.is_authorized({**REQUEST, "action": 'Action::"customer.profile"', "context": asked}, permit + forbid, ENTITIES)
    assert (answer.allowed, answer.diagnostics.reasons) == (True, [])
    with pytest.raises(ArgumentsRefused):
        ArgumentReader(PROFILE).read({"customer_id": unknown})
    decision = engine(f'@id("yes") {permit} @id("no") {forbid}').decide(question(PROFILE, {"customer_id": unknown}, by=ALICE))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")
    assert decision.message == "the call could not be decided, which is a denial: `input` `customer_id` is not a String"


def test_an_allow_without_reasons_is_a_denial_whatever_made_it() -> None:
    loaded = engine(PERMIT)
    asked = question(by=ALICE)
    finding = judge(asks_of(asked)[0], Answer("Allow", Diagnostics()), loaded.slice("billing.adjust", ALICE))
    assert finding.kind == "failed"


def test_trap_3_an_argument_is_a_role_for_the_engine_without_schema_and_never_here() -> None:
    admin = {"__entity": {"type": "Role", "id": "admin"}}
    assert raw('permit (principal, action, resource) when { context.input.role == Role::"admin" };', {"input": {"role": admin}}).allowed
    with pytest.raises(ArgumentsRefused):
        ArgumentReader(PROFILE).read({"customer_id": admin})
    loaded = engine(
        '@id("x") permit (principal, action == Action::"customer.profile", resource) when { context.input.customer_id like "*" };'
    )
    decision = loaded.decide(question(PROFILE, {"customer_id": admin}, by=ALICE))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")


def test_traps_4_and_5_entities_built_without_the_schema_lose_the_action_groups_and_ours_never_are() -> None:
    texts = PERMIT + '@id("no-writes") forbid (principal, action in Action::"write", resource);'
    loaded = engine(texts)
    schema = cedar.Schema.from_json_str(loaded.schema.decode())
    context = loaded.context(question(by=ALICE), ALICE[0])
    bare = cedarpy.Entities.from_json_str(json.dumps(ENTITIES))
    answer = raw(texts, context, bare, schema=schema)
    assert (answer.allowed, answer.diagnostics.errors) == (True, [])
    built = cedarpy.Entities.from_json_str(json.dumps(ENTITIES), schema)
    assert not raw(texts, context, built, schema=schema).allowed
    decision = loaded.decide(question(by=ALICE))
    assert (decision.verdict, decision.code, [one.id for one in decision.policies]) == ("deny", "forbidden", ["no-writes"])


@pytest.mark.parametrize("attributes", [{"vip": "yes"}, {"vip": None}, {}, {"vip": False, "balance_cents": 1.5}])
def test_trap_5_a_target_that_is_not_as_declared_denies(attributes: JsonObject) -> None:
    wrong = Target(type="Customer", id="C-412", tenant="acme", environment="production", attributes=attributes)
    decision = engine(PERMIT).decide(question(by=ALICE, on=(wrong,)))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")
    assert decision.message.startswith('the call could not be decided, which is a denial: the target Customer::"C-412": `')


def test_trap_6_a_missing_principal_passes_a_tenant_wall_in_the_engine_and_every_entity_is_there_here() -> None:
    wall = "forbid (principal, action, resource) when { principal.tenant != resource.tenant };"
    answer = raw(PERMIT + wall, entities=ENTITIES[1:])
    assert (answer.allowed, len(answer.diagnostics.errors)) == (True, 1)
    decision = engine(f'{PERMIT}@id("wall") {wall}').decide(question(by=ALICE, on=(customer(tenant="globex"),)))
    assert (decision.verdict, [one.id for one in decision.policies]) == ("deny", ["wall"])


def test_trap_7_the_later_of_two_keys_wins_in_the_engine_and_is_refused_here() -> None:
    twice = '{"input": {"amount_cents": 99, "amount_cents": 1}}'
    assert raw("permit (principal, action, resource) when { context.input.amount_cents == 1 };", twice).allowed
    with pytest.raises(ArgumentsRefused) as caught:
        ArgumentReader(ADJUST).read(b'{"customer_id": "C", "amount_cents": 99, "amount_cents": 1}')
    assert "amount_cents" in str(caught.value)


@pytest.mark.parametrize("value", [1.5, None, 2**63, -(2**63) - 1, float("nan"), True, "7", [7], {"amount_cents": 7}])
def test_trap_8_what_cedar_cannot_express_denies(value: Any) -> None:
    loaded = engine('@id("x") permit (principal, action == Action::"billing.adjust", resource) when { context.input.amount_cents != 0 };')
    decision = loaded.decide(question(arguments={"customer_id": "C", "amount_cents": value}, by=ALICE))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")
    assert decision.message.startswith("the call could not be decided, which is a denial: `input` `amount_cents` is ")


def test_trap_8_very_deep_json_is_no_decision_for_the_engine_and_denies_here() -> None:
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    answer = raw("permit (principal, action, resource);", {"input": deep})
    assert answer.decision is cedarpy.Decision.NoDecision
    listing = tool("t.list", {"ids": {"type": "array", "items": {"type": "string"}}}, "Customer::c")
    loaded = engine('@id("x") permit (principal, action == Action::"t.list", resource) when { context.input.ids.contains("a") };', listing)
    decision = loaded.decide(question(listing, {"ids": deep}, by=ALICE))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")


@pytest.mark.parametrize("name", ['new\nline"quote\\', "", "\u0000", 'a", "b'])
def test_trap_9_ids_of_any_form_are_decided_on_as_they_are(name: str) -> None:
    text = cedarpy.is_authorized({**REQUEST, "resource": 'Customer::"new\nline"'}, "permit (principal, action, resource);", ENTITIES)
    assert text.decision is cedarpy.Decision.NoDecision
    decision = engine(PERMIT).decide(question(by=ALICE, on=(customer(name),)))
    assert (decision.verdict, decision.code) == ("allow", "allowed")


def test_trap_10_a_denial_without_a_permit_is_no_hold_though_all_its_reasons_are_conditional() -> None:
    lead = (
        '@id("lead") @require_approval("1 of Group::\\"billing-leads\\"") forbid (principal, action == Action::"billing.adjust", resource);'
    )
    for permit in ("", '@id("others") permit (principal in Role::"auditor", action == Action::"billing.adjust", resource);'):
        decision = engine(lead + permit).decide(question(by=ALICE))
        assert (decision.verdict, decision.code, decision.obligations) == ("deny", "no_permit", ())
        assert decision.message == 'no policy permits User::"alice" to use `billing.adjust` on Customer::"C-412"'


def test_no_decision_is_a_denial() -> None:
    # A target type that the action does not apply to: the request does not fit the schema.
    other = tool("t.other", {}, "Account::a")
    loaded = engine('@id("x") permit (principal, action, resource);', ADJUST, other)
    account = Target(type="Account", id="a", tenant="acme", environment="production")
    for targets in ((account,), (customer(), account)):
        decision = loaded.decide(question(by=ALICE, on=targets))
        assert (decision.verdict, decision.code) == ("deny", "policy_error")


class PanicException(BaseException):
    """What a panic in Rust looks like from Python."""


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError(), MemoryError(), PanicException("boom")])
def test_whatever_the_engine_raises_is_a_denial(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise error

    loaded = engine(PERMIT)
    monkeypatch.setattr(cedar, "is_authorized_batch", failing)
    decision = loaded.decide(question(by=ALICE))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")
    assert decision.message == f"the call could not be decided, which is a denial: {type(error).__name__} in the policy engine"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_interpreter_s_own_endings_pass_through(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise error

    loaded = engine(PERMIT)
    monkeypatch.setattr(cedar, "is_authorized_batch", failing)
    with pytest.raises(error):
        loaded.decide(question(by=ALICE))


@pytest.mark.parametrize("answers", [[], ["not json"], ['{"decision": "Allow"}'], ['{"decision": "Maybe", "diagnostics": {}}']])
def test_an_answer_that_cannot_be_read_is_a_denial(answers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = engine(PERMIT)
    monkeypatch.setattr(cedar, "is_authorized_batch", lambda *_: answers)
    decision = loaded.decide(question(by=ALICE))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")


def test_a_reason_that_is_not_in_the_slice_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = engine(PERMIT)
    answer = '{"decision": "Allow", "diagnostics": {"reason": ["somebody-elses"], "errors": []}}'
    monkeypatch.setattr(cedar, "is_authorized_batch", lambda *_: [answer])
    assert loaded.decide(question(by=ALICE)).verdict == "deny"


def test_the_engine_never_decides_for_a_tool_it_was_not_loaded_with() -> None:
    loaded: Engine = engine(PERMIT)
    changed = tool("billing.adjust", object_schema({})["properties"], "Customer::x", access="read")
    decision = loaded.decide(question(changed, {}, by=ALICE))
    assert (decision.verdict, decision.code) == ("deny", "unknown_tool")
    assert decision.message == "the tool `billing.adjust` is not the one that policies were checked against"
    assert not loaded.could_permit(changed, ALICE[0])


def test_a_question_without_principal_or_target_is_a_denial() -> None:
    loaded = engine(PERMIT)
    for decision in (loaded.decide(question(by=())), loaded.decide(question(on=()))):
        assert (decision.verdict, decision.code) == ("deny", "policy_error")
        assert decision.message == "the call could not be decided, which is a denial: it has no principal or no target"
