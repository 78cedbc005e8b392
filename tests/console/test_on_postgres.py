"""Two servers on one database in PostgreSQL: whoever is signed in at one is so at the other, and what is done at one is so at the other.

That each page does on PostgreSQL what it does elsewhere is shown by its own tests, all of which run there as well (conftest.py).
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from licet.console import oidc
from licet.gate.credentials import list_credentials
from licet.gate.gate import utc_now
from licet.gate.results import Denied, Held, Ok
from licet.identity.provider import Providers
from licet.ledger.verify_lines import verify_proof_lines
from licet.model import RequestId, RequestState
from licet.store.postgres import PostgresStore
from licet.testing import Clock
from tests.console.authenticator import Authenticator
from tests.console.pair import Pair, pair_on
from tests.console.provider import SECRET, provider
from tests.console.subjects import at, look_up, sentences
from tests.console.test_audit import count, wait_for
from tests.console.test_inbox import cast
from tests.console.test_inbox_plan import bindings, planned, states
from tests.console.test_inventory import thing
from tests.console.test_live import listening
from tests.console.test_oidc import ISSUERS, LOGINS, Visit
from tests.console.test_passkeys import add, asked_of, begin, enter
from tests.console.test_subject_undo import path as undo_of
from tests.console.test_subject_undo import propose
from tests.console.world import Browser, cookie_of, text_of
from tests.gate.test_undo import done
from tests.gate.unseen import add_payments, lost
from tests.server.world import Reply
from tests.store.postgres import Server, remove_server, start_server
from tests.world import CONFIG

pytestmark = pytest.mark.heavy
PATIENTLY_S = 30.0
"""What is promised is two seconds; whether it comes at all is asked here."""


@pytest.fixture
def two(postgres_url: str, tmp_path: Path) -> Iterator[Pair]:
    with pair_on(tmp_path, postgres_url, more=lambda world: add_payments(world.gate)) as made:
        assert isinstance(made.here.gate.store, PostgresStore)
        assert made.here.gate.store is not made.there.gate.store
        yield made


def held(two: Pair, amount_cents: int = 50_000) -> RequestId:
    request = two.here.world.held(amount_cents).request
    assert request is not None
    return request


def state(two: Pair, request: RequestId) -> RequestState:
    return two.there.gate.store.get_request(request).state


def soon(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENTLY_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def at_once(*acts: Callable[[], Reply]) -> list[Reply]:
    """What is answered to all of these, which are asked at one moment."""
    with ThreadPoolExecutor(len(acts)) as pool:
        return [one.result() for one in [pool.submit(act) for act in acts]]


def sessions(two: Pair) -> int:
    found = list_credentials(two.here.gate.store, two.here.gate.now())
    return sum(one.kind == "session" for one in found)


# who is signed in


def test_a_session_of_one_is_good_at_the_other_and_ends_at_both(two: Pair) -> None:
    lena = two.here.enter("lena")
    beside = two.beside(lena)
    assert beside.get("/console/inbox").status == 200, "at once, and not when somebody has looked again"
    assert "You lena" in text_of(beside.get("/console/you"))
    assert beside.send("/console/inbox", "/console/sign-out").status == 303
    soon(lambda: beside.get("/console/inbox").status == 303)
    soon(lambda: lena.get("/console/inbox").status == 303)


def test_a_session_that_is_ended_from_another_one_is_refused_everywhere(two: Pair) -> None:
    stolen, lena = two.there.enter("lena"), two.here.enter("lena")
    (there,) = re.findall(r'action="(/console/you/sessions/[^"]+/end)"', lena.get("/console/you").content.decode())
    assert lena.send("/console/you", there).status == 303
    soon(lambda: stolen.get("/console/inbox").status == 303)
    assert lena.get("/console/inbox").status == 200


def test_a_link_that_is_used_at_both_at_one_moment_opens_one_session(two: Pair) -> None:
    for _ in range(5):
        before, link = sessions(two), two.here.link("lena")
        replies = at_once(*[partial(one.use, link) for one in (*two, *two)])
        assert sorted(reply.status for reply in replies) == [303, 403, 403, 403]
        assert all("was used" in text_of(reply) for reply in replies if reply.status == 403)
        assert sessions(two) == before + 1


def test_a_form_of_a_page_of_one_is_taken_by_the_other(two: Pair) -> None:
    request = held(two)
    lena = two.here.enter("lena")
    page = lena.get(f"/console/inbox/{request}").content.decode()
    token, binding = [re.findall(rf'name="{name}" value="([0-9a-f]{{64}})"', page)[0] for name in ("form_token", "binding")]
    vote = {"form_token": token, "binding": binding, "verdict": "approve", "comment": ""}
    assert two.beside(lena).post(f"/console/inbox/{request}/vote", vote).status == 303
    assert "You approved it." in text_of(lena.get(f"/console/inbox/{request}"))


def test_a_passkey_is_begun_at_one_and_added_at_the_other_and_lets_in_at_both(two: Pair) -> None:
    lena, made = two.here.enter("lena"), Authenticator()
    fields = {**made.register(asked_of(lena)), "name": "Laptop"}
    assert two.beside(lena).send("/console/you", "/console/you/passkeys", fields).status == 200
    for begun, ended in (two, reversed(two)):
        reply = enter(ended, made, begin(begun))
        assert reply.status == 200, reply.content
        assert Browser(begun, cookie_of(reply)).get("/console/inbox").status == 200


def test_a_passkey_challenge_that_is_answered_at_both_opens_one_session(two: Pair) -> None:
    made = Authenticator()
    add(two.here.enter("lena"), made)
    before, asked = sessions(two), begin(two.here)
    replies = at_once(*[partial(enter, one, made, asked) for one in (*two, *two)])
    assert sorted(reply.status for reply in replies) == [200, 403, 403, 403]
    assert sessions(two) == before + 1


def test_whoever_was_sent_to_a_provider_by_one_comes_back_to_the_other(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OIDC_SECRET", SECRET)
    monkeypatch.setattr(oidc, "_providers", Providers())
    clock = Clock()
    with provider(lambda: clock().timestamp()) as peer:
        config = CONFIG + ISSUERS.format(issuer=peer.issuer, more="")
        for before, after in LOGINS.items():
            config = config.replace(before, after.format(issuer=peer.issuer))
        with pair_on(tmp_path, postgres_url, config, clock=clock) as two:
            visit = Visit(two.here, peer)
            back = visit.go()
            visit.served = two.there
            reply = visit.get(back)
            assert reply.status == 200, text_of(reply)
            assert Browser(two.here, cookie_of(reply)).get("/console/inbox").status == 200
            visit.served = two.here
            assert visit.get(back).status == 403, "what the provider said opens one session, wherever it is shown"
            assert visit.sessions == ["lena"]


# deciding


def test_a_vote_at_one_is_heard_and_shown_at_the_other(two: Pair) -> None:
    request = held(two)
    lena = two.here.enter("lena")
    with listening(two.there, two.beside(lena)) as heard:
        assert cast(lena, request).status == 303
        heard.wait("requests", within_s=PATIENTLY_S)
    assert "Approved" in text_of(two.beside(lena).get(f"/console/inbox/{request}"))
    assert isinstance(two.there.world.adjust(50_000), Ok)


def test_a_vote_of_another_process_is_heard_at_both(postgres_url: str, tmp_path: Path) -> None:
    with pair_on(tmp_path, postgres_url, clock=Clock(utc_now())) as two:
        request = held(two)
        lena = two.here.enter("lena")
        command = [sys.executable, "-c", "from licet.cli import main; main()", "--config", str(tmp_path / "here" / "licet.toml")]
        with listening(two.here, lena) as here, listening(two.there, two.beside(lena)) as there:
            told = subprocess.run([*command, "approvals", "approve", request, "--as", "lena"], capture_output=True, text=True, check=False)
            assert told.returncode == 0, told
            here.wait("requests", within_s=PATIENTLY_S)
            there.wait("requests", within_s=PATIENTLY_S)
        assert state(two, request) is RequestState.APPROVED


def test_of_votes_of_one_person_at_both_servers_one_counts_and_of_two_people_both(two: Pair) -> None:
    with two.here.world.alice():
        found = two.here.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(found, Held)
    assert found.request is not None
    request = found.request
    dana, omar = two.here.enter("dana"), two.there.enter("omar")
    at_once(lambda: cast(dana, request), lambda: cast(two.beside(dana), request))
    assert state(two, request) is RequestState.OPEN
    assert "1 of 2 votes" in text_of(omar.get(f"/console/inbox/{request}"))
    assert cast(omar, request).status == 303
    assert state(two, request) is RequestState.APPROVED
    voters = [
        record.payload.detail["vote"]["voter"] for record in two.here.world.records() if record.kind == "vote" and record.payload.detail
    ]
    assert sorted(voters) == ["dana", "omar"]


def test_of_an_approval_and_a_rejection_at_one_moment_one_decides_and_the_other_is_told(two: Pair) -> None:
    for amount in (50_000, 50_001, 50_002):
        request = held(two, amount)
        lena, alice = two.here.enter("lena"), two.there.enter("lena")
        replies = at_once(lambda: cast(lena, request), lambda: cast(alice, request, "reject"))  # noqa: B023  done within the turn
        assert {reply.status for reply in replies} <= {303, 409, 422}
        assert state(two, request) in {RequestState.APPROVED, RequestState.REJECTED}
        pages = {text_of(browser.get(f"/console/inbox/{request}")).partition("What would change")[2] for browser in (lena, alice)}
        assert len(pages) == 1, "both show the same"


def test_steps_of_a_plan_are_voted_on_where_the_plan_was_not_made(two: Pair) -> None:
    plan = planned(two.here)
    lena = two.there.enter("lena")
    found = bindings(lena, plan)
    fields = {"step_1": f"approve.{found['step_1']}", "step_3": f"reject.{found['step_3']}"}
    assert two.beside(lena).send("/console/inbox?show=all", f"/console/inbox/plans/{plan}/vote", fields).status == 303
    assert states(two.there, plan) == ["approved", "rejected"]


def test_a_request_that_was_withdrawn_at_one_has_no_buttons_at_the_other_and_takes_no_vote(two: Pair) -> None:
    request = held(two)
    lena, alice = two.there.enter("lena"), two.here.enter("alice")
    page = lena.get(f"/console/inbox/{request}").content.decode()
    token, binding = [re.findall(rf'name="{name}" value="([0-9a-f]{{64}})"', page)[0] for name in ("form_token", "binding")]
    assert alice.send(f"/console/inbox/{request}", f"/console/inbox/{request}/withdraw").status == 303
    late = lena.post(f"/console/inbox/{request}/vote", {"form_token": token, "binding": binding, "verdict": "approve", "comment": ""})
    assert late.status in {409, 422}
    assert "withdrawn" in text_of(late).lower()
    assert 'name="verdict"' not in lena.get(f"/console/inbox/{request}").content.decode()
    assert not isinstance(two.there.world.adjust(50_000), Ok)


# looking


def asked(tool: str = "crm.lookup", **more: str) -> list[dict[str, str]]:
    """One filter each of what a lookup of C-1 is found by."""
    filters = {"tool": tool, "verdict": "allow", "actor": "support-bot", "agent": "support-bot", "user": "alice", "workflow": "ticket-1"}
    named = {"target": "Customer/C-1", "policy": "support-reads", "kind": "call", "outcome": "ok", "text": "C-1", "tenant": "acme", **more}
    return [{name: value} for name, value in {**filters, **named}.items()]


def test_what_was_called_through_one_is_found_at_the_other_by_each_filter_at_once(two: Pair) -> None:
    ada = two.there.enter("ada")
    look_up(two.here, workflow="ticket-1", reason="asked by phone")
    for query in asked(text="phone"):
        assert count(ada, **query) >= 1, query
        assert count(ada, **{**query, "tool": "crm.lookup"}) == 1, query
    request = held(two)
    assert cast(two.here.enter("lena"), request).status == 303
    assert count(ada, kind="vote", voter="lena") == 1
    assert count(ada, kind="vote", voter="dana") == 0


def test_a_cursor_of_one_goes_on_at_the_other_and_nothing_is_missed_or_doubled(two: Pair) -> None:
    for number in range(120):
        look_up(two.here if number % 3 else two.there)
    lena = two.here.enter("lena")
    found, there, browser = list[str](), "/console/audit?tool=crm.lookup&tenant=acme", lena
    while there:
        page = browser.get(there).content.decode()
        found += re.findall(r'<tr id="([^"]+)"', page)
        older = re.search(r'href="(/console/audit\?[^"]*cursor=[^"]*)"', page)
        there, browser = older[1].replace("&amp;", "&") if older else "", two.beside(browser)
    assert len(found) == len(set(found)) == 120


def test_an_export_is_the_same_from_both(two: Pair) -> None:
    look_up(two.here)
    look_up(two.there, "C-2")
    lena = two.here.enter("lena")
    files = [browser.get("/console/audit/export?tool=crm.lookup&format=jsonl").content for browser in (lena, two.beside(lena))]
    assert files[0] == files[1]
    assert json.loads(files[0].splitlines()[-1]) == {"licet_excerpt": {"records": 2, "complete": True}}


def test_a_live_tail_at_one_shows_what_the_other_does(two: Pair) -> None:
    with listening(two.here, two.here.enter("lena"), "tool=crm.lookup", path="/console/audit/tail") as heard:
        wait_for(heard, 'id="found"', PATIENTLY_S)
        look_up(two.there, "C-77")
        wait_for(heard, "C-77", PATIENTLY_S)


def test_a_record_a_trace_a_subject_and_a_denial_of_one_are_told_at_the_other(two: Pair) -> None:
    with two.here.world.alice(workflow="ticket-1"):
        two.here.gate.call("crm.lookup", {"customer_id": "C-1"})
        two.here.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 5_000_000})
    lena = two.there.enter("lena")
    page = "/console/audit/acme/0"
    soon(lambda: "Verified just now" in text_of(lena.get(page)))
    assert "is signed by" in text_of(lena.get(page))
    assert "billing.adjust" in text_of(lena.get("/console/traces/ticket-1"))
    assert len(sentences(lena.get(at()))) == 2
    assert "The nearest permit is billing-writes" in text_of(lena.get("/console/why/acme/1"))
    assert '+ principal == Agent::"support-bot"' in text_of(two.there.enter("ada").get("/console/why/acme/1/ask"))


def test_the_proof_that_one_gives_of_what_the_other_wrote_holds_without_them(two: Pair) -> None:
    look_up(two.here)
    lena, page = two.there.enter("lena"), "/console/audit/acme/0"
    soon(lambda: "Verified just now" in text_of(lena.get(page)))
    vkey = re.search(r"--key '([^']+)'", html.unescape(lena.get(page).content.decode()))
    assert vkey is not None
    proved, problems = verify_proof_lines([lena.get(f"{page}/proof").content], vkey[1])
    assert not problems
    assert proved[0].index == 0  # type: ignore[union-attr]


def test_the_overview_permissions_and_inventory_of_one_know_of_the_calls_of_the_other(two: Pair) -> None:
    look_up(two.here)
    two.here.world.adjust(5_000_000)
    held(two)
    ada = two.there.enter("ada")
    text = text_of(ada.get("/console/overview"))
    assert "Waiting for a vote 1" in text
    assert "Allow 2 Hold 1 Deny 1" in text
    assert "Calls 1" in thing(ada, "crm.lookup", "tools")
    for page in ("/console/permissions", "/console/policies"):
        assert ada.get(page).status == 200
    cell = ada.get("/console/permissions/cell?name=support-bot&tool=crm.lookup")
    assert "support-reads" in text_of(cell)


# acting


def test_what_is_frozen_at_one_is_stopped_at_the_other_and_lifted_there(two: Pair) -> None:
    ada = two.here.enter("ada")
    page = "/console/freezes/place?scope=agent&name=support-bot"
    sent = {"scope": "agent", "name": "support-bot", "tenant": "acme", "reason": "odd amounts"}
    assert ada.send(page, "/console/freezes/place", sent).status == 303
    assert isinstance(two.there.world.adjust(100), Denied)
    beside = two.beside(ada)
    soon(lambda: "odd amounts" in text_of(beside.get("/console/freezes")))
    lift = re.search(r'action="(/console/freezes/[^"]*lift[^"]*)"', beside.get("/console/freezes").content.decode())
    assert lift is not None
    fields = dict(re.findall(r'name="(id|freeze)" value="([^"]+)"', beside.get("/console/freezes").content.decode()))
    assert beside.send("/console/freezes", lift[1], {**fields, "reason": "looked at"}).status == 303
    soon(lambda: isinstance(two.here.world.adjust(100), Ok))


def test_a_call_is_undone_once_from_both_at_one_moment(two: Pair) -> None:
    call = done(two.here.world, plan="pro")
    ada = two.here.enter("ada")
    replies = at_once(lambda: propose(ada, call), lambda: propose(two.beside(ada), call))
    assert 303 in [reply.status for reply in replies]
    assert [name for one in two for name, _ in one.world.ran].count("plan.set.undo") == 1
    for browser in (ada, two.beside(ada)):
        assert "a call is undone once" in text_of(browser.get(undo_of(call)))


def test_an_unknown_end_is_settled_once_from_both_at_one_moment(two: Pair) -> None:
    call = lost(two.here.world)
    here, there = two.here.enter("bert"), two.there.enter("bert")
    assert "Outcomes to settle 1" in text_of(two.there.enter("ada").get("/console/overview"))
    path = f"/console/unknown/{call}"
    replies = at_once(
        lambda: here.send(path, path, {"status": "ok", "reason": "seen at the bank"}),
        lambda: there.send(path, path, {"status": "error", "reason": "not seen"}),
    )
    assert [reply.status for reply in replies].count(303) == 1, [text_of(reply)[:300] for reply in replies]
    assert "Outcomes to settle 0" in text_of(two.here.enter("ada").get("/console/overview")).replace(
        "Outcomes to settle Nothing", "Outcomes to settle 0"
    )


def test_who_was_erased_at_one_is_found_by_no_word_at_the_other(two: Pair) -> None:
    with two.here.world.alice(reason="unmistakable quixotry"):
        two.here.gate.call("crm.lookup", {"customer_id": "C-1"})
    ada = two.here.enter("ada")
    listed = "/console/audit?text=unmistakable"
    for browser in (ada, two.beside(ada)):
        assert "crm.lookup" in text_of(browser.get(listed))
    erased = ada.send("/console/subjects", at(act="/erase"), {"typed": "C-1", "reason": "request of 12 May"})
    assert erased.status == 303
    for browser in (ada, two.beside(ada)):
        assert "crm.lookup" not in text_of(browser.get(listed))
        assert sentences(browser.get(at())) == []
    for one in two:  # what was looked for stands in the records of those looks
        file = one.gate.settings.file
        assert file is not None
        for part in file.parent.glob("licet-index*"):
            assert b"uixotry" not in part.read_bytes(), part


# the database


@pytest.fixture
def own_server() -> Iterator[Server]:
    server = start_server()
    yield server
    remove_server(server)


def test_while_the_database_is_away_pages_say_so_and_go_on_when_it_is_back(own_server: Server, tmp_path: Path) -> None:
    with pair_on(tmp_path, own_server.make_database()) as two:
        request = held(two)
        lena = two.here.enter("lena")
        page = f"/console/inbox/{request}"
        assert lena.get(page).status == 200
        with listening(two.here, lena) as heard:
            own_server.stop()
            for path in (page, "/console/overview", "/console/audit"):
                reply = lena.get(path)
                assert reply.status == 503, (path, reply.status, text_of(reply))
                assert "internal" not in text_of(reply)
            assert two.here.get(f"/console/sign-in?link={'x' * 40}").status == 200
            assert two.here.use("x" * 40).status in {403, 503}
            own_server.start()
            soon(lambda: lena.get(page).status == 200)
            assert cast(two.beside(lena), request).status == 303
            if not heard.has_ended:  # else the browser asks again
                heard.wait("requests", within_s=PATIENTLY_S)
        assert "Approved" in text_of(lena.get(page))
