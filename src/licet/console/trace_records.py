"""The records of one workflow or trace: of one log, the newest first."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from licet.console.frame import place_of
from licet.console.records import read_all
from licet.ledger.entries import Entry
from licet.server.endpoint import Asked
from licet.server.problems import not_found
from licet.server.records import Sought, find, note_reading, sought_by
from licet.server.shapes_records import SearchRecords

RECORDS_LIMIT: Final = 12_000
"""More records of one workflow are not drawn."""
LOGS: Final = 50
"""Of so many tenants that have calls under one name one may choose."""
KINDS: Final = ("intent", "call", "denial", "hold", "outcome", "recovery")
_AT_ONCE: Final = 1_000


class Workflow(Struct, frozen=True, kw_only=True):
    """The records of one, the newest first; `by` is what its name is the name of, `more` whether older ones were left out."""

    by: str
    log: str
    entries: list[Entry]
    more: bool


def find_workflow(asked: Asked, name: str, tenant: str | None) -> Workflow | tuple[str, ...]:
    """The workflow of this name, else the trace; the logs that have one where there are several. Raises `Problem` where there is none."""
    for by in ("workflow", "trace"):
        search = SearchRecords(tenant=tenant or place_of(asked), kind=KINDS, payloads=False, **{by: name})  # type: ignore[arg-type]
        sought = sought_by(asked, search)
        logs = _logs_with(asked, sought)
        found = _read(asked, by, msgspec.structs.replace(sought, logs=logs)) if len(logs) == 1 else None
        shown = len(logs) if found is None else len(found.entries)
        note_reading(asked, "search", sought.told, sought.logs, shown=shown, payloads=False)
        if found is not None and found.entries:
            return found
        if len(logs) > 1:
            return logs
    raise not_found()


def _logs_with(asked: Asked, sought: Sought) -> tuple[str, ...]:
    """Those of the logs in which it is found."""
    found, cursor = list[str](), None
    while len(found) < LOGS and len(found) < len(sought.logs):
        left = tuple([log for log in sought.logs if log not in found])
        newest = find(asked, msgspec.structs.replace(sought, logs=left), limit=1, after=cursor)
        cursor = None if newest.records else newest.next  # a search that took long goes on from where it was
        found += [record.log for record in newest.records]
        if not newest.records and cursor is None:
            break
    return tuple(sorted(found))


def _read(asked: Asked, by: str, sought: Sought) -> Workflow:
    """The newest records of it, in its one log."""
    entries, cursor = list[Entry](), None
    while len(entries) < RECORDS_LIMIT:
        part = find(asked, sought, limit=_AT_ONCE, after=cursor)
        entries += read_all(part.records)
        cursor = part.next
        if cursor is None:
            break
    return Workflow(by=by, log=sought.logs[0], entries=entries, more=cursor is not None)
