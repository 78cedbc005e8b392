"""Cells of the matrix never say what some call would belie."""

from __future__ import annotations

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from licet.errors import PolicyInvalid
from licet.gate.results import Denied, Held, Ok
from licet.model import Principal
from licet.policy.environments import Speaking, environments_of
from licet.policy.matrix import Cell, Standing, cell_of, joined
from tests.world import CONFIG, POLICIES, World, world

HELD = '@id("p") permit (principal, action, resource); @id("f") @require_approval("1 of Group::\\"billing-leads\\"") '
ENVIRONMENT = "production"
TOOLS = {
    "crm.lookup": st.fixed_dictionaries({"customer_id": st.sampled_from(["C-1", "C-2", "G-1", "C-9"])}),
    "billing.adjust": st.fixed_dictionaries({"customer_id": st.sampled_from(["C-1", "C-2"]), "amount_cents": st.integers(-5, 2_000_000)}),
    "account.suspend": st.fixed_dictionaries({"customer_id": st.sampled_from(["C-1", "C-2"])}),
}
CALLS = st.sampled_from(sorted(TOOLS)).flatmap(lambda name: st.tuples(st.just(name), TOOLS[name]))
CALLERS = st.sampled_from(
    [("support-bot", "alice"), ("support-bot", "carl"), ("night-bot", None), ("free-bot", "alice"), ("free-bot", None)]
)


def standings(w: World, agent: str, user: str | None, tool: str) -> list[Standing]:
    """Of every principal of such a call."""
    directory = w.gate.scene.directory
    found = [Principal(kind="Agent", id=agent, tenant="acme", roles=directory.agents[agent].roles)]
    if user is not None:
        groups = tuple(name for name in directory.groups if directory.is_member(user, name))
        found.append(Principal(kind="User", id=user, tenant="acme", roles=directory.users[user].roles, groups=groups))
    return [cell_of(w.gate.scene.engine, tool, one, Speaking(ENVIRONMENT)).standing for one in found]


@given(call=CALLS, caller=CALLERS)
def test_no_call_belies_its_cells(call: tuple[str, dict[str, object]], caller: tuple[str, str | None]) -> None:
    tool, arguments = call
    agent, user = caller
    with world() as w:
        with w.gate.acting(agent=agent, user=user, tenant="acme"):
            result = w.gate.call(tool, arguments)
        found = standings(w, agent, user, tool)
    if isinstance(result, Ok):
        assert not {"deny", "hold"} & {*found}, (found, result)
    elif isinstance(result, Held):
        assert "deny" not in found
        assert {"hold", "mix"} & {*found}
    elif isinstance(result, Denied) and result.decision.code in {"forbidden", "no_permit", "not_permitted", "policy_error"}:
        assert {*found} - {"allow"}, result.decision


@pytest.mark.parametrize(
    ("policies", "standing"),
    [
        ("", "deny"),
        ('@id("p") permit (principal, action, resource);', "allow"),
        ('@id("p") permit (principal in Role::"billing", action, resource);', "deny"),
        ('@id("p") permit (principal, action in Action::"write", resource);', "deny"),
        ('@id("p") permit (principal, action, resource is Customer);', "conditional"),
        ('@id("p") permit (principal, action, resource) when { context.session.calls < 3 };', "conditional"),
        ('@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource);', "deny"),
        ('@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource is Customer);', "conditional"),
        (
            HELD + "forbid (principal, action, resource);",
            "hold",
        ),
        (
            HELD + "forbid (principal, action, resource) when { context.session.calls > 3 };",
            "mix",
        ),
    ],
)
def test_each_standing(policies: str, standing: Standing) -> None:
    """Of an agent whose only role is `support`, for a tool that reads."""
    other = '@id("other") permit (principal in Role::"security", action, resource);'
    with world(CONFIG, other + policies) as w:
        w.gate.seal()
        agent = Principal(kind="Agent", id="night-bot", tenant="acme", roles=("support",))
        assert cell_of(w.gate.scene.engine, "crm.lookup", agent, Speaking(ENVIRONMENT)).standing == standing


def test_the_small_worlds_own_cells() -> None:
    with world(CONFIG, POLICIES) as w:
        w.gate.seal()
        assert standings(w, "support-bot", None, "account.suspend") == ["hold"]
        assert standings(w, "support-bot", None, "billing.adjust") == ["mix"]
        assert standings(w, "night-bot", None, "billing.adjust") == ["deny"]
        assert standings(w, "night-bot", None, "crm.lookup") == ["conditional"]


@pytest.mark.parametrize(
    ("found", "standing"),
    [
        (["allow", "allow"], "allow"),
        (["allow", "deny"], "conditional"),
        (["conditional", "deny"], "conditional"),
        (["allow", "hold"], "mix"),
        (["mix", "deny"], "mix"),
        (["hold", "deny"], "hold"),
        (["deny", "deny"], "deny"),
    ],
)
def test_what_several_could_call_is_said_of_all_or_depends(found: list[Standing], standing: Standing) -> None:
    assert joined([Cell(one, (), (), ()) for one in found]).standing == standing


IN_PRODUCTION = 'context.environment == "production"'


@pytest.mark.parametrize(
    ("condition", "here", "elsewhere"),
    [
        (f"when {{ {IN_PRODUCTION} }}", "allow", "deny"),
        (f"unless {{ {IN_PRODUCTION} }}", "deny", "allow"),
        ('when { "production" == context.environment }', "allow", "deny"),
        ('when { context.environment != "production" }', "deny", "allow"),
        ('when { ["production", "test"].contains(context.environment) }', "allow", "deny"),
        ("when { [context.environment].contains(context.environment) }", "conditional", "conditional"),
        (f"when {{ {IN_PRODUCTION} && context.session.calls < 3 }}", "conditional", "deny"),
        (f"when {{ context.session.calls < 3 && {IN_PRODUCTION} }}", "conditional", "deny"),
        (f"when {{ {IN_PRODUCTION} || context.session.calls < 3 }}", "allow", "conditional"),
        (f"when {{ context.session.calls < 3 || {IN_PRODUCTION} }}", "conditional", "conditional"),
        (f"unless {{ context.session.calls < 3 || {IN_PRODUCTION} }}", "deny", "conditional"),
        (f"unless {{ context.session.calls + 1 < 3 || {IN_PRODUCTION} }}", "conditional", "conditional"),
        (f"unless {{ {IN_PRODUCTION} || context.session.calls + 1 < 3 }}", "deny", "conditional"),
        (f"unless {{ context.session.calls < 3 && {IN_PRODUCTION} }}", "conditional", "conditional"),
        (f"when {{ !({IN_PRODUCTION}) }}", "deny", "allow"),
        (f"when {{ if {IN_PRODUCTION} then true else context.session.calls < 3 }}", "allow", "conditional"),
        (f"when {{ {IN_PRODUCTION} }} unless {{ context.session.calls < 3 }}", "conditional", "deny"),
        ('when { resource.environment == "production" }', "conditional", "conditional"),
        ('when { context.environment like "prod*" }', "conditional", "conditional"),
    ],
)
def test_what_an_environment_decides_is_no_condition_there(condition: str, here: Standing, elsewhere: Standing) -> None:
    with world(CONFIG, f'@id("p") permit (principal, action == Action::"crm.lookup", resource) {condition};') as w:
        w.gate.seal()
        agent = Principal(kind="Agent", id="night-bot", tenant="acme", roles=("support",))
        engine = w.gate.scene.engine
        found = [cell_of(engine, "crm.lookup", agent, Speaking(name)).standing for name in ("production", "staging")]
        assert found == [here, elsewhere]
        assert environments_of(engine.bundle.policies) <= {"production", "test"}


ATOMS = st.sampled_from(
    [
        IN_PRODUCTION,
        'context.environment != "production"',
        'context.environment == "staging"',
        '["staging", "test"].contains(context.environment)',
        "true",
        "false",
        "context.session.calls < 2",
        "context.session.calls + 9223372036854775806 > 0",  # an error from the second call on
    ]
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        inner.map("!({})".format),
        st.builds("(if {} then {} else {})".format, inner, inner, inner),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["when", "unless"]), CONDITIONS), min_size=1, max_size=2), st.sampled_from(["", "permit", "forbid"])
)
def test_no_call_belies_what_an_environment_decides(clauses: list[tuple[str, str]], beside: str) -> None:
    written = " ".join(f"{word} {{ {condition} }}" for word, condition in clauses)
    effect = "forbid" if beside == "forbid" else "permit"
    other = '@id("q") permit (principal, action == Action::"crm.lookup", resource);' if beside else ""
    with world(CONFIG, f'{other}@id("p") {effect} (principal, action == Action::"crm.lookup", resource) {written};') as w:
        try:
            w.gate.seal()
        except PolicyInvalid:
            reject()  # it could never match, whatever the environment
        with w.gate.acting(agent="night-bot", tenant="acme", session="one"):
            found = {isinstance(w.gate.call("crm.lookup", {"customer_id": "C-1"}), Ok) for _ in range(4)}
        agent = Principal(kind="Agent", id="night-bot", tenant="acme", roles=("support",))
        standing = cell_of(w.gate.scene.engine, "crm.lookup", agent, Speaking(ENVIRONMENT)).standing
    assert found <= {"allow": {True}, "deny": {False}}.get(standing, {True, False}), (written, standing)


def test_what_may_raise_an_error_lets_nothing_be_always_allowed() -> None:
    permit = '@id("p") permit (principal, action == Action::"crm.lookup", resource);'
    for beside in (
        'forbid (principal, action, resource) when { context.session.calls + 9223372036854775806 > 0 && context.environment == "staging" };',
        "permit (principal, action, resource) when { context.session.calls + 9223372036854775806 > 0 };",
    ):
        with world(CONFIG, f'{permit} @id("q") {beside}') as w:
            with w.gate.acting(agent="night-bot", tenant="acme", session="one"):
                found = [w.gate.call("crm.lookup", {"customer_id": "C-1"}) for _ in range(4)]
            agent = Principal(kind="Agent", id="night-bot", tenant="acme", roles=("support",))
            assert isinstance(found[-1], Denied)
            assert found[-1].decision.code == "policy_error"
            assert cell_of(w.gate.scene.engine, "crm.lookup", agent, Speaking(ENVIRONMENT)).standing == "conditional"
