"""Client certificates: who shows one that the TLS layer has verified.

Rules:

1. The certificate comes from the TLS layer of this very process, which has verified its chain against `client_ca` of licet.toml. A header
   that says what a proxy has seen is never taken for one.
2. Its names are compared whole, by kind: URIs and DNS names of the subject's alternative names, and the subject (RFC 4514). A wildcard
   names nobody.
3. Where its names are logins of different entries nobody is meant, and it is refused.
4. Whoever shows one speaks for itself. To act for a user, an agent shows a token of that user, which may be bound to the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cryptography import x509

from licet.config import Settings
from licet.config.identity import CERTIFICATE
from licet.errors import NotAuthenticated
from licet.identity.authenticated import Authenticated
from licet.identity.directory import Directory
from licet.identity.logins import Entry, Logins, credential_id, program_of
from licet.identity.remembered import Remembered


class Certificates:
    """Maps certificates to entries of licet.toml."""

    def __init__(self, settings: Callable[[], Settings], directory: Callable[[], Directory], now_us: Callable[[], int]) -> None:
        self._settings = settings
        self._directory = directory
        self._now_us = now_us
        self._remembered = Remembered()
        self._logins: tuple[Settings, Logins] | None = None

    def find_known(self, peer_certificate: bytes) -> Authenticated | None:
        """Who showed this a moment ago, if directory and licet.toml are still those."""
        return self._remembered.find("", peer_certificate, self._now_us())

    def verify(self, peer_certificate: bytes) -> Authenticated:
        """Whose certificate (DER) this is. Raises `NotAuthenticated`."""
        try:
            certificate = x509.load_der_x509_certificate(peer_certificate)
            names = tuple(names_of(certificate))
        except ValueError as error:
            raise NotAuthenticated("invalid_credential", "malformed_certificate") from error
        ends_at = int(certificate.not_valid_after_utc.timestamp()) * 1_000_000
        begins_at = int(certificate.not_valid_before_utc.timestamp()) * 1_000_000
        if not begins_at <= self._now_us() < ends_at:  # a connection may live longer than what it was opened with
            raise NotAuthenticated("invalid_credential", "expired")
        settings, directory = self._settings(), self._directory()
        verified = self._authenticated(*self._find(names, settings), ends_at, directory)
        self._remembered.put("", peer_certificate, verified, lambda: self._settings() is settings and self._directory() is directory)
        return verified

    def _find(self, names: tuple[str, ...], settings: Settings) -> tuple[Entry, str]:
        known = self._logins
        if known is None or known[0] is not settings:
            self._logins = known = (settings, Logins(settings))
        logins = known[1]
        found = [(entry, name) for name in names if (entry := logins.find(CERTIFICATE, name)) is not None]
        if not found:
            raise NotAuthenticated("unknown_login", "unknown_login", ", ".join(names))
        if len({entry for entry, _ in found}) > 1:
            raise NotAuthenticated("invalid_credential", "certificate_of_several", ", ".join(names))
        return found[0]

    def _authenticated(self, entry: Entry, name: str, ends_at: int, directory: Directory) -> Authenticated:
        credential = credential_id("mtls", name)
        if entry.kind == "users":
            user = directory.users.get(entry.name)
            if user is None or user.disabled:
                raise NotAuthenticated("invalid_credential", "user_unknown_or_disabled", entry.name)
            return Authenticated(method="mtls", credential=credential, tenants=user.tenants, user=entry.name, expires_at=ends_at)
        tenants, roles = program_of(entry, directory)
        return Authenticated(
            method="mtls",
            credential=credential,
            tenants=tenants,
            agents=(entry.name,) if entry.kind == "agents" else (),
            services=(entry.name,) if entry.kind == "services" else (),
            roles=roles,
            expires_at=ends_at,
        )


def names_of(certificate: x509.Certificate) -> Iterator[str]:
    """The names of a certificate as logins write them, without `x509|`."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        yield from (f"uri:{uri}" for uri in alternative.get_values_for_type(x509.UniformResourceIdentifier))
        yield from (f"dns:{name}" for name in alternative.get_values_for_type(x509.DNSName) if "*" not in name)
    if subject := certificate.subject.rfc4514_string():
        yield f"subject:{subject}"
