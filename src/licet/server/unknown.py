"""Calls of which nobody saw the end, over HTTP: listed, and settled by hand. Settling grants nothing and runs nothing."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from licet.errors import SettlementRefused
from licet.gate.unknown import Settled, SettledAs, UnknownCall
from licet.model import CallId
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.pages import page_of
from licet.server.problems import Problem, not_found
from licet.server.records import note_reading
from licet.server.shapes_approvals import Limit
from licet.server.shapes_records import Name

_STATUS: Final = {"already_settled": 409, "not_unknown": 409, "not_in_tenant": 403, "unknown_user": 403, "user_disabled": 403}


class ListUnknown(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which tenant, and which page."""

    tenant: Name | None = None
    limit: Limit = 50
    cursor: str | None = None


class OneCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call."""

    call: Name


class SettleCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the call is held to have ended, and how that is known."""

    status: SettledAs
    reason: Annotated[str, Meta(min_length=1, max_length=2_000)]


class UnknownCalls(Struct, frozen=True, kw_only=True):
    """A page of the calls, the one that was begun first first; `next` is the cursor of the page behind it."""

    calls: tuple[UnknownCall, ...]
    next: str | None = None


def list_unknown(asked: Asked) -> Answer:
    """The calls of these tenants whose end nobody saw."""
    logs = asked.chosen("unknown.read", asked.params.tenant)
    mine = [one for one in asked.gate.unknown(logs[0] if len(logs) == 1 else None) if one.tenant in logs]
    page, following = page_of("listUnknown", asked.params, mine, lambda one: (one.at, one.call))
    note_reading(asked, "unknown", {}, logs, shown=len(page))
    return Answer(body=UnknownCalls(calls=page, next=following))


def settle(asked: Asked) -> Answer:
    """The call is held to have ended so."""
    call = CallId(asked.params.call)
    logs = asked.tenants("unknown.settle")
    if not logs:
        raise not_permitted("unknown.settle")
    intent = next((record for record in asked.gate.store.records_of_call(call) if record.kind == "intent"), None)
    if intent is None or intent.log not in logs:
        raise not_found()
    body: SettleCall = asked.body
    try:
        settled = asked.gate.settle(call, body.status, reason=body.reason, by=asked.who.user, credential=asked.who.credential)
    except SettlementRefused as error:
        raise Problem(error.code, str(error), status=_STATUS.get(error.code, 422)) from error
    return Answer(body=settled)


_TAG = "unknown"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/unknown",
        operation="listUnknown",
        summary="The calls of which nobody saw the end; the reading is recorded",
        tag=_TAG,
        action="unknown.read",
        handler=list_unknown,
        params=ListUnknown,
        returns=UnknownCalls,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/unknown/{call}/settle",
        operation="settleUnknown",
        summary="Say how a call ended of which nobody saw the end",
        tag=_TAG,
        action="unknown.settle",
        handler=settle,
        params=OneCall,
        body=SettleCall,
        returns=Settled,
        statuses=(409, 422),
    ),
)
