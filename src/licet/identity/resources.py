"""Whom a token is for: the whole server, or one resource of its MCP gateway (RFC 8707).

Rules:

1. A token whose audience is that of its issuer's table is for all of this server.
2. One whose audience is the gateway's resource (`PUBLIC_URL/mcp`), or that of one upstream (`PUBLIC_URL/mcp/crm`), is for that resource
   and for what lies below it, and for nothing else: not for the API, not for another upstream.
3. Names are compared character by character. Where no `public_url` is set the gateway has no name, and only rule 1 counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from licet.config import Settings

GATEWAY_PATH: Final = "/mcp"


def gateway_resource(settings: Settings, upstream: str | None = None) -> str | None:
    """The resource identifier of the gateway, or of one upstream behind it; None where the server has no public address."""
    public = settings.server.public_url
    if public is None:
        return None
    base = public.rstrip("/") + GATEWAY_PATH
    return base if upstream is None else f"{base}/{upstream}"


def resources_among(audiences: Iterable[str], base: str | None) -> tuple[str, ...]:
    """Those of a token's audiences that are resources of the gateway."""
    return () if base is None else tuple([one for one in audiences if one == base or one.startswith(f"{base}/")])


def is_for(only_for: tuple[str, ...], resource: str | None) -> bool:
    """Whether who shows a token that is for these alone may come in at `resource`; None is everything that is not the gateway."""
    return not only_for or (resource is not None and any(resource == one or resource.startswith(f"{one}/") for one in only_for))
