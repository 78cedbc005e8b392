"""Undo from the console: proposed once, decided as every call is, and told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from licet.errors import UndoRefused
from licet.gate.credentials import list_credentials
from licet.model import CallId
from licet.testing import vote
from tests.console.subjects import at, look_up, subject_world
from tests.console.world import Browser, ConsoleWorld, text_of
from tests.gate.proof import assert_whole
from tests.gate.test_undo import done
from tests.server.world import Reply


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def path(call: CallId, log: str = "acme") -> str:
    return f"/console/undo/{log}/{call}"


def propose(browser: Browser, call: CallId, reason: str = "") -> Reply:
    return browser.send(path(call), path(call), {"reason": reason})


def undone(served: ConsoleWorld) -> int:
    return sum(name.endswith(".undo") for name, _ in served.world.ran)


def test_the_page_shows_what_would_be_brought_back_and_changes_nothing(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro")
    ada = served.enter("ada")
    assert path(call) in ada.get(at()).content.decode()
    page = text_of(ada.get(path(call)))
    assert 'plan "pro" null' in page
    assert "support-bot for ada" in page
    assert undone(served) == 0


def test_an_undo_runs_once_for_the_person_who_proposes_it(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro")
    ada = served.enter("ada")
    reply = propose(ada, call, " wrong customer ")
    assert reply.status == 303
    assert served.world.customers["C-1"]["plan"] is None
    intent = [record for record in served.world.records() if record.kind == "intent"][-1]
    session = next(one.id for one in list_credentials(served.gate.store, served.gate.now()) if one.kind == "session" and one.user == "ada")
    assert intent.envelope.actor is not None
    assert (intent.envelope.actor.agent, intent.envelope.actor.user) == ("support-bot", "ada")
    assert (intent.payload.reason, intent.payload.credential) == ("wrong customer", session)
    page = text_of(ada.get(reply.headers["location"]))
    assert "Done support-bot took back what was done with plan.set" in page
    assert "Propose the undo" not in page


def test_a_call_is_undone_once_from_two_browsers_at_one_moment(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro")
    browsers = [served.enter("ada"), served.enter("ada")]
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda one: propose(one, call), browsers))
    assert undone(served) == 1
    assert 303 in [reply.status for reply in replies]
    again = browsers[0].get(path(call))
    assert "a call is undone once" in text_of(again)
    assert '<form class="act-form"' not in again.content.decode()
    forced = browsers[0].send("/console/inbox", path(call), {"reason": ""})
    assert forced.status == 422
    assert undone(served) == 1


def test_an_undo_that_is_held_leads_to_the_inbox_and_runs_after_the_vote(served: ConsoleWorld) -> None:
    call = done(served.world, "plan.seats", seats=3)
    ada = served.enter("ada")
    there = propose(ada, call).headers["location"]
    page = ada.get(there)
    assert "waits for people" in text_of(page)
    assert undone(served) == 0
    (request,) = [one for one in page.content.decode().split('"') if one.startswith("/console/inbox/")]
    vote(served.gate, request.rpartition("/")[2], "lena")  # type: ignore[arg-type]  # an id as the page has it
    assert propose(ada, call).status == 303
    assert undone(served) == 1


def test_who_proposes_an_undo_must_be_permitted_to_use_it_and_is_told_why_not(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro")
    bert = served.enter("bert")
    page = bert.get(propose(bert, call).headers["location"])
    assert "denied" in text_of(page)
    assert "/console/why/acme/" in page.content.decode()
    assert undone(served) == 0
    again = propose(bert, call)
    assert "denied" in text_of(bert.get(again.headers["location"])).lower()


@pytest.mark.parametrize(("user", "status"), [("lena", 403), ("carl", 403), ("greta", 404), ("gina", 404)])
def test_who_may_not_undo_there_finds_no_call_and_proposes_nothing(served: ConsoleWorld, user: str, status: int) -> None:
    call = done(served.world, plan="pro")
    browser = served.enter(user)
    assert browser.get(path(call)).status == status
    where = "/console/subjects" if user in {"lena", "greta"} else "/console/inbox"
    shown = browser.get(where)
    if shown.status == 200:
        assert browser.send(where, path(call), {"reason": ""}).status == status
    assert undone(served) == 0
    if user == "lena":
        assert "/console/undo/" not in browser.get(at()).content.decode()


def test_a_call_of_another_log_is_not_found_under_ones_own(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro")
    assert served.enter("greta").get(path(call, "globex")).status == 404
    assert served.enter("ada").get(path(CallId("none"))).status == 404


def test_a_read_and_a_call_without_effects_are_not_undone(served: ConsoleWorld) -> None:
    look_up(served)
    read = next(record.envelope.call for record in served.world.records() if record.kind == "call")
    assert read is not None
    ada = served.enter("ada")
    assert ada.get(path(read)).status == 404
    served.world.adjust(2_500)
    write = next(record.envelope.call for record in served.world.records() if record.kind == "intent")
    assert write is not None
    page = ada.get(path(write))
    assert "reported no effects" in text_of(page)
    assert 'class="act-form"' not in page.content.decode()
    assert ada.send("/console/inbox", path(write), {"reason": ""}).status == 422


def test_a_form_of_somebody_elses_page_proposes_nothing(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro")
    ada = served.enter("ada")
    assert ada.post(path(call), {"form_token": "0" * 64, "reason": ""}).status == 403
    assert ada.post(path(call), {"reason": ""}, {"origin": "https://evil.example"}).status == 403
    assert undone(served) == 0


def test_what_came_of_it_is_not_made_up_from_the_address(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro")
    assert served.enter("ada").get(f"{path(call)}?made={call}").status == 404


def test_where_the_application_is_not_at_hand_it_says_who_can_undo_it(served: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    call = done(served.world, plan="pro")
    ada = served.enter("ada")

    def refuse(*_: object, **__: object) -> None:
        raise UndoRefused("no_undo", "`plan.set` has no undo in this process")

    monkeypatch.setattr(served.gate, "reversal", refuse)
    page = ada.get(path(call))
    assert f"licet --app MODULE:GATE undo {call}" in text_of(page)
    assert 'class="act-form"' not in page.content.decode()
    assert ada.send("/console/inbox", path(call), {"reason": ""}).status == 422
    assert undone(served) == 0
