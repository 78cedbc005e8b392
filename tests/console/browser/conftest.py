"""A real browser before a real server. Where there is none, that is said loudly, and nothing here counts as passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.console.browser.finding import ARGUMENTS, MISSING, find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.console.browser.site import Site, Visitor


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module: while it is open an event loop runs here, and nobody else's tests can have one."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  slow to import, and only needed here

    program = find_browser()
    if program is None:
        pytest.fail(MISSING, pytrace=False)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield made
        made.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The small world, served."""
    from tests.console.browser.site import served  # noqa: PLC0415  as above

    with served(tmp_path) as found:
        yield found


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """`visit("lena", **options of the browser's context)`: that person, signed in. Every one of them must have been quiet at the end."""
    from tests.console.browser.site import Visitor  # noqa: PLC0415  as above

    visitors: list[Visitor] = []

    def enter(user: str, **options: Any) -> Visitor:
        visitors.append(Visitor(site, browser, user, **options))
        return visitors[-1]

    yield enter
    for visitor in visitors:
        visitor.close()
    for visitor in visitors:
        visitor.assert_quiet()
