"""`[identity]` of a licet.toml: which credentials are accepted, whose tokens, and what their claims mean here.

Rules:

1. Nothing of a token grants anything by itself: a claim's value is a role, or a tenant, only where this file maps it. Groups, whose
   members approve, are never mapped.
2. A login is an issuer and a subject, since two issuers may call two people alike. It belongs to one user, agent or service.
3. Keys of issuers come over https, from this machine itself, or from a file, and are asymmetric: with a shared secret (HS256) whoever
   can check a token could make one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from licet.config.decoding import Decoder
from licet.errors import ConfigInvalid
from licet.names import name_problem, quoted
from licet.wire import Address

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]

CERTIFICATE = "x509"
"""The issuer part of a login that is a client certificate."""
CERTIFICATE_KINDS = ("uri", "dns", "subject")
SECRET_PLACE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\0]+")
LOGIN_LIMIT = 1_000
"""Characters. A subject of OpenID Connect has 255 at most, an issuer is a URL."""


class SignInSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sign_in` of an issuer: people sign in to the console by it (OpenID Connect).

    `name` stands in the address that the provider leads back to, `button` on the page. `client_secret` says where it comes from
    (`env:NAME`, `file:PATH`); a client without one is known by PKCE alone.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]
    client_id: Annotated[str, Meta(min_length=1, max_length=500)]
    client_secret: str | None = None
    scopes: tuple[Annotated[str, Meta(pattern="^[!#-\\[\\]-~]{1,100}$")], ...] = ("openid",)
    button: Annotated[str, Meta(min_length=1, max_length=80)] | None = None


class IssuerSettings(Struct, frozen=True, kw_only=True):
    """An entry of `[[identity.issuers]]`: somebody whose signed tokens are accepted, and what their claims mean here.

    `jwks` is the URL of its keys, or `file:PATH`. `types` are accepted values of the header `typ`. `client_claim` names the client that the
    token was issued to. `roles_claim` and `tenant_claim` are dotted paths into the claims. `roles` maps values of `roles_claim` to roles of
    the token's subject, `scopes` those of `scope` to roles of whoever shows the token, `tenants` values of `tenant_claim` to tenants.
    `bound` accepts only tokens that are bound to the client's certificate (RFC 8705). By `sign_in` people sign in to the console.
    """

    issuer: str
    audience: str
    jwks: str
    algorithms: tuple[Algorithm, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    types: tuple[str, ...] = ("at+jwt",)
    leeway_s: int = 30
    client_claim: str = "client_id"
    roles_claim: str = "roles"
    tenant_claim: str | None = None
    roles: Mapping[str, str] = {}
    scopes: Mapping[str, str] = {}
    tenants: Mapping[str, str] = {}
    bound: bool = False
    refresh_s: int = 300
    refetch_s: int = 30
    outage_s: int = 86_400
    sign_in: SignInSettings | None = None


class IdentitySettings(Struct, frozen=True, kw_only=True):
    """`[identity]`. `api_keys` and `certificates` say whether these are accepted; `issuers` whose tokens are."""

    api_keys: bool = True
    certificates: bool = True
    issuers: tuple[IssuerSettings, ...] = ()


class WrittenIssuer(Struct, frozen=True, kw_only=True):
    """An entry of `[[identity.issuers]]` as written; durations and paths are still text."""

    issuer: Annotated[str, Meta(min_length=1, max_length=500)]
    audience: Annotated[str, Meta(min_length=1, max_length=500)]
    jwks: Annotated[str, Meta(min_length=1, max_length=2_000)]
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "PS256", "ES256", "EdDSA")
    types: Annotated[tuple[str, ...], Meta(min_length=1)] = ("at+jwt",)
    leeway: str = "30s"
    client_claim: str = "client_id"
    roles_claim: str = "roles"
    tenant_claim: str | None = None
    roles: dict[str, str] = {}
    scopes: dict[str, str] = {}
    tenants: dict[str, str] = {}
    bound: bool = False
    refresh: str = "5m"
    refetch: str = "30s"
    outage: str = "1d"
    sign_in: dict[str, Any] | None = None


class WrittenIdentity(Struct, frozen=True, kw_only=True):
    """`[identity]` as written."""

    api_keys: bool = True
    certificates: bool = True
    issuers: tuple[Any, ...] = ()


_LEEWAY_LIMIT_S = 300
"""A clock that is further off than this is wrong; a longer leeway would only let ended tokens live on."""


def read_identity(decoder: Decoder, table: object, folder: Path, tenants: Mapping[str, object]) -> IdentitySettings:
    """`[identity]`. Raises `ConfigInvalid`."""
    written = decoder.struct(table, WrittenIdentity, "identity")
    issuers = tuple([_issuer(decoder, one, f"identity.issuers[{place}]", folder, tenants) for place, one in enumerate(written.issuers)])
    names = [issuer.issuer for issuer in issuers]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise decoder.invalid(f"identity.issuers[{place}].issuer", f"is {quoted(name)}, which is there twice")
    ways = [None if issuer.sign_in is None else issuer.sign_in.name for issuer in issuers]
    for place, way in enumerate(ways):
        if way is not None and way in ways[:place]:
            raise decoder.invalid(f"identity.issuers[{place}].sign_in.name", f"is {quoted(way)}, as another issuer's is")
    return IdentitySettings(api_keys=written.api_keys, certificates=written.certificates, issuers=issuers)


def check_logins(decoder: Decoder, tables: Mapping[str, Mapping[str, Any]], issuers: tuple[IssuerSettings, ...]) -> None:
    """Every login is one that can be shown here, and belongs to one entry. Raises `ConfigInvalid` (rule 2)."""
    taken: dict[str, str] = {}
    known = {issuer.issuer for issuer in issuers}
    for where, login in _logins(tables):
        if problem := _login_problem(login, known):
            raise decoder.invalid(where, f"has {quoted(login)}, {problem}")
        if other := taken.get(login):
            raise decoder.invalid(where, f"has {quoted(login)}, as {quoted(other)} has: a login is of one alone")
        taken[login] = where


def _logins(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for table, entries in tables.items():
        for name, entry in entries.items():
            for login in entry.logins:
                yield f"{table}.{name}.logins", login


def _login_problem(login: str, issuers: set[str]) -> str | None:
    issuer, bar, subject = login.partition("|")
    if not bar or not issuer or not subject or len(login) > LOGIN_LIMIT or not login.isprintable():
        return "which is not `ISSUER|SUBJECT`"
    if issuer == CERTIFICATE:
        kind, _, value = subject.partition(":")
        sound = kind in CERTIFICATE_KINDS and value
        return None if sound else "which is not `x509|uri:...`, `x509|dns:...` or `x509|subject:...`"
    return None if issuer in issuers else "whose issuer is not among `[[identity.issuers]]`, so nobody could ever show it"


def _issuer(decoder: Decoder, table: object, where: str, folder: Path, tenants: Mapping[str, object]) -> IssuerSettings:
    written = decoder.struct(table, WrittenIssuer, where)
    if "|" in written.issuer or written.issuer == CERTIFICATE or not written.issuer.isprintable():
        raise decoder.invalid(f"{where}.issuer", "is not an issuer's name: it is the `iss` of its tokens, without a `|`")
    for key, roles in (("roles", written.roles), ("scopes", written.scopes)):
        for value, role in roles.items():
            if problem := name_problem(role):
                raise decoder.invalid(f"{where}.{key}", f"maps {quoted(value)} to {quoted(role)}, which cannot be a role: {problem}")
    for value, tenant in written.tenants.items():
        if tenant not in tenants:
            raise decoder.invalid(f"{where}.tenants", f"maps {quoted(value)} to {quoted(tenant)}, which is not a tenant")
    if written.tenants and written.tenant_claim is None:
        raise decoder.invalid(f"{where}.tenant_claim", "is required beside `tenants`")
    leeway_s = decoder.duration_s(written.leeway, f"{where}.leeway")
    if leeway_s > _LEEWAY_LIMIT_S:
        raise decoder.invalid(f"{where}.leeway", f"is longer than {_LEEWAY_LIMIT_S} seconds")
    return IssuerSettings(
        issuer=written.issuer,
        audience=written.audience,
        jwks=_jwks(decoder, written.jwks, f"{where}.jwks", folder),
        algorithms=written.algorithms,
        types=tuple([kind.lower().removeprefix("application/") for kind in written.types]),
        leeway_s=leeway_s,
        client_claim=written.client_claim,
        roles_claim=written.roles_claim,
        tenant_claim=written.tenant_claim,
        roles=written.roles,
        scopes=written.scopes,
        tenants=written.tenants,
        bound=written.bound,
        refresh_s=decoder.duration_s(written.refresh, f"{where}.refresh"),
        refetch_s=decoder.duration_s(written.refetch, f"{where}.refetch"),
        outage_s=decoder.duration_s(written.outage, f"{where}.outage"),
        sign_in=None if written.sign_in is None else _sign_in(decoder, written, f"{where}.sign_in", folder),
    )


def _sign_in(decoder: Decoder, issuer: WrittenIssuer, where: str, folder: Path) -> SignInSettings:
    read = decoder.struct(issuer.sign_in, SignInSettings, where)
    try:
        Address.parse(issuer.issuer, "an issuer")
    except ConfigInvalid as error:
        raise decoder.invalid(where, f"needs an issuer that can be asked where people sign in: {error}") from error
    if "openid" not in read.scopes:
        raise decoder.invalid(f"{where}.scopes", "must hold `openid`: without it the issuer does not say who has signed in")
    if read.client_id == issuer.audience and "jwt" in {kind.lower().removeprefix("application/") for kind in issuer.types}:
        message = "is the `audience` of the issuer, whose `types` hold `JWT`: what says who has signed in would be a credential of the API"
        raise decoder.invalid(f"{where}.client_id", message)
    if read.client_secret is None:
        return read
    scheme, _, rest = read.client_secret.partition(":")
    if not SECRET_PLACE.fullmatch(read.client_secret):
        raise decoder.invalid(f"{where}.client_secret", "must say where it comes from, `env:NAME` or `file:PATH`; never the secret itself")
    return replace(read, client_secret=f"file:{folder / rest}") if scheme == "file" else read


def _jwks(decoder: Decoder, text: str, where: str, folder: Path) -> str:
    scheme, _, path = text.partition(":")
    if scheme == "file":
        return f"file:{folder / decoder.path(path, where)}"
    try:
        Address.parse(text, "an issuer's keys", query=True)
    except ConfigInvalid as error:
        raise decoder.invalid(where, f"cannot be used: {error}") from error
    return text
