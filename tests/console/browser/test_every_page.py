"""Every page, whatever it is about: readable by everybody, quiet, whole at 360 px, of use without scripts, and deaf to markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from licet.console.pages import PAGES
from licet.gate.results import Denied, Held, Ok
from tests.console.browser.site import Site, Visitor, served
from tests.gate.unseen import add_payments, lost
from tests.world import CONFIG, POLICIES

pytestmark = pytest.mark.heavy

MARKUP = """'"><script>document.title='taken'</script><img src=x onerror="document.title='taken'">{{7*7}}<b>bold</b>"""
"""What an agent writes wherever it may write."""
MANY = """
[users.rita]
tenants = ["acme", "globex"]
roles = ["licet-admin", "licet-auditor", "licet-approver"]
"""
WITHOUT_PAGE = {
    "consoleBegin": "leads on",
    "consoleCall": "leads on",
    "consoleFindTrace": "leads on",
    "consoleAuditTail": "a stream",
    "consoleAuditExport": "a file",
    "consoleRecordProof": "a file",
    "consoleGoToProvider": "leads to an identity provider: looked at in test_oidc_in_a_browser.py",
    "consoleComeBack": "leads back from one",
    "consolePlan": "looked at in test_inbox_in_a_browser.py",
    "consoleFile": "a file",
    "consoleLive": "a stream",
    "consoleSignIn": "looked at by everybody who signs in",
    "consoleExportSubject": "a file",
    "consoleWhyCall": "leads on",
    **dict.fromkeys(
        ("consoleUndo", "consoleErase", "consoleErased", "consoleWhy", "consoleAskForAccess"), "looked at in test_subject_in_a_browser.py"
    ),
}
"""GET endpoints that are no page of their own, and why."""
AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
ADDRESSES = 4
"""Of one page, with different parameters."""
PAGE_BYTES = 120_000


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site on which something of everything has happened, with markup wherever an agent may write."""
    config = CONFIG.replace("[groups]", MANY + "[groups]").replace('"lena", "alice"', '"lena", "alice", "rita"')
    with served(tmp_path_factory.mktemp("site"), config, POLICIES, more=lambda w: add_payments(w.gate)) as site:
        fill(site)
        yield site


def fill(site: Site) -> None:
    """Calls of every kind."""
    gate = site.gate
    with site.alice(workflow="ticket-4711", reason=MARKUP):
        for _ in range(3):
            assert isinstance(gate.call("crm.lookup", {"customer_id": "C-1"}), Ok)
        assert isinstance(gate.call("crm.lookup", {"customer_id": "C-2"}), Denied)
        assert isinstance(gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500}), Ok)
        assert isinstance(gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000}), Held)
        assert isinstance(gate.call("account.suspend", {"customer_id": "C-1"}), Held)
        assert isinstance(gate.call(MARKUP[:100], {"customer_id": MARKUP}), Denied)
        assert isinstance(gate.call("crm.lookup", {"customer_id": MARKUP}), Denied)
    lost(site)
    with site.alice(workflow=None, reason="another"):
        voted = gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 60_000})
        assert isinstance(voted, Held)
        assert voted.request is not None
        gate.approvals.vote(voted.request, "lena", "reject", comment=MARKUP)
    gate.freeze("agent", "night-bot", tenant="acme", by="rita", reason=MARKUP)


@pytest.fixture(scope="module")
def rita(lived_in: Site, browser: Browser) -> Iterator[Visitor]:
    """Somebody who may look at everything."""
    visitor = Visitor(lived_in, browser, "rita")
    yield visitor
    visitor.close()


@pytest.fixture(scope="module")
def addresses(rita: Visitor) -> dict[str, list[str]]:
    """Addresses of every page by its operation, found by following links from where one begins."""
    forms = {one.operation: re.compile(re.sub(r"\{[^}]*\}", "[^/]+", one.path)) for one in PAGES if one.method == "GET"}
    found: dict[str, list[str]] = {}
    waiting, seen = ["/console"], {"/console"}
    while waiting:
        here = waiting.pop(0)
        shown = rita.page.request.get(f"{rita.site.address}{here}")
        if "text/html" not in shown.headers["content-type"]:
            for there in found.values():
                if here in there:
                    there.remove(here)  # a file to keep
            continue
        for href in re.findall(r'href="(/console[^"#]*)', shown.text()):
            address = html.unescape(href)
            operation = next((name for name, form in forms.items() if form.fullmatch(address.partition("?")[0])), None)
            assert operation is not None, f"a link on {here} leads nowhere: {address}"
            if address in seen or len(found.setdefault(operation, [])) >= ADDRESSES:
                continue
            seen.add(address)
            found[operation].append(address)
            waiting.append(address)
    return {operation: there for operation, there in found.items() if operation not in WITHOUT_PAGE}


def pages_of(addresses: dict[str, list[str]]) -> list[str]:
    return [address for there in addresses.values() for address in there]


def test_every_page_is_found_by_following_links(addresses: dict[str, list[str]]) -> None:
    pages = {one.operation for one in PAGES if one.method == "GET"}
    assert pages - addresses.keys() - WITHOUT_PAGE.keys() == set()


def test_every_page_answers_and_is_quiet(rita: Visitor, addresses: dict[str, list[str]]) -> None:
    """No error, nothing on the browser's console (so no violation of the content security policy), nothing asked of anybody else."""
    for address in pages_of(addresses):
        answer = rita.page.goto(f"{rita.site.address}{address}")
        assert answer is not None
        assert answer.status == 200, address
        rita.page.wait_for_timeout(50)
        assert rita.complaints == [], address
    rita.assert_quiet()


def test_what_agents_write_is_text(rita: Visitor, addresses: dict[str, list[str]]) -> None:
    told = 0
    for address in pages_of(addresses):
        page = rita.go(address)
        assert page.title() != "taken", address
        assert page.locator('img[src="x"], main b:text-is("bold")').count() == 0, address
        assert "49" not in page.locator("main").inner_text().replace(MARKUP, "").split(), address
        told += MARKUP in page.locator("main").inner_text()
    assert told >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read_by_everybody(lived_in: Site, browser: Browser, addresses: dict[str, list[str]], scheme: Any) -> None:
    """axe finds nothing, in both schemes, on a desk and on a phone."""
    axe, found = Axe(), []
    for width, height in ((1280, 900), (390, 844)):
        visitor = Visitor(lived_in, browser, "rita", color_scheme=scheme, viewport={"width": width, "height": height})
        for there in addresses.values():
            for address in there[:2]:
                page = visitor.go(address)
                found += [
                    f"{address} at {width}: {one['id']}: {one['nodes'][0]['target']} {one['nodes'][0]['failureSummary']}"
                    for one in axe.run(page, options=AXE).response["violations"]
                ]
        visitor.close()
    assert found == []


@pytest.mark.parametrize("width", [360, 1680])
def test_no_page_scrolls_sideways(lived_in: Site, browser: Browser, addresses: dict[str, list[str]], width: int) -> None:
    visitor = Visitor(lived_in, browser, "rita", viewport={"width": width, "height": 740})
    wide = []
    for address in pages_of(addresses):
        page = visitor.go(address)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(address)
    visitor.close()
    assert wide == []


def test_every_page_says_the_same_without_scripts(lived_in: Site, browser: Browser, addresses: dict[str, list[str]]) -> None:
    visitor = Visitor(lived_in, browser, "rita", java_script_enabled=False)
    for address in pages_of(addresses):
        answer = visitor.page.goto(f"{lived_in.address}{address}")
        assert answer is not None
        assert answer.status == 200, address
        assert visitor.page.locator("main h1, main h2").first.is_visible(), address
    visitor.close()


def test_every_page_is_light_enough(rita: Visitor, addresses: dict[str, list[str]]) -> None:
    """What is sent for a page and everything that it loads, uncompressed by us: its sum over a fresh browser's first look is measured elsewhere."""
    heavy = {address: len(rita.page.request.get(f"{rita.site.address}{address}").body()) for address in pages_of(addresses)}
    assert {address: size for address, size in heavy.items() if size > PAGE_BYTES} == {}
