"""Freezes over HTTP: listed, placed, lifted.

Rules:

1. A freeze of one tenant is placed and lifted by whoever may in that tenant; one of every tenant by whoever may in the installation.
2. Who lifts is the person whose credential was shown, never one whom a body names. A program lifts only where licet.toml wants neither a
   group of lifters nor two persons.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from licet.errors import FreezeRefused
from licet.gate.freeze import REASON_LIMIT, Lifted
from licet.gate.freeze_view import StandingFreeze
from licet.ledger.frozen import Scope
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.pages import page_of
from licet.server.problems import Problem, not_found
from licet.server.shapes_approvals import Limit
from licet.server.shapes_records import Name

Reason = Annotated[str, Meta(min_length=1, max_length=REASON_LIMIT)]
_STATUS: Final = {
    "no_such_freeze": 404,
    "already_lifted": 409,
    "not_a_lifter": 403,
    "same_person": 403,
    "second_person_needed": 403,
    "no_user": 403,
    "unknown_user": 403,
    "user_disabled": 403,
}


class ListFreezes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which tenant (`operator` are those of every tenant), and which page."""

    tenant: Name | None = None
    limit: Limit = 50
    cursor: str | None = None


class PlaceFreeze(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to stop, and why. `tenant` narrows it to one tenant's calls; `anyway` freezes a name that nobody knows."""

    scope: Scope
    reason: Reason
    name: Name | None = None
    tenant: Name | None = None
    anyway: bool = False


class OneFreeze(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A freeze."""

    id: Name


class LiftFreeze(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it is lifted."""

    reason: Reason


class Freezes(Struct, frozen=True, kw_only=True):
    """A page of what is stopped, the oldest first; `next` is the cursor of the page behind it."""

    freezes: tuple[StandingFreeze, ...]
    next: str | None = None


def list_freezes(asked: Asked) -> Answer:
    """The freezes of these tenants."""
    logs = asked.chosen("freezes.read", asked.params.tenant)
    mine = [one for one in asked.gate.freezes() if _log(one) in logs]
    page, following = page_of("listFreezes", asked.params, mine, lambda one: (one.since, one.id))
    return Answer(body=Freezes(freezes=page, next=following))


def place(asked: Asked) -> Answer:
    """It is frozen, in every process on the store."""
    body: PlaceFreeze = asked.body
    tenant = body.name if body.scope == "tenant" else body.tenant
    asked.allow("freezes.place", tenant or OPERATOR_LOG)
    try:
        froze = asked.gate.freeze(
            body.scope,
            body.name,
            reason=body.reason,
            tenant=body.tenant,
            by=asked.who.user,
            anyway=body.anyway,
            credential=asked.who.credential,
        )
    except FreezeRefused as error:
        raise Problem(error.code, str(error), status=422) from error
    return Answer(body=froze)


def lift(asked: Asked) -> Answer:
    """It is frozen no more."""
    found = next((one for one in asked.gate.freezes() if one.id == asked.params.id), None)
    if not asked.tenants("freezes.lift"):
        raise not_permitted("freezes.lift")
    if found is None or not asked.decide("freezes.lift", _log(found)).allowed:
        raise not_found()
    try:
        lifted = asked.gate.lift(found.id, reason=asked.body.reason, by=asked.who.user, credential=asked.who.credential)
    except FreezeRefused as error:
        raise Problem(error.code, str(error), status=_STATUS.get(error.code, 422)) from error
    return Answer(body=lifted)


def _log(found: StandingFreeze) -> str:
    return found.tenant or OPERATOR_LOG


_TAG = "freezes"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/freezes",
        operation="listFreezes",
        summary="What is stopped, the oldest first",
        tag=_TAG,
        action="freezes.read",
        handler=list_freezes,
        params=ListFreezes,
        returns=Freezes,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/freezes",
        operation="placeFreeze",
        summary="Stop an agent, a service, a tool, a tenant, a session or everything, at once",
        tag=_TAG,
        action="freezes.place",
        handler=place,
        body=PlaceFreeze,
        returns=StandingFreeze,
        status=201,
        statuses=(422,),
    ),
    Endpoint(
        method="POST",
        path="/api/v1/freezes/{id}/lift",
        operation="liftFreeze",
        summary="Lift a freeze, as the person who asks",
        tag=_TAG,
        action="freezes.lift",
        handler=lift,
        params=OneFreeze,
        body=LiftFreeze,
        returns=Lifted,
        statuses=(409, 422),
    ),
)
