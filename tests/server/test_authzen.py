"""AuthZEN over HTTP: the public cases, who may ask about whom, what is told to whom, and every way in which a request is wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from licet.config.server import ServerSettings
from licet.errors import StoreUnavailable
from licet.gate.evaluating import TOGETHER_LIMIT
from licet.identity.authenticated import Authenticated
from licet.testing import records, vote
from tests.cases.corpus import CORPUS_CONFIG, CORPUS_POLICIES, Case, cases, equip
from tests.gate.proof import assert_whole
from tests.gate.questions import asked
from tests.gate.todo import EXAMPLE, SINGLE, TOGETHER
from tests.server.world import KNOWN, Reply, ServerWorld, server_world

PLENTY = ServerSettings(requests_per_minute=1_000_000)
ALICE = {"type": "user", "id": "alice"}
CUSTOMER = {"type": "Customer", "id": "C-1"}
OWN = """
@id("agents") permit (principal in Role::"licet-agent", action in Action::"agent", resource);
@id("auditors") permit (principal in Role::"licet-auditor", action in Action::"auditor", resource);
@id("not-about-carl") forbid (principal, action in [Action::"evaluations.ask", Action::"evaluations.search"], resource)
when { context has subject && context.subject.id == "carl" };
"""


def question(amount_cents: int = 1, **more: Any) -> dict[str, Any]:
    action = {"name": "billing.adjust", "properties": {"amount_cents": amount_cents}}
    return {"subject": ALICE, "action": action, "resource": CUSTOMER, **more}


@pytest.fixture(scope="module")
def served() -> Iterator[ServerWorld]:
    with server_world(settings=PLENTY) as made:
        yield made
        assert_whole(made.gate)


@pytest.fixture
def own() -> Iterator[ServerWorld]:
    with server_world(settings=PLENTY, own=OWN) as made:
        yield made


@pytest.fixture(scope="module")
def todo() -> Iterator[ServerWorld]:
    texts = [path.read_text() for path in sorted((EXAMPLE / "policies").glob("todo.cedar"))]
    KNOWN["todo-pep"] = Authenticated(
        method="api_key", credential="key-todo", tenants=("todo",), services=("todo-app",), users=("*",), roles=("licet-agent",)
    )
    with server_world((EXAMPLE / "licet.toml").read_text(), "\n".join(texts), settings=PLENTY) as made:
        yield made
    del KNOWN["todo-pep"]


def plain(reply: Reply, status: int, *words: str) -> None:
    """An error of the standard: a sentence of text."""
    assert reply.status == status, reply.content
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    for word in words:
        assert word in reply.content.decode()


def ask(served: ServerWorld, body: dict[str, Any], who: str = "agent", path: str = "evaluation") -> Any:
    reply = served.post(f"/access/v1/{path}", who, body)
    assert reply.status == 200, reply.content
    assert reply.headers["content-type"] == "application/json"
    return reply.json


# the public cases


@pytest.mark.parametrize("number", range(len(SINGLE)))
def test_the_example_answers_every_single_case(todo: ServerWorld, number: int) -> None:
    request, expected = SINGLE[number]
    assert ask(todo, request, "todo-pep")["decision"] is expected


@pytest.mark.parametrize("number", range(len(TOGETHER)))
def test_the_example_answers_every_case_of_several(todo: ServerWorld, number: int) -> None:
    request, expected = TOGETHER[number]
    answer = ask(todo, request, "todo-pep", "evaluations")
    assert [one["decision"] for one in answer["evaluations"]] == expected
    assert set(answer) == {"evaluations"}


# the corpus


@pytest.fixture(scope="module")
def corpus() -> Iterator[ServerWorld]:
    with server_world(CORPUS_CONFIG, CORPUS_POLICIES, settings=PLENTY) as made:
        equip(made.world).gate.seal()
        yield made
        assert_whole(made.gate)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_case_of_the_corpus_is_answered_as_everywhere(corpus: ServerWorld, case: Case) -> None:
    question = asked(corpus.world, case)
    if question is None or case.expect.code == "no_tenant":
        pytest.skip("a question over HTTP cannot say it")
    body = {**msgspec.to_builtins(question), "context": {"tenant": "acme", **question.context}}
    reply = corpus.post("/access/v1/evaluation", "free", body)
    if case.expect.code in {"unknown_tenant", "forbidden_key"}:  # the one is nobody's business, the other in no body that is read
        plain(reply, 403 if case.expect.code == "unknown_tenant" else 400)
        return
    assert reply.status == 200, reply.content
    assert reply.json["decision"] is (case.expect.verdict == "allow")
    if case.expect.verdict != "allow":
        assert reply.json["context"]["reason"] in {case.expect.code, "unknown_subject"}
    assert ("access_request" in reply.json["context"]) is (case.expect.verdict == "hold" and case.expect.code != "preview_only")


# one question


def test_an_answer_names_its_record(served: ServerWorld) -> None:
    before = len(served.world.records())
    answer = ask(served, question())
    (record,) = served.world.records()[before:]
    assert answer["decision"] is True
    assert answer["context"] == {"evaluation_id": record.envelope.call, "evaluated_at": "2026-01-05T09:00:00Z"}
    assert record.kind == "evaluation"
    assert record.payload.detail is not None
    assert record.payload.detail["asked"]["by"] == {"tenant": "acme", "agent": "support-bot", "credential": "key-agent"}


def test_a_denial_is_an_answer_with_a_reason(served: ServerWorld) -> None:
    answer = ask(served, question(subject={"type": "user", "id": "carl"}))
    assert answer["decision"] is False
    assert answer["context"]["reason"] == "no_permit"
    assert answer["context"]["reason_user"] == {"403": "this is not permitted"}
    assert "reason_admin" not in answer["context"]
    assert "access_request" not in answer["context"]


def test_a_hold_is_a_denial_that_says_how_people_are_asked(served: ServerWorld) -> None:
    answer = ask(served, question(50_000))
    assert answer["decision"] is False
    context = answer["context"]
    assert context["reason"] == "approval_required"
    assert context["access_request"] == {
        "endpoint": "https://licet.example.com/api/v1/calls",
        "template": "approval_required",
        "expires_at": "2026-01-05T09:15:00Z",
        "display": {"title": "Propose this call", "description": context["reason_user"]["403"]},
        "call": {"tool": "billing.adjust", "arguments": {"amount_cents": 50_000, "customer_id": "C-1"}},
    }
    assert context["reason_user"]["403"].startswith("people must approve this call: ")


def test_an_approval_does_not_turn_it_into_a_permission_and_is_still_there(own: ServerWorld) -> None:
    held = own.world.held()
    vote(own.gate, held.request, "lena")
    assert ask(own, question(50_000))["decision"] is False
    assert own.world.adjust(50_000).unwrap() == "adjusted"


def test_only_who_reads_policies_is_told_which_decided(own: ServerWorld) -> None:
    KNOWN["both"] = Authenticated(
        method="api_key", credential="key-both", tenants=("acme",), agents=("support-bot",), roles=("licet-agent", "licet-auditor")
    )
    try:
        told = ask(own, question(50_000), "both")["context"]
    finally:
        del KNOWN["both"]
    assert "adjust-needs-lead" in told["reason_admin"]["403"]
    assert "adjust-needs-lead" not in json.dumps(ask(own, question(50_000))["context"])


@pytest.mark.parametrize(
    "subject", [{"type": "user", "id": "nobody"}, {"type": "user", "id": "gina"}, {"type": "planet", "id": "x"}], ids=str
)
def test_whom_the_directory_has_is_not_told(served: ServerWorld, subject: dict[str, str]) -> None:
    context = ask(served, question(subject=subject))["context"]
    assert (context["reason"], context["reason_user"]) == ("unknown_subject", {"403": "this is not permitted"})


def test_a_missing_target_and_one_of_another_tenant_answer_alike(served: ServerWorld) -> None:
    answers = [ask(served, question(resource={"type": "Customer", "id": name}))["context"] for name in ("G-1", "nothing")]
    assert [context["reason"] for context in answers] == ["target_not_found"] * 2
    assert answers[0]["reason_user"] == answers[1]["reason_user"]


def test_the_identifier_of_a_request_comes_back(served: ServerWorld) -> None:
    for body in (question(), {"subject": 1}):
        reply = served.post("/access/v1/evaluation", "agent", body, headers={"X-Request-ID": "bfe9eb29-ab87"})
        assert reply.headers["x-request-id"] == "bfe9eb29-ab87"


def test_what_is_not_known_is_passed_over(served: ServerWorld) -> None:
    body = question(more=1, context={"time": "1985-10-26T01:22-07:00"})
    body["subject"] = {**ALICE, "more": [], "properties": {"department": "Sales"}}
    assert ask(served, body)["decision"] is True


# who may ask


def test_nobody_asks_without_a_credential(served: ServerWorld) -> None:
    plain(served.post("/access/v1/evaluation", None, question()), 401, "a valid credential is needed")
    plain(served.post("/access/v1/evaluation", "stranger", question()), 401)


@pytest.mark.parametrize("who", ["auditor", "nobody", "lena"])
@pytest.mark.parametrize("path", ["evaluation", "search/action"])
def test_who_may_not_ask_is_refused(served: ServerWorld, who: str, path: str) -> None:
    before = served.world.records()
    plain(served.post(f"/access/v1/{path}", who, question()), 403, "is not permitted to this credential")
    assert served.world.records() == before


def test_whom_a_client_may_ask_about_is_a_policy(own: ServerWorld) -> None:
    assert ask(own, question())["decision"] is True
    plain(own.post("/access/v1/evaluation", "agent", question(subject={"type": "user", "id": "carl"})), 403)
    indirect = {"type": "agent", "id": "support-bot", "properties": {"on_behalf_of": "carl"}}
    plain(own.post("/access/v1/evaluation", "agent", question(subject=indirect)), 403)
    found = ask(own, {**question(), "subject": {"type": "user"}}, path="search/subject")
    assert "carl" not in [one["id"] for one in found["results"]]


@pytest.mark.parametrize("tenant", ["globex", "nowhere", "operator", ""])
def test_another_tenant_and_one_that_is_not_there_answer_alike(served: ServerWorld, tenant: str) -> None:
    reply = served.post("/access/v1/evaluation", "agent", question(context={"tenant": tenant}))
    plain(reply, 403)
    assert reply.content == b"`evaluations.ask` is not permitted to this credential"


def test_a_credential_for_several_tenants_says_which(served: ServerWorld) -> None:
    plain(served.post("/access/v1/evaluation", "free", question()), 400, "say for which tenant")
    assert ask(served, question(context={"tenant": "acme"}), "free")["decision"] is True


# what is wrong with a request

NO_TYPE = {**question(), "subject": {"id": "alice"}}
WRONG: dict[str, bytes] = {
    "no subject": json.dumps({name: value for name, value in question().items() if name != "subject"}).encode(),
    "no action": json.dumps({name: value for name, value in question().items() if name != "action"}).encode(),
    "no resource": json.dumps({name: value for name, value in question().items() if name != "resource"}).encode(),
    "subject without type": json.dumps(NO_TYPE).encode(),
    "subject without id": json.dumps(question(subject={"type": "user"})).encode(),
    "action without name": json.dumps(question(action={})).encode(),
    "resource without id": json.dumps(question(resource={"type": "Customer"})).encode(),
    "subject is text": json.dumps(question(subject="alice")).encode(),
    "name is a number": json.dumps(question(action={"name": 123})).encode(),
    "properties are a list": json.dumps(question(subject={**ALICE, "properties": []})).encode(),
    "context is null": json.dumps(question(context=None)).encode(),
    "tenant is a number": json.dumps(question(context={"tenant": 7})).encode(),
    "no JSON": b"{",
    "empty": b"",
    "a list": b"[]",
    "a key twice": b'{"subject": {"type": "user", "id": "alice"}, ' + json.dumps(question()).encode()[1:],
    "not UTF-8": b'{"subject": "\xff"}',
    "deep": b'{"subject":' + b"[" * 100 + b"]" * 100 + b"}",
}


@pytest.mark.parametrize("path", ["evaluation", "evaluations", "search/subject", "search/resource", "search/action"])
@pytest.mark.parametrize("raw", WRONG.values(), ids=WRONG)
def test_a_request_that_is_wrong_is_a_bad_request(served: ServerWorld, path: str, raw: bytes) -> None:
    excused = {
        "search/subject": ("subject without id",),
        "search/resource": ("resource without id",),
        "search/action": ("no action", "action without name", "name is a number"),
        "evaluations": (),
        "evaluation": (),
    }
    if any(raw == WRONG[name] for name in excused[path]):
        pytest.skip("a search leaves that out")
    plain(served.request("POST", f"/access/v1/{path}", "agent", raw=raw), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"])
def test_another_content_type_is_a_bad_request(served: ServerWorld, kind: str) -> None:
    reply = served.request("POST", "/access/v1/evaluation", "agent", raw=json.dumps(question()).encode(), headers={"content-type": kind})
    plain(reply, 400, "application/json")


def test_the_paths_take_no_other_method(served: ServerWorld) -> None:
    assert served.get("/access/v1/evaluation", "agent").status == 405


def test_what_cannot_be_recorded_is_not_answered(own: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> Any:
        raise StoreUnavailable("the disk is full")

    own.gate.seal()
    with monkeypatch.context() as patch:
        patch.setattr(own.gate._opened().writer, "submit", refuse)
        plain(own.post("/access/v1/evaluation", "agent", question()), 500, "cannot be written")
        answer = ask(own, {"evaluations": [question()]}, path="evaluations")
    assert answer["evaluations"][0]["decision"] is False
    assert answer["evaluations"][0]["context"]["error"]["status"] == 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "id", "properties", "name", "input", "tenant", "agent", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(
    st.sampled_from(["subject", "action", "resource", "context", "evaluations", "options", "page"]),
    JSON | st.just(ALICE) | st.just(CUSTOMER) | st.just({"name": "crm.lookup"}),
    max_size=7,
)


@pytest.mark.parametrize("path", ["evaluation", "evaluations", "search/subject", "search/resource", "search/action"])
@given(body=BODIES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_sent_is_answered_or_refused_and_never_permitted_by_accident(served: ServerWorld, path: str, body: Any) -> None:
    reply = served.post(f"/access/v1/{path}", "agent", body)
    assert reply.status in {200, 400, 403}, reply.content
    if reply.status == 200 and path == "evaluation" and reply.json["decision"]:
        assert body["action"]["name"] == "crm.lookup"


@given(raw=st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_bytes_that_are_no_question_are_refused(served: ServerWorld, raw: bytes) -> None:
    plain(served.request("POST", "/access/v1/evaluation", "agent", raw=raw), 400)


# several questions


def together(*amounts: int, semantic: str | None = None, **more: Any) -> dict[str, Any]:
    base = {name: value for name, value in question().items() if name != "action"}
    items: list[Any] = [{"action": {"name": "billing.adjust", "properties": {"amount_cents": amount}}} for amount in amounts]
    options = {} if semantic is None else {"options": {"evaluations_semantic": semantic, "another_option": "value"}}
    return {**base, "evaluations": items, **options, **more}


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        (None, [True, False, True]),
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_the_semantics_say_where_it_ends(served: ServerWorld, semantic: str | None, decisions: list[bool]) -> None:
    before = len(served.world.records())
    answer = ask(served, together(1, 50_000, 2, semantic=semantic), path="evaluations")
    assert [one["decision"] for one in answer["evaluations"]] == decisions
    assert len(served.world.records()) == before + len(decisions)


def test_an_item_that_fails_is_false_and_says_why(served: ServerWorld) -> None:
    body = together(1)
    body["evaluations"] += [
        {"action": {}},
        {"action": "x"},
        {"subject": {"type": "user", "id": "alice"}, "context": {"tenant": "globex"}},
        *body["evaluations"],
    ]
    body["evaluations"][3]["action"] = body["evaluations"][0]["action"]
    answers = ask(served, body, path="evaluations")["evaluations"]
    assert [one["decision"] for one in answers] == [True, False, False, False, True]
    assert [one["context"].get("error", {}).get("status") for one in answers] == [None, 400, 400, 403, None]
    assert "name" in answers[1]["context"]["error"]["message"]


def test_a_failure_is_a_denial_that_ends_it(served: ServerWorld) -> None:
    body = together(1, 2, semantic="deny_on_first_deny")
    body["evaluations"].insert(1, {"action": {}})
    answers = ask(served, body, path="evaluations")["evaluations"]
    assert [one["decision"] for one in answers] == [True, False]
    body["options"]["evaluations_semantic"] = "permit_on_first_permit"
    body["evaluations"].insert(0, {"action": {}})
    assert [one["decision"] for one in ask(served, body, path="evaluations")["evaluations"]] == [False, True]


@pytest.mark.parametrize("more", [{}, {"evaluations": []}], ids=["absent", "empty"])
def test_without_items_it_is_one_question(served: ServerWorld, more: dict[str, Any]) -> None:
    answer = ask(served, question(**more), path="evaluations")
    assert answer["decision"] is True
    assert "evaluations" not in answer


def test_an_item_overrides_what_it_would_inherit(served: ServerWorld) -> None:
    body = together(1)
    body["evaluations"].append({**body["evaluations"][0], "subject": {"type": "user", "id": "carl"}})
    assert [one["decision"] for one in ask(served, body, path="evaluations")["evaluations"]] == [True, False]


@pytest.mark.parametrize(
    "body",
    [
        together(1, semantic="whatever"),
        together(1, options=[]),
        {"evaluations": {}},
        {"evaluations": [1]},
        together(*range(TOGETHER_LIMIT + 1)),
    ],
    ids=["semantic", "options", "an object", "a number", "too many"],
)
def test_a_payload_that_is_wrong_is_a_bad_request(served: ServerWorld, body: dict[str, Any]) -> None:
    plain(served.post("/access/v1/evaluations", "agent", body), 400)


def test_questions_together_may_each_be_refused_and_no_answer_goes_out_unasked(served: ServerWorld) -> None:
    answers = ask(served, together(1, 2), "auditor", "evaluations")["evaluations"]
    assert [one["context"]["error"]["status"] for one in answers] == [403, 403]


# search


def search(served: ServerWorld, sought: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = ask(served, {**question(), **more}, path=f"search/{sought}")
    return found


def test_a_search_goes_page_by_page(served: ServerWorld) -> None:
    body = {"subject": {"type": "user"}, "action": {"name": "crm.lookup"}}
    whole = search(served, "subject", **body)
    assert whole["page"] == {"next_token": "", "count": len(whole["results"])}
    assert {"type": "user", "id": "alice"} in whole["results"]
    first = search(served, "subject", **body, page={"limit": 1})
    assert first["results"] == whole["results"][:1]
    rest = search(served, "subject", **body, page={"token": first["page"]["next_token"]})
    assert rest["results"] == whole["results"][1:2], "the limit goes with the token"
    again = search(served, "subject", **body, page={"token": first["page"]["next_token"], "limit": 1})
    assert again["results"] == rest["results"]


def test_a_token_tells_no_name(served: ServerWorld) -> None:
    token = search(served, "subject", subject={"type": "user"}, action={"name": "crm.lookup"}, page={"limit": 1})["page"]["next_token"]
    names = [name.encode() for name in served.gate.scene.directory.users]
    assert not any(name in base64.urlsafe_b64decode(token) for name in names)


@pytest.mark.parametrize(
    "change",
    [
        {"resource": {"type": "Customer", "id": "C-2"}},
        {"page": {"limit": 2}},
        {"page": {"token": "nonsense"}},
        {"page": {"token": "A" * 5_000}},
    ],
    ids=["question", "limit", "nonsense", "long"],
)
def test_a_token_of_another_question_is_refused(served: ServerWorld, change: dict[str, Any]) -> None:
    body = {**question(), "subject": {"type": "user"}, "action": {"name": "crm.lookup"}}
    token = ask(served, {**body, "page": {"limit": 1}}, path="search/subject")["page"]["next_token"]
    page = {"token": token, **change.get("page", {})}
    reply = served.post("/access/v1/search/subject", "agent", {**body, **change, "page": page})
    plain(reply, 400, "page token")


def test_a_search_for_actions_names_no_action(served: ServerWorld) -> None:
    body = {"subject": ALICE, "resource": CUSTOMER, "context": {"input": {"customer_id": "C-1", "amount_cents": 1}}}
    assert {"name": "billing.adjust"} in ask(served, body, path="search/action")["results"]


def test_what_is_not_known_has_no_results_and_what_cannot_be_listed_is_said(served: ServerWorld) -> None:
    assert search(served, "subject", subject={"type": "planet"})["results"] == []
    assert search(served, "resource", resource={"type": "Planet"})["results"] == []
    assert search(served, "action", resource={"type": "Planet", "id": "x"})["results"] == []
    plain(served.post("/access/v1/search/resource", "agent", question()), 400, "cannot be listed here")


def test_a_search_agrees_with_a_question_about_each(todo: ServerWorld) -> None:
    body = {
        "action": {"name": "can_update_todo"},
        "resource": {"type": "todo", "id": "t", "properties": {"ownerID": "morty@the-citadel.com"}},
    }
    found = ask(todo, {**body, "subject": {"type": "user"}}, "todo-pep", "search/subject")["results"]
    for user in todo.gate.scene.directory.users:
        subject = {"type": "user", "id": user}
        assert ask(todo, {**body, "subject": subject}, "todo-pep")["decision"] is (subject in found)
    assert records(todo.gate, "todo")[-1].kind == "evaluation"


# where it is


def test_the_metadata_says_where_everything_is(served: ServerWorld) -> None:
    reply = served.get("/.well-known/authzen-configuration")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    base = "https://licet.example.com"
    assert reply.json == {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
        "search_subject_endpoint": f"{base}/access/v1/search/subject",
        "search_resource_endpoint": f"{base}/access/v1/search/resource",
        "search_action_endpoint": f"{base}/access/v1/search/action",
    }
    for url in list(reply.json.values())[1:]:
        assert served.post(url.removeprefix(base), "agent", {}).status == 400, "it is there"
