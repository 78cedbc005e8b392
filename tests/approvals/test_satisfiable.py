"""Rules that nobody can meet: each reason, and that a rule which somebody can meet is never told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from licet.approvals.satisfiable import Problem, find_ownerless, find_unsatisfiable
from licet.approvals.standing import find_unmeetable
from licet.catalog.spec import Catalog, ToolSpec
from licet.config import loads
from licet.errors import CallerRefused
from licet.identity.directory import Directory
from licet.model import Caller, CallId, Request, RequestId, RequestState
from licet.policy.bundle import Bundle
from licet.policy.engine import Engine
from licet.policy.rules import rules_of
from tests.approvals.room import NOW

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}
PERMITS = '@id("permit") permit (principal in Role::"clerk", action, resource);\n'


def catalog() -> Catalog:
    made = Catalog()
    for name, access in (("pay", "write"), ("send", "write"), ("look", "read")):
        made.add_tool(ToolSpec(name=name, access="read" if access == "read" else "write", input_schema=SCHEMA))
    return made


@dataclass
class Town:
    """A directory in the making: alice and bea are clerks in acme, for whom the agent `bot` acts."""

    bot: str = 'tenants = ["acme"]\nroles = ["clerk"]'
    more: str = ""
    groups: str = 'leads = ["bea"]'
    rules: list[str] = field(default_factory=list)

    def directory(self) -> Directory:
        text = f"""
environment = "test"
roles = ["clerk"]
[tenants.acme]
[tenants.globex]
[agents.bot]
{self.bot}
[users.alice]
tenants = ["acme"]
roles = ["clerk"]
[users.bea]
tenants = ["acme"]
roles = ["clerk"]
[users.bea-two]
tenants = ["acme"]
person = "bea"
[users.carl]
tenants = ["acme"]
[users.zoe]
tenants = ["acme"]
disabled = true
[users.gina]
tenants = ["globex"]
roles = ["clerk"]
{self.more}
[groups]
{self.groups}
"""
        return Directory.from_settings(loads(text, file=Path("/nowhere/licet.toml")))

    def bundle(self) -> Bundle:
        return Bundle.from_texts({"p.cedar": PERMITS + "\n".join(self.rules)})

    def problems(self) -> tuple[Problem, ...]:
        directory = self.directory()
        Engine.load(self.bundle(), catalog(), directory)  # what is told is told of policies that load
        return find_unsatisfiable(rules_of(self.bundle(), catalog()), directory)

    def told(self) -> list[tuple[str, str, str, tuple[str, ...], bool, bool]]:
        return [(one.policy, one.code, one.tenant, one.actors, one.everywhere, one.hopeless) for one in self.problems()]


def approval(count: int = 1, group: str = "leads", name: str = "rule", scope: str = 'action == Action::"pay"', more: str = "") -> str:
    return f'@id("{name}") @require_approval("{count} of Group::\\"{group}\\"") {more} forbid (principal, {scope}, resource);'


CONFIRM = '@id("sure") @require_confirmation forbid (principal, action == Action::"pay", resource);'
BOT = ('Agent::"bot"',)


def test_a_rule_that_a_lead_who_does_not_ask_can_meet_is_not_told() -> None:
    assert Town(rules=[approval()]).told() == []


@pytest.mark.parametrize(
    ("groups", "count", "code", "people"),
    [
        ("leads = []", 1, "group_empty", 0),
        ('leads = ["zoe"]', 1, "group_too_small", 0),
        ('leads = ["gina"]', 1, "group_too_small", 0),
        ('leads = ["zoe", "gina", "carl"]', 2, "group_too_small", 1),
        ('leads = ["bea", "bea-two"]', 2, "group_too_small", 1),
        ('leads = {members = ["gina"], scope = "operator"}', 1, None, 1),
        ('leads = ["carl", "gina"]', 1, None, 1),
    ],
)
def test_people_who_may_vote_are_counted_as_votes_are(groups: str, count: int, code: str | None, people: int) -> None:
    found = Town(groups=groups, rules=[approval(count)]).problems()
    if code is None:
        assert found == ()
        return
    (problem,) = found
    assert (problem.code, problem.people, problem.asked, problem.group, problem.place) == (code, people, count, "leads", "p.cedar:2")
    assert (problem.actors, problem.everywhere, problem.hopeless) == (BOT, True, True)


def test_a_group_whose_members_are_all_that_ask_cannot_approve() -> None:
    only = Town(groups='leads = ["alice"]', rules=[approval()])
    assert only.told() == [], "bea asks, and alice approves"
    alone = only.directory()
    bundle = Bundle.from_texts({"p.cedar": '@id("permit") permit (principal == User::"alice", action, resource);\n' + approval()})
    assert find_unsatisfiable(rules_of(bundle, catalog()), alone) == (), "no permit admits the agent, so nothing is held"
    bundle = Bundle.from_texts(
        {
            "p.cedar": '@id("bot") permit (principal is Agent, action, resource);\n'
            '@id("alice") permit (principal == User::"alice", action, resource);\n' + approval()
        }
    )
    (problem,) = find_unsatisfiable(rules_of(bundle, catalog()), alone)
    assert (problem.code, problem.people, problem.asked) == ("only_requesters", 1, 1)


def test_an_id_of_the_requester_in_the_group_is_the_requester() -> None:
    town = Town(groups='leads = ["bea-two"]', rules=[approval()])
    policies = {
        "p.cedar": '@id("bot") permit (principal is Agent, action, resource);\n@id("b") permit (principal == User::"bea", action, resource);\n'
        + approval()
    }
    (problem,) = find_unsatisfiable(rules_of(Bundle.from_texts(policies), catalog()), town.directory())
    assert problem.code == "only_requesters"


def test_an_agent_that_acts_for_itself_has_nobody_to_confirm() -> None:
    night = '[agents.night]\ntenants = ["acme"]\nroles = ["clerk"]\nacts_for = "self"'
    assert Town(rules=[CONFIRM]).told() == []
    assert Town(rules=[CONFIRM], more=night).told() == [("sure", "nobody_to_confirm", "acme", ('Agent::"night"',), False, False)]
    assert Town(rules=[CONFIRM], bot='tenants = ["acme"]\nroles = ["clerk"]\nacts_for = "self"').told() == [
        ("sure", "nobody_to_confirm", "acme", BOT, True, True)
    ]
    assert Town(rules=[CONFIRM], bot='tenants = ["acme"]\nroles = ["clerk"]\nacts_for = "both"').told() == []


APART = approval(more='@separation("agent-owner")')


def test_separation_from_the_owner_can_leave_too_few() -> None:
    owned = 'tenants = ["acme"]\nroles = ["clerk"]\nowner = "bea-two"'
    assert Town(rules=[approval()], bot=owned).told() == []
    assert Town(rules=[APART], bot=owned).told() == [("rule", "agent_owner", "acme", BOT, True, True)]
    assert Town(rules=[APART], bot=owned, groups='leads = ["bea", "carl"]').told() == []
    other = '[agents.other]\ntenants = ["acme"]\nroles = ["clerk"]'
    assert Town(rules=[APART], bot=owned, more=other).told() == [("rule", "agent_owner", "acme", BOT, False, False)]


def test_an_agent_without_an_owner_is_told_where_a_rule_keeps_owners_apart() -> None:
    def ownerless(town: Town) -> dict[str, tuple[str, ...]]:
        return find_ownerless(rules_of(town.bundle(), catalog()), town.directory())

    assert ownerless(Town(rules=[approval()])) == {}
    assert ownerless(Town(rules=[APART])) == {"rule": ("bot",)}
    assert ownerless(Town(rules=[APART], bot='tenants = ["acme"]\nroles = ["clerk"]\nowner = "carl"')) == {}
    assert ownerless(Town(rules=[APART], bot='tenants = ["acme"]')) == {}, "no permit admits it"


def test_each_tenant_where_an_actor_works_is_told_by_itself() -> None:
    both = 'tenants = ["*"]\nroles = ["clerk"]'
    assert Town(rules=[approval()], bot=both).told() == [("rule", "group_too_small", "globex", BOT, True, False)]
    assert Town(rules=[approval()], bot=both, groups='leads = {members = ["bea"], scope = "operator"}').told() == []
    service = '[services.bot]\ntenants = ["globex"]\nroles = ["clerk"]'
    assert Town(rules=[approval()], more=service).told() == [("rule", "group_too_small", "globex", ('Service::"bot"',), True, False)]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        # One person cannot be two.
        ([approval(), approval(name="other")], [("other", "together", "pay", ("rule",))]),
        ([approval(), approval(name="other", scope='action == Action::"send"')], []),
        ([approval(scope='action in Action::"write"'), approval(name="other", scope='action == Action::"send"')], [("other", "together", "send", ("rule",))]),
        # One with a condition may never meet another with a condition; beside one without, it always does.
        ([approval() + " ", approval(name="other").replace(";", " when { context.session.calls > 3 };")], [("other", "together", "pay", ("rule",))]),
        (
            [
                approval().replace(";", " when { context.session.calls <= 3 };"),
                approval(name="other").replace(";", " when { context.session.calls > 3 };"),
            ],
            [],
        ),
        ([approval(), approval(group="others", name="other")], []),
        ([approval(), CONFIRM], []),
    ],
)  # fmt: skip
def test_rules_that_hold_the_same_calls_need_people_for_each(rules: list[str], told: list[tuple[Any, ...]]) -> None:
    found = Town(rules=rules, groups='leads = ["carl"]\nothers = ["bea", "carl"]').problems()
    assert [(one.policy, one.code, one.tool, one.beside) for one in found] == told


def test_a_rule_that_holds_no_known_call_says_nothing() -> None:
    nobody = Town(groups="leads = []", rules=[approval()], bot='tenants = ["acme"]')
    assert nobody.told() == [], "no permit admits the agent"
    assert Town(groups="leads = []", rules=[approval(scope='action in Action::"destructive"')]).told() == []
    preview = '@id("look-only") @preview_only forbid (principal, action, resource);'
    assert Town(rules=[preview]).told() == []


def test_ten_thousand_users_are_looked_at_as_the_few_kinds_that_they_are() -> None:
    many = "\n".join(f'[users.u{number}]\ntenants = ["acme"]\nroles = ["clerk"]' for number in range(10_000))
    town = Town(more=many, groups="leads = []", rules=[approval(), approval(name="other", scope="action")])
    assert {one.code for one in town.problems()} == {"group_empty"}


PEOPLE = ("alice", "bea", "bea-two", "carl", "zoe", "gina")


@given(
    groups=st.tuples(*(st.sets(st.sampled_from(PEOPLE)) for _ in range(2))),
    counts=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    acts_for=st.sampled_from(("user", "self", "both")),
    owner=st.sampled_from((None, *PEOPLE)),
    kinds=st.tuples(*(st.sampled_from(("approval", "apart", "confirmation")) for _ in range(2))),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_told_is_what_every_call_would_meet_one_by_one(
    groups: tuple[set[str], ...], counts: tuple[int, int], acts_for: str, owner: str | None, kinds: tuple[str, str]
) -> None:
    """The naive way: every caller there is, each rule's request, and the gate's own count."""
    owned = f'\nowner = "{owner}"' if owner else ""
    town = Town(
        bot=f'tenants = ["*"]\nroles = ["clerk"]\nacts_for = "{acts_for}"{owned}',
        groups=f"g0 = {sorted(groups[0])}\ng1 = {sorted(groups[1])}".replace("'", '"'),
        rules=[
            CONFIRM.replace("sure", f"r{at}")
            if kind == "confirmation"
            else approval(counts[at], f"g{at}", f"r{at}", more='@separation("agent-owner")' if kind == "apart" else "")
            for at, kind in enumerate(kinds)
        ],
    )
    directory = town.directory()
    rules = rules_of(town.bundle(), catalog())
    told = {(one.policy, one.tenant) for one in town.problems() if one.code != "together"}
    for tenant in ("acme", "globex"):
        for rule in rules:
            meetable = []
            for user in (None, *PEOPLE):
                caller = Caller(tenant=tenant, agent="bot", user=user)
                try:
                    principals = directory.principals(caller)
                except CallerRefused:
                    continue
                if all("clerk" in principal.roles for principal in principals):
                    asked = Request(
                        id=RequestId("r"), key="", tenant=tenant, tool="pay", agent="bot", service=None, user=user, call=CallId("c"),
                        state=RequestState.OPEN, opened_at=NOW, expires_at=NOW,
                        obligations=(rule.obligation_for(principals[0]),), preview_digest=None, summary=Raw(b"{}"),
                    )  # fmt: skip
                    meetable.append(find_unmeetable(asked, directory) is None)
            assert ((rule.policy.id, tenant) in told) == (bool(meetable) and not any(meetable))


def with_preview() -> Catalog:
    made = catalog()
    made.add_tool(ToolSpec(name="pay.preview", access="read", input_schema=SCHEMA))
    return made


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ([approval()], []),
        ([approval(scope='action in Action::"write"')], []),
        ([approval(scope="action")], [("rule", "preview_denied", "pay")]),
        ([approval(), '@id("never") forbid (principal, action == Action::"pay.preview", resource);'], [("rule", "preview_denied", "pay")]),
        ([approval(), '@id("never") forbid (principal is Service, action == Action::"pay.preview", resource);'], []),
        ([approval(), '@id("late") forbid (principal, action, resource) when { context.local.hour > 17 };'], []),
        ([approval(scope="action") .replace(";", " when { context.session.calls > 3 };")], []),
    ],
)  # fmt: skip
def test_a_preview_that_is_never_allowed_keeps_a_rule_from_being_met(policies: list[str], told: list[tuple[str, str, str]]) -> None:
    town = Town(rules=policies)
    Engine.load(town.bundle(), with_preview(), town.directory())
    found = find_unsatisfiable(rules_of(town.bundle(), with_preview()), town.directory())
    assert [(one.policy, one.code, one.tool) for one in found] == told
    assert all(not one.hopeless for one in found)


def test_a_preview_that_no_permit_is_about_is_never_allowed() -> None:
    permit = '@id("pays") permit (principal in Role::"clerk", action == Action::"pay", resource);\n'
    bundle = Bundle.from_texts({"p.cedar": permit + approval()})
    (problem,) = find_unsatisfiable(rules_of(bundle, with_preview()), Town().directory())
    assert (problem.code, problem.tool) == ("preview_denied", "pay")
    assert find_unsatisfiable(rules_of(bundle, catalog()), Town().directory()) == ()
