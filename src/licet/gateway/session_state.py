"""What a client has set for its session."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class SessionState:
    """A legacy client's: the least level of log messages it wants, and the resources that it watches. A modern request has a fresh one."""

    log_level: str | None = None
    watched: set[str] = field(default_factory=set)
