"""The small world served as `licet serve` does it, on a port of its own, with the clock of the machine; and people who look at it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page

from licet import Gate
from licet.cli.console import link_address
from licet.config import loads
from licet.console.app import Console
from licet.gate.results import Held
from licet.gate.signing_in import issue_link
from licet.model import RequestId
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from licet.server.assembly import assemble
from licet.testing import Clock
from tests.world import CONFIG, POLICIES, World, populate

SERVER = """
[server]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
reload = false
"""


class Site(World):
    """A world that is served."""

    address = ""

    def link(self, user: str) -> str:
        """Where this person signs in, once."""
        return link_address(self.address, issue_link(self.gate.credentials, user).key)

    def request(self, amount_cents: int = 50_000, customer: str = "C-1", **more: Any) -> RequestId:
        """A new request that waits for a billing lead."""
        result = self.adjust(amount_cents, customer, **more)
        assert isinstance(result, Held), result
        assert result.request is not None
        return result.request


class Visitor:
    """A person at a browser of their own, and what that browser complained of."""

    def __init__(self, site: Site, browser: Browser, user: str, **options: Any) -> None:
        self.site = site
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.set_default_timeout(20_000)
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        self.page: Page = self.new_page()
        self.page.goto(site.link(user))
        self.page.click("main button.btn-main")
        self.page.wait_for_url(lambda url: "/sign-in" not in url)

    def new_page(self) -> Page:
        """Another tab."""
        page = self.context.new_page()
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", lambda request: self.asked_for.append(request.url))
        return page

    def go(self, path: str) -> Page:
        """Look at a page of the console."""
        self.page.goto(f"{self.site.address}{path}")
        return self.page

    def assert_quiet(self) -> None:
        """Nothing stood on the browser's console, and nothing was asked of anybody else."""
        assert self.complaints == []
        foreign = [url for url in self.asked_for if not url.startswith((f"{self.site.address}/", "data:", "blob:"))]
        assert foreign == []

    def close(self) -> None:
        """The browser's window is closed."""
        self.context.close()


@contextmanager
def served(
    folder: Path, config: str = CONFIG, policies: str = POLICIES, server: str = SERVER, more: Callable[[World], None] = lambda _: None
) -> Iterator[Site]:
    """A world on a file in this folder, with more tools than it has, served until the end."""
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(policies)
    (folder / "policies" / OWN_FILE).write_text(default_text())
    with Gate(loads(config + server, file=folder / "licet.toml")) as gate:
        site = Site(gate, Clock())
        populate(site)
        more(site)
        running = assemble(gate, Console)
        thread = threading.Thread(target=running.run)
        thread.start()
        assert running.started.wait(30)
        site.address = f"http://localhost:{running.address.port}"
        try:
            yield site
        finally:
            running.stop()
            thread.join(30)
            assert not thread.is_alive()
