from __future__ import annotations

import pytest

from licet.errors import PolicyInvalid
from licet.policy.engine import Engine
from tests.policy.scene import ADJUST, PROFILE, STATUS, engine, tool

LOOSE = tool(
    "t.loose",
    {
        "ratio": {"type": "number"},
        "filter": {"type": "object"},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "order": {
            "type": "object",
            "properties": {"price": {"type": "number"}, "id": {"type": "string"}},
            "required": ["id"],
            "additionalProperties": False,
        },
    },
    "Customer::c",
    access="write",
)
ABOUT = 'action == Action::"t.loose"'
PRICE = (
    "it uses `context.input.order.price`, which policies cannot see: "
    "it is a floating-point number, which has no exact comparison (in `t.loose`)"
)
NEVER = "it can never match: its conditions are false for every call that its scope admits"
NO_CALL = "its scope admits no call: no tool has such an action, principal and target together"


def loaded(policy: str, **more: tuple[str, ...]) -> Engine:
    return engine(f'@id("x") {policy}', PROFILE, ADJUST, STATUS, LOOSE, **more)


def problems(policy: str) -> list[str]:
    with pytest.raises(PolicyInvalid) as caught:
        loaded(policy)
    start = "policies/test.cedar:1: policy `x`: "
    assert all(problem.startswith(start) for problem in caught.value.problems)
    return [problem.removeprefix(start) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ('permit (principal in Role::"supprt", action, resource);', "the directory has no role `supprt`; did you mean `support`?"),
        (
            'permit (principal in Group::"billing-lead", action, resource);',
            "the directory has no group `billing-lead`; did you mean `billing-leads`?",
        ),
        ('permit (principal == User::"alise", action, resource);', "the directory has no user `alise`; did you mean `alice`?"),
        ('permit (principal == Agent::"x", action, resource);', "the directory has no agent `x`"),
        ('permit (principal == Service::"x", action, resource);', "the directory has no service `x`"),
        ('permit (principal, action, resource in Tenant::"acne");', "the directory has no tenant `acne`; did you mean `acme`?"),
        (
            'permit (principal, action, resource) unless { principal in [Role::"support", Role::"x"] };',
            "the directory has no role `x`",
        ),
        ('permit (principal, action, resource) when { resource.tenant == Tenant::"x" };', "the directory has no tenant `x`"),
        (
            'permit (principal, action, resource) when { context has agent && context.agent == Agent::"x" };',
            "the directory has no agent `x`",
        ),
        (
            '@require_approval("1 of Group::\\"billing-lead\\"") forbid (principal, action, resource);',
            "the directory has no group `billing-lead`, so nobody could ever approve; did you mean `billing-leads`?",
        ),
        (
            "permit (principal, action, resource) unless { resource has vipp };",
            "nothing in scope has the attribute `vipp` that it looks for in `resource`",
        ),
        (
            "permit (principal, action, resource) when { resource.tenant has nme || true };",
            "nothing in scope has the attribute `nme` that it looks for in `resource.tenant`",
        ),
        (
            "permit (principal, action, resource) when { true || context.input has amount_centz };",
            "nothing in scope has the attribute `amount_centz` that it looks for in `context.input`",
        ),
        (
            'permit (principal, action == Action::"customer.profile", resource) when { !(context.input has amount_cents) };',
            "nothing in scope has the attribute `amount_cents` that it looks for in `context.input`",
        ),
        (
            "permit (principal is Agent, action, resource) unless { principal has role };",
            "nothing in scope has the attribute `role` that it looks for in `principal`",
        ),
        ("permit (principal, action, resource) when { false };", NEVER),
        ("permit (principal, action, resource) unless { true };", NEVER),
        ("forbid (principal, action, resource) when { 1 == 2 };", NEVER),
        ("permit (principal, action, resource) when { principal == resource };", NEVER),
        ('permit (principal is Agent, action, resource) when { principal in Group::"billing-leads" };', NEVER),
        ('permit (principal, action == Action::"system.status", resource) when { resource is Customer };', NEVER),
        ('permit (principal, action == Action::"customer.profile", resource) when { action in Action::"write" };', NEVER),
        ('permit (principal, action == Action::"billing.adjust", resource is Tenant);', NO_CALL),
        ('permit (principal is Service in Group::"billing-leads", action, resource);', NO_CALL),
        (
            'permit (principal, action, resource) when { User::"alice" in Role::"support" };',
            'it asks what `User::"alice"` is in, and only the call\'s own principal, target and context are known',
        ),
        (
            'forbid (principal, action, resource) when { Customer::"C-1" has vip };',
            'it reads an attribute of `Customer::"C-1"`, and only the call\'s own principal, target and context are known',
        ),
        ("permit (principal, action, resource) when { context.environment == 3 };", "the types Long and String are not compatible"),
        ("permit (principal, action, resource) when { resource is Custmer };", "unrecognized entity type `Custmer`"),
        (
            'permit (principal, action, resource) when { context.now > datetime("soon") };',
            'error during extension function argument validation: failed to parse as a datetime value: `"soon"`',
        ),
        (
            'permit (principal, action in Action::"destructive", resource) when { context.input.x };',
            "attribute `input.x` in context for any tool in `destructive` (there is none yet) not found",
        ),
        (
            f"permit (principal, {ABOUT}, resource) when {{ context.input has either }};",
            "it uses `context.input.either`, which policies cannot see: it may have several types (in `t.loose`)",
        ),
        (
            f"forbid (principal, {ABOUT}, resource) when {{ context.input.order has price }};",
            PRICE,
        ),
        (
            'forbid (principal, action in Action::"write", resource) when { context.input has filter };',
            "it uses `context.input.filter`, which policies cannot see: it is an object of any form (in `t.loose`)",
        ),
        (
            f'permit (principal, {ABOUT}, resource) when {{ context.input.order == {{id: "x"}} }};',
            PRICE,
        ),
    ],
)
def test_what_looks_right_and_never_does_what_it_says_does_not_load(policy: str, told: str) -> None:
    assert told in problems(policy)


@pytest.mark.parametrize(
    "policy",
    [
        "permit (principal, action, resource) when { resource has vip && resource.vip };",
        'permit (principal, action in Action::"destructive", resource);',
        'permit (principal, action, resource) when { action in Action::"destructive" };',
        'permit (principal, action, resource) when { action == Action::"billing.adjust" };',
        'permit (principal in Role::"auditor", action, resource);',
        'permit (principal, action, resource) // and so\n when { context.session.labels.contains("a") // on\n} // ;\n;',
        'permit (principal, action, resource) when { context has agent && context.agent in Role::"support" };',
        "permit (principal, action, resource) when { context has on_behalf_of && context.on_behalf_of has tenant };",
        'permit (principal, action, resource == Customer::"C-412");',
        'permit (principal, action == Action::"billing.adjust", resource) when { context.input has note && context.input.note like "*x*" };',
        f'permit (principal, {ABOUT}, resource) when {{ context.input.order.id == "x" }};',
        'permit (principal, action, resource) when { resource.tenant in [Tenant::"acme", Tenant::"globex"] };',
        "permit (principal, action, resource) when { principal.tenant.environment == context.environment };",
    ],
)
def test_what_is_right_loads(policy: str) -> None:
    assert loaded(policy).bundle.policies[0].id == "x"


def test_a_misspelt_tool_or_group_is_named_with_the_nearest_one() -> None:
    assert "there is no tool or action group `billing.adjst`; did you mean `billing.adjust`?" in problems(
        'permit (principal, action == Action::"billing.adjst", resource);'
    )
    assert "there is no tool or action group `reed`; did you mean `read`?" in problems(
        'permit (principal, action in Action::"reed", resource);'
    )


def test_a_reserved_member_of_a_group_cannot_be_named() -> None:
    (told,) = problems('permit (principal, action == Action::"touches-nothing-destructive", resource);')
    assert told.startswith("there is no tool or action group `touches-nothing-destructive`")


def test_meters_are_known_only_if_declared() -> None:
    policy = "permit (principal, action, resource) when { context.meters.spent_cents < 100 };"
    assert loaded(policy, meters=("spent_cents",)).bundle.policies
    assert 'attribute `meters.spent_cents` in context for Action::"billing.adjust" not found' in problems(policy)


def test_one_mistake_in_every_tool_is_not_told_for_every_tool() -> None:
    tools = [tool(f"t.n{number}", {}, "Customer::c") for number in range(30)]
    with pytest.raises(PolicyInvalid) as caught:
        engine('@id("x") permit (principal, action, resource) when { context.input.a };', *tools)
    assert len(caught.value.problems) == 9
    assert caught.value.problems[-1] == "policies/test.cedar:1: policy `x`: and 22 more of the like"


def test_every_problem_of_a_bundle_is_reported_at_once_in_its_order() -> None:
    texts = {
        "b.cedar": '@id("b1") permit (principal, action, resource) when { false };',
        "a.cedar": '@id("a1") permit (principal in Role::"x", action, resource);\n@id("a2")\nforbid (principal, action, resource) when { resource has y };',
    }
    with pytest.raises(PolicyInvalid) as caught:
        engine(texts, PROFILE, ADJUST)
    assert caught.value.problems == (
        "a.cedar:1: policy `a1`: the directory has no role `x`",
        "a.cedar:2: policy `a2`: nothing in scope has the attribute `y` that it looks for in `resource`",
        f"b.cedar:1: policy `b1`: {NEVER}",
    )


def test_a_literal_entity_is_found_behind_a_condition_or_in_a_record() -> None:
    only = "and only the call's own principal, target and context are known"
    for asked, problem in {
        'User::"bob" is User in Role::"support"': 'it asks what `User::"bob"` is in',
        '(if principal is User then User::"bob" else principal) in Role::"support"': 'it asks what `User::"bob"` is in',
        '{a: User::"bob"}.a in Role::"support"': 'it asks what `User::"bob"` is in',
        '{a: {b: User::"bob"}}.a.b has tenant': 'it reads an attribute of `User::"bob"`',
        '{a: User::"bob"} has a.tenant': 'it reads an attribute of `User::"bob"`',
        '{a: User::"bob"}.a.tenant == Tenant::"acme"': 'it reads an attribute of `User::"bob"`',
        '(if principal is User then Action::"billing.adjust" else action) in Action::"write"': 'it asks what `Action::"billing.adjust"` is in',
    }.items():
        assert f"{problem}, {only}" in problems(f"forbid (principal, action, resource) when {{ {asked} }};"), asked


def test_a_literal_entity_that_is_only_compared_loads() -> None:
    loaded(f'forbid (principal, {ABOUT}, resource) when {{ {{a: User::"bob"}}.a == principal }};')
    loaded(f'forbid (principal, {ABOUT}, resource) when {{ (if principal == User::"bob" then resource else resource).vip }};')


def test_a_record_that_may_hold_more_than_is_declared_is_not_compared_whole() -> None:
    order = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    asked = tool("t.open", {"order": order}, "Customer::c")
    scope = 'permit (principal, action == Action::"t.open", resource)'
    engine(f'@id("x") {scope} when {{ context.input.order.id == "1" }};', asked)
    with pytest.raises(PolicyInvalid) as caught:
        engine(f'@id("x") {scope} when {{ context.input.order == {{id: "1"}} }};', asked)
    (problem,) = caught.value.problems
    assert problem.endswith(
        "it uses `context.input.order.*`, which policies cannot see: it may have properties that are not declared (in `t.open`)"
    )
