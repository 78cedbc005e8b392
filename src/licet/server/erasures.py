"""Forgetting over HTTP: erasures, and the legal holds that forbid them. The record names the credential of whoever did it.

A subject is of a tenant, and both it and every act on it are within that tenant's reach alone. Where a key that names a user is of other
tenants too, the user is erased by somebody who may erase in all of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta, Struct

from licet.errors import ErasureRefused
from licet.gate.forgetting import Forgotten, forget
from licet.identity.authenticated import ANY
from licet.ledger.acts import Operator
from licet.ledger.erasure_keys import keys_naming
from licet.ledger.forgotten import Hold
from licet.ledger.holds import place_hold, release_hold
from licet.ledger.vault import Subject
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.pages import page_of
from licet.server.problems import Problem, not_found
from licet.server.shapes_approvals import Limit
from licet.server.shapes_records import Name

Reason = Annotated[str, Meta(min_length=1, max_length=2_000, description="recorded; must not name the subject")]
_STATUS: Final = {"held": 409, "nothing_recorded": 404, "no_such_hold": 404}


class ErasedSubject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to forget: a type and an id, such as `Customer` and `C-412`, or `User` and `alice`."""

    tenant: Name
    type: Name
    id: Name
    reason: Reason


class ListHolds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which tenant, and which page."""

    tenant: Name | None = None
    limit: Limit = 50
    cursor: str | None = None


class HeldSubject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must stay: a subject by type and id, or everything in the log of the tenant where both are left out."""

    tenant: Name
    reason: Reason
    type: Name | None = None
    id: Name | None = None


class OneHold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A hold."""

    id: Name


class Released(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it is released."""

    reason: Reason


class HoldShape(Struct, frozen=True, kw_only=True):
    """A hold that stands. `target` is a type and a pseudonym; None for everything in the log."""

    id: str
    log: str
    target: str | None
    since: datetime


class Holds(Struct, frozen=True, kw_only=True):
    """A page of the holds that stand, the oldest first; `next` is the cursor of the page behind it."""

    holds: tuple[HoldShape, ...]
    next: str | None = None


def erase(asked: Asked) -> Answer:
    """The subject is forgotten, for ever."""
    body: ErasedSubject = asked.body
    asked.allow("erasures.perform", body.tenant)
    _reach_keys(asked, Subject(body.tenant, body.type, body.id))
    try:
        done = forget(asked.gate.ledger, asked.gate.settings, _operator(asked), Subject(body.tenant, body.type, body.id), body.reason)
    except ErasureRefused as error:
        raise _refused(error) from error
    return Answer(body=done)


def _reach_keys(asked: Asked, subject: Subject) -> None:
    """An erasure revokes and changes keys, and nobody does so in tenants in which they may not erase. Raises `Problem`.

    Of whom nothing is recorded in the tenant, nothing is said here either: it may be somebody of another one.
    """
    if subject.type != "User" or asked.gate.store.find_pseudonym(subject) is None:
        return
    here, there_are = set(asked.tenants("erasures.perform")), {*asked.directory.tenants, OPERATOR_LOG}
    for found in keys_naming(asked.gate.store, subject.tenant, subject.id):
        needed = there_are if ANY in found.content.tenants else set(found.content.tenants)
        if not needed <= here and not there_are <= here:  # a key may be of a tenant that is not there any more
            detail = (
                "a key that names this user reaches beyond the tenants in which you may erase: somebody who may do so in all of them can"
            )
            raise Problem("key_beyond_reach", detail, status=403)


def list_holds(asked: Asked) -> Answer:
    """The holds in these logs."""
    logs = asked.chosen("holds.read", asked.params.tenant)
    mine = [_shape(one) for one in asked.gate.store.holds() if one.log in logs]
    page, following = page_of("listHolds", asked.params, mine, lambda one: (one.since, one.id))
    return Answer(body=Holds(holds=page, next=following))


def place(asked: Asked) -> Answer:
    """A hold stands."""
    body: HeldSubject = asked.body
    asked.allow("holds.place", body.tenant)
    if (body.type is None) is not (body.id is None):
        raise Problem("bad_request", "a subject has a type and an id")
    subject = None if body.type is None or body.id is None else Subject(body.tenant, body.type, body.id)
    try:
        return Answer(body=_shape(place_hold(_operator(asked), body.tenant, subject, body.reason)))
    except ErasureRefused as error:
        raise _refused(error) from error


def release(asked: Asked) -> Answer:
    """The hold stands no more."""
    logs = asked.tenants("holds.release")
    if not logs:
        raise not_permitted("holds.release")
    found = next((one for one in asked.gate.store.holds() if one.id == asked.params.id), None)
    if found is None or found.log not in logs:
        raise not_found()
    try:
        return Answer(body=_shape(release_hold(_operator(asked), found.id, asked.body.reason)))
    except ErasureRefused as error:
        raise _refused(error) from error


def _operator(asked: Asked) -> Operator:
    """Whoever asks, by their credential: a person's name would stay in records that nobody's erasure reaches."""
    return asked.gate.ledger.operator(asked.gate.settings, f"credential {asked.who.credential}")


def _refused(error: ErasureRefused) -> Problem:
    return Problem(error.code, str(error), status=_STATUS.get(error.code, 422))


def _shape(hold: Hold) -> HoldShape:
    since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=hold.at)
    return HoldShape(id=hold.id, log=hold.log, target=hold.target, since=since)


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/erasures",
        operation="eraseSubject",
        summary="Forget a person or a target, for ever; every hash and proof stays as it was",
        tag="erasures",
        action="erasures.perform",
        handler=erase,
        body=ErasedSubject,
        returns=Forgotten,
        statuses=(409, 422),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/holds",
        operation="listHolds",
        summary="The legal holds that stand",
        tag="holds",
        action="holds.read",
        handler=list_holds,
        params=ListHolds,
        returns=Holds,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/holds",
        operation="placeHold",
        summary="Keep a person's or target's records, or all of a tenant's",
        tag="holds",
        action="holds.place",
        handler=place,
        body=HeldSubject,
        returns=HoldShape,
        status=201,
        statuses=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/api/v1/holds/{id}/release",
        operation="releaseHold",
        summary="Release a legal hold",
        tag="holds",
        action="holds.release",
        handler=release,
        params=OneHold,
        body=Released,
        returns=HoldShape,
        statuses=(409, 422),
    ),
)
