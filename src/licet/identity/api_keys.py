"""Secrets that Licet issues, `licet_<id>_<secret>`: API keys for programs and people, sessions of the console, links to sign in with.

Rules:

1. The secret is 256 bits from the operating system and is shown once. What is kept is its SHA-256. A slow hash (Argon2, bcrypt) makes up
   for secrets that people choose; to guess one of 2^256 is no easier with a fast one, and a slow one would let anybody keep us busy.
2. The last six characters are a checksum: a typing error is told from a key that is not known without asking the store, and a scanner of
   secrets can tell a key from a text that looks like one. The checksum guards nothing else.
3. Digests are compared in constant time. The id is no secret: it names the key in records, logs and rate limits.
4. A key is what its last record says: that of its issue, or of an erasure that took a name out of it. A row that was forged, widened or
   revived in the database is refused (ledger/issued.py).
5. A revocation counts within a second: what was verified before holds only while the view of the records is fresh. The same goes for a
   user whom an erasure takes from a key.
6. A secret serves for what it was issued for: a session is no API key, and a link opens one session and nothing else.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import re
from base64 import b32encode
from collections.abc import Callable
from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from licet.errors import NotAuthenticated, StoreError
from licet.identity.authenticated import Authenticated, Method
from licet.identity.directory import Directory
from licet.identity.remembered import Remembered
from licet.model import Passkey

SECRET_BYTES: Final = 32
_ID_BYTES: Final = 10
_SECRET_CHARACTERS: Final = 43  # 62 ** 43 > 2 ** 256
_CHECK_CHARACTERS: Final = 6  # 62 ** 6 > 2 ** 32
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ERASED: Final = "(erased user)"
"""Stands in a key for a user who was erased. Nobody has this name: a name has no space in it."""
_SHAPE: Final = re.compile(r"licet_([a-z2-7]{16})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")


Kind = Literal["key", "session", "link", "passkey"]
"""What a credential is: an API key; a browser that somebody signed in with; a link that signs in once; a public key that signs votes."""
_METHODS: Final[dict[Kind, Method]] = {"key": "api_key", "session": "session"}


class KeyContent(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a key is for. Either of one `user` (a person), or for programs: the `agents`, `services` and `users` that it speaks for.

    `roles` are for what Licet itself permits. `replaces` is the key whose successor it is. Its JSON is stored, and the digest of that
    recorded: fields are append-only. `salt` keeps anybody from guessing what such a digest was made of, once the content is another.
    `signed_in_by` is how a session was opened: `link`, `oidc` or `passkey`, and with which. `passkey` is the public key of a passkey.
    """

    v: int = 1
    name: str
    tenants: tuple[str, ...]
    agents: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    user: str | None = None
    roles: tuple[str, ...] = ()
    replaces: str | None = None
    salt: str = ""
    kind: Kind = "key"
    signed_in_by: str = ""
    passkey: Passkey | None = None


class Minted(Struct, frozen=True):
    """A new key: its id, the key itself, and what is kept of it. `repr` says nothing of the key."""

    id: str
    key: str
    digest: bytes

    def __repr__(self) -> str:
        return f"Minted({self.id!r})"


class StoredKey(Struct, frozen=True, kw_only=True):
    """A key whose row its record bears out. Times are UTC microseconds."""

    id: str
    digest: bytes
    content: KeyContent
    expires_at: int | None


class KeySource(Protocol):
    """Where keys are found. It is asked by many threads."""

    def is_fresh(self) -> bool:
        """Whether every revocation of a second ago is known. Never blocks."""
        ...

    def refresh(self) -> None:
        """It is fresh now. Raises `StoreError` where that cannot be told."""
        ...

    def find(self, credential: str) -> StoredKey | None:
        """The key of this id; None if there is none, or its row is not what was issued. Raises `StoreError`."""
        ...

    def ends_at(self, credential: str) -> int | None:
        """When the key ends by what is known now. Never blocks."""
        ...

    def mark_of(self, credential: str) -> str | None:
        """Which content the key has by what is known now: another one after each change. Never blocks."""
        ...

    def note_use(self, credential: str, at: int) -> None:
        """The key was used. Written later, or lost with the process. Never blocks."""
        ...


def mint(id_: str | None = None) -> Minted:
    """A key that nobody has seen, of this id if one is given."""
    id_ = b32encode(os.urandom(_ID_BYTES)).decode().lower() if id_ is None else id_
    secret = _base62(int.from_bytes(os.urandom(SECRET_BYTES)), _SECRET_CHARACTERS)
    key = f"licet_{id_}_{secret}{_checksum(id_, secret)}"
    return Minted(id_, key, digest_of(key))


def id_made_of(value: bytes) -> str:
    """The id of what can be issued once for this value: two of one id are not issued, whoever tries."""
    return b32encode(hashlib.sha256(value).digest()[:_ID_BYTES]).decode().lower()


def id_of_passkey(passkey: bytes) -> str:
    """The id of the credential of a passkey, by the id that its authenticator gave it."""
    return id_made_of(b"licet-passkey-1\0" + passkey)


def digest_of(key: str) -> bytes:
    """What is kept of a key (rule 1)."""
    return hashlib.sha256(key.encode()).digest()


def find_id(shown: str) -> str | None:
    """The id of a key, if this is one: whole, and without a typing error."""
    found = _SHAPE.fullmatch(shown)
    return found[1] if found is not None and _checksum(found[1], found[2]) == found[3] else None


class ApiKeys:
    """Verifies API keys, or sessions. Safe to use from many threads."""

    def __init__(
        self, source: KeySource, directory: Callable[[], Directory], now_us: Callable[[], int], kind: Literal["key", "session"] = "key"
    ) -> None:
        self._source = source
        self._kind: Final = kind
        self._directory = directory
        self._now_us = now_us
        self._remembered = Remembered()

    def find_known(self, shown: str, peer_certificate: bytes | None) -> Authenticated | None:  # noqa: ARG002  a key is bound to nothing
        """Who showed this a moment ago, if every revocation since is known."""
        found = self._remembered.find(shown, None, self._now_us())
        if found is None or not self._source.is_fresh() or self._has_ended(found.credential):
            return None
        self._source.note_use(found.credential, self._now_us())
        return found

    def verify(self, shown: str, peer_certificate: bytes | None) -> Authenticated:  # noqa: ARG002  a key is bound to nothing
        """Whose key this is. Raises `NotAuthenticated`."""
        id_ = find_id(shown)
        if id_ is None:
            raise NotAuthenticated("invalid_credential", "malformed_key")
        try:
            self._source.refresh()
            mark = self._source.mark_of(id_)  # before the row is read: a content that changes meanwhile is not taken for this one
            found = self._source.find(id_)
        except StoreError as error:
            raise NotAuthenticated("unavailable", "store_unavailable", str(error)) from error
        if found is None or not hmac.compare_digest(found.digest, digest_of(shown)):
            raise NotAuthenticated("invalid_credential", "unknown_key", id_)
        if found.content.kind != self._kind:
            raise NotAuthenticated("invalid_credential", "wrong_kind", id_)
        self._check_time(found)
        directory = self._directory()
        verified = self._authenticated(found, directory)
        self._remembered.put(shown, None, verified, lambda: self._directory() is directory and self._source.mark_of(id_) == mark)
        self._source.note_use(id_, self._now_us())
        return verified

    def _check_time(self, found: StoredKey) -> None:
        if found.expires_at is not None and self._now_us() >= found.expires_at:
            raise NotAuthenticated("invalid_credential", "expired", found.id)
        if self._has_ended(found.id):
            raise NotAuthenticated("invalid_credential", "revoked", found.id)

    def _has_ended(self, credential: str) -> bool:
        ends_at = self._source.ends_at(credential)
        return ends_at is not None and self._now_us() >= ends_at

    def _authenticated(self, found: StoredKey, directory: Directory) -> Authenticated:
        content = found.content
        if content.user is not None:
            user = directory.users.get(content.user)
            if user is None or user.disabled:
                raise NotAuthenticated("invalid_credential", "user_unknown_or_disabled", found.id)
        return Authenticated(
            method=_METHODS[self._kind],
            credential=found.id,
            tenants=content.tenants,
            user=content.user,
            agents=content.agents,
            services=content.services,
            users=content.users,
            roles=content.roles,
            expires_at=found.expires_at,
        )


def _checksum(id_: str, secret: str) -> str:
    return _base62(binascii.crc32(f"{id_}_{secret}".encode()), _CHECK_CHARACTERS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


encode_content = msgspec.json.Encoder(order="sorted").encode
"""The bytes of a content that are stored and whose digest is recorded."""

decode_content = msgspec.json.Decoder(KeyContent).decode
"""The content of such bytes. Raises `msgspec.DecodeError`."""
