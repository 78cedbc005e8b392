"""What the explorer's filter finds now: the count, the chart and the lines of the newest records, as the page and its tail show them.

Nothing here records a reading: whoever shows it has (rule 1 of audit.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from licet.console.audit_ask import RANGES, Addresses, ShowAudit, search_of
from licet.console.audit_chart import Bar, Chart, draw, since_of
from licet.console.frame import to_query
from licet.console.looks import Look, look_of_told
from licet.console.records import caller_of, place_path, targets_of
from licet.ledger.entries import Entry, read_entry, tell
from licet.ledger.wording import duration
from licet.server.cursors import read_cursor, write_cursor
from licet.server.endpoint import Asked
from licet.server.problems import bad_request
from licet.server.records import Sought, find

ROWS: Final = 50
DRAWN: Final = 5_000
"""Of each verdict: more are not read for a picture."""
COUNTED: Final = 10_000


def found_of(asked: Asked, params: ShowAudit, sought: Sought) -> dict[str, Any]:
    """Everything that audit_found.html shows. Raises `Problem` for what cannot be searched for."""
    asked_for = msgspec.structs.replace(params, live="", cursor="")
    after = read_cursor("consoleAudit", asked_for, params.cursor, str) if params.cursor else None
    found = find(asked, sought, limit=ROWS, after=after)
    search = search_of(asked, params)
    address = Addresses(params)

    def link(bar: Bar) -> str:
        return address(since=bar.since.strftime("%Y-%m-%dT%H:%M:%SZ"), until=bar.until.strftime("%Y-%m-%dT%H:%M:%SZ"))

    return {
        "query": params,
        "address": address,
        "rows": [row_of(read_entry(record)) for record in found.records],
        "count": _count(asked, sought),
        "link": link,
        "chart": _chart(asked, sought, search.since, search.until),
        "following": None if found.next is None else to_query(asked_for, cursor=write_cursor("consoleAudit", asked_for, found.next)),
        "ranges": RANGES,
        "is_filtered": bool(params.chosen or params.text),
    }


def _count(asked: Asked, sought: Sought) -> dict[str, Any]:
    """How many there are, up to so many."""
    searching = asked.gate.ledger.search()
    query = searching.finder.query_of(sought.wanted)
    query = msgspec.structs.replace(query, filters={**query.filters, "log": sought.logs})
    try:
        found = searching.index.count(query, limit=COUNTED)
    except ValueError as error:
        raise bad_request("this cannot be searched for", str(error)) from error
    return {"number": found.number, "exact": found.exact}


def _chart(asked: Asked, sought: Sought, since: datetime | None, until: datetime | None) -> Chart:
    finder = asked.gate.ledger.search().finder
    found = {
        verdict: finder.moments(sought.wanted, limit=DRAWN, logs=sought.logs, verdict=verdict) for verdict in ("allow", "hold", "deny")
    }
    moments = {verdict: one.at for verdict, one in found.items()}
    until = until or asked.gate.now()
    begin = since or since_of(moments.values(), until)
    cut = [one.at[-1] for one in found.values() if not one.exact and one.at]
    if cut:  # rule 2 of audit_chart
        begin = max(begin, datetime.fromtimestamp(max(cut) / 1_000_000, UTC))
    return draw(moments, min(begin, until), until, complete=not cut)


def row_of(entry: Entry) -> dict[str, Any]:
    """A record as a line of the table."""
    envelope = entry.envelope
    told = tell(entry)
    decision, outcome = envelope.decision, envelope.outcome
    look: Look = look_of_told(told)
    return {
        "path": place_path(entry.log, entry.index),
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
