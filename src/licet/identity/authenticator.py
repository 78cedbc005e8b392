"""The one place where a credential becomes an `Authenticated`: API keys, tokens and certificates, each by its own module.

Rules:

1. The header decides the kind, and the kind its check: `licet_...` is an API key and nothing else, every other bearer value is a token.
   What one check refuses, no other one is asked.
2. A certificate that the TLS layer verified counts where there is no `Authorization` header. Where both are shown the header says who
   speaks; a token that is bound to a certificate needs that very one (RFC 8705).
3. Every refusal looks the same to a stranger. `NotAuthenticated.reason` says why, for the log and the metrics.
"""

from __future__ import annotations

from typing import Final, Protocol

from licet.errors import NotAuthenticated
from licet.identity.authenticated import Authenticated

HEADER_LIMIT: Final = 16 * 1024
"""Characters of an `Authorization` header. Tokens of real issuers are below 8 KiB; nothing larger is even hashed."""

KEY_PREFIX: Final = "licet_"


class Verifies(Protocol):
    """Checks credentials of one kind."""

    def find_known(self, shown: str, peer_certificate: bytes | None) -> Authenticated | None:
        """What was verified before and still holds: a hash and a look-up, without I/O. None if that is not known. Never raises."""
        ...

    def verify(self, shown: str, peer_certificate: bytes | None) -> Authenticated:
        """Who shows this. May read the store or ask an issuer for its keys, and block for that. Raises `NotAuthenticated`."""
        ...


class VerifiesCertificates(Protocol):
    """Checks certificates that the TLS layer has verified."""

    def find_known(self, peer_certificate: bytes) -> Authenticated | None:
        """As for `Verifies`."""
        ...

    def verify(self, peer_certificate: bytes) -> Authenticated:
        """Who this certificate (DER) is mapped to. Raises `NotAuthenticated`."""
        ...


class Authenticator:
    """Tells who speaks. Safe to use from many threads; what is None is not accepted."""

    def __init__(
        self,
        *,
        keys: Verifies | None = None,
        tokens: Verifies | None = None,
        certificates: VerifiesCertificates | None = None,
        sessions: Verifies | None = None,
    ) -> None:
        self._sessions = sessions
        self._keys = keys
        self._tokens = tokens
        self._certificates = certificates

    def find_known(self, authorization: str | None, peer_certificate: bytes | None = None) -> Authenticated | None:
        """Who speaks, if that was verified a moment ago. Never blocks and never raises: ask it on an event loop, before `authenticate`."""
        if authorization is None:
            return None if peer_certificate is None or self._certificates is None else self._certificates.find_known(peer_certificate)
        shown = _bearer(authorization)
        checks = None if shown is None else self._checks(shown)
        return None if shown is None or checks is None else checks.find_known(shown, peer_certificate)

    def authenticate(self, authorization: str | None, peer_certificate: bytes | None = None) -> Authenticated:
        """Who speaks, by the `Authorization` header and the DER of the certificate that the TLS layer verified.

        May block (store, issuer): run it in a worker thread. Raises `NotAuthenticated`.
        """
        if authorization is None:
            if peer_certificate is None or self._certificates is None:
                raise NotAuthenticated("no_credential", "missing")
            return self._certificates.verify(peer_certificate)
        shown = _bearer(authorization)
        if shown is None:
            raise NotAuthenticated("invalid_credential", "not_bearer")
        checks = self._checks(shown)
        if checks is None:
            raise NotAuthenticated("invalid_credential", "kind_not_accepted")
        return checks.verify(shown, peer_certificate)

    def find_known_session(self, shown: str) -> Authenticated | None:
        """As `find_known`, by the secret in a browser's cookie."""
        return None if self._sessions is None else self._sessions.find_known(shown, None)

    def authenticate_session(self, shown: str) -> Authenticated:
        """As `authenticate`, by the secret in a browser's cookie. Nothing else is taken from a cookie, and no session from a header."""
        if self._sessions is None:
            raise NotAuthenticated("invalid_credential", "kind_not_accepted")
        return self._sessions.verify(shown, None)

    def _checks(self, shown: str) -> Verifies | None:
        return self._keys if shown.startswith(KEY_PREFIX) else self._tokens


def _bearer(authorization: str | None) -> str | None:
    """The value of a bearer header (RFC 6750): scheme, one space, one value."""
    if authorization is None or len(authorization) > HEADER_LIMIT or authorization[:7].lower() != "bearer ":
        return None
    shown = authorization[7:]
    return shown if shown and shown.isascii() and shown.isprintable() and " " not in shown else None
