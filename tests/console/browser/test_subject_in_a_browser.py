"""The pages about one subject and one denial, as people use them: looked up, undone, erased, explained, asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.console.browser.site import Site, Visitor, served
from tests.console.browser.test_every_page import AXE, MARKUP
from tests.console.subjects import PEOPLE, at
from tests.gate.test_undo import UNDO, done, populate
from tests.world import POLICIES

pytestmark = pytest.mark.heavy


@pytest.fixture
def lived_in(tmp_path: Any) -> Iterator[Site]:
    """Changes, a request, a denial and markup about one customer."""
    with served(tmp_path, PEOPLE, POLICIES + UNDO, more=populate) as site:
        done(site, plan="pro", note=MARKUP)
        site.request()
        site.adjust(5_000_000)
        with site.alice(reason=MARKUP):
            site.gate.call("crm.lookup", {"customer_id": "C-1"})
            site.gate.call("crm.lookup", {"customer_id": "C-2"})
        yield site


@pytest.fixture
def ada(lived_in: Site, browser: Browser) -> Iterator[Visitor]:
    visitor = Visitor(lived_in, browser, "ada")
    yield visitor
    visitor.assert_quiet()
    visitor.close()


def denial(site: Site) -> int:
    return max(place for place, kind in enumerate(site.kinds()) if kind == "denial")


def test_a_change_is_found_undone_and_told(lived_in: Site, ada: Visitor) -> None:
    page = ada.go("/console/subjects")
    page.keyboard.press("/")
    page.keyboard.type("C-1")
    page.keyboard.press("Enter")
    page.click("a:has-text('Undo…')")
    page.fill("#reason", "wrong customer")
    page.click("text=Propose the undo")
    expect(page.locator("main")).to_contain_text("took back what was done with")
    assert lived_in.customers["C-1"]["plan"] is None
    page.click("nav[aria-label=Where] a:has-text('Customer C-1')")
    expect(page.locator("main")).to_contain_text("undone")
    assert page.locator("a:has-text('Undo…')").count() == 0


def test_a_subject_is_erased_after_its_id_is_typed(lived_in: Site, ada: Visitor) -> None:
    page = ada.go(at())
    page.click("a:has-text('Erase…')")
    page.fill("#reason", "request of 12 May")
    page.fill("#typed", "C-1")
    page.click("text=Erase for ever")
    expect(page.locator("main")).to_contain_text("as proofs without content")
    ada.go(at())
    expect(page.locator("main")).to_contain_text("Nothing is recorded of this Customer")
    assert lived_in.kinds().count("erasure") == 1


def test_a_denial_is_explained_and_access_asked_for(lived_in: Site, ada: Visitor) -> None:
    page = ada.go(at("C-2"))
    page.click("main a:text-is('why')")
    expect(page.locator("h1")).to_contain_text("was denied")
    page.click("text=Ask for access")
    assert '+  resource == Customer::"C-2"' in page.locator("#request").input_value()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_can_be_read_by_everybody_and_are_whole_on_a_phone(lived_in: Site, browser: Browser, scheme: Any) -> None:
    """axe finds nothing, nothing scrolls sideways, markup is text, and all of it stands there without scripts."""
    found: list[str] = []
    ada = Visitor(lived_in, browser, "ada", color_scheme=scheme)
    quiet = Visitor(lived_in, browser, "ada", java_script_enabled=False)
    undo = re.search(r"/console/undo/[^\"]+", ada.go(at()).content())
    assert undo is not None
    why = f"/console/why/acme/{denial(lived_in)}"
    for address in (at(), at(MARKUP), at("alice", "User"), undo[0], at(act="/erase"), why, f"{why}/ask"):
        for width in (1280, 360):
            ada.page.set_viewport_size({"width": width, "height": 800})
            page = ada.go(address)
            found += [
                f"{address} at {width}: {one['id']} {one['nodes'][0]['target']}"
                for one in Axe().run(page, options=AXE).response["violations"]
            ]
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                found.append(f"{address} scrolls sideways at {width}")
            assert page.title() != "taken"
            assert page.locator('img[src="x"], main b:text-is("bold")').count() == 0
        assert quiet.go(address).locator("main h1").first.is_visible()
    ada.assert_quiet()
    ada.close()
    quiet.close()
    assert found == [], found
