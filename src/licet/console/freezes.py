"""What is stopped: placed and lifted here through the API's own functions, effective at once in every process on the store.

A form that is sent twice stops once: where the same person's freeze of the same thing for the same reason stands, it is what the second
answers with. Only two processes that are asked at one moment may both place one; each is lifted for itself.
"""

from __future__ import annotations

import threading
from typing import Annotated, Final

from msgspec import Meta, Struct

from licet.console.frame import page, place_of
from licet.gate.freeze import REASON_LIMIT
from licet.gate.freeze_view import StandingFreeze
from licet.gate.text import readable
from licet.ledger.frozen import Scope
from licet.model import OPERATOR_LOG
from licet.server import freezes
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.shapes_records import Name

HERE: Final = "/console/freezes"
_SCOPES: Final = (
    ("agent", "an agent"),
    ("service", "a service"),
    ("tool", "a tool"),
    ("tenant", "a tenant"),
    ("session", "a session"),
    ("all", "everything"),
)
_placing: Final = threading.Lock()
Optional = Annotated[str, Meta(max_length=1_000)]
Why = Annotated[str, Meta(min_length=1, max_length=REASON_LIMIT)]


class ShowFreezes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of them."""

    cursor: str | None = None


class ShowForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be stopped, as far as that is known."""

    scope: Scope = "agent"
    name: Optional = ""
    tenant: Optional = ""


class Freeze(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be stopped, where, and why; an empty field is none."""

    scope: Scope
    reason: Why
    name: Optional = ""
    tenant: Optional = ""
    anyway: bool = False


class OneFreeze(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A freeze."""

    id: Name


class Lift(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it goes on."""

    reason: Why


def show(asked: Asked) -> Answer:
    """What is stopped."""
    found: freezes.Freezes = freezes.list_freezes(asked.with_input(freezes.ListFreezes(cursor=asked.params.cursor), None)).body
    return page(
        asked,
        "freezes.html",
        freezes=found.freezes,
        following=found.next,
        may_place=bool(asked.tenants("freezes.place")),
        may_lift={one.id for one in found.freezes if asked.decide("freezes.lift", one.tenant or OPERATOR_LOG).allowed},
    )


def stopped_of(asked: Asked, scope: Scope) -> dict[str | None, list[StandingFreeze]]:
    """Freezes of this kind by name: in the tenant that pages are about and everywhere, as far as this one may know of them."""
    logs, place = asked.tenants("freezes.read"), place_of(asked)
    found: dict[str | None, list[StandingFreeze]] = {}
    for one in asked.gate.freezes():
        if one.scope == scope and (one.tenant or OPERATOR_LOG) in logs and (place is None or one.tenant in {None, place}):
            found.setdefault(one.name, []).append(one)
    return found


def show_form(asked: Asked) -> Answer:
    """What would be stopped, and what that means, before it is."""
    tenants = [name for name in asked.tenants("freezes.place") if name != OPERATOR_LOG]
    everywhere = asked.decide("freezes.place", OPERATOR_LOG).allowed
    if not tenants and not everywhere:
        asked.allow("freezes.place", OPERATOR_LOG)
    return page(asked, "freeze.html", query=asked.params, scopes=_SCOPES, own_tenants=tenants, everywhere=everywhere, limit=REASON_LIMIT)


def place(asked: Asked) -> Answer:
    """It is frozen, once."""
    body: Freeze = asked.body
    given = freezes.PlaceFreeze(
        scope=body.scope, reason=body.reason.strip(), name=body.name.strip() or None, tenant=body.tenant or None, anyway=body.anyway
    )
    asked.allow("freezes.place", _tenant_of(given) or OPERATOR_LOG)
    with _placing:
        if not any(_is_this(one, given, asked.who.user) for one in asked.gate.freezes()):
            freezes.place(asked.with_input(None, given))
    return Answer(status=303, media_type="text/plain", headers=(("Location", HERE),))


def _tenant_of(given: freezes.PlaceFreeze) -> str | None:
    return given.name if given.scope == "tenant" else given.tenant


def _is_this(one: StandingFreeze, given: freezes.PlaceFreeze, user: str | None) -> bool:
    """Whether this freeze is what this person asks for, as it would be written."""
    wanted = (given.scope, None if given.name is None else readable(given.name), _tenant_of(given), readable(given.reason), user)
    return wanted == (one.scope, one.name, one.tenant, one.reason, one.by)


def lift(asked: Asked) -> Answer:
    """It is frozen no more."""
    freezes.lift(asked.with_input(freezes.OneFreeze(id=asked.params.id), freezes.LiftFreeze(reason=asked.body.reason.strip())))
    return Answer(status=303, media_type="text/plain", headers=(("Location", HERE),))


PAGES: Final = (
    Endpoint(
        method="GET",
        path=HERE,
        operation="consoleFreezes",
        summary="What is stopped",
        tag="console",
        action="freezes.read",
        handler=show,
        params=ShowFreezes,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/place",
        operation="consoleFreeze",
        summary="What would be stopped",
        tag="console",
        action="freezes.place",
        handler=show_form,
        params=ShowForm,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/place",
        operation="consolePlaceFreeze",
        summary="Stop it, at once",
        tag="console",
        action="freezes.place",
        handler=place,
        body=Freeze,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/{{id}}/lift",
        operation="consoleLiftFreeze",
        summary="Let it go on",
        tag="console",
        action="freezes.lift",
        handler=lift,
        params=OneFreeze,
        body=Lift,
    ),
)
