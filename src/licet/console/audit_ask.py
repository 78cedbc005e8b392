"""What the audit explorer is asked, and how that becomes a search: the query of its address is the one description of it.

Rules:

1. Table, chart, tail and export ask for the very same records.
2. An empty field of the form is no filter. Everything else is read as the API reads it, and refused as there.
3. Moments that name no zone are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from msgspec import Meta, Struct
from msgspec.structs import fields

from licet.console.frame import place_of
from licet.server.endpoint import Asked
from licet.server.problems import bad_request
from licet.server.reading import converted
from licet.server.shapes_records import SearchRecords

HERE: Final = "/console/audit"
Text = Annotated[str, Meta(max_length=1_000)]
Range = Literal["1h", "24h", "7d", "30d", "all"]
RANGES: Final[Mapping[str, tuple[str, timedelta | None]]] = MappingProxyType(
    {
        "1h": ("last hour", timedelta(hours=1)),
        "24h": ("last 24 hours", timedelta(days=1)),
        "7d": ("last 7 days", timedelta(days=7)),
        "30d": ("last 30 days", timedelta(days=30)),
        "all": ("all time", None),
    }
)
FILTERS: Final[tuple[tuple[str, str], ...]] = (
    ("tool", "tool"),
    ("verdict", "verdict"),
    ("outcome", "outcome"),
    ("agent", "agent"),
    ("user", "for user"),
    ("service", "service"),
    ("actor", "actor"),
    ("tenant", "tenant"),
    ("target", "target"),
    ("policy", "policy"),
    ("voter", "voter"),
    ("workflow", "workflow"),
    ("session", "session"),
    ("trace", "trace"),
    ("kind", "kind"),
    ("since", "from"),
    ("until", "until"),
)
"""By the names of the API, with the word that a chip says."""


class ShowAudit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every filter of the API's search, as a form sends it; a range of time that goes with the clock; a page; whether it keeps up."""

    text: Text = ""
    tool: Text = ""
    verdict: Text = ""
    outcome: Text = ""
    agent: Text = ""
    user: Text = ""
    actor: Text = ""
    service: Text = ""
    target: Text = ""
    policy: Text = ""
    voter: Text = ""
    workflow: Text = ""
    session: Text = ""
    trace: Text = ""
    kind: Text = ""
    tenant: Text = ""
    since: Text = ""
    until: Text = ""
    range: Range = "24h"
    live: Literal["", "1"] = ""
    cursor: Annotated[str, Meta(max_length=10_000)] = ""

    @property
    def chosen(self) -> dict[str, str]:
        """The filters that are set, the text left out."""
        return {name: value for name, _ in FILTERS if (value := getattr(self, name))}


class Addresses:
    """Addresses of the explorer with some of what was asked for changed, from the first page on. A page has a thousand of them."""

    def __init__(self, params: ShowAudit) -> None:
        given = {name: str(getattr(params, name)) for name in _DEFAULTS if name != "cursor"}
        self._given: Final = {name: value for name, value in given.items() if value != _DEFAULTS[name]}

    def __call__(self, **changes: str) -> str:
        """This page with other values; an empty one, or what is asked for anyway, takes one away."""
        found = self._given | changes
        pairs = [(name, found[name]) for name in _DEFAULTS if name in found and found[name] not in ("", _DEFAULTS[name])]
        return f"{HERE}?{urlencode(pairs)}" if pairs else HERE


_DEFAULTS: Final[Mapping[str, str]] = MappingProxyType({field.name: str(field.default) for field in fields(ShowAudit)})


def search_of(asked: Asked, params: ShowAudit) -> SearchRecords:
    """The search of the API. Raises `Problem` for what that would refuse."""
    given: dict[str, Any] = {name: value for name in (*params.chosen, "text") if (value := getattr(params, name))}
    if "kind" in given:
        given["kind"] = [one for one in given["kind"].split(",") if one]
    for name in ("since", "until"):
        if name in given:
            given[name] = _moment(name, given[name])
    if "since" not in given and "until" not in given and (back := RANGES[params.range][1]) is not None:
        given["since"] = (asked.gate.now() - back).isoformat()
    if "tenant" not in given and (place := place_of(asked)) is not None:
        given["tenant"] = place
    found: SearchRecords = converted(given, SearchRecords, "a filter is not as it must be", strictly=False)
    return found


def _moment(name: str, typed: str) -> str:
    try:
        found = datetime.fromisoformat(typed)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        raise bad_request("a filter is not as it must be", f"`{name}` is a moment such as 2026-11-23T14:30") from error
