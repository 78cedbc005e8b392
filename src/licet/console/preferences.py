"""What somebody has chosen for this browser: light or dark, and which tenant the pages are about.

A choice is a cookie and narrows what is shown; it grants nothing (`frame.place_of` looks at what is permitted each time).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from licet.console import cookies
from licet.console.inside import inside
from licet.server.endpoint import Answer, Asked, Endpoint

A_YEAR_S: Final = 365 * 86_400
Next = Annotated[str, Meta(max_length=2_000)]


class ChooseTheme(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Light, dark, or as the system has it."""

    theme: Literal["light", "dark", "system"]
    next: Next = "/console"


class ChoosePlace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant, or all that one may look at."""

    tenant: Annotated[str, Meta(max_length=200)] = ""
    next: Next = "/console"


def choose_theme(asked: Asked) -> Answer:
    """Keep it for a year."""
    body: ChooseTheme = asked.body
    cookie = cookies.forget(cookies.THEME) if body.theme == "system" else cookies.write(cookies.THEME, body.theme, max_age_s=A_YEAR_S)
    return Answer(status=303, media_type="text/plain", headers=(cookie, ("Location", inside(body.next))))


def choose_place(asked: Asked) -> Answer:
    """Keep it for a year. A tenant that is not there is answered like one that this person may not look at."""
    body: ChoosePlace = asked.body
    if body.tenant:
        asked.allow("requests.read", body.tenant)
    known = body.tenant in asked.directory.tenants
    cookie = cookies.write(cookies.PLACE, body.tenant, max_age_s=A_YEAR_S) if known else cookies.forget(cookies.PLACE)
    return Answer(status=303, media_type="text/plain", headers=(cookie, ("Location", inside(body.next))))


PAGES: Final = (
    Endpoint(
        method="POST",
        path="/console/theme",
        operation="consoleTheme",
        summary="Choose light or dark",
        tag="console",
        action=None,
        handler=choose_theme,
        body=ChooseTheme,
    ),
    Endpoint(
        method="POST",
        path="/console/place",
        operation="consolePlace",
        summary="Choose which tenant the pages are about",
        tag="console",
        action=None,
        handler=choose_place,
        body=ChoosePlace,
    ),
)
