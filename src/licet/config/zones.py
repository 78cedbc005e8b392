"""Time zones by their names in the tz database (`Europe/Berlin`)."""

from __future__ import annotations

from datetime import UTC, tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones

from licet.names import quoted

_NO_PLACE = ("posix/", "right/", "Factory", "localtime", "posixrules")
"""Files of the database that are no zone of their own: copies, one that counts leap seconds, and whatever this machine is set to."""


def find_zone(name: str) -> tzinfo | None:
    """The zone of this name; None where the database of this machine has none. `UTC` needs no database."""
    if name == "UTC":
        return UTC
    if name.startswith(_NO_PLACE):
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # a name that is a path out of the database, a folder, or nothing
        return None


def zone_problem(name: str) -> str | None:
    """Why no zone of this name can be had; None where one can."""
    if find_zone(name) is not None:
        return None
    known = sorted(one for one in available_timezones() if not one.startswith(_NO_PLACE))
    if not known:
        return f"is {quoted(name)}, and this machine has no time zones: install `tzdata`, the package of your system or of Python"
    # Both as a whole and by the place alone: `Berlin` is near `Europe/Berlin`. A whole name is preferred, so it is entered last.
    forms = {one.rpartition("/")[2].lower(): one for one in known} | {one.lower(): one for one in known}
    near = get_close_matches(name.lower().replace(" ", "_"), forms, n=1)
    hint = f"; did you mean `{forms[near[0]]}`?" if near else "; expected a name such as `Europe/Berlin`"
    return f"is {quoted(name)}, which is no time zone{hint}"
