"""The small world behind its console: the real application, asked as a browser asks it, and people who are signed in."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from licet.config.server import ServerSettings
from licet.console.app import Console
from licet.gate.signing_in import issue_link
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from licet.server.api import endpoints
from licet.server.app import Api
from tests.server.world import Reply, ServerWorld
from tests.world import CONFIG, POLICIES, world

HOST = "licet.example.com"
SAME = {"host": HOST, "origin": f"https://{HOST}", "sec-fetch-site": "same-origin"}
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
_COOKIE = re.compile(r"__Host-licet=([^;]+);")


class ConsoleWorld(ServerWorld):
    """The world, its application with the console before it, and what a browser would do."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner, endpoints(), ServerSettings())
        self._authenticating = inner.gate.authenticating()
        self.app.close()
        self.api = Api(self.serving, self._authenticating.authenticator, endpoints(), ServerSettings(), [self.told])
        self.app = Console(self.api, self.api)  # type: ignore[assignment]  # what is served

    def close(self) -> None:
        self.app = self.api
        super().close()
        self._authenticating.close()

    def link(self, user: str, **more: Any) -> str:
        """The secret of a link for this person."""
        return issue_link(self.gate.credentials, user, **more).key

    def enter(self, user: str) -> Browser:
        """Their browser, signed in."""
        return Browser(self, cookie_of(self.use(self.link(user))))

    def use(self, link: str, **more: str) -> Reply:
        """Press the button of the page that a link leads to."""
        return self.form("/console/sign-in", {"link": link, **more})

    def form(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
        """Send a form, by default as a page of ours does."""
        sent = {"content-type": "application/x-www-form-urlencoded", **(SAME if headers is None else headers)}
        return self.request("POST", path, raw=urlencode(fields).encode(), headers=sent, **more)


class Browser:
    """Somebody who is signed in."""

    def __init__(self, served: ConsoleWorld, cookie: str) -> None:
        self.served = served
        self.cookie = cookie

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Reply:
        """A page."""
        return self.served.get(path, headers={"host": HOST, "cookie": f"__Host-licet={self.cookie}", **headers})

    def send(self, page: str, path: str, fields: Mapping[str, str] | None = None, headers: Mapping[str, str] = {}) -> Reply:
        """A form of this page, with what is hidden in it."""
        shown = self.get(page).content.decode()
        token = _TOKEN.search(shown)
        assert token is not None, shown
        return self.post(path, {"form_token": token[1], **(fields or {})}, headers)

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] = {}) -> Reply:
        """A form, as it is given."""
        return self.served.form(path, fields, {**SAME, "cookie": f"__Host-licet={self.cookie}", **headers})


def cookie_of(reply: Reply) -> str:
    """The session that an answer gives."""
    found = _COOKIE.search(reply.headers.get("set-cookie", ""))
    assert found is not None, (reply.status, text_of(reply))
    return found[1]


def text_of(reply: Reply) -> str:
    """What a page says, without its markup, on one line."""
    body = re.sub(r"<svg.*?</svg>|<(head|script|style)\b.*?</\1>", " ", reply.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@contextmanager
def console_world(config: str = CONFIG, policies: str = POLICIES, own: str = "") -> Iterator[ConsoleWorld]:
    """A world in memory with its console open; `own` goes behind the policies of Licet itself."""
    with world(config, {"policies.cedar": policies, OWN_FILE: default_text() + own}) as inner:
        made = ConsoleWorld(inner)
        try:
            yield made
        finally:
            made.close()
