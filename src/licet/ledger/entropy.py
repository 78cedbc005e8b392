"""Ids, salts and nonces, drawn from the operating system in bulk and handed out once each.

Rules:

1. No value is handed out twice, to no two threads: a value leaves its pool by `list.pop`, which is atomic.
2. A forked child forgets the pools, or parent and child would hand out the same values.
3. Ids are shaped like UUID version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 72 random bits. They sort by time, so
   that an index over them grows at one end.
"""

from __future__ import annotations

import os
import time

SALT_BYTES = 32
NONCE_BYTES = 12
_POOL = 256

_salts: list[bytes] = []
_nonces: list[bytes] = []
_tails: list[str] = []


def new_id(at: int | None = None) -> str:
    """A new id, unique across processes. `at` is UTC microseconds; without it, the time is now."""
    milliseconds = time.time_ns() // 1_000_000 if at is None else at // 1000
    try:
        tail = _tails.pop()
    except IndexError:
        tail = _refill_tails()
    head = f"{milliseconds:012x}"
    return f"{head[:8]}-{head[8:]}-{tail}"


def draw_salt() -> bytes:
    """32 random bytes that nobody has seen."""
    try:
        return _salts.pop()
    except IndexError:
        return _refill(_salts, SALT_BYTES)


def draw_nonce() -> bytes:
    """12 random bytes for AES-GCM (NIST SP 800-38D, section 8.2.2)."""
    try:
        return _nonces.pop()
    except IndexError:
        return _refill(_nonces, NONCE_BYTES)


def _refill(pool: list[bytes], width: int) -> bytes:
    """New random values for the pool; one of them for the caller."""
    drawn = os.urandom(_POOL * width)
    fresh = [drawn[start : start + width] for start in range(0, len(drawn), width)]
    mine = fresh.pop()
    pool.extend(fresh)
    return mine


def _refill_tails() -> str:
    """New random ends of ids; one of them for the caller."""
    drawn = os.urandom(_POOL * 9).hex()
    parts = (drawn[start : start + 18] for start in range(0, len(drawn), 18))
    fresh = [f"7{part[:3]}-8{part[3:6]}-{part[6:]}" for part in parts]  # version 7; the variant's two bits are 10
    mine = fresh.pop()
    _tails.extend(fresh)
    return mine


def _forget() -> None:
    """A child of a fork draws afresh."""
    _salts.clear()
    _nonces.clear()
    _tails.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
