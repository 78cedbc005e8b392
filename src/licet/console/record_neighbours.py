"""What came before and after a record in the same workflow: the nearest call on either side.

The index answers with the newest first, so what comes after is looked for in spans of time that grow.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from licet.console.records import read_all, record_path
from licet.console.wording import utc
from licet.ledger.entries import Entry
from licet.server.endpoint import Asked
from licet.server.records import find, note_reading, sought_by
from licet.server.shapes_records import SearchRecords

_SPANS: Final = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=366))
_LOOKED_AT: Final = 100


def neighbours_of(asked: Asked, entry: Entry) -> tuple[str | None, str | None]:
    """The pages of the calls before and after this one in its workflow; None where there is none near enough."""
    trace = entry.envelope.trace
    if trace is None or (trace.workflow is None and trace.trace_id is None):
        return (None, None)
    at = utc(entry.envelope.at)
    same = SearchRecords(
        tenant=entry.log,
        workflow=trace.workflow,
        trace=None if trace.workflow else trace.trace_id,
        payloads=False,
    )
    before = _search(asked, same, entry, until=at)
    after: list[Entry] = []
    for span in _SPANS:
        after = _search(asked, same, entry, since=at, until=at + span)
        if after:
            break
    note_reading(asked, "search", sought_by(asked, same).told, (entry.log,), shown=len(before) + len(after), payloads=False)
    return (_path(before[0]) if before else None, _path(after[-1]) if after else None)


def _search(asked: Asked, same: SearchRecords, entry: Entry, **span: object) -> list[Entry]:
    found = find(asked, sought_by(asked, msgspec.structs.replace(same, **span)), limit=_LOOKED_AT, after=None)
    if "since" in span and found.next is not None and len(found.records) == _LOOKED_AT:
        return []  # the nearest is behind more than this page has: the trace shows it
    entries = read_all(found.records)
    return [one for one in entries if one.envelope.call not in (None, entry.envelope.call)]


def _path(entry: Entry) -> str:
    return record_path(entry.log, entry.index)
