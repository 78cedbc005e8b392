"""Getting in and out: a link is good once, a session for its person alone, and neither for anything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from msgspec.structs import replace

from licet.errors import CredentialRefused
from licet.gate.credentials import list_credentials
from licet.gate.signing_in import LINK_S, SESSION_S, has_anybody_signed_in, who_lets_others_in
from licet.identity.api_keys import KeyContent
from licet.model import OPERATOR_LOG
from licet.testing import records
from tests.console.world import SAME, Browser, ConsoleWorld, console_world, cookie_of, text_of
from tests.gate.proof import assert_whole
from tests.world import CONFIG


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world() as made:
        yield made
        assert_whole(made.gate)


def acts(served: ConsoleWorld) -> list[tuple[str, object]]:
    """What the log says of credentials."""
    details = [record.payload.detail for record in records(served.gate, OPERATOR_LOG) if record.kind == "admin" and record.payload.detail]
    return [(one["act"], one.get("content", {}).get("kind") or one.get("reason")) for one in details]


def test_a_link_leads_to_a_page_with_a_button_however_often_it_is_looked_at(served: ConsoleWorld) -> None:
    link = served.link("lena")
    for _ in range(3):
        page = served.get(f"/console/sign-in?link={link}")
        assert page.status == 200
        assert f'value="{link}"' in page.content.decode()
    assert served.use(link).status == 303


def test_a_link_opens_one_session_and_the_log_says_so(served: ConsoleWorld) -> None:
    link = served.link("lena")
    reply = served.use(link)
    assert (reply.status, reply.headers["location"]) == (303, "/console")
    assert reply.headers["set-cookie"].endswith(f"; Max-Age={SESSION_S}; Path=/; Secure; HttpOnly; SameSite=Strict")
    again = served.use(link)
    assert again.status == 403
    assert "this link opens nothing: it was used" in text_of(again)
    assert "set-cookie" not in again.headers
    assert acts(served) == [("issue_credential", "link"), ("issue_credential", "session")]
    assert {(one.kind, one.user, one.state) for one in list_credentials(served.gate.store, served.gate.now())} == {
        ("link", "lena", "ended"),
        ("session", "lena", "active"),
    }


def test_of_many_who_use_a_link_at_one_moment_one_gets_in(served: ConsoleWorld) -> None:
    link = served.link("lena")
    with ThreadPoolExecutor(8) as pool:
        statuses = [reply.status for reply in pool.map(lambda _: served.use(link), range(8))]
    assert sorted(statuses) == [303] + [403] * 7
    assert [kind for _, kind in acts(served)].count("session") == 1


def test_a_link_is_good_for_a_quarter_of_an_hour(served: ConsoleWorld) -> None:
    link = served.link("lena")
    served.world.clock.advance(timedelta(seconds=LINK_S))
    assert served.use(link).status == 403


@pytest.mark.parametrize("change", [lambda link: link[:-1], lambda link: link + "x", lambda link: link[:0], lambda link: link.upper()])
def test_what_is_not_quite_the_link_opens_nothing(served: ConsoleWorld, change: Callable[[str], str]) -> None:
    assert served.use(change(served.link("lena"))).status == 403


def test_a_key_a_session_and_a_link_are_each_for_their_own_use(served: ConsoleWorld) -> None:
    key = served.gate.credentials.issue(KeyContent(name="hers", tenants=("acme",), user="lena"), expires_s=60).key
    session = served.enter("lena").cookie
    link = served.link("lena")
    assert served.use(key).status == served.use(session).status == 403
    for shown in (key, link):
        assert Browser(served, shown).get("/console/inbox").status == 303
    for shown in (session, link):
        assert served.get("/api/v1/whoami", shown).code == "invalid_credential"
    assert served.told.refusals[-4:] == ["wrong_kind"] * 4
    assert served.get("/api/v1/whoami", key).json["user"] == "lena"


def test_who_is_not_signed_in_is_led_to_where_one_signs_in_and_back(served: ConsoleWorld) -> None:
    reply = served.get("/console/inbox?show=all")
    assert (reply.status, reply.headers["location"]) == (303, "/console/sign-in?next=%2Fconsole%2Finbox%3Fshow%3Dall")
    assert served.use(served.link("lena"), next="/console/inbox?show=all").headers["location"] == "/console/inbox?show=all"


@pytest.mark.parametrize(
    "there",
    ["https://evil.example", "//evil.example", "/api/v1/whoami", "/console.evil", "/console\\evil", "/consolé", "/console/\r\nx: y", ""],
)
def test_signing_in_leads_nowhere_else(served: ConsoleWorld, there: str) -> None:
    assert served.use(served.link("lena"), next=there).headers["location"] == "/console"


def test_a_session_ends_with_its_time(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    assert lena.get("/console/inbox").status == 200
    served.world.clock.advance(timedelta(seconds=SESSION_S))
    assert lena.get("/console/inbox").status == 303


def test_signing_out_ends_the_session_wherever_its_cookie_is(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    reply = lena.send("/console/inbox", "/console/sign-out")
    assert (reply.status, reply.headers["location"]) == (303, "/console/sign-in")
    assert "__Host-licet=; Max-Age=0" in reply.headers["set-cookie"]
    assert acts(served)[-1] == ("revoke_credential", "signed out")
    deadline = time.monotonic() + 10
    while lena.get("/console/inbox").status != 303:  # within a second
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nobody_outside_the_directory_is_let_in(served: ConsoleWorld) -> None:
    with pytest.raises(CredentialRefused, match="there is no user `zoe`"):
        served.link("zoe")


def test_a_session_has_no_successor(served: ConsoleWorld) -> None:
    served.enter("lena")
    session = next(one for one in list_credentials(served.gate.store, served.gate.now()) if one.kind == "session")
    with pytest.raises(CredentialRefused, match="is a session, and has no successor: sign in anew") as refused:
        served.gate.credentials.rotate(session.id, overlap_s=0)
    assert refused.value.code == "not_a_key"


def test_who_is_disabled_is_out(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    settings = served.gate.settings
    users = {**settings.users, "lena": replace(settings.users["lena"], disabled=True)}
    served.gate.reload(replace(settings, users=users))
    assert lena.get("/console/inbox").status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"host": SAME["host"]},
        {**SAME, "sec-fetch-site": "cross-site"},
        {**SAME, "sec-fetch-site": "same-site"},
        {**SAME, "origin": "https://evil.example"},
        {**SAME, "origin": "null"},
        {**SAME, "host": "evil.example"},
    ],
)
def test_a_page_of_somebody_else_signs_nobody_in(served: ConsoleWorld, headers: dict[str, str]) -> None:
    link = served.link("lena")
    reply = served.form("/console/sign-in", {"link": link}, headers)
    assert reply.status == 403
    assert "a page of somebody else" in text_of(reply)
    assert cookie_of(served.use(link))


def test_the_first_link_is_for_whoever_may_let_others_in() -> None:
    with console_world() as made:
        assert who_lets_others_in(made.gate.scene) is None
    with console_world(CONFIG.replace("[users.lena]\n", '[users.lena]\nroles = ["licet-admin"]\n')) as made:
        assert who_lets_others_in(made.gate.scene) == "lena"
        assert not has_anybody_signed_in(made.gate.store, made.gate.now())
        made.link("lena")
        assert has_anybody_signed_in(made.gate.store, made.gate.now())
        made.world.clock.advance(timedelta(seconds=LINK_S))
        assert not has_anybody_signed_in(made.gate.store, made.gate.now()), "nobody has, and a new server prints a link again"
