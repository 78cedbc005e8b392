"""A search finds exactly what a question about each candidate would be answered with a permission, a page at a time, in one record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from licet import Gate
from licet.errors import CallerRefused, CatalogInvalid, ResolverRefused, SearchRefused, StoreError, StoreUnavailable
from licet.gate import searching
from licet.gate.inquiry import Action, Inquirer, Inquiry, Resource, Subject
from licet.gate.searching import Sought
from licet.testing import records
from tests.gate.proof import assert_whole
from tests.gate.todo import BETH, JERRY, MORTY, RICK, SUMMER, todo_gate
from tests.world import World, world

ALICE = Subject("user", "alice", {"agent": "support-bot"})
NOBODY = Inquirer()
ONE = Resource("Customer", "C-1")


@pytest.fixture
def w() -> Iterator[World]:
    with world() as made:
        yield made
        assert_whole(made.gate)


@pytest.fixture(scope="module")
def todo() -> Iterator[Gate]:
    with todo_gate() as gate:
        yield gate
        assert_whole(gate)


def question(subject: Subject = ALICE, tool: str = "crm.lookup", resource: Resource = ONE, **context: Any) -> Inquiry:
    return Inquiry(subject, Action(tool), resource, {"tenant": "acme", **context})


def all_pages(gate: Gate, sought: Sought, inquiry: Inquiry, limit: int) -> list[str]:
    found: list[str] = []
    start = 0
    while True:
        page = gate.search(sought, inquiry, inquirer=NOBODY, start=start, limit=limit)
        assert len(page.names) <= limit
        found += page.names
        if page.next is None:
            return found
        start = page.next


def test_subjects_are_those_whom_a_question_permits(w: World) -> None:
    sought = question(Subject("user", "", {"agent": "support-bot"}))
    found = all_pages(w.gate, "subject", sought, 100)
    users = sorted(w.gate.scene.directory.users)
    asked = {name: w.gate.evaluate(question(Subject("user", name, {"agent": "support-bot"}))).permitted for name in users}
    assert found == [name for name in users if asked[name]]
    assert {"alice", "carl"} <= set(found)
    assert "gina" not in found


def test_agents_and_services_are_subjects_too(w: World) -> None:
    assert all_pages(w.gate, "subject", question(Subject("agent", "")), 100) == ["free-bot", "night-bot"]
    assert all_pages(w.gate, "subject", question(Subject("service", "")), 100) == ["importer"]
    assert all_pages(w.gate, "subject", question(Subject("planet", "")), 100) == []


def test_actions_are_those_that_a_question_permits(w: World) -> None:
    arguments = {"customer_id": "C-1", "amount_cents": 1}
    found = all_pages(w.gate, "action", question(input=arguments), 100)
    asked = {name: w.gate.evaluate(question(tool=name, input=arguments)).permitted for name in w.gate.scene.catalog.tools}
    assert found == sorted(name for name, permitted in asked.items() if permitted)
    assert "billing.adjust" in found
    assert "account.suspend" not in found, "people decide on it"


def test_actions_are_named_as_clients_name_them(todo: Gate) -> None:
    inquiry = Inquiry(Subject("user", MORTY), Action(""), Resource("todo", "t", {"ownerID": "morty@the-citadel.com"}))
    with todo.acting(service="todo-app"):
        found = todo.search("action", inquiry)
    assert found.names == ("can_create_todo", "can_delete_todo", "can_read_todos", "can_update_todo")


def test_subjects_of_the_example_are_those_of_its_cases(todo: Gate) -> None:
    def who(action: str, owner: str) -> set[str]:
        resource = Resource("todo", "t", {"ownerID": owner})
        with todo.acting(service="todo-app"):
            return set(todo.search("subject", Inquiry(Subject("user", ""), Action(action), resource)).names)

    assert who("can_read_todos", "") == {RICK, MORTY, SUMMER, BETH, JERRY}
    assert who("can_update_todo", "summer@the-smiths.com") == {RICK, SUMMER}
    assert who("can_delete_todo", "beth@the-smiths.com") == {RICK}


def test_resources_are_those_that_the_application_lists_and_a_question_permits(w: World) -> None:
    @w.gate.lists("Customer")
    def customers(tenant: str) -> list[str]:
        return [*(name for name, row in w.customers.items() if row["tenant"] == tenant), "gone", "G-1"]

    found = all_pages(w.gate, "resource", question(resource=Resource("Customer", "")), 100)
    listed = [*w.customers, "gone"]
    asked = {name: w.gate.evaluate(question(resource=Resource("Customer", name))).permitted for name in listed}
    assert found == sorted(name for name, permitted in asked.items() if permitted)
    assert "C-1" in found
    with pytest.raises(CatalogInvalid, match="already has a lister"):
        w.gate.lists("Customer")(customers)


def test_resources_that_licet_toml_lists_are_looked_through(todo: Gate) -> None:
    inquiry = Inquiry(Subject("user", BETH), Action("can_read_todos"), Resource("todo", ""))
    with todo.acting(service="todo-app"):
        assert todo.search("resource", inquiry).names == ("todo-1",)


def test_a_type_that_nobody_lists_is_said_and_one_that_nobody_knows_has_none(w: World) -> None:
    with pytest.raises(SearchRefused, match="resources of the type `Customer` cannot be listed here"):
        w.gate.search("resource", question(resource=Resource("Customer", "")))
    assert all_pages(w.gate, "resource", question(resource=Resource("Planet", "")), 100) == []
    assert all_pages(w.gate, "resource", question(tool="odd.now", resource=Resource("Tenant", "")), 100) == ["acme"]


def test_a_lister_that_fails_makes_up_nothing(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [["a", 7], [str(n) for n in range(4)]]

    @w.gate.lists("Customer")
    def customers(tenant: str) -> list[str]:
        if not answers:
            raise RuntimeError("the password is hunter2")
        return answers.pop(0)  # type: ignore[no-any-return]

    inquiry = question(resource=Resource("Customer", ""))
    with pytest.raises(ResolverRefused, match="an id that is not text"):
        w.gate.search("resource", inquiry)
    monkeypatch.setattr(searching, "LISTED_LIMIT", 3)
    with pytest.raises(SearchRefused, match="more than 3 resources"):
        w.gate.search("resource", inquiry)
    with pytest.raises(ResolverRefused, match=r"failed with `RuntimeError`$"):
        w.gate.search("resource", inquiry)
    assert w.records() == []


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_together_are_the_whole(w: World, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inquiry = question(Subject("user", "", {"agent": "support-bot"}))
    whole = all_pages(w.gate, "subject", inquiry, 100)
    monkeypatch.setattr(searching, "CANDIDATES_LIMIT", 2)  # so that pages end early, some of them empty
    assert all_pages(w.gate, "subject", inquiry, limit) == whole


def test_a_page_of_nothing_says_that_there_is_more(w: World) -> None:
    page = w.gate.search("subject", question(Subject("user", "", {"agent": "support-bot"})), limit=0)
    assert (page.names, page.next) == ((), 0)


def test_a_search_is_one_record_with_its_question_and_what_came_of_it(w: World) -> None:
    inquirer = Inquirer(acting=w.gate.acting(service="importer", tenant="acme", user="alice").__enter__(), credential="key_1")
    page = w.gate.search("action", question(), inquirer=inquirer, limit=1)
    (record,) = w.records()
    assert (record.kind, record.envelope.call, record.receipt) == ("evaluation", page.id, page.receipt)
    tools = sorted(name for name, spec in w.gate.scene.catalog.tools.items() if any(one.type == "Customer" for one in spec.targets))
    place = tools.index("crm.lookup")
    assert page.names == ("crm.lookup",)
    assert record.payload.detail == {
        "search": "action",
        "asked": {
            "by": {"tenant": "acme", "service": "importer", "user": "alice", "credential": "key_1"},
            "subject": {"type": "user", "id": "alice", "properties": {"agent": "support-bot"}},
            "resource": {"type": "Customer", "id": "C-1"},
            "context": {"tenant": "acme"},
        },
        "start": 0,
        "looked_at": place + 1,
        "found": 1,
        "more": place + 1 < len(tools),
    }
    assert w.ran == []


def test_a_search_that_cannot_be_recorded_is_not_answered(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.gate.seal()

    def refuse(_: object) -> Any:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(w.gate._opened().writer, "submit", refuse)
        with pytest.raises(StoreError, match="the disk is full"):
            w.gate.search("action", question())


@pytest.mark.parametrize(
    ("context", "code"), [({}, "no_tenant"), ({"tenant": "nowhere"}, "unknown_tenant"), ({"tenant": 7}, "bad_subject")], ids=str
)
def test_a_search_is_of_one_tenant(w: World, context: dict[str, Any], code: str) -> None:
    with pytest.raises(CallerRefused) as caught:
        w.gate.search("action", Inquiry(ALICE, Action(""), Resource("Customer", "C-1"), context))
    assert caught.value.code == code


def test_the_search_of_one_tenant_shows_nobody_of_another(w: World) -> None:
    sought = Inquiry(Subject("user", "", {"agent": "free-bot"}), Action("crm.lookup"), Resource("Customer", "G-1"), {"tenant": "globex"})
    assert all_pages(w.gate, "subject", sought, 100) == ["gina"]
    assert w.records("acme") == []
    assert [record.kind for record in records(w.gate, "globex")] == ["evaluation"]


@pytest.mark.parametrize("text", [":", '::"', "\ud800", "a\nb", ""], ids=["colon", "quote", "half a pair", "lines", "nothing"])
def test_whatever_a_search_names_the_log_stays_whole(w: World, text: str) -> None:
    for sought in ("subject", "resource", "action"):
        inquiry = Inquiry(Subject("user", text, {"agent": text}), Action(text), Resource(text, text), {"tenant": "acme"})
        assert w.gate.search(sought, inquiry).names == ()
    known = question(Subject("user", text, {"agent": "support-bot"}), resource=Resource("Customer", text))
    assert w.gate.search("action", known).names == ()
    assert not w.gate.evaluate(Inquiry(Subject("user", text, {"agent": text}), Action(text), Resource(text, text))).permitted
    assert not w.gate.evaluate(known).permitted
    assert_whole(w.gate)
