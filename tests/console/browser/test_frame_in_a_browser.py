"""What every page has around it: keys, menu, themes, times."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.console.browser.site import Site, Visitor

pytestmark = pytest.mark.heavy
Visit = Callable[..., Visitor]


def test_keys_walk_through_the_list_and_explain_themselves(site: Site, visit: Visit) -> None:
    for amount in (50_000, 60_000, 70_000):
        site.request(amount)
    page = visit("lena").go("/console/inbox")
    page.keyboard.press("j")
    first = page.evaluate("document.activeElement.href")
    page.keyboard.press("j")
    second = page.evaluate("document.activeElement.href")
    assert first != second
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.href") == first
    page.keyboard.press("Enter")
    page.wait_for_url(first)
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog#keys")).to_be_hidden()


def test_keys_are_turned_off_and_stay_so(site: Site, visit: Visit) -> None:
    site.request()
    lena = visit("lena")
    page = lena.go("/console/inbox")
    page.keyboard.press("?")
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    page = lena.go("/console/inbox")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement === document.body")
    page.click("a[data-opens=keys]")
    page.check("#keys-on")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement !== document.body")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_the_menu_of_a_phone_opens_and_signs_out(visit: Visit, scripts: bool) -> None:  # noqa: FBT001  a case
    page = visit("lena", viewport={"width": 360, "height": 740}, java_script_enabled=scripts).go("/console/inbox")
    expect(page.locator("#menu")).to_be_hidden()
    page.click("a.menu-open")
    expect(page.locator("#menu nav")).to_be_visible()
    page.click("a.menu-close")
    expect(page.locator("#menu")).to_be_hidden()
    page.click("a.menu-open")
    page.click("#menu button:has-text('Sign out')")
    page.wait_for_url(re.compile("/console/sign-in"))


@pytest.mark.parametrize(("system", "chosen"), [("light", "dark"), ("dark", "light")])
def test_a_chosen_theme_overrides_the_system(visit: Visit, system: str, chosen: str) -> None:
    page = visit("lena", color_scheme=system).go("/console/inbox")

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    before = ground()
    page.click(f".theme button[value={chosen}]")
    page.wait_for_load_state()
    assert ground() != before
    page.click(".theme button[value=system]")
    page.wait_for_load_state()
    assert ground() == before


def test_times_are_in_the_readers_zone_with_utc_beside(site: Site, visit: Visit) -> None:
    request = site.request()
    page = visit("lena", timezone_id="Asia/Kolkata").go(f"/console/inbox/{request}")
    time = page.locator("main time[datetime]").first
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} UTC", time.get_attribute("title") or "")
    expect(page.locator("main [data-until]").first).to_have_text(re.compile(r"^1[45] min( \d+ s)? left$"))
