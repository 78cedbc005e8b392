"""The records of a subject as a file: one JSON object a line, as the API gives a record.

Rules:

1. It takes the permission to export (`records.export`), and is recorded as an export before the first byte goes out, with how many
   records it has, and whose, under the subject's own secret.
2. It holds what the page shows: the records that a search finds, the newest first. It proves nothing by itself: records come with their
   places and leaf hashes, and `licet audit export` gives a whole log that verifies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from licet.console.subject_address import HERE, OneSubject, Subject, asking_for
from licet.gate.reading import wanted_of
from licet.server import records
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.store.contract import Store
from licet.store.index_ask import Place

_PAGE: Final = 1_000
_encode = msgspec.json.Encoder().encode


def export(asked: Asked) -> Answer:
    """The file."""
    subject: Subject = asked.params.subject
    asked.allow("records.export", subject.tenant)
    types = frozenset(asked.gate.scene.catalog.resources)
    named: dict[str, Any] = {name: value for name in ("target", "user") if (value := getattr(asking_for(subject, types), name)) is not None}
    places = _places(asked, {**named, "tenant": subject.tenant}, tuple(types))
    records.note_reading(asked, "export", {"format": "jsonl", **named}, (subject.tenant,), shown=len(places))
    name = f"{subject.type}.jsonl"  # the id is nobody's business in a folder of downloads
    headers = (("Content-Disposition", f'attachment; filename="{name}"'),)
    return Answer(stream=_lines(asked.gate.store, places), media_type="application/x-ndjson", headers=headers)


def _places(asked: Asked, given: dict[str, Any], types: tuple[str, ...]) -> list[Place]:
    searching = asked.gate.ledger.search()
    query = searching.finder.query_of(wanted_of(given, types, since_us=None, until_us=None))
    found: list[Place] = []
    after = None
    while True:
        page = searching.index.search(query, limit=_PAGE, after=after)
        found += page.places
        if (after := page.next) is None:
            return found


def _lines(store: Store, places: list[Place]) -> Iterator[bytes]:
    for place in places:
        yield _encode(records.shape_of(store.get_record(place.log, place.index))) + b"\n"


PAGES: Final = (
    Endpoint(
        method="GET",
        path=f"{HERE}/export",
        operation="consoleExportSubject",
        summary="The records of a subject as a file",
        tag="console",
        action="records.export",
        handler=export,
        params=OneSubject,
        media_type="application/x-ndjson",
    ),
)
