"""Signing in by a provider of another site, in a real browser: the session's cookie is for this site alone, and works all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.console.provider import SECRET, Provider, provider
from tests.console.test_oidc import ISSUERS, LOGINS
from tests.world import CONFIG

pytestmark = pytest.mark.heavy

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.console.browser.site import Site


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("OIDC_SECRET", SECRET)
    with provider(time.time) as found:
        yield found


@pytest.fixture
def site(tmp_path: Path, peer: Provider) -> Iterator[Site]:
    from tests.console.browser.site import served  # noqa: PLC0415  needs playwright

    config = CONFIG
    for before, after in LOGINS.items():
        config = config.replace(before, after.format(issuer=peer.issuer))
    with served(tmp_path, config + ISSUERS.format(issuer=peer.issuer, more="")) as found:
        yield found


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("page_of_its_own", [True, False])
def test_one_comes_back_signed_in_to_the_page_one_wanted(
    site: Site, peer: Provider, browser: Browser, *, scripts: bool, page_of_its_own: bool
) -> None:
    if page_of_its_own:  # a form of the provider, whose answer leads back
        form = b'<!doctype html><title>p</title><form method="post" action="/go"><button>Yes</button></form>'
        peer.raw["/authorize"] = (200, {"Content-Type": "text/html"}, form)
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.goto(f"{site.address}/console/inbox?view=decided")
    if page_of_its_own:
        with page.expect_request(lambda request: "/authorize?" in request.url) as asked:
            page.get_by_role("link", name="Sign in with <Corp>").click()
        peer.raw["/go"] = (302, {"Location": peer.authorize(asked.value.url)}, b"")
        page.get_by_role("button", name="Yes").click()
    else:
        page.get_by_role("link", name="Sign in with <Corp>").click()
    page.wait_for_url(f"{site.address}/console/inbox?view=decided")
    assert page.get_by_role("heading", level=1).inner_text() != "Sign in"
    found = {cookie["name"]: (cookie["sameSite"], cookie["httpOnly"], cookie["secure"]) for cookie in context.cookies(site.address)}
    assert found == {"__Host-licet": ("Strict", True, True)}
    context.close()


def test_whoever_is_of_nobody_here_is_told_so_and_can_go_another_way(site: Site, peer: Provider, browser: Browser) -> None:
    peer.subject = "00u-nobody"
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.address}/console/inbox")
    page.get_by_role("link", name="Sign in with <Corp>").click()
    page.get_by_role("alert").wait_for()
    assert "This account is of nobody here" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("link", name="Sign in with <Corp>").is_visible()
    assert context.cookies(site.address) == []
    context.close()
