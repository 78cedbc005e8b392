"""Passkeys: added by whoever has just signed in, good for signing in, and for their person alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from licet.console.challenges import LIFE_S
from licet.gate.credentials import list_credentials
from licet.gate.passkeys import FRESH_S, PASSKEYS_LIMIT
from licet.gate.plans import PlannedCall
from licet.gate.results import Ok
from licet.identity.api_keys import KeyContent
from licet.ledger.passkeys import challenge_of, vote_digest
from licet.model import OPERATOR_LOG
from licet.testing import records
from tests.console.authenticator import PRESENT, Authenticator, Kind
from tests.console.world import HOST, SAME, Browser, ConsoleWorld, console_world, cookie_of, text_of
from tests.gate.proof import assert_whole
from tests.server.world import Reply
from tests.world import CONFIG


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world() as made:
        yield made
        assert_whole(made.gate)


def asked_of(browser: Browser) -> str:
    reply = browser.send("/console/you", "/console/you/passkeys/challenge")
    assert reply.status == 200, reply.json
    return str(reply.json["challenge"])


def add(browser: Browser, made: Authenticator, name: str = "Laptop", **more: Any) -> Reply:
    return browser.send("/console/you", "/console/you/passkeys", {**made.register(asked_of(browser), **more), "name": name})


def begin(served: ConsoleWorld) -> tuple[str, str]:
    """A challenge to sign in by, and the cookie of the browser that has asked for it."""
    reply = served.form("/console/passkeys/challenge", {})
    assert reply.status == 200
    assert reply.json["rp_id"] == HOST
    cookie = reply.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith("__Host-licet-challenge=")
    return reply.json["challenge"], cookie


def enter(served: ConsoleWorld, made: Authenticator, asked: tuple[str, str] | None = None, **more: Any) -> Reply:
    challenge, cookie = begin(served) if asked is None else asked
    fields = {"challenge": challenge, **made.answer(challenge, **more), "next": "/console/you"}
    return served.form("/console/passkeys/sign-in", fields, {**SAME, "cookie": cookie})


def kinds(served: ConsoleWorld, user: str = "lena") -> list[tuple[str, str]]:
    found = list_credentials(served.gate.store, served.gate.now())
    return [(one.kind, one.state) for one in found if one.user == user and one.kind != "link"]


def session_in(reply: Reply) -> str:
    assert reply.status == 200, reply.content
    return cookie_of(reply)


@pytest.mark.parametrize("kind", ["es256", "eddsa", "rs256"])
def test_a_passkey_lets_its_person_in(served: ConsoleWorld, kind: Kind) -> None:
    made = Authenticator(kind)
    assert add(served.enter("lena"), made).json == {"next": "/console/you"}
    reply = enter(served, made)
    assert reply.json == {"next": "/console/you"}
    text = text_of(Browser(served, session_in(reply)).get("/console/you"))
    assert "You lena Passkeys" in text
    assert "Laptop" in text


def test_adding_and_signing_in_are_records_with_the_public_key_and_with_what_they_were_done(served: ConsoleWorld) -> None:
    made = Authenticator()
    add(served.enter("lena"), made)
    enter(served, made)
    details = [record.payload.detail or {} for record in records(served.gate, OPERATOR_LOG) if record.kind == "admin"]
    added = next(one for one in details if one["content"]["kind"] == "passkey")
    first, later = [one for one in details if one["content"]["kind"] == "session"]
    passkey = made.register("")["id"]
    assert (added["content"]["passkey"]["id"], added["content"]["passkey"]["origin"]) == (passkey, f"https://{HOST}")
    assert (added["by"], added["shown"], added["expires_at"]) == ("lena", first["credential"], None)
    assert later["content"]["signed_in_by"] == f"passkey {added['credential']}"


def test_a_session_of_a_while_ago_adds_no_passkey(served: ConsoleWorld) -> None:
    lena, made = served.enter("lena"), Authenticator()
    fields = made.register(asked_of(lena))
    served.world.clock.advance(timedelta(seconds=LIFE_S - 1))
    assert "Add a passkey" in text_of(lena.get("/console/you"))
    served.world.clock.advance(timedelta(seconds=FRESH_S - LIFE_S + 2))
    text = text_of(lena.get("/console/you"))
    assert "Add a passkey" not in text
    assert "Sign in again" in text
    for path, sent in (("/console/you/passkeys/challenge", {}), ("/console/you/passkeys", fields)):
        reply = lena.send("/console/you", path, sent)
        assert (reply.status, "passkey" in [kind for kind, _ in kinds(served)]) == (403, False)


def test_a_challenge_to_add_is_of_its_session(served: ConsoleWorld) -> None:
    lena, other, dana = served.enter("lena"), served.enter("lena"), served.enter("dana")
    fields = Authenticator().register(asked_of(lena))
    for browser in (other, dana):
        assert browser.send("/console/you", "/console/you/passkeys", fields).json == {"refused": "Too much time has passed: try again."}
    challenge, _ = begin(served)  # and one to sign in is not one to add
    assert lena.send("/console/you", "/console/you/passkeys", Authenticator().register(challenge)).status == 403
    assert "passkey" not in [kind for kind, _ in kinds(served)]


def test_a_passkey_is_added_once_and_to_one_person(served: ConsoleWorld) -> None:
    made = Authenticator()
    assert add(served.enter("lena"), made).status == 200
    for user in ("lena", "dana"):
        assert add(served.enter(user), made).status == 403
    assert [kind for kind, _ in kinds(served)].count("passkey") == 1
    assert "passkey" not in [kind for kind, _ in kinds(served, "dana")]


@pytest.mark.parametrize(
    "more", [{"flags": PRESENT}, {"origin": "https://evil.example"}, {"origin": f"http://{HOST}"}, {"origin": f"https://{HOST}:8443"}]
)
def test_what_was_not_made_here_by_somebody_verified_is_not_added(served: ConsoleWorld, more: dict[str, Any]) -> None:
    assert add(served.enter("lena"), Authenticator(), **more).status == 403
    assert add(served.enter("lena"), Authenticator(rp_id="evil.example")).status == 403
    assert "passkey" not in [kind for kind, _ in kinds(served)]


def test_an_answer_opens_one_session(served: ConsoleWorld) -> None:
    made = Authenticator()
    add(served.enter("lena"), made)
    asked = begin(served)
    assert enter(served, made, asked).status == 200
    again = enter(served, made, asked)
    assert again.status == 403
    assert "__Host-licet=" not in again.headers.get("set-cookie", "")
    assert [kind for kind, _ in kinds(served)].count("session") == 2


def test_a_challenge_is_of_one_browser_and_of_five_minutes(served: ConsoleWorld) -> None:
    made = Authenticator()
    add(served.enter("lena"), made)
    (challenge, mine), (_, theirs) = begin(served), begin(served)
    for cookie in (theirs, "", "__Host-licet-challenge="):
        assert enter(served, made, (challenge, cookie)).status == 403
    served.world.clock.advance(timedelta(seconds=LIFE_S))
    assert enter(served, made, (challenge, mine)).status == 403
    for own in ("", "AA", "A" * 64, challenge[:-1], challenge + "A", "=" * 8, "ä"):
        assert enter(served, made, (own, mine)).status in {400, 403}
    assert [kind for kind, _ in kinds(served)].count("session") == 1


@pytest.mark.parametrize("more", [{"flags": PRESENT}, {"flags": 0}, {"origin": "https://evil.example"}, {"kind": "webauthn.create"}])
def test_an_answer_that_does_not_show_who_was_here_opens_nothing(served: ConsoleWorld, more: dict[str, Any]) -> None:
    made = Authenticator()
    add(served.enter("lena"), made)
    assert enter(served, made, **more).status == 403


def test_another_key_under_the_id_of_a_passkey_opens_nothing(served: ConsoleWorld) -> None:
    made, forged = Authenticator(), Authenticator()
    add(served.enter("lena"), made)
    forged.id = made.id
    assert enter(served, forged).status == 403
    assert enter(served, Authenticator()).status == 403


def test_who_removes_a_passkey_does_not_get_in_by_it(served: ConsoleWorld) -> None:
    lena, dana, made = served.enter("lena"), served.enter("dana"), Authenticator()
    add(lena, made)
    mine = next(one.id for one in list_credentials(served.gate.store, served.gate.now()) if one.kind == "passkey")
    assert dana.send("/console/you", f"/console/you/passkeys/{mine}/remove").status == 404
    assert lena.send("/console/you", f"/console/you/sessions/{mine}/end").status == 404
    assert enter(served, made).status == 200
    assert lena.send("/console/you", f"/console/you/passkeys/{mine}/remove").status == 303
    assert enter(served, made).status == 403
    assert ("passkey", "ended") in kinds(served)
    assert add(served.enter("lena"), made).status == 403  # what was taken away comes back under another key only


def test_a_passkey_ends_with_its_persons_place_in_the_directory(served: ConsoleWorld) -> None:
    made = Authenticator()
    add(served.enter("carl"), made)
    assert enter(served, made).status == 200
    settings = served.gate.settings
    served.gate.reload(replace(settings, users={**settings.users, "carl": replace(settings.users["carl"], disabled=True)}))
    assert enter(served, made).status == 403


def test_another_session_of_ones_own_can_be_ended(served: ConsoleWorld) -> None:
    here, there, dana = served.enter("lena"), served.enter("lena"), served.enter("dana")
    page = here.get("/console/you").content.decode()
    other = page.partition("/console/you/sessions/")[2].partition("/")[0]
    assert dana.send("/console/you", f"/console/you/sessions/{other}/end").status == 404
    assert here.send("/console/you", f"/console/you/sessions/{other}/end").status == 303
    deadline = time.monotonic() + 10
    while there.get("/console/you").status != 303:  # within a second
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert here.get("/console/you").status == 200


def test_forms_of_passkeys_need_their_token_and_their_origin(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    for path in (
        "/console/you/passkeys/challenge",
        "/console/you/passkeys",
        "/console/you/passkeys/x/remove",
        "/console/you/sessions/x/end",
    ):
        assert lena.post(path, {}).status == 403
    for path in ("/console/passkeys/challenge", "/console/passkeys/sign-in"):
        assert served.form(path, {}, {"host": HOST, "origin": "https://evil.example"}).status == 403


def test_a_name_is_shown_as_it_is_written(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    add(lena, Authenticator(), name='"><img src=x onerror=alert(1)>')
    page = lena.get("/console/you").content.decode()
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_nobody_has_any_number_of_passkeys(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    for _ in range(PASSKEYS_LIMIT):
        assert add(lena, Authenticator()).status == 200
    reply = add(lena, Authenticator())
    assert reply.status == 403
    assert "at most" in reply.json["refused"]


def test_a_passkey_is_no_session_and_no_link(served: ConsoleWorld) -> None:
    made = Authenticator()
    add(served.enter("lena"), made)
    content = KeyContent(name="x", tenants=("*",), user="lena", kind="passkey")
    key = served.gate.credentials.issue(content, expires_s=None).key
    assert Browser(served, key).get("/console/you").status == 303
    assert served.use(key).status == 403


# votes


@pytest.fixture
def risky() -> Iterator[ConsoleWorld]:
    with console_world(CONFIG + 'passkey_for = ["money"]\n') as made:
        yield made
        assert_whole(made.gate)


def sign(browser: Browser, page: str, made: Authenticator, verdict: str = "approve", comment: str = "", **more: str) -> str:
    """What the script of the page signs, of what the page says."""
    shown = browser.get(page).content.decode()
    facts = [dict(re.findall(r'(data-[a-z-]+|value)="([^"]*)"', tag)) for tag in re.findall(r"<[^>]* data-votes-on=[^>]*>", shown)]
    voter = re.findall(r'data-voter="([^"]*)"', shown)[0]
    bindings = [one.get("value") or re.findall(rf'value="{verdict}\.([0-9a-f]{{64}})"', shown)[at] for at, one in enumerate(facts)]
    digests = [
        vote_digest(
            log=one["data-log"],
            request=one["data-votes-on"],
            binding=binding,
            verdict=verdict,
            voter=more.get("voter", voter),
            number=int(one["data-number"]),
            comment=comment,
        )
        for one, binding in zip(facts, bindings, strict=True)
    ]
    return json.dumps(made.answer(challenge_of(digests)))


def held(served: ConsoleWorld) -> str:
    request = served.world.held().request
    assert request is not None
    return f"/console/inbox/{request}"


def cast(browser: Browser, page: str, assertion: str, verdict: str = "approve", comment: str = "") -> Reply:
    binding = browser.get(page).content.decode().partition('name="binding" value="')[2][:64]
    fields = {"binding": binding, "verdict": verdict, "comment": comment, "assertion": assertion}
    return browser.send(page, f"{page}/vote", fields)


def test_an_approval_of_what_is_risky_is_signed_on_the_page(risky: ConsoleWorld) -> None:
    lena, made, page = risky.enter("lena"), Authenticator(), held(risky)
    shown = text_of(lena.get(page))
    assert "you have none that is good here: add one . Rejecting takes none." in shown
    add(lena, made)
    assert "Approving takes your passkey, and JavaScript. Rejecting takes neither." in text_of(lena.get(page))
    refused = cast(lena, page, "")
    assert refused.status == 403
    assert "is signed with a passkey: approve it in the console" in text_of(refused)
    assert cast(lena, page, sign(lena, page, made, comment="ok"), comment=" ok ").status == 303
    assert isinstance(risky.world.adjust(50_000), Ok)


def test_what_was_signed_for_another_vote_is_refused_on_the_page(risky: ConsoleWorld) -> None:
    lena, made, page = risky.enter("lena"), Authenticator(), held(risky)
    add(lena, made)
    for assertion, comment in (
        (sign(lena, page, made, verdict="reject"), ""),
        (sign(lena, page, made, voter="dana"), ""),
        (sign(lena, page, made), "another"),
        ("{", ""),
        ("[]", ""),
        ('{"id": 1}', ""),
    ):
        assert cast(lena, page, assertion, comment=comment).status in {400, 422}
    assert risky.world.kinds().count("vote") == 0


def test_a_rejection_on_the_page_takes_none(risky: ConsoleWorld) -> None:
    lena, page = risky.enter("lena"), held(risky)
    assert cast(lena, page, "", "reject").status == 303


def test_the_api_says_where_to_approve(risky: ConsoleWorld) -> None:
    request = held(risky).rpartition("/")[2]
    content = KeyContent(name="lena's", tenants=("acme",), user="lena")
    key = risky.gate.credentials.issue(content, expires_s=None).key
    binding = risky.get(f"/api/v1/requests/{request}", who=key).json["binding"]
    reply = risky.post(f"/api/v1/requests/{request}/votes", key, {"verdict": "approve", "binding": binding})
    assert (reply.status, reply.code) == (403, "passkey_needed")
    body = {"verdict": "approve", "binding": binding, "assertion": "{}"}
    assert risky.post(f"/api/v1/requests/{request}/votes", key, body).status == 400


def test_the_steps_of_a_plan_are_signed_together(risky: ConsoleWorld) -> None:
    lena, made = risky.enter("lena"), Authenticator()
    add(lena, made)
    calls = [PlannedCall("billing.adjust", {"customer_id": "C-1", "amount_cents": cents}) for cents in (50_000, 60_000)]
    with risky.world.alice():
        found = risky.gate.plan(calls)
    page = f"/console/inbox/plans/{found.plan}"
    shown = lena.get(page).content.decode()
    bindings = re.findall(r'value="approve\.([0-9a-f]{64})"', shown)
    assert len(bindings) == 2
    fields = {f"step_{at}": f"approve.{binding}" for at, binding in enumerate(bindings, 1)}
    assert lena.send(page, f"{page}/vote", fields).status == 403
    one_alone = {"step_1": fields["step_1"], "assertion": sign(lena, page, made)}
    assert lena.send(page, f"{page}/vote", one_alone).status == 422  # both were signed
    assert lena.send(page, f"{page}/vote", {**fields, "assertion": sign(lena, page, made)}).status == 303
    votes = [record.payload.detail["vote"] for record in risky.world.records() if record.kind == "vote" and record.payload.detail]
    assert [len(vote["assertion"]["votes"]) for vote in votes] == [2, 2]
    assert found.plan is not None
    assert {one.request.state for one in risky.gate.approvals.plan(found.plan)} == {"approved"}


def test_what_is_not_risky_shows_nothing_of_passkeys(served: ConsoleWorld) -> None:
    page = served.enter("lena").get(held(served)).content.decode()
    assert 'data-passkey="vote"' not in page
    assert "asskey" not in text_of(served.enter("lena").get(held(served)))
