"""Passkeys in a real browser with a virtual authenticator: added, used to sign in, and to sign votes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from licet.approvals.viewed import get_request
from tests.gate.proof import assert_whole
from tests.world import CONFIG

if TYPE_CHECKING:
    from tests.console.browser.site import Site, Visitor

pytestmark = pytest.mark.heavy


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The small world, where approvals of what touches money are signed."""
    from tests.console.browser.site import served  # noqa: PLC0415  as in conftest.py

    with served(tmp_path, CONFIG + 'passkey_for = ["money"]\n') as found:
        yield found


def give(visitor: Visitor) -> tuple[Any, str]:
    """An authenticator whose person is there, and verified."""
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    made = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return session, made["authenticatorId"]


def add(visitor: Visitor, name: str = "Laptop") -> tuple[Any, str]:
    found = give(visitor)
    page = visitor.go("/console/you")
    page.fill("#passkey-name", name)
    with page.expect_navigation():
        page.click("text=Add a passkey")
    page.wait_for_selector(f"b:has-text('{name}')")
    return found


def test_a_person_adds_a_passkey_signs_in_by_it_and_approves_with_it(site: Site, visit: Callable[..., Visitor]) -> None:
    lena = visit("lena")
    add(lena)
    page = lena.page
    page.click("text=Sign out")
    page.wait_for_url("**/console/sign-in*")
    page.click("text=Sign in with a passkey")
    page.wait_for_url(lambda url: "/sign-in" not in url)
    request = site.request()
    lena.go(f"/console/inbox/{request}")
    page.fill("#comment", "  as agreed: ä  ")
    page.click("button[value=approve]")
    page.wait_for_selector(".pill:has-text('Approved')")
    (vote,) = get_request(site.gate.store, request)[1]
    assert (vote.voter, vote.verdict, vote.comment) == ("lena", "approve", "as agreed: ä")
    assert vote.assertion.passkey.rp_id == "localhost"  # type: ignore[union-attr]  # it is there, or this fails
    assert_whole(site.gate)


def test_whom_the_authenticator_does_not_verify_approves_nothing_and_rejects(site: Site, visit: Callable[..., Visitor]) -> None:
    lena = visit("lena")
    session, authenticator = add(lena)
    session.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": False})
    request = site.request()
    page = lena.go(f"/console/inbox/{request}")
    page.click("button[value=approve]")
    page.wait_for_selector("[role=status]:has-text('No passkey was used.')")
    page.wait_for_selector(f"#ask-{site.request(60_000)}")  # the page is exchanged, and goes on saying so
    assert page.is_visible("[role=status]:has-text('No passkey was used.')")
    assert get_request(site.gate.store, request)[1] == ()
    page.click("button[value=reject]")
    page.wait_for_selector(".pill:has-text('Rejected')")
    assert_whole(site.gate)


def test_without_scripts_pages_say_what_a_passkey_needs(site: Site, visit: Callable[..., Visitor]) -> None:
    lena = visit("lena", java_script_enabled=False)
    page = lena.go("/console/you")
    assert "A passkey needs JavaScript" in page.inner_text("main")
    assert page.is_disabled("text=Add a passkey")
    request = site.request()
    page = lena.go(f"/console/inbox/{request}")
    assert "add one" in page.inner_text(".actionbar")
    page.click("button[value=reject]")
    assert get_request(site.gate.store, request)[1][0].verdict == "reject"
