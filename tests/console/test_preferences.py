"""Light or dark, and which tenant: choices of a browser that grant nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from licet.console.inside import inside
from tests.console.world import Browser, ConsoleWorld, console_world, text_of

COOKIE = "Max-Age=31536000; Path=/; Secure; HttpOnly; SameSite=Strict"


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world() as found:
        yield found


@pytest.fixture
def lena(served: ConsoleWorld) -> Browser:
    return served.enter("lena")


def with_cookie(browser: Browser, name: str, value: str) -> str:
    return browser.get("/console/inbox", {"cookie": f"__Host-licet={browser.cookie}; {name}={value}"}).content.decode()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_theme_is_kept_and_shown(lena: Browser, theme: str) -> None:
    kept = lena.send("/console/inbox", "/console/theme", {"theme": theme, "next": "/console/inbox?show=all"})
    assert (kept.status, kept.headers["location"]) == (303, "/console/inbox?show=all")
    assert kept.headers["set-cookie"] == f"__Host-licet-theme={theme}; {COOKIE}"
    assert f'data-theme="{theme}"' in with_cookie(lena, "__Host-licet-theme", theme)


def test_the_system_decides_again(lena: Browser) -> None:
    kept = lena.send("/console/inbox", "/console/theme", {"theme": "system"})
    assert kept.headers["set-cookie"].startswith("__Host-licet-theme=; Max-Age=0;")
    assert "data-theme" not in lena.get("/console/inbox").content.decode()


@pytest.mark.parametrize("theme", ["purple", '"><script>', ""])
def test_what_is_no_theme_is_refused_and_never_written_into_a_page(lena: Browser, theme: str) -> None:
    assert lena.send("/console/inbox", "/console/theme", {"theme": theme}).status == 400
    assert "data-theme" not in with_cookie(lena, "__Host-licet-theme", "purple")


def test_a_tenant_is_chosen_and_taken_away(lena: Browser) -> None:
    kept = lena.send("/console/inbox", "/console/place", {"tenant": "acme"})
    assert kept.headers["set-cookie"] == f"__Host-licet-place=acme; {COOKIE}"
    assert 'value="acme" aria-current="true"' in with_cookie(lena, "__Host-licet-place", "acme")
    everything = lena.send("/console/inbox", "/console/place", {"tenant": ""})
    assert everything.headers["set-cookie"].startswith("__Host-licet-place=; Max-Age=0;")


def test_a_tenant_out_of_reach_and_one_that_is_not_there_answer_alike(served: ConsoleWorld, lena: Browser) -> None:
    answers = [lena.send("/console/inbox", "/console/place", {"tenant": tenant}) for tenant in ("globex", "nowhere")]
    assert {answer.status for answer in answers} == {404}
    assert len({text_of(answer).partition("The server's log")[0] for answer in answers}) == 1
    shown = with_cookie(lena, "__Host-licet-place", "globex")
    assert "globex" not in shown
    assert served.get("/console/inbox", headers={"cookie": "__Host-licet-place=acme"}).status == 303


def test_a_choice_needs_the_token_of_the_form(lena: Browser) -> None:
    for path, fields in (("/console/theme", {"theme": "dark"}), ("/console/place", {"tenant": "acme"})):
        assert lena.post(path, {**fields, "form_token": "0" * 64}).status == 403


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example",
        "//evil.example",
        "/console//evil",
        "/consolex",
        "/console/\\evil.example",
        "/console/\r\nSet-Cookie: x=1",
        "javascript:alert(1)",
        "/api/v1/requests",
        "",
    ],
)
def test_one_is_led_to_a_page_of_ours(lena: Browser, there: str) -> None:
    kept = lena.send("/console/inbox", "/console/theme", {"theme": "dark", "next": there})
    assert kept.headers["location"] == ("/console//evil" if there == "/console//evil" else "/console")
    assert inside(there) == kept.headers["location"]
