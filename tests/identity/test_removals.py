"""What is left of a directory when something was removed and the new one cannot be used whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.config import AgentSettings, GroupSettings, ServiceSettings, Settings, TenantSettings, UserSettings, loads
from licet.errors import CallerRefused
from licet.identity.content import ActsFor
from licet.identity.directory import Directory
from licet.model import Caller, Principal

OLD = """
environment = "test"
cross_tenant = [["acme", "globex"]]
[tenants.acme]
[tenants.globex]
[agents.bot]
tenants = ["*"]
roles = ["support", "billing"]
acts_for = "both"
[services.mailer]
tenants = ["acme", "globex"]
roles = ["mail"]
[users.alice]
tenants = ["acme"]
roles = ["support"]
[users.dana]
tenants = ["acme"]
[groups]
leads = { members = ["alice", "dana"], scope = "operator" }
"""


def directory(text: str) -> Directory:
    return Directory.from_settings(loads(text, file=Path("/srv/licet.toml")))


def after(*changes: tuple[str, str]) -> Directory:
    text = OLD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return directory(OLD).with_removals_of(directory(text))


def code_of(here: Directory, caller: Caller) -> str:
    with pytest.raises(CallerRefused) as caught:
        here.principals(caller)
    return caught.value.code


def test_nothing_removed_leaves_everything() -> None:
    assert after().version == directory(OLD).version


def test_what_is_only_added_does_not_enter() -> None:
    text = OLD.replace('roles = ["support"]', 'roles = ["support", "admin"]') + '\n[users.new]\ntenants = ["acme"]\n[tenants.initech]'
    assert directory(OLD).with_removals_of(directory(text)).version == directory(OLD).version


def test_a_removed_user_is_shut_out_at_once_and_votes_no_more() -> None:
    here = after(('[users.dana]\ntenants = ["acme"]', ""), ('["alice", "dana"]', '["alice"]'))
    assert code_of(here, Caller(tenant="acme", service="mailer", user="dana")) == "not_in_tenant"
    assert here.voters("leads", "acme") == {"alice"}


def test_a_disabled_user_is_shut_out_at_once() -> None:
    here = after(('[users.dana]\ntenants = ["acme"]', '[users.dana]\ntenants = ["acme"]\ndisabled = true'))
    assert code_of(here, Caller(tenant="acme", service="mailer", user="dana")) == "user_disabled"
    assert not here.is_member("dana", "leads")


def test_a_user_who_became_somebody_else_is_shut_out() -> None:
    here = after(('[users.dana]\ntenants = ["acme"]', '[users.dana]\ntenants = ["acme"]\nperson = "alice"'))
    assert not here.may_vote("dana", "leads", "acme")
    assert here.may_vote("alice", "leads", "acme")


def test_a_removed_role_is_gone_and_its_name_stays() -> None:
    here = after(('roles = ["support", "billing"]', 'roles = ["support"]'))
    assert here.principals(Caller(tenant="acme", agent="bot")) == (Principal(kind="Agent", id="bot", tenant="acme", roles=("support",)),)
    assert "billing" in here.roles


def test_a_removed_agent_and_service_are_shut_out_and_their_names_stay() -> None:
    here = after(
        ('[agents.bot]\ntenants = ["*"]\nroles = ["support", "billing"]\nacts_for = "both"\n', ""),
        ('[services.mailer]\ntenants = ["acme", "globex"]\nroles = ["mail"]\n', ""),
    )
    assert code_of(here, Caller(tenant="acme", agent="bot")) == "not_in_tenant"
    assert code_of(here, Caller(tenant="acme", service="mailer")) == "not_in_tenant"
    assert "bot" in here.agents


def test_a_removed_tenant_is_gone_for_everybody() -> None:
    here = after(("[tenants.globex]", ""), ('"acme", "globex"]\nroles', '"acme"]\nroles'), ('[["acme", "globex"]]', "[]"))
    assert code_of(here, Caller(tenant="globex", agent="bot")) == "unknown_tenant"
    assert here.services["mailer"].tenants == ("acme",)
    assert not here.may_reach("acme", "globex")


def test_an_agent_that_lost_a_way_of_acting_has_lost_it() -> None:
    here = after(('acts_for = "both"', 'acts_for = "user"'))
    assert code_of(here, Caller(tenant="acme", agent="bot")) == "acts_for_user"
    assert len(here.principals(Caller(tenant="acme", agent="bot", user="alice"))) == 2


def test_an_agent_that_changed_its_way_of_acting_is_shut_out() -> None:
    old = directory(OLD.replace('acts_for = "both"', 'acts_for = "self"'))
    new = directory(OLD.replace('acts_for = "both"', 'acts_for = "user"'))
    here = old.with_removals_of(new)
    assert code_of(here, Caller(tenant="acme", agent="bot")) == "not_in_tenant"
    assert code_of(here, Caller(tenant="acme", agent="bot", user="alice")) == "not_in_tenant"


def test_a_group_that_lost_its_reach_or_was_removed_has_lost_it() -> None:
    assert after(('scope = "operator"', 'scope = "tenant"')).voters("leads", "globex") == frozenset()
    gone = after(('leads = { members = ["alice", "dana"], scope = "operator" }', ""))
    assert gone.voters("leads", "acme") == frozenset()
    assert "leads" in gone.groups


TENANTS = ("acme", "globex")
some_tenants = st.sampled_from([("*",), ("acme",), ("globex",), TENANTS])
some_roles = st.sets(st.sampled_from(["a", "b"])).map(tuple)


@st.composite
def settings(draw: st.DrawFn) -> Settings:
    tenants = draw(st.sampled_from([("acme",), TENANTS]))

    def within() -> tuple[str, ...]:
        drawn = draw(some_tenants)
        return drawn if drawn == ("*",) or {*drawn} <= {*tenants} else tenants

    users = {
        u: UserSettings(tenants=within(), roles=draw(some_roles), disabled=draw(st.booleans()))
        for u in draw(st.sets(st.sampled_from("uv")))
    }
    acts_for: st.SearchStrategy[ActsFor] = st.sampled_from(("user", "self", "both"))
    members = tuple(u for u in users if draw(st.booleans()))
    return Settings(
        environment="test",
        tenants={t: TenantSettings() for t in tenants},
        users=users,
        agents={
            a: AgentSettings(tenants=within(), roles=draw(some_roles), acts_for=draw(acts_for))
            for a in draw(st.sets(st.sampled_from("pq")))
        },
        services={s: ServiceSettings(tenants=within(), roles=draw(some_roles)) for s in draw(st.sets(st.sampled_from("s")))},
        groups={"g": GroupSettings(members=members, scope=draw(st.sampled_from(["tenant", "operator"])))} if draw(st.booleans()) else {},
        cross_tenant=(TENANTS,) if len(tenants) == 2 and draw(st.booleans()) else (),
    )


CALLERS = [
    Caller(tenant=tenant, agent=agent, service=service, user=user)
    for tenant in TENANTS
    for agent, service in [("p", None), ("q", None), (None, "s")]
    for user in (None, "u", "v")
]


def rights(here: Directory, caller: Caller) -> set[tuple[str, str, str]] | None:
    """What a caller is, or None where it is refused."""
    try:
        found = here.principals(caller)
    except CallerRefused:
        return None
    return {(p.kind, p.id, extra) for p in found for extra in ("", *p.roles, *(f"group {g}" for g in p.groups))}


@given(settings(), settings())
def test_what_is_left_is_what_both_allow(old: Settings, new: Settings) -> None:
    before, newer = Directory.from_settings(old), Directory.from_settings(new)
    left = before.with_removals_of(newer)
    for caller in CALLERS:
        both = rights(before, caller), rights(newer, caller)
        kept = rights(left, caller)
        assert kept == (None if None in both else both[0] & both[1]) or changed_way(before, newer, caller)  # type: ignore[operator]
        assert kept is None or (both[0] is not None and both[1] is not None)
    for tenant in TENANTS:
        voters = before.voters("g", tenant) & newer.voters("g", tenant)
        assert left.voters("g", tenant) == voters if tenant in left.tenants else left.voters("g", tenant) <= voters
        assert all(not left.may_reach(tenant, t) or (before.may_reach(tenant, t) and newer.may_reach(tenant, t)) for t in TENANTS)


def changed_way(before: Directory, newer: Directory, caller: Caller) -> bool:
    """Whether the caller's agent went from `self` to `user` or back, for which it is shut out."""
    old, new = before.agents.get(caller.agent or ""), newer.agents.get(caller.agent or "")
    return old is not None and new is not None and {old.acts_for, new.acts_for} == {"self", "user"}
