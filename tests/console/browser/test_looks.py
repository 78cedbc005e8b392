"""What nobody should have to scroll for, or lose under something else: long names, small fingers, the bar of actions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from licet.gate.results import Held
from tests.console.browser.site import Site, Visitor, served

pytestmark = pytest.mark.heavy

LONG = "C-" + "9" * 198
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def long_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    """A site with a request about a customer of 200 characters."""
    with served(tmp_path_factory.mktemp("site")) as site:
        site.customers[LONG] = {"tenant": "acme", "vip": False, "balance": 100, "suspended": False}
        with site.alice(workflow="w" * 200, reason="x" * 2_000):
            held = site.gate.call("billing.adjust", {"customer_id": LONG, "amount_cents": 50_000})
        assert isinstance(held, Held)
        yield site, str(held.request)


@pytest.mark.parametrize("width", [360, 1280])
def test_a_name_of_200_characters_is_read_whole_without_scrolling(long_names: tuple[Site, str], browser: Browser, width: int) -> None:
    site, request = long_names
    visitor = Visitor(site, browser, "lena", viewport={"width": width, "height": 900})
    page = visitor.go(f"/console/inbox/{request}")
    assert LONG in page.locator("h1").last.inner_text()
    beyond = page.evaluate(
        "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML)"
    )
    assert beyond == []
    visitor.close()


def test_the_bar_of_actions_hides_nothing_at_the_end_and_is_there_at_the_beginning(browser: Browser, long_names: tuple[Site, str]) -> None:
    site, _ = long_names
    visitor = Visitor(site, browser, "lena", viewport=PHONE)
    page = visitor.go(f"/console/inbox/{site.request()}")
    change, approve = page.locator(".diff .after").bounding_box(), page.get_by_role("button", name="Approve").bounding_box()
    assert change is not None
    assert approve is not None
    bar = page.locator(".actionbar").bounding_box()
    assert bar is not None
    assert change["y"] + change["height"] <= bar["y"]  # what would change is read before anything is scrolled
    assert approve["y"] + approve["height"] <= PHONE["height"]
    assert approve["height"] >= 44
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last, bar = page.locator(".request-in > :last-child").bounding_box(), page.locator(".actionbar").bounding_box()
    assert last is not None
    assert bar is not None
    assert last["y"] + last["height"] <= bar["y"]
    visitor.close()
