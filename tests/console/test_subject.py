"""The page of a subject: what is told of it, to whom, and what is never told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from licet.gate.results import Ok
from licet.testing import vote
from tests.console.subjects import HOSTILE, at, look_up, sentences, subject_world
from tests.console.world import ConsoleWorld, text_of
from tests.gate.proof import assert_whole
from tests.gate.test_undo import done, undo


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def told(served: ConsoleWorld, user: str = "lena", **more: str) -> list[str]:
    return sentences(served.enter(user).get(at(**more)))


def test_what_happened_is_told_newest_first_and_reads_are_folded(served: ConsoleWorld) -> None:
    look_up(served)
    look_up(served)
    assert isinstance(served.world.adjust(2_500), Ok)
    look_up(served)
    look_up(served, "C-2")
    assert told(served) == [
        "support-bot used crm.lookup once, on behalf of alice.",
        "support-bot used billing.adjust with amount_cents 2500, on behalf of alice.",
        "support-bot used crm.lookup twice, on behalf of alice.",
    ]


def test_a_call_that_was_held_is_one_event_and_says_who_approved_it(served: ConsoleWorld) -> None:
    request = served.world.held(50_000).request
    assert told(served)[0].endswith("on behalf of alice; the request waits for people.")
    vote(served.gate, request, "lena")
    assert isinstance(served.world.adjust(50_000), Ok)
    lines = [one for one in told(served) if "preview" not in one]
    assert lines == ["support-bot used billing.adjust with amount_cents 50000, on behalf of alice."]
    assert "Approved by lena." in text_of(served.enter("lena").get(at()))


def test_a_rejected_request_changed_nothing_and_says_so(served: ConsoleWorld) -> None:
    vote(served.gate, served.world.held(50_000).request, "lena", verdict="reject")
    assert (
        told(served)[0] == "support-bot asked to use billing.adjust with amount_cents 50000, on behalf of alice; the request was rejected."
    )
    assert "Nothing changed." in text_of(served.enter("lena").get(at()))


def test_a_denial_is_told_with_its_reason_and_leads_to_why(served: ConsoleWorld) -> None:
    served.world.adjust(5_000_000)
    page = served.enter("lena").get(at())
    assert sentences(page) == ["support-bot tried to use billing.adjust with amount_cents 5000000, on behalf of alice and was denied."]
    assert 'href="/console/why/acme/0"' in page.content.decode()


def test_changes_have_before_and_after_and_what_was_taken_back_says_when(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro", note=HOSTILE)
    undo(served.world, call)
    page = served.enter("ada").get(at())
    assert sentences(page) == [
        "support-bot took back what was done with plan.set, on behalf of alice.",
        "support-bot used plan.set, on behalf of alice.",
    ]
    assert "undone" in text_of(page)
    assert "/console/undo/" not in page.content.decode()
    assert "<script>alert" not in page.content.decode()
    assert "<img" not in page.content.decode()


def test_only_changes_are_shown_where_only_they_are_asked_for(served: ConsoleWorld) -> None:
    look_up(served)
    served.world.adjust(5_000_000)
    done(served.world, plan="pro")
    assert told(served, show="changes") == ["support-bot used plan.set, on behalf of alice."]
    with served.gate.acting(agent="night-bot"):
        served.gate.call("crm.lookup", {"customer_id": "C-1"})
    assert told(served, agent="night-bot") == ["night-bot used crm.lookup once."]


def test_pages_hold_every_event_once_and_none_twice(served: ConsoleWorld) -> None:
    """A call of several records that lie on both sides of a page's end is told once."""
    wanted = []
    for number in range(70):
        wanted.append(f"support-bot used plan.seats with seats {number}, on behalf of alice.")
        with served.world.alice():
            served.gate.call("plan.seats", {"customer_id": "C-1", "seats": number})
        if number % 2:
            look_up(served)
    lena, found, path, pages = served.enter("lena"), [], at(), 0
    while path:
        page = lena.get(path)
        found += [one for one in sentences(page) if "seats" in one]
        pages += 1
        link = page.content.decode().partition('<p class="pager"><a class="btn" href="')[2].partition('"')[0]
        path = link.replace("&amp;", "&")
    assert pages > 1
    assert found == wanted[::-1]


def test_people_are_subjects_too(served: ConsoleWorld) -> None:
    look_up(served)
    with served.gate.acting(agent="night-bot"):
        served.gate.call("crm.lookup", {"customer_id": "C-1"})
    page = served.enter("lena").get(at("alice", "User"))
    assert sentences(page) == ["support-bot used crm.lookup once, on behalf of alice."]
    assert "on their behalf" in text_of(page)


def test_nobody_is_listed_who_was_not_asked_for(served: ConsoleWorld) -> None:
    look_up(served)
    lena = served.enter("lena")
    lena.get(at())
    page = lena.get("/console/subjects").content.decode()
    assert "C-1" not in page
    assert "alice" not in page


def test_each_look_is_recorded_under_the_subjects_own_secret(served: ConsoleWorld) -> None:
    look_up(served)
    before = len(served.world.records())
    served.enter("lena").get(at())
    looks = [record for record in served.world.records()[before:] if record.kind == "access"]
    assert len(looks) == 1
    detail = looks[0].payload.detail
    assert detail is not None
    assert (detail["verb"], detail["user"], detail["filter"]["target"]) == ("audit search", "lena", "Customer/C-1")
    assert b"C-1" not in served.gate.store.get_record("acme", before).envelope
    assert len(looks[0].envelope.payload.subjects) >= 2


@pytest.mark.parametrize("user", ["gina", "greta"])
def test_a_subject_of_another_tenant_answers_as_one_that_is_not_there(served: ConsoleWorld, user: str) -> None:
    look_up(served)
    browser = served.enter(user)
    there, nowhere = browser.get(at()), browser.get(at("C-9", tenant="nowhere"))
    assert there.status == nowhere.status == (404 if user == "greta" else 403)
    assert "crm.lookup" not in there.content.decode()
    if user == "greta":
        own = browser.get(at(tenant="globex"))
        assert (own.status, sentences(own)) == (200, [])
        assert "Nothing is recorded of this Customer" in text_of(own)


def test_who_may_not_read_the_log_is_shown_nothing_and_no_entry_of_the_menu(served: ConsoleWorld) -> None:
    look_up(served)
    carl = served.enter("carl")
    for path in (at(), "/console/subjects"):
        reply = carl.get(path)
        assert reply.status == 403
        assert "crm.lookup" not in reply.content.decode()
    assert "/console/subjects" not in served.enter("dana").get("/console/inbox").content.decode()


@pytest.mark.parametrize("identifier", [HOSTILE, 'a"b', "a\\b", "../..", "%2F", "a/b", "😀", '"; forbid(principal,action,resource);//'])
def test_any_id_is_asked_for_as_it_is(served: ConsoleWorld, identifier: str) -> None:
    served.world.customers[identifier] = {"tenant": "acme", "vip": False, "balance": 1, "suspended": False}
    look_up(served, identifier)
    page = served.enter("ada").get(at(identifier))
    assert page.status == 200
    assert sentences(page) == ["support-bot used crm.lookup once, on behalf of alice."]
    content = page.content.decode()
    assert "<script>alert" not in content
    assert "<img" not in content
    assert sentences(served.enter("ada").get(at())) == []


@pytest.mark.parametrize(
    "query",
    [
        "id=C-1&type=customer",
        "type=Customer&id=C-1&tenant=acme&show=some",
        "type=Customer&id=C-1&cursor=x",
        "color=red",
        "id=" + "x" * 2_000,
    ],
)
def test_absurd_parameters_are_refused_in_words(served: ConsoleWorld, query: str) -> None:
    assert served.enter("lena").get(f"/console/subjects?{query}").status == 400


def test_what_the_form_still_needs_is_said(served: ConsoleWorld) -> None:
    assert "Say of which type it is." in text_of(served.enter("lena").get("/console/subjects?id=C-1"))
    assert "/console/subjects?" in served.enter("ada").get(at()).content.decode()


def test_an_id_that_no_target_can_have_finds_nothing(served: ConsoleWorld) -> None:
    for identifier in ("a\nb", "\r\nset-cookie: x", "\u2028"):
        page = served.enter("lena").get(at(identifier))
        assert (page.status, sentences(page)) == (200, [])


def test_what_failed_and_what_nobody_saw_the_end_of_are_not_told_as_changes(served: ConsoleWorld) -> None:
    with served.world.alice():
        served.gate.call("plan.seats", {"customer_id": "C-404", "seats": 1})
    del served.world.customers["C-1"]["balance"]
    served.world.adjust(2_500)
    assert told(served) == ["support-bot used billing.adjust with amount_cents 2500, on behalf of alice, which failed."]
    page = text_of(served.enter("lena").get(at()))
    assert "KeyError; what it changed until then is not known." in page
    assert "1 failed call" in page
    assert "changes" not in page.partition("failed call")[0].rpartition("Erase")[2]
