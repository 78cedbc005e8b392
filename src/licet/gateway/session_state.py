"""What a client has set for its session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from licet.gateway.messages import INVALID_PARAMS, RpcError

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


@dataclass(eq=False)
class SessionState:
    """A legacy client's: the least level of log messages it wants, and the resources that it watches, each with its upstream.

    A modern request has a fresh one. Whoever has made it holds it for as long as the session lasts; nobody else does. `tell` tells the
    client something that belongs to none of its requests (legacy, over HTTP: on its GET stream). It waits for nothing, and drops what
    cannot be kept until the client listens. None where there is no way to tell: before the session has begun, and when it is over.
    """

    log_level: str | None = None
    watched: dict[str, str] = field(default_factory=dict)
    tell: Callable[[str, Mapping[str, Any]], None] | None = None


def check_level(unverified_level: object) -> str:
    """The level of log messages, if it is one. Raises `RpcError`."""
    if not isinstance(unverified_level, str) or unverified_level not in LEVELS:
        raise RpcError(INVALID_PARAMS, f"a log level is one of {', '.join(f'`{level}`' for level in LEVELS)}")
    return unverified_level
