"""OCSF: every event is one that the class allows, and says what the record says."""

from __future__ import annotations

import io
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from licet.ledger.exports import ocsf_event as mapping
from licet.ledger.exports.as_ocsf import FORMAT, verify_ocsf, write_ocsf
from licet.ledger.exports.manifest import manifest_of
from licet.ledger.exports.rows import Exported
from licet.ledger.record import Actor, ApprovalEntry, DecisionEntry, Kind, OutcomeEntry, Payload, ToolEntry
from licet.model import RequestId
from tests.ledger.exports.ocsf_schema import SCHEMA, violations
from tests.ledger.exports.sample_rows import ALICE, CUSTOMER, DANA, TRACE_ID, bare_row, expected, row

KINDS = sorted(mapping.STATUSES)


def written(*rows: Exported) -> tuple[bytes, bytes]:
    sink = io.BytesIO()
    summary = write_ocsf(rows, sink, expected(len(rows)))
    return sink.getvalue(), manifest_of(summary, expected(len(rows)), FORMAT)


def event(one: Exported) -> dict[str, Any]:
    data, _ = written(one)
    decoded: dict[str, Any] = msgspec.json.decode(data)
    return decoded


def problems(data: bytes, manifest: bytes) -> tuple[str, ...]:
    return verify_ocsf(io.BytesIO(data), manifest).problems


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", ["ok", "error", "timeout", "not_executed", "unknown", None])
def test_every_event_is_one_that_the_class_allows(kind: Any, status: Any) -> None:
    outcome = OutcomeEntry(status=status, duration_us=1500) if status else None
    full, bare = row(0, kind, outcome=outcome), bare_row(0, kind, outcome=outcome)
    assert violations(event(full)) == []
    assert violations(event(bare)) == []
    assert violations(event(row(0, kind, payload=None, outcome=outcome))) == []


@pytest.mark.parametrize("decided_by", ["policy", "rule", "human"])
@pytest.mark.parametrize("verdict", ["allow", "deny", "hold"])
@pytest.mark.parametrize("access", ["read", "write", "destructive", None])
def test_every_decision_is_one_that_the_class_allows(verdict: Any, decided_by: str, access: Any) -> None:
    decision = DecisionEntry(verdict=verdict, code="x", decided_by=decided_by)
    found = event(row(decision=decision, tool=ToolEntry("t", access, None)))
    assert violations(found) == []
    assert found["action_id"] == {"allow": 1, "deny": 2, "hold": 99}[verdict]
    otherwise = {("allow", "human"): 8, ("deny", "rule"): 2, ("deny", "human"): 25}
    assert found["disposition_id"] == otherwise.get((verdict, decided_by), {"allow": 1, "deny": 26, "hold": 14}[verdict])


@pytest.mark.parametrize("actor", [None, Actor(), Actor(user=ALICE), Actor(service="cron"), Actor(agent="bot"), Actor(session="s")])
def test_every_caller_is_one_that_the_class_allows(actor: Actor | None) -> None:
    assert violations(event(row(actor=actor))) == []


def test_the_tables_hold_the_numbers_and_captions_of_the_class() -> None:
    attributes = SCHEMA["class"]["attributes"]
    for name, pairs in {
        "activity_id": mapping.ACTIVITIES.values(),
        "status_id": [*mapping.OUTCOMES.values(), *mapping.STATUSES.values()],
        "action_id": mapping.ACTIONS.values(),
        "disposition_id": [*mapping.DISPOSITIONS.values(), *mapping.DECIDED_OTHERWISE.values(), *mapping.VOTES.values()],
        "severity_id": mapping.SEVERITIES.values(),
    }.items():
        assert [(number, said) for number, said in pairs if number != 99 and attributes[name]["enum"].get(str(number)) != said] == []
    assert (
        SCHEMA["version"],
        SCHEMA["class"]["uid"],
        SCHEMA["class"]["category_uid"],
    ) == (mapping.OCSF_VERSION, mapping.CLASS_UID, mapping.CATEGORY_UID)


def test_an_intent_says_who_asked_for_what_and_who_allowed_it() -> None:
    found = event(row(outcome=None))
    assert (found["class_uid"], found["type_uid"], found["activity_name"], found["time"]) == (6003, 600303, "Update", 1_763_802_000_123)
    assert (found["status_id"], found["status"], found["action"], found["disposition"]) == (99, "Intended", "Allowed", "Approved")
    assert found["actor"] == {
        "app_name": "support-bot",
        "user": {"uid": ALICE, "name": "alice", "type_id": 1},
        "session": {"uid": "s-1"},
    }
    assert found["api"]["request"] == {"uid": "call-1", "data": {"amount_cents": 2500, "customer_id": "C-412"}}
    assert found["resources"][0] == {
        "uid": CUSTOMER,
        "name": "C-412",
        "type": "Customer",
        "role_id": 1,
        "role": "Target",
        "data": {"tier": "gold"},
    }
    assert found["policy"]["uid"] == "billing-adjust"
    assert found["metadata"]["original_time"] == "2025-11-22T09:00:00.123457Z"
    assert (found["trace"], found["count"]) == ({"uid": TRACE_ID}, 2)


def test_an_erased_record_shows_pseudonyms_and_no_contents() -> None:
    found = event(row(payload=None, absent="erased"))
    assert found["actor"]["user"] == {"uid": ALICE, "type_id": 1}
    assert found["resources"][0] == {"uid": CUSTOMER, "type": "Customer", "role_id": 1, "role": "Target"}
    assert ("data" in found["api"]["request"], found["unmapped"]["licet"]["payload_absent"]) == (False, "erased")


def test_a_denial_a_hold_a_vote_and_an_outcome_are_told_apart() -> None:
    denied = row(0, "denial", outcome=None, decision=DecisionEntry(verdict="deny", code="no_permit"))
    held = row(0, "hold", outcome=None, decision=DecisionEntry(verdict="hold", code="approval_required"))
    vote = row(0, "vote", outcome=None, decision=None, approval=ApprovalEntry(RequestId("r"), (), "reject"))
    failed = row(0, "outcome", decision=None, outcome=OutcomeEntry(status="error", code="ValueError", duration_us=2_000_000))
    seen = [event(one) for one in (denied, held, vote, failed)]
    assert [(one["status_id"], one["action_id"], one["disposition_id"], one["severity_id"]) for one in seen] == [
        (2, 2, 26, 2),
        (99, 99, 14, 2),
        (1, 99, 25, 1),
        (2, 3, 17, 2),
    ]
    assert [one["status_code"] for one in seen if "status_code" in one] == ["no_permit", "approval_required", "ValueError"]
    assert (seen[3]["duration"], seen[3]["end_time"] - seen[3]["start_time"], seen[3]["api"]["response"]["error"]) == (
        2000,
        2000,
        "ValueError",
    )


def test_a_vote_is_by_the_voter_and_says_whose_call_it_is_about() -> None:
    found = event(row(0, "vote", outcome=None, decision=None))
    assert found["actor"] == {"user": {"uid": DANA, "name": "dana", "type_id": 1}}
    assert found["unmapped"]["licet"]["caller"] == {"agent": "support-bot", "user": "alice", "session": "s-1"}
    assert (found["src_endpoint"]["name"], found["message"]) == ("dana", "vote: dana, billing.adjust, approve")
    assert event(row(0, "vote", outcome=None, decision=None, payload=None))["actor"] == {"user": {"uid": DANA, "type_id": 1}}


def test_records_about_no_call_have_no_event_and_are_counted() -> None:
    others = [bare_row(index, kind) for index, kind in enumerate(get_args(Kind)) if kind not in KINDS]
    sink = io.BytesIO()
    summary = write_ocsf([*others, row()], sink, expected(len(others) + 1))
    assert (summary.rows_written, summary.lines, summary.complete) == (len(others) + 1, 1, True)
    assert len(sink.getvalue().splitlines()) == 1


@given(st.text(), st.text(min_size=1))
def test_every_text_stays_on_one_line_and_comes_back(reason: str, tool: str) -> None:
    data, manifest = written(row(payload=Payload(reason=reason), tool=ToolEntry(tool, None, None)))
    (line,) = data.removesuffix(b"\n").split(b"\n")
    found = msgspec.json.decode(line)
    assert (found["unmapped"]["licet"]["reason"], found["api"]["operation"]) == (reason, tool)
    assert violations(found) == []
    assert problems(data, manifest) == ()


def test_json_over_many_lines_stays_on_one() -> None:
    data, manifest = written(row(payload=Payload(arguments=Raw(b'{\n "a": [1,\r\n 2.50]\n}'))))
    assert data.count(b"\n") == 1
    assert b'{"a":[1,2.50]}' in data
    assert problems(data, manifest) == ()


def test_an_export_cut_at_any_byte_is_found() -> None:
    data, manifest = written(row(), row(1, "denial"))
    assert [at for at in range(len(data)) if not problems(data[:at], manifest)] == []
    assert [at for at in range(len(manifest) - 1) if not problems(data, manifest[:at])] == []
    assert problems(data, manifest) == ()


def test_an_export_with_another_line_is_found() -> None:
    data, manifest = written(row())
    assert problems(data * 2, manifest) == ("2 lines are there, 1 were written", "the lines are not those that were written")
    assert problems(data.replace(b"alice", b"alicf"), manifest) == ("the lines are not those that were written",)


def test_an_export_that_ended_early_is_found() -> None:
    sink = io.BytesIO()
    summary = write_ocsf([row()], sink, expected(2))
    assert problems(sink.getvalue(), manifest_of(summary, expected(2), FORMAT)) == ("the export ended early: 1 of 2 rows were written",)


def test_no_rows_are_a_complete_export() -> None:
    assert problems(*written()) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status_id": 7}, "status_id: `7` is not among"),
        ({"severity": "High"}, "severity: `High` is not `Informational`"),
        ({"time": "now"}, "time: `now` is no timestamp_t"),
        ({"actor": {"session": {}, "colour": 1}}, "actor.colour: unknown"),
        ({"actor": {}}, "actor.: none of"),
        ({"resources": {}}, "resources: no list"),
        ({"api": {}}, "api.operation: missing"),
        ({"action_id": 99, "action": ""}, "action: missing beside 99"),
    ],
)
def test_an_event_that_the_class_does_not_allow_is_found(change: dict[str, Any], said: str) -> None:
    assert any(problem.startswith(said) for problem in violations({**event(row()), **change}))
