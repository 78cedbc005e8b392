"""Why a call was denied: what is told, to whom, and in which words."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from licet.gate.hindsight import reasons_of_record
from licet.ledger.entries import read_entry
from licet.policy.own import default_text
from tests.console.subjects import HOSTILE, look_up, subject_world
from tests.console.world import ConsoleWorld, text_of
from tests.gate.proof import assert_whole


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def call(served: ConsoleWorld, tool: str, **arguments: object) -> None:
    with served.world.alice():
        served.gate.call(tool, arguments)


def last(served: ConsoleWorld, log: str = "acme") -> str:
    """The address of what explains the newest denial or hold."""
    kinds = served.world.kinds(log)
    return f"/console/why/{log}/{max(place for place, kind in enumerate(kinds) if kind in {'denial', 'hold'})}"


def test_where_nothing_matched_the_nearest_permit_and_what_failed_it_are_told(served: ConsoleWorld) -> None:
    call(served, "billing.adjust", customer_id="C-1", amount_cents=5_000_000)
    page = served.enter("lena").get(last(served))
    text = text_of(page)
    assert "The nearest permit is billing-writes policies/policies.cedar:10" in text
    assert "were it so that context.input.amount_cents <= 1000000" in text
    assert "decides: context.input.amount_cents 5000000" in text
    assert text.index("context.input.amount_cents 5000000") < text.index('context.input.customer_id "C-1"')
    assert "Ask for access" in text


def test_a_forbid_is_told_with_its_place_and_text(served: ConsoleWorld) -> None:
    with served.world.alice(session="s-1"):
        served.gate.label("untrusted")
        served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 100})
    text = text_of(served.enter("lena").get(last(served)))
    assert "Forbidden by untrusted-session policies/policies.cedar:32" in text
    assert '32 @id("untrusted-session")' in text
    assert 'context.session.labels ["untrusted"]' in text
    assert "Ask for access" not in text


def test_the_page_says_what_the_command_says(served: ConsoleWorld) -> None:
    call(served, "crm.lookup", customer_id="C-2")
    reasons = msgspec.to_builtins(reasons_of_record(served.gate.store, read_entry(served.gate.store.get_record("acme", 0))))
    text = text_of(served.enter("lena").get(last(served)))
    (near,) = {one["nearest"]["policy"]: one["nearest"] for one in reasons["unpermitted"]}.values()
    for part in near["failed"]:
        assert part in text
    assert reasons["decision"]["message"].replace("`", "").removeprefix("no ") in text


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("nope", {}, "unknown_tool"),
        ("crm.lookup", {"customer_id": 3}, "is not of type string"),
        ("crm.lookup", {"customer_id": "G-1"}, "One of another tenant would sound the same"),
        ("crm.lookup", {"customer_id": "C-404"}, "One of another tenant would sound the same"),
        ("crm.lookup", {}, "customer_id"),
    ],
)
def test_what_no_policy_decided_says_what_it_was_and_what_to_do(
    served: ConsoleWorld, tool: str, arguments: dict[str, object], words: str
) -> None:
    call(served, tool, **arguments)
    reply = served.enter("lena").get(last(served))
    assert reply.status == 200
    assert words in text_of(reply)


def test_a_freeze_is_told(served: ConsoleWorld) -> None:
    served.gate.freeze("tool", "crm.lookup", reason="odd reads")
    look_up(served)
    text = text_of(served.enter("lena").get(last(served)))
    assert text.count("Frozen") >= 1
    assert "until somebody lifts the freeze" in text


def test_whom_no_permit_is_for_is_told_and_which_permits_there_are(served: ConsoleWorld) -> None:
    with served.gate.acting(agent="night-bot"):
        served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 100})
    text = text_of(served.enter("lena").get(last(served)))
    assert "No permit about this tool is for this caller" in text
    assert 'billing-writes (policies/policies.cedar:10) is for principal in Role::"billing"' in text


def test_a_hold_says_what_must_happen_first(served: ConsoleWorld) -> None:
    served.world.held(50_000)
    page = served.enter("lena").get(last(served))
    assert "approval of 1 member of billing-leads , which adjust-needs-lead asks for" in text_of(page)
    assert "/console/inbox/" in page.content.decode()


def test_who_may_not_read_policies_is_told_the_sentence_and_whom_to_ask() -> None:
    own = default_text().replace(
        'permit (principal in Role::"licet-auditor", action in Action::"auditor", resource);',
        'permit (principal in Role::"licet-auditor", action in Action::"auditor", resource) unless { resource == Tenant::"operator" };',
    )
    assert "unless" in own
    with subject_world(own=own) as served:
        call(served, "billing.adjust", customer_id="C-1", amount_cents=5_000_000)
        page = served.enter("lena").get(last(served))
        text = text_of(page)
        assert "No policy permits" in text
        assert "ada, bert may read them" in text
        for secret in ("1000000", "billing-writes", "policies.cedar", "greta"):
            assert secret not in text


@pytest.mark.parametrize(("user", "status"), [("carl", 403), ("gina", 404), ("greta", 404)])
def test_a_denial_of_another_tenant_answers_as_one_that_is_not_there(served: ConsoleWorld, user: str, status: int) -> None:
    look_up(served, "C-2")
    browser = served.enter(user)
    assert browser.get(last(served)).status == status
    assert browser.get("/console/why/nowhere/0").status == 404
    denied = served.world.records()[0].envelope.call
    assert browser.get(f"/console/why/{denied}").status == (404 if user == "greta" else 403)


def test_a_call_leads_to_its_decision(served: ConsoleWorld) -> None:
    look_up(served, "C-2")
    reply = served.enter("lena").get(f"/console/why/{served.world.records()[0].envelope.call}")
    assert (reply.status, reply.headers["location"]) == (303, "/console/why/acme/0")


def test_a_record_without_a_decision_says_so(served: ConsoleWorld) -> None:
    served.enter("lena")
    assert served.enter("lena").get("/console/why/operator/0").status == 404
    assert served.enter("lena").get("/console/why/acme/99999").status == 404
    assert served.enter("lena").get("/console/why/acme/-1").status == 400


def test_each_explanation_is_recorded(served: ConsoleWorld) -> None:
    look_up(served, "C-2")
    there = last(served)
    served.enter("lena").get(there)
    verbs = [one.payload.detail["verb"] for one in served.world.records() if one.kind == "access" and one.payload.detail]
    assert verbs == ["audit why", "audit show"]


def test_nothing_that_was_sent_is_markup(served: ConsoleWorld) -> None:
    for tool, arguments in ((HOSTILE, {}), ("crm.lookup", {"customer_id": HOSTILE}), ("crm.lookup", {HOSTILE: 1})):
        call(served, tool, **arguments)
        page = served.enter("lena").get(last(served)).content.decode()
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page
