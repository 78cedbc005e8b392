"""What a clock on the wall shows: `context.local`.

Rules:

1. It is worked out from `context.now`, in the time zone of licet.toml, and only where a policy about the tool reads it.
2. It says nothing that `now` and the zone do not. In the hour that a zone repeats in autumn it shows the same time twice, and the hour that
   a zone leaves out in spring it never shows: what must not be ambiguous is written with `context.now`, in UTC.
"""

from __future__ import annotations

from datetime import datetime, tzinfo

from msgspec import Struct

from licet.model import JsonObject


class LocalTime(Struct, frozen=True, gc=False):
    """A moment as it is called at a place: weekday from 1 (Monday) to 7 (Sunday), hour, minute, and the date as `2026-11-22`."""

    weekday: int
    hour: int
    minute: int
    date: str

    def as_context(self) -> JsonObject:
        """What policies see of it."""
        return {"weekday": self.weekday, "hour": self.hour, "minute": self.minute, "date": self.date}


def local_time(now: datetime, zone: tzinfo) -> LocalTime:
    """What the clocks of this zone show. `now` is aware."""
    local = now.astimezone(zone)
    return LocalTime(local.isoweekday(), local.hour, local.minute, local.date().isoformat())
