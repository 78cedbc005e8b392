"""An issuer of tokens that a test owns: its keys, its key set, and every way to get a token wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from licet.config import Settings, loads
from licet.identity.authenticated import Authenticated
from licet.identity.directory import Directory
from licet.identity.jwks import KeysUnavailable
from licet.identity.jwt import Tokens
from tests.identity.people import CONFIG, FILE, ISSUER

NOW_S = 1_800_000_000


@cache
def rsa(number: int = 0) -> RSAKey:
    """The same key for the same number: making one takes long."""
    del number
    return RSAKey.generate_key(2048)


@cache
def elliptic(curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve)


@cache
def edwards() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


def public(key: RSAKey | ECKey | OKPKey, kid: str | None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {**key.as_dict(private=False), **more}
    return found if kid is None else {**found, "kid": kid}


def encoded(value: bytes | str | dict[str, Any]) -> str:
    content = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: str | dict[str, Any], claims: str | dict[str, Any], key: Any = None, alg: str = "RS256") -> str:
    """A token with these very texts for header and claims, signed as `alg` says, whatever the header does."""
    signing_input = f"{encoded(header)}.{encoded(claims)}"
    model = jws.JWSRegistry.algorithms[alg]
    return f"{signing_input}.{encoded(model.sign(signing_input.encode(), rsa() if key is None else key))}"


def hmac_signed(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    signing_input = f"{encoded(header)}.{encoded(claims)}"
    return f"{signing_input}.{encoded(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"


def claims(**changed: Any) -> dict[str, Any]:
    """The claims of a token for alice; what is changed to None is left out."""
    found = {"iss": ISSUER, "aud": "licet", "sub": "00u1", "exp": NOW_S + 300, "iat": NOW_S - 10, "client_id": "console", "jti": "1"}
    return {name: value for name, value in {**found, **changed}.items() if value is not None}


def header(**changed: Any) -> dict[str, Any]:
    found = {"alg": "RS256", "typ": "at+jwt", "kid": "one"}
    return {name: value for name, value in {**found, **changed}.items() if value is not None}


@dataclass
class Issuer:
    """The issuer, its clock, and the server that accepts its tokens."""

    config: str = CONFIG
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public(rsa(), "one")])
    down: bool = False
    fetches: int = 0
    now_s: float = NOW_S
    clock_s: float = 0.0

    def __post_init__(self) -> None:
        self.settings: Settings = loads(self.config, file=FILE)
        self.directory = Directory.from_settings(self.settings)
        self.tokens = Tokens(
            lambda: self.settings, lambda: self.directory, lambda: int(self.now_s * 1_000_000), self.fetch, lambda: self.clock_s
        )

    def fetch(self, place: str) -> bytes:
        self.fetches += 1
        assert place == f"{ISSUER}/keys"
        if self.down:
            raise KeysUnavailable("the issuer is away")
        return json.dumps({"keys": self.keys}).encode()

    def reload(self, config: str) -> None:
        self.settings = loads(config, file=FILE)
        self.directory = Directory.from_settings(self.settings)

    def verify(self, token: str, certificate: bytes | None = None) -> Authenticated:
        return self.tokens.verify(token, certificate)

    def accepts(self, **changed: Any) -> Authenticated:
        return self.verify(signed(header(), claims(**changed)))
