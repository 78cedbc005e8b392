"""The public keys of an issuer (RFC 7517), from a URL or a file: cached, refreshed, and kept over an outage.

Rules:

1. Keys come from the configured place alone. Whatever a token's header says of keys (`jku`, `jwk`, `x5u`, `x5c`) is not looked at.
2. Only public keys for signatures are used: RSA of 2,048 bits and more, the curves that the algorithms name. A shared secret (`oct`), a key
   for encryption, or one whose private half was published, is left out.
3. An unknown `kid` makes one fetch, at most one in `refetch_s`: whoever sends forged tokens does not make us hammer the issuer.
4. While keys cannot be fetched, those that are here go on for `outage_s` since the last fetch; then nobody is let in. Keys that the issuer
   has taken away are gone with the next fetch, after `refresh_s` at the latest.
5. One thread fetches; the others go on with what is here, and wait only where that does not have their key.
"""

from __future__ import annotations

import base64
import math
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from msgspec import Struct

from licet.catalog import strict
from licet.config import IssuerSettings
from licet.errors import ArgumentsRefused, ConfigInvalid, NotAuthenticated
from licet.wire import Address, Answered

LIMIT_BYTES: Final = 512 * 1024
KEYS_LIMIT: Final = 200
TIMEOUT_S: Final = 5.0
RSA_BYTES: Final = 256
"""2,048 bits (RFC 7518, section 3.3)."""

_OK: Final = 200
_FIT: Final[dict[str, tuple[str, str | None]]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""Which kind of key an algorithm takes (RFC 7518, RFC 8037): a key of another kind is never tried with it."""


class KeysUnavailable(Exception):
    """The issuer's keys cannot be fetched, or what was fetched are no keys."""


Fetch = Callable[[str], bytes]
"""The bytes of a key set at this place. Raises `KeysUnavailable`."""


class VerificationKey(Struct, frozen=True):
    """One key of a set."""

    kid: str | None
    kind: str
    curve: str | None
    alg: str | None
    key: Key


class KeySet(Struct, frozen=True):
    """The usable keys of one fetch. Another fetch of the same bytes gives the same object."""

    content: bytes
    keys: tuple[VerificationKey, ...]

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The one key that this is signed with, if it can be told. Without a `kid` there must be one key that fits, and no more."""
        kind, curve = _FIT[algorithm]
        fitting = [
            key
            for key in self.keys
            if (kid is None or key.kid == kid) and key.kind == kind and curve in {None, key.curve} and key.alg in {None, algorithm}
        ]
        return fitting[0] if len(fitting) == 1 else None


class IssuerKeys:
    """The keys of one issuer. Safe to use from many threads."""

    def __init__(self, settings: IssuerSettings, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._fetch = fetch or fetch_keys
        self._clock = clock
        self._fetching = threading.Lock()
        self._set: KeySet | None = None
        self._fetched_at = -math.inf
        self._tried_at = -math.inf

    def is_current(self, keys: KeySet) -> bool:
        """Whether these are the keys, and need not be looked for again yet. Never blocks."""
        return keys is self._set and not self._is_due() and self._clock() - self._fetched_at < self._settings.outage_s

    def find(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, KeySet]:
        """The key with which this is signed, and the set it is from.

        Raises `NotAuthenticated` (`unavailable` where there are no keys that are young enough, `unknown_kid`).
        """
        if self._set is None or self._is_due():
            self._refresh()
        keys = self._get()
        found = keys.find(kid, algorithm)
        if found is None and (self._may_try() or self._fetching.locked()):
            self._refresh(wait=True)  # the issuer may have a new one (rule 3)
            keys = self._get()
            found = keys.find(kid, algorithm)
        if found is None:
            raise NotAuthenticated("invalid_credential", "unknown_kid", self._settings.issuer)
        return found, keys

    def _get(self) -> KeySet:
        if self._set is None or self._clock() - self._fetched_at >= self._settings.outage_s:
            raise NotAuthenticated("unavailable", "no_keys_of_issuer", self._settings.issuer)
        return self._set

    def _is_due(self) -> bool:
        """Whether the keys are to be looked for again, by their age, and not too soon after the last try."""
        return self._clock() - self._fetched_at >= self._settings.refresh_s and self._may_try()

    def _may_try(self) -> bool:
        return self._clock() - self._tried_at >= self._settings.refetch_s

    def _refresh(self, *, wait: bool = False) -> None:
        """The keys were looked for, by this thread or another one, if it is time."""
        if not self._fetching.acquire(blocking=wait or self._set is None):
            return  # rule 5
        try:
            if not self._may_try():
                return
            self._tried_at = self._clock()
            content = self._fetch(self._settings.jwks)
            if self._set is None or content != self._set.content:
                self._set = read_keys(content)
            self._fetched_at = self._tried_at
        except KeysUnavailable:
            return  # what is here goes on, as long as rule 4 lets it
        finally:
            self._fetching.release()


def read_keys(content: bytes) -> KeySet:
    """The usable keys of a JWK set. Raises `KeysUnavailable` for what is no such set."""
    try:
        found = strict.parse(content, limit_bytes=LIMIT_BYTES)
    except ArgumentsRefused as error:
        raise KeysUnavailable(f"the keys are not JSON: {error}") from error
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_LIMIT:
        raise KeysUnavailable(f"it is no set of at most {KEYS_LIMIT} keys")
    return KeySet(content, tuple([key for one in listed if (key := _read_key(one)) is not None]))


def _read_key(unverified: Any) -> VerificationKey | None:
    """The key, if it may be used (rule 2)."""
    if not isinstance(unverified, dict) or not all(
        isinstance(unverified.get(name, ""), str) for name in ("kty", "kid", "crv", "alg", "use")
    ):
        return None
    operations = unverified.get("key_ops", ["verify"])
    if "d" in unverified or unverified.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    kind = unverified.get("kty")
    if kind not in {"RSA", "EC", "OKP"} or (kind == "RSA" and _size_bytes(unverified.get("n")) < RSA_BYTES):
        return None
    try:
        key = import_key(cast("Any", unverified))
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return VerificationKey(unverified.get("kid"), str(kind), unverified.get("crv"), unverified.get("alg"), key)


def _size_bytes(encoded: Any) -> int:
    """How long the number is, without leading zeros."""
    try:
        return len(base64.urlsafe_b64decode(f"{encoded}==").lstrip(b"\0"))
    except ValueError:
        return 0


def fetch_keys(place: str) -> bytes:
    """The key set at a URL, by the rules of licet/wire.py, or of `file:PATH`. Raises `KeysUnavailable`."""
    if place.startswith("file:"):
        try:
            with Path(place.removeprefix("file:")).open("rb") as stream:
                return stream.read(LIMIT_BYTES + 1)
        except OSError as error:
            raise KeysUnavailable(f"the file cannot be read: {error.strerror}") from error
    try:
        address = Address.parse(place, "an issuer's keys", query=True)
    except ConfigInvalid as error:
        raise KeysUnavailable(str(error)) from error
    headers = {"Accept": "application/jwk-set+json, application/json"}
    answer = address.exchange("GET", "", None, headers, timeout_s=TIMEOUT_S, limit_bytes=LIMIT_BYTES, tls=ssl.create_default_context())
    if not isinstance(answer, Answered):
        raise KeysUnavailable(answer.message)
    if answer.status != _OK or answer.problem is not None:
        raise KeysUnavailable(answer.problem or f"the issuer answers with status {answer.status}")
    return answer.body
