"""Calls over HTTP: proposed, executed by whoever proposed them, reported once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from licet.testing import vote
from tests.gate.remoting import REMOTE_CONFIG, REMOTE_POLICIES, verified
from tests.server.world import KNOWN, Reply, ServerWorld, server_world

CALLS = "/api/v1/calls"
ALICE = {"user": "alice"}
PAID = {"target": 'Customer::"C-1"', "field": "balance", "before": 100, "after": 2_600}


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    with server_world(REMOTE_CONFIG, REMOTE_POLICIES) as found:
        yield found
        assert verified(found.world).problems == ()


def propose(served: ServerWorld, amount_cents: int = 2_500, who: str = "agent", **more: Any) -> Reply:
    body = {"tool": "wire.pay", "arguments": {"customer_id": "C-1", "amount_cents": amount_cents}, "caller": ALICE}
    return served.post(CALLS, who, {**body, **more})


def allowed(served: ServerWorld, amount_cents: int = 2_500, **more: Any) -> Any:
    reply = propose(served, amount_cents, **more)
    assert (reply.status, reply.json["decision"]) == (200, "allow"), reply.content
    return reply.json


def report(served: ServerWorld, call: str, who: str = "agent", **said: Any) -> Reply:
    return served.post(f"{CALLS}/{call}/outcome", who, {"status": "ok", **said})


# propose


def test_what_is_permitted_says_what_to_execute_and_until_when_to_report(served: ServerWorld) -> None:
    found = allowed(served)
    assert found == {
        "call": found["call"],
        "decision": "allow",
        "code": "allowed",
        "message": found["message"],
        "policies": ["wires"],
        "receipt": found["receipt"],
        "arguments": {"amount_cents": 2500, "customer_id": "C-1"},
        "report_by": "2026-01-05T09:01:00Z",
    }
    (record,) = served.world.records()
    assert (record.kind, record.envelope.call, record.receipt.leaf) == ("intent", found["call"], found["receipt"]["leaf"])
    assert record.envelope.actor is not None
    assert (record.envelope.actor.agent, record.envelope.actor.user) == ("support-bot", "alice")


def test_a_denial_is_an_answer_and_permits_nothing(served: ServerWorld) -> None:
    reply = propose(served, arguments={"customer_id": "G-1", "amount_cents": 1})
    assert (reply.status, reply.json["decision"], reply.json["code"]) == (200, "deny", "target_not_found")
    assert "arguments" not in reply.json
    assert served.world.kinds() == ["denial"]


def test_a_held_call_names_its_request_and_goes_on_once_people_have_approved(served: ServerWorld) -> None:
    held = propose(served, 50_000).json
    assert (held["decision"], held["code"]) == ("hold", "approval_required")
    assert [(one["kind"], one["policy"], one["group"]) for one in held["obligations"]] == [("approval", "wires-need-lead", "billing-leads")]
    assert "arguments" not in held
    vote(served.gate, held["request"], "lena")
    assert allowed(served, 50_000)["arguments"]["amount_cents"] == 50_000


def test_a_held_call_is_told_no_more_than_its_caller_may_read(served: ServerWorld) -> None:
    body = {"tool": "account.suspend", "arguments": {"customer_id": "C-1"}, "caller": ALICE}
    held = served.post(CALLS, "agent", body).json
    assert held["decision"] == "hold"
    assert "vip" not in str(held)


def test_a_proposal_waits_for_people_as_long_as_it_says(served: ServerWorld) -> None:
    held = propose(served, 50_000, wait_s=0.01).json
    assert held["decision"] == "hold"
    vote(served.gate, held["request"], "lena")
    assert propose(served, 50_000, wait_s=5).json["decision"] == "allow"


def test_a_dry_run_tells_the_decision_and_records_nothing(served: ServerWorld) -> None:
    reply = propose(served, dry_run=True)
    assert (reply.status, reply.json["decision"], reply.json["code"]) == (200, "allow", "allowed")
    assert {"call", "receipt", "arguments", "report_by"}.isdisjoint(reply.json)
    assert propose(served, 50_000, dry_run=True).json["decision"] == "hold"
    assert served.world.records() == []


def test_the_trace_of_the_caller_is_recorded_and_a_malformed_one_is_left_out(served: ServerWorld) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    body = {
        "tool": "wire.pay",
        "arguments": {"customer_id": "C-1", "amount_cents": 1},
        "caller": ALICE,
        "workflow": "w-1",
        "reason": "asked",
    }
    served.post(CALLS, "agent", body, headers={"traceparent": f"00-{trace}-{span}-01"})
    served.post(CALLS, "agent", body, headers={"traceparent": f"00-{trace}-{'0' * 16}-01"})
    first, second = served.world.records()
    assert first.envelope.trace is not None
    assert (first.envelope.trace.trace_id, first.envelope.trace.parent, first.envelope.trace.workflow) == (trace, span, "w-1")
    assert first.payload.reason == "asked"
    assert second.envelope.trace is not None
    assert second.envelope.trace.trace_id is None


# who


@pytest.mark.parametrize(
    ("who", "caller", "status", "code"),
    [
        ("agent", {"user": "lena"}, 403, "not_in_scope"),
        ("agent", {"agent": "night-bot"}, 403, "not_in_scope"),
        ("agent", {"tenant": "globex", "user": "alice"}, 403, "not_in_scope"),
        ("agent", {"tenant": "nowhere", "user": "alice"}, 403, "not_in_scope"),
        ("free", {"tenant": "nowhere", "user": "alice"}, 404, "not_found"),
        ("free", {"user": "alice"}, 403, "tenant_needed"),
        ("auditor", {}, 403, "no_agent"),
        ("admin", {"tenant": "acme"}, 403, "no_agent"),
        ("lena", {}, 403, "no_agent"),
        (None, ALICE, 401, "invalid_credential"),
    ],
    ids=["user", "agent", "tenant", "no tenant", "unknown tenant", "which tenant", "auditor", "admin", "person", "nobody"],
)
def test_nobody_calls_as_whom_the_credential_does_not_speak_for(
    served: ServerWorld, who: str | None, caller: Any, status: int, code: str
) -> None:
    body = {"tool": "wire.pay", "arguments": {"customer_id": "C-1", "amount_cents": 1}, "caller": caller}
    reply = served.post(CALLS, who, body)
    assert (reply.status, reply.code) == (status, code)
    assert served.world.records() == []


@pytest.mark.parametrize("more", [{}, {"dry_run": True}], ids=["proposed", "dry"])
def test_who_is_of_another_tenant_is_told_as_nobody(served: ServerWorld, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    monkeypatch.setitem(KNOWN, "agent", replace(KNOWN["agent"], users=("*",), agents=("*",), roles=("licet-agent", "licet-admin")))
    told = []
    for caller in ({"agent": "support-bot", "user": "gina"}, {"agent": "support-bot", "user": "g1na"}, {"agent": "no-bot", "user": "gina"}):
        reply = propose(served, caller=caller, **more)
        told.append((reply.status, reply.json["decision"], reply.json["code"], reply.json["message"]))
        undone = served.post(f"{CALLS}/no-such/undo", "agent", {"caller": caller})
        assert (undone.status, undone.code) == (422, "unknown_caller")
    assert told == [(200, "deny", "unknown_caller", "there is no such agent, service or user in this tenant")] * 3
    decisions = [record.envelope.decision for record in served.world.records("operator") if record.kind == "denial"]
    recorded = [decision.code for decision in decisions if decision is not None]
    assert recorded == ([] if more else ["not_in_tenant", "unknown_user", "unknown_agent"]), "the log has what it was"


def test_a_credential_without_the_permission_proposes_nothing(served: ServerWorld) -> None:
    with server_world(
        REMOTE_CONFIG, REMOTE_POLICIES, own='@id("nothing")\npermit (principal, action == Action::"catalog.read", resource);\n'
    ) as bare:
        reply = propose(bare)
        assert (reply.status, reply.code) == (403, "not_permitted")
        assert bare.world.records() == []


# report


def test_a_report_is_recorded_once_and_the_same_again_is_answered_alike(served: ServerWorld) -> None:
    call = allowed(served)["call"]
    said: dict[str, Any] = {"result": {"id": "tx-1", "n": [1.5, None]}, "effects": [PAID], "duration_us": 1_200}
    first = report(served, call, **said)
    assert (first.status, first.json["status"], first.json["late"], first.json["repeated"]) == (200, "ok", False, False)
    again = report(served, call, **said)
    assert (again.status, again.json["repeated"], again.json["receipt"]) == (200, True, first.json["receipt"])
    other = report(served, call, result={"id": "tx-2"}, effects=[PAID])
    assert (other.status, other.code) == (409, "already_reported")
    assert served.world.kinds() == ["intent", "outcome"]
    assert bytes(served.world.records()[-1].payload.result) == b'{"id":"tx-1","n":[1.5,null]}'


@pytest.mark.parametrize("who", ["night", "agent-globex", "auditor", "admin", "admin-acme", "alice", "lena", "nobody"])
def test_to_whoever_does_not_speak_for_its_caller_there_is_no_such_call(served: ServerWorld, who: str) -> None:
    call = allowed(served)["call"]
    for reply in (report(served, call, who), served.get(f"{CALLS}/{call}", who), report(served, "no-such-call", who)):
        assert (reply.status, reply.code) == (404, "not_found")
    assert served.world.kinds() == ["intent"]


def test_whoever_speaks_for_its_caller_reports_it_by_another_credential(served: ServerWorld) -> None:
    body = {"tool": "billing.refund", "arguments": {"customer_id": "C-1", "amount_cents": 5}, "caller": {"tenant": "acme", "user": "alice"}}
    reply = served.post(CALLS, "free", {**body, "caller": {"tenant": "acme", "user": "alice"}})
    assert reply.json["decision"] == "allow", reply.content
    assert report(served, reply.json["call"], "agent").status == 404
    assert report(served, reply.json["call"], "free").status == 200


def test_what_was_not_permitted_has_no_end(served: ServerWorld) -> None:
    held = propose(served, 50_000).json["call"]
    denied = propose(served, arguments={"customer_id": "G-1", "amount_cents": 1}).json["call"]
    for call in (held, denied):
        reply = report(served, call)
        assert (reply.status, reply.code) == (409, "not_permitted")


@pytest.mark.parametrize(
    "said",
    [
        {"status": "done"},
        {"status": "error", "result": 1},
        {"status": "error", "code": "a b"},
        {"status": "ok", "duration_us": -1},
        {"status": "ok", "by": "lena"},
        {"status": "ok", "effects": [{"target": "", "field": "x", "after": 1}]},
        {"status": "ok", "result": {"__entity": 1}},
    ],
    ids=["status", "result of an error", "code", "duration", "unknown", "effect", "entity"],
)
def test_a_report_that_is_none_is_refused_and_ends_nothing(served: ServerWorld, said: Any) -> None:
    call = allowed(served)["call"]
    reply = served.post(f"{CALLS}/{call}/outcome", "agent", said)
    assert reply.status == 400, reply.content
    assert served.world.kinds() == ["intent"]


def test_a_report_after_its_time_says_that_it_is_late(served: ServerWorld) -> None:
    call = allowed(served)["call"]
    served.world.clock.advance(61)
    assert report(served, call).json["late"]
    assert served.world.kinds() == ["intent", "recovery", "outcome"]


# keys


def test_an_idempotency_key_permits_once_and_repeats_what_was_reported(served: ServerWorld) -> None:
    call = allowed(served, idempotency_key="k-1")["call"]
    open_still = propose(served, idempotency_key="k-1").json
    assert (open_still["decision"], open_still["repeats"], open_still["end"]["status"]) == ("repeat", call, "unknown")
    assert "arguments" not in open_still
    report(served, call, result="paid")
    again = propose(served, idempotency_key="k-1").json
    assert (again["decision"], again["end"]["status"], again["end"]["result"]) == ("repeat", "ok", "paid")
    assert propose(served, 7, idempotency_key="k-1").json["code"] == "key_reused"


def test_the_key_may_be_a_header_and_must_not_be_two(served: ServerWorld) -> None:
    body = {"tool": "wire.pay", "arguments": {"customer_id": "C-1", "amount_cents": 1}, "caller": ALICE}
    first = served.post(CALLS, "agent", body, headers={"idempotency-key": "h-1"})
    assert first.json["decision"] == "allow"
    assert served.post(CALLS, "agent", {**body, "idempotency_key": "h-1"}).json["repeats"] == first.json["call"]
    both = served.post(CALLS, "agent", {**body, "idempotency_key": "other"}, headers={"idempotency-key": "h-1"})
    assert (both.status, both.code) == (400, "bad_request")


# look, undo


def test_a_call_is_shown_to_whoever_speaks_for_its_caller(served: ServerWorld) -> None:
    call = allowed(served)["call"]
    seen = served.get(f"{CALLS}/{call}", "agent").json
    assert (seen["state"], seen["tenant"], seen["agent"], seen["user"], seen["decision"]) == (
        "open",
        "acme",
        "support-bot",
        "alice",
        "allow",
    )
    assert (seen["end"], len(seen["receipts"])) == (None, 1)
    report(served, call, result="paid")
    seen = served.get(f"{CALLS}/{call}", "agent").json
    assert (seen["state"], seen["end"]["status"], seen["end"]["result"], len(seen["receipts"])) == ("ended", "ok", "paid", 2)


def test_the_reverse_of_a_call_needs_a_permission_of_its_own(served: ServerWorld) -> None:
    call = allowed(served)["call"]
    report(served, call, result="paid", effects=[PAID])
    refused = served.post(f"{CALLS}/{call}/undo", "agent", {"caller": ALICE})
    assert (refused.status, refused.code) == (403, "not_permitted")


def test_whoever_may_undo_is_given_the_reverse_to_execute() -> None:
    own = '@id("all")\npermit (principal in Role::"licet-agent", action, resource);\n'
    with server_world(REMOTE_CONFIG, REMOTE_POLICIES, own=own) as served:
        call = allowed(served)["call"]
        early = served.post(f"{CALLS}/{call}/undo", "agent", {"caller": ALICE})
        assert (early.status, early.code) == (422, "not_ended")
        report(served, call, result="paid", effects=[PAID])
        undo = served.post(f"{CALLS}/{call}/undo", "agent", {"caller": ALICE}).json
        assert (undo["decision"], undo["arguments"]["effects"]) == (
            "allow",
            [{"target": 'Customer::"C-1"', "field": "balance", "before": 2600, "after": 100}],
        )
        assert served.post(f"{CALLS}/none/undo", "agent", {"caller": ALICE}).code == "not_found"
        report(served, undo["call"])
