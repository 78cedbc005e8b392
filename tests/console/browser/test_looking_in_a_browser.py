"""The log, the rules and the inventory in a real browser: filters, bars, the live tail, exports, drafts, freezes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from licet.gate.results import Denied, Ok
from tests.console.browser.site import Site, Visitor, served
from tests.world import CONFIG

pytestmark = pytest.mark.heavy
RITA = """
[users.rita]
tenants = ["acme", "globex"]
roles = ["licet-admin", "licet-auditor"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path, CONFIG.replace("[groups]", RITA + "[groups]")) as found:
        with found.alice(workflow="ticket-1"):
            found.gate.call("crm.lookup", {"customer_id": "C-1"})
            found.gate.call("crm.lookup", {"customer_id": "C-2"})
            found.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 100})
        yield found


@pytest.fixture
def rita(site: Site, browser: Browser) -> Iterator[Visitor]:
    visitor = Visitor(site, browser, "rita", accept_downloads=True)
    yield visitor
    visitor.close()
    visitor.assert_quiet()


def test_a_value_filters_a_chip_takes_it_off_and_a_bar_narrows(rita: Visitor) -> None:
    page = rita.go("/console/audit")
    everything = page.locator("tr[data-row]").count()
    page.click("tr[data-row] td.id a:text-is('crm.lookup') >> nth=0")
    page.wait_for_url("**tool=crm.lookup**")
    assert 0 < page.locator("tr[data-row]").count() < everything
    expect(page.locator(".chip .val", has_text="crm.lookup")).to_be_visible()
    bar = page.locator("a.bucket").first
    bar.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"since="))
    assert page.locator("tr[data-row]").count() == 2
    page.click("a[aria-label='Take the filter tool off']")
    page.wait_for_url(lambda url: "tool=" not in url)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.type("C-2")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=C-2**")
    expect(page.locator("tr[data-row]").first).to_be_visible()


def test_a_new_record_stands_in_an_open_tail(site: Site, rita: Visitor) -> None:
    page = rita.go("/console/audit?live=1&tool=billing.adjust")
    expect(page.locator("tr[data-row]").first).to_be_visible()
    before = page.locator("tr[data-row]").count()
    page.wait_for_timeout(1_500)
    assert isinstance(site.adjust(200), Ok)
    expect(page.locator("tr[data-row]")).to_have_count(before + 2, timeout=10_000)


def test_what_is_found_is_kept_as_a_file(rita: Visitor, tmp_path: Path) -> None:
    page = rita.go("/console/audit?tool=crm.lookup")
    shown = page.locator("tr[data-row]").count()
    page.click("summary:has-text('Export')")
    with page.expect_download() as download:
        page.click("a:has-text('CSV')")
    download.value.save_as(tmp_path / "found.csv")
    rows = list(csv.reader((tmp_path / "found.csv").read_text().splitlines()))
    assert len(rows) == shown + 2  # a header, and the line that shows that it is whole


def test_a_draft_is_tried_and_nothing_changes(site: Site, rita: Visitor) -> None:
    before = site.gate.scene.engine.bundle.digest
    page = rita.go("/console/policies")
    page.click("a:text-is('Try a change') >> nth=0")
    text = page.locator("#text").input_value()
    page.fill("#text", text.replace('Role::"billing"', 'Role::"biling"'))
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.click("button:text-is('Validate')")
    assert answered.value.status == 422
    expect(page.locator("main")).to_contain_text("It would not load")
    page.fill("#text", text.replace("1000000", "2000"))
    page.click("button:text-is('Validate')")
    expect(page.locator("main")).to_contain_text("It would load")
    assert site.gate.scene.engine.bundle.digest == before
    assert all("422" in one for one in rita.complaints)  # browsers note an answer with 4xx
    rita.complaints.clear()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_an_agent_is_frozen_and_lifted(site: Site, browser: Browser, scripts: bool) -> None:  # noqa: FBT001  a case
    visitor = Visitor(site, browser, "rita", java_script_enabled=scripts)
    page = visitor.go("/console/inventory")
    page.locator("li.thing", has_text="support-bot").locator("a:has-text('Freeze')").click()
    page.fill("#reason", "it went wild")
    page.click("button:has-text('Freeze now')")
    page.wait_for_url("**/console/freezes")
    assert isinstance(site.adjust(100), Denied)
    page.fill("input[name=reason]", "it was a test")
    page.click("button:text-is('Lift')")
    page.wait_for_load_state()
    expect(page.locator("main")).to_contain_text("Nothing is frozen")
    assert isinstance(site.adjust(100), Ok)
    visitor.close()
    visitor.assert_quiet()


def test_a_cell_opens_its_rules_and_its_calls(rita: Visitor) -> None:
    page = rita.go("/console/permissions")
    page.click("a[title^='support-bot, billing.adjust:']")
    expect(page.locator("main")).to_contain_text("adjust-needs-lead")
    page.click("a:has-text('1 call')")
    page.wait_for_url("**agent=support-bot**")
    expect(page.locator("tr[data-row]").first).to_be_visible()
