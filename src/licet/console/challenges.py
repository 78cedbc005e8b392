"""Challenges for authenticators: made, given to one browser, and known again, without being kept anywhere.

    challenge = nonce (16 bytes) || end (8 bytes, UTC microseconds) || HMAC-SHA256(key, purpose NUL holder NUL nonce || end)[:24]

Rules:

1. A challenge is for one purpose and one holder (a session, or the cookie of a browser that nobody has signed in with yet), and for
   `LIFE_S`. It says nothing to whoever reads it.
2. Its key follows from the secret of the ledger's operator log, so that it holds in every process on the ledger.
3. That it is used once is for what it opens (gate/passkeys.py): what is issued has an id that is made of it, or of the passkey.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from licet.ledger.record import microseconds
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Asked
from licet.store.contract import Store

Purpose = Literal["sign in", "register"]
LIFE_S: Final = 5 * 60
_NONCE: Final = 16
_BODY: Final = _NONCE + 8
_LENGTH: Final = _BODY + 24
_LOOPBACK: Final = "localhost"


class Place(Struct, frozen=True):
    """Where a passkey is good: the host, and the origins that a page of ours may have there."""

    rp_id: str
    origins: tuple[str, ...]


def make_challenge(store: Store, purpose: Purpose, holder: str, now: datetime) -> bytes:
    """A challenge that nobody has seen. Raises `KeyUnavailable`."""
    body = os.urandom(_NONCE) + microseconds(now + timedelta(seconds=LIFE_S)).to_bytes(8)
    return body + _seal(store, purpose, holder, body)


def is_challenge(store: Store, purpose: Purpose, holder: str, unverified: bytes, now: datetime) -> bool:
    """Whether this one was made here for that, and its time is not over. Raises `KeyUnavailable`."""
    if len(unverified) != _LENGTH:
        return False
    body, seal = unverified[:_BODY], unverified[_BODY:]
    return hmac.compare_digest(seal, _seal(store, purpose, holder, body)) and microseconds(now) < int.from_bytes(body[_NONCE:])


def place_of(asked: Asked) -> Place | None:
    """Where passkeys are good that are used on this page; None where a browser makes none.

    That is the host of `server.public_url`, and of nothing that whoever asks can say; without one, `localhost`.
    """
    public = asked.serving.public_url
    if public is not None:
        parts = urlsplit(public)
        port = "" if parts.port is None or parts.port == {"http": 80, "https": 443}[parts.scheme] else f":{parts.port}"
        return Place(parts.hostname or "", (f"{parts.scheme}://{parts.hostname}{port}",))
    host = asked.header("host") or ""
    if host.partition(":")[0] != _LOOPBACK:
        return None
    return Place(_LOOPBACK, (f"http://{host}", f"https://{host}"))


def _seal(store: Store, purpose: Purpose, holder: str, body: bytes) -> bytes:
    key = hashlib.sha256(store.blind(OPERATOR_LOG, "console challenge", "key").encode()).digest()
    said = b"\0".join((b"licet console challenge v1", purpose.encode(), hashlib.sha256(holder.encode()).digest(), body))
    return hmac.new(key, said, hashlib.sha256).digest()[: _LENGTH - _BODY]
