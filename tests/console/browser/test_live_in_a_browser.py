"""Pages that keep up, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from licet import Gate
from licet.config import loads
from licet.testing import Clock
from tests.console.browser.site import Site, Visitor
from tests.world import CONFIG, populate

pytestmark = pytest.mark.heavy
Visit = Callable[..., Visitor]
PROMISED_MS = 2_000


def test_a_new_request_appears_in_an_open_inbox(site: Site, visit: Visit) -> None:
    lena = visit("lena")
    page = lena.go("/console/inbox")
    expect(page.locator("main")).to_contain_text("Nobody is waiting for you")
    page.wait_for_timeout(1_500)  # what the page may have missed is over
    request = site.request()
    expect(page.locator(f'a.ask[href*="{request}"]')).to_be_visible(timeout=PROMISED_MS)


def test_a_decision_made_elsewhere_shows_and_takes_the_buttons_away(site: Site, visit: Visit) -> None:
    request = site.request()
    page = visit("lena").go(f"/console/inbox/{request}")
    page.wait_for_timeout(1_500)
    site.gate.approvals.vote(request, "lena", "approve")  # as the command line does it
    expect(page.locator(".request .pill")).to_contain_text("Approved", timeout=PROMISED_MS)
    expect(page.locator("button[name=verdict]")).to_have_count(0)


def test_what_is_being_typed_and_what_is_open_stay_as_they_are(site: Site, visit: Visit) -> None:
    request = site.request()
    page = visit("lena").go(f"/console/inbox/{request}")
    page.wait_for_timeout(1_500)
    page.locator("details.fold summary").first.click()
    page.locator("#comment").type("I have asked")
    other = site.request(60_000)
    expect(page.locator(f'a.ask[href*="{other}"]')).to_be_visible(timeout=PROMISED_MS)
    expect(page.locator("#comment")).to_have_value("I have asked")
    expect(page.locator("#comment")).to_be_focused()
    page.keyboard.type(" finance")
    expect(page.locator("#comment")).to_have_value("I have asked finance")
    expect(page.locator("details.fold").first).to_have_attribute("open", "")


def test_a_page_that_nothing_happens_to_asks_for_nothing(site: Site, visit: Visit) -> None:
    site.request()
    lena = visit("lena")
    page = lena.go("/console/inbox")
    page.wait_for_timeout(2_500)
    lena.asked_for.clear()
    page.wait_for_timeout(2_500)
    assert lena.asked_for == []


def test_what_another_process_opens_and_decides_shows_too(site: Site, visit: Visit, tmp_path: Path) -> None:
    """Another opening of the same ledger, with a store of its own, as another server or the command line has it."""
    page = visit("lena").go("/console/inbox")
    page.wait_for_timeout(1_500)
    with Gate(loads(CONFIG, file=tmp_path / "licet.toml")) as gate:
        other = Site(gate, Clock())
        populate(other)
        request = other.request()
        expect(page.locator(f'a.ask[href*="{request}"]')).to_be_visible(timeout=PROMISED_MS)
        gate.approvals.vote(request, "lena", "reject")
        expect(page.locator(f'a.ask[href*="{request}"]')).to_have_count(0, timeout=PROMISED_MS)
