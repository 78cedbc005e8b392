"""Somebody who is at an identity provider, to come back: what is known of that, in a cookie of theirs.

Rules:

1. It is sealed (HMAC-SHA256) under a key that follows from the secret of the ledger's operator log: nobody else makes one, and it holds in
   every process on the ledger.
2. It is for one provider and for `LIFE_S`. What it opens is issued once (gate/signing_in.py, `open_for`), whoever shows it again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from licet.ledger.record import microseconds
from licet.model import OPERATOR_LOG
from licet.store.contract import Store

LIFE_S: Final = 10 * 60
NEXT_LIMIT: Final = 1_500
"""Characters of the page to go back to: a cookie has about 4,000 in all."""


class UnderWay(Struct, frozen=True, forbid_unknown_fields=True):
    """Where somebody went, and with what. `ends_at` is in UTC microseconds. `repr` says nothing of it."""

    provider: str
    state: str
    nonce: str
    verifier: str
    there: str
    ends_at: int

    def __repr__(self) -> str:
        return "UnderWay(...)"


_decoder = msgspec.json.Decoder(UnderWay)


def begin(provider: str, there: str, now: datetime) -> UnderWay:
    """Somebody goes, with values that nobody has seen (RFC 7636, 7.1: 256 bits)."""
    state, nonce, verifier = [secrets.token_urlsafe(32) for _ in range(3)]
    return UnderWay(provider, state, nonce, verifier, there, microseconds(now + timedelta(seconds=LIFE_S)))


def seal(store: Store, under_way: UnderWay) -> str:
    """The value of the cookie. Raises `KeyUnavailable`."""
    body = urlsafe_b64encode(msgspec.json.encode(under_way)).decode()
    return f"{body}.{_seal(store, body)}"


def unseal(store: Store, shown: str | None, now: datetime) -> UnderWay | None:
    """Who comes back, if this was made here and its time is not over. Raises `KeyUnavailable`."""
    body, _, seal_ = (shown or "").partition(".")
    if not shown or not shown.isascii() or not hmac.compare_digest(seal_, _seal(store, body)):
        return None
    found = _decoder.decode(urlsafe_b64decode(body))
    return found if microseconds(now) < found.ends_at else None


def _seal(store: Store, body: str) -> str:
    key = hashlib.sha256(store.blind(OPERATOR_LOG, "console provider", "key").encode()).digest()
    return hmac.new(key, b"licet console provider v1\0" + body.encode(), hashlib.sha256).hexdigest()
