"""What was verified a moment ago: a bounded memory from the SHA-256 of a credential to who showed it.

Rules:

1. A credential is kept as its digest: whoever reads this memory can show nothing. The certificate that was shown with it is part of that.
2. An entry holds while what it was verified against (a directory, keys) still does, and until it expires.
3. Only what was verified enters, so strangers push nobody out. Beyond `limit`, what was used longest ago goes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Final

from licet.identity.authenticated import Authenticated

REMEMBERED: Final = 10_000
"""Credentials, at about 1 KiB each."""


class Remembered:
    """Safe to use from many threads."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: dict[bytes, tuple[Authenticated, Callable[[], bool]]] = {}

    def find(self, shown: str, certificate: bytes | None, now_us: int) -> Authenticated | None:
        """Who showed this, if that still holds."""
        digest = _digest(shown, certificate)
        with self._lock:
            entry = self._entries.pop(digest, None)
            if entry is None:
                return None
            found, holds = entry
            if (found.expires_at is not None and now_us >= found.expires_at) or not holds():
                return None
            self._entries[digest] = entry  # the newest now
        return found

    def put(self, shown: str, certificate: bytes | None, verified: Authenticated, holds: Callable[[], bool]) -> None:
        """Remember this, as long as it `holds`, which must neither block nor raise."""
        digest = _digest(shown, certificate)
        with self._lock:
            self._entries.pop(digest, None)
            if len(self._entries) >= self._limit:
                del self._entries[next(iter(self._entries))]
            self._entries[digest] = (verified, holds)

    def __len__(self) -> int:
        return len(self._entries)


def _digest(shown: str, certificate: bytes | None) -> bytes:
    text = shown.encode()  # printable ASCII: a zero byte stands between the two and nowhere else
    return hashlib.sha256(text if certificate is None else text + b"\0" + certificate).digest()
