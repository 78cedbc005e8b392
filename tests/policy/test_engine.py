from __future__ import annotations

from licet.policy.obligations import discharge
from tests.policy.scene import PROFILE, customer, engine, principals, question

BOTH = ('Agent::"support-bot"', 'User::"alice"')


def test_a_permit_that_matches_every_principal_allows_and_is_named() -> None:
    decision = engine().decide(question())
    assert (decision.verdict, decision.code) == ("allow", "allowed")
    assert [(one.id, one.effect, one.file, one.line, one.target) for one in decision.policies] == [
        ("billing-adjust", "permit", "policies/billing.cedar", 1, 'Customer::"C-412"')
    ] * 2
    assert tuple(one.principal for one in decision.policies) == BOTH
    assert decision.message == "allowed by `billing-adjust` (policies/billing.cedar:1)"


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
