"""Every record that belongs to one call: its own, those of what has undone it, and those of the requests that tie it to others."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from licet.errors import KeyUnavailable
from licet.gate.undo import undos_of
from licet.ledger.entries import Entry, read_entry
from licet.model import CallId, RequestId
from licet.store.contract import Store, StoredRecord


def records_of_story(store: Store, named: Iterable[Entry]) -> list[StoredRecord]:
    """What was named, and everything that its call is tied to, in order of time. Raises `IntegrityBroken`, `StoreError`."""
    # What was named is there, whatever an index of the store has lost.
    named = tuple(named)
    found = {(entry.log, entry.index): store.get_record(entry.log, entry.index) for entry in named}
    call = named[0].envelope.call if named else None
    if call is None:
        return list(found.values())
    found |= {(record.log, record.index): record for record in store.records_of_call(call)}
    with suppress(KeyUnavailable):  # without the key nobody knows under what an idempotency key is kept
        for undo in [undo for log in {record.log for record in found.values()} for undo in undos_of(store, log, call)]:
            found |= {(record.log, record.index): record for record in store.records_of_call(undo)}
    requests = {entry.envelope.approval.request for record in found.values() if (entry := read_entry(record)).envelope.approval is not None}
    for request in requests:
        for record in _of_request(store, request):
            found[record.log, record.index] = record
    return sorted(found.values(), key=lambda record: (read_entry(record).envelope.at, record.log, record.index))


def _of_request(store: Store, request: RequestId) -> Iterable[StoredRecord]:
    """The records of the call that opened a request, its votes, and the call that used it."""
    try:
        found = store.get_dossier(request)
    except KeyError:
        return
    for call in dict.fromkeys([record.call for record in found.records]):
        if call is not None:
            yield from store.records_of_call(CallId(call))
