from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.config import loads
from licet.errors import PolicyInvalid
from licet.identity.directory import Directory
from licet.model import EntityRef
from licet.policy.bundle import OWN_FILE, Bundle
from licet.policy.own import GROUPS, OWN_ACTIONS, Asker, OwnAction, OwnPolicies, default_text
from tests.world import CONFIG

DIRECTORY = Directory.from_settings(loads(CONFIG, file=Path("/nowhere/licet.toml")))
DEFAULT = OwnPolicies.from_text(default_text())
AGENT = Asker(type="Client", id="k", method="api_key", roles=("licet-agent",))
AUDITOR = Asker(type="Client", id="k", method="api_key", roles=("licet-auditor",))
ADMIN = Asker(type="User", id="root", method="jwt", roles=("licet-admin",))
LENA = Asker(type="User", id="lena", method="jwt", groups=("billing-leads",))
CARL = Asker(type="User", id="carl", method="jwt")


def _permitted(asker: Asker, policies: OwnPolicies = DEFAULT) -> set[str]:
    return {action for action in OWN_ACTIONS if policies.decide(asker, action, "acme").allowed}


def test_each_of_the_default_roles_may_do_its_own_and_nothing_else() -> None:
    assert _permitted(AGENT) == GROUPS["agent"]
    assert _permitted(AUDITOR) == GROUPS["auditor"]
    assert _permitted(ADMIN) == GROUPS["admin"] | GROUPS["person"]
    assert _permitted(LENA) == GROUPS["approver"] | GROUPS["person"]
    assert _permitted(CARL) == GROUPS["person"]


def test_nobody_both_asks_and_approves_by_one_role() -> None:
    assert "requests.vote" not in _permitted(AGENT) | _permitted(AUDITOR) | _permitted(ADMIN)
    assert "calls.propose" not in _permitted(ADMIN) | _permitted(LENA) | _permitted(AUDITOR)


def test_a_program_is_in_no_group_whatever_it_is_called() -> None:
    program = Asker(type="Client", id="lena", method="api_key", groups=("billing-leads",))
    assert _permitted(program) == set()


def test_a_decision_names_the_policies_that_made_it() -> None:
    decided = DEFAULT.decide(AUDITOR, "records.read", "acme")
    assert (decided.allowed, decided.policies, decided.why) == (True, ("auditors-look",), "permitted by `auditors-look`")
    denied = DEFAULT.decide(AUDITOR, "freezes.lift", "acme")
    assert (denied.allowed, denied.policies, denied.why) == (False, (), "no policy of `licet.cedar` permits `freezes.lift`")


def test_a_forbid_wins_over_every_permit() -> None:
    policies = OwnPolicies.from_text(
        default_text() + '@id("no-erasure") forbid (principal, action == Action::"erasures.perform", resource);'
    )
    decided = policies.decide(ADMIN, "erasures.perform", "acme")
    assert (decided.allowed, decided.why) == (False, "forbidden by `no-erasure`")
    assert policies.decide(ADMIN, "holds.place", "acme").allowed


def test_a_policy_that_fails_refuses_what_another_permits() -> None:
    broken = '@id("overflow") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };'
    decided = OwnPolicies.from_text(default_text() + broken).decide(AUDITOR, "records.read", "acme")
    assert (decided.allowed, decided.why) == (False, "a policy of `licet.cedar` failed")


def test_tenant_method_and_subject_can_be_asked_for() -> None:
    policies = OwnPolicies.from_text(
        '@id("a") permit (principal, action == Action::"evaluations.ask", resource == Tenant::"acme")'
        ' when { context.method == "mtls" && context has subject && context.subject.type == "User" };'
    )
    asker = Asker(type="Client", id="k", method="mtls")
    assert policies.decide(asker, "evaluations.ask", "acme", EntityRef("User", "alice")).allowed
    assert not policies.decide(asker, "evaluations.ask", "globex", EntityRef("User", "alice")).allowed
    assert not policies.decide(asker, "evaluations.ask", "acme", EntityRef("Agent", "alice")).allowed
    assert not policies.decide(asker, "evaluations.ask", "acme").allowed
    other = Asker(type="Client", id="k", method="api_key")
    assert not policies.decide(other, "evaluations.ask", "acme", EntityRef("User", "alice")).allowed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("permit (principal, action, resource);", "a policy needs an `@id`"),
        ('@id("x") permit (principal, action == Action::"records.raed", resource);', "there is no action `records.raed`"),
        ('@id("x") permit (principal is Agent, action, resource);', "Agent"),
        ('@id("x") permit (principal is User, action, resource) when { principal.role == "admin" };', "attribute `role`"),
        (
            '@id("x") @require_approval("1 of Group::\\"g\\"") forbid (principal, action, resource);',
            "`@require_approval` has no place here",
        ),
        ('@id("x") @preview_only forbid (principal, action, resource);', "`@preview_only` has no place here"),
        ('@id("x") permit (principal, action, resource) when { context.body.role == "admin" };', "body"),
        ("", "there are no policies"),
    ],
    ids=["id", "action", "type", "attribute", "approval", "preview", "context", "empty"],
)
def test_what_could_not_mean_what_it_says_does_not_load(text: str, words: str) -> None:
    with pytest.raises(PolicyInvalid, match=re.escape(words)):
        OwnPolicies.from_text(text)


def test_a_group_that_the_directory_does_not_have_does_not_load(tmp_path: Path) -> None:
    (tmp_path / OWN_FILE).write_text('@id("x") permit (principal in Group::"leeds", action in Action::"admin", resource);')
    with pytest.raises(PolicyInvalid, match="the directory has no group `leeds`"):
        OwnPolicies.read(tmp_path, DIRECTORY)


def test_a_file_that_is_missing_is_told_with_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match="`licet init --own-policies` writes one"):
        OwnPolicies.read(tmp_path, DIRECTORY)


def test_the_file_is_no_part_of_the_policies_about_tools(tmp_path: Path) -> None:
    (tmp_path / OWN_FILE).write_text(default_text())
    (tmp_path / "base.cedar").write_text('@id("a") permit (principal, action, resource);')
    assert [policy.id for policy in Bundle.read(tmp_path).policies] == ["a"]


def test_every_action_is_in_a_group() -> None:
    literals = {name for part in get_args(OwnAction) for name in (get_args(part) or (part,))}
    assert literals == set().union(*GROUPS.values()) == OWN_ACTIONS


@given(
    id_=st.text(max_size=20),
    roles=st.lists(st.text(max_size=12), max_size=3),
    groups=st.lists(st.text(max_size=12), max_size=3),
    tenant=st.text(max_size=12),
    kind=st.sampled_from(["User", "Client"]),
)
def test_no_name_makes_more_of_anybody(id_: str, roles: list[str], groups: list[str], tenant: str, kind: str) -> None:
    asker = Asker(type=kind, id=id_, method="jwt", roles=tuple(roles), groups=tuple(groups))  # type: ignore[arg-type]
    assert not DEFAULT.decide(asker, "erasures.perform", tenant).allowed
