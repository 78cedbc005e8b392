"""How the command line speaks of callers, calls, numbers and times: as all of Licet does, and of what is left of a time."""

from __future__ import annotations

from licet.ledger.wording import clock, counted, duration, listed, moment, on_targets, size, span, who

__all__ = ["clock", "countdown", "counted", "duration", "listed", "moment", "on_targets", "size", "span", "who"]


def countdown(seconds: int) -> str:
    """How long is left, to the second where seconds matter: `0:45`, `14:59`, `1:02:05`, `3 days`."""
    if seconds >= 2 * 86_400:
        return span(seconds)
    hours, minutes = divmod(max(0, seconds) // 60, 60)
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{max(0, seconds) % 60:02d}"
