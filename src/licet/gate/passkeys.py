"""Passkeys of people: registered, found, and what they open.

Rules:

1. A passkey is a credential of one person (gate/credentials.py): its registration, with its public key, and its end are records. It is
   revoked like any other, and ends with its person's place in the directory.
2. Who adds one has signed in a moment ago (`FRESH_S`): a session that was stolen later adds none that would outlive it.
3. Its id is made of the id that the authenticator gave it, so that it is registered once, and found without a list of all.
4. A session that a passkey opens has an id that is made of the challenge that was answered: a challenge opens one session, in whatever
   process.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from licet.errors import CredentialRefused
from licet.gate.credentials import Credentials, CredentialSeen, IssuedKey, list_credentials, show_credential
from licet.gate.signing_in import SESSION_S
from licet.identity.api_keys import KeyContent, id_made_of, id_of_passkey
from licet.identity.authenticated import ANY, Authenticated
from licet.ledger.passkeys import decode_base64url
from licet.model import Passkey
from licet.store.contract import Store

FRESH_S: Final = 10 * 60
PASSKEYS_LIMIT: Final = 20
"""Of one person. Nobody has so many devices; somebody who has got in would add more."""


class FoundPasskey(Struct, frozen=True):
    """A passkey that is good now, and whose it is."""

    credential: str
    user: str
    passkey: Passkey


class KeptPasskey(Struct, frozen=True):
    """A passkey that an authenticator has made, how its person calls it, and when."""

    name: str
    passkey: Passkey
    at: datetime


def is_fresh(store: Store, who: Authenticated, now: datetime) -> bool:
    """Whether whoever asks has signed in a moment ago (rule 2). Raises `StoreError`."""
    if who.method != "session":
        return False
    return now - show_credential(store, who.credential, now).created_at <= timedelta(seconds=FRESH_S)


def register_passkey(credentials: Credentials, store: Store, who: Authenticated, made: KeptPasskey) -> IssuedKey:
    """A passkey of whoever asks.

    Raises `CredentialRefused` (`not_fresh`, `too_many_passkeys`, `credential_exists`, `bad_name` ...), `StoreError`.
    """
    if who.user is None or not is_fresh(store, who, made.at):
        raise CredentialRefused("not_fresh", f"sign in again: a passkey is added within {FRESH_S // 60} minutes of that")
    if len(passkeys_of(store, who.user, made.at)) >= PASSKEYS_LIMIT:
        raise CredentialRefused("too_many_passkeys", f"a person has {PASSKEYS_LIMIT} passkeys at most: remove one first")
    content = KeyContent(name=made.name, tenants=(ANY,), user=who.user, kind="passkey", passkey=made.passkey)
    return credentials.showing(who).register(content, id_=id_of_passkey(decode_base64url(made.passkey.id)), by=who.user)


def find_passkey(credentials: Credentials, passkey: str) -> FoundPasskey | None:
    """The passkey of this id, if it is good now. Raises `AssertionInvalid`, `StoreError`."""
    credential = id_of_passkey(decode_base64url(passkey))
    content = credentials.find_active(credential)
    if content is None or content.kind != "passkey" or content.passkey is None or content.user is None:
        return None
    return FoundPasskey(credential, content.user, content.passkey) if content.passkey.id == passkey else None


def open_by_passkey(credentials: Credentials, found: FoundPasskey, challenge: bytes) -> IssuedKey:
    """The session that this passkey opens by its answer to this challenge.

    Raises `CredentialRefused` (`credential_exists` where the challenge was answered before; `unknown_user`, `user_disabled`), `StoreError`.
    """
    content = KeyContent(name="console", tenants=(ANY,), user=found.user, kind="session", signed_in_by=f"passkey {found.credential}")
    opened = credentials.register(content, id_=id_made_of(b"licet-challenge-1\0" + challenge), expires_s=SESSION_S, by=found.user)
    credentials.note_use(found.credential)
    return opened


def passkeys_of(store: Store, user: str, now: datetime) -> tuple[CredentialSeen, ...]:
    """The passkeys of this person that are good now, the oldest first. Raises `StoreError`."""
    return tuple([one for one in _of(store, user, now) if one.kind == "passkey"])


def ids_of(credentials: Credentials, store: Store, user: str, origins: Collection[str], now: datetime) -> tuple[str, ...]:
    """What authenticators call the passkeys of this person that are good now and at one of these origins. Raises `StoreError`."""
    found = [credentials.find_active(one.id) for one in passkeys_of(store, user, now)]
    passkeys = [content.passkey for content in found if content is not None and content.passkey is not None]
    return tuple([passkey.id for passkey in passkeys if passkey.origin in origins])


def sessions_of(store: Store, user: str, now: datetime) -> tuple[CredentialSeen, ...]:
    """Where this person is signed in, the newest first. Raises `StoreError`."""
    return tuple(reversed([one for one in _of(store, user, now) if one.kind == "session"]))


def _of(store: Store, user: str, now: datetime) -> list[CredentialSeen]:
    return [one for one in list_credentials(store, now) if one.user == user and one.state in {"active", "ending"}]
