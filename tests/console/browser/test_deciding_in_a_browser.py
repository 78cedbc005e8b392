"""Deciding in a real browser: with keys, on a phone, step by step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from licet.model import RequestState
from tests.console.browser.site import Site, Visitor

pytestmark = pytest.mark.heavy
Visit = Callable[..., Visitor]


def test_a_request_is_found_and_decided_with_keys_alone(site: Site, visit: Visit) -> None:
    first, second = site.request(), site.request(60_000)
    page = visit("lena").go("/console/inbox")
    page.keyboard.press("j")
    expect(page.locator(f'a.ask[href*="{first}"]')).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator(f'a.ask[href*="{second}"]')).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/console/inbox/{first}*")
    page.keyboard.press("r")
    expect(page.locator("button[value=reject]")).to_be_focused()
    assert site.gate.store.get_request(first).state is RequestState.OPEN  # a key brings one there, and decides nothing
    page.keyboard.press("a")
    expect(page.locator("button[value=approve]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".request")).to_contain_text("You approved it.")
    assert site.gate.store.get_request(first).state is RequestState.APPROVED
    assert site.gate.store.get_request(second).state is RequestState.OPEN


def test_a_key_that_is_typed_into_the_comment_is_a_letter(site: Site, visit: Visit) -> None:
    page = visit("lena").go(f"/console/inbox/{site.request()}")
    page.locator("#comment").click()
    page.keyboard.type("a rate j k")
    expect(page.locator("#comment")).to_have_value("a rate j k")
    expect(page.locator("#comment")).to_be_focused()


@pytest.mark.parametrize("width", [390, 360])
def test_on_a_phone_the_change_is_on_the_first_screen_and_nothing_is_hidden(site: Site, visit: Visit, width: int) -> None:
    request = site.request(reason="Duplicate charge on the annual plan. " * 12)
    page = visit("lena", viewport={"width": width, "height": 740}, has_touch=True).go(f"/console/inbox/{request}")
    bar = page.locator(".actionbar").bounding_box()
    effect = page.locator(".diff").bounding_box()
    reject, approve = page.locator("button[value=reject]").bounding_box(), page.locator("button[value=approve]").bounding_box()
    assert bar is not None
    assert effect is not None
    assert reject is not None
    assert approve is not None
    assert effect["y"] + effect["height"] <= bar["y"]  # before any scrolling
    assert bar["y"] + bar["height"] <= 740
    assert (reject["width"], reject["height"]) == (approve["width"], approve["height"])
    assert approve["height"] >= 44
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    last, bar = page.locator("#request-h ~ *").last.bounding_box(), page.locator(".actionbar").bounding_box()
    assert last is not None
    assert bar is not None
    assert last["y"] + last["height"] <= bar["y"]


def test_a_plan_is_decided_step_by_step(site: Site, visit: Visit) -> None:
    with site.alice():
        found = site.gate.plan([("billing.adjust", {"customer_id": "C-1", "amount_cents": amount}) for amount in (20_000, 30_000)])
    assert found.plan is not None
    page = visit("lena", viewport={"width": 390, "height": 844}).go("/console/inbox")
    page.click("a.ask")
    page.wait_for_url(f"**/plans/{found.plan}*")
    page.locator("#step-1 label", has_text="Approve").click()
    page.locator("#step-2 label", has_text="Reject").click()
    page.wait_for_timeout(1_200)
    site.request(70_000)  # a refresh, meanwhile
    page.wait_for_timeout(2_000)
    expect(page.locator("#step-1 input[value^=approve]")).to_be_checked()
    page.click("button.btn-main")
    expect(page.locator("#step-1")).to_contain_text("You approved it.")
    expect(page.locator("#step-2")).to_contain_text("You rejected it.")
    states = [one.request.state for one in site.gate.approvals.plan(found.plan)]
    assert states == [RequestState.APPROVED, RequestState.REJECTED]


def test_the_number_in_the_menu_follows_on_every_page(site: Site, visit: Visit) -> None:
    page = visit("lena").go("/console/you")
    page.wait_for_timeout(1_500)
    expect(page.locator("#waiting")).to_have_text("")
    request = site.request()
    expect(page.locator("#waiting")).to_contain_text("1", timeout=2_000)
    expect(page).to_have_title("You · Licet")  # and not that of the page which has told the number
    site.gate.approvals.vote(request, "lena", "reject")
    expect(page.locator("#waiting")).to_have_text("", timeout=2_000)
