"""How soon an upstream that failed may be tried again.

Rules:

1. After a first failure at once; then later and later, up to a minute: a process that dies at its start must not be started in a loop, and
   a server that is down must not be stormed.
2. An upstream that has held for a while begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.5
MOST_S: Final = 60.0
HELD_S: Final = 10.0
"""A session that lasted so long did not fail by starting."""


class Backoff:
    """The failures of one upstream, for one key. `clock` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._not_before = 0.0

    @property
    def left_s(self) -> float:
        """How long it must still be left alone."""
        return max(0.0, self._not_before - self._clock())

    @property
    def is_over(self) -> bool:
        """Whether nothing would be forgotten with this."""
        return self._clock() - self._not_before > HELD_S

    def failed(self, *, lasted_s: float = 0.0) -> None:
        """It could not be reached, or ended after so long."""
        if lasted_s >= HELD_S:
            self._failures = 0
        self._failures += 1
        wait_s = 0.0 if self._failures == 1 else min(MOST_S, FIRST_S * 2.0 ** min(self._failures - 2, 16))
        self._not_before = self._clock() + wait_s
