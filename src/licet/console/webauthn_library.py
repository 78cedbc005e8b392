"""The only user of the library for WebAuthn: what an authenticator says when it makes a passkey, and when somebody signs in with one.

Votes are checked by code of our own, which works without the library, and years later (ledger/passkeys.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import webauthn
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException

from licet.ledger.passkeys import AssertionInvalid, encode_base64url, public_key_of
from licet.model import Passkey

_KINDS: Final = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
_log = logging.getLogger("licet.console")


class PasskeyRefused(ValueError):
    """An answer of an authenticator that shows nothing. Why is in the log of the server, not for whoever sent it."""


def read_registration(answer: dict[str, Any], *, challenge: bytes, rp_id: str, origins: Sequence[str], origin: str) -> Passkey:
    """The passkey that was made, for somebody who was there and whom the authenticator verified. Raises `PasskeyRefused`.

    Which device made it is not asked (attestation `none`): whose it is, is shown by the session that registers it.
    """
    try:
        found = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=rp_id,
            expected_origin=list(origins),
            require_user_verification=True,
            supported_pub_key_algs=_KINDS,
        )
        passkey = Passkey(
            id=encode_base64url(found.credential_id), key=encode_base64url(found.credential_public_key), rp_id=rp_id, origin=origin
        )
        public_key_of(passkey)
    except (WebAuthnException, AssertionInvalid, ValueError, KeyError, TypeError) as error:
        _log.warning("licet: a passkey was not registered: %s", error)
        raise PasskeyRefused("the authenticator did not make a passkey for this page: try again") from error
    return passkey


def verify_sign_in(answer: dict[str, Any], passkey: Passkey, *, challenge: bytes) -> None:
    """Nothing, where whoever has this passkey has answered this challenge, and was verified. Raises `PasskeyRefused`."""
    try:
        webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=passkey.rp_id,
            expected_origin=passkey.origin,
            credential_public_key=webauthn.base64url_to_bytes(passkey.key),
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        _log.warning("licet: nobody signed in by a passkey: %s", error)
        raise PasskeyRefused("this passkey opens nothing here") from error
