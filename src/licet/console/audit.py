"""The audit explorer: which calls, by whom, on what, since when; one filter drives table, chart, tail and export.

Rules:

1. One look is one reading in the log, durable before anything is shown: the page's table and chart are of the same question.
2. What is shown is what the ledger's records say, in the sentences of `licet audit`; the index only finds them.
3. Every value is a link that filters by it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from licet.console import cookies
from licet.console.audit_ask import FILTERS, HERE, ShowAudit, search_of
from licet.console.audit_export import ExportAudit, export
from licet.console.audit_found import found_of
from licet.console.audit_tail import tail
from licet.console.audit_views import VIEWS, KeepView, changed, views_of
from licet.console.frame import page, to_query
from licet.console.inside import inside
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.records import note_reading, sought_by


def show(asked: Asked) -> Answer:
    """The explorer."""
    params: ShowAudit = asked.params
    sought = sought_by(asked, search_of(asked, params))
    found = found_of(asked, params, sought)
    note_reading(asked, "search", sought.told, sought.logs, shown=len(found["rows"]))
    current = to_query(msgspec.structs.replace(params, live="", cursor=""))
    own_views = views_of(asked)
    return page(
        asked,
        "audit.html",
        filters=[(name, word, params.chosen.get(name, "")) for name, word in FILTERS],
        views=[*VIEWS, *own_views],
        own_views={view.name for view in own_views},
        current=current,
        tail=f"{HERE}/tail?{to_query(params, cursor='')}",
        may_export=all(asked.decide("records.export", log).allowed for log in sought.logs),
        **found,
    )


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
        path=f"{HERE}/tail",
        operation="consoleAuditTail",
        summary="What the filter finds, as it happens",
        tag="console",
        action="records.read",
        handler=tail,
        params=ShowAudit,
        media_type="text/event-stream",
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
