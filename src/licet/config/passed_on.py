"""Which headers of a client's request may be passed on to an upstream at all, whatever licet.toml names.

Rules:

1. Never what proves who somebody is or where they come from: an upstream knows the gateway, and nobody behind it.
2. Never what belongs to one connection or one message, or what the gateway writes itself.
"""

from __future__ import annotations

from typing import Final

_NEVER: Final = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect"}
    | {"forwarded", "host", "keep-alive", "last-event-id", "origin", "proxy-authorization", "proxy-connection", "referer", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "via", "x-real-ip"}
)
_NEVER_PREFIXES: Final = ("mcp-", "proxy-", "sec-", "x-forwarded")


def may_be_passed_on(name: str) -> bool:
    """Whether a client's header of this name may go on. Names are compared in lower case."""
    return name.lower() not in _NEVER and not name.lower().startswith(_NEVER_PREFIXES)
