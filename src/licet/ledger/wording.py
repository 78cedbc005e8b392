"""How people are told of callers, calls, numbers and times, wherever they read of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 policy`, `2 policies`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def who(agent: str | None, service: str | None, user: str | None) -> str:
    """The caller: `support-bot for alice`."""
    actor = agent or service
    if actor is None:
        return user or "nobody"
    return f"{actor} for {user}" if user else actor


def listed(parts: Sequence[str], limit: int = 5) -> str:
    """`a, b and 3 more`."""
    shown = list(parts[:limit])
    more = len(parts) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def on_targets(targets: Iterable[str]) -> str:
    """` on Customer::"C-412"`, or nothing where the call names no target."""
    found = list(targets)
    return f" on {listed(found)}" if found else ""


def moment(at_us: int) -> str:
    """UTC to the second: `2026-11-22 11:05:12`."""
    return f"{_time(at_us):%Y-%m-%d %H:%M:%S}"


def clock(at_us: int) -> str:
    """UTC to the millisecond, without the day: `11:05:12.042`."""
    return f"{_time(at_us):%H:%M:%S}.{at_us // 1_000 % 1_000:03d}"


def duration(microseconds: int) -> str:
    """`0.4 ms`, `3.1 s`, `12 min`."""
    seconds = microseconds / 1_000_000
    if seconds < 1:
        return f"{seconds * 1_000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else span(seconds)  # noqa: PLR2004 - two minutes are told in minutes


def span(seconds: float) -> str:
    """How long until, or since: `45 s`, `12 min`, `3 h`, `2 days`."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(size_bytes: int) -> str:
    """`512 B`, `1.2 MiB`."""
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":  # noqa: PLR2004 - bytes in a KiB
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _time(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC)
