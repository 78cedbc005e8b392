"""Erasing and exporting a subject from the console."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from licet.ledger.forgotten import Hold
from licet.ledger.holds import place_hold, release_hold
from licet.ledger.vault import Subject
from tests.console.subjects import HOSTILE, at, look_up, sentences, subject_world
from tests.console.world import Browser, ConsoleWorld, text_of
from tests.gate.proof import assert_whole
from tests.gate.test_undo import done
from tests.server.world import Reply

ERASE = at(act="/erase")
WHY = "request of 12 May"


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def hold(served: ConsoleWorld, subject: Subject | None = None) -> Hold:
    return place_hold(served.gate.ledger.operator(served.gate.settings, "a test"), "acme", subject, "case 7")


def erase(browser: Browser, typed: str = "C-1", reason: str = WHY, path: str = ERASE, page: str = "/console/subjects") -> Reply:
    return browser.send(page, path, {"typed": typed, "reason": reason})


def erasures(served: ConsoleWorld) -> int:
    return served.world.kinds().count("erasure")


def test_who_was_erased_is_gone_from_every_page_and_the_record_says_that_it_was_done(served: ConsoleWorld) -> None:
    done(served.world, plan="pro")
    look_up(served, "C-2")
    ada = served.enter("ada")
    explained = text_of(ada.get(ERASE))
    assert "What goes" in explained
    assert "What stays" in explained
    reply = erase(ada)
    assert reply.status == 303
    assert reply.headers["location"].startswith("/console/erased/acme/")
    after = ada.get(reply.headers["location"])
    assert "remain as proofs without content" in text_of(after)
    assert WHY in text_of(after)
    assert "C-1" not in after.content.decode()
    again = ada.get(at())
    assert sentences(again) == []
    assert "or it was erased" in text_of(again)
    assert sentences(ada.get(at("C-2"))) == ["support-bot tried to use crm.lookup, on behalf of alice and was denied."]


@pytest.mark.parametrize("typed", ["", "c-1", "C-1 ", "C-2", "*"])
def test_nobody_is_erased_whose_id_was_not_typed(served: ConsoleWorld, typed: str) -> None:
    look_up(served)
    assert erase(served.enter("ada"), typed).status == 400
    assert erasures(served) == 0


def test_a_reason_is_needed_and_may_not_name_the_subject(served: ConsoleWorld) -> None:
    look_up(served)
    ada = served.enter("ada")
    assert erase(ada, reason="").status == 400
    assert erase(ada, reason="C-1 asked us to").status == 422
    assert erasures(served) == 0


def test_a_legal_hold_forbids_it_and_is_told(served: ConsoleWorld) -> None:
    look_up(served)
    ada = served.enter("ada")
    for subject in (Subject("acme", "Customer", "C-1"), None):
        held = hold(served, subject)
        page = ada.get(ERASE)
        assert f"legal hold {held.id} protects" in text_of(page)
        assert 'name="typed"' not in page.content.decode()
        assert erase(ada).status == 409
        release_hold(served.gate.ledger.operator(served.gate.settings, "a test"), held.id, "closed")
    assert erasures(served) == 0
    assert erase(ada).status == 303


@pytest.mark.parametrize(("user", "status"), [("lena", 403), ("carl", 403), ("greta", 404), ("gina", 404)])
def test_who_may_not_erase_there_is_offered_nothing_and_erases_nothing(served: ConsoleWorld, user: str, status: int) -> None:
    look_up(served)
    browser = served.enter(user)
    assert browser.get(ERASE).status == status
    page = "/console/subjects" if user in {"lena", "greta"} else "/console/inbox"
    if browser.get(page).status == 200:
        assert erase(browser, page=page).status == status
    assert erasures(served) == 0
    if user == "lena":
        assert "/console/subjects/erase" not in browser.get(at()).content.decode()


def test_a_form_of_another_page_erases_nothing(served: ConsoleWorld) -> None:
    look_up(served)
    ada, other = served.enter("ada"), served.enter("ada")
    for fields in ({}, {"form_token": other.cookie}):
        assert ada.post(ERASE, {"typed": "C-1", "reason": WHY, **fields}).status == 403
    assert ada.get(f"{ERASE}&typed=C-1&reason=x").status == 400
    assert erasures(served) == 0


def test_of_whom_nothing_is_recorded_nothing_is_erased(served: ConsoleWorld) -> None:
    assert erase(served.enter("ada"), "C-77", path=at("C-77", act="/erase")).status == 404
    assert erase(served.enter("ada"), "acme", path=at("acme", "Tenant", act="/erase")).status == 422


def test_an_id_is_no_markup_on_the_page_that_erases_it(served: ConsoleWorld) -> None:
    page = served.enter("ada").get(at(HOSTILE, act="/erase")).content.decode()
    assert "<script>alert" not in page
    assert "<img" not in page


def test_only_the_record_of_an_erasure_is_shown_as_one(served: ConsoleWorld) -> None:
    look_up(served)
    assert served.enter("ada").get("/console/erased/acme/0").status == 404
    assert served.enter("greta").get("/console/erased/acme/0").status == 404


def test_an_export_holds_what_there_is_and_is_recorded_before_it_goes_out(served: ConsoleWorld) -> None:
    done(served.world, plan="pro")
    look_up(served)
    look_up(served, "C-2")
    ada = served.enter("ada")
    page = ada.get(at())
    assert "Export 3 records" in text_of(page)
    reply = ada.get(at(act="/export"))
    *lines, end = [json.loads(line) for line in reply.content.splitlines()]
    assert end == {"licet_excerpt": {"records": 3, "complete": True}}
    assert [(line["place"], line["kind"]) for line in lines] == [("acme:2", "call"), ("acme:1", "outcome"), ("acme:0", "intent")]
    assert "C-1" in json.dumps(lines)
    assert "C-2" not in json.dumps(lines)
    assert reply.headers["content-disposition"] == 'attachment; filename="Customer.jsonl"'
    details = [record.payload.detail for record in served.world.records() if record.kind == "access" and record.payload.detail]
    assert [(one["verb"], one["records"], one["filter"]["target"]) for one in details if one["verb"] == "audit export"] == [
        ("audit export", 3, "Customer/C-1")
    ]


def test_of_nobody_an_export_is_empty_and_not_everything(served: ConsoleWorld) -> None:
    look_up(served)
    reply = served.enter("ada").get(at("C-77", act="/export"))
    assert reply.status == 200
    assert json.loads(reply.content) == {"licet_excerpt": {"records": 0, "complete": True}}


def test_a_person_is_exported_with_what_agents_did_for_them(served: ConsoleWorld) -> None:
    look_up(served)
    with served.gate.acting(agent="night-bot"):
        served.gate.call("crm.lookup", {"customer_id": "C-1"})
    reply = served.enter("ada").get(at("alice", "User", act="/export"))
    assert [json.loads(line)["place"] for line in reply.content.splitlines()[:-1]] == ["acme:0"]


@pytest.mark.parametrize(("user", "status"), [("carl", 403), ("greta", 404), ("gina", 404)])
def test_who_may_not_export_there_is_given_nothing(served: ConsoleWorld, user: str, status: int) -> None:
    look_up(served)
    assert served.enter(user).get(at(act="/export")).status == status
