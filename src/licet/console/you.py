"""Oneself: the passkeys that one has, where one is signed in, and what ends either.

Rules:

1. The page shows and changes what is of the person who is signed in, and nobody else's: what is not theirs and what is not there answer
   alike.
2. Adding a passkey takes a sign-in of a moment ago (gate/passkeys.py). Taking one away, and ending a session, take nothing more: who fears
   for their sessions must not have to wait.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from licet.console.challenges import LIFE_S, Place, is_challenge, make_challenge, place_of
from licet.console.frame import page
from licet.console.passkeys import NOT_HERE, Coded, refused
from licet.console.webauthn_library import PasskeyRefused, read_registration
from licet.errors import CredentialRefused
from licet.gate.passkeys import FRESH_S, KeptPasskey, is_fresh, passkeys_of, register_passkey, sessions_of
from licet.ledger.passkeys import AssertionInvalid, decode_base64url, encode_base64url
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem, not_found

_TOO_LATE: Final = "Too much time has passed: try again."
_AGAIN: Final = f"Sign in again: a passkey is added within {FRESH_S // 60} minutes of that."
ALGORITHMS: Final = (-7, -8, -257)
"""COSE: ES256, EdDSA, RS256; the first that an authenticator has is taken."""


class AddPasskey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an authenticator has made (base64url), and how its person calls it."""

    challenge: Annotated[str, Meta(max_length=200)]
    id: Annotated[str, Meta(max_length=1_400)]
    client_data: Coded
    attestation: Annotated[str, Meta(max_length=40_000)]
    name: Annotated[str, Meta(max_length=100)] = ""


class OneOfMine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A passkey, or a session."""

    id: Annotated[str, Meta(max_length=100)]


def show(asked: Asked) -> Answer:
    """The page."""
    person, store, now = asked.person, asked.gate.store, asked.gate.now()
    return page(
        asked,
        "you.html",
        passkeys=passkeys_of(store, person, now),
        sessions=sessions_of(store, person, now),
        fresh=is_fresh(store, asked.who, now),
        here_works=place_of(asked) is not None,
        not_here=NOT_HERE,
        again=_AGAIN,
    )


def begin(asked: Asked) -> Answer:
    """What an authenticator needs to make a passkey for whoever is signed in."""
    person, store, now = asked.person, asked.gate.store, asked.gate.now()
    place = place_of(asked)
    if place is None:
        return refused(NOT_HERE)
    if not is_fresh(store, asked.who, now):
        return refused(_AGAIN)
    body = {
        "challenge": encode_base64url(make_challenge(store, "register", asked.who.credential, now)),
        "rp_id": place.rp_id,
        "user": {"id": _handle(place, person), "name": person},
        "algorithms": ALGORITHMS,
        "timeout_ms": LIFE_S * 1_000,
    }
    return Answer(body=body)


def add(asked: Asked) -> Answer:
    """Register what was made."""
    body: AddPasskey = asked.body
    store, now = asked.gate.store, asked.gate.now()
    place = place_of(asked)
    if place is None:
        return refused(NOT_HERE)
    response = {"clientDataJSON": body.client_data, "attestationObject": body.attestation}
    answer: dict[str, Any] = {"id": body.id, "rawId": body.id, "type": "public-key", "response": response}
    try:
        challenge = decode_base64url(body.challenge)
        if not is_challenge(store, "register", asked.who.credential, challenge, now):
            return refused(_TOO_LATE)
        origin = _origin(body.client_data)
        passkey = read_registration(answer, challenge=challenge, rp_id=place.rp_id, origins=place.origins, origin=origin)
        name = " ".join(body.name.split()) or "Passkey"
        register_passkey(asked.gate.credentials, store, asked.who, KeptPasskey(name, passkey, now))
    except (AssertionInvalid, PasskeyRefused, CredentialRefused) as error:
        return refused(_sentence(str(error)))
    return Answer(body={"next": "/console/you"})


def remove(asked: Asked) -> Answer:
    """A passkey of one's own is good for nothing any more."""
    return _end(asked, "passkey", "removed by its person")


def end_session(asked: Asked) -> Answer:
    """A session of one's own is over."""
    return _end(asked, "session", "ended by its person")


def _end(asked: Asked, kind: str, reason: str) -> Answer:
    store, now = asked.gate.store, asked.gate.now()
    mine = passkeys_of(store, asked.person, now) if kind == "passkey" else sessions_of(store, asked.person, now)
    if asked.params.id not in {one.id for one in mine}:
        raise not_found()
    try:
        asked.gate.credentials.showing(asked.who).revoke(asked.params.id, reason=reason, by=asked.person)
    except CredentialRefused as error:
        raise Problem("conflict", str(error)) from error
    return Answer(status=303, media_type="text/plain", headers=(("Location", "/console/you"),))


class _Client(Struct, frozen=True):
    origin: str = ""


_decode_client = msgspec.json.Decoder(_Client).decode


def _origin(client_data: str) -> str:
    """Where the passkey says that it was made; the library holds it against what is ours. Raises `AssertionInvalid`."""
    try:
        return _decode_client(decode_base64url(client_data)).origin
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AssertionInvalid("the browser's answer cannot be read") from error


def _handle(place: Place, person: str) -> str:
    """How an authenticator tells this person's passkeys from others': it says nothing of them that a name does."""
    return encode_base64url(hashlib.sha256(f"licet-person-1\0{place.rp_id}\0{person}".encode()).digest())


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."


PAGES: Final = (
    Endpoint(
        method="GET",
        path="/console/you",
        operation="consoleYou",
        summary="One's passkeys, and where one is signed in",
        tag="console",
        action=None,
        handler=show,
    ),
    Endpoint(
        method="POST",
        path="/console/you/passkeys/challenge",
        operation="consoleBeginPasskey",
        summary="Begin to add a passkey",
        tag="console",
        action=None,
        handler=begin,
    ),
    Endpoint(
        method="POST",
        path="/console/you/passkeys",
        operation="consoleAddPasskey",
        summary="Add a passkey",
        tag="console",
        action=None,
        handler=add,
        body=AddPasskey,
    ),
    Endpoint(
        method="POST",
        path="/console/you/passkeys/{id}/remove",
        operation="consoleRemovePasskey",
        summary="Remove a passkey",
        tag="console",
        action=None,
        handler=remove,
        params=OneOfMine,
    ),
    Endpoint(
        method="POST",
        path="/console/you/sessions/{id}/end",
        operation="consoleEndSession",
        summary="End a session",
        tag="console",
        action=None,
        handler=end_session,
        params=OneOfMine,
    ),
)
