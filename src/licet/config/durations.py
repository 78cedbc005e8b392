"""Durations as people write them in licet.toml and in policies: `90s`, `15m`, `2h`, `1d`."""

from __future__ import annotations

import re

LONGEST_EXPIRY_S = 30 * 86_400
"""An approval that can be used after a month was given for another world."""
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_duration_s(text: str) -> int | None:
    """Seconds of a duration such as `90s`, `15m`, `2h` or `1d`; None if it is not one."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    return int(match[1]) * _UNIT_S[match[2]] if match else None
