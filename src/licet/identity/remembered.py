"""What was verified a moment ago: a bounded memory from the SHA-256 of a credential to who showed it.

Rules:

1. A credential is kept as its digest: whoever reads this memory can show nothing.
2. An entry holds while `ground` (what it was verified against: a directory, keys) is the very same object, and until it expires.
3. Only what was verified enters, so strangers push nobody out. Beyond `limit`, what was used longest ago goes.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Final, Generic, TypeVar

from licet.identity.authenticated import Authenticated

REMEMBERED: Final = 10_000
"""Credentials, at about 1 KiB each."""

Ground = TypeVar("Ground")


class Remembered(Generic[Ground]):
    """Safe to use from many threads."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: dict[bytes, tuple[Authenticated, Ground]] = {}

    def find(self, shown: str, ground: Ground, now_us: int) -> Authenticated | None:
        """Who showed this, if that still holds."""
        digest = _digest(shown)
        with self._lock:
            entry = self._entries.pop(digest, None)
            if entry is None:
                return None
            found, verified_against = entry
            if verified_against is not ground or (found.expires_at is not None and now_us >= found.expires_at):
                return None
            self._entries[digest] = entry  # the newest now
        return found

    def put(self, shown: str, ground: Ground, verified: Authenticated) -> None:
        """Remember this."""
        digest = _digest(shown)
        with self._lock:
            self._entries.pop(digest, None)
            if len(self._entries) >= self._limit:
                del self._entries[next(iter(self._entries))]
            self._entries[digest] = (verified, ground)

    def __len__(self) -> int:
        return len(self._entries)


def _digest(shown: str) -> bytes:
    return hashlib.sha256(shown.encode()).digest()
