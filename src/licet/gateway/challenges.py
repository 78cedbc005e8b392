"""What a client is told whose credential does not do (RFC 6750, RFC 9728, and step-up of the MCP authorization specification).

Scopes narrow and never grant: a token without the scope that `[gateway.scopes]` asks for a class of tools is sent back to its
authorization server; one that has it is decided about as every other credential. API keys and certificates have no scopes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from licet.catalog.upstream import CALL, method_name, tool_name
from licet.config import Settings
from licet.gate.scene import Scene
from licet.gateway.incoming import Incoming
from licet.identity.authenticated import Authenticated
from licet.identity.resources import gateway_resource
from licet.model import Access

METADATA_PATH: Final = "/.well-known/oauth-protected-resource"


def metadata_url(settings: Settings, upstream: str | None) -> str | None:
    """Where the metadata of the gateway, or of one upstream behind it, stands (RFC 9728, 3.1); None where nobody issues tokens for it."""
    resource = gateway_resource(settings, upstream)
    if resource is None or not settings.identity.issuers:
        return None
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{METADATA_PATH}{parts.path}"


def challenge(settings: Settings, upstream: str | None) -> str:
    """`WWW-Authenticate` of a 401. It names the least scope, that of reading, where there is one."""
    return _bearer(settings, upstream, None, settings.gateway.scopes.get("read"))


def step_up(settings: Settings, upstream: str | None, scope: str) -> str:
    """`WWW-Authenticate` of a 403 for want of a scope."""
    return _bearer(settings, upstream, "insufficient_scope", scope)


def missing_scope(settings: Settings, scene: Scene, who: Authenticated, incoming: Incoming) -> str | None:
    """The scope that the credential needs for this request and does not have; None where nothing is wanting."""
    if who.scopes is None or not settings.gateway.scopes:
        return None
    specs = [scene.catalog.find_tool(name) for name in _tools_of(settings, incoming)]
    needed = {access for spec in specs if spec is not None for access in _CLASSES[spec.access]}
    wanted = dict.fromkeys([scope for access, scope in settings.gateway.scopes.items() if access in needed])
    return " ".join([scope for scope in wanted if scope not in who.scopes]) or None


_CLASSES: Final[Mapping[Access, tuple[Access, ...]]] = {"read": ("read",), "write": ("write",), "destructive": ("write", "destructive")}


def _tools_of(settings: Settings, incoming: Incoming) -> list[str]:
    """The tools that a request may be a call of. Which upstream has a resource is found later: until then it may be any."""
    upstream, name = incoming.upstream, incoming.params.get("name")
    if incoming.method == CALL:
        return [] if not isinstance(name, str) else [name if upstream is None else tool_name(upstream, name)]
    return [method_name(one, incoming.method) for one in (settings.upstreams if upstream is None else (upstream,))]


def _bearer(settings: Settings, upstream: str | None, error: str | None, scope: str | None) -> str:
    said = {"error": error, "scope": scope, "resource_metadata": metadata_url(settings, upstream)}
    parts = ['realm="licet"', *[f'{name}="{_quoted(value)}"' for name, value in said.items() if value is not None]]
    return f"Bearer {', '.join(parts)}"


def _quoted(text: str) -> str:
    """Text of a quoted string in a header: what could end it, or the header, is left out."""
    return "".join([letter for letter in text if letter.isprintable() and letter.isascii() and letter not in '"\\'])
