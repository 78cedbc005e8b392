"""What the explorer's filter finds, as a file: CSV for spreadsheets, or a line of JSON for each record.

Rules:

1. Which records, and how many, is settled and recorded before the first byte goes out; at most `MOST`, and the file says if there are more.
2. It is an excerpt: it cannot be verified by itself. Whole logs that can are `licet audit export`'s.
3. No cell of a CSV is a formula (ledger/exports/as_csv.py). Both forms end with what shows that they are whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from msgspec import Struct

from licet.console.audit_ask import ShowAudit, search_of
from licet.ledger.exports.as_csv import write_csv
from licet.ledger.exports.rows import Exported, exported
from licet.ledger.exports.summary import Expected, Sink
from licet.ledger.record import leaf_hash
from licet.server.endpoint import Answer, Asked
from licet.server.exporting import Parts, taking_turns
from licet.server.problems import bad_request
from licet.server.records import Sought, note_reading, shape_of, sought_by
from licet.store.contract import Store
from licet.store.index_ask import Place

MOST: Final = 100_000
_PAGE: Final = 1_000
_MEDIA: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
_encode = msgspec.json.Encoder().encode


class ExportAudit(ShowAudit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The explorer's filter, and the form of the file."""

    format: Literal["csv", "jsonl"] = "csv"


class _End(Struct, frozen=True):
    """The last line of a file of lines."""

    records: int
    complete: bool


def export(asked: Asked) -> Answer:
    """The file, streamed as it is made."""
    params: ExportAudit = asked.params
    sought = sought_by(asked, search_of(asked, params))
    for log in sought.logs:
        asked.allow("records.export", log)
    return excerpt(asked, sought, params.format, "licet-records")


def excerpt(asked: Asked, sought: Sought, form: Literal["csv", "jsonl"], name: str) -> Answer:
    """What is looked for, as a file; that it may be exported was asked before."""
    places, complete = _places(asked, sought)
    leave = taking_turns(asked)
    try:
        note_reading(asked, "export", {**sought.told, "format": form}, sought.logs, shown=len(places))
        store = asked.gate.store
        if form == "csv":
            parts = Parts(lambda sink: _write_csv(store, places, sink), leave)
        else:
            parts = Parts(lambda sink: _write_lines(store, places, sink, complete=complete), leave)
    except BaseException:
        leave()
        raise
    name = f"{name}{'' if complete else f'-newest-{MOST}'}.{form}"
    return Answer(stream=parts, media_type=_MEDIA[form], headers=(("Content-Disposition", f'attachment; filename="{name}"'),))


def _places(asked: Asked, sought: Sought) -> tuple[list[Place], bool]:
    """Where they are, the newest first, and whether that is all (rule 1)."""
    finder = asked.gate.ledger.search().finder
    found: list[Place] = []
    after: str | None = None
    while True:
        try:
            one = finder.places(sought.wanted, limit=_PAGE, after=after, logs=sought.logs)
        except ValueError as error:
            raise bad_request("this cannot be searched for", str(error)) from error
        found += one.places
        after = one.next
        if after is None or len(found) >= MOST:
            return found[:MOST], after is None and len(found) <= MOST


def _rows(store: Store, places: list[Place]) -> Iterator[Exported]:
    for place in places:
        record = store.get_record(place.log, place.index)
        absent = record.closed or None
        yield exported(place.log, place.index, leaf_hash(record.envelope), record.envelope, payload=record.payload, absent=absent)


def _write_csv(store: Store, places: list[Place], sink: Sink) -> None:
    write_csv(_rows(store, places), sink, Expected(len(places), ()))


def _write_lines(store: Store, places: list[Place], sink: Sink, *, complete: bool) -> None:
    for place in places:
        sink.write(_encode(shape_of(store.get_record(place.log, place.index))) + b"\n")
    sink.write(_encode({"licet_excerpt": _End(len(places), complete)}) + b"\n")
