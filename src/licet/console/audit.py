"""The audit explorer: which calls, by whom, on what, since when; one filter drives table, chart, tail and export.

Rules:

1. One look is one reading in the log, durable before anything is shown: the page's table and chart are of the same question.
2. What is shown is what the ledger's records say, in the sentences of `licet audit`; the index only finds them.
3. Every value is a link that filters by it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from licet.console import cookies
from licet.console.audit_ask import FILTERS, HERE, RANGES, ShowAudit, search_of
from licet.console.audit_chart import draw, since_of
from licet.console.audit_export import ExportAudit, export
from licet.console.audit_views import VIEWS, KeepView, changed, views_of
from licet.console.frame import page, to_query
from licet.console.inside import inside
from licet.console.looks import Look, look_of_told
from licet.console.records import caller_of, place_path, targets_of
from licet.ledger.entries import Entry, read_entry, tell
from licet.ledger.wording import duration
from licet.server.cursors import read_cursor, write_cursor
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import bad_request
from licet.server.records import Sought, find, note_reading, sought_by

ROWS: Final = 50
DRAWN: Final = 5_000
"""Of each verdict: more are not read for a picture."""
COUNTED: Final = 10_000


def show(asked: Asked) -> Answer:
    """The explorer."""
    params: ShowAudit = asked.params
    search = search_of(asked, params)
    sought = sought_by(asked, search)
    asked_for = msgspec.structs.replace(params, live="", cursor="")
    after = read_cursor("consoleAudit", asked_for, params.cursor, str) if params.cursor else None
    found = find(asked, sought, limit=ROWS, after=after)
    count = _count(asked, sought)
    chart = _chart(asked, sought, search.since, search.until)
    note_reading(asked, "search", sought.told, sought.logs, shown=len(found.records))
    following = None if found.next is None else to_query(asked_for, cursor=write_cursor("consoleAudit", asked_for, found.next))
    return page(
        asked,
        "audit.html",
        query=params,
        address=lambda **changes: _address(params, **changes),
        rows=[row_of(read_entry(record)) for record in found.records],
        count=count,
        link=lambda bar: _address(params, since=bar.since.strftime("%Y-%m-%dT%H:%M:%SZ"), until=bar.until.strftime("%Y-%m-%dT%H:%M:%SZ")),
        chart=chart,
        following=following,
        filters=[(name, word, params.chosen.get(name, "")) for name, word in FILTERS],
        ranges=RANGES,
        views=[*VIEWS, *views_of(asked)],
        own_views={view.name for view in views_of(asked)},
        current=to_query(asked_for),
        may_export=all(asked.decide("records.export", log).allowed for log in sought.logs),
        export=to_query(asked_for),
        is_filtered=bool(params.chosen or params.text),
    )


def _address(params: ShowAudit, **changes: Any) -> str:
    """This page with some of it changed, from its first page on."""
    given = to_query(params, **{"cursor": "", **changes})
    return f"{HERE}?{given}" if given else HERE


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


def _chart(asked: Asked, sought: Sought, since: datetime | None, until: datetime | None) -> Any:
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


def keep_view(asked: Asked) -> Answer:
    """Keep, or forget, a view in this browser."""
    body: KeepView = asked.body
    value = changed(asked, body)
    there = inside(f"{HERE}?{body.query}" if body.query else HERE)
    cookie = cookies.write(cookies.VIEWS, value, max_age_s=365 * 86_400) if value else cookies.forget(cookies.VIEWS)
    return Answer(status=303, media_type="text/plain", headers=(cookie, ("Location", there)))


PAGES: Final = (
    Endpoint(
        method="GET",
        path=HERE,
        operation="consoleAudit",
        summary="Which records there are: filtered, drawn and listed",
        tag="console",
        action="records.read",
        handler=show,
        params=ShowAudit,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/export",
        operation="consoleAuditExport",
        summary="What the filter finds, as a file",
        tag="console",
        action="records.export",
        handler=export,
        params=ExportAudit,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/views",
        operation="consoleAuditViews",
        summary="Keep or forget a view in this browser",
        tag="console",
        action=None,
        handler=keep_view,
        body=KeepView,
    ),
)
