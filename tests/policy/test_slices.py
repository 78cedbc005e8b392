from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from licet.policy.bundle import Bundle
from licet.policy.shape import Reads
from licet.policy.slices import admits, context_reads, speaks_of
from tests.policy.scene import engine, principals

AGENT, ALICE = principals()
DANA = principals(user="dana")[1]


def tree(scope: str = "principal, action, resource", conditions: str = "") -> Any:
    return Bundle.from_texts({"a.cedar": f'@id("a") permit ({scope}) {conditions};'}).policies[0].tree


@pytest.mark.parametrize(
    ("scope", "speaks"),
    [
        ("action", True),
        ('action == Action::"pay"', True),
        ('action == Action::"write"', False),
        ('action == Action::"refund"', False),
        ('action in Action::"pay"', True),
        ('action in Action::"write"', True),
        ('action in Action::"read"', False),
        ('action in [Action::"read", Action::"touches-money"]', True),
        ('action in [Action::"read", Action::"refund"]', False),
        ("action in []", False),
    ],
)
def test_a_policy_speaks_of_a_tool_unless_its_action_scope_excludes_it(scope: str, *, speaks: bool) -> None:
    assert speaks_of(tree(f"principal, {scope}, resource").action, "pay", frozenset({"write", "touches-money"})) is speaks


@pytest.mark.parametrize(
    ("scope", "admitted"),
    [
        ("principal", [True, True, True]),
        ('principal == User::"alice"', [False, True, False]),
        ('principal == Agent::"alice"', [False, False, False]),
        ('principal in User::"alice"', [False, True, False]),
        ('principal in Role::"billing"', [True, True, False]),
        ('principal in Group::"security-leads"', [False, False, True]),
        ("principal is User", [False, True, True]),
        ('principal is User in Role::"support"', [False, True, False]),
        ('principal is Agent in Role::"support"', [True, False, False]),
    ],
)
def test_a_principal_scope_admits_whom_cedar_would_admit(scope: str, admitted: list[bool]) -> None:
    assert [admits(tree(f"{scope}, action, resource").principal, one) for one in (AGENT, ALICE, DANA)] == admitted


def test_a_scope_of_an_unknown_form_is_an_error_and_never_a_match() -> None:
    strange: Any = SimpleNamespace()
    with pytest.raises(ValueError, match="unknown form of action scope: SimpleNamespace"):
        speaks_of(strange, "pay", frozenset())
    with pytest.raises(ValueError, match="unknown form of principal scope: SimpleNamespace"):
        admits(strange, ALICE)


@pytest.mark.parametrize(
    ("conditions", "reads"),
    [
        ("", {}),
        ("when { principal == resource }", {}),
        ("when { context.input.a > 1 }", {"input": {"a": None}}),
        ("when { context.input.a.b > 1 } unless { context.input.c }", {"input": {"a": {"b": None}, "c": None}}),
        ("when { context.input has a }", {"input": {"a": {}}}),
        ("when { context.input has a && context.input.a.b == 1 }", {"input": {"a": {"b": None}}}),
        ("when { context.input.a == 1 && context.input has a }", {"input": {"a": None}}),
        ('when { context.input["x y"] == 1 }', {"input": {"x y": None}}),
        ("when { context has agent && context.agent.tenant == principal.tenant }", {"agent": {"tenant": None}}),
        ("when { context.input == {a: 1} && context.input.b == 1 }", {"input": None}),
        ("when { context.input.b == 1 && context.input == {a: 1} }", {"input": None}),
        ("when { (if true then context else context).a == 1 }", None),
        ("when { [context.now] == [context.now] }", {"now": None}),
        ("when { {x: context}.x.a == 1 }", None),
        ("when { context == {} }", None),
        ('when { (context).input.a like "*" || !context.flag }', {"input": {"a": None}, "flag": None}),
    ],
)
def test_what_is_read_of_the_context_is_every_path_and_the_whole_where_it_is_used_whole(conditions: str, reads: Reads) -> None:
    assert context_reads([tree(conditions=conditions)]) == reads


def test_what_is_read_of_several_policies_is_the_union() -> None:
    trees = [
        tree(conditions=f"when {{ {text} }}") for text in ("context.input has a", "context.input.a.b == 1", "context.now == context.now")
    ]
    assert context_reads(trees) == {"input": {"a": {"b": None}}, "now": None}


def test_policies_about_other_tools_and_other_principals_are_not_in_the_slice() -> None:
    loaded = engine()
    assert [policy.id for policy in loaded.frame("billing.adjust").policies] == ["tenant-wall", "billing-adjust", "billing-needs-lead"]
    assert list(loaded.slice("customer.profile", (ALICE,)).policies) == ["tenant-wall", "support-reads"]
    assert list(loaded.slice("customer.profile", (DANA,)).policies) == ["tenant-wall"]
    assert list(loaded.slice("customer.profile", (DANA, AGENT)).policies) == ["tenant-wall", "support-reads"]
    with pytest.raises(KeyError):
        loaded.frame("nobody.knows")
