"""What the explorer's filter finds now: the count, the chart and the lines of the newest records, as the page and its tail show them.

Nothing here records a reading: whoever shows it has (rule 1 of audit.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Final

import msgspec

from licet.console.audit_ask import FILTERS, RANGES, Addresses, ShowAudit, search_of
from licet.console.audit_chart import Bar, Chart, by_verdict, draw, draw_counted, since_of
from licet.console.frame import to_query
from licet.console.looks import Look, look_of_told
from licet.console.records import caller_of, record_path, targets_of
from licet.errors import IntegrityBroken
from licet.ledger.entries import Entry, read_entry, tell
from licet.ledger.record import microseconds
from licet.ledger.wording import duration
from licet.server.cursors import read_cursor, write_cursor
from licet.server.endpoint import Asked
from licet.server.records import Sought, find
from licet.store.contract import StoredRecord
from licet.store.finder import Finder
from licet.store.index_ask import Moments
from licet.store.index_rollups import HOUR_US

ROWS: Final = 50
DRAWN: Final = 3_000
"""Records: more are not read for a picture."""
COUNTED: Final = 10_000
BY_TEXT: Final = 1_000
"""Both, of what is found by words: their lists are longer than those of fields."""
PATIENCE_S: Final = 0.02
"""For the picture, and for the number: what is not counted in time is said to be more."""
EARLIEST: Final = datetime.fromtimestamp(0, UTC)
VERDICTS: Final = ("allow", "hold", "deny")


def found_of(asked: Asked, params: ShowAudit, sought: Sought) -> dict[str, Any]:
    """Everything that audit_found.html shows. Raises `Problem` for what cannot be searched for."""
    asked_for = msgspec.structs.replace(params, live="", cursor="")
    after = read_cursor("consoleAudit", asked_for, params.cursor, str) if params.cursor else None
    found = find(asked, sought, limit=ROWS, after=after)
    newest = cache(partial(_newest, asked, sought))  # whoever needs them first reads them
    address = Addresses(params)

    def link(bar: Bar) -> str:
        return address(since=bar.since.strftime("%Y-%m-%dT%H:%M:%SZ"), until=bar.until.strftime("%Y-%m-%dT%H:%M:%SZ"))

    return {
        "query": params,
        "address": address,
        "rows": [_row(record) for record in found.records],
        "count": _counted(asked, sought, newest),
        "link": link,
        "chart": _chart(asked, params, sought, newest),
        "following": None if found.next is None else to_query(asked_for, cursor=write_cursor("consoleAudit", asked_for, found.next)),
        "ranges": RANGES,
        "offs": [(word, address(**{name: ""})) for name, word in (("text", "text"), *FILTERS) if getattr(params, name)],
        "is_filtered": bool(params.chosen or params.text),
    }


def _newest(asked: Asked, sought: Sought) -> Moments:
    """When the newest were, and what they decided."""
    limit = DRAWN if sought.wanted.text is None else BY_TEXT
    return _finder(asked).moments(sought.wanted, limit=limit, logs=sought.logs, patience_s=PATIENCE_S)


def _counted(asked: Asked, sought: Sought, newest: Callable[[], Moments]) -> dict[str, Any]:
    """How many there are, up to so many: of a text, those that are drawn."""
    if sought.wanted.text is not None:
        return {"number": len(newest().at), "exact": newest().exact}
    found = _finder(asked).count(sought.wanted, limit=COUNTED, logs=sought.logs, patience_s=PATIENCE_S)
    return {"number": found.number, "exact": found.exact}


def _chart(asked: Asked, params: ShowAudit, sought: Sought, newest: Callable[[], Moments]) -> Chart:
    """Drawn from the moments of the newest that match, or, where only time and verdict are asked for, from what is counted by the hour."""
    search = search_of(asked, params)
    now = asked.gate.now()
    end = min(search.until or now, now)
    since = None if search.since is None else min(max(search.since, EARLIEST), end)  # nothing is drawn of years in which there is nothing
    if not set(params.chosen) - {"verdict", "since", "until", "tenant"} and not params.text:
        counted = _by_the_hour(asked, params, sought.logs, since, end)
        if counted is not None and (sum(counted.totals.values()) > DRAWN or not newest().exact):
            return counted
    found = newest()
    moments = by_verdict(found)
    begin = since or since_of(moments.values(), end)
    if not found.exact:  # rule 2 of audit_chart
        begin = max(begin, datetime.fromtimestamp(min(found.reached / 1_000_000, end.timestamp()), UTC))
    return draw(moments, min(begin, end), end, complete=found.exact)


def _finder(asked: Asked) -> Finder:
    return asked.gate.ledger.search().finder


def _by_the_hour(asked: Asked, params: ShowAudit, logs: tuple[str, ...], since: datetime | None, until: datetime) -> Chart | None:
    """What was counted by the hour; a denial that stands for many counts as many. None for what hours are too coarse for."""
    first, last = 0 if since is None else microseconds(since), microseconds(until) + 1
    if last - first < 3 * HOUR_US:
        return None
    index = asked.gate.ledger.search().index
    found: dict[str, list[tuple[int, int]]] = {verdict: [] for verdict in VERDICTS if params.verdict in ("", verdict)}
    for log in logs:
        for bar in index.rollup("verdict", since_us=first, until_us=last, log=log):
            if bar.value in found:
                found[bar.value].append((bar.hour * HOUR_US, bar.count))
    begin = since or since_of([[at for at, _ in one] for one in found.values()], until)
    return draw_counted(found, begin, until, least_step=3_600)


def _row(record: StoredRecord) -> dict[str, Any]:
    """A record as a line; one whose bytes are not what was written is a line that says so, and leads to what its page finds."""
    try:
        return row_of(read_entry(record))
    except IntegrityBroken:
        path = record_path(record.log, record.index)
        return {"path": path, "index": record.index, "log": record.log, "is_broken": True}


def row_of(entry: Entry) -> dict[str, Any]:
    """A record as a line of the table."""
    envelope = entry.envelope
    told = tell(entry)
    decision, outcome = envelope.decision, envelope.outcome
    look: Look = look_of_told(told)
    return {
        "is_broken": False,
        "path": record_path(entry.log, entry.index),
        "index": entry.index,
        "log": entry.log,
        "at": envelope.at,
        "look": look,
        "verdict": decision.verdict if decision is not None else "",
        "kind": envelope.kind,
        "tool": envelope.tool.name if envelope.tool is not None else "",
        "sentence": told.sentence,
        "act": told.act,
        "targets": targets_of(entry),
        "caller": caller_of(entry),
        "policies": decision.policies if decision is not None else (),
        "code": decision.code if decision is not None else "",
        "count": decision.count if decision is not None else None,
        "outcome": outcome.status if outcome is not None else "",
        "took": duration(outcome.duration_us) if outcome is not None and outcome.duration_us is not None else "",
        "closed": entry.closed,
    }
