"""What agents did to one customer, account or person: in sentences, the newest first.

Rules:

1. What is shown is what a search of the log finds (server/records.py); the search is a record, and names the subject under its secret.
2. Nobody is listed who was not asked for: there is no list of subjects, not even of those that one has looked at.
3. A subject of a tenant that is out of reach, one that is not there, and one that was erased answer alike: nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from licet.console.frame import page, place_of
from licet.console.records import record_path
from licet.console.subject_address import HERE, PERSON, Subject, asking_for, path_of
from licet.console.subject_story import ABOUT_CALLS, Day, Event, Gathered, by_days, event_of
from licet.console.subject_undo import path_to
from licet.console.subject_view import entry_of, pieces, shown_effects, why_path
from licet.gate.story import records_of_story
from licet.gate.undoing import undo_name
from licet.ledger.entries import Entry, read_entry
from licet.ledger.wording import counted
from licet.model import OPERATOR_LOG
from licet.server import records
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.shapes_records import RecordPage

Show = Literal["all", "changes"]
_CHANGES: Final = ("intent", "outcome", "recovery", "hold")
_PAGE: Final = 100
"""Records of one page: some fifty calls."""
_Text = Annotated[str, Meta(max_length=1_000)]


class ShowSubject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom or what, and which of their events. With nothing there is a form to ask."""

    tenant: _Text = ""
    type: Annotated[str, Meta(pattern="^([A-Z][A-Za-z0-9_]*)?$", max_length=100)] = ""
    id: _Text = ""
    show: Show = "all"
    agent: _Text = ""
    cursor: str | None = None


def show(asked: Asked) -> Answer:
    """The page of a subject, or the form that asks for one."""
    params: ShowSubject = asked.params
    tenants = tuple([name for name in asked.chosen("records.read", None) if name != OPERATOR_LOG])
    tenant = params.tenant or place_of(asked) or (tenants[0] if len(tenants) == 1 else "")
    form = {"types": _types(asked), "tenants": tenants, "tenant": tenant, "type": params.type, "id": params.id}
    if not (tenant and params.type and params.id):
        return page(asked, "subjects.html", form=form, missing=_missing(params, tenant))
    return _page(asked, Subject(tenant, params.type, params.id), form)


def _missing(params: ShowSubject, tenant: str) -> str:
    """What the form still needs; nothing where nobody has filled in anything."""
    if not (params.type or params.id):
        return ""
    return (
        ""
        if not params.id
        else "say of which type it is"
        if not params.type
        else ""
        if tenant
        else "say of which tenant: you may read several"
    )


def _types(asked: Asked) -> list[str]:
    catalog = asked.gate.scene.catalog
    named = {template.type for spec in catalog.tools.values() for template in spec.targets}
    return [*sorted({*catalog.resources, *named} - {"Tenant"}), PERSON]


def _page(asked: Asked, subject: Subject, form: dict[str, Any]) -> Answer:
    params: ShowSubject = asked.params
    kinds = _CHANGES if params.show == "changes" else ()
    wanted = asking_for(
        subject, frozenset(asked.gate.scene.catalog.resources), agent=params.agent or None, kind=kinds, limit=_PAGE, cursor=params.cursor
    )
    found: RecordPage = records.search(asked.with_input(wanted, None)).body
    events = [event_of(one) for one in _gathered(asked, found)]
    is_whole = params.cursor is None and found.next is None
    return page(
        asked,
        "subject.html",
        subject=subject,
        form=form,
        is_person=subject.type == PERSON,
        days=[_day(asked, day) for day in by_days(events)],
        tally=_tally(events),
        is_whole=is_whole,
        total=len(found.records) if is_whole and not params.agent and params.show == "all" else None,
        following=found.next,
        show=params.show,
        agent=params.agent,
        agents=sorted({event.agent for event in events}),
        base=path_of(subject),
        acts={
            "export": path_of(subject, "export") if asked.decide("records.export", subject.tenant).allowed else None,
            "erase": path_of(subject, "erase") if asked.decide("erasures.perform", subject.tenant).allowed else None,
        },
    )


def _gathered(asked: Asked, found: RecordPage) -> Iterator[Gathered]:
    """The calls of a page, the newest first, each with all of its records; without those that stood on a page before."""
    top = found.records[0].index if found.records and asked.params.cursor is not None else None
    seen: set[int] = set()
    for shape in found.records:
        if shape.index in seen:
            continue
        entry = entry_of(shape)
        if entry.envelope.kind not in ABOUT_CALLS or entry.envelope.call is None:
            yield Gathered([entry])
            continue
        gathered = _story(asked, entry)
        seen |= {one.index for one in gathered.entries}
        newest = max(one.index for one in gathered.entries if one.envelope.targets or one.index == shape.index)
        if top is None or newest <= top:
            yield gathered


def _story(asked: Asked, entry: Entry) -> Gathered:
    """A call with the request that it used, in this log, and when it was taken back."""
    told = [read_entry(record) for record in records_of_story(asked.gate.store, [entry]) if record.log == entry.log]
    calls = {one.envelope.call for one in told}
    taken_back = {one.envelope.call for one in told if one.detail.get("undoes") in calls}
    own = [one for one in told if one.envelope.call not in taken_back]
    ends = [
        one for one in told if one.envelope.call in taken_back and one.envelope.outcome is not None and one.envelope.outcome.status == "ok"
    ]
    return Gathered(own or [entry], ends[-1].envelope.at if ends else None)


def _tally(events: Iterable[Event]) -> list[dict[str, Any]]:
    """How many of what there are on the page; what there is none of is left out."""
    found = list(events)
    reads = [event for event in found if event.kind == "read"]
    users = {name for event in reads for name in event.readers}
    by = f"reads, by {counted(len({event.agent for event in reads}), 'agent')}" + (f" for {counted(len(users), 'user')}" if users else "")
    of_kind = [
        ("changed", "allow", "change"),
        ("open", "hold", "request that waits", "requests that wait"),
        ("ended", "none", "request without a call", "requests without a call"),
        ("denied", "deny", "denial"),
        ("error", "error", "failed call"),
        ("unknown", "unknown", "to settle", "to settle"),
    ]
    tally = []
    for kind, look, *words in of_kind:
        count = sum(event.kind == kind for event in found)
        if count:
            tally.append(
                {"look": look, "count": count, "word": words[0] if count == 1 else words[-1] if len(words) > 1 else f"{words[0]}s"}
            )
    if reads:
        tally.append({"look": None, "count": len(reads), "word": by})
    return tally


def _day(asked: Asked, day: Day) -> dict[str, Any]:
    today = asked.gate.now().date()
    name = {today: "Today", today - timedelta(days=1): "Yesterday"}.get(day.day)
    written = f"{day.day.day} {day.day:%B}" + (f" {day.day.year}" if day.day.year != today.year else "")
    return {"name": name or written, "date": written if name else "", "events": [_line(asked, event) for event in day.events]}


def _line(asked: Asked, event: Event) -> dict[str, Any]:
    scene = asked.gate.scene
    has_undo = scene.catalog.find_tool(undo_name(event.tool)) is not None
    return {
        "event": event,
        "more": pieces(event.more),
        "effects": shown_effects(event.effects),
        "undo": path_to(event.log, event.call)
        if event.call and event.can_be_undone and has_undo and asked.decide("calls.undo", event.log).allowed
        else None,
        "record": record_path(event.log, event.index),
        "why": why_path(event.log, event.index) if event.kind == "denied" else None,
        "request": f"/console/inbox/{event.request}" if event.request and event.kind in {"open", "ended"} else None,
    }


PAGES: Final = (
    Endpoint(
        method="GET",
        path=HERE,
        operation="consoleSubject",
        summary="Everything that happened to one target or person",
        tag="console",
        action="records.read",
        handler=show,
        params=ShowSubject,
    ),
)
