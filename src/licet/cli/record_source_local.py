"""Records of the ledger at hand, each look recorded in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from licet.cli.access import record_access, recording
from licet.cli.audit_filter import Filter, asked, read_filter, read_wanted
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load, load_settings, utc_now
from licet.cli.progress import progress
from licet.cli.record_source import Counting, Found, Told
from licet.cli.records import find_entries
from licet.cli.scan import Growth, NewestFirst, sizes
from licet.config import Settings
from licet.gate.opening import Searching
from licet.gate.story import records_of_story
from licet.store.contract import Store, StoredRecord
from licet.store.index_rollups import Bar

POLL_S = 0.25


class LocalRecords:
    """The records of the ledger that licet.toml names."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def search(self, options: Mapping[str, Any], *, limit: int, before: str | None) -> Found:
        """A page of what fits, through the search index."""
        loaded = load(self._invocation)
        wanted = read_wanted(options, utc_now(), tuple(loaded.catalog.resources))
        with recording(loaded.settings) as ledger, filled(self._invocation, loaded.settings, ledger.store) as searching:
            sizes(ledger.store, wanted.tenant)  # a tenant that is not there is told, not found empty
            try:
                found = searching.finder.find(wanted, limit=limit, after=before)
            except ValueError as error:
                raise Refusal(Exit.USAGE, "usage", str(error), next_step="take the cursor from the `before` of the page before") from error
            record_access(ledger, loaded.settings, "search", asked(options), tenant=wanted.tenant, shown=len(found.records))
        return Found(tuple(found.records), found.next)

    def story(self, reference: str) -> Told:
        """Everything that belongs to what is named."""
        settings = load_settings(self._invocation)
        with recording(settings) as ledger:
            named = find_entries(ledger.store, reference)
            records = records_of_story(ledger.store, named)
            logs = {record.log for record in records}
            log = logs.pop() if len(logs) == 1 else None
            record_access(ledger, settings, "audit show", {"reference": reference}, tenant=log, shown=len(records))
        return Told(named[0].envelope.call, tuple(records))

    def count(self, counting: Counting) -> tuple[Bar, ...]:
        """How many there were in each hour."""
        settings = load_settings(self._invocation)
        with recording(settings) as ledger, filled(self._invocation, settings, ledger.store) as searching:
            sizes(ledger.store, counting.tenant)  # a tenant that is not there is told, not counted as nothing
            bars = searching.index.rollup(counting.by, since_us=counting.since_us, until_us=counting.until_us, log=counting.tenant)
            options: dict[str, Any] = {"by": counting.by, "since": counting.since, "until": counting.until}
            record_access(ledger, settings, "count", options, tenant=counting.tenant, shown=0, payloads=False)
        return bars

    def tail(self, options: Mapping[str, Any], tenant: str | None, *, lines: int, follow: bool) -> Iterator[StoredRecord]:
        """The newest, then those to come. The record of this very reading is left out."""
        wanted = read_filter(options, utc_now())
        settings = load_settings(self._invocation)
        with recording(settings) as ledger:
            begin = sizes(ledger.store, tenant)
            found = _newest(ledger.store, begin, wanted, lines)
            own = record_access(ledger, settings, "tail", {**asked(options), "follow": follow}, tenant=tenant, shown=len(found))
            yield from reversed(found)
            growth = Growth(ledger.store, tenant, begin)
            while follow:
                for record, head in growth.take():
                    if wanted.fits(record, head) and (record.log, record.index) != (own.log, own.index):
                        yield record
                time.sleep(POLL_S)


@contextmanager
def filled(invocation: Invocation, settings: Settings, store: Store) -> Iterator[Searching]:
    """The search index, with every record that the ledger has now."""
    with Searching(settings, store) as searching:
        with progress(invocation, "indexing", searching.indexer.behind()) as step:
            searching.indexer.catch_up(_steps(step))
        yield searching


def _steps(step: Callable[[int], None]) -> Callable[[int, int], None]:
    """Progress as the bar takes it: by how much, not how far."""
    done = 0

    def advance(so_far: int, _whole: int) -> None:
        nonlocal done
        step(so_far - done)
        done = so_far

    return advance


def _newest(store: Store, begin: dict[str, int], wanted: Filter, lines: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    if lines == 0:
        return found
    for record, head in NewestFirst(store, begin):
        if wanted.fits(record, head):
            found.append(record)
            if len(found) == lines:
                break
    return found
