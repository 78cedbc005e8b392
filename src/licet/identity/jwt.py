"""Access tokens: JWTs by RFC 9068, checked as RFC 8725 asks.

Rules, in the order in which they are checked:

1. A token is at most `TOKEN_LIMIT` characters, in three parts; header and claims are strict JSON objects in which nothing stands twice.
2. The algorithm is one that licet.toml allows for this issuer. `none` and shared secrets cannot be named there.
3. The header has no `crit` and no `b64`, and its `typ` is one that is allowed: an id token is no access token.
4. The issuer is a configured one, character by character. The key is the issuer's, by `kid`, and of the kind that the algorithm takes.
5. The signature holds.
6. `aud` names us, or a resource of our gateway, for which alone the token is then; `exp` is there and has not come; `nbf` and `iat`, where
   they are, have. Clocks may differ by the leeway.
7. A token that is bound to a certificate (`cnf`, RFC 8705) is shown with that very certificate. One that is bound to anything else is
   refused, since nobody here can check it.
8. Who that is stands in licet.toml (identity/logins.py).

Not claimed: that a token is used once. Until it expires, whoever has it can show it again, unless it is bound to a certificate.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact
from msgspec import Struct
from msgspec.structs import replace

from licet.catalog import strict
from licet.config import IssuerSettings, Settings
from licet.errors import ArgumentsRefused, NotAuthenticated
from licet.identity.authenticated import Authenticated
from licet.identity.directory import Directory
from licet.identity.jwks import Fetch, IssuerKeys, VerificationKey
from licet.identity.logins import Logins
from licet.identity.remembered import Remembered
from licet.identity.resources import gateway_resource, resources_among
from licet.model import JsonObject

TOKEN_LIMIT: Final = 12 * 1024
"""Characters; a hundred roles fit."""
HEADER_LIMIT: Final = 4 * 1024
KID_LIMIT: Final = 500
LATEST: Final = 2**40
"""Seconds. A date beyond is no date (RFC 7519 has seconds; some issuers have been seen to write milliseconds)."""

_PARTS: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class _Registry(JWSRegistry):
    """What may be in a header was checked here before; which algorithm may be used as well (rules 1 to 3)."""

    max_header_length = HEADER_LIMIT
    max_payload_length = TOKEN_LIMIT
    max_signature_length = 2 * 1024

    def get_alg(self, name: str) -> Any:
        """The algorithm, without opinions on it."""
        return self.algorithms[name]


_REGISTRY: Final = _Registry(strict_check_header=False)


class Unverified(Struct, frozen=True):
    """A token as it was read; nothing in it is believed yet."""

    header: JsonObject
    claims: JsonObject


class _Accepted(Struct, frozen=True):
    """Whose tokens some settings accept."""

    settings: Settings
    issuers: Mapping[str, tuple[IssuerSettings, IssuerKeys]]
    logins: Logins

    def find(self, unverified_issuer: object) -> tuple[IssuerSettings, IssuerKeys]:
        """The issuer of this name, and its keys. Raises `NotAuthenticated`."""
        found = self.issuers.get(unverified_issuer) if isinstance(unverified_issuer, str) else None
        if found is None:
            raise _refused("unknown_issuer")
        return found


class Tokens:
    """Verifies tokens. `settings` and `directory` are asked each time: what was verified against others does not hold any more."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        directory: Callable[[], Directory],
        now_us: Callable[[], int],
        fetch: Fetch | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._now_us = now_us
        self._fetch = fetch
        self._clock = clock
        self._remembered = Remembered()
        self._accepted = self._read(settings(), {})

    def find_known(self, shown: str, peer_certificate: bytes | None) -> Authenticated | None:
        """Who showed this a moment ago, if keys, directory and licet.toml are still those."""
        return self._remembered.find(shown, peer_certificate, self._now_us())

    def verify(self, shown: str, peer_certificate: bytes | None) -> Authenticated:
        """Who shows this token. Raises `NotAuthenticated`."""
        settings, directory = self._settings(), self._directory()
        accepted = self._accepted
        if accepted.settings is not settings:
            self._accepted = accepted = self._read(settings, accepted.issuers)
        unverified = read_token(shown)
        issuer, keys = accepted.find(unverified.claims.get("iss"))
        algorithm, kid = check_header(unverified.header, issuer)
        key, key_set = keys.find(kid, algorithm)
        claims = verify_signature(shown, key)
        expires_at = check_claims(claims, issuer, self._now_us() / 1_000_000, gateway_resource(settings))
        _check_binding(claims, issuer, peer_certificate)
        verified = replace(
            accepted.logins.of_token(claims, issuer, directory, expires_at),
            only_for=only_for(claims, issuer, gateway_resource(settings)),
            scopes=_scopes(claims),
        )
        self._remembered.put(
            shown,
            peer_certificate,
            verified,
            lambda: self._settings() is settings and self._directory() is directory and keys.is_current(key_set),
        )
        return verified

    def _read(self, settings: Settings, known: Mapping[str, tuple[IssuerSettings, IssuerKeys]]) -> _Accepted:
        """Whose tokens these settings accept. Keys that were fetched for an issuer stay, where nothing was said otherwise of it."""
        issuers = {}
        for issuer in settings.identity.issuers:
            earlier = known.get(issuer.issuer)
            same = earlier is not None and earlier[0] == issuer
            issuers[issuer.issuer] = (issuer, earlier[1] if same and earlier is not None else self._keys_of(issuer))
        return _Accepted(settings, issuers, Logins(settings))

    def _keys_of(self, issuer: IssuerSettings) -> IssuerKeys:
        return IssuerKeys(issuer, self._fetch) if self._clock is None else IssuerKeys(issuer, self._fetch, self._clock)


def read_token(shown: str) -> Unverified:
    """Header and claims of a token. Raises `NotAuthenticated` (rule 1)."""
    if len(shown) > TOKEN_LIMIT:
        raise _refused("too_large")
    parts = _PARTS.fullmatch(shown)
    if parts is None:
        raise _refused("malformed")
    return Unverified(_object(_decoded(parts[1]), HEADER_LIMIT), _object(_decoded(parts[2]), TOKEN_LIMIT))


def check_claims(claims: JsonObject, issuer: IssuerSettings, now_s: float, gateway: str | None = None) -> int:
    """When the token expires, in UTC microseconds. `gateway` is the gateway's resource. Raises `NotAuthenticated` (rule 6)."""
    if claims.get("iss") != issuer.issuer:
        raise _refused("wrong_issuer")
    only_for(claims, issuer, gateway)
    expires = _date(claims, "exp")
    if expires is None:
        raise _refused("no_expiry")
    if now_s >= expires + issuer.leeway_s:
        raise _refused("expired")
    for name in ("nbf", "iat"):
        begins = _date(claims, name)
        if begins is not None and now_s < begins - issuer.leeway_s:
            raise _refused("not_yet_valid")
    return int((expires + issuer.leeway_s) * 1_000_000)


def only_for(claims: JsonObject, issuer: IssuerSettings, gateway: str | None) -> tuple[str, ...]:
    """The resources of the gateway that the token is for, where it is not for all of us. Raises `NotAuthenticated` (rule 6)."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    named = [one for one in audiences if isinstance(one, str)]
    if len(named) != len(audiences):
        raise _refused("wrong_audience")
    if issuer.audience in named:
        return ()
    found = resources_among(named, gateway)
    if not found:
        raise _refused("wrong_audience")
    return found


def _scopes(claims: JsonObject) -> tuple[str, ...]:
    scope = claims.get("scope")
    return tuple(scope.split()) if isinstance(scope, str) else ()


def check_header(header: JsonObject, issuer: IssuerSettings, *, untyped: bool = False) -> tuple[str, str | None]:
    """Algorithm and key id; `untyped` where a `typ` may be missing. Raises `NotAuthenticated` (rules 2 and 3)."""
    algorithm, kind, kid = header.get("alg"), header.get("typ"), header.get("kid")
    if algorithm not in issuer.algorithms:
        raise _refused("algorithm_not_allowed")
    if "crit" in header or "b64" in header:
        raise _refused("critical_header")
    if not (untyped and kind is None) and (not isinstance(kind, str) or kind.lower().removeprefix("application/") not in issuer.types):
        raise _refused("wrong_type")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= KID_LIMIT):
        raise _refused("malformed")
    return str(algorithm), kid


def verify_signature(shown: str, key: VerificationKey) -> JsonObject:
    """The claims that were signed, read from the very bytes that the signature is of. Raises `NotAuthenticated` (rule 5)."""
    try:
        signed = deserialize_compact(shown, key.key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError) as error:
        raise _refused("bad_signature") from error
    return _object(signed.payload, TOKEN_LIMIT)


def _check_binding(claims: JsonObject, issuer: IssuerSettings, peer_certificate: bytes | None) -> None:
    """Rule 7."""
    bound = claims.get("cnf")
    if bound is None:
        if issuer.bound:
            raise _refused("not_bound")
        return
    thumbprint = bound.get("x5t#S256") if isinstance(bound, dict) and len(bound) == 1 else None
    if not isinstance(thumbprint, str) or not thumbprint.isascii():
        raise _refused("unknown_binding")
    if peer_certificate is None:
        raise _refused("certificate_missing")
    ours = base64.urlsafe_b64encode(hashlib.sha256(peer_certificate).digest()).rstrip(b"=")
    if not hmac.compare_digest(ours, thumbprint.encode()):
        raise _refused("another_certificate")


def _date(claims: JsonObject, name: str) -> float | None:
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < LATEST:
        raise _refused("malformed_date")
    return float(found)


def _object(content: bytes, limit_bytes: int) -> JsonObject:
    try:
        found = strict.parse(content, limit_bytes=limit_bytes)
    except ArgumentsRefused as error:
        raise _refused("malformed") from error
    if not isinstance(found, dict):
        raise _refused("malformed")
    return found


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError as error:
        raise _refused("malformed") from error


def _refused(reason: str) -> NotAuthenticated:
    return NotAuthenticated("invalid_credential", reason)
