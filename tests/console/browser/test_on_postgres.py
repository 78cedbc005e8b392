"""Two servers on one database in PostgreSQL, before one browser: a page that is open at one shows what is done at the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from licet.gate.results import Ok
from licet.ledger.keys import create_key_file
from licet.model import RequestState
from licet.store.postgres import PostgresStore
from tests.console.browser.site import Site, Visitor, served
from tests.store.postgres import Server, remove_server, start_server
from tests.world import CONFIG

pytestmark = pytest.mark.heavy
PATIENTLY_MS = 30_000
AUDITOR = '[users.rita]\ntenants = ["acme"]\nroles = ["licet-auditor"]\n[groups]'


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    """In a thread of its own: an event loop runs in this one while a browser is open."""
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(start_server).result()
        yield server
        pool.submit(remove_server, server).result()


@pytest.fixture
def sites(database: Server, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    with ThreadPoolExecutor(1) as pool:
        url = pool.submit(database.make_database).result()
    create_key_file(tmp_path / "licet.key")
    config = f'store = "{url}"\nkeys = "file:{tmp_path / "licet.key"}"\n{CONFIG.replace("[groups]", AUDITOR)}'
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with served(tmp_path / "here", config) as here, served(tmp_path / "there", config) as there:
        assert isinstance(here.gate.store, PostgresStore)
        yield here, there


def open_at(site: Site, visitor: Visitor, path: str) -> Page:
    """A tab of the same browser with a page of this server; it has a session there, since a cookie is for a host and not for a port."""
    page = visitor.context.new_page()
    page.on("pageerror", lambda error: visitor.complaints.append(f"error: {error}"))
    page.goto(f"{site.address}{path}")
    return page


def test_what_is_approved_at_one_server_shows_on_the_open_pages_of_the_other(sites: tuple[Site, Site], browser: Browser) -> None:
    here, there = sites
    request = here.request()
    lena = Visitor(here, browser, "lena")
    beside = open_at(there, lena, f"/console/inbox/{request}")
    listed = open_at(there, lena, "/console/inbox")
    expect(beside.locator("button[name=verdict]")).to_have_count(2)
    expect(listed.locator("#waiting")).to_contain_text("1")
    page = lena.go(f"/console/inbox/{request}")
    page.click("button[value=approve]")
    expect(page.locator(".request")).to_contain_text("You approved it.")
    expect(beside.locator(".request .pill")).to_contain_text("Approved", timeout=PATIENTLY_MS)
    expect(beside.locator("button[name=verdict]")).to_have_count(0)
    expect(listed.locator(f'a.ask[href*="{request}"]')).to_have_count(0, timeout=PATIENTLY_MS)
    expect(listed.locator("#waiting")).to_have_text("", timeout=PATIENTLY_MS)
    assert there.gate.store.get_request(request).state is RequestState.APPROVED
    assert isinstance(there.adjust(50_000), Ok)
    lena.close()
    lena.assert_quiet()


def test_the_live_log_of_one_server_shows_what_the_other_has_written(sites: tuple[Site, Site], browser: Browser) -> None:
    here, there = sites
    rita = Visitor(here, browser, "rita")
    page = rita.go("/console/audit?tool=crm.lookup&live=1")
    expect(page.locator("tr[data-row]")).to_have_count(0)
    page.wait_for_timeout(1_000)  # the stream is open
    with there.alice():
        there.gate.call("crm.lookup", {"customer_id": "C-1"})
    expect(page.locator("tr[data-row]")).to_have_count(1, timeout=PATIENTLY_MS)
    rita.close()
    rita.assert_quiet()


def test_signing_out_at_one_server_closes_what_is_open_at_the_other(sites: tuple[Site, Site], browser: Browser) -> None:
    here, there = sites
    lena = Visitor(here, browser, "lena")
    beside = open_at(there, lena, "/console/inbox")
    page = lena.go("/console/you")
    page.evaluate("document.querySelector('form[action$=\"/sign-out\"]').requestSubmit()")
    page.wait_for_url("**/console/sign-in*")
    beside.wait_for_url("**/console/sign-in*", timeout=PATIENTLY_MS)
    lena.close()
