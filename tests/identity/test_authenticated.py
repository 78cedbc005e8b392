"""Whom a credential may speak for: a selection inside its scope, whatever is asked."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import CallerRefused
from licet.identity.authenticated import ANY, AskedCaller, Authenticated
from licet.model import Caller

names = st.sampled_from(["a", "b", "c", "*", "", "A", "a "])
scopes = st.one_of(st.just((ANY,)), st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3).map(tuple))
asked_names = st.none() | names


@st.composite
def credentials(draw: st.DrawFn) -> Authenticated:
    return Authenticated(
        method="api_key",
        credential="x",
        tenants=draw(scopes),
        agents=draw(scopes),
        services=draw(scopes),
        users=draw(scopes),
        user_roles=draw(st.sampled_from([(), ("r",)])),
    )


def inside(chosen: str | None, scope: tuple[str, ...]) -> bool:
    return chosen in scope if ANY not in scope else chosen != ANY


@given(who=credentials(), tenant=asked_names, agent=asked_names, service=asked_names, user=asked_names)
def test_no_caller_is_ever_outside_of_the_scope(
    who: Authenticated, tenant: str | None, agent: str | None, service: str | None, user: str | None
) -> None:
    with suppress(CallerRefused):
        _check_inside(who, who.calling(AskedCaller(tenant=tenant, agent=agent, service=service, user=user)), (tenant, agent, service, user))


def _check_inside(who: Authenticated, caller: Caller, asked: tuple[str | None, ...]) -> None:
    assert caller.tenant != ANY
    assert inside(caller.tenant, who.tenants)
    assert (caller.agent is None) != (caller.service is None)
    assert caller.agent is None or (caller.agent != ANY and inside(caller.agent, who.agents))
    assert caller.service is None or (caller.service != ANY and inside(caller.service, who.services))
    assert caller.user is None or (caller.user != ANY and inside(caller.user, who.users))
    for chosen, wanted in zip((caller.tenant, caller.agent, caller.service, caller.user), asked, strict=True):
        assert wanted is None or chosen == wanted  # what was asked for is what is given, or nothing is
    if len(who.users) == 1 and ANY not in who.users:
        assert caller.user == who.users[0]  # the only user cannot be left out
    assert caller.roles == who.user_roles


ROBOT = Authenticated(method="api_key", credential="x", tenants=("acme",), agents=("bot",), users=("alice", "bob"))


def test_what_is_the_only_one_may_be_left_out() -> None:
    caller = ROBOT.calling(AskedCaller(user="bob"))
    assert (caller.tenant, caller.agent, caller.user) == ("acme", "bot", "bob")


@pytest.mark.parametrize(
    ("changed", "asked", "code", "message"),
    [
        ({}, {"tenant": "globex"}, "not_in_scope", "the credential does not speak for the tenant `globex`"),
        ({}, {"agent": "other"}, "not_in_scope", "the credential does not speak for the agent `other`"),
        ({}, {"service": "bot"}, "not_in_scope", "the credential does not speak for the service `bot`"),
        ({}, {"user": "eve"}, "not_in_scope", "the credential does not speak for the user `eve`"),
        ({}, {"user": ""}, "not_in_scope", "the credential does not speak for the user ``"),
        ({"users": ("*",)}, {"user": "*"}, "not_in_scope", "the credential does not speak for the user `*`"),
        ({}, {"agent": "bot", "service": "bot"}, "agent_and_service", "a caller is an agent or a service, not both"),
        ({"tenants": ("*",)}, {}, "tenant_needed", "say for which tenant: the credential is not for one alone"),
        ({"tenants": ()}, {}, "tenant_needed", "say for which tenant: the credential is not for one alone"),
        ({"agents": ("*",)}, {}, "agent_needed", "say which agent or service calls: the credential speaks for more than one"),
        ({"services": ("x",)}, {}, "agent_needed", "say which agent or service calls: the credential speaks for more than one"),
        ({"agents": ()}, {}, "no_agent", "the credential speaks for no agent and no service, and a person alone makes no calls"),
    ],
)
def test_what_is_not_inside_or_not_said_is_refused(
    changed: dict[str, tuple[str, ...]], asked: dict[str, str], code: str, message: str
) -> None:
    fields = {"tenants": ("acme",), "agents": ("bot",), "users": ("alice", "bob"), **changed}
    who = Authenticated(method="api_key", credential="x", **fields)  # type: ignore[arg-type]
    with pytest.raises(CallerRefused) as caught:
        who.calling(AskedCaller(**asked))
    assert (caught.value.code, str(caught.value)) == (code, message)
