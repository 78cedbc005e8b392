"""What a client has set for its session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class SessionState:
    """A legacy client's: the least level of log messages it wants, and the resources that it watches. A modern request has a fresh one.

    `tell` tells the client something that belongs to none of its requests (legacy, over HTTP: on its GET stream). It waits for nothing, and
    drops what cannot be kept until the client listens. None where there is no way to tell: a modern client listens by a request.
    """

    log_level: str | None = None
    watched: set[str] = field(default_factory=set)
    tell: Callable[[str, Mapping[str, Any]], None] | None = None
