"""API keys over HTTP: issued, listed, replaced and revoked.

Rules:

1. Nobody issues what is wider than their own: no tenant that they may not issue for, no role that they do not have themselves, and nothing
   that outlives what they show (gate/credentials.py, rule 4).
2. A person's key is issued and replaced by that person alone: with somebody else's an administrator could vote in their name.
3. A key is shown once, in the answer that issues it, which no cache keeps.
4. A key of tenants that whoever asks may not reach does not exist for them.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from licet.errors import CredentialRefused
from licet.gate.credentials import LONGEST_OVERLAP_S, Credentials, CredentialSeen, IssuedKey, Revoked, list_credentials, show_credential
from licet.identity.api_keys import KeyContent
from licet.identity.authenticated import ANY
from licet.model import OPERATOR_LOG
from licet.policy.own import OwnAction
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.pages import page_of
from licet.server.problems import Problem, not_found
from licet.server.shapes_approvals import Limit
from licet.server.shapes_records import Name

Names = tuple[Name, ...]
_LONGEST_S: Final = 10 * 366 * 86_400
Seconds = Annotated[int, Meta(ge=60, le=_LONGEST_S)]
_STATUS: Final = {"no_such_credential": 404, "already_ended": 409, "outlives_issuer": 403}
_ONCE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))


class IssueCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For whom a key is: programs (`agents`, `services`, and `users` on whose behalf they act), or the person who asks (`user`)."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    tenants: Annotated[Names, Meta(min_length=1)]
    expires_s: Seconds
    agents: Names = ()
    services: Names = ()
    users: Names = ()
    user: Name | None = None
    roles: Names = ()


class OneCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credential."""

    id: Name


class RotateCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the old key goes on, and how long the new one is good; as long as the old one was where that is left out."""

    overlap_s: Annotated[int, Meta(ge=0, le=LONGEST_OVERLAP_S)] = 86_400
    expires_s: Seconds | None = None


class RevokeCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it ends."""

    reason: Annotated[str, Meta(min_length=1, max_length=1_000)]


class ListCredentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    limit: Limit = 50
    cursor: str | None = None


class CredentialList(Struct, frozen=True, kw_only=True):
    """A page of keys, the oldest first, those that have ended included; `next` is the cursor of the page behind it."""

    credentials: tuple[CredentialSeen, ...]
    next: str | None = None


def list_keys(asked: Asked) -> Answer:
    """The keys of the tenants in which this one may see them."""
    _somewhere(asked, "credentials.read")
    found = list_credentials(asked.gate.store, asked.gate.now())
    mine = [one for one in found if _reaches(asked, "credentials.read", one.tenants)]
    page, following = page_of("listCredentials", asked.params, mine, lambda one: (one.created_at, one.id))
    return Answer(body=CredentialList(credentials=page, next=following))


def get_key(asked: Asked) -> Answer:
    """One key, without its secret."""
    return Answer(body=_find(asked, "credentials.read"))


def issue(asked: Asked) -> Answer:
    """A key, which is shown this once."""
    body: IssueCredential = asked.body
    _somewhere(asked, "credentials.issue")
    content = KeyContent(
        name=body.name,
        tenants=body.tenants,
        agents=body.agents,
        services=body.services,
        users=body.users,
        user=body.user,
        roles=body.roles,
    )
    if not _reaches(asked, "credentials.issue", body.tenants):
        raise not_found()
    _not_wider(asked, body.user, body.roles)
    try:
        issued = _keys(asked).issue(content, expires_s=body.expires_s, by=asked.who.user)
    except CredentialRefused as error:
        raise _refused(error) from error
    return Answer(body=issued, headers=_ONCE)


def rotate(asked: Asked) -> Answer:
    """A successor for the same, which is shown this once."""
    body: RotateCredential = asked.body
    found = _find(asked, "credentials.issue")
    _not_wider(asked, found.user, found.roles)
    try:
        issued = _keys(asked).rotate(found.id, overlap_s=body.overlap_s, expires_s=body.expires_s, by=asked.who.user)
    except CredentialRefused as error:
        raise _refused(error) from error
    return Answer(body=issued, headers=_ONCE)


def revoke(asked: Asked) -> Answer:
    """The key is good for nothing any more."""
    found = _find(asked, "credentials.revoke")
    try:
        return Answer(body=_keys(asked).revoke(found.id, reason=asked.body.reason, by=asked.who.user))
    except CredentialRefused as error:
        raise _refused(error) from error


def _keys(asked: Asked) -> Credentials:
    return asked.gate.credentials.showing(asked.who)


def _somewhere(asked: Asked, action: OwnAction) -> None:
    if not asked.tenants(action):
        raise not_permitted(action)


def _find(asked: Asked, action: OwnAction) -> CredentialSeen:
    """The key, if whoever asks may do that with it (rule 4)."""
    _somewhere(asked, action)
    try:
        found = show_credential(asked.gate.store, asked.params.id, asked.gate.now())
    except CredentialRefused as error:
        raise not_found() from error
    if not _reaches(asked, action, found.tenants):
        raise not_found()
    return found


def _reaches(asked: Asked, action: OwnAction, tenants: tuple[str, ...]) -> bool:
    """Whether this one may do that in all of these tenants; `*` is all that there are and will be, so the installation too."""
    if ANY in tenants:
        everywhere = ANY in asked.who.tenants or asked.who.user is not None
        return everywhere and all(asked.decide(action, name).allowed for name in (*asked.directory.tenants, OPERATOR_LOG))
    return bool(tenants) and all(asked.decide(action, name).allowed for name in tenants)


def _not_wider(asked: Asked, user: str | None, roles: tuple[str, ...]) -> None:
    """Rules 1 and 2. Raises `Problem`."""
    if user is not None and user != asked.who.user:
        raise Problem("not_their_own", "a person's key is issued to that person alone", status=403)
    wider = [role for role in roles if role not in asked.asker.roles]
    if wider:
        raise Problem("wider_than_own", f"`{wider[0]}` is no role of whoever asks, and nobody issues more than they have", status=403)


def _refused(error: CredentialRefused) -> Problem:
    return Problem(error.code, str(error), status=_STATUS.get(error.code, 422))


_TAG = "credentials"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/credentials",
        operation="listCredentials",
        summary="API keys, the oldest first; never their secrets",
        tag=_TAG,
        action="credentials.read",
        handler=list_keys,
        params=ListCredentials,
        returns=CredentialList,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/credentials",
        operation="issueCredential",
        summary="Issue an API key, which is shown this once",
        tag=_TAG,
        action="credentials.issue",
        handler=issue,
        body=IssueCredential,
        returns=IssuedKey,
        status=201,
        statuses=(409, 422),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/credentials/{id}",
        operation="getCredential",
        summary="What a key is for, until when, and when it was used last",
        tag=_TAG,
        action="credentials.read",
        handler=get_key,
        params=OneCredential,
        returns=CredentialSeen,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/credentials/{id}/rotate",
        operation="rotateCredential",
        summary="Issue a successor for the same, which is shown this once; the old key ends when the overlap is over",
        tag=_TAG,
        action="credentials.issue",
        handler=rotate,
        params=OneCredential,
        body=RotateCredential,
        returns=IssuedKey,
        status=201,
        statuses=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/api/v1/credentials/{id}/revoke",
        operation="revokeCredential",
        summary="End a key at once, in every process within a second",
        tag=_TAG,
        action="credentials.revoke",
        handler=revoke,
        params=OneCredential,
        body=RevokeCredential,
        returns=Revoked,
        statuses=(409, 422),
    ),
)
