"""Signing in with a passkey. What a script asks, and is answered in JSON; forms and their rules are as everywhere (console/showing.py).

Rules:

1. Whoever signs in names nobody: which passkey it is, and so who, the authenticator says. It has verified who is there.
2. A challenge is of the browser that asked for it (a cookie of its own), for five minutes, and opens one session.
3. What is wrong with a passkey is in the server's log, and not in the answer.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from licet.console import cookies
from licet.console.challenges import LIFE_S, Place, is_challenge, make_challenge, place_of
from licet.console.inside import HOME, inside
from licet.console.webauthn_library import PasskeyRefused, verify_sign_in
from licet.errors import CredentialRefused
from licet.gate.passkeys import FoundPasskey, find_passkey, open_by_passkey
from licet.gate.signing_in import SESSION_S
from licet.ledger.passkeys import AssertionInvalid, decode_base64url, encode_base64url
from licet.server.endpoint import Answer, Asked, Endpoint

Coded = Annotated[str, Meta(max_length=8_000)]
NOT_HERE: Final = "passkeys need the address that `server.public_url` says, or `localhost`"
_REFUSED: Final = "This passkey opens nothing here, or too much time has passed: try again, or sign in another way."


class SignInByPasskey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an authenticator has answered (base64url), and where to go then."""

    challenge: Annotated[str, Meta(max_length=200)]
    id: Annotated[str, Meta(max_length=1_400)]
    client_data: Coded
    authenticator_data: Coded
    signature: Coded
    next: Annotated[str, Meta(max_length=2_000)] = HOME


def begin(asked: Asked) -> Answer:
    """A challenge for this browser, and the cookie by which it is known."""
    place = place_of(asked)
    if place is None:
        return refused(NOT_HERE)
    holder = secrets.token_urlsafe(32)
    challenge = make_challenge(asked.gate.store, "sign in", holder, asked.gate.now())
    body = {"challenge": encode_base64url(challenge), "rp_id": place.rp_id, "timeout_ms": LIFE_S * 1_000}
    return Answer(body=body, headers=(cookies.write(cookies.CHALLENGE, holder, max_age_s=LIFE_S),))


def sign_in(asked: Asked) -> Answer:
    """Open a session for whoever has answered the challenge of this browser."""
    body: SignInByPasskey = asked.body
    credentials = asked.gate.credentials
    try:
        challenge = _challenge(asked, body.challenge)
        found = find_passkey(credentials, body.id)
        place = place_of(asked)
        if found is None or place is None:
            return refused(_REFUSED)
        _verify(found, place, body, challenge)
        opened = open_by_passkey(credentials, found, challenge)
    except (AssertionInvalid, PasskeyRefused, CredentialRefused):
        return refused(_REFUSED)
    headers = (cookies.forget(cookies.CHALLENGE), cookies.write(cookies.SESSION, opened.key, max_age_s=SESSION_S))
    return Answer(body={"next": inside(body.next)}, headers=headers)


def refused(message: str) -> Answer:
    """A no that a script shows."""
    return Answer(status=403, body={"refused": message})


def _challenge(asked: Asked, shown: str) -> bytes:
    """The challenge, where it is this browser's. Raises `AssertionInvalid`."""
    holder = cookies.read(asked.headers, cookies.CHALLENGE)
    challenge = decode_base64url(shown)
    if holder is None or not is_challenge(asked.gate.store, "sign in", holder, challenge, asked.gate.now()):
        raise AssertionInvalid("the challenge is not of this browser, or its time is over")
    return challenge


def _verify(found: FoundPasskey, place: Place, body: SignInByPasskey, challenge: bytes) -> None:
    """Raises `PasskeyRefused`."""
    if found.passkey.rp_id != place.rp_id or found.passkey.origin not in place.origins:
        raise PasskeyRefused("the passkey was registered at another address of this server")
    response = {"clientDataJSON": body.client_data, "authenticatorData": body.authenticator_data, "signature": body.signature}
    answer: dict[str, Any] = {"id": body.id, "rawId": body.id, "type": "public-key", "response": response}
    verify_sign_in(answer, found.passkey, challenge=challenge)


PAGES: Final = (
    Endpoint(
        method="POST",
        path="/console/passkeys/challenge",
        operation="consolePasskeyChallenge",
        summary="Begin to sign in with a passkey",
        tag="console",
        action=None,
        handler=begin,
        public=True,
    ),
    Endpoint(
        method="POST",
        path="/console/passkeys/sign-in",
        operation="consolePasskeySignIn",
        summary="Sign in with a passkey",
        tag="console",
        action=None,
        handler=sign_in,
        body=SignInByPasskey,
        public=True,
    ),
)
