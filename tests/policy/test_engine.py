from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from msgspec import structs

from licet.policy.engine import ENTITY_SETS
from licet.policy.obligations import discharge
from tests.policy.scene import ADJUST, BASE, BILLING, NOW, PROFILE, STATUS, SUSPEND, customer, engine, principals, question, tenant, tool

BILLING_ONLY = '@id("x") permit (principal, action == Action::"billing.adjust", resource);'
BOTH = ('Agent::"support-bot"', 'User::"alice"')


def test_a_permit_that_matches_every_principal_allows_and_is_named() -> None:
    decision = engine().decide(question())
    assert (decision.verdict, decision.code) == ("allow", "allowed")
    assert [(one.id, one.effect, one.file, one.line, one.target) for one in decision.policies] == [
        ("billing-adjust", "permit", "policies/billing.cedar", 1, 'Customer::"C-412"')
    ] * 2
    assert tuple(one.principal for one in decision.policies) == BOTH
    assert decision.message == "allowed by `billing-adjust` (policies/billing.cedar:1)"


def test_permits_are_named_in_bundle_order_and_counted_past_five() -> None:
    texts = {f"{name}.cedar": f'@id("{name}") permit (principal, action, resource);' for name in "gfedcba"}
    decision = engine(texts).decide(question(by=principals()[1:]))
    assert [one.id for one in decision.policies] == list("abcdefg")
    assert decision.message == (
        "allowed by `a` (a.cedar:1); `b` (b.cedar:1); `c` (c.cedar:1); `d` (d.cedar:1); `e` (e.cedar:1); and 2 more"
    )


def test_without_a_permit_the_denial_names_principal_tool_and_target() -> None:
    decision = engine().decide(question(arguments={"customer_id": "C-412", "amount_cents": 2_000_000}, by=principals()[1:]))
    assert (decision.verdict, decision.code, decision.policies) == ("deny", "no_permit", ())
    assert decision.message == 'no policy permits User::"alice" to use `billing.adjust` on Customer::"C-412"'


def test_a_plain_forbid_denies_with_its_reason_and_place() -> None:
    decision = engine().decide(question(PROFILE, {"customer_id": "C-412"}, by=principals()[1:], on=(customer(tenant="globex"),)))
    assert (decision.verdict, decision.code) == ("deny", "forbidden")
    assert [one.id for one in decision.policies] == ["tenant-wall"]
    assert decision.message == (
        'denied by `tenant-wall` (policies/base.cedar:2) for User::"alice" on Customer::"C-412": targets of other tenants are out of reach'
    )


def test_conditional_forbids_hold_and_each_principal_is_discharged_by_itself() -> None:
    held = engine().decide(question(arguments={"customer_id": "C-412", "amount_cents": 20_000}))
    assert (held.verdict, held.code) == ("hold", "approval_required")
    assert [(owed.policy, owed.principal, owed.count, owed.group) for owed in held.obligations] == [
        ("billing-needs-lead", principal, 1, "billing-leads") for principal in BOTH
    ]
    half = discharge(held, {("billing-needs-lead", BOTH[0])})
    assert (half.verdict, [owed.principal for owed in half.obligations]) == ("hold", [BOTH[1]])
    whole = discharge(half, {("billing-needs-lead", BOTH[1])})
    assert (whole.verdict, whole.code, whole.obligations) == ("allow", "allowed", ())
    assert [one.id for one in whole.policies] == ["billing-adjust", "billing-adjust"]


def test_a_denial_of_one_principal_denies_the_call_and_names_only_what_denied() -> None:
    decision = engine().decide(question(by=principals(user="bob")))
    assert (decision.verdict, decision.code) == ("deny", "no_permit")
    assert decision.message == 'no policy permits User::"bob" to use `billing.adjust` on Customer::"C-412"'


def test_leaving_the_user_out_is_no_way_around_what_the_agent_may_not() -> None:
    decision = engine().decide(question(by=principals("reader-bot", None)))
    assert (decision.verdict, decision.code) == ("deny", "no_permit")
    assert decision.message == 'no policy permits Agent::"reader-bot" to use `billing.adjust` on Customer::"C-412"'


def test_the_strictest_of_several_targets_decides() -> None:
    loaded = engine()
    mine, other = customer("C-1"), customer("G-1", tenant="globex")
    asked = question(SUSPEND, {"customer_ids": ["C-1", "G-1"]}, on=(mine, other), by=principals()[1:])
    decision = loaded.decide(asked)
    assert (decision.verdict, decision.code) == ("deny", "forbidden")
    assert [(one.id, one.target) for one in decision.policies] == [("tenant-wall", 'Customer::"G-1"')]
    held = loaded.decide(question(SUSPEND, {"customer_ids": ["C-1", "C-2"]}, on=(mine, customer("C-2"))))
    assert (held.verdict, len(held.obligations)) == ("hold", 2)
    assert {one.target for one in held.policies} == {'Customer::"C-1"', 'Customer::"C-2"'}
    assert (
        held.message
        == "approval of 2 distinct members of `security-leads` is required by `suspension-needs-two` (policies/billing.cedar:15)"
    )


def test_several_kinds_of_denial_are_all_told_the_gravest_giving_the_code() -> None:
    asked = question(PROFILE, {"customer_id": "C"}, by=principals("reader-bot", "dana"), on=(customer(tenant="globex"), customer("C-1")))
    decision = engine().decide(asked)
    assert (decision.verdict, decision.code) == ("deny", "forbidden")
    assert decision.message == (
        'denied by `tenant-wall` (policies/base.cedar:2) for Agent::"reader-bot" and User::"dana" on Customer::"C-412": '
        'targets of other tenants are out of reach; no policy permits User::"dana" to use `customer.profile` on Customer::"C-1"'
    )


def test_many_targets_are_told_as_a_list_and_counted_past_five() -> None:
    targets = tuple(customer(f"C-{number}") for number in range(7))
    decision = engine(BILLING_ONLY).decide(question(SUSPEND, {"customer_ids": []}, on=targets))
    assert decision.message == (
        'no policy permits Agent::"support-bot" or User::"alice" to use `account.suspend` on '
        'Customer::"C-0", Customer::"C-1", Customer::"C-2", Customer::"C-3", Customer::"C-4" or 2 more'
    )


def test_obligations_add_up_and_the_hardest_gives_the_code() -> None:
    more = BILLING + (
        '@id("confirm") @require_confirmation @reason("it is money") forbid (principal is User, action == Action::"billing.adjust", resource);\n'
    )
    asked = question(arguments={"customer_id": "C", "amount_cents": 20_000})
    held = engine({"policies/base.cedar": BASE, "policies/billing.cedar": more}).decide(asked)
    assert (held.verdict, held.code) == ("hold", "approval_required")
    assert [(owed.kind, owed.policy, owed.principal) for owed in held.obligations] == [
        ("approval", "billing-needs-lead", BOTH[0]),
        ("approval", "billing-needs-lead", BOTH[1]),
        ("confirmation", "confirm", BOTH[1]),
    ]
    assert held.message.endswith("; confirmation by the user is required by `confirm` (policies/billing.cedar:18): it is money")
    small = engine({"policies/base.cedar": BASE, "policies/billing.cedar": more}).decide(question())
    assert (small.verdict, small.code) == ("hold", "confirmation_required")


def test_preview_only_is_never_discharged() -> None:
    held = engine('@id("a") permit (principal, action, resource); @id("p") @preview_only forbid (principal, action, resource);').decide(
        question()
    )
    assert (held.verdict, held.code) == ("hold", "preview_only")
    assert held.message == "only a preview is permitted by `p` (policies/test.cedar:1)"
    assert discharge(held, {("p", principal) for principal in BOTH}) == held


def test_discharging_leaves_anything_but_a_hold_alone() -> None:
    loaded = engine()
    for decision in (loaded.decide(question()), loaded.decide(question(on=(customer(tenant="globex"),)))):
        assert discharge(decision, {("billing-needs-lead", principal) for principal in BOTH}) is decision
    held = loaded.decide(question(arguments={"customer_id": "C", "amount_cents": 20_000}))
    assert discharge(held, {("billing-needs-lead", 'User::"bob"'), ("tenant-wall", BOTH[0])}) is held


def test_a_hold_without_permits_never_becomes_an_allow() -> None:
    held = engine().decide(question(arguments={"customer_id": "C", "amount_cents": 20_000}))
    forged = structs.replace(held, policies=tuple(one for one in held.policies if one.effect == "forbid"))
    after = discharge(forged, {("billing-needs-lead", principal) for principal in BOTH})
    assert (after.verdict, after.code) == ("deny", "policy_error")


def test_a_tool_without_template_acts_on_the_tenant() -> None:
    decision = engine().decide(question(STATUS, {}, on=(tenant(),)))
    assert (decision.verdict, {one.target for one in decision.policies}) == ("allow", {'Tenant::"acme"'})
    assert engine().decide(question(STATUS, {}, on=(tenant("globex"),))).code == "forbidden"


def test_staging_and_production_are_different_permissions() -> None:
    loaded = engine('@id("logs") permit (principal, action in Action::"read", resource) when { resource.environment == "staging" };')
    for environment, verdict in (("staging", "allow"), ("production", "deny")):
        target = structs.replace(customer(), environment=environment)
        assert loaded.decide(question(PROFILE, {"customer_id": "C"}, on=(target,))).verdict == verdict


def test_policies_see_session_meters_time_and_the_rest_of_the_caller() -> None:
    policy = (
        '@id("x") permit (principal is User, action, resource) when { !context.session.labels.contains("tainted") && context.session.calls < 3 '
        '&& context.meters.spent < 10 && context.now < datetime("2027-01-01") && context has agent && context.agent == Agent::"support-bot" };'
        '@id("y") permit (principal is Agent, action, resource) when { context has on_behalf_of && context.on_behalf_of == User::"alice" };'
    )
    loaded = engine(policy, meters=("spent",))
    ask = partial(question, meters={"spent": 1})
    assert loaded.decide(ask()).verdict == "allow"
    assert loaded.decide(ask(session_labels=("tainted",))).code == "no_permit"
    assert loaded.decide(ask(session_calls=3)).code == "no_permit"
    assert loaded.decide(ask(now=NOW.replace(year=2028))).code == "no_permit"
    assert loaded.decide(ask(by=principals("reader-bot"))).code == "no_permit"
    assert loaded.decide(ask(by=principals(user="bob"))).code == "no_permit"
    assert loaded.decide(question(meters={"spent": 11})).code == "no_permit"
    without = loaded.decide(question())
    assert (without.code, without.message) == (
        "policy_error",
        "the call could not be decided, which is a denial: `meters` `spent` is missing",
    )
    naive = loaded.decide(ask(now=NOW.replace(tzinfo=None)))
    assert (naive.code, naive.message) == ("policy_error", "the call could not be decided, which is a denial: `now` is not a time in UTC")


def test_one_target_described_in_two_ways_is_a_denial() -> None:
    decision = engine().decide(question(on=(customer(), customer(vip=True))))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")
    assert decision.message.endswith('the target Customer::"C-412" is described in two ways')


def test_the_context_for_the_record_holds_everything_policies_can_see_and_never_raises() -> None:
    loaded = engine(meters=("spent",))
    asked = question(meters={"spent": 3}, session_labels=("a",), session_calls=2)
    assert loaded.context(asked, asked.principals[1]) == {
        "environment": "production",
        "now": "2026-11-22T09:30:00.000Z",
        "local": {"weekday": 7, "hour": 9, "minute": 30, "date": "2026-11-22"},
        "input": {"customer_id": "C-412", "amount_cents": 2500},
        "session": {"labels": ["a"], "calls": 2},
        "meters": {"spent": 3},
        "agent": {"type": "Agent", "id": "support-bot"},
    }
    broken = question(arguments={"amount_cents": "x"})
    assert "input" not in loaded.context(broken, broken.principals[0])
    assert loaded.context(question(tool("t.unknown", {})), asked.principals[0]) == {}


def test_could_permit_tells_whether_any_permit_could_ever_match() -> None:
    loaded = engine()
    agent, user = principals()
    reader, bob = principals("reader-bot", "bob")
    assert [loaded.could_permit(ADJUST, one) for one in (agent, user, reader, bob)] == [True, True, False, False]
    assert [loaded.could_permit(PROFILE, one) for one in (agent, reader, bob)] == [True, True, True]


def test_the_schema_and_the_bundle_are_known_by_their_bytes() -> None:
    first, second = engine(), engine()
    assert (first.schema, first.schema_digest, first.bundle.digest) == (second.schema, second.schema_digest, second.bundle.digest)
    assert hashlib.sha256(first.schema).hexdigest() == first.schema_digest


def test_many_threads_get_the_same_decisions_as_one() -> None:
    loaded, alone = engine(), engine()
    asked = [
        question(arguments={"customer_id": name, "amount_cents": amount}, on=(customer(name, where),), by=principals(user=user))
        for name in ("C-1", "C-2")
        for amount in (1, 20_000, 2_000_000)
        for where in ("acme", "globex")
        for user in ("alice", "bob")
    ]
    expected = [alone.decide(one) for one in asked]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [loaded.decide(one) for one in asked], range(24)):
            assert found == expected


def test_what_is_remembered_is_bounded() -> None:
    loaded = engine()
    for number in range(ENTITY_SETS + 50):
        assert loaded.decide(question(on=(customer(f"C-{number}"),))).verdict == "allow"
    assert loaded._entities.cache_info().currsize == ENTITY_SETS
    assert loaded._callers.cache_info().currsize == 1
    assert loaded._slices.cache_info().currsize == 1


def test_a_target_that_changed_is_decided_on_as_it_is_now() -> None:
    loaded = engine('@id("vip") permit (principal, action, resource) when { resource has vip && resource.vip };')
    changing = {"vip": True}
    target = structs.replace(customer(), attributes=changing)
    assert loaded.decide(question(on=(target,))).verdict == "allow"
    changing["vip"] = False
    assert loaded.decide(question(on=(target,))).code == "no_permit"


def test_a_principal_whose_roles_changed_is_decided_on_as_it_is_now() -> None:
    loaded = engine()
    alice = principals()[1]
    assert loaded.decide(question(by=(alice,))).verdict == "allow"
    assert loaded.decide(question(by=(structs.replace(alice, roles=("support",)),))).code == "no_permit"
