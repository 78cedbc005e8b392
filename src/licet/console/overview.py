"""The overview: what needs somebody, what agents did, and whether the ledger holds.

Rules:

1. One look is one reading in the log, durable before anything is shown.
2. What is listed here is what the API lists: requests, unknown outcomes, freezes, each with its own permission.
3. Settling and verifying are POSTs, done by the functions of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlencode

from msgspec import Struct

from licet.console.frame import page, place_of
from licet.console.overview_facts import calls, counted, denials, times, totals
from licet.console.overview_ledger import conditions_of, keep_whole, look_at_tip, outside_of, whole_of
from licet.errors import IntegrityBroken
from licet.model import OPERATOR_LOG
from licet.server import approvals, proofs, unknown
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem
from licet.server.records import note_reading
from licet.server.shapes_approvals import ListRequests
from licet.server.shapes_records import Name
from licet.server.unknown import OneCall, SettleCall

HERE: Final = "/console/overview"
LISTED: Final = 5
Range = Literal["1h", "24h", "7d", "30d"]
RANGES: Final[Mapping[Range, tuple[str, str, timedelta, int]]] = MappingProxyType(
    {
        "1h": ("1 h", "last hour", timedelta(hours=1), 1),
        "24h": ("24 h", "last 24 hours", timedelta(days=1), 1),
        "7d": ("7 d", "last 7 days", timedelta(days=7), 4),
        "30d": ("30 d", "last 30 days", timedelta(days=30), 24),
    }
)


class ShowOverview(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Over which time calls and denials are counted."""

    range: Range = "24h"


class Settle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which call."""

    call: Name


class NoFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A form with nothing but its token."""


def begin(asked: Asked) -> Answer:
    """Where somebody begins who was sent nowhere else: the overview, for whoever may read a log."""
    there = HERE if asked.tenants("records.read") else "/console/inbox"
    return Answer(status=303, media_type="text/plain", headers=(("Location", there),))


def show(asked: Asked) -> Answer:
    """The overview."""
    params: ShowOverview = asked.params
    word, back, hours = RANGES[params.range][1:]
    place = place_of(asked)
    logs = asked.chosen("records.read", place)
    now = asked.gate.now()
    chart = calls(asked, logs, back, hours)
    denied, cut = denials(asked, logs, back)
    outcomes = totals(counted(asked, logs, "outcome", since=now - back, until=now + timedelta(seconds=1), hours=hours))
    unsettled, broken = _unsettled(asked, place)
    took = times(asked, logs)
    beside = tuple(sorted({one.tenant for one in unsettled} - {*logs}))  # one may know of these and not read their log
    note_reading(asked, "overview", {"range": params.range}, (*logs, *beside), shown=len(unsettled), payloads=bool(unsettled))
    return page(
        asked,
        "overview.html",
        range=params.range,
        ranges=RANGES,
        word=word,
        chart=chart,
        outcomes=outcomes,
        denied=denied,
        denied_cut=cut,
        times=took,
        waits=_waiting(asked, place),
        unsettled=unsettled,
        broken=broken,
        listed=LISTED,
        may_settle={one.tenant: asked.decide("unknown.settle", one.tenant).allowed for one in unsettled},
        frozen=_frozen(asked, place),
        tip=look_at_tip(asked),
        whole=whole_of(asked),
        outside=[*conditions_of(asked), *outside_of(asked)],
        may_verify=asked.decide("records.verify", OPERATOR_LOG).allowed,
        audit=lambda **given: f"/console/audit?{urlencode(given)}",
        bar_link=lambda bar: (
            "/console/audit?" + urlencode({"since": f"{bar.since:%Y-%m-%dT%H:%M:%SZ}", "until": f"{bar.until:%Y-%m-%dT%H:%M:%SZ}"})
        ),
    )


def _waiting(asked: Asked, place: str | None) -> dict[str, Any]:
    """How many requests wait, and when the first of them ends; nothing for whoever may see none."""
    try:
        found = approvals.find_requests(asked.with_input(ListRequests(tenant=place, state=("open",)), None), with_own=True)
    except Problem:
        return {"number": None, "more": False, "ends": None}
    ends = min((one.expires_at for one in found.requests), default=None)
    return {"number": len(found.requests), "more": found.next is not None, "ends": ends}


def _unsettled(asked: Asked, place: str | None) -> tuple[list[Any], str]:
    """Calls of which nobody saw the end; or why they cannot be told, which must not hide the rest of the page."""
    logs = asked.tenants("unknown.read")
    try:
        return ([one for one in asked.gate.unknown(place) if one.tenant in logs] if logs else []), ""
    except IntegrityBroken as error:
        return [], str(error)


def _frozen(asked: Asked, place: str | None) -> list[Any]:
    logs = asked.tenants("freezes.read")
    mine = [one for one in asked.gate.freezes() if (one.tenant or OPERATOR_LOG) in logs]
    return [one for one in mine if place is None or one.tenant in {None, place}]


def show_unknown(asked: Asked) -> Answer:
    """One call of which nobody saw the end, and the form that settles it."""
    return _unknown(asked, asked.params.call)


def _unknown(asked: Asked, call: str, refused: Problem | None = None) -> Answer:
    logs = asked.chosen("unknown.read", None)
    one = next((found for found in asked.gate.unknown(None) if found.call == call and found.tenant in logs), None)
    if one is None:
        raise refused or Problem("not_found", "there is no such call that is to be settled", status=404)
    note_reading(asked, "unknown", {"reference": call}, (one.tenant,), shown=1)
    status = 200 if refused is None else refused.status
    may = asked.decide("unknown.settle", one.tenant).allowed
    return page(asked, "overview_unknown.html", status=status, one=one, may_settle=may, refused=refused)


def settle(asked: Asked) -> Answer:
    """The call is held to have ended so."""
    call = asked.params.call
    try:
        unknown.settle(asked.with_input(OneCall(call=call), asked.body))
    except Problem as problem:
        if problem.status not in {409, 422}:
            raise
        return _unknown(asked, call, problem)
    return Answer(status=303, media_type="text/plain", headers=(("Location", f"{HERE}#settle"),))


def verify(asked: Asked) -> Answer:
    """The whole ledger is verified."""
    found = proofs.verify(asked.with_input(None, None)).body
    keep_whole(asked, found)
    return Answer(status=303, media_type="text/plain", headers=(("Location", f"{HERE}#ledger"),))


_UNKNOWN: Final = "/console/unknown/{call}"
PAGES: Final = (
    Endpoint(
        method="GET", path="/console", operation="consoleBegin", summary="Where one begins", tag="console", action=None, handler=begin
    ),
    Endpoint(
        method="GET",
        path=HERE,
        operation="consoleOverview",
        summary="What needs somebody, what agents did, and how the ledger is",
        tag="console",
        action="records.read",
        handler=show,
        params=ShowOverview,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/verify",
        operation="consoleVerify",
        summary="Verify the whole ledger",
        tag="console",
        action="records.verify",
        handler=verify,
        body=NoFields,
    ),
    Endpoint(
        method="GET",
        path=_UNKNOWN,
        operation="consoleUnknown",
        summary="A call of which nobody saw the end",
        tag="console",
        action="unknown.read",
        handler=show_unknown,
        params=Settle,
    ),
    Endpoint(
        method="POST",
        path=_UNKNOWN,
        operation="consoleSettle",
        summary="Say how a call ended",
        tag="console",
        action="unknown.settle",
        handler=settle,
        params=Settle,
        body=SettleCall,
    ),
)
