"""The log over HTTP: searched, looked at, counted. Exports are in `exporting.py`.

Rules:

1. Every look is a record of its own, durable before anything is shown (`gate/reading.py`).
2. Only logs in which this one may read are looked at; the others are no part of any answer, count or cursor.
3. A log that is out of reach and one that is not there answer alike.
4. Policies name people and targets of every tenant: what quotes them is for whoever may read those of the installation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Raw

from licet.errors import StoreError
from licet.gate.hindsight import Reasons, decided_in, decision_of, reasons_of_record
from licet.gate.reading import Reader, record_reading, wanted_of
from licet.gate.story import records_of_story
from licet.ledger.entries import find_entries, read_entry, tell
from licet.ledger.record import leaf_hash, microseconds
from licet.model import OPERATOR_LOG
from licet.policy.own import OwnAction
from licet.server.cursors import read_cursor, write_cursor
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.problems import Problem, bad_request, not_found
from licet.server.shapes_records import (
    BarShape,
    CountRecords,
    Counts,
    OneReason,
    OneRecord,
    OneStory,
    RecordPage,
    RecordShape,
    SearchRecords,
    Story,
)
from licet.store.contract import StoredRecord
from licet.store.finder import Found, Wanted
from licet.store.index_rollups import HOUR_US

_DEFAULT_SINCE = timedelta(days=30)
_BARS = 50_000
"""More bars than a chart shows, and less than takes long to write."""


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for, in which logs, and how the reading is told."""

    logs: tuple[str, ...]
    wanted: Wanted
    told: dict[str, object]


def search(asked: Asked) -> Answer:
    """A page of records, the newest first."""
    params: SearchRecords = asked.params
    sought = sought_by(asked, params)
    after = None if params.cursor is None else read_cursor("searchRecords", params, params.cursor, str)
    found = find(asked, sought, limit=params.limit, after=after)
    note_reading(asked, "search", sought.told, sought.logs, shown=len(found.records), payloads=params.payloads)
    page = RecordPage(
        records=tuple([shape_of(record, payloads=params.payloads) for record in found.records]),
        next=None if found.next is None else write_cursor("searchRecords", params, found.next),
    )
    return Answer(body=page)


def sought_by(asked: Asked, params: SearchRecords) -> Sought:
    """What these parameters look for, in logs where this one may read. Raises `Problem`."""
    logs = asked.chosen("records.read", params.tenant)
    given = _given(params)
    wanted = wanted_of(
        {**given, "tenant": logs[0] if len(logs) == 1 else None},
        tuple(asked.gate.scene.catalog.resources),
        since_us=None if params.since is None else microseconds(params.since),
        until_us=None if params.until is None else microseconds(params.until),
    )
    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}
    return Sought(logs=logs, wanted=wanted, told=told)


def find(asked: Asked, sought: Sought, *, limit: int, after: str | None) -> Found:
    """A page of it; nothing is recorded. Raises `Problem` for what cannot be searched for."""
    try:
        return asked.gate.ledger.search().finder.find(sought.wanted, limit=limit, after=after, logs=sought.logs)
    except ValueError as error:
        raise bad_request("this cannot be searched for", str(error)) from error


def get_record(asked: Asked) -> Answer:
    """One record by its place."""
    params: OneRecord = asked.params
    asked.allow("records.read", params.log)
    try:
        record = asked.gate.store.get_record(params.log, params.index)
    except KeyError as error:
        raise not_found() from error
    note_reading(asked, "show", {"reference": f"{params.log}:{params.index}"}, (params.log,), shown=1, payloads=params.payloads)
    return Answer(body=shape_of(record, payloads=params.payloads))


def get_reasons(asked: Asked) -> Answer:
    """What explains the decision of one record; without the policies for whoever may not read them (rule 4)."""
    params: OneReason = asked.params
    asked.allow("records.read", params.log)
    try:
        entry = read_entry(asked.gate.store.get_record(params.log, params.index))
    except KeyError as error:
        raise not_found() from error
    decided = decided_in([entry])
    note_reading(asked, "why", {"reference": entry.place}, (params.log,), shown=0 if decided is None else 1)
    if decided is None:
        raise Problem("no_decision", "this record holds no decision", status=404)
    if not asked.decide("policies.read", OPERATOR_LOG).allowed:
        note = "policies are told to whoever may read those of the installation"
        return Answer(body=Reasons(decision=decision_of(entry), record=entry.place, note=note))
    return Answer(body=reasons_of_record(asked.gate.store, entry))


def get_story(asked: Asked) -> Answer:
    """Every record of a call."""
    logs = _readable(asked, "records.read")
    try:
        named = find_entries(asked.gate.store, asked.params.id)
    except KeyError as error:
        raise not_found() from error
    if not any(entry.log in logs for entry in named):
        raise not_found()  # before the story is put together: what takes longer than what is not there, tells that it is there
    records = [record for record in records_of_story(asked.gate.store, named) if record.log in logs]
    inside = tuple(dict.fromkeys(record.log for record in records))
    note_reading(asked, "show", {"reference": asked.params.id}, inside, shown=len(records))
    return Answer(body=Story(call=named[0].envelope.call, records=tuple([shape_of(record) for record in records])))


def count(asked: Asked) -> Answer:
    """How many records there were, by tool, verdict or outcome."""
    params: CountRecords = asked.params
    logs = asked.chosen("records.read", params.tenant)
    now = asked.gate.now()
    since, until = params.since or now - _DEFAULT_SINCE, params.until or now + timedelta(hours=1)
    if (until - since) / timedelta(hours=params.hours) > _BARS:
        raise bad_request("this is too long for bars of so few hours")
    index = asked.gate.ledger.search().index
    try:
        bars = [
            bar
            for log in logs
            for bar in index.rollup(params.by, since_us=microseconds(since), until_us=microseconds(until), log=log, hours=params.hours)
        ]
    except ValueError as error:
        raise bad_request("this cannot be counted", str(error)) from error
    asked_for = {"by": params.by, "since": since.isoformat(), "until": until.isoformat()}
    note_reading(asked, "count", asked_for, logs, shown=0, payloads=False)
    summed: dict[tuple[int, str], int] = {}
    totals: dict[str, int] = {}
    for bar in bars:
        summed[bar.hour, bar.value] = summed.get((bar.hour, bar.value), 0) + bar.count
        totals[bar.value] = totals.get(bar.value, 0) + bar.count
    return Answer(
        body=Counts(
            by=params.by,
            totals=dict(sorted(totals.items(), key=lambda item: (-item[1], item[0]))),
            bars=tuple([BarShape(since=_hour(hour), value=value, count=summed[hour, value]) for hour, value in sorted(summed)]),
        )
    )


def note_reading(asked: Asked, verb: str, options: Mapping[str, object], logs: Sequence[str], *, shown: int, payloads: bool = True) -> None:
    """The reading is recorded: now it may be shown. Raises `Problem` (503) where it cannot be: then nothing is."""
    reader = Reader(credential=asked.who.credential, user=asked.who.user, directory=asked.directory, within=tuple(logs))
    tenant = logs[0] if len(logs) == 1 else None
    if tenant is None:
        options = {**options, "logs": list(logs)}
    try:
        record_reading(
            asked.gate.ledger, asked.gate.settings, reader, f"audit {verb}", options, tenant=tenant, shown=shown, payloads=payloads
        )
    except StoreError as error:
        message = "reading the log is recorded in it, and that cannot be done now, so nothing is shown"
        raise Problem("unavailable", message) from error


def shape_of(record: StoredRecord, *, payloads: bool = True) -> RecordShape:
    """A record as the API gives it. Raises `IntegrityBroken` where it cannot be read."""
    entry = read_entry(record)
    envelope = entry.envelope
    return RecordShape(
        place=entry.place,
        log=record.log,
        index=record.index,
        leaf=leaf_hash(record.envelope).hex(),
        id=envelope.id,
        kind=envelope.kind,
        at=_moment(envelope.at),
        call=envelope.call,
        sentence=tell(entry if payloads else read_entry(msgspec.structs.replace(record, payload=None))).sentence,
        envelope=Raw(record.envelope),
        payload=Raw(record.payload) if payloads and record.payload is not None else None,
        closed=record.closed or None,
    )


def _readable(asked: Asked, action: OwnAction) -> tuple[str, ...]:
    """Every log in which this one may do that. Raises `Problem` where there is none."""
    found = asked.tenants(action)
    if not found:
        raise not_permitted(action)
    return found


def _given(params: SearchRecords) -> dict[str, object]:
    """The filters that were given, by the names of `audit search`."""
    given = {name: value for name, value in msgspec.structs.asdict(params).items() if value not in (None, False, ())}
    for name in ("payloads", "limit", "cursor", "tenant"):
        given.pop(name, None)
    if "kind" in given:
        given["kinds"] = given.pop("kind")
    return given


def _hour(hour: int) -> datetime:
    return _moment(hour * HOUR_US)


def _moment(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


_TAG = "records"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/records",
        operation="searchRecords",
        summary="Search the audit log, the newest record first; the search itself is recorded",
        tag=_TAG,
        action="records.read",
        handler=search,
        params=SearchRecords,
        returns=RecordPage,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/records/count",
        operation="countRecords",
        summary="Count records by tool, verdict or outcome, in bars of whole hours",
        tag=_TAG,
        action="records.read",
        handler=count,
        params=CountRecords,
        returns=Counts,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/records/{log}/{index}",
        operation="getRecord",
        summary="One record by its log and index",
        tag=_TAG,
        action="records.read",
        handler=get_record,
        params=OneRecord,
        returns=RecordShape,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/records/{log}/{index}/reasons",
        operation="getReasons",
        summary="Why a decision was what it was, under the policies of its time; the reading is recorded",
        tag=_TAG,
        action="records.read",
        handler=get_reasons,
        params=OneReason,
        returns=Reasons,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/stories/{id}",
        operation="getStory",
        summary="Every record of a call, of its requests and of what has undone it",
        tag=_TAG,
        action="records.read",
        handler=get_story,
        params=OneStory,
        returns=Story,
    ),
)
