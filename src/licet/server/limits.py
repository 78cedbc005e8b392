"""How often, and how many at once: token buckets for each credential and each address that fails to authenticate, and places to be taken.

Rules:

1. A bucket holds a minute's share at most, and fills evenly.
2. The number of buckets is bounded; the one that was used least recently goes first. A full one is as good as none.
3. What holds a connection or a thread for long has so many places for each credential, and no queue: one takes nothing from another.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

BUCKETS = 10_000
"""Credentials or addresses remembered; one takes some 200 bytes."""


def neighbourhood(client: str) -> str:
    """Who counts as one: an IPv4 address, or the /64 of an IPv6 address, which a single subscriber has whole."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


class Buckets:
    """So many a minute for each key. Safe to use from many threads."""

    def __init__(self, per_minute: int, *, now: Callable[[], float] = time.monotonic, limit: int = BUCKETS) -> None:
        self._full: Final = float(per_minute)
        self._rate: Final = per_minute / 60
        self._now: Final = now
        self._limit: Final = limit
        self._lock: Final = Lock()
        self._buckets: Final[OrderedDict[str, tuple[float, float]]] = OrderedDict()

    def take(self, key: str) -> int:
        """0 where one more was allowed, and counted; else after how many seconds to come back."""
        now = self._now()
        with self._lock:
            left = self._left(key, now)
            if left < 1:
                return max(1, math.ceil((1 - left) / self._rate))
            self._keep(key, left - 1, now)
        return 0

    def is_empty(self, key: str) -> bool:
        """Whether the next `take` would be refused. Counts nothing."""
        with self._lock:
            return self._left(key, self._now()) < 1

    def _left(self, key: str, now: float) -> float:
        left, at = self._buckets.get(key, (self._full, now))
        return min(self._full, left + (now - at) * self._rate)

    def _keep(self, key: str, left: float, now: float) -> None:
        self._buckets[key] = (left, now)
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._limit:
            self._buckets.popitem(last=False)


class AtOnce:
    """So many at once for each key. Safe to use from many threads."""

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._lock: Final = Lock()
        self._taken: Final[dict[str, int]] = {}

    def enter(self, key: str) -> bool:
        """Whether there was a place, which is taken now until `leave`."""
        with self._lock:
            taken = self._taken.get(key, 0)
            if taken >= self._limit:
                return False
            self._taken[key] = taken + 1
        return True

    def leave(self, key: str) -> None:
        """A place is free again."""
        with self._lock:
            taken = self._taken.pop(key)
            if taken > 1:
                self._taken[key] = taken - 1
