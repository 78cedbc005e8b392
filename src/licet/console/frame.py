"""What every page has: the frame around it, who looks at it, and how times, words and ids are written.

Rules:

1. Templates escape everything that they are given. Nothing that somebody wrote is ever marked as safe.
2. A page names the scripts and styles of this origin, with a nonce made for this answer; nothing else runs or is loaded.
3. What an agent wrote stands in `untrusted` (macros.html), and nowhere else.
4. A character that nobody sees, or that turns others around, is written out wherever text stands. Only what a form or a script sends back
   as it is goes through `exact`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

import jinja2
import msgspec
from markupsafe import Markup, escape
from msgspec import Struct

from licet.approvals.aside import COMMENT_LIMIT
from licet.console import cookies
from licet.console.files import address
from licet.console.menu import menu_of
from licet.console.overview_ledger import seal_of
from licet.console.waiting import waiting_for
from licet.console.wording import ago, number, plain_lines, utc
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Answer, Asked
from licet.server.problems import Problem

HTML: Final = "text/html; charset=utf-8"
_THEMES: Final = frozenset({"light", "dark"})


def _seen(value: Any) -> Any:
    """What stands in a template, by rule 4. What is markup was made of this."""
    return plain_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_environment = jinja2.Environment(
    loader=jinja2.PackageLoader("licet.console"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    finalize=_seen,
)
_environment.filters |= {"ago": ago, "exact": escape, "number": number, "utc": utc}
_environment.globals |= {"static": address, "comment_limit": COMMENT_LIMIT}


def page(asked: Asked, template: str, *, status: int = 200, headers: tuple[tuple[str, str], ...] = (), **context: Any) -> Answer:
    """A page for somebody who is signed in."""
    secret = cookies.read(asked.headers, cookies.SESSION)
    scene = asked.gate.scene
    tenants = tuple(name for name in asked.tenants("requests.read") if name != OPERATOR_LOG)
    place = place_of(asked)
    frame = {
        "who": asked.who,
        "asker": asked.asker,
        "path": asked.path,
        "menu": menu_of(asked),
        "here": here_of(asked),
        "tenants": tenants,
        "place": place,
        "waiting": context["waiting"] if "waiting" in context else waiting_for(asked, place),
        "installation": OPERATOR_LOG,
        "environment": scene.environment,
        "form_token": "" if secret is None else cookies.form_token(secret),
        "now": asked.gate.now(),
        "seal": seal_of(asked),
    }
    return _render(template, asked.headers, status, headers, frame | context)


def place_of(asked: Asked) -> str | None:
    """The tenant that the pages are to be about; None for all that one may look at."""
    chosen = cookies.read(asked.headers, cookies.PLACE)
    return chosen if chosen is not None and asked.decide("requests.read", chosen).allowed else None


_fields = lru_cache(maxsize=256)(msgspec.structs.fields)
"""Of a type of parameters: found out once, not for each link."""


def here_of(asked: Asked) -> str:
    """The address of this page with its query, to come back to."""
    parts = set(asked.path.split("/"))
    named = () if asked.params is None else _fields(asked.params)
    given = to_query(asked.params, **{field.name: None for field in named if field.required and getattr(asked.params, field.name) in parts})
    return f"{asked.path}?{given}" if given else asked.path


def to_query(params: Struct | None, **changes: Any) -> str:
    """What was asked for as a query, with some of it changed (None takes it away). Parameters of the path are left out by the caller."""
    if params is None:
        return ""
    found = {**msgspec.structs.asdict(params), **changes}
    defaults = {field.name: field.default for field in _fields(params)}
    pairs: list[tuple[str, Any]] = []
    for name, value in found.items():
        if value is None or value == defaults.get(name):
            continue
        several = value if isinstance(value, tuple | list | frozenset) else (value,)
        pairs += [(name, one.isoformat() if isinstance(one, datetime) else one) for one in several]
    return urlencode(pairs)


def bare_page(
    headers: Mapping[bytes, bytes], template: str, *, status: int = 200, sent: tuple[tuple[str, str], ...] = (), **context: Any
) -> Answer:
    """A page for anybody: signing in, and what went wrong."""
    return _render(template, headers, status, sent, context)


def problem_page(problem: Problem, request_id: str, headers: Mapping[bytes, bytes]) -> Answer:
    """What went wrong, in words, and what to do next."""
    more = problem.headers
    if problem.retry_after_s is not None:
        more = (*more, ("Retry-After", str(problem.retry_after_s)))
    return bare_page(headers, "problem.html", status=problem.status, sent=more, problem=problem, request_id=request_id)


def _render(
    template: str, asked: Mapping[bytes, bytes], status: int, headers: tuple[tuple[str, str], ...], context: Mapping[str, Any]
) -> Answer:
    nonce = secrets.token_urlsafe(18)
    theme = cookies.read(asked, cookies.THEME)
    text = _environment.get_template(template).render(nonce=nonce, theme=theme if theme in _THEMES else None, **context)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types htmx"
    )
    return Answer(content=text.encode(), media_type=HTML, status=status, headers=(("Content-Security-Policy", policy), *headers))
