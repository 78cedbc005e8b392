"""What a client is told whose credential does not do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.gateway.challenges import challenge, metadata_url, missing_scope, step_up
from licet.identity.authenticated import Authenticated
from tests.gateway.world import CONFIG, GatewayWorld, gateway_world

SCOPED = (
    CONFIG
    + """
[server]
public_url = "https://licet.example.com"
[gateway.scopes]
read = "tools:read"
write = "tools:write"
destructive = "tools:destroy"
[[identity.issuers]]
issuer = "https://idp.example.com"
audience = "licet"
jwks = "https://idp.example.com/keys"
"""
)


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path, config=SCOPED) as world:
        yield world


def who(*scopes: str) -> Authenticated:
    return Authenticated(method="jwt", credential="c", scopes=scopes)


def missing(w: GatewayWorld, shown: Authenticated, method: str, upstream: str | None = None, **params: str) -> str | None:
    return missing_scope(w.gate.settings, w.gate.scene, shown, w.incoming(method, dict(params), upstream=upstream))


def test_a_challenge_says_where_tokens_are_issued(w: GatewayWorld) -> None:
    at = "https://licet.example.com/.well-known/oauth-protected-resource/mcp"
    assert challenge(w.gate.settings, None) == f'Bearer realm="licet", scope="tools:read", resource_metadata="{at}"'
    assert metadata_url(w.gate.settings, "crm") == f"{at}/crm"


def test_a_step_up_names_the_scope_that_is_wanting(w: GatewayWorld) -> None:
    assert 'error="insufficient_scope", scope="tools:write"' in step_up(w.gate.settings, "crm", "tools:write")


def test_a_tool_needs_the_scope_of_its_class(w: GatewayWorld) -> None:
    assert missing(w, who("tools:read"), "tools/call", name="crm__get") is None
    assert missing(w, who("tools:read"), "tools/call", name="crm__set") == "tools:write"
    assert missing(w, who("tools:read"), "tools/call", "crm", name="set") == "tools:write"
    assert missing(w, who("tools:write"), "tools/call", name="crm__set") is None


def test_resources_need_the_scope_of_reading_also_where_their_upstream_is_not_known_yet(w: GatewayWorld) -> None:
    assert missing(w, who("tools:write"), "resources/read", uri="file:///a") == "tools:read"
    assert missing(w, who("tools:write"), "prompts/get", "crm", name="p") == "tools:read"


def test_what_has_no_scopes_is_not_asked_for_them(w: GatewayWorld) -> None:
    assert missing(w, Authenticated(method="api_key", credential="k"), "tools/call", name="crm__set") is None


def test_nothing_ends_the_header_or_the_quoted_text(w: GatewayWorld) -> None:
    assert 'scope="aQb"' in step_up(w.gate.settings, None, 'a"\r\nQ\\b')
