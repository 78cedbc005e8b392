from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from licet.config import GroupSettings, Settings, UserSettings, loads
from licet.errors import CallerRefused, DirectoryInvalid
from licet.identity import directory as module
from licet.identity.directory import Directory
from licet.model import Caller, Principal

BASE = """
environment = "test"
roles = ["auditor"]
cross_tenant = [["acme", "globex"]]
[tenants.acme]
[tenants.globex]
[agents.support-bot]
tenants = ["acme"]
roles = ["support", "billing"]
[agents.night-bot]
tenants = ["*"]
acts_for = "self"
owner = "olga"
[agents.both-bot]
tenants = ["acme"]
acts_for = "both"
[services.mailer]
tenants = ["acme"]
roles = ["mail"]
[users.alice]
tenants = ["acme"]
roles = ["support"]
[users.alice-home]
tenants = ["acme"]
person = "alice"
[users.gina]
tenants = ["globex"]
[users.dora]
tenants = ["acme"]
disabled = true
[users.olga]
[groups]
security = { members = ["olga", "gina"], scope = "operator" }
leads = ["alice", "alice-home", "gina", "dora"]
"""


def directory(text: str = BASE) -> Directory:
    return Directory.from_settings(loads(text, file=Path("/srv/licet.toml")))


def caller(tenant: Any = "acme", **ids: Any) -> Caller:
    return Caller(tenant=tenant, **ids)


def test_an_agent_that_acts_for_a_user_gives_both_principals() -> None:
    assert directory().principals(caller(agent="support-bot", user="alice")) == (
        Principal(kind="Agent", id="support-bot", tenant="acme", roles=("billing", "support")),
        Principal(kind="User", id="alice", tenant="acme", roles=("support",), groups=("leads",)),
    )


def test_a_service_that_acts_for_a_user_gives_both_principals() -> None:
    assert directory().principals(caller(service="mailer", user="alice")) == (
        Principal(kind="Service", id="mailer", tenant="acme", roles=("mail",)),
        Principal(kind="User", id="alice", tenant="acme", roles=("support",), groups=("leads",)),
    )


def test_a_service_may_act_for_itself() -> None:
    assert directory().principals(caller(service="mailer")) == (Principal(kind="Service", id="mailer", tenant="acme", roles=("mail",)),)


@pytest.mark.parametrize("tenant", ["acme", "globex"])
def test_an_agent_of_every_tenant_has_the_tenant_of_the_call(tenant: str) -> None:
    assert directory().principals(caller(tenant, agent="night-bot")) == (Principal(kind="Agent", id="night-bot", tenant=tenant),)


def test_an_agent_that_acts_for_both_may_name_a_user_or_not() -> None:
    here = directory()
    assert [p.kind for p in here.principals(caller(agent="both-bot"))] == ["Agent"]
    assert [p.kind for p in here.principals(caller(agent="both-bot", user="alice"))] == ["Agent", "User"]


@pytest.mark.parametrize(
    ("who", "code", "message"),
    [
        (caller("initech", agent="night-bot"), "unknown_tenant", "there is no tenant `initech`"),
        (caller("operator", agent="night-bot"), "unknown_tenant", "there is no tenant `operator`"),
        (caller("*", agent="night-bot"), "unknown_tenant", "there is no tenant `*`"),
        (caller("acme "), "unknown_tenant", "there is no tenant `acme `"),
        (caller("acme\u200b"), "unknown_tenant", "there is no tenant `acme\\u{200b}`"),
        (caller(""), "unknown_tenant", "there is no tenant ``"),
        (caller(), "no_agent", "the caller names neither an agent nor a service"),
        (caller(user="alice"), "no_agent", "the caller names neither an agent nor a service"),
        (caller(agent="both-bot", service="mailer"), "agent_and_service", "a caller is an agent or a service, not both"),
        (caller(agent="ghost", user="alice"), "unknown_agent", "there is no agent `ghost`"),
        (caller(agent="", user="alice"), "unknown_agent", "there is no agent ``"),
        (caller(agent="mailer", user="alice"), "unknown_agent", "there is no agent `mailer`"),
        (caller(service="ghost"), "unknown_service", "there is no service `ghost`"),
        (caller(service="mailer", user="mallory"), "unknown_user", "there is no user `mallory`"),
        (caller(agent="support-bot", user="Alice"), "unknown_user", "there is no user `Alice`"),
        (caller(agent="support-bot", user=""), "unknown_user", "there is no user ``"),
        (
            caller("globex", agent="support-bot", user="gina"),
            "not_in_tenant",
            "the agent `support-bot` does not belong to the tenant `globex`",
        ),
        (caller(service="mailer", user="gina"), "not_in_tenant", "the user `gina` does not belong to the tenant `acme`"),
        (caller("globex", service="mailer"), "not_in_tenant", "the service `mailer` does not belong to the tenant `globex`"),
        (caller(service="mailer", user="olga"), "not_in_tenant", "the user `olga` does not belong to the tenant `acme`"),
        (caller(service="mailer", user="dora"), "user_disabled", "the user `dora` is disabled"),
        (caller(agent="support-bot"), "acts_for_user", "the agent `support-bot` acts for users only, and the caller names none"),
        (
            caller(agent="night-bot", user="alice"),
            "acts_for_self",
            "the agent `night-bot` acts for itself only, and the caller names a user",
        ),
        (caller(agent=["support-bot"]), "malformed_caller", "the caller's ids are not text"),
        (caller(agent=0), "malformed_caller", "the caller's ids are not text"),
        (caller(b"acme"), "malformed_caller", "the caller's ids are not text"),
        (caller(None, agent="night-bot"), "malformed_caller", "the caller's ids are not text"),
    ],
)
def test_whoever_the_directory_does_not_know_so_is_refused(who: Caller, code: str, message: str) -> None:
    here = directory()
    for _ in range(2):  # a refusal is not remembered as anything else
        with pytest.raises(CallerRefused) as caught:
            here.principals(who)
        assert (caught.value.code, str(caught.value)) == (code, message)


def test_the_same_caller_is_identified_once() -> None:
    here = directory()
    first = here.principals(caller(agent="support-bot", user="alice"))
    assert here.principals(caller(agent="support-bot", user="alice")) is first


def test_the_memory_of_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED_CALLERS", 2)
    here = directory()
    everybody = [caller(service="mailer"), caller(agent="both-bot"), caller(agent="night-bot"), caller("globex", agent="night-bot")]
    for _ in range(2):
        assert [here.principals(who)[0].id for who in everybody] == ["mailer", "both-bot", "night-bot", "night-bot"]
        assert len(here._cache) <= 2


def test_strangers_take_no_memory() -> None:
    here = directory()
    for number in range(100):
        with pytest.raises(CallerRefused):
            here.principals(caller(agent="support-bot", user=f"stranger-{number}"))
    assert here._cache == {}


def test_members_are_users_of_the_group_who_are_not_disabled() -> None:
    here = directory()
    assert here.is_member("alice", "leads")
    assert not here.is_member("dora", "leads")
    assert not here.is_member("olga", "leads")
    assert not here.is_member("mallory", "leads")
    assert not here.is_member("alice", "no-such-group")


def test_members_vote_on_requests_of_their_own_tenants() -> None:
    here = directory()
    assert here.may_vote("alice", "leads", "acme")
    assert not here.may_vote("alice", "leads", "globex")
    assert here.voters("leads", "acme") == {"alice", "alice-home"}
    assert here.voters("leads", "globex") == {"gina"}
    assert here.voters("no-such-group", "acme") == frozenset()


def test_members_of_an_operator_group_vote_on_every_tenants_requests() -> None:
    here = directory()
    assert here.may_vote("olga", "security", "acme")
    assert here.may_vote("gina", "security", "acme")
    assert not here.may_vote("alice", "security", "acme")


def test_two_ids_of_one_person_are_one_person() -> None:
    here = directory()
    assert here.person_of("alice-home") == here.person_of("alice") == "alice"
    assert here.people("leads", "acme") == {"alice"}
    assert here.person_of("mallory") == "mallory"


def test_a_group_serves_the_tenants_that_somebody_votes_for() -> None:
    here = directory(BASE + '\nhalf = ["dora", "gina"]\nempty = []')
    assert here.serves("half", "globex")
    assert not here.serves("half", "acme")
    assert not here.serves("empty", "acme")
    assert here.serves("security", "acme")


def test_the_tenant_of_a_user_is_known() -> None:
    here = directory()
    assert here.is_in_tenant("alice", "acme")
    assert not here.is_in_tenant("alice", "globex")
    assert not here.is_in_tenant("mallory", "acme")


def test_a_user_of_every_tenant_belongs_to_those_there_are() -> None:
    here = directory(BASE + '\n[users.zoe]\ntenants = ["*"]')
    assert here.is_in_tenant("zoe", "globex")
    assert not here.is_in_tenant("zoe", "initech")


def test_callers_reach_their_own_tenant_and_the_named_pairs_in_one_direction() -> None:
    here = directory()
    assert here.may_reach("acme", "acme")
    assert here.may_reach("acme", "globex")
    assert not here.may_reach("globex", "acme")


def test_roles_are_those_that_somebody_has_and_those_that_are_declared() -> None:
    assert directory().roles == {"auditor", "support", "billing", "mail"}


def test_the_tables_can_be_read_and_not_changed() -> None:
    here = directory()
    assert here.tenants == {"acme", "globex"}
    assert here.agents["night-bot"].owner == "olga"
    assert here.groups["security"].scope == "operator"
    assert here.users["dora"].disabled
    assert here.services["mailer"].roles == ("mail",)
    with pytest.raises(TypeError):
        here.users["mallory"] = here.users["alice"]  # type: ignore[index]


def test_the_version_is_the_hash_of_the_content_and_of_nothing_else() -> None:
    here = directory()
    assert here.version == hashlib.sha256(here.content).hexdigest()
    shuffled = BASE.replace('["support", "billing"]', '["billing", "support", "billing"]').replace('["olga", "gina"]', '["gina", "olga"]')
    assert directory(shuffled).version == here.version
    assert directory(BASE.replace('roles = ["mail"]', "")).version != here.version


def test_the_content_gives_the_directory_back() -> None:
    here = directory()
    again = Directory.from_content(here.content)
    assert again.version == here.version
    assert again.principals(caller(agent="support-bot", user="alice")) == here.principals(caller(agent="support-bot", user="alice"))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]", b'{"v":2}'])
def test_what_is_no_content_is_refused(content: bytes) -> None:
    with pytest.raises(DirectoryInvalid, match="the stored directory cannot be read"):
        Directory.from_content(content)


def test_an_unknown_field_in_a_stored_directory_is_refused() -> None:
    with pytest.raises(DirectoryInvalid, match="the stored directory cannot be read"):
        Directory.from_content(directory().content.replace(b'{"agents"', b'{"admins":[],"agents"', 1))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[tenants.operator]", "no tenant can be called `operator`: the name is taken"),
        ("[tenants.Operator]", "no tenant can be called `Operator`: the name is taken"),
        ('[tenants."*"]', "no tenant can be called `*`: the name is taken"),
        ('[tenants."acme "]', "`tenants` has `acme `, which cannot be a name: it has a space in it"),
        ("[tenants.ACME]", "`tenants` has both `ACME` and `acme`, which differ in case only"),
        ('[users."al\\u200bice"]', "`users` has `al\\u{200b}ice`, which cannot be a name: it has characters that cannot be seen"),
        (
            '[agents."a`b"]\ntenants = ["acme"]',
            "`agents` has `a\\u{60}b`, which cannot be a name: it has a quote, backtick or backslash in it",
        ),
        ('[users.x]\nroles = ["sup port"]', "`roles` has `sup port`, which cannot be a name: it has a space in it"),
        ('[users.x]\nroles = ["Support"]', "`roles` has both `Support` and `support`, which differ in case only"),
        ('[agents.x]\ntenants = ["initech"]', "`agents.x.tenants` names the unknown tenant `initech`"),
        ('[users.x]\ntenants = ["initech"]', "`users.x.tenants` names the unknown tenant `initech`"),
        ('[services.x]\ntenants = ["*", "acme"]', "`services.x.tenants` has `*` and other tenants: write one or the other"),
        ('[agents.x]\ntenants = ["acme"]\nowner = "ghost"', "`agents.x.owner` names the unknown user `ghost`"),
        ('[users.x]\nperson = "a b"', "`users.x.person` is `a b`, which cannot be a name: it has a space in it"),
        ('[users.x]\nperson = "Alice"', "`users.x.person` is `Alice`, which differs from the person `alice` in case only"),
        ('[users.x]\nperson = "alice-home"', "`users.x.person` is the user `alice-home`, who is the person `alice`"),
    ],
)
def test_what_contradicts_itself_is_refused(text: str, problem: str) -> None:
    with pytest.raises(DirectoryInvalid) as caught:
        directory(f"{BASE}\n{text}")
    assert str(caught.value) == problem


def test_groups_and_pairs_name_what_there_is() -> None:
    settings = Settings(
        environment="test",
        users={"alice": UserSettings()},
        groups={"leads": GroupSettings(members=("alice", "ghost"))},
        cross_tenant=(("acme", "acme"),),
    )
    with pytest.raises(DirectoryInvalid) as caught:
        Directory.from_settings(settings)
    assert str(caught.value) == (
        "`groups.leads` names the unknown user `ghost`; `cross_tenant` names the unknown tenant `acme`; "
        "`cross_tenant` pairs the tenant `acme` with itself"
    )
