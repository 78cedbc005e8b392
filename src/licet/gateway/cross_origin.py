"""What browsers are told before a page of another place may ask the gateway, and read its answers (Fetch, 3.2).

Only pages that may ask at all (admission.py) are told anything. No cookie goes along: the page itself says in `Authorization` who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ASKED_FOR: Final = "access-control-request-method"
_HEADERS: Final = frozenset({"accept", "authorization", "baggage", "content-type", "last-event-id", "traceparent", "tracestate"})
_PREFIXES: Final = ("mcp-", "licet-")
_EXPOSED: Final = "mcp-session-id, mcp-protocol-version, www-authenticate, retry-after, x-request-id"


def shared_with(origin: str) -> dict[str, str]:
    """The headers of an answer that this page may read."""
    return {"access-control-allow-origin": origin, "access-control-expose-headers": _EXPOSED, "vary": "origin"}


def preflight(headers: Mapping[str, str]) -> dict[str, str] | None:
    """The headers that answer whether a request may be made; None where that was not asked."""
    if ASKED_FOR not in headers:
        return None
    wanted = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
    allowed = [name for name in wanted if name in _HEADERS or name.startswith(_PREFIXES)]
    return {
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": ", ".join(allowed),
        "access-control-max-age": "600",
    }
