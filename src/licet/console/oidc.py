"""Signing in by an identity provider (OpenID Connect, authorization code flow with PKCE). The only user of authlib.

Rules:

1. Whoever comes back is who went: `state` is that of the cookie of this browser, and the provider is the one that this browser was sent to.
   Each provider leads back to an address of its own, and says its name there where it can (RFC 9207).
2. The address to come back to is made of `server.public_url`, and of nothing that whoever asks can say; without one, only a server that
   this machine alone can reach has one.
3. Who that is, `logins` in licet.toml say (identity/logins.py). Roles are those of the directory: a provider gives none to a session.
4. A cookie that is for this site alone does not come along when another site leads here. So whoever comes back gets a page, which leads on.
5. What is wrong is in the server's log, and not in the answer; codes, tokens and secrets are in neither.
6. Anybody can make us ask a provider, which may be slow: so few wait for one, or for any, that threads are left for others.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core.claims import CodeIDToken
from joserfc.errors import JoseError
from msgspec import Meta, Struct

from licet.approvals.notify.secrets import read_secret
from licet.config import IssuerSettings
from licet.config.identity import SignInSettings
from licet.console import cookies
from licet.console.frame import bare_page
from licet.console.inside import HOME, inside
from licet.console.under_way import LIFE_S, NEXT_LIMIT, UnderWay, begin, seal, unseal
from licet.errors import ConfigInvalid, CredentialRefused, NotAuthenticated
from licet.gate.signing_in import SESSION_S, open_for
from licet.identity.authenticated import ANY, Authenticated
from licet.identity.logins import Logins
from licet.identity.provider import Provider, Providers, ProviderUnavailable, Redeeming, redeem, verify_id_token
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.limits import AtOnce
from licet.server.problems import not_found

PATH: Final = "/console/sign-in/oidc"
_LOOPBACK: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")
_OWN_PAGES: Final = frozenset({None, "same-origin", "none"})
_AGAIN: Final = "Signing in did not work, or too much time has passed: try again."
_NOBODY: Final = "This account is of nobody here. Whoever runs this server adds it to `logins` of a user in licet.toml."
_AWAY: Final = "The identity provider cannot be used now: try again later, or sign in another way."
_log = logging.getLogger("licet.console")
_providers = Providers()
AT_ONCE: Final = 6
AT_ONCE_IN_ALL: Final = 12
_waiting: Final = AtOnce(AT_ONCE)
_waiting_in_all: Final = AtOnce(AT_ONCE_IN_ALL)

Said = Annotated[str, Meta(max_length=4_000)]


class Going(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By which provider, and where to go then."""

    name: Annotated[str, Meta(max_length=40)]
    next: Annotated[str, Meta(max_length=2_000)] = HOME


class ComingBack(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a provider sends somebody back with. What is of no use here is taken all the same: providers add to it."""

    name: Annotated[str, Meta(max_length=40)]
    code: Said | None = None
    state: Said | None = None
    iss: Said | None = None
    error: Said | None = None
    error_description: Said | None = None
    error_uri: Said | None = None
    session_state: Said | None = None
    scope: Said | None = None
    authuser: Said | None = None
    hd: Said | None = None
    prompt: Said | None = None


class Button(Struct, frozen=True):
    """A provider on the page where one signs in."""

    name: str
    text: str


class _NotSignedIn(Exception):
    """Nobody is signed in: for the log why, for the page what to do."""

    def __init__(self, why: str, shown: str = _AGAIN) -> None:
        super().__init__(why)
        self.shown: Final = shown


def buttons(asked: Asked) -> tuple[Button, ...]:
    """The providers by which one can sign in here."""
    if _base(asked) is None:
        return ()
    ways = [issuer.sign_in for issuer in asked.gate.settings.identity.issuers if issuer.sign_in is not None]
    return tuple([Button(way.name, way.button or f"Sign in with {way.name}") for way in ways])


def go(asked: Asked) -> Answer:
    """To the provider, with a cookie by which whoever comes back is known."""
    params: Going = asked.params
    there = inside(params.next)
    there = there if len(there) <= NEXT_LIMIT else HOME
    issuer, client = _way(asked, params.name)
    if asked.header("sec-fetch-site") not in _OWN_PAGES:
        return _refused(asked, "Press the button to sign in: a page of somebody else has led here.", there)
    try:
        provider = _provider(issuer)
        redirect_uri = _redirect_uri(asked, client)
    except (ProviderUnavailable, _NotSignedIn) as error:
        _log.warning("licet: nobody can sign in by `%s`: %s", issuer.issuer, error)
        return _refused(asked, _AWAY, there)
    going = begin(client.name, there, asked.gate.now())
    address = prepare_grant_uri(
        provider.authorization,
        client_id=client.client_id,
        response_type="code",
        redirect_uri=redirect_uri,
        scope=" ".join(client.scopes),
        state=going.state,
        nonce=going.nonce,
        code_challenge=create_s256_code_challenge(going.verifier),
        code_challenge_method="S256",
    )
    cookie = cookies.write(cookies.PROVIDER, seal(asked.gate.store, going), max_age_s=LIFE_S)
    return Answer(status=303, media_type="text/plain", headers=(cookie, ("Location", address)))


def come_back(asked: Asked) -> Answer:
    """Open a session for whoever the provider says has come back."""
    params: ComingBack = asked.params
    issuer, client = _way(asked, params.name)
    going = unseal(asked.gate.store, cookies.read(asked.headers, cookies.PROVIDER), asked.gate.now())
    there = HOME if going is None else inside(going.there)
    try:
        who = _authenticated(asked, issuer, client, going)
        tenants = (ANY,) if issuer.tenant_claim is None else who.tenants
        proof = f"{client.name}\0{params.state}".encode()
        opened = open_for(asked.gate.credentials, who.user or "", f"oidc:{issuer.issuer}", proof=proof, tenants=tenants)
    except (_NotSignedIn, ProviderUnavailable, NotAuthenticated, CredentialRefused, ConfigInvalid) as error:
        _log.warning("licet: nobody signed in by `%s`: %s", issuer.issuer, _why(error))
        return _refused(asked, _shown(error), there, (cookies.forget(cookies.PROVIDER),))
    sent = (cookies.forget(cookies.PROVIDER), cookies.write(cookies.SESSION, opened.key, max_age_s=SESSION_S))
    return bare_page(asked.headers, "signed_in.html", sent=sent, there=there)


def _authenticated(asked: Asked, issuer: IssuerSettings, client: SignInSettings, going: UnderWay | None) -> Authenticated:
    """The person. Raises `_NotSignedIn`, `ProviderUnavailable`, `NotAuthenticated`, `ConfigInvalid`."""
    params: ComingBack = asked.params
    if going is None:
        raise _NotSignedIn("no cookie of somebody who went there")
    if going.provider != client.name or params.state is None or not _same(params.state, going.state):
        raise _NotSignedIn("the answer is not for whoever went there from this browser")
    provider = _provider(issuer)
    if (params.iss is None and provider.names_itself) or params.iss not in {None, issuer.issuer}:
        raise _NotSignedIn("the answer is of another provider, or of none that says its name")
    if params.error is not None or params.code is None:
        raise _NotSignedIn(f"the provider refused ({'access_denied' if params.error == 'access_denied' else 'with an error'})")
    secret = None if client.client_secret is None else read_secret(client.client_secret, os.environ)
    redeeming = Redeeming(params.code, going.verifier, _redirect_uri(asked, client))
    now = asked.gate.now()
    with _waits_for(issuer):
        given = redeem(provider, issuer, client, secret, redeeming)
        header, claims, expires_at = verify_id_token(given.id_token, issuer, client.client_id, now.timestamp())
    told = {"nonce": going.nonce, "client_id": client.client_id, "access_token": given.access_token}
    try:
        CodeIDToken(claims, header, params=told).validate(now=now.timestamp(), leeway=issuer.leeway_s)
    except (JoseError, ValueError, TypeError) as error:
        raise _NotSignedIn(f"the ID token is not for this: {type(error).__name__} {getattr(error, 'claim', '')}") from error
    who = Logins(asked.gate.settings).of_token(claims, issuer, asked.directory, expires_at)
    if who.user is None:
        raise _NotSignedIn("the account is a program's", _NOBODY)
    return who


def _way(asked: Asked, name: str) -> tuple[IssuerSettings, SignInSettings]:
    """The issuer of this name, and how people sign in by it. Raises `Problem`."""
    for issuer in asked.gate.settings.identity.issuers:
        if issuer.sign_in is not None and issuer.sign_in.name == name:
            return issuer, issuer.sign_in
    raise not_found()


def _base(asked: Asked) -> str | None:
    """Where this server is, without a path (rule 2)."""
    if asked.serving.public_url is not None:
        return asked.serving.public_url.rstrip("/")
    host = asked.header("host") or ""
    return f"http://{host}" if asked.gate.settings.server.address.is_loopback and _LOOPBACK.fullmatch(host) else None


def _redirect_uri(asked: Asked, client: SignInSettings) -> str:
    base = _base(asked)
    if base is None:
        raise _NotSignedIn("`server.public_url` is missing", _AWAY)
    return f"{base}{PATH}/{client.name}/back"


def _provider(issuer: IssuerSettings) -> Provider:
    """What it says of itself. Raises `ProviderUnavailable`."""
    if _providers.is_known(issuer.issuer):
        return _providers.get(issuer.issuer)
    with _waits_for(issuer):
        return _providers.get(issuer.issuer)


@contextmanager
def _waits_for(issuer: IssuerSettings) -> Iterator[None]:
    """A place among those who wait for this provider (rule 6). Raises `ProviderUnavailable` where there is none."""
    if not _waiting_in_all.enter(""):
        raise ProviderUnavailable("too many wait for providers at once")
    try:
        if not _waiting.enter(issuer.issuer):
            raise ProviderUnavailable("too many wait for it at once")
        try:
            yield
        finally:
            _waiting.leave(issuer.issuer)
    finally:
        _waiting_in_all.leave("")


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


def _shown(error: Exception) -> str:
    if isinstance(error, _NotSignedIn):
        return error.shown
    if isinstance(error, ProviderUnavailable | ConfigInvalid) or (isinstance(error, NotAuthenticated) and error.code == "unavailable"):
        return _AWAY
    unknown = isinstance(error, NotAuthenticated) and error.reason in {"unknown_login", "user_unknown_or_disabled", "tenant_not_mapped"}
    return _NOBODY if unknown or (isinstance(error, CredentialRefused) and error.code != "credential_exists") else _AGAIN


def _why(error: Exception) -> str:
    return error.reason if isinstance(error, NotAuthenticated) else str(error)


def _refused(asked: Asked, message: str, there: str, sent: tuple[tuple[str, str], ...] = ()) -> Answer:
    return bare_page(
        asked.headers, "sign_in.html", status=403, sent=sent, link=None, there=there, refused=message, providers=buttons(asked)
    )


PAGES: Final = (
    Endpoint(
        method="GET",
        path=f"{PATH}/{{name}}",
        operation="consoleGoToProvider",
        summary="Sign in by an identity provider",
        tag="console",
        action=None,
        handler=go,
        params=Going,
        public=True,
    ),
    Endpoint(
        method="GET",
        path=f"{PATH}/{{name}}/back",
        operation="consoleComeBack",
        summary="Come back from an identity provider",
        tag="console",
        action=None,
        handler=come_back,
        params=ComingBack,
        public=True,
    ),
)
