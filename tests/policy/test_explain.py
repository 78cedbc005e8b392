from __future__ import annotations

import pytest

from licet.policy.bundle import Bundle
from licet.policy.conditions import parts
from licet.policy.explain import explain
from tests.policy.scene import ADJUST, PROFILE, TEXTS, customer, engine, principals, question, tool

GUARDED = """
@id("noted") permit (principal in Role::"support", action == Action::"billing.adjust", resource)
when { context.input has note && context.input.note == "ok" && resource.vip };
"""


def texts_of(policy: str) -> list[str]:
    return [part.text for part in parts(Bundle.from_texts({"p.cedar": f'@id("x") {policy}'}).policies[0])]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("permit (principal, action, resource);", []),
        ('permit (principal == User::"a", action, resource is Customer);', ['principal == User::"a"', "resource is Customer"]),
        ('permit (principal is User in Role::"a", action, resource);', ['principal is User in Role::"a"']),
        (
            'permit (principal, action, resource) when { context.a == "x && \\"y" && // so && on\n  [1, 2].contains(context.b) };',
            ['context.a == "x && \\"y"', "[1, 2].contains(context.b)"],
        ),
        ("permit (principal, action, resource) when { context.a || context.b && context.c };", ["context.a || context.b && context.c"]),
        ("permit (principal, action, resource) when { (context.a && context.b) && context.c };", ["(context.a && context.b)", "context.c"]),
        (
            "permit (principal, action, resource) when { if context.a then context.b && context.c else false };",
            ["if context.a then context.b && context.c else false"],
        ),
        (
            "permit (principal, action, resource) when { context.a } unless { context.b || context.c } when { context.d };",
            ["context.a", "unless context.b", "unless context.c", "context.d"],
        ),
        ("permit (principal, action, resource) unless { context.b && context.c };", ["unless context.b && context.c"]),
    ],
)
def test_conditions_are_cut_where_the_policy_joins_them_and_shown_as_written(policy: str, expected: list[str]) -> None:
    assert texts_of(policy) == expected


def test_the_nearest_permit_and_its_failed_condition_are_named() -> None:
    asked = question(arguments={"customer_id": "C-412", "amount_cents": 2_000_000}, by=principals()[1:])
    found = explain(engine(), asked)
    assert (found.decision.verdict, found.decision.code) == ("deny", "no_permit")
    (why,) = found.unpermitted
    assert why.nearest is not None
    assert (why.principal, why.target) == ('User::"alice"', 'Customer::"C-412"')
    assert (why.nearest.policy, why.nearest.failed) == ("billing-adjust", ("context.input.amount_cents <= 1000000",))
    first, second = found.lines()
    assert first == 'no policy permits User::"alice" to use `billing.adjust` on Customer::"C-412"'
    assert second == (
        'User::"alice" on Customer::"C-412": the nearest permit is `billing-adjust` (policies/billing.cedar:1); '
        "not so: `context.input.amount_cents <= 1000000`"
    )


def test_a_missing_role_is_reported_as_such_for_the_principal_that_lacks_it() -> None:
    found = explain(engine(), question(by=principals(user="bob")))
    assert found.decision.code == "no_permit"
    (why,) = found.unpermitted
    assert why.principal == 'User::"bob"'
    assert why.nearest is not None
    assert why.nearest.failed == ('principal in Role::"billing"',)


@pytest.mark.parametrize(
    ("arguments", "failed"),
    [
        ({}, ("context.input has note", "resource.vip")),
        ({"note": "no"}, ('context.input.note == "ok"', "resource.vip")),
        ({"note": "ok"}, ("resource.vip",)),
    ],
)
def test_a_guarded_condition_is_blamed_only_where_its_guard_holds(arguments: dict[str, str], failed: tuple[str, ...]) -> None:
    asked = question(arguments={"customer_id": "C", "amount_cents": 1, **arguments}, by=principals()[1:])
    (why,) = explain(engine(GUARDED), asked).unpermitted
    assert why.nearest is not None
    assert why.nearest.failed == failed


def test_no_permit_about_the_tool_is_said() -> None:
    found = explain(engine(GUARDED), question(PROFILE, {"customer_id": "C"}, by=principals()[1:]))
    assert found.unpermitted[0].nearest is None
    assert found.lines()[-1] == 'User::"alice" on Customer::"C-412": no permit is about this tool'


def test_a_plain_forbid_is_explained_by_the_decision_alone() -> None:
    found = explain(engine(TEXTS), question(on=(customer(tenant="globex"),)))
    assert found.decision.code == "forbidden"
    assert found.unpermitted == ()
    assert found.errors == ()


def test_an_error_is_told_in_the_engine_s_words_to_the_operator_only() -> None:
    overflow = tool("t.sum", {"a": {"type": "integer"}}, "Customer::c")
    loaded = engine('@id("sum") permit (principal, action, resource) when { context.input.a + 1 > 0 };', overflow)
    found = explain(loaded, question(overflow, {"a": 2**63 - 1}, by=principals()[1:]))
    assert (found.decision.verdict, found.decision.code) == ("deny", "policy_error")
    assert "9223372036854775807" not in found.decision.message
    assert "overflow" in found.errors[0]


def test_an_allow_and_a_hold_need_no_explanation() -> None:
    assert explain(engine(), question()).lines() == ["allowed by `billing-adjust` (policies/billing.cedar:1)"]
    assert explain(engine(), question(ADJUST, {"customer_id": "C", "amount_cents": 20_000})).decision.verdict == "hold"
