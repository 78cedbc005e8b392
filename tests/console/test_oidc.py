"""Signing in by an identity provider: a real one on a port of this machine, and every wrong turn that one can take."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from licet.console import cookies, oidc
from licet.console.under_way import LIFE_S
from licet.gate.credentials import list_credentials
from licet.identity.provider import LIMIT_BYTES, Providers
from tests.console.provider import CLIENT, SECRET, Provider, provider
from tests.console.world import Browser, ConsoleWorld, console_world, cookie_of, text_of
from tests.gate.proof import assert_whole
from tests.identity.issuer import encoded, hmac_signed, rsa, signed
from tests.server.world import Reply
from tests.world import CONFIG

HERE = "localhost:8181"
START = "/console/sign-in/oidc/corp"
ISSUERS = """
[[identity.issuers]]
issuer = "{issuer}"
audience = "licet-api"
jwks = "{issuer}/keys"
{more}
[identity.issuers.sign_in]
name = "corp"
client_id = "licet-console"
client_secret = "env:OIDC_SECRET"
scopes = ["openid", "email"]
button = "Sign in with <Corp>"
"""
LOGINS = {
    "[users.lena]\n": '[users.lena]\nlogins = ["{issuer}|00u-lena"]\n',
    "[users.omar]\n": '[users.omar]\ndisabled = true\nlogins = ["{issuer}|00u-omar"]\n',
    "[agents.night-bot]\n": '[agents.night-bot]\nlogins = ["{issuer}|00u-bot"]\n',
}


class Visit:
    """The console, its provider, and one browser."""

    def __init__(self, served: ConsoleWorld, peer: Provider) -> None:
        self.served = served
        self.peer = peer
        self.cookie = ""

    def get(self, address: str, **headers: str) -> Reply:
        sent = {"host": HERE, "cookie": f"{cookies.PROVIDER}={self.cookie}", **headers}
        return self.served.get(re.sub(r"^https?://[^/]+", "", address), headers=sent)

    def go(self, query: str = "") -> str:
        """To the provider, and the address to which that leads back."""
        reply = self.get(START + query)
        assert reply.status == 303, text_of(reply)
        found = re.match(rf"{cookies.PROVIDER}=([^;]+); ", reply.headers["set-cookie"])
        assert found is not None
        self.cookie = found[1]
        return self.peer.authorize(reply.headers["location"])

    def whole(self, query: str = "") -> Reply:
        back = self.go(query)
        return self.get(back)

    @property
    def sessions(self) -> list[str | None]:
        gate = self.served.gate
        return [one.user for one in list_credentials(gate.store, gate.now()) if one.kind == "session"]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Visit]]:
    monkeypatch.setenv("OIDC_SECRET", SECRET)
    opened: list[Any] = []

    def enter(more: str = "") -> Visit:
        monkeypatch.setattr(oidc, "_providers", Providers())
        clock: list[ConsoleWorld] = []
        peers = provider(lambda: clock[0].gate.now().timestamp())
        peer = peers.__enter__()
        opened.append(peers)
        config = CONFIG
        for before, after in LOGINS.items():
            assert before in config
            config = config.replace(before, after.format(issuer=peer.issuer))
        worlds = console_world(config + ISSUERS.format(issuer=peer.issuer, more=more))
        clock.append(worlds.__enter__())
        opened.append(worlds)
        return Visit(clock[0], peer)

    yield enter
    for one in reversed(opened):
        one.__exit__(None, None, None)


@pytest.fixture
def visit(make: Callable[..., Visit]) -> Iterator[Visit]:
    found = make()
    yield found
    assert_whole(found.served.gate)


def assert_refused(visit: Visit, reply: Reply, says: str = "Signing in did not work") -> None:
    assert reply.status == 403
    assert says in text_of(reply)
    assert f"{cookies.SESSION}=" not in reply.headers.get("set-cookie", "")
    assert visit.sessions == []


def test_whoever_the_provider_names_is_signed_in_and_led_on_by_a_page(visit: Visit) -> None:
    reply = visit.whole("?next=%2Fconsole%2Finbox%3Fview%3Dall")
    assert reply.status == 200
    assert '<meta http-equiv="refresh" content="0;url=/console/inbox?view=all">' in reply.content.decode()
    assert Browser(visit.served, cookie_of(reply)).get("/console/inbox").status == 200
    gate = visit.served.gate
    (session,) = [one for one in list_credentials(gate.store, gate.now()) if one.kind == "session"]
    assert (session.user, session.tenants, session.roles) == ("lena", ("*",), ())


def test_what_is_sent_to_the_provider_is_no_secret_and_the_cookie_comes_back_with_a_link(visit: Visit) -> None:
    reply = visit.get(START)
    address, cookie = reply.headers["location"], reply.headers["set-cookie"]
    assert address.startswith(f"{visit.peer.issuer}/authorize?response_type=code&client_id={CLIENT}&")
    assert "code_challenge_method=S256" in address
    assert "scope=openid+email" in address or "scope=openid%20email" in address
    assert "verifier" not in address
    assert cookie.endswith(f"Max-Age={LIFE_S}; Path=/; Secure; HttpOnly; SameSite=Lax")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")


def _hs256(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return hmac_signed({**header, "alg": "HS256"}, claims, rsa().as_pem(private=False))


def _none(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{encoded({**header, 'alg': 'none'})}.{encoded(claims)}."


def _forged(header: dict[str, Any], claims: dict[str, Any]) -> str:
    token = signed(header, claims)
    return token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")


def named(case: object) -> str | None:
    """An id that is the same in every process."""
    if callable(case):
        return getattr(case, "__name__", "changed").strip("_<>")
    if isinstance(case, dict):
        return ", ".join(f"{name}={named(value) if callable(value) else value}" for name, value in case.items())[:80]
    return None


@pytest.mark.parametrize(
    "wrong",
    [
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"aud": "another-client"}},
        {"claims": {"aud": None}},
        {"claims": {"aud": [CLIENT, "another"]}},
        {"claims": {"aud": [CLIENT, "another"], "azp": "another"}},
        {"claims": {"azp": "another"}},
        {"claims": {"iss": "https://another.example.com"}},
        {"claims": {"exp": 1_000}},
        {"claims": {"exp": None}},
        {"claims": {"iat": None}},
        {"claims": {"iat": 2**35}},
        {"claims": {"sub": None}},
        {"claims": {"at_hash": "AAAA"}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"kid": "two"}},
        {"header": {"crit": ["exp"]}},
        {"sign": _none},
        {"sign": _hs256},
        {"sign": _forged},
        {"answer": {"iss": "https://another.example.com"}},
        {"answer": {"iss": ""}},
        {"answer": {"state": "another"}},
        {"answer": {"state": ""}},
        {"answer": {"code": ""}},
        {"answer": {"error": "access_denied"}},
    ],
    ids=named,
)
def test_an_answer_that_is_not_for_this_signs_nobody_in(visit: Visit, wrong: dict[str, Any]) -> None:
    for name, value in wrong.items():
        setattr(visit.peer, name, value)
    assert_refused(visit, visit.whole())


@pytest.mark.parametrize("subject", ["00u-nobody", "00U-LENA", "00u-lena ", "lena", "00u-omar", "00u-bot"])
def test_an_account_of_nobody_of_a_program_or_of_somebody_disabled_is_told_so(visit: Visit, subject: str) -> None:
    visit.peer.subject = subject
    reply = visit.whole()
    says = "Signing in did not work" if subject == "00u-bot" else "This account is of nobody here"
    assert_refused(visit, reply, says)


def test_an_answer_signs_one_in_once_even_with_the_cookie_and_a_new_code(visit: Visit) -> None:
    back = visit.go()
    query = visit.peer.codes["code-0"]
    assert visit.get(back).status == 200
    again = visit.get(back)
    assert (again.status, visit.sessions) == (403, ["lena"])
    visit.peer.codes["code-0"] = query  # a provider that takes a code twice
    again = visit.get(back)
    assert (again.status, visit.sessions) == (403, ["lena"])


def test_what_another_browser_began_is_not_ended_by_this_one(visit: Visit) -> None:
    back = visit.go()
    visit.go()
    assert_refused(visit, visit.get(back))
    visit.cookie = ""
    assert_refused(visit, visit.get(visit.peer.authorize(visit.get(START).headers["location"])))


@pytest.mark.parametrize(
    "change", [lambda one: one[:-1], lambda one: "A" + one[1:], lambda one: "." + one, lambda _: "a.b", lambda one: one + "é"]
)
def test_a_cookie_that_was_not_made_here_is_of_nobody(visit: Visit, change: Callable[[str], str]) -> None:
    back = visit.go()
    visit.cookie = change(visit.cookie)
    assert_refused(visit, visit.get(back))


def test_whoever_takes_too_long_begins_again(visit: Visit) -> None:
    back = visit.go()
    visit.served.world.clock.advance(timedelta(seconds=LIFE_S))
    assert_refused(visit, visit.get(back))


@pytest.mark.parametrize(
    "there", ["https://evil.example.com", "//evil.example.com", "/console/../x\\y", "javascript:alert(1)", "/consolexx"]
)
def test_nobody_is_led_out_of_the_console(visit: Visit, there: str) -> None:
    reply = visit.whole(f"?next={there}")
    assert 'content="0;url=/console"' in reply.content.decode()


def test_an_address_that_would_end_the_attribute_is_text(visit: Visit) -> None:
    reply = visit.whole("?next=%2Fconsole%3Fq%3D%22%3E%3Cscript%3E1")
    assert "<script>1" not in reply.content.decode()
    assert 'content="0;url=/console?q=&#34;&gt;&lt;script&gt;1"' in reply.content.decode()


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://another.example.com"},
        {"issuer": None},
        {"token_endpoint": "http://169.254.169.254/latest"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": None},
        {"authorization_endpoint": "http://elsewhere.example.com/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://a.example.com/\r\nSet-Cookie: a=b"},
        {"token_endpoint_auth_methods_supported": 7},
    ],
    ids=named,
)
def test_a_provider_that_says_it_is_elsewhere_is_not_gone_to(visit: Visit, metadata: dict[str, Any]) -> None:
    visit.peer.metadata = metadata
    reply = visit.get(START)
    assert_refused(visit, reply, "cannot be used now")
    assert "location" not in reply.headers


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/.well-known/openid-configuration", (200, {}, b"{" + b" " * (LIMIT_BYTES + 1) + b"}")),
        ("/.well-known/openid-configuration", (302, {"Location": "/elsewhere"}, b"")),
        ("/.well-known/openid-configuration", (200, {}, b"<html>")),
        ("/.well-known/openid-configuration", (200, {}, b'{"issuer": "a", "issuer": "b"}')),
    ],
    ids=named,
)
def test_what_is_no_description_of_a_provider_is_not_read(visit: Visit, path: str, answer: tuple[int, dict[str, str], bytes]) -> None:
    visit.peer.raw[path] = answer
    assert_refused(visit, visit.get(START), "cannot be used now")
    assert visit.get(START).status == 403
    assert visit.peer.asked == [path]  # and it is left alone for a while


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/keys", (302, {"Location": "/other-keys"}, b"")),
        ("/keys", (500, {}, b"")),
        ("/token", (302, {"Location": "/elsewhere"}, b"")),
        ("/token", (200, {}, b"[]")),
        ("/token", (200, {}, b" " * (LIMIT_BYTES + 1))),
    ],
)
def test_keys_and_tokens_come_from_where_they_are_and_nowhere_else(
    visit: Visit, path: str, answer: tuple[int, dict[str, str], bytes]
) -> None:
    visit.peer.raw[path] = answer
    assert_refused(visit, visit.whole(), "cannot be used now")
    assert not {"/other-keys", "/elsewhere"} & {*visit.peer.asked}


def test_the_address_to_come_back_to_is_not_what_a_stranger_calls_us(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    come_back = "redirect_uri=https%3A%2F%2Flicet.example.com%2Fconsole%2Fsign-in%2Foidc%2Fcorp%2Fback"
    assert come_back in visit.get(START, host="evil.example.com").headers["location"]
    monkeypatch.setattr(visit.served.serving, "public_url", None)
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A8181%2F" in visit.get(START).headers["location"]
    for host in ("evil.example.com", "localhost:1@evil.example.com", "localhost.evil.example.com", ""):
        assert "oidc" not in visit.get("/console/sign-in", host=host).content.decode()
        assert_refused(visit, visit.get(START, host=host), "cannot be used now")


def test_a_page_of_somebody_else_begins_nothing(visit: Visit) -> None:
    reply = visit.get(START, **{"sec-fetch-site": "cross-site"})
    assert_refused(visit, reply, "a page of somebody else")
    assert visit.peer.asked == []


def test_a_way_that_is_not_there_is_not_found(visit: Visit) -> None:
    assert visit.get("/console/sign-in/oidc/other").status == visit.get("/console/sign-in/oidc/other/back?state=1").status == 404


def test_the_log_says_why_and_holds_no_secret(visit: Visit, caplog: pytest.LogCaptureFixture) -> None:
    visit.peer.claims = {"nonce": "another"}
    with caplog.at_level(logging.DEBUG):
        back = visit.go()
        visit.get(back)
    assert "nonce" in caplog.text
    state = visit.cookie
    for secret in (SECRET, "code-0", state, visit.peer.tokens[0]["code_verifier"]):
        assert secret not in caplog.text


def test_a_secret_that_is_missing_stops_signing_in(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC_SECRET")
    assert_refused(visit, visit.whole(), "cannot be used now")


def test_where_a_claim_names_the_tenant_the_session_is_for_that_one_alone(make: Callable[..., Visit]) -> None:
    more = 'tenant_claim = "org"\ntenants = {one = "acme", two = "globex"}'
    visit = make(more)
    visit.peer.claims = {"org": "two"}
    assert_refused(visit, visit.whole(), "This account is of nobody here")
    visit.peer.claims = {"org": "one"}
    assert visit.whole().status == 200
    gate = visit.served.gate
    assert [one.tenants for one in list_credentials(gate.store, gate.now()) if one.kind == "session"] == [("acme",)]


def test_the_button_leads_to_the_provider_and_then_back_to_the_page(visit: Visit) -> None:
    shown = visit.get("/console/sign-in?next=/console/inbox").content.decode()
    assert 'href="/console/sign-in/oidc/corp?next=/console/inbox"' in shown
    assert "Sign in with &lt;Corp&gt;" in shown
