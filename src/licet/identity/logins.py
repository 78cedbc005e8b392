"""Whose login that is: from the verified claims of a token, or the names of a certificate, to people and programs of licet.toml.

Rules:

1. A login is an issuer and a subject together, mapped by `logins` in licet.toml to one user, agent or service. Nobody is found by a name,
   an address or a claim that happens to equal one.
2. With `act` (RFC 8693), `sub` is the user and the outermost `act.sub` the agent that acts for them. Nothing else can be selected, and
   who shows the token is the agent: it votes on nothing.
3. A token for a user that was issued to a client which is an agent counts as delegated to that agent, `act` or not: an agent that holds
   a user's token must not pass for the user.
4. A token whose subject is an agent or a service is for itself alone. Its client is the same one (RFC 9068, section 5): a person who could
   choose their subject at the issuer would else become an agent.
5. Roles come from claims that licet.toml maps, and are the subject's; from scopes, and are of who shows the token. Never groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from licet.config import IssuerSettings, Settings
from licet.errors import NotAuthenticated
from licet.identity.authenticated import ANY, Authenticated, Method
from licet.identity.directory import Directory
from licet.model import JsonObject

ACTORS_LIMIT: Final = 8
SUBJECT_LIMIT: Final = 500
ROLES_LIMIT: Final = 1_000

Kind = Literal["agents", "services", "users"]


class Entry(Struct, frozen=True):
    """A user, an agent or a service of licet.toml."""

    kind: Kind
    name: str


class Logins:
    """The logins of a licet.toml."""

    def __init__(self, settings: Settings) -> None:
        tables: tuple[tuple[Kind, Mapping[str, object]], ...] = (
            ("agents", settings.agents),
            ("services", settings.services),
            ("users", settings.users),
        )
        self._entries: dict[str, Entry] = {
            login: Entry(kind, name)
            for kind, entries in tables
            for name, entry in entries.items()
            for login in getattr(entry, "logins", ())
        }

    def find(self, issuer: str, subject: str) -> Entry | None:
        """Whose login that is."""
        return self._entries.get(f"{issuer}|{subject}")

    def of_token(self, claims: JsonObject, issuer: IssuerSettings, directory: Directory, expires_at: int) -> Authenticated:
        """Who shows a token with these claims, all of them verified. Raises `NotAuthenticated`."""
        reading = _Token(self, claims, issuer, directory)
        return reading.authenticated(expires_at)


class _Token:
    """One token on its way to an `Authenticated`."""

    def __init__(self, logins: Logins, claims: JsonObject, issuer: IssuerSettings, directory: Directory) -> None:
        self._logins = logins
        self._claims = claims
        self._issuer = issuer
        self._directory = directory
        self._subject = _name(claims.get("sub"), "malformed_subject")
        client = claims.get(issuer.client_claim)
        self._client = None if client is None else _name(client, "malformed_client")
        self._actors = self._read_actors()

    def authenticated(self, expires_at: int) -> Authenticated:
        subject = self._find(self._subject)
        if self._actors:
            return self._delegated(subject, self._find(self._actors[0]), expires_at)
        if subject.kind != "users":
            return self._machine(subject, expires_at)
        client = None if self._client is None else self._logins.find(self._issuer.issuer, self._client)
        if client is not None and client.kind != "users":
            return self._delegated(subject, client, expires_at)  # rule 3
        return self._person(subject, expires_at)

    def _person(self, user: Entry, expires_at: int) -> Authenticated:
        self._check_user(user)
        return Authenticated(
            method="jwt",
            credential=self._id(),
            tenants=self._tenants(self._directory.users[user.name].tenants),
            user=user.name,
            roles=_both(self._subject_roles(), self._scope_roles()),
            expires_at=expires_at,
        )

    def _delegated(self, user: Entry, actor: Entry, expires_at: int) -> Authenticated:
        if user.kind != "users" or actor.kind == "users":
            raise NotAuthenticated("unknown_login", "no_such_delegation")
        self._check_user(user)
        theirs, own = program_of(actor, self._directory)
        tenants = self._directory.users[user.name].tenants
        return Authenticated(
            method="jwt",
            credential=self._id(),
            tenants=self._tenants(_common(tenants, theirs)),
            agents=(actor.name,) if actor.kind == "agents" else (),
            services=(actor.name,) if actor.kind == "services" else (),
            users=(user.name,),
            roles=_both(own, self._scope_roles()),
            user_roles=self._subject_roles(),
            actors=self._actors,
            expires_at=expires_at,
        )

    def _machine(self, entry: Entry, expires_at: int) -> Authenticated:
        client = None if self._client is None else self._logins.find(self._issuer.issuer, self._client)
        if self._client != self._subject and client != entry:
            raise NotAuthenticated("invalid_credential", "client_is_another")  # rule 4
        theirs, own = program_of(entry, self._directory)
        return Authenticated(
            method="jwt",
            credential=self._id(),
            tenants=self._tenants(theirs),
            agents=(entry.name,) if entry.kind == "agents" else (),
            services=(entry.name,) if entry.kind == "services" else (),
            roles=_both(own, _both(self._subject_roles(), self._scope_roles())),
            expires_at=expires_at,
        )

    def _find(self, subject: str) -> Entry:
        found = self._logins.find(self._issuer.issuer, subject)
        if found is None:
            raise NotAuthenticated("unknown_login", "unknown_login", f"{self._issuer.issuer}|{subject}")
        return found

    def _check_user(self, user: Entry) -> None:
        entry = self._directory.users.get(user.name)
        if entry is None or entry.disabled:
            raise NotAuthenticated("invalid_credential", "user_unknown_or_disabled", user.name)

    def _read_actors(self) -> tuple[str, ...]:
        """The chain of `act`, outermost first; the outermost alone acts, the others are told of (RFC 8693, section 4.1)."""
        actors: list[str] = []
        if "act" not in self._claims:
            return ()
        act = self._claims["act"]
        while act is not None:
            if not isinstance(act, dict) or len(actors) >= ACTORS_LIMIT or act.get("iss", self._issuer.issuer) != self._issuer.issuer:
                raise NotAuthenticated("invalid_credential", "malformed_act")
            actors.append(_name(act.get("sub"), "malformed_act"))
            act = act.get("act")
        if not actors:
            raise NotAuthenticated("invalid_credential", "malformed_act")
        return tuple(actors)

    def _tenants(self, theirs: tuple[str, ...]) -> tuple[str, ...]:
        """The tenants that the token is for: those of who speaks, or the one among them that it names, where it must name one."""
        if self._issuer.tenant_claim is None:
            return theirs
        found = _at(self._claims, self._issuer.tenant_claim)
        tenant = self._issuer.tenants.get(found) if isinstance(found, str) else None
        if tenant is None or not (ANY in theirs or tenant in theirs):
            raise NotAuthenticated("invalid_credential", "tenant_not_mapped")
        return (tenant,)

    def _subject_roles(self) -> tuple[str, ...]:
        return _mapped(_at(self._claims, self._issuer.roles_claim), self._issuer.roles)

    def _scope_roles(self) -> tuple[str, ...]:
        scope = self._claims.get("scope")
        return _mapped(scope.split(" ") if isinstance(scope, str) else None, self._issuer.scopes)

    def _id(self) -> str:
        return credential_id("jwt", self._issuer.issuer, self._subject, self._client or "", *self._actors[:1])


def program_of(entry: Entry, directory: Directory) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tenants and roles of an agent or a service. Raises `NotAuthenticated` where the directory does not have it any more."""
    found = directory.agents.get(entry.name) if entry.kind == "agents" else directory.services.get(entry.name)
    if found is None:
        raise NotAuthenticated("invalid_credential", "program_unknown", entry.name)
    return found.tenants, found.roles


def credential_id(method: Method, *parts: str) -> str:
    """An id that is no secret and names one login, whatever token shows it."""
    return f"{method}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}"


def _name(unverified: object, reason: str) -> str:
    if not isinstance(unverified, str) or not 0 < len(unverified) <= SUBJECT_LIMIT or not unverified.isprintable():
        raise NotAuthenticated("invalid_credential", reason)
    return unverified


def _at(claims: JsonObject, path: str) -> object:
    """What stands at a dotted path; a claim that has the whole path for its name comes first."""
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _mapped(unverified: object, roles: Mapping[str, str]) -> tuple[str, ...]:
    """The roles of these values, as far as licet.toml maps them; anything else gives nothing."""
    values = unverified if isinstance(unverified, list) else [unverified]
    return tuple(dict.fromkeys([roles[value] for value in values[:ROLES_LIMIT] if isinstance(value, str) and value in roles]))


def _both(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*left, *right)))


def _common(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    """The tenants of both: whoever acts for somebody does so where both belong."""
    if ANY in left:
        return right
    return left if ANY in right else tuple([tenant for tenant in left if tenant in right])
