"""Traces: the workflows of late, and one of them as a waterfall of its calls.

Rules:

1. Only records of logs in which this one may read are part of a trace, whatever its id: calls of another tenant under the same name are not
   there, in no count and no axis.
2. A workflow is one of one log: what two tenants call the same is kept apart, and asked for by name and tenant.
3. One look at a trace is one reading in the log, without payloads. Arguments are looked at call by call, and each look is recorded.
4. A page holds so many rows; the next ones come by a link, with or without scripts. It names the row that it goes on behind, and all pieces
   are of one moment: what happens meanwhile neither moves a row nor the axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta, Struct

from licet.console.frame import page, place_of
from licet.console.looks import HOLD
from licet.console.record import arguments_of
from licet.console.records import read_all, record_path, workflow_path
from licet.console.subject_view import entry_of, pieces
from licet.console.trace_axis import Axis
from licet.console.trace_records import KINDS, RECORDS_LIMIT, Workflow, find_workflow
from licet.console.trace_tree import Span, in_order, settle_waits, spans_of
from licet.console.wording import span as worded
from licet.ledger.entries import Entry, tell
from licet.ledger.record import microseconds
from licet.ledger.wording import counted, duration, who
from licet.server import records
from licet.server.cursors import bad_cursor, read_cursor, write_cursor
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem
from licet.server.records import find, note_reading, sought_by
from licet.server.shapes_records import Index, Name, OneRecord, SearchRecords
from licet.server.visible import find_visible

HERE: Final = "/console/traces"
ROWS: Final = 100
_RECENT: Final = 500
_HELD: Final = 50
"""Of so many held calls it is looked up when people decided."""
_DEEPEST: Final = 8


class ShowTraces(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page of the list."""

    cursor: str | None = None


class FindTrace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A workflow or a trace by its name."""

    name: Annotated[str, Meta(max_length=1_000)] = ""


class ShowTrace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which workflow or trace of which tenant, which of its calls, behind which row, and whether waiting stands in proportion."""

    id: Name
    tenant: Name | None = None
    failed: Literal["", "1"] = ""
    unfold: Literal["", "1"] = ""
    cursor: str | None = None


class Place(Struct, frozen=True, array_like=True):
    """Where a page ends: its last row by the first record of the call, the newest record that is drawn, and when that was."""

    row: Index
    newest: Index
    at: Annotated[int, Meta(ge=0)]


class ShowCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call of a trace, by the place of its record."""

    id: Name
    log: Name
    index: Index


def show_traces(asked: Asked) -> Answer:
    """The workflows of late."""
    params: ShowTraces = asked.params
    search = SearchRecords(tenant=place_of(asked), kind=KINDS, payloads=False)
    sought = sought_by(asked, search)
    after = None if params.cursor is None else read_cursor("consoleTraces", search, params.cursor, str)
    found = find(asked, sought, limit=_RECENT, after=after)
    note_reading(asked, "search", sought.told, sought.logs, shown=len(found.records), payloads=False)
    entries = read_all(found.records)
    return page(
        asked,
        "traces.html",
        groups=_groups(entries),
        seen=len(entries),
        following=None if found.next is None else urlencode({"cursor": write_cursor("consoleTraces", search, found.next)}),
        is_first=params.cursor is None,
    )


def find_trace(asked: Asked) -> Answer:
    """From the field of the list to the page."""
    name = asked.params.name.strip()
    asked.chosen("records.read", None)
    there = f"{HERE}/{quote(name, safe='')}" if name else HERE
    return Answer(status=303, media_type="text/plain", headers=(("Location", there),))


def show(asked: Asked) -> Answer:
    """One workflow; where several tenants have one of this name, which there are."""
    params: ShowTrace = asked.params
    found = find_workflow(asked, params.id, params.tenant)
    if not isinstance(found, Workflow):
        return page(asked, "trace_logs.html", name=params.id, logs=[(log, workflow_path(params.id, log)) for log in found])
    log = found.log
    params = msgspec.structs.replace(params, tenant=log)
    now_us = microseconds(asked.gate.now())
    begun = None if params.cursor is None else read_cursor("consoleTrace", params, params.cursor, Place)
    place = begun or Place(0, max(entry.index for entry in found.entries), now_us)
    at_us = min(place.at, now_us)
    spans = spans_of([entry for entry in found.entries if entry.index <= place.newest], at_us)
    settle_waits(spans, _ends(asked, spans), at_us)
    ordered = in_order(spans)
    shown = [span for span in ordered if span.is_bad] if params.failed else ordered
    axis = Axis.of(_busy(spans), fold=not params.unfold)
    start = 0 if begun is None else _behind(shown, begun.row)
    rows = shown[start : start + ROWS]
    left = len(shown) - start - len(rows)
    following = write_cursor("consoleTrace", params, Place(rows[-1].first, place.newest, place.at)) if left else None
    waited = sum((span.waited_until or span.start) - span.start for span in spans)
    return page(
        asked,
        "trace.html",
        name=params.id,
        by=found.by,
        log=log,
        rows=[_row(span, axis, params.id) for span in rows],
        following=None if following is None else _address(params, cursor=following),
        left=left,
        is_first=not start,
        axis=axis,
        count=len(spans),
        bad=sum(span.is_bad for span in spans),
        failed=bool(params.failed),
        unfold=bool(params.unfold),
        address=lambda **changes: _address(params, **{"cursor": None, **changes}),
        begun=spans[0].start if spans else found.entries[0].envelope.at,
        length=axis.length,
        waited=worded(waited // 1_000_000) if waited else "",
        agents=sorted({span.caller for span in spans}),
        questions=[span for span in spans if span.is_open],
        unknown=[span for span in spans if span.look.name == "unknown"],
        more=found.more,
        limit=RECORDS_LIMIT,
        record_path=record_path,
    )


def show_call(asked: Asked) -> Answer:
    """What one call of a trace was about, with its arguments: beside the trace, or as a page."""
    params: ShowCall = asked.params
    one = OneRecord(log=params.log, index=params.index)
    entry = entry_of(records.get_record(asked.with_input(one, None)).body)
    actor = entry.envelope.actor
    return page(
        asked,
        "trace_call.html",
        name=params.id,
        back=workflow_path(params.id, params.log),
        entry=entry,
        told=pieces(tell(entry).sentence),
        caller="nobody" if actor is None else who(actor.agent, actor.service, actor.user),
        arguments=arguments_of(entry),
        path=record_path(entry.log, entry.index),
    )


def _behind(shown: Sequence[Span], row: int) -> int:
    """The number of the row behind this one. Raises `Problem` where there is no such row."""
    for number, span in enumerate(shown, 1):
        if span.first == row:
            return number
    raise bad_cursor()


def _ends(asked: Asked, spans: Sequence[Span]) -> dict[str, int | None]:
    """When people decided on what was held: as the request says, else when the call was made again."""
    held = [span for span in spans if span.look is HOLD and span.request is not None]
    again = {span.request: span.start for span in reversed(spans) if span.look is not HOLD and span.request is not None}
    found: dict[str, int | None] = {}
    for span in held:
        request = str(span.request)
        if request in again:
            found[request] = again[request]
        elif len(found) < _HELD:
            try:
                viewed = find_visible(asked, request)
            except Problem:
                continue  # who may not see requests is not told how long they wait
            decided = [microseconds(vote.at) for vote in viewed.votes]
            expires = microseconds(viewed.request.expires_at)
            found[request] = None if viewed.state == "open" else max(decided, default=expires)
    return found


def _busy(spans: Iterable[Span]) -> Iterable[tuple[int, int]]:
    for span in spans:
        yield span.start, span.end
        if span.waited_until is not None:
            yield span.waited_until, span.waited_until


def _row(span: Span, axis: Axis, name: str) -> dict[str, Any]:
    x, end = axis.x(span.start), axis.x(span.end)
    took = (span.waited_until or span.end) - span.start
    return {
        "path": f"{HERE}/{quote(name, safe='')}/{quote(span.log, safe='')}/{span.first}",
        "depth": min(span.depth, _DEEPEST),
        "span": span,
        "took": "so far " + duration(took) if span.is_running or span.is_open else duration(took) if took else "",
        "x": min(x, 996.0),
        "width": max(4.0, round(end - x, 1)),
        "wait": None if span.waited_until is None else axis.x(span.waited_until),
    }


def _groups(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Records by workflow, or trace where there is none, in the order of the newest."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        trace = entry.envelope.trace
        name = None if trace is None else trace.workflow or trace.trace_id
        if name is not None:
            found.setdefault((entry.log, name), []).append(entry)
    groups = []
    for (log, name), each in found.items():
        spans = spans_of(each, each[0].envelope.at)
        groups.append(
            {
                "name": name,
                "log": log,
                "path": workflow_path(name, log),
                "calls": counted(len(spans), "call"),
                "callers": sorted({span.caller for span in spans}),
                "bad": sum(span.is_bad for span in spans),
                "newest": each[0].envelope.at,
            }
        )
    return groups


def _address(params: ShowTrace, **changes: object) -> str:
    found = {**msgspec.structs.asdict(params), **changes}
    found.pop("id")
    query = urlencode({name: value for name, value in found.items() if value})
    there = f"{HERE}/{quote(params.id, safe='')}"
    return f"{there}?{query}" if query else there


PAGES: Final = (
    Endpoint(
        method="GET",
        path=HERE,
        operation="consoleTraces",
        summary="The workflows of late",
        tag="console",
        action="records.read",
        handler=show_traces,
        params=ShowTraces,
    ),
    Endpoint(
        method="GET",
        path="/console/trace",
        operation="consoleFindTrace",
        summary="Find a workflow or a trace",
        tag="console",
        action="records.read",
        handler=find_trace,
        params=FindTrace,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/{{id}}",
        operation="consoleTrace",
        summary="The calls of a workflow",
        tag="console",
        action="records.read",
        handler=show,
        params=ShowTrace,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/{{id}}/{{log}}/{{index}}",
        operation="consoleTraceCall",
        summary="A call of a workflow, with its arguments",
        tag="console",
        action="records.read",
        handler=show_call,
        params=ShowCall,
    ),
)
