"""Signing in and out.

Rules:

1. A link opens a session by a POST from the page that it leads to: programs that look at links in mails follow GETs, and would use it up.
2. After signing in one is led to a page of this console, whatever the address says.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from licet.console import cookies
from licet.console.frame import bare_page
from licet.console.inside import HOME, inside
from licet.console.oidc import buttons
from licet.errors import CredentialRefused
from licet.gate.signing_in import SESSION_S, end_session, open_by_link
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem

Secret = Annotated[str, Meta(max_length=200)]


class SignIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link, and where to go then."""

    link: Secret | None = None
    next: Annotated[str, Meta(max_length=2_000)] = HOME


class UseLink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As the page of a link sends it."""

    link: Secret
    next: Annotated[str, Meta(max_length=2_000)] = HOME


def show(asked: Asked) -> Answer:
    """Where one signs in."""
    params: SignIn = asked.params
    return bare_page(asked.headers, "sign_in.html", link=params.link, there=inside(params.next), refused=None, providers=buttons(asked))


def use_link(asked: Asked) -> Answer:
    """Open a session."""
    body: UseLink = asked.body
    try:
        opened = open_by_link(asked.gate.credentials, body.link)
    except CredentialRefused as error:
        there, ways = inside(body.next), buttons(asked)
        return bare_page(asked.headers, "sign_in.html", status=403, link=None, there=there, refused=str(error), providers=ways)
    cookie = cookies.write(cookies.SESSION, opened.key, max_age_s=SESSION_S)
    return Answer(status=303, media_type="text/plain", headers=(cookie, ("Location", inside(body.next))))


def sign_out(asked: Asked) -> Answer:
    """The session is over, here and wherever its cookie may have got to."""
    try:
        end_session(asked.gate.credentials, asked.who)
    except CredentialRefused as error:
        raise Problem("conflict", str(error)) from error
    return Answer(status=303, media_type="text/plain", headers=(cookies.forget(cookies.SESSION), ("Location", "/console/sign-in")))


PAGES: Final = (
    Endpoint(
        method="GET",
        path="/console/sign-in",
        operation="consoleSignIn",
        summary="Where one signs in",
        tag="console",
        action=None,
        handler=show,
        params=SignIn,
        public=True,
    ),
    Endpoint(
        method="POST",
        path="/console/sign-in",
        operation="consoleUseLink",
        summary="Sign in by a link",
        tag="console",
        action=None,
        handler=use_link,
        body=UseLink,
        public=True,
    ),
    Endpoint(
        method="POST",
        path="/console/sign-out",
        operation="consoleSignOut",
        summary="Sign out",
        tag="console",
        action=None,
        handler=sign_out,
    ),
)
