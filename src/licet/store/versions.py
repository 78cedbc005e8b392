"""How whoever waits learns that something has been committed, without reading what.

Rules:

1. `version` is a token and nothing more: it is compared for equality, never for order, and only with one that the same store gave.
2. Whoever reads the token first and the states afterwards misses nothing: what is committed in between changes the next token. In
   PostgreSQL it changes a moment later, when the notification has arrived, and after a second where none does (store/postgres_versions.py).
3. Neither decrypts anything, takes part in commits, or waits for them: both are cheap enough to be asked many times a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from licet.model import RequestId, RequestState


class RequestStatus(Struct, frozen=True, gc=False):
    """What the row of a request says: its state, and until when it can be used. A projection: no decision rests on it."""

    state: RequestState
    expires_at: datetime


class Versions(Protocol):
    """The part of a store that is asked again and again."""

    def version(self) -> int:
        """A token that differs from the last one if anybody, in this process or another, has committed since. May differ without.

        Raises `StoreError`; the first token after an error differs from all before.
        """
        ...

    def states_of(self, requests: Iterable[RequestId]) -> dict[RequestId, RequestStatus]:
        """Where these requests stand, all as of one moment; those that are not there are left out. Raises `StoreError`."""
        ...
