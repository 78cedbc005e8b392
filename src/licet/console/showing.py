"""One request of a browser and its answer: as any other of the server, with a cookie for a header, forms for JSON, and pages for problems.

Rules:

1. Everything that a request of the API goes through (server/exchange.py), it goes through: limits, permission, what is told of it.
2. What changes anything is a POST, from a page of this very origin, with the form's own token (console/cookies.py).
3. Nothing is loaded from elsewhere, run from the page itself, framed, or kept by a cache: the headers say so on every answer.
4. Whoever is not signed in is led to where one signs in, and back to a page of ours, nowhere else.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from msgspec import Struct

from licet.console import cookies
from licet.console.frame import problem_page
from licet.errors import NotAuthenticated
from licet.identity.authenticated import Authenticated
from licet.server.endpoint import Answer, Endpoint
from licet.server.exchange import Exchange, Scope, Send
from licet.server.problems import Problem, bad_request
from licet.server.reading import Receive, converted, lists_of
from licet.server.routing import Routes

if TYPE_CHECKING:
    from licet.console.app import Console

SIGN_IN: Final = "/console/sign-in"
TOKEN: Final = "form_token"  # noqa: S105  the name of a field
FIELDS: Final = 200
_FORM: Final = "application/x-www-form-urlencoded"
_ALWAYS: Final = (
    ("Referrer-Policy", "same-origin"),  # without any, browsers call the origin of our own forms `null`
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), publickey-credentials-get=(self)"),
)
_NOTHING: Final = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")


class Showing(Exchange):
    """One request to the console, and its answer."""

    def __init__(self, console: Console, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(console.api, scope, receive, send)
        self._console = console
        if b"cookie" in self._twice:  # which one counts, two readers could see differently
            del self._headers[b"cookie"]
        self._secret = cookies.read(self._headers, cookies.SESSION)

    def _routes(self) -> Routes:
        return self._console.routes

    async def _authenticated(self) -> Authenticated:
        if self._secret is None:
            raise NotAuthenticated("no_credential", "missing")
        return await self._api.authenticate_session(self._secret, self._client())

    async def _check_still(self) -> None:
        assert self._secret is not None
        await self._api.check_session_still(self._who, self._secret)

    async def _decoded(self, endpoint: Endpoint, raw: bytes) -> Any:
        """The form. Raises `Problem` (rule 2)."""
        if endpoint.method == "GET":
            return None
        self._check_origin()
        fields = _fields(self._headers.get(b"content-type", b""), raw)
        token = fields.pop(TOKEN, [""])
        if not endpoint.public and not (self._secret is not None and len(token) == 1 and cookies.is_form_token(self._secret, token[0])):
            raise Problem("not_permitted", "this form is not of the page that you have open; load the page again, and send it once more")
        if endpoint.body is None:
            if fields:
                raise bad_request("this form has a field that nobody asked for", next(iter(fields))[:100])
            return None
        assert issubclass(endpoint.body, Struct)  # every form is one
        several = lists_of(endpoint.body)
        values: dict[str, Any] = {}
        for name, found in fields.items():
            if len(found) > 1 and name not in several:
                raise bad_request("a field is given twice", name[:100])
            values[name] = found if name in several else found[0]
        return converted(values, endpoint.body, "a field is not as it must be", strictly=False)

    def _check_origin(self) -> None:
        site = self._headers.get(b"sec-fetch-site")
        origin = self._headers.get(b"origin")
        same = origin is not None and self._is_ours(origin.decode("latin-1"))
        if (site is not None and site != b"same-origin") or not (same or (origin is None and site == b"same-origin")):
            raise Problem("not_permitted", "this was sent from a page of somebody else")

    def _is_ours(self, origin: str) -> bool:
        """Whether this is the origin that was asked; at the public address, with the scheme of that."""
        host, public = self._headers.get(b"host", b"").decode("latin-1"), urlsplit(self._api.serving.public_url or "")
        try:
            shown = urlsplit(origin)
        except ValueError:
            return False
        return bool(host) and shown.netloc == host and (host != public.netloc or shown.scheme == public.scheme)

    def _refused(self, problem: Problem) -> Answer:
        if problem.status == HTTPStatus.UNAUTHORIZED and self._scope["method"] == "GET":
            there = f"{SIGN_IN}?next={quote(self._page(), safe='')}"
            if b"hx-request" in self._headers:  # a part of a page is not led away, nor its stream: the page itself is to go
                return Answer(status=401, media_type="text/plain", headers=(("HX-Redirect", there),))
            return Answer(status=303, media_type="text/plain", headers=(("Location", there),))
        return problem_page(problem, self._request_id, self._headers)

    def _page(self) -> str:
        """The address of the page that is asked for, or is open."""
        path, query = self._scope["path"], self._scope["query_string"].decode("latin-1")
        try:
            shown = urlsplit(self._headers.get(b"hx-current-url", b"").decode("latin-1"))
            path, query = (shown.path, shown.query) if shown.path else (path, query)
        except ValueError:  # nothing that a browser sends
            pass
        return f"{path}?{query}" if query else path

    def _answer_headers(self, answer: Answer, status: int, length: int | None) -> list[tuple[bytes, bytes]]:
        found = super()._answer_headers(answer, status, length)
        names = {name for name, _ in found}
        more = [*_ALWAYS, _NOTHING]
        return found + [(n, value.encode()) for name, value in more if (n := name.lower().encode()) not in names]


def _fields(content_type: bytes, raw: bytes) -> dict[str, list[str]]:
    if content_type.partition(b";")[0].strip().lower() != _FORM.encode():
        raise Problem("unsupported_media_type", f"a form is `{_FORM}`")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=bool(raw), errors="strict", max_num_fields=FIELDS)
    except ValueError as error:
        raise bad_request("the form cannot be read") from error
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if "\0" in value or "\0" in name:
            raise bad_request("a field holds what is not text")
        found.setdefault(name, []).append(value)
    return found
