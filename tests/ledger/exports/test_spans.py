"""Spans: one execution for each call that ran, one decision for each call, the same ids whenever they are exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from licet.ledger.exports import spans as module
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.spans import Span, spans_of
from licet.ledger.record import DecisionEntry, OutcomeEntry, TraceEntry
from licet.model import CallId
from tests.ledger.exports.sample_rows import AT_US, SPAN_ID, TRACE_ID, bare_row, row

OK = OutcomeEntry(status="ok", duration_us=700)


def intent(index: int = 0, call: str = "call-1", **fields: Any) -> Exported:
    return row(index, "intent", id=f"i-{call}", call=CallId(call), outcome=None, **fields)


def outcome(index: int = 1, call: str = "call-1", *, entry: OutcomeEntry = OK, at: int = AT_US + 1000, **fields: Any) -> Exported:
    return row(index, "outcome", id=f"o-{call}-{index}", call=CallId(call), outcome=entry, at=at, decision=None, approval=None, **fields)


def flat(*rows: Exported, content: bool = False) -> list[Span]:
    return [span for spans in spans_of(rows, content=content) for span in spans]


def test_a_call_that_ran_is_an_execution_with_its_decision_in_it() -> None:
    execution, decision = flat(intent(), outcome())
    assert (execution.name, execution.start_us, execution.end_us, execution.status) == (
        "execute_tool billing.adjust",
        AT_US,
        AT_US + 1000,
        "unset",
    )
    assert (execution.trace_id, execution.parent_id) == (TRACE_ID, SPAN_ID)
    assert (decision.name, decision.trace_id, decision.parent_id) == ("licet.decision billing.adjust", TRACE_ID, execution.span_id)
    assert (decision.start_us, decision.end_us) == (AT_US, AT_US)


def test_an_execution_follows_the_conventions() -> None:
    execution, _ = flat(intent(), outcome())
    said = execution.attributes
    assert {name: value for name, value in said.items() if name.startswith(("gen_ai.", "user."))} == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "billing.adjust",
        "gen_ai.tool.call.id": "call-1",
        "gen_ai.agent.id": "support-bot",
        "gen_ai.agent.name": "support-bot",
        "gen_ai.conversation.id": "s-1",
        "user.id": "alice",
    }
    assert (said["licet.outcome.status"], said["licet.outcome.duration_us"], said["licet.outcome.index"]) == ("ok", 700, 1)


def test_a_decision_says_verdict_policies_bundle_and_approval_and_is_no_operation() -> None:
    _, decision = flat(intent(), outcome())
    assert {name: value for name, value in decision.attributes.items() if name.startswith(("licet.decision.", "licet.approval."))} == {
        "licet.decision.verdict": "allow",
        "licet.decision.code": "allowed",
        "licet.decision.policies": ("billing-adjust",),
        "licet.decision.obligations": ("lead",),
        "licet.decision.bundle": "b" * 64,
        "licet.decision.decided_by": "human",
        "licet.decision.count": 2,
        "licet.approval.request": "request-1",
        "licet.approval.voters": ("dana",),
    }
    assert "gen_ai.operation.name" not in decision.attributes


def test_contents_are_given_only_where_they_are_asked_for_and_there() -> None:
    names = {"gen_ai.tool.call.arguments", "gen_ai.tool.call.result"}
    without, _ = flat(intent(), outcome())
    with_, _ = flat(intent(), outcome(), content=True)
    sealed, _ = flat(intent(payload=None), outcome(payload=None), content=True)
    assert (names & without.attributes.keys(), names & sealed.attributes.keys()) == (set(), set())
    assert with_.attributes["gen_ai.tool.call.arguments"] == '{"amount_cents":2500,"customer_id":"C-412"}'
    assert with_.attributes["gen_ai.tool.call.result"] == '"done"'


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (OutcomeEntry(status="error", code="ValueError"), "ValueError"),
        (OutcomeEntry(status="timeout"), "timeout"),
        (OutcomeEntry(status="not_executed", code="cancelled"), "cancelled"),
        (OutcomeEntry(status="unknown", code="process_died"), "process_died"),
    ],
)
def test_an_outcome_that_is_not_ok_is_an_error(entry: OutcomeEntry, error: str) -> None:
    execution, decision = flat(intent(), outcome(entry=entry))
    assert (execution.status, execution.attributes["error.type"], decision.status) == ("error", error, "unset")


def test_a_recovery_ends_a_call() -> None:
    died = bare_row(1, "recovery", call=CallId("call-1"), outcome=OutcomeEntry(status="unknown", code="process_died"), at=AT_US + 5)
    execution, _ = flat(intent(), died)
    assert (execution.attributes["licet.outcome.status"], execution.end_us, execution.trace_id) == ("unknown", AT_US + 5, TRACE_ID)


@pytest.mark.parametrize(
    ("kind", "verdict", "status"), [("denial", "deny", "error"), ("hold", "hold", "unset"), ("evaluation", "allow", "unset")]
)
def test_a_call_that_did_not_run_is_a_decision_alone(kind: Any, verdict: str, status: str) -> None:
    (decision,) = flat(row(0, kind, outcome=None, decision=DecisionEntry(verdict=verdict, code="the_code")))
    assert (decision.name, decision.parent_id, decision.status) == ("licet.decision billing.adjust", SPAN_ID, status)
    assert decision.attributes.get("error.type") == ("the_code" if status == "error" else None)


def test_a_repeated_key_is_a_decision_alone() -> None:
    assert [span.name for span in flat(row(0, "call", outcome=None))] == ["licet.decision billing.adjust"]


def test_a_merged_read_lasts_as_long_as_it_says() -> None:
    execution, decision = flat(row(0, "call", outcome=OK))
    assert (execution.start_us, execution.end_us) == (AT_US - 700, AT_US)
    assert (decision.start_us, decision.end_us) == (AT_US - 700, AT_US - 700)
    assert execution.attributes["licet.outcome.status"] == "ok"


def test_a_call_without_an_outcome_says_that_it_is_open() -> None:
    execution, _ = flat(intent())
    assert (execution.attributes["licet.outcome.status"], execution.end_us, execution.status) == ("open", AT_US, "unset")


def test_a_late_outcome_is_a_span_of_its_own_under_the_call() -> None:
    timeout = outcome(entry=OutcomeEntry(status="timeout"))
    execution, _, late = flat(intent(), timeout, outcome(2))
    assert (late.name, late.parent_id, late.trace_id) == ("licet.outcome billing.adjust", execution.span_id, TRACE_ID)
    assert (late.attributes["licet.outcome.status"], "gen_ai.operation.name" in late.attributes) == ("ok", False)


def test_a_clock_that_was_set_back_makes_no_span_end_before_it_starts() -> None:
    execution, _ = flat(intent(), outcome(at=AT_US - 10))
    assert (execution.start_us, execution.end_us) == (AT_US, AT_US)


@pytest.mark.parametrize(
    "trace", [None, TraceEntry(), TraceEntry(trace_id="0" * 32, span_id=SPAN_ID), TraceEntry(trace_id="X" * 32), TraceEntry(trace_id="ab")]
)
def test_without_a_trace_id_one_is_derived_from_the_call(trace: TraceEntry | None) -> None:
    first, second = flat(intent(trace=trace), outcome(trace=trace)), flat(intent(trace=trace), outcome(trace=trace))
    assert first == second
    assert {len(span.trace_id) for span in first} == {32}
    assert first[0].trace_id != TRACE_ID
    assert (first[0].trace_id, first[0].parent_id) == (first[1].trace_id, None)
    assert flat(intent(call="call-2", trace=trace))[0].trace_id != first[0].trace_id


@pytest.mark.parametrize("span_id", [None, "0" * 16, "b7", "B7AD6B7169203331"])
def test_a_span_id_that_is_none_is_no_parent(span_id: str | None) -> None:
    assert flat(intent(trace=TraceEntry(trace_id=TRACE_ID, span_id=span_id)))[0].parent_id is None


def test_no_two_spans_have_one_id() -> None:
    rows = [intent(n, f"call-{n}") for n in range(50)] + [outcome(100 + n, f"call-{n}") for n in range(50)]
    rows += [outcome(200 + n, f"call-{n}") for n in range(50)] + [row(300 + n, "denial", id=f"d-{n}") for n in range(50)]
    found = flat(*rows)
    assert len({(span.trace_id, span.span_id) for span in found}) == len(found) == 200


def test_other_records_have_no_span() -> None:
    assert flat(bare_row(0, "gap"), row(1, "vote"), bare_row(2, "expiry"), bare_row(3, "admin")) == []


def test_open_intents_are_held_up_to_a_limit_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_LIMIT", 10)
    taken = []

    def watched() -> Iterator[Exported]:
        for n in range(1000):
            taken.append(n)
            yield intent(n, f"call-{n}")

    first = next(spans_of(watched()))
    assert (len(taken), first[0].attributes["gen_ai.tool.call.id"]) == (11, "call-0")


def test_a_record_with_hardly_anything_has_spans() -> None:
    names = [span.name for span in flat(*[bare_row(index, kind) for index, kind in enumerate(["intent", "denial", "hold", "outcome"])])]  # type: ignore[arg-type]
    assert names == ["licet.decision unknown", "licet.decision unknown", "execute_tool unknown", "licet.decision unknown"]
