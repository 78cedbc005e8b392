"""What somebody signs with a passkey when they vote, and whether they did: WebAuthn Level 3, section 7.2, by what a record holds alone.

    vote       = SHA-256("licet-vote-1" LF log LF request LF binding LF verdict LF voter LF number LF SHA-256(comment))
    challenge  = SHA-256("licet-votes-1" LF vote LF vote ...)

Digests inside are lower-case hex. The log is the tenant's; `binding` is what the request was voted on by (the call, its preview, each
policy); `number` counts how often this voter had voted on this request before; a vote without a comment has an empty one.

Rules:

1. The challenge is made of nothing but what is voted: what was seen is what was signed. It needs no random part. The number makes it
   another one once a vote was taken back, so that an assertion counts once.
2. The signature is over the authenticator's data and the client's, by the very key that was registered; the client's data name this
   challenge and the origin of the registration, those of the authenticator its relying party, somebody who was there and who was verified.
3. Keys are of ES256 (P-256), EdDSA (Ed25519) or RS256 (RSA of 2,048 bits at least). A key says which it is; nothing that is signed does.
4. The signature counter is not looked at. Passkeys that are kept in several devices have none (it stays 0), and where there is one, a
   smaller value would show a copy only after its first use; an assertion counts once in any case.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Struct

from licet.model import Assertion, Passkey

_PRESENT: Final = 0x01
_VERIFIED: Final = 0x04
_SHORTEST: Final = 37
"""Bytes of authenticator data: digest of the relying party, flags, counter."""
_LONGEST_KEY: Final = 1_100
"""Bytes: an RSA key of 8,192 bits, with its labels."""

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class AssertionInvalid(ValueError):
    """An assertion that does not show what it is to show; the message says in what."""


class _Client(Struct, frozen=True):
    """The client data that count; others may be there, and more may come."""

    type: str
    challenge: str
    origin: str
    cross_origin: bool = msgspec.field(default=False, name="crossOrigin")


_decode_client = msgspec.json.Decoder(_Client, strict=True).decode


def vote_digest(*, log: str, request: str, binding: str, verdict: str, voter: str, number: int, comment: str | None) -> str:
    """The digest (hex) of one vote. No part can hold a line break: ids and names have none, and of the comment only the digest stands."""
    said = hashlib.sha256((comment or "").encode()).hexdigest()
    return hashlib.sha256("\n".join(("licet-vote-1", log, request, binding, verdict, voter, str(number), said)).encode()).hexdigest()


def challenge_of(votes: Iterable[str]) -> bytes:
    """The challenge (32 bytes) of votes that are signed together, by their digests."""
    return hashlib.sha256("\n".join(("licet-votes-1", *votes)).encode()).digest()


def verify_votes(assertion: Assertion, vote: str) -> None:
    """Nothing, where this vote is one of those that were signed. Raises `AssertionInvalid`."""
    if vote not in assertion.votes:
        raise AssertionInvalid("what was signed is not this vote")
    verify_signed(assertion, challenge_of(assertion.votes))


def verify_signed(assertion: Assertion, challenge: bytes) -> None:
    """Rule 2. Raises `AssertionInvalid`."""
    passkey = assertion.passkey
    authenticator = decode_base64url(assertion.authenticator_data)
    client = decode_base64url(assertion.client_data)
    _verify_client(client, challenge, passkey.origin)
    if len(authenticator) < _SHORTEST:
        raise AssertionInvalid("the data of the authenticator are cut off")
    if authenticator[:32] != hashlib.sha256(passkey.rp_id.encode()).digest():
        raise AssertionInvalid("it was signed for another relying party")
    flags = authenticator[32]
    if not flags & _PRESENT:
        raise AssertionInvalid("nobody was there")
    if not flags & _VERIFIED:
        raise AssertionInvalid("the authenticator did not verify who was there")
    signature, signed = decode_base64url(assertion.signature), authenticator + hashlib.sha256(client).digest()
    try:
        _verify_signature(public_key_of(passkey), signature, signed)
    except InvalidSignature as error:
        raise AssertionInvalid("the signature is not by the key of the passkey") from error


def public_key_of(passkey: Passkey) -> PublicKey:
    """The key (COSE, RFC 9053). Raises `AssertionInvalid` for one that is none of rule 3."""
    coded = decode_base64url(passkey.key)
    if len(coded) > _LONGEST_KEY:
        raise AssertionInvalid("the key is longer than any of ours")
    found = _read_map(coded)
    try:
        match found.get(1), found.get(3), found.get(-1):
            case 2, -7, 1:
                x, y = int.from_bytes(_exactly(found[-2], 32)), int.from_bytes(_exactly(found[-3], 32))
                return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
            case 1, -8, 6:
                return ed25519.Ed25519PublicKey.from_public_bytes(_exactly(found[-2], 32))
            case 3, -257, bytes(modulus):
                key = rsa.RSAPublicNumbers(int.from_bytes(_bytes(found[-2])), int.from_bytes(modulus)).public_key()
                if key.key_size < 2_048:  # noqa: PLR2004  rule 3
                    raise AssertionInvalid("the key is too short")
                return key
    except (KeyError, ValueError, UnsupportedAlgorithm) as error:
        raise AssertionInvalid("the key cannot be read") from error
    raise AssertionInvalid("the key is of no kind that is known here")


def encode_base64url(value: bytes) -> str:
    """As WebAuthn writes bytes."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """The bytes of such a text, which has one form. Raises `AssertionInvalid`."""
    try:
        found = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise AssertionInvalid("it is not base64url") from error
    if encode_base64url(found) != text:
        raise AssertionInvalid("it is not base64url in its one form")
    return found


def _verify_client(client: bytes, challenge: bytes, origin: str) -> None:
    try:
        said = _decode_client(client)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AssertionInvalid("the client's data cannot be read") from error
    if said.type != "webauthn.get":
        raise AssertionInvalid("it is not an assertion")
    if said.challenge != encode_base64url(challenge):
        raise AssertionInvalid("something else was signed")
    if said.origin != origin or said.cross_origin:
        raise AssertionInvalid("it was signed at another origin")


def _verify_signature(key: PublicKey, signature: bytes, signed: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, signed, ec.ECDSA(SHA256()))
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, signed)
    else:
        key.verify(signature, signed, padding.PKCS1v15(), SHA256())


def _exactly(value: Any, length: int) -> bytes:
    found = _bytes(value)
    if len(found) != length:
        raise ValueError(length)
    return found


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(value)  # noqa: TRY004  what is wrong is the key, not this program
    return value


def _read_map(coded: bytes) -> dict[int, int | bytes]:
    """A CBOR map of integers to integers and byte strings, which is all that a COSE key is (RFC 8949, section 3). Nothing may follow it."""
    kind, count, at = _read_head(coded, 0)
    if kind != _MAP or count > _MEMBERS:
        raise AssertionInvalid("the key is not a COSE key")
    found: dict[int, int | bytes] = {}
    for _ in range(count):
        name, at = _read_item(coded, at)
        if not isinstance(name, int) or name in found:
            raise AssertionInvalid("the key is not a COSE key")
        found[name], at = _read_item(coded, at)
    if at != len(coded):
        raise AssertionInvalid("something follows the key")
    return found


_UNSIGNED: Final = 0
_NEGATIVE: Final = 1
_BYTE_STRING: Final = 2
_MAP: Final = 5
_MEMBERS: Final = 16
_HERE: Final = 24


def _read_item(coded: bytes, at: int) -> tuple[int | bytes, int]:
    kind, value, at = _read_head(coded, at)
    if kind == _UNSIGNED:
        return value, at
    if kind == _NEGATIVE:
        return -1 - value, at
    if kind != _BYTE_STRING or at + value > len(coded):
        raise AssertionInvalid("the key is not a COSE key")
    return coded[at : at + value], at + value


def _read_head(coded: bytes, at: int) -> tuple[int, int, int]:
    """Kind and value of an item's first bytes, and where it goes on."""
    if at >= len(coded):
        raise AssertionInvalid("the key is cut off")
    kind, value = coded[at] >> 5, coded[at] & 0x1F
    at += 1
    if value < _HERE:
        return kind, value, at
    width = {24: 1, 25: 2, 26: 4}.get(value, 0)
    if not width or at + width > len(coded):
        raise AssertionInvalid("the key is not a COSE key")
    return kind, int.from_bytes(coded[at : at + width]), at + width
