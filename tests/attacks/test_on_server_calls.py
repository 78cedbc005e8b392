"""Attacks on calls over HTTP: keys of others, reports of others, envelopes that two parsers could read differently, names that are code."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from licet.config.server import ServerSettings
from licet.server import exchange
from licet.server.reading import decode_body
from tests.gate.proof import assert_whole
from tests.gate.remoting import REMOTE_CONFIG, REMOTE_POLICIES
from tests.server.world import Reply, ServerWorld, server_world

TOOL = """
[tools."note.write"]
access = "write"
[tools."note.write".schema]
type = "object"
properties = {note = {}}
"""
POLICIES = REMOTE_POLICIES + '@id("notes")\npermit (principal in Role::"billing", action == Action::"note.write", resource);\n'
ALICE = {"user": "alice"}


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    with server_world(REMOTE_CONFIG + TOOL, POLICIES, settings=ServerSettings(requests_per_minute=1_000_000)) as made:
        yield made
        assert made.world.ran == []
        assert_whole(made.gate)


def pay(served: ServerWorld, who: str = "agent", caller: Any = None, customer: str = "C-1", cents: int = 2_500, **more: Any) -> Reply:
    body = {"tool": "wire.pay", "arguments": {"customer_id": customer, "amount_cents": cents}, "caller": caller or ALICE}
    return served.post("/api/v1/calls", who, body, **more)


def intents(served: ServerWorld) -> int:
    return sum(served.world.kinds(log).count("intent") for log in ("acme", "globex"))


# keys and reports


def test_a_key_is_its_callers_alone(served: ServerWorld) -> None:
    headers = {"Idempotency-Key": "shared"}
    first = pay(served, headers=headers).json
    assert first["decision"] == "allow"
    globex = {"tenant": "globex", "agent": "free-bot", "user": "gina"}
    assert pay(served, "agent-globex", globex, "G-1", headers=headers).json["decision"] == "allow", "of another tenant"
    free = {"tenant": "acme", "agent": "free-bot", "user": "alice"}
    assert pay(served, "free", free, headers=headers).json["decision"] == "allow", "of another agent for the same user"
    again = pay(served, headers=headers).json
    assert (again["decision"], again["repeats"]) == ("repeat", first["call"])
    assert pay(served, headers=headers, cents=2_501).json["code"] == "key_reused"
    assert intents(served) == 3


@pytest.mark.parametrize("name", ["Idempotency-Key", "If-Match", "Content-Type", "Content-Encoding"])
def test_a_header_that_changes_what_is_done_stands_once(served: ServerWorld, name: str) -> None:
    value = {"Content-Type": "application/json", "Content-Encoding": "identity"}
    pairs = [(name, value.get(name, "one")), (name, value.get(name, "two"))]
    reply = pay(served, headers=pairs)
    assert (reply.status, reply.code) == (400, "bad_request")
    assert intents(served) == 0


def test_a_call_has_one_end_and_only_its_caller_says_which(served: ServerWorld) -> None:
    call = pay(served).json["call"]
    path = f"/api/v1/calls/{call}/outcome"
    paid = {"status": "ok", "result": "paid", "effects": [{"target": 'Customer::"C-1"', "field": "balance", "after": 1}]}
    for who in ("auditor", "admin", "night", "agent-globex", "lena", "alice", "nobody"):
        assert served.post(path, who, paid).status in {403, 404}
    first = served.post(path, "agent", paid)
    assert first.status == 200
    again = served.post(path, "agent", paid).json
    assert (again["receipt"], again["repeated"]) == (first.json["receipt"], True)
    for other in ({"status": "error"}, {"status": "ok"}, {**paid, "effects": []}, {**paid, "result": "Paid"}, {**paid, "duration_us": 5}):
        reply = served.post(path, "agent", other)
        assert (reply.status, reply.code) == (409, "already_reported"), reply.content
    assert served.world.kinds().count("outcome") == 1


def test_what_policy_permitted_before_it_was_tightened_may_be_reported_and_not_proposed_again(served: ServerWorld) -> None:
    call = pay(served).json["call"]
    policies = served.gate.settings.policies / "policies.cedar"
    policies.write_text(policies.read_text().replace('action in [Action::"wire.pay", ', "action in [", 1))
    served.gate.reload(served.gate.settings)
    assert pay(served).json["decision"] == "deny"
    assert served.post(f"/api/v1/calls/{call}/outcome", "agent", {"status": "ok"}).status == 200


def test_an_approval_does_not_outlive_the_permission(served: ServerWorld) -> None:
    request = pay(served, cents=50_000).json["request"]
    binding = served.get(f"/api/v1/requests/{request}", "lena").json["binding"]
    assert served.post(f"/api/v1/requests/{request}/votes", "lena", {"verdict": "approve", "binding": binding}).status == 200
    policies = served.gate.settings.policies / "policies.cedar"
    policies.write_text(policies.read_text() + '@id("stop")\nforbid (principal, action == Action::"wire.pay", resource);\n')
    served.gate.reload(served.gate.settings)
    assert pay(served, cents=50_000).json["decision"] == "deny"
    assert intents(served) == 0


# what the envelope's parser and the gate's parser see


@pytest.mark.parametrize(
    "value",
    [
        '{"__entity":{"type":"Role","id":"billing"}}',
        '{"a":[{"__extn":{"fn":"unknown","arg":"x"}}]}',
        '{"a":1,"a":2}',
        '{"a":1,"\\u0061":2}',
        '{"a":{"b":{"c":1,"c":2}}}',
        "NaN",
        "Infinity",
        "1e400",
        "[" * 200 + "]" * 200,
        "01",
        "1.",
        "'a'",
        '"\\ud800"',
        '"\t"',
        "1/**/",
    ],
)
def test_arguments_that_could_mean_two_things_permit_nothing(served: ServerWorld, value: str) -> None:
    raw = f'{{"tool":"note.write","caller":{{"user":"alice"}},"arguments":{{"note":{value}}}}}'.encode()
    reply = served.request("POST", "/api/v1/calls", "agent", raw=raw)
    assert reply.status in {200, 400}
    assert reply.status == 400 or reply.json["decision"] == "deny", reply.content
    assert intents(served) == 0


@pytest.mark.parametrize(
    "value", ["1", "-0", "1.50", "100", "9007199254740993", '"é\\u0000"', '"\\ud83d\\ude00"', "[1,[],{}]", '{"b":1,"a":null}', "true"]
)
def test_what_is_permitted_is_what_is_recorded_to_the_byte(served: ServerWorld, value: str) -> None:
    raw = f'{{"tool":"note.write","caller":{{"user":"alice"}},"arguments":{{"note":{value}}}}}'.encode()
    reply = served.request("POST", "/api/v1/calls", "agent", raw=raw)
    assert reply.status in {200, 400}
    if reply.status == 400 or reply.json["decision"] == "deny":
        assert intents(served) == 0
        return
    (intent,) = [record for record in served.world.records() if record.kind == "intent"]
    assert bytes(intent.payload.arguments) in reply.content
    assert json.loads(bytes(intent.payload.arguments)) == {"note": json.loads(value)}


@pytest.mark.parametrize(
    "more",
    [
        {"_meta": {"approved": True}},
        {"decision": "allow"},
        {"approval": "x"},
        {"roles": ["licet-admin"]},
        {"call": "x"},
        {"caller": {"user": "alice", "roles": ["security"]}},
        {"caller": {"user": "alice", "tenant": ["acme"]}},
        {"caller": [{"user": "alice"}]},
        {"wait_s": -1},
        {"wait_s": 1e9},
        {"dry_run": "true"},
        {"idempotency_key": ""},
        {"arguments": "{}"},
        {"arguments": None},
    ],
    ids=str,
)
def test_a_member_that_nobody_asked_for_is_refused(served: ServerWorld, more: dict[str, Any]) -> None:
    body = {"tool": "wire.pay", "arguments": {"customer_id": "C-1", "amount_cents": 2_500}, "caller": ALICE, **more}
    reply = served.post("/api/v1/calls", "agent", body)
    assert (reply.status, reply.code) == (400, "bad_request"), reply.content
    assert intents(served) == 0


@pytest.mark.parametrize(
    "name",
    [
        "wire.pay\n",
        "wire.pay\0",
        " wire.pay",
        "WIRE.PAY",
        "wire\u2024pay",
        "wire.pay\u200b",
        "../wire.pay",
        "x\r\nSet-Cookie: a=b",
        "\x1b[2J",
        "touches-money",
        "write",
    ],
)
def test_a_tool_of_nearly_the_same_name_is_none(served: ServerWorld, name: str) -> None:
    body = {"tool": name, "arguments": {"customer_id": "C-1", "amount_cents": 2_500}, "caller": ALICE}
    reply = served.post("/api/v1/calls", "agent", body)
    assert reply.json["decision"] == "deny", reply.content
    assert reply.json["code"] == "unknown_tool"
    assert not {"\n", "\0", "\x1b", "\r"} & set(reply.json["message"])
    assert intents(served) == 0


def test_a_body_that_takes_long_to_read_is_read_beside_the_others(served: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def decoded(*asked: Any) -> Any:
        names.append(threading.current_thread().name)
        return decode_body(*asked)

    monkeypatch.setattr(exchange, "decode_body", decoded)
    assert pay(served).status == 200
    raw = b'{"tool":"note.write","arguments":{"note":[' + b"[]," * 20_000 + b"1]}}"
    assert served.request("POST", "/api/v1/calls", "nobody", raw=raw).status == 403
    assert [name.startswith("licet-http") for name in names] == [False, True]
