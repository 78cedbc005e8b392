"""An authenticator in software: makes passkeys and assertions as a browser with one hands them over, and wrong ones where it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import encode_cbor

from licet import Gate
from licet.identity.api_keys import KeyContent, id_of_passkey
from licet.model import Passkey

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
ORIGIN = "https://licet.example.com"
Kind = Literal["es256", "eddsa", "rs256"]


def coded(value: bytes) -> str:
    """Base64url, unpadded."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def client_data(kind: str, challenge: bytes | str, origin: str, **more: Any) -> bytes:
    """What the browser says of itself."""
    shown = challenge if isinstance(challenge, str) else coded(challenge)
    return json.dumps({"type": kind, "challenge": shown, "origin": origin, "crossOrigin": False, **more}).encode()


class Authenticator:
    """One passkey in one device."""

    def __init__(self, kind: Kind = "es256", rp_id: str = "licet.example.com", origin: str = ORIGIN) -> None:
        self.kind = kind
        self.rp_id = rp_id
        self.origin = origin
        self.id = os.urandom(32)
        self.private: Any
        if kind == "es256":
            self.private = ec.generate_private_key(ec.SECP256R1())
        elif kind == "eddsa":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(65_537, 2_048)

    @property
    def key(self) -> bytes:
        """The public key (COSE)."""
        public = self.private.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            numbers = public.public_numbers()
            return encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})
        if isinstance(public, ed25519.Ed25519PublicKey):
            return encode_cbor({1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()})
        found = public.public_numbers()
        return encode_cbor({1: 3, 3: -257, -1: found.n.to_bytes(256), -2: found.e.to_bytes(3)})

    @property
    def passkey(self) -> Passkey:
        """What a registration keeps of it."""
        return Passkey(id=coded(self.id), key=coded(self.key), rp_id=self.rp_id, origin=self.origin)

    def give_to(self, gate: Gate, user: str) -> str:
        """It is registered for this person; the id of the credential."""
        content = KeyContent(name="Laptop", tenants=("*",), user=user, kind="passkey", passkey=self.passkey)
        return gate.credentials.register(content, id_=id_of_passkey(self.id), by=user).credential.id

    def sign(self, signed: bytes) -> bytes:
        """By the private key."""
        if self.kind == "es256":
            return bytes(self.private.sign(signed, ec.ECDSA(SHA256())))
        if self.kind == "eddsa":
            return bytes(self.private.sign(signed))
        return bytes(self.private.sign(signed, padding.PKCS1v15(), SHA256()))

    def data(self, flags: int, more: bytes = b"") -> bytes:
        """The authenticator's data."""
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + bytes(4) + more

    def register(self, challenge: str, *, flags: int = PRESENT | VERIFIED, origin: str | None = None) -> dict[str, str]:
        """A new passkey, as the form of a page sends it."""
        made = bytes(16) + len(self.id).to_bytes(2) + self.id + self.key
        attestation = encode_cbor({"fmt": "none", "attStmt": {}, "authData": self.data(flags | ATTESTED, made)})
        client = client_data("webauthn.create", challenge, origin or self.origin)
        return {"challenge": challenge, "id": coded(self.id), "client_data": coded(client), "attestation": coded(attestation)}

    def answer(
        self, challenge: bytes | str, *, flags: int = PRESENT | VERIFIED, origin: str | None = None, kind: str = "webauthn.get"
    ) -> dict[str, str]:
        """An assertion, as a page sends it."""
        data, client = self.data(flags), client_data(kind, challenge, origin or self.origin)
        signature = self.sign(data + hashlib.sha256(client).digest())
        return {
            "id": coded(self.id),
            "client_data": coded(client),
            "authenticator_data": coded(data),
            "signature": coded(signature),
        }
