"""The whole API: every endpoint of every subject, in one table."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from licet.model import JsonObject
from licet.server.authzen import ENDPOINTS as AUTHZEN
from licet.server.authzen_search import ENDPOINTS as AUTHZEN_SEARCH
from licet.server.calls import ENDPOINTS as CALLS
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.openapi import document
from licet.server.protected_resource import ENDPOINTS as PROTECTED_RESOURCE
from licet.server.routes import ENDPOINTS as ROUTES
from licet.server.whoami import ENDPOINTS as WHOAMI


def _openapi(asked: Asked) -> Answer:
    content = _document(asked.serving.version, asked.serving.public_url)
    return Answer(content=content, headers=(("Cache-Control", "public, max-age=300"),))


OPENAPI = Endpoint(
    method="GET",
    path="/openapi.json",
    operation="getOpenApi",
    summary="This API as an OpenAPI 3.1 document",
    tag="meta",
    action=None,
    public=True,
    handler=_openapi,
    returns=JsonObject,
)


def endpoints() -> tuple[Endpoint, ...]:
    """Every endpoint there is."""
    return (OPENAPI, *WHOAMI, *CALLS, *ROUTES, *AUTHZEN, *AUTHZEN_SEARCH, *PROTECTED_RESOURCE)


@lru_cache(maxsize=4)
def _document(version: str, url: str | None) -> bytes:
    return msgspec.json.encode(document(endpoints(), version=version, url=url))
