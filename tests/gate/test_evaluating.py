"""Asking whether a call would be permitted: answered as the call would be, recorded before it is answered, and nothing else happens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from licet import Gate
from licet.errors import StoreUnavailable
from licet.gate.evaluating import KEPT_LIMIT_BYTES, TOGETHER_LIMIT, Evaluated
from licet.gate.inquiry import Action, Inquirer, Inquiry, Resource, Subject
from licet.gate.results import Held, Ok
from licet.model import JsonObject
from licet.testing import records, vote
from tests.cases.corpus import CORPUS_CONFIG, CORPUS_POLICIES, Case, cases, equip
from tests.gate.proof import assert_whole
from tests.gate.questions import asked
from tests.gate.todo import MORTY, SINGLE, TOGETHER, inquiry, todo_gate
from tests.world import CONFIG, World, world

ALICE = Subject("user", "alice", {"agent": "support-bot"})
METERED = CONFIG + '\n[meters]\ngiven = {tool = "billing.adjust", argument = "amount_cents"}\n'


def adjusting(amount_cents: int = 2_500, subject: Subject = ALICE, customer: str = "C-1", **context: Any) -> Inquiry:
    action = Action("billing.adjust", {"amount_cents": amount_cents})
    return Inquiry(subject, action, Resource("Customer", customer), context)


def decided(answer: Evaluated) -> tuple[str, str, set[str]]:
    return answer.decision.verdict, answer.decision.code, {policy.id for policy in answer.decision.policies}


def denied(answer: Evaluated, code: str, *words: str) -> None:
    assert (answer.decision.verdict, answer.decision.code, answer.permitted) == ("deny", code, False), answer.decision
    for word in words:
        assert word in answer.decision.message, answer.decision.message


@pytest.fixture
def w() -> Iterator[World]:
    with world(METERED) as made:
        yield made
        assert_whole(made.gate)


@pytest.fixture(scope="module")
def todo() -> Iterator[Gate]:
    with todo_gate() as gate:
        yield gate
        assert_whole(gate)


# the public cases


@pytest.mark.parametrize("number", range(len(SINGLE)))
def test_the_example_answers_every_single_case(todo: Gate, number: int) -> None:
    request, expected = SINGLE[number]
    with todo.acting(service="todo-app"):
        assert todo.evaluate(inquiry(request)).permitted is expected


@pytest.mark.parametrize("number", range(len(TOGETHER)))
def test_the_example_answers_every_case_of_several(todo: Gate, number: int) -> None:
    request, expected = TOGETHER[number]
    defaults = {name: value for name, value in request.items() if name != "evaluations"}
    with todo.acting(service="todo-app"):
        answers = todo.evaluate_all([inquiry(item, **defaults) for item in request["evaluations"]])
    assert [answer.permitted for answer in answers] == expected


def test_there_are_as_many_cases_as_were_published() -> None:
    assert (len(SINGLE), len(TOGETHER)) == (40, 3)


# the corpus: an answer is the decision on the call


@pytest.fixture(scope="module")
def corpus() -> Iterator[World]:
    with world(CORPUS_CONFIG, CORPUS_POLICIES) as made:
        equip(made).gate.seal()
        yield made
        assert_whole(made.gate)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_an_answer_is_the_decision_on_the_call(corpus: World, case: Case) -> None:
    question = asked(corpus, case)
    if question is None:
        pytest.skip("a question cannot say it")
    with case.acting(corpus):
        decision = corpus.gate.check(case.tool, case.proposed)
    ran = len(corpus.ran)
    answer = corpus.gate.evaluate(question)
    assert (answer.decision.verdict, answer.decision.code) == (case.expect.verdict, case.expect.code)
    assert answer.decision == decision
    assert len(corpus.ran) == ran


def test_most_of_the_corpus_can_be_asked(corpus: World) -> None:
    sayable = [case for case in cases() if asked(corpus, case) is not None]
    assert len(sayable) > len(cases()) * 3 // 4
    assert {case.expect.verdict for case in sayable} == {"allow", "deny", "hold"}


# what an answer leaves behind


def test_a_question_is_one_record_that_says_what_was_asked_and_by_whom(w: World) -> None:
    inquirer = Inquirer(acting=w.gate.acting(service="importer", tenant="acme").__enter__(), credential="key_1")
    answer = w.gate.evaluate(adjusting(), inquirer=inquirer)
    assert decided(answer) == ("allow", "allowed", {"billing-writes"})
    (record,) = w.records()
    assert answer.receipt == record.receipt
    assert (record.kind, record.envelope.call) == ("evaluation", answer.id)
    assert record.envelope.decision is not None
    assert (record.envelope.decision.verdict, record.envelope.decision.bundle) == ("allow", w.gate.scene.digest)
    assert record.envelope.tool is not None
    assert record.envelope.tool.name == "billing.adjust"
    assert record.envelope.actor is not None
    assert (record.envelope.actor.agent, record.envelope.actor.user) == ("support-bot", "alice")
    assert msgspec.json.decode(record.payload.arguments) == {"customer_id": "C-1", "amount_cents": 2_500}
    assert [str(target.ref) for target in record.payload.targets] == ['Customer::"C-1"']
    assert record.payload.detail == {
        "asked": {
            "by": {"tenant": "acme", "service": "importer", "credential": "key_1"},
            "subject": {"type": "user", "id": "alice", "properties": {"agent": "support-bot"}},
            "action": "billing.adjust",
            "resource": {"type": "Customer", "id": "C-1"},
        }
    }


def test_a_question_executes_nothing_opens_nothing_and_counts_nothing(w: World) -> None:
    for amount in (2_500, 50_000, 2_000_000):
        w.gate.evaluate(adjusting(amount, session="s"))
    assert w.ran == []
    assert w.customers["C-1"]["balance"] == 100
    assert w.kinds() == ["evaluation"] * 3
    assert w.gate.store.requests(tenant="acme") == ()
    with w.gate.acting(agent="support-bot", user="alice", session="s"):
        assert isinstance(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), Ok)
    facts = w.records()[-2].payload.context
    assert facts is not None
    assert facts["calls"] == 0
    assert facts["meters"]["given"] == 0


def test_a_hold_stays_a_hold_when_it_is_approved_and_the_approval_stays_unused(w: World) -> None:
    held = w.held()
    assert decided(w.gate.evaluate(adjusting(50_000)))[:2] == ("hold", "approval_required")
    vote(w.gate, held.request, "lena")
    answer = w.gate.evaluate(adjusting(50_000))
    assert decided(answer)[:2] == ("hold", "approval_required")
    assert not answer.permitted
    assert isinstance(w.adjust(50_000), Ok), "the approval was still there to be used"
    assert isinstance(w.adjust(50_000), Held), "and was used once"


def test_questions_that_are_asked_together_are_durable_together(w: World) -> None:
    answers = w.gate.evaluate_all([adjusting(amount) for amount in (1, 50_000, 2_000_000)])
    assert [answer.decision.verdict for answer in answers] == ["allow", "hold", "deny"]
    assert [answer.receipt for answer in answers] == [record.receipt for record in w.records()]
    assert len({answer.id for answer in answers}) == 3


@pytest.mark.parametrize(("stop_at", "verdicts"), [("deny", ["allow", "hold"]), ("permit", ["allow"]), (None, ["allow", "hold", "allow"])])
def test_the_last_answer_is_the_first_that_settles_it(w: World, stop_at: Any, verdicts: list[str]) -> None:
    answers = w.gate.evaluate_all([adjusting(amount) for amount in (1, 50_000, 2)], stop_at=stop_at)
    assert [answer.decision.verdict for answer in answers] == verdicts
    assert len(w.records()) == len(verdicts), "what was not evaluated is not recorded"


def test_more_questions_than_may_be_asked_together_are_refused(w: World) -> None:
    with pytest.raises(ValueError, match="at most 100 questions are answered together"):
        w.gate.evaluate_all([adjusting()] * (TOGETHER_LIMIT + 1))
    assert w.records() == []


def test_on_an_event_loop_it_is_the_same(w: World) -> None:
    here, there = w.gate.evaluate(adjusting()), asyncio.run(w.gate.aevaluate(adjusting()))
    assert here.decision == there.decision
    assert w.kinds() == ["evaluation", "evaluation"]


def test_without_a_record_there_is_no_permission(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.gate.seal()

    def refuse(_: object) -> Any:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(w.gate._opened().writer, "submit", refuse)
        answer = w.gate.evaluate(adjusting())
        denied(answer, "log_unavailable", "the audit log cannot be written", "the disk is full")
        assert answer.receipt is None
    assert w.gate.evaluate(adjusting()).permitted


# who is asked about


def test_a_user_is_asked_about_with_the_program_that_asks(w: World) -> None:
    with w.gate.acting(agent="support-bot"):
        assert w.gate.evaluate(adjusting(subject=Subject("user", "alice"))).permitted
    with w.gate.acting(service="importer"):
        denied(w.gate.evaluate(adjusting(subject=Subject("user", "alice"))), "no_permit", 'Service::"importer"')


def test_a_user_alone_is_no_caller(w: World) -> None:
    denied(w.gate.evaluate(adjusting(subject=Subject("user", "alice"))), "no_agent", "a user alone is not a caller")


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        (Subject("agent", "support-bot"), "acts_for_user"),
        (Subject("agent", "nobody", {"on_behalf_of": "alice"}), "unknown_caller"),
        (Subject("agent", "nobody", {"on_behalf_of": "alice", "tenant": "acme"}), "unknown_agent"),
        (Subject("Agent", "support-bot", {"on_behalf_of": "nobody"}), "unknown_user"),
        (Subject("agent", "free-bot", {"on_behalf_of": "alice"}), "no_tenant"),
        (Subject("agent", "support-bot", {"on_behalf_of": "alice", "tenant": "globex"}), "not_in_tenant"),
        (Subject("service", "importer"), "no_permit"),
        (Subject("group", "billing-leads"), "unknown_subject_type"),
        (Subject("user", "alice", {"agent": 7}), "bad_subject"),
        (Subject("user", "alice", {"agent": "support-bot", "service": "importer", "tenant": "acme"}), "agent_and_service"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.type} {value.id}",
)
def test_whoever_cannot_call_is_denied(w: World, subject: Subject, code: str) -> None:
    denied(w.gate.evaluate(adjusting(subject=subject)), code)
    assert [record.kind for log in ("acme", "globex", "operator") for record in w.records(log)].count("evaluation") == 1


def test_what_a_client_says_of_a_subject_grants_nothing(w: World) -> None:
    carl = Subject("user", "carl", {"agent": "support-bot", "roles": ["billing"], "role": "billing", "groups": ["billing-leads"]})
    denied(w.gate.evaluate(adjusting(subject=carl)), "no_permit", 'User::"carl"')


# what is asked about


def test_the_resource_is_the_argument_that_names_it(w: World) -> None:
    assert w.gate.evaluate(Inquiry(ALICE, Action("crm.lookup"), Resource("Customer", "C-1"))).arguments == b'{"customer_id":"C-1"}'


def test_arguments_that_act_on_another_resource_are_denied(w: World) -> None:
    other = Inquiry(ALICE, Action("crm.lookup", {"customer_id": "C-2"}), Resource("Customer", "C-1"))
    denied(w.gate.evaluate(other), "resource_mismatch", 'acts on Customer::"C-2", not on Customer::"C-1"')


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (Resource("Tenant", "globex"), "resource_mismatch"),
        (Resource("Customer", "C-1"), "resource_mismatch"),
        (Resource("Tenant", "acme"), ""),
    ],
    ids=["another tenant", "a customer", "the tenant"],
)
def test_a_tool_without_a_target_acts_on_the_tenant(w: World, resource: Resource, code: str) -> None:
    answer = w.gate.evaluate(Inquiry(ALICE, Action("odd.now"), resource))
    assert answer.decision.code == (code or "allowed")


def test_attributes_come_from_the_resolver_whatever_a_client_says(w: World) -> None:
    question = Inquiry(ALICE, Action("crm.lookup"), Resource("Customer", "G-1", {"tenant": "acme", "vip": True}))
    denied(w.gate.evaluate(question), "target_not_found")
    question = Inquiry(ALICE, Action("crm.lookup"), Resource("Customer", "C-1", {"vip": not w.customers["C-1"]["vip"]}))
    assert w.gate.evaluate(question).permitted
    assert w.records()[-1].payload.targets[0].attributes["vip"] is w.customers["C-1"]["vip"]


def test_arguments_may_stand_in_the_context_and_must_agree(w: World) -> None:
    action, resource = Action("billing.adjust", {"amount_cents": 1, "method": "POST"}), Resource("Customer", "C-1")
    assert w.gate.evaluate(Inquiry(ALICE, Action("billing.adjust"), resource, {"input": {"amount_cents": 1}})).permitted
    assert w.gate.evaluate(Inquiry(ALICE, action, resource, {"input": {"amount_cents": 1}})).permitted, "what no tool takes is no argument"
    denied(w.gate.evaluate(Inquiry(ALICE, action, resource, {"input": {"amount_cents": 2}})), "arguments_disagree", "`amount_cents`")
    denied(w.gate.evaluate(Inquiry(ALICE, action, resource, {"input": [1]})), "bad_input")
    denied(
        w.gate.evaluate(Inquiry(ALICE, Action("billing.adjust"), resource, {"input": {"amount_cents": 1, "amount": 1}})), "unknown_argument"
    )


def test_a_declared_type_has_the_attributes_that_the_request_states(todo: Gate) -> None:
    def update(properties: JsonObject) -> Evaluated:
        with todo.acting(service="todo-app"):
            return todo.evaluate(Inquiry(Subject("user", MORTY), Action("can_update_todo"), Resource("todo", "t-1", properties)))

    assert update({"ownerID": "morty@the-citadel.com", "colour": "red"}).permitted
    assert records(todo, "todo")[-1].payload.targets[0].attributes == {"ownerID": "morty@the-citadel.com"}
    denied(update({"ownerID": "rick@the-citadel.com"}), "no_permit")
    denied(update({}), "no_permit")
    denied(update({"ownerID": 7}), "bad_properties", "the properties of the resource are not those of `Todo`")
    entity = {"__entity": {"type": "Role", "id": "admin"}}
    denied(update({"ownerID": entity}), "bad_properties", "cannot be read")
    assert update({"ownerID": "morty@the-citadel.com", "colour": entity}).permitted, "what is not declared is not looked at"


def test_what_a_call_of_such_a_type_states_is_not_believed(todo: Gate) -> None:
    with todo.acting(service="todo-app", user=MORTY):
        decision = todo.check("can_update_todo", {"todo_id": "t-1"})
    assert (decision.verdict, decision.code) == ("deny", "no_permit")


def test_a_frozen_agent_is_permitted_nothing(w: World) -> None:
    w.gate.freeze("agent", "support-bot", tenant="acme", by="dana", reason="odd")
    denied(w.gate.evaluate(adjusting()), "frozen", "support-bot")


def test_much_that_a_client_says_is_recorded_by_its_digest(w: World) -> None:
    context = {"note": "x" * KEPT_LIMIT_BYTES}
    w.gate.evaluate(Inquiry(ALICE, Action("crm.lookup"), Resource("Customer", "C-1"), context))
    detail = w.records()[-1].payload.detail
    assert detail is not None
    assert set(detail["asked"]["context"]) == {"bytes", "sha256"}


@pytest.mark.parametrize("text", ["\ud800", "x" * 100_000, "a\0b"], ids=["half a pair", "long", "NUL"])
def test_text_that_nobody_can_have_is_a_recorded_denial(w: World, text: str) -> None:
    inquiries = (
        adjusting(subject=Subject("user", text, {"agent": "support-bot"})),
        adjusting(subject=Subject("agent", text, {"on_behalf_of": text, "tenant": text})),
        adjusting(subject=Subject(text, "alice")),
        adjusting(customer=text),
        Inquiry(ALICE, Action(text, {text: text}), Resource(text, text, {text: text}), {"note": text}),
    )
    answers = w.gate.evaluate_all(inquiries)
    assert [answer.decision.verdict for answer in answers] == ["deny"] * len(inquiries)
    assert all(answer.receipt is not None for answer in answers)


def test_what_a_denied_question_says_of_a_resource_goes_with_it(w: World) -> None:
    carl = Subject("user", "carl", {"agent": "support-bot"})
    denied(w.gate.evaluate(adjusting(subject=carl, customer="C-77")), "no_permit")
    (record,) = w.records()
    assert record.payload.names is not None
    assert set(record.payload.names.values()) >= {'User::"carl"', 'Customer::"C-77"'}
