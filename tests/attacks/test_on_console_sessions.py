"""Attacks on how a browser is known: its cookie, its forms, and where it is led to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from threading import Barrier, Thread
from urllib.parse import urlencode, urljoin, urlsplit

import pytest
from msgspec.structs import replace

from licet.console.pages import PAGES
from licet.errors import NotAuthenticated
from licet.gate.credentials import list_credentials
from licet.identity.api_keys import KeyContent
from tests.attacks.console_site import attacked
from tests.console.world import HOST, SAME, Browser, ConsoleWorld, cookie_of, text_of
from tests.gate.proof import assert_whole
from tests.server.world import Reply

THEME = "/console/theme"
FORM = "application/x-www-form-urlencoded"
ELSEWHERE = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "/%2f%2fevil.example",
    "%2f%2fevil.example",
    "https://evil.example/console",
    f"https://{HOST}@evil.example/console",
    "javascript:alert(1)",
    "/\tjavascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "/console/../..//evil.example",
    "/console/%2e%2E/api/v1/records",
    "/console/./.././evil",
    "/consolex",
    "/console@evil.example",
    "/console\r\nSet-Cookie: a=b",
    "/console\u0000",
    "/console/\u202emoc",
    "//evil.example/console/",
    "\\\\evil.example",
    " /console",
    "",
)


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with attacked() as made:
        yield made
        assert_whole(made.gate)


def asked(served: ConsoleWorld, cookies: list[str], path: str = "/console/you") -> Reply:
    return served.request("GET", path, headers=[("host", HOST), *[("cookie", one) for one in cookies]])


def token_of(browser: Browser) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', browser.get("/console/inbox").content.decode())
    assert found is not None
    return found[1]


def send(served: ConsoleWorld, browser: Browser, raw: bytes, headers: Mapping[str, str] | None = None, path: str = THEME) -> Reply:
    sent = {**SAME, "cookie": f"__Host-licet={browser.cookie}", "content-type": FORM, **(headers or {})}
    return served.request("POST", path, raw=raw, headers=sent)


def sessions(served: ConsoleWorld, user: str = "rita") -> list[str]:
    return [one.state for one in list_credentials(served.gate.store, served.gate.now()) if one.kind == "session" and one.user == user]


def test_what_is_not_exactly_one_session_in_one_cookie_is_nobodys(served: ConsoleWorld) -> None:
    session, other = served.enter("rita").cookie, served.enter("otto").cookie
    issue = served.gate.credentials.issue
    key = issue(KeyContent(name="rita's", tenants=("acme",), user="rita", roles=("licet-admin",)), expires_s=None).key
    mine = f"__Host-licet={session}"
    assert asked(served, [mine]).status == 200
    for cookies in (
        [f"{mine}; {mine}"],
        [f"{mine}; __Host-licet={other}"],
        [f"__Host-licet={other}", mine],
        [mine, mine],
        [mine, "a=b"],
        [f"__Host-licet={key}"],
        [f"__Host-licet={served.link('rita')}"],
        [f"licet={session}"],
        [f"__host-licet={session}"],
        [f"__Host-licet-={session}"],
        [f"__Secure-licet={session}"],
        [f"__Host-licet={session}x"],
        [f"__Host-licet={session[:-1]}"],
        [f"__Host-licet={session.swapcase()}"],
        [f'__Host-licet="{session}"'],
        ["__Host-licet=ä\xff"],
        ["__Host-licet=" + "A" * 60_000],
        ["; ; =; __Host-licet"],
    ):
        reply = asked(served, cookies)
        assert (reply.status, reply.headers["location"].partition("?")[0]) == (303, "/console/sign-in"), cookies
    assert asked(served, [mine]).status == 200


def test_a_cookie_that_somebody_else_has_set_never_becomes_a_session(served: ConsoleWorld) -> None:
    fixed = served.link("otto")
    for cookie in (fixed, "a" * 71, served.enter("otto").cookie):
        reply = served.form("/console/sign-in", {"link": served.link("rita")}, {**SAME, "cookie": f"__Host-licet={cookie}"})
        given = cookie_of(reply)
        assert given != cookie
        assert "You rita" in text_of(asked(served, [f"__Host-licet={given}"]))
    assert asked(served, [f"__Host-licet={fixed}"]).status == 303


def test_a_session_is_no_bearer_at_any_other_door(served: ConsoleWorld) -> None:
    rita = served.enter("rita")
    for headers in (
        {"authorization": f"Bearer {rita.cookie}"},
        {"authorization": f"bearer {rita.cookie}"},
        {"authorization": f"Basic {rita.cookie}"},
        {"cookie": f"__Host-licet={rita.cookie}"},
        {"cookie": f"authorization=Bearer {rita.cookie}"},
        {"x-api-key": rita.cookie},
    ):
        for path in ("/api/v1/requests", "/api/v1/whoami", "/api/v1/records", "/api/v1/credentials"):
            assert served.get(path, headers=headers).status == 401, (headers, path)
        assert served.get("/console/you", headers={"host": HOST, **headers}).status == (
            200 if "__Host" in headers.get("cookie", "") else 303
        )
    for resource in (None, "https://licet.example.com/mcp", "https://licet.example.com/mcp/crm"):  # that of a gateway
        with pytest.raises(NotAuthenticated):
            asyncio.run_coroutine_threadsafe(
                served.api.authenticate(f"Bearer {rita.cookie}", None, "192.0.2.1", resource), served._loop
            ).result(60)


def test_a_link_lets_in_once_however_many_browsers_press_at_one_moment(served: ConsoleWorld) -> None:
    link, together, found = served.link("rita"), Barrier(8), list[int]()

    def press() -> None:
        together.wait()
        found.append(served.use(link).status)

    threads = [Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [303] + [403] * 7
    assert sessions(served) == ["active"]


def test_a_link_of_somebody_else_does_nothing_to_whoever_is_signed_in_until_they_press(served: ConsoleWorld) -> None:
    rita, link = served.enter("rita"), served.link("otto")
    mine = {"host": HOST, "cookie": f"__Host-licet={rita.cookie}"}
    for _ in range(3):  # looked at, by whatever follows links
        assert "set-cookie" not in served.get(f"/console/sign-in?link={link}", headers=mine).headers
    for headers in (
        {**mine, "origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {**mine, "sec-fetch-site": "none"},
        {**mine, "sec-fetch-site": "same-site", "origin": f"https://{HOST}"},
        mine,
    ):
        assert served.form("/console/sign-in", {"link": link}, headers).status == 403
    assert "You rita" in text_of(rita.get("/console/you"))
    assert sessions(served, "otto") == []


def test_a_session_has_the_permissions_of_now(served: ConsoleWorld) -> None:
    rita, lena = served.enter("rita"), served.enter("lena")
    request = served.world.held().request
    assert [rita.get(path).status for path in ("/console/audit", "/console/freezes/place", "/console/policies")] == [200, 200, 200]
    assert lena.get(f"/console/inbox/{request}").status == 200
    settings = served.gate.settings
    users = {**settings.users, "rita": replace(settings.users["rita"], roles=())}
    groups = {**settings.groups, "billing-leads": replace(settings.groups["billing-leads"], members=("alice", "gina"))}
    served.gate.reload(replace(settings, users=users, groups=groups))
    assert [rita.get(path).status for path in ("/console/audit", "/console/freezes/place", "/console/policies")] == [403, 403, 403]
    assert rita.get("/console/you").status == 200
    assert lena.get(f"/console/inbox/{request}").status == 404
    page = lena.get("/console/you").content.decode()
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)
    assert found is not None
    fields = {"form_token": found[1], "binding": "0" * 64, "verdict": "approve"}
    assert lena.post(f"/console/inbox/{request}/vote", fields).status in {403, 404}
    served.gate.reload(replace(settings, users={**users, "rita": replace(users["rita"], tenants=("globex",), roles=("licet-auditor",))}))
    assert rita.get("/console/audit?tenant=acme").status == 404
    served.gate.reload(replace(settings, users={**users, "rita": replace(users["rita"], disabled=True)}))
    assert rita.get("/console/you").status == 303
    assert "vote" not in served.world.kinds()


def test_nobody_is_signed_out_from_elsewhere_or_by_looking(served: ConsoleWorld) -> None:
    rita = served.enter("rita")
    mine = {"host": HOST, "cookie": f"__Host-licet={rita.cookie}"}
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert served.request(method, "/console/sign-out", headers=mine).status == 405
    raw = urlencode({"form_token": token_of(rita)}).encode()
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert send(served, rita, raw, headers, "/console/sign-out").status == 403
    assert sessions(served) == ["active"]
    assert send(served, rita, raw, path="/console/sign-out").status == 303
    assert sessions(served) == ["ended"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"origin": ""},
        {"origin": "null", "host": ""},
        {"origin": "", "host": ""},
        {"origin": "https://["},
        {"origin": f"https://{HOST}]"},
        {"origin": f"http://{HOST}"},
        {"origin": f"https://{HOST}:8443"},
        {"origin": f"https://{HOST}."},
        {"origin": f"https://{HOST}.evil.example"},
        {"origin": f"https://evil.example/{HOST}"},
        {"origin": f"https://a@{HOST}"},
        {"origin": f"https://{HOST}, https://evil.example"},
        {"origin": "https://évil"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": ""},
        {"sec-fetch-site": "same-origin, cross-site"},
    ],
    ids=str,
)
def test_a_form_of_another_origin_is_refused_however_it_says_so(served: ConsoleWorld, headers: dict[str, str]) -> None:
    rita = served.enter("rita")
    raw = urlencode({"form_token": token_of(rita), "theme": "dark"}).encode()
    assert send(served, rita, raw).status == 303
    assert send(served, rita, raw, headers).status == 403
    signing_in = {**SAME, "content-type": FORM, **headers}
    assert (
        served.request("POST", "/console/sign-in", raw=urlencode({"link": served.link("otto")}).encode(), headers=signing_in).status == 403
    )
    assert sessions(served, "otto") == []


def test_a_form_that_could_mean_two_things_does_neither(served: ConsoleWorld) -> None:
    rita = served.enter("rita")
    token = token_of(rita)
    own = f"form_token={token}"
    for raw, headers in (
        (f"{own}&theme=dark&theme=light", {}),
        (f"{own}&form_token={'0' * 64}&theme=dark", {}),
        (f"form_token={'0' * 64}&{own}&theme=dark", {}),
        (f"form_token%5B%5D={token}&theme=dark", {}),
        (f"{own}&theme=dark&_method=DELETE", {}),
        (f"{own};theme=dark", {}),
        (f"{own}&theme", {}),
        (f"{own}&theme=dark%00", {}),
        (f"{own}&theme=%ff", {}),
        (f"{own}&theme=%ED%A0%80", {}),
        (f"{own}&theme=dark&next={'a' * 3_000}", {}),
        ("form_token=%C3%A4&theme=dark", {}),
        (f"form_token={token.upper()}&theme=dark", {}),
        (f"form_token={token}%20&theme=dark", {}),
        (f"{own}&theme=dark", {"content-type": "text/plain"}),
        (f"{own}&theme=dark", {"content-type": ""}),
        (f"{own}&theme=dark", {"content-type": f"multipart/form-data; a={FORM}"}),
        (f"{own}&theme=dark", {"content-type": "application/json"}),
        ("&".join([own, "theme=dark", *[f"a{number}=1" for number in range(300)]]), {}),
    ):
        reply = send(served, rita, raw.encode(), headers)
        assert reply.status in {400, 403, 415}, (raw[:80], reply.status)
        assert "set-cookie" not in reply.headers
    assert send(served, rita, b"form_token=\xff\xfe&theme=dark").status == 400
    assert send(served, rita, b"form_token=" + b"A" * 2_000_000).status == 413
    overridden = send(served, rita, f"{own}&theme=dark".encode(), {"x-http-method-override": "DELETE", "x-method-override": "GET"})
    assert overridden.status == 303


def test_parameters_that_could_mean_two_things_are_refused(served: ConsoleWorld) -> None:
    rita = served.enter("rita")
    for query in (
        "tenant=acme&tenant=globex",
        "range=all&range=24h",
        "tenant=acme&TENANT=globex",
        "cursor=%00",
        "text=%ff",
        "text=%ED%A0%80",
        "a",
    ):
        for path in ("/console/audit", "/console/audit/export", "/console/audit/tail"):
            assert rita.get(f"{path}?{query}").status == 400, query


@pytest.mark.parametrize("there", ELSEWHERE, ids=ascii)
def test_nobody_is_led_out_of_the_console(served: ConsoleWorld, there: str) -> None:
    rita = served.enter("rita")
    token = token_of(rita)
    led = [
        served.form("/console/sign-in", {"link": served.link("rita"), "next": there}),
        send(served, rita, urlencode({"form_token": token, "theme": "dark", "next": there}).encode()),
        send(served, rita, urlencode({"form_token": token, "tenant": "acme", "next": there}).encode(), path="/console/place"),
        send(served, rita, urlencode({"form_token": token, "name": "a", "query": there}).encode(), path="/console/audit/views"),
        rita.get("/console/trace?" + urlencode({"name": there})),
    ]
    for reply in led:
        if reply.status == 400:  # what no parameter may hold
            continue
        assert reply.status == 303
        assert reply.headers["location"].isprintable()
        found = urlsplit(urljoin(f"https://{HOST}/console/sign-in", reply.headers["location"]))
        assert (found.scheme, found.netloc) == ("https", HOST), reply.headers["location"]
        assert found.path == "/console" or found.path.startswith("/console/"), reply.headers["location"]
        assert "%2e" not in found.path.lower()
    shown = served.get("/console/sign-in?" + urlencode({"next": there}), headers={"host": HOST})
    if shown.status == 200:
        hidden = re.findall(r'name="next" value="([^"]*)"', shown.content.decode())
        assert hidden != []
        assert set(hidden) == {"/console"}


def test_who_is_not_signed_in_is_led_to_no_page_that_a_header_names(served: ConsoleWorld) -> None:
    for shown in ("//evil.example/console", "https://evil.example/console/inbox", "javascript:alert(1)", "https://[", "https://x/\xff"):
        headers = {"host": HOST, "hx-request": "true", "hx-current-url": shown}
        reply = served.get("/console/inbox", headers=headers)
        assert (reply.status, reply.content) == (401, b"")
        assert reply.headers["hx-redirect"].startswith("/console/sign-in?next=")
        assert "evil" not in reply.headers["hx-redirect"]


def test_what_a_browser_keeps_of_ours_breaks_no_page_when_somebody_writes_it(served: ConsoleWorld) -> None:
    rita = served.enter("rita")
    mine = f"__Host-licet={rita.cookie}"
    deep = "W3sibmFtZSI6ImEiLCJxdWVyeSI6IiIsIngiOlt" + "bW1tb" * 600  # [{"name":"a","query":"","x":[[[[...
    names = ("__Host-licet-views", "__Host-licet-theme", "__Host-licet-place", "__Host-licet-challenge", "__Host-licet-provider")
    for name in names:
        for value in (deep, "A" * 20_000, "ä\xff", "%00", '"><script>', "acme", "globex", "operator", "=", "e30", "W10", "bnVsbA"):
            for path in ("/console/audit", "/console/overview", "/console/inbox"):
                reply = asked(served, [f"{mine}; {name}={value}"], path)
                assert reply.status == 200, (name, value[:20])
                assert b'"><script>' not in reply.content


def test_no_page_takes_what_was_not_asked_for_as_a_parameter(served: ConsoleWorld) -> None:
    """A parameter of another page, or of another version, is refused before anything is looked at."""
    rita = served.enter("rita")
    before = served.world.kinds(), served.world.kinds("operator")
    for endpoint in PAGES:
        if endpoint.method == "GET" and not endpoint.public:
            path = re.sub(r"\{\w+\}", "0", endpoint.path)
            assert rita.get(f"{path}?__proto__=1").status in {400, 404}, endpoint.path
    assert (served.world.kinds(), served.world.kinds("operator")) == before
