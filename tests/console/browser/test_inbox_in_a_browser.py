"""Approving in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from licet.gate.results import Ok
from licet.model import RequestState
from tests.console.browser.site import Site, Visitor

pytestmark = pytest.mark.heavy
Visit = Callable[..., Visitor]


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_request_is_approved(site: Site, visit: Visit, scripts: bool) -> None:  # noqa: FBT001  a case
    request = site.request()
    lena = visit("lena", java_script_enabled=scripts)
    page = lena.go("/console/inbox")
    page.click("a.ask")
    page.fill("#comment", "double charge, checked")
    page.click("button[value=approve]")
    page.wait_for_load_state()
    assert site.gate.store.get_request(request).state is RequestState.APPROVED
    assert isinstance(site.adjust(50_000), Ok)


def test_of_two_browsers_one_is_told_that_it_was_too_late(site: Site, visit: Visit) -> None:
    """Both look at the same request; the second decision finds it decided."""
    request = site.request()
    first, second = visit("lena"), visit("lena")
    for one in (first, second):
        one.page.route("**/console/live*", lambda route: route.abort())  # neither hears of the other
        one.go(f"/console/inbox/{request}")
    first.complaints.clear()
    second.complaints.clear()
    first.page.click("button[value=approve]")
    first.page.wait_for_load_state()
    second.page.click("button[value=reject]")
    second.page.wait_for_load_state()
    expect(second.page.locator("main")).to_contain_text("approved")
    assert site.gate.store.get_request(request).state is RequestState.APPROVED
    second.page.wait_for_timeout(500)
    first.complaints.clear()
    second.complaints.clear()  # a refused form is an answer with 4xx, which a browser notes
