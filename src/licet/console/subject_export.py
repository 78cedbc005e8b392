"""The records of a subject as a file: one JSON object a line, as the API gives a record.

Rules:

1. It takes the permission to export (`records.export`), and is recorded as an export before the first byte goes out, with how many
   records it has, and whose, under the subject's own secret.
2. It holds what the page shows: the records that a search finds, the newest first. It proves nothing by itself: records come with their
   places and leaf hashes, and `licet audit export` gives a whole log that verifies.
"""

from __future__ import annotations

from typing import Any, Final

from licet.console.audit_export import excerpt
from licet.console.subject_address import HERE, OneSubject, Subject, asking_for
from licet.gate.reading import wanted_of
from licet.server import records
from licet.server.endpoint import Answer, Asked, Endpoint


def export(asked: Asked) -> Answer:
    """The file."""
    subject: Subject = asked.params.subject
    asked.allow("records.export", subject.tenant)
    types = frozenset(asked.gate.scene.catalog.resources)
    named: dict[str, Any] = {name: value for name in ("target", "user") if (value := getattr(asking_for(subject, types), name)) is not None}
    wanted = wanted_of({**named, "tenant": subject.tenant}, tuple(types), since_us=None, until_us=None)
    sought = records.Sought(logs=(subject.tenant,), wanted=wanted, told=dict(named))
    return excerpt(asked, sought, "jsonl", subject.type)  # the id is nobody's business in a folder of downloads


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
