"""Attacks with a megabyte of tiny values: what is quick to send and slow to read, so that one agent would keep all others waiting."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest

from licet.catalog import strict
from licet.config.server import ServerSettings
from licet.errors import ReportRefused
from licet.gate.remote import CallReport
from licet.gate.reporting import REPORT_LIMIT_VALUES
from licet.gate.results import Permitted
from licet.server.reading import BODY_VALUES_LIMIT
from tests.attacks.test_on_server_calls import POLICIES, TOOL
from tests.gate.proof import assert_whole
from tests.gate.remoting import REMOTE_CONFIG
from tests.server.world import Reply, ServerWorld, server_world

MOST = strict.VALUES_LIMIT - 1
"""What `note` may hold: it is a value itself."""
SENTENCE = "more than 10000 values; send less at once, or put them behind a reference"

SHAPES: dict[str, Callable[[int], Any]] = {
    "zeros": lambda count: [0] * count,
    "members": lambda count: {f"k{number}": 0 for number in range(count)},
    "empty lists": lambda count: [[]] * count,
    "small objects": lambda count: [{"a": 0}] * (count // 2) + [0] * (count % 2),
}
shaped = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    with server_world(REMOTE_CONFIG + TOOL, POLICIES, settings=ServerSettings(requests_per_minute=1_000_000)) as made:
        yield made
        assert_whole(made.gate)


def propose(served: ServerWorld, note: Any) -> Reply:
    return served.post("/api/v1/calls", "agent", {"tool": "note.write", "arguments": {"note": note}, "caller": {"user": "alice"}})


def assert_denial_recorded(served: ServerWorld) -> None:
    (record,) = served.world.records()
    assert record.envelope.decision is not None
    assert record.payload.detail is not None
    assert (record.kind, record.envelope.decision.code) == ("denial", "too_many_values")
    assert record.payload.message == SENTENCE
    assert len(record.payload.detail["unread_arguments"]["text"]) == 4_096


@shaped
def test_a_call_of_too_many_values_is_denied_and_recorded_and_one_value_less_is_allowed(
    served: ServerWorld, shape: Callable[[int], Any]
) -> None:
    reply = propose(served, shape(MOST + 1))
    assert (reply.status, reply.json["decision"], reply.json["code"]) == (200, "deny", "too_many_values")
    assert reply.json["message"] == SENTENCE
    assert_denial_recorded(served)
    assert propose(served, shape(MOST)).json["decision"] == "allow"
    assert served.world.kinds() == ["denial", "intent"]


@shaped
@pytest.mark.parametrize("given", [dict, MappingProxyType, json.dumps, lambda value: json.dumps(value).encode()])
def test_in_process_too_many_values_are_denied_however_they_are_given(
    served: ServerWorld, shape: Callable[[int], Any], given: Callable[[Any], Any]
) -> None:
    with served.world.alice():
        denied = served.gate.propose("note.write", given({"note": shape(MOST + 1)}))
        served.world.denied(denied, "too_many_values", SENTENCE)
        assert_denial_recorded(served)
        assert isinstance(served.gate.propose("note.write", given({"note": shape(MOST)})), Permitted)


def test_a_text_of_many_commas_and_brackets_is_one_value(served: ServerWorld) -> None:
    note = '[{"a":0},' * 50_000
    assert propose(served, note).json["decision"] == "allow"


@pytest.mark.parametrize(
    "text",
    [
        b'{"tool":"note.write","arguments":{"note":[' + b"0," * 500_000 + b"0]}}",
        b'{"tool":"note.write","arguments":{"note":[' + b"{}," * 333_000 + b"0]}}",
    ],
    ids=["zeros", "objects"],
)
def test_a_body_of_a_megabyte_of_values_is_refused_before_any_of_them_is_built(
    served: ServerWorld, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict, "_json", None)
    reply = served.request("POST", "/api/v1/calls", "agent", raw=text)
    assert (reply.status, reply.code) == (400, "not_json")
    said = f"the body cannot be read: more than {BODY_VALUES_LIMIT} values; send less at once, or put them behind a reference"
    assert reply.json["detail"] == said
    reply = served.request("POST", "/access/v1/evaluation", "agent", raw=text)
    assert reply.status == 400
    assert said in reply.content.decode()
    assert served.world.records() == []


def test_a_question_whose_properties_have_too_many_values_is_answered_no(served: ServerWorld) -> None:
    body = {
        "subject": {"type": "user", "id": "alice"},
        "action": {"name": "note.write", "properties": {"input": {"note": [0] * (MOST + 1)}}},
        "resource": {"type": "Tenant", "id": "acme"},
        "context": {"input": {"note": [0] * (MOST + 1)}},
    }
    reply = served.post("/access/v1/evaluation", "agent", body)
    assert (reply.status, reply.json["decision"]) == (200, False)
    assert "too_many_values" in reply.content.decode(), reply.content


def test_a_result_of_too_many_values_is_not_taken_and_the_call_can_still_be_reported(served: ServerWorld) -> None:
    call = propose(served, 1).json["call"]
    path = f"/api/v1/calls/{call}/outcome"
    reply = served.post(path, "agent", {"status": "ok", "result": [0] * (REPORT_LIMIT_VALUES + 1)})
    assert (reply.status, reply.code) == (400, "bad_report")
    assert reply.json["detail"].startswith(f"the result cannot be recorded: more than {REPORT_LIMIT_VALUES} values;")
    assert served.world.kinds() == ["intent"]
    assert served.post(path, "agent", {"status": "ok", "result": [0] * REPORT_LIMIT_VALUES}).status == 200
    assert served.world.kinds() == ["intent", "outcome"]


def test_in_process_a_result_of_too_many_values_is_not_taken(served: ServerWorld) -> None:
    with served.world.alice():
        permitted = served.gate.propose("note.write", {"note": 1})
        assert isinstance(permitted, Permitted)
        many = b"[" + b"0," * REPORT_LIMIT_VALUES + b"0]"
        with pytest.raises(ReportRefused, match=f"the result cannot be recorded: more than {REPORT_LIMIT_VALUES} values") as raised:
            served.gate.report(permitted.call, CallReport(status="ok", result=many))
        assert raised.value.code == "bad_report"


def test_an_effect_of_too_many_values_is_counted_and_not_kept(served: ServerWorld) -> None:
    call = propose(served, 1).json["call"]
    effect = {"target": "Note::1", "field": "text", "after": [0] * (strict.VALUES_LIMIT + 1)}
    reply = served.post(f"/api/v1/calls/{call}/outcome", "agent", {"status": "ok", "effects": [effect]})
    assert reply.status == 200, reply.content
    outcome = served.world.records()[-1]
    assert outcome.payload.detail is not None
    assert outcome.payload.detail["effects"]["reported"] == 1
    assert outcome.payload.detail["effects"]["kept"] == 0
