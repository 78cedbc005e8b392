"""An issuer as an OpenID provider, by which people sign in: where it is asked, what it answers, and whether that holds.

Rules:

1. What the provider says of itself counts where it names itself as licet.toml does, character by character (OpenID Connect Discovery, 4.3).
   Its keys come from where licet.toml says (identity/jwks.py), whatever it says.
2. It is asked over https, or on this machine where licet.toml has it there: a provider elsewhere leads us to nothing on this machine.
   No redirect is followed, and of an answer no more read than said (licet/wire.py).
3. An ID token is checked as any other token (identity/jwt.py): the allowed algorithms, the issuer's keys, `iss`, `exp`, `iat`. Its audience
   is the client.
4. No message has a code, a token or a secret in it.
"""

from __future__ import annotations

import base64
import math
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote_plus, urlencode

from msgspec import Struct
from msgspec.structs import replace

from licet.catalog import strict
from licet.config import IssuerSettings
from licet.config.identity import SignInSettings
from licet.errors import ArgumentsRefused, ConfigInvalid, NotAuthenticated
from licet.identity.jwks import IssuerKeys
from licet.identity.jwt import check_claims, check_header, read_token, verify_signature
from licet.model import JsonObject
from licet.wire import Address, Answered, clean

WELL_KNOWN: Final = "/.well-known/openid-configuration"
LIMIT_BYTES: Final = 256 * 1024
TIMEOUT_S: Final = 5.0
KEPT_S: Final = 300.0
"""How long what a provider says of itself is kept."""
RETRY_S: Final = 10.0
"""How long one that did not answer is left alone: whoever presses the button again and again does not make us hammer it."""
_OK: Final = 200
_TYPES: Final = ("jwt",)


class ProviderUnavailable(Exception):
    """The provider does not answer, or not as one does."""


class Provider(Struct, frozen=True):
    """What a provider says of itself. `names_itself`: whoever comes back from it says so (RFC 9207)."""

    authorization: str
    token: str
    methods: tuple[str, ...]
    names_itself: bool


class Tokens(Struct, frozen=True):
    """What a code was exchanged for. `repr` says nothing of it."""

    id_token: str
    access_token: str | None

    def __repr__(self) -> str:
        return "Tokens(...)"


class Redeeming(Struct, frozen=True):
    """What is shown with a code: where it came back to, and what only whoever began has. `repr` says nothing of it."""

    code: str
    verifier: str
    redirect_uri: str

    def __repr__(self) -> str:
        return "Redeeming(...)"


class Providers:
    """What providers say of themselves, for a while. Safe to use from many threads; each provider is asked by one at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[float, Provider | ProviderUnavailable]] = {}

    def is_known(self, issuer: str) -> bool:
        """Whether nobody waits who asks for it now."""
        until, _ = self._known.get(issuer, (-math.inf, None))
        return self._clock() < until

    def get(self, issuer: str) -> Provider:
        """The provider of this name. Raises `ProviderUnavailable`."""
        until, found = self._known.get(issuer, (-math.inf, None))
        if found is None or self._clock() >= until:
            with self._locks.setdefault(issuer, threading.Lock()):  # nobody waits for another one's provider
                until, found = self._known.get(issuer, (-math.inf, None))
                if found is None or self._clock() >= until:
                    found = self._look(issuer)
        if isinstance(found, ProviderUnavailable):
            raise ProviderUnavailable(str(found))
        return found

    def _look(self, issuer: str) -> Provider | ProviderUnavailable:
        found: Provider | ProviderUnavailable
        try:
            found = discover(issuer)
        except ProviderUnavailable as error:
            found = error
        self._known[issuer] = (self._clock() + (KEPT_S if isinstance(found, Provider) else RETRY_S), found)
        return found


def discover(issuer: str) -> Provider:
    """What the provider says of itself. Raises `ProviderUnavailable` (rules 1 and 2)."""
    said = _asked(_address(issuer, issuer), "GET", WELL_KNOWN, None, {})
    if said.get("issuer") != issuer:
        raise ProviderUnavailable("it calls itself another issuer than licet.toml does")
    methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    places = [said.get(name) for name in ("authorization_endpoint", "token_endpoint")]
    if not isinstance(methods, list) or not all(isinstance(one, str) for one in (*methods, *places)):
        raise ProviderUnavailable("it does not say where people sign in, and where tokens are had")
    authorization, token = str(places[0]), str(places[1])
    for place in (authorization, token):
        _address(place, issuer)
    return Provider(authorization, token, tuple(methods), said.get("authorization_response_iss_parameter_supported") is True)


def redeem(provider: Provider, issuer: IssuerSettings, client: SignInSettings, secret: str | None, shown: Redeeming) -> Tokens:
    """What the provider gives for a code (RFC 6749, 4.1.3; RFC 7636). Raises `ProviderUnavailable`, `NotAuthenticated`."""
    form = {"grant_type": "authorization_code", "code": shown.code, "redirect_uri": shown.redirect_uri, "code_verifier": shown.verifier}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if secret is None:
        form["client_id"] = client.client_id
    elif "client_secret_basic" in provider.methods or "client_secret_post" not in provider.methods:
        pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        form |= {"client_id": client.client_id, "client_secret": secret}
    given = _asked(_address(provider.token, issuer.issuer), "POST", "", urlencode(form).encode(), headers)
    token, access = given.get("id_token"), given.get("access_token")
    if not isinstance(token, str):
        raise NotAuthenticated("invalid_credential", "no_id_token")
    return Tokens(token, access if isinstance(access, str) else None)


def verify_id_token(shown: str, issuer: IssuerSettings, client_id: str, now_s: float) -> tuple[JsonObject, JsonObject, int]:
    """Header and claims of an ID token that this issuer has signed for this client, and when it expires (UTC microseconds).

    `nonce`, `azp` and `at_hash` are for whoever has begun (console/oidc.py). Raises `NotAuthenticated` (rule 3).
    """
    expected = replace(issuer, audience=client_id, types=_TYPES)
    unverified = read_token(shown)
    algorithm, kid = check_header(unverified.header, expected, untyped=True)
    key, _ = IssuerKeys(issuer).find(kid, algorithm)
    claims = verify_signature(shown, key)
    return unverified.header, claims, check_claims(claims, expected, now_s)


def _address(place: str, issuer: str) -> Address:
    try:
        address = Address.parse(place, "a provider", query=place != issuer)
    except ConfigInvalid as error:
        raise ProviderUnavailable(f"it says a place that cannot be asked: {error}") from error
    if not address.secure and issuer.startswith("https:"):
        raise ProviderUnavailable("it is asked over https, and says a place that is not")
    return address


def _asked(address: Address, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> JsonObject:
    sent = {"Accept": "application/json", **headers}
    answer = address.exchange(method, path, body, sent, timeout_s=TIMEOUT_S, limit_bytes=LIMIT_BYTES, tls=ssl.create_default_context())
    if not isinstance(answer, Answered):
        raise ProviderUnavailable(answer.message)
    if answer.problem is not None:
        raise ProviderUnavailable(answer.problem)
    try:
        found = strict.parse(answer.body, limit_bytes=LIMIT_BYTES)
    except ArgumentsRefused as error:
        raise ProviderUnavailable(f"it answers with status {answer.status}, and no JSON") from error
    if answer.status != _OK or not isinstance(found, dict):
        why = found.get("error") if isinstance(found, dict) else None
        more = f" ({clean(why)})" if isinstance(why, str) else ""
        raise ProviderUnavailable(f"it answers with status {answer.status}{more}")
    return found
