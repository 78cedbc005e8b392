"""Tokens for the gateway alone: accepted there, and nowhere else."""

from __future__ import annotations

import pytest

from licet.errors import NotAuthenticated
from licet.identity.resources import gateway_resource, is_for, resources_among
from tests.identity.issuer import Issuer
from tests.identity.people import CONFIG

PUBLIC = CONFIG + '\n[server]\npublic_url = "https://licet.example.com"\n'
GATEWAY = "https://licet.example.com/mcp"


def test_a_token_for_the_gateway_is_for_the_gateway_alone() -> None:
    who = Issuer(PUBLIC).accepts(aud=GATEWAY)
    assert who.only_for == (GATEWAY,)


def test_a_token_for_the_server_is_for_all_of_it_whatever_else_it_names() -> None:
    assert Issuer(PUBLIC).accepts(aud=["licet", f"{GATEWAY}/crm"]).only_for == ()


@pytest.mark.parametrize(
    "audience",
    [
        "https://licet.example.com",
        "https://licet.example.com/mcpx",
        "https://LICET.example.com/mcp",
        "https://evil.example/mcp",
        f"{GATEWAY}?x",
    ],
)
def test_a_token_for_somebody_else_is_refused(audience: str) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        Issuer(PUBLIC).accepts(aud=audience)
    assert caught.value.reason == "wrong_audience"


def test_without_a_public_address_the_gateway_has_no_name() -> None:
    issuer = Issuer()
    assert gateway_resource(issuer.settings) is None
    with pytest.raises(NotAuthenticated):
        issuer.accepts(aud=GATEWAY)


def test_the_scopes_of_a_token_are_known_and_grant_nothing() -> None:
    who = Issuer(PUBLIC).accepts(scope="tools:read  tools:write")
    assert who.scopes == ("tools:read", "tools:write")
    assert who.roles == Issuer(PUBLIC).accepts().roles


def test_a_token_without_scopes_has_none_of_them() -> None:
    assert Issuer(PUBLIC).accepts().scopes == ()


@pytest.mark.parametrize(
    ("only_for", "resource", "accepted"),
    [
        ((), None, True),
        ((), GATEWAY, True),
        ((GATEWAY,), None, False),
        ((GATEWAY,), GATEWAY, True),
        ((GATEWAY,), f"{GATEWAY}/crm", True),
        ((f"{GATEWAY}/crm",), f"{GATEWAY}/crm", True),
        ((f"{GATEWAY}/crm",), GATEWAY, False),
        ((f"{GATEWAY}/crm",), f"{GATEWAY}/crm2", False),
        ((f"{GATEWAY}/crm",), f"{GATEWAY}/notes", False),
    ],
)
def test_a_resource_covers_what_lies_below_it(only_for: tuple[str, ...], resource: str | None, accepted: bool) -> None:  # noqa: FBT001
    assert is_for(only_for, resource) is accepted


def test_other_audiences_beside_a_resource_count_for_nothing() -> None:
    assert resources_among(["https://x.example", f"{GATEWAY}/crm"], GATEWAY) == (f"{GATEWAY}/crm",)
