"""Views that are kept: some that everybody has, and those that somebody has kept in this browser.

A view is a name and the query of an address. It grants nothing: whoever opens it asks for it anew. Theirs stand in a cookie of at most
`LIMIT` bytes, so that nothing is kept here of what somebody looks for.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from licet.console import cookies
from licet.console.audit_ask import ShowAudit
from licet.console.frame import to_query
from licet.server.endpoint import Asked
from licet.server.problems import Problem, bad_request
from licet.server.reading import converted

LIMIT: Final = 3_600
MOST: Final = 20


class View(Struct, frozen=True):
    """A name, and the query that it stands for."""

    name: Annotated[str, Meta(min_length=1, max_length=60)]
    query: Annotated[str, Meta(max_length=2_000)]


class KeepView(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A view to keep under this name, or to forget."""

    name: Annotated[str, Meta(min_length=1, max_length=60)]
    query: Annotated[str, Meta(max_length=2_000)] = ""
    act: Literal["keep", "forget"] = "keep"


VIEWS: Final = (
    View("All records", ""),
    View("Denied", "verdict=deny"),
    View("Held", "verdict=hold"),
    View("Failed", "outcome=error"),
    View("Outcome unknown", "outcome=unknown&range=30d"),
    View("Who read the log", "kind=access"),
)
_decode = msgspec.json.Decoder(tuple[View, ...]).decode


def views_of(asked: Asked) -> tuple[View, ...]:
    """Those of this browser. What is no list of views is none."""
    kept = cookies.read(asked.headers, cookies.VIEWS)
    if kept is None or len(kept) > LIMIT:
        return ()
    try:
        found = _decode(base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4)))
        return tuple([View(one.name, clean_query(one.query)) for one in found[:MOST]])
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError, Problem):
        return ()


def changed(asked: Asked, body: KeepView) -> str:
    """What the cookie holds from now on; empty for nothing. Raises `Problem` where there is no room."""
    left = [view for view in views_of(asked) if view.name != body.name]
    if body.act == "keep":
        left.append(View(body.name, clean_query(body.query)))
    value = base64.urlsafe_b64encode(msgspec.json.encode(left)).decode().rstrip("=") if left else ""
    if len(value) > LIMIT or len(left) > MOST:
        raise Problem("bad_request", "this browser keeps no more views: forget one first", status=400)
    return value


def clean_query(query: str) -> str:
    """The same query as the explorer writes it. Raises `Problem` for what it does not understand."""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=50)
    given = dict(pairs)
    if len(given) != len(pairs):
        raise bad_request("a field is given twice")
    read: ShowAudit = converted(given, ShowAudit, "a filter is not as it must be", strictly=False)
    return to_query(msgspec.structs.replace(read, live="", cursor=""))
