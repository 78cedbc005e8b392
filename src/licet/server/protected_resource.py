"""Metadata of the gateway as an OAuth 2.0 protected resource (RFC 9728): who issues tokens for it, and which scopes it knows.

It stands where clients look for it: at the well-known path, and behind that with the path of the resource. Without `server.public_url`, or
without an issuer, there is nothing to say, and nothing is there.
"""

from __future__ import annotations

from msgspec import Struct

from licet.config import Settings
from licet.gateway.challenges import METADATA_PATH
from licet.identity.resources import GATEWAY_PATH, gateway_resource
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import not_found


class ProtectedResource(Struct, frozen=True, kw_only=True):
    """RFC 9728, 2. `resource` is what a client names when it asks its authorization server for a token (RFC 8707)."""

    resource: str
    authorization_servers: tuple[str, ...]
    scopes_supported: tuple[str, ...]
    bearer_methods_supported: tuple[str, ...] = ("header",)
    resource_name: str = "Licet gateway"


class OneUpstream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An upstream, by its name."""

    upstream: str


def whole(asked: Asked) -> Answer:
    """The metadata of the gateway."""
    return _answer(asked.gate.settings, None)


def one(asked: Asked) -> Answer:
    """The metadata of one upstream behind it."""
    if asked.params.upstream not in asked.gate.settings.upstreams:
        raise not_found()
    return _answer(asked.gate.settings, asked.params.upstream)


def _answer(settings: Settings, upstream: str | None) -> Answer:
    resource = gateway_resource(settings, upstream)
    if resource is None or not settings.identity.issuers or not settings.upstreams:
        raise not_found()
    body = ProtectedResource(
        resource=resource,
        authorization_servers=tuple([issuer.issuer for issuer in settings.identity.issuers]),
        scopes_supported=tuple(dict.fromkeys(settings.gateway.scopes.values())),
    )
    return Answer(body=body, headers=(("Access-Control-Allow-Origin", "*"), ("Cache-Control", "public, max-age=300")))


_SUMMARY = "Who issues tokens for the MCP gateway (RFC 9728)"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path=METADATA_PATH,
        operation="getProtectedResource",
        summary=_SUMMARY,
        tag="gateway",
        action=None,
        handler=whole,
        returns=ProtectedResource,
        public=True,
    ),
    Endpoint(
        method="GET",
        path=f"{METADATA_PATH}{GATEWAY_PATH}",
        operation="getGatewayResource",
        summary=_SUMMARY,
        tag="gateway",
        action=None,
        handler=whole,
        returns=ProtectedResource,
        public=True,
    ),
    Endpoint(
        method="GET",
        path=f"{METADATA_PATH}{GATEWAY_PATH}/{{upstream}}",
        operation="getUpstreamResource",
        summary="Who issues tokens for one upstream of the MCP gateway (RFC 9728)",
        tag="gateway",
        action=None,
        handler=one,
        params=OneUpstream,
        returns=ProtectedResource,
        public=True,
    ),
)
