"""When a delivery that failed is tried again, and when it is given up."""

from __future__ import annotations

from random import Random

ATTEMPTS = 14
"""Over about an hour. Who wants to hear of a request later than that finds it where the link leads."""
FIRST_S = 1.0
LONGEST_S = 600.0


def pause_s(attempt: int, randomness: Random) -> float:
    """Seconds after the attempt of this number (from 1): twice as long each time, and spread so that not all come back at once."""
    whole = min(FIRST_S * float(2 ** min(attempt - 1, 30)), LONGEST_S)
    return whole * randomness.uniform(0.5, 1.0)
