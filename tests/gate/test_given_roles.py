"""Roles that a verified credential gives its user beside the directory's: used, recorded, and never more than a role."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from licet.errors import CallerRefused
from licet.gate.acting import ActingBlock, acting_as
from licet.gate.results import Denied, Held, Ok
from licet.identity.authenticated import AskedCaller, Authenticated
from licet.model import Caller
from tests.world import CONFIG, World, world

ROLES = CONFIG.replace("[tenants.acme]", 'roles = ["billing-plus"]\n[tenants.acme]', 1)


@pytest.fixture
def shop() -> Iterator[World]:
    with world(ROLES) as made:
        yield made


def who(*roles: str, user: str = "carl", agent: str = "support-bot") -> Authenticated:
    return Authenticated(method="jwt", credential="jwt-1", tenants=("acme",), agents=(agent,), users=(user,), user_roles=roles)


def adjust(shop: World, shown: Authenticated, amount_cents: int = 2_500) -> object:
    with ActingBlock(shop.gate._token, acting_as(shown, AskedCaller())):
        return shop.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": amount_cents})


def test_a_role_of_the_credential_permits_what_it_permits_by_the_directory(shop: World) -> None:
    denied = adjust(shop, who())
    assert isinstance(denied, Denied)
    assert denied.decision.code == "no_permit"
    assert isinstance(adjust(shop, who("billing")), Ok)
    intent = next(record for record in shop.records() if record.kind == "intent")
    user = intent.payload.principals[1]
    assert (user.id, user.roles, user.given) == ("carl", ("support", "billing"), ("billing",))
    assert intent.payload.credential == "jwt-1"
    assert shop.records()[0].payload.principals[1].given != ("billing",)


def test_the_next_call_without_the_role_is_denied_again(shop: World) -> None:
    assert isinstance(adjust(shop, who("billing")), Ok)
    denied = adjust(shop, who())
    assert isinstance(denied, Denied)
    assert denied.decision.code == "no_permit"


def test_a_role_that_the_directory_does_not_have_is_none(shop: World) -> None:
    directory = shop.gate.scene.directory
    caller = Caller(tenant="acme", agent="support-bot", user="carl", roles=("nothing", "billing-plus", "support", "billing-plus"))
    agent, user = directory.principals(caller)
    assert user.roles == ("support", "billing-plus")
    assert user.given == ("billing-plus",)
    assert user.groups == ()
    assert agent.roles == directory.agents["support-bot"].roles


def test_the_agent_gains_nothing(shop: World) -> None:
    """night-bot, say, has no billing role: that its user is given one does not help."""
    directory = shop.gate.scene.directory
    agent, user = directory.principals(Caller(tenant="acme", agent="free-bot", user="carl", roles=("security",)))
    assert "security" not in agent.roles
    assert "security" in user.roles
    shown = who("security", agent="free-bot")
    with ActingBlock(shop.gate._token, acting_as(shown, AskedCaller())):
        denied = shop.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(denied, Denied)
    assert denied.decision.code == "no_permit"


def test_a_held_call_is_decided_afresh_with_the_roles_of_the_retry(shop: World) -> None:
    held = adjust(shop, who("billing"), 50_000)
    assert isinstance(held, Held)
    assert held.request is not None
    shop.gate.approvals.vote(held.request, "lena", "approve")
    denied = adjust(shop, who(), 50_000)
    assert isinstance(denied, Denied)
    assert denied.decision.code == "no_permit"
    assert isinstance(adjust(shop, who("billing"), 50_000), Ok)


def test_another_credential_is_no_other_session(shop: World) -> None:
    sessions = shop.gate._opened().sessions
    bare = Caller(tenant="acme", agent="support-bot", user="carl")
    rich = Caller(tenant="acme", agent="support-bot", user="carl", roles=("billing",))
    sessions.label(rich, None, "untrusted")
    assert sessions.facts(bare, None).labels == ("untrusted",)
    seen = sessions.facts(rich, None)
    assert sessions.count(rich, None, seen)
    assert sessions.facts(bare, None).calls == 1


def test_a_caller_outside_of_the_scope_does_not_act() -> None:
    with pytest.raises(CallerRefused) as caught:
        acting_as(who(), AskedCaller(user="alice"))
    assert (caught.value.code, str(caught.value)) == ("not_in_scope", "the credential does not speak for the user `alice`")
