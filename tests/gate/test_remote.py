"""Calls that somebody else executes: permitted here, executed elsewhere, reported back once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from licet import Effect
from licet.errors import ReportRefused, UndoRefused
from licet.gate.pipeline import govern
from licet.gate.recorder import Recorder
from licet.gate.remote import CallEnd, CallReport, Whose
from licet.gate.results import Denied, Failed, Held, Ok, Permitted
from licet.gate.sync_driver import SyncDriver
from licet.ledger.seal import Filing
from licet.model import CallId, Outcome
from licet.testing import vote
from tests.gate.remoting import OK, permitted, propose, remote_world, report, verified
from tests.world import World

PAID = (Effect(target='Customer::"C-1"', field="balance", before=100, after=2_600),)
ALICE = Whose(tenant="acme", agent="support-bot", service=None, user="alice")


@pytest.fixture
def there() -> Iterator[World]:
    with remote_world() as found:
        yield found
        assert verified(found).problems == ()


# propose


def test_what_is_permitted_has_its_intent_its_arguments_and_its_deadline(there: World) -> None:
    found = permitted(there)
    assert found.arguments == b'{"amount_cents":2500,"customer_id":"C-1"}'
    assert found.report_by == there.clock() + timedelta(seconds=60)
    assert (found.decision.verdict, found.decision.code) == ("allow", "allowed")
    (record,) = there.records()
    assert (record.kind, record.receipt, record.envelope.call) == ("intent", found.receipt, found.call)
    assert record.payload.detail == {"remote": {"report_by": 1767603660000000, "promised": False}}
    assert there.ran == []


def test_a_tool_without_a_time_of_its_own_has_that_of_the_limits(there: World) -> None:
    with there.alice():
        found = there.gate.propose("wire.read", {"customer_id": "C-1"})
    assert isinstance(found, Permitted)
    assert found.report_by == there.clock() + timedelta(minutes=10)
    assert there.kinds() == ["intent"], "a read that somebody else executes has its intent, too"


def test_a_function_of_this_process_can_be_executed_elsewhere_and_is_not_run_here(there: World) -> None:
    found = propose(there, tool="billing.adjust")
    assert isinstance(found, Permitted)
    assert there.ran == []
    assert isinstance(there.adjust(), Ok), "and it is executed here where it is called"


def test_what_is_not_permitted_is_denied_as_ever(there: World) -> None:
    denied = there.denied(propose(there, customer="G-1"), "target_not_found")
    assert denied.receipt is not None
    assert there.kinds() == ["denial"]
    assert there.gate.call("wire.pay", {}).decision.code == "no_caller"  # type: ignore[union-attr]


def test_who_calls_a_tool_that_is_executed_elsewhere_is_told_so(there: World) -> None:
    with there.alice():
        result = there.gate.call("wire.pay", {"customer_id": "C-1", "amount_cents": 1})
    there.denied(result, "no_implementation", "this process has no function for it")


def test_the_event_loop_proposes_and_reports_alike(there: World) -> None:
    async def run() -> None:
        with there.alice() as acting:
            pass
        found = await there.gate.apropose("wire.pay", {"customer_id": "C-1", "amount_cents": 5}, acting=acting)
        assert isinstance(found, Permitted)
        told = await there.gate.areport(found.call, OK, acting=acting)
        assert (told.status, told.repeated, told.is_late) == ("ok", False, False)
        assert await there.gate.areport(found.call, OK, acting=acting) == type(told)(
            call=told.call, receipt=told.receipt, status="ok", repeated=True
        )

    asyncio.run(run())


# people


def test_a_held_call_is_permitted_once_people_have_approved_it_and_then_held_anew(there: World) -> None:
    held = propose(there, 50_000)
    assert isinstance(held, Held)
    vote(there.gate, held.request, "lena")
    assert permitted(there, 50_000).decision.verdict == "allow"
    again = propose(there, 50_000)
    assert isinstance(again, Held), "an approval is used once"
    assert again.request != held.request


def test_a_proposal_waits_for_people(there: World) -> None:
    held = propose(there, 50_000)
    assert isinstance(held, Held)
    vote(there.gate, held.request, "lena")
    assert isinstance(propose(there, 50_000, wait=5), Permitted)
    assert isinstance(propose(there, 60_000, wait=0.01), Held)


def test_effects_are_held_against_the_preview_that_people_approved(there: World) -> None:
    held = propose(there, 50_000, tool="billing.adjust")
    assert isinstance(held, Held)
    vote(there.gate, held.request, "lena")
    found = propose(there, 50_000, tool="billing.adjust")
    assert isinstance(found, Permitted)
    as_approved = Effect(target='Customer::"C-1"', field="balance", before=100, after=50_100)
    told = report(there, found.call, CallReport(status="ok", result=b'"adjusted"', effects=(as_approved,)))
    assert told.as_previewed is True
    assert there.records()[-1].envelope.outcome is not None


def test_effects_that_nobody_approved_are_said_to_deviate(there: World) -> None:
    held = propose(there, 50_000, tool="billing.adjust")
    assert isinstance(held, Held)
    vote(there.gate, held.request, "lena")
    found = propose(there, 50_000, tool="billing.adjust")
    told = report(there, found.call, CallReport(status="ok", effects=PAID))
    assert told.as_previewed is False
    outcome = there.records()[-1].envelope.outcome
    assert outcome is not None
    assert (outcome.deviates, outcome.effects) == (True, 1)


# report


def test_a_report_is_the_end_of_the_call_and_stands_beside_its_intent(there: World) -> None:
    found = permitted(there)
    told = report(there, found.call, CallReport(status="ok", result=b' {"b": 1.0, "a": "x"} ', effects=PAID, duration_us=1_234))
    assert (told.call, told.status, told.is_late, told.repeated, told.as_previewed) == (found.call, "ok", False, False, None)
    intent, outcome = there.records()
    assert (outcome.kind, outcome.receipt) == ("outcome", told.receipt)
    assert bytes(outcome.payload.result) == b'{"a":"x","b":1}'
    assert outcome.payload.effects == PAID
    assert outcome.envelope.actor == intent.envelope.actor
    assert outcome.envelope.targets == intent.envelope.targets
    assert outcome.envelope.outcome is not None
    assert (outcome.envelope.outcome.duration_us, outcome.envelope.outcome.effects) == (1_234, 1)
    assert there.gate.store.open_calls() == ()


@pytest.mark.parametrize("status", ["error", "timeout", "not_executed", "unknown"])
def test_every_other_end_is_recorded_as_it_was_told(there: World, status: str) -> None:
    found = permitted(there)
    report(there, found.call, CallReport(status=status, code="CardError", message="declined"))  # type: ignore[arg-type]  # one of them
    outcome = there.records()[-1]
    assert outcome.envelope.outcome is not None
    assert (outcome.envelope.outcome.status, outcome.envelope.outcome.code) == (status, "CardError")
    assert outcome.payload.message == "declined"
    assert [unknown.call for unknown in there.gate.unknown()] == ([found.call] if status in {"timeout", "unknown"} else [])


def test_what_a_read_returned_is_kept_as_a_digest(there: World) -> None:
    with there.alice():
        found = there.gate.propose("wire.read", {"customer_id": "C-1"})
    report(there, found.call, CallReport(status="ok", result=b'{"iban": "DE00 1234"}'))
    payload = there.records()[-1].payload
    assert bytes(payload.result) == b""
    assert payload.detail is not None
    assert payload.detail["result_bytes"] == 20
    assert "DE00" not in str(payload)


def test_of_a_tool_with_secrets_nothing_that_is_reported_is_kept(there: World) -> None:
    with there.alice():
        found = there.gate.propose("vault.open", {"pin": "83-46-12-99"})
    assert isinstance(found, Permitted)
    assert found.arguments == b'{"pin":"83-46-12-99"}', "whoever executes it needs it"
    effect = Effect(target="Vault::1", field="pin", before=None, after="83-46-12-99")
    report(there, found.call, CallReport(status="error", code="Jammed", message="83-46-12-99 does not open it", effects=(effect,)))
    for record in there.gate.store.records("acme"):
        assert b"83-46-12-99" not in (record.payload or b"")
    outcome = there.records()[-1]
    assert (outcome.payload.message, outcome.payload.effects) == ("it ended with an error", ())
    assert outcome.payload.detail is not None
    assert outcome.payload.detail["effects"] == {"reported": 1, "kept": 0, "as_previewed": None}


def test_results_and_effects_that_are_too_large_are_bounded_as_those_of_local_calls(there: World) -> None:
    found = permitted(there)
    effects = tuple([Effect(target="A::1", field=f"f{number}", after="x" * 400) for number in range(1_500)])
    report(there, found.call, CallReport(status="ok", result=b'"' + b"y" * (2 * 1024 * 1024) + b'"', effects=effects))
    payload = there.records()[-1].payload
    assert bytes(payload.result) == b""
    assert payload.detail is not None
    assert payload.detail["result_bytes"] == 2 * 1024 * 1024 + 2
    assert payload.detail["effects"]["reported"] == 1_500
    assert payload.detail["effects"]["kept"] == len(payload.effects) < 700


# time


def test_what_nobody_reported_in_time_is_unknown_and_is_said_once(there: World) -> None:
    found = permitted(there)
    reporter = there.gate._opened().reporter
    assert reporter.sweep() == 0
    there.clock.advance(60.000_001)
    reporter.sweep()
    assert reporter.sweep() == 0
    assert there.kinds() == ["intent", "recovery"]
    outcome = there.records()[-1].envelope.outcome
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("unknown", "not_reported")
    assert [unknown.call for unknown in there.gate.unknown()] == [found.call]


def test_a_report_after_its_time_is_a_late_outcome_beside_what_was_said(there: World) -> None:
    found = permitted(there)
    there.clock.advance(61)
    told = report(there, found.call)
    assert (told.is_late, told.status) == (True, "ok")
    assert there.kinds() == ["intent", "recovery", "outcome"]
    assert there.records()[-1].payload.detail is not None
    assert there.gate.unknown() == ()
    assert report(there, found.call).repeated
    with pytest.raises(ReportRefused, match="was reported before"):
        report(there, found.call, CallReport(status="error"))


def test_a_call_that_was_settled_takes_its_late_report_all_the_same(there: World) -> None:
    found = permitted(there)
    there.clock.advance(61)
    there.gate._opened().reporter.sweep()
    there.gate.settle(found.call, "not_executed", reason="the bank says so", by="lena")
    assert report(there, found.call).is_late
    assert there.kinds() == ["intent", "recovery", "outcome", "outcome"]


# keys


def test_a_key_permits_once_and_gives_what_was_reported(there: World) -> None:
    found = permitted(there, idempotency_key="once")
    open_still = propose(there, idempotency_key="once")
    assert isinstance(open_still, Failed)
    assert (open_still.status, open_still.repeats, open_still.replayed, open_still.retry) == ("unknown", found.call, True, False)
    report(there, found.call)
    again = propose(there, idempotency_key="once")
    assert isinstance(again, Ok)
    assert (again.value, again.replayed, again.repeats) == ("paid", True, found.call)
    other = propose(there, 9, idempotency_key="once")
    assert isinstance(other, Denied)
    assert other.decision.code == "key_reused"


# undo


def test_what_was_executed_elsewhere_is_undone_by_proposing_its_reverse(there: World) -> None:
    found = permitted(there)
    report(there, found.call, CallReport(status="ok", result=b'"paid"', effects=PAID))
    with there.alice():
        undo = there.gate.propose_undo(found.call)
    assert isinstance(undo, Permitted), undo
    assert b'"after":100' in undo.arguments
    with there.alice(), pytest.raises(UndoRefused, match="is undone by call"):
        there.gate.propose_undo(found.call)
    report(there, undo.call, CallReport(status="ok", effects=(PAID[0].reversed(),)))


def test_nobody_chooses_the_arguments_of_an_undo(there: World) -> None:
    with there.alice():
        result = there.gate.propose("wire.pay.undo", {"customer_id": "C-1", "amount_cents": 1, "effects": []})
    there.denied(result, "only_as_undo", "`wire.pay.undo` takes back")


def test_what_has_no_undo_in_the_catalog_is_not_undone(there: World) -> None:
    found = propose(there, tool="billing.adjust")
    report(there, found.call, CallReport(status="ok", effects=PAID))
    with there.alice(), pytest.raises(UndoRefused, match="has no undo in the catalog"):
        there.gate.propose_undo(found.call)


# look


def test_where_a_call_stands_is_what_its_records_say(there: World) -> None:
    found = permitted(there)
    seen = there.gate.find_call(found.call)
    assert (seen.state, seen.caller, seen.tool, seen.report_by, seen.end) == ("open", ALICE, "wire.pay", found.report_by, None)
    assert (seen.decision.verdict, seen.receipts) == ("allow", (found.receipt,))
    told = report(there, found.call)
    seen = there.gate.find_call(found.call)
    assert (seen.state, seen.receipts) == ("ended", (found.receipt, told.receipt))
    assert seen.end == CallEnd(status="ok", code=None, message=None, result=b'"paid"', effects=(), as_previewed=None)
    held, denied = propose(there, 50_000), propose(there, customer="G-1")
    assert isinstance(held, Held)
    seen = there.gate.find_call(held.call)
    assert (seen.state, seen.request, seen.decision.verdict) == ("held", held.request, "hold")
    assert there.gate.find_call(denied.call).state == "denied"
    with pytest.raises(KeyError, match="no call `nothing`"):
        there.gate.find_call(CallId("nothing"))


def test_a_session_counts_what_it_has_others_execute(there: World) -> None:
    for _ in range(2):
        assert isinstance(propose(there, 20_000, tool="billing.refund"), Permitted)
    there.denied(propose(there, 20_000, tool="billing.refund"), "forbidden", "a session refunds $500 at most")


def test_a_frozen_tool_is_permitted_to_nobody_and_its_reports_are_taken_all_the_same(there: World) -> None:
    found = permitted(there)
    there.gate.freeze("tool", "wire.pay", reason="look first")
    there.denied(propose(there), "frozen")
    assert report(there, found.call).status == "ok", "what was done is recorded, whatever was stopped since"


# nobody was told


@pytest.mark.parametrize("swept", [pytest.param(True, id="after_its_time"), pytest.param(False, id="in_time")])
def test_what_was_permitted_to_nobody_ends_once_whoever_says_so_first(there: World, *, swept: bool) -> None:
    house = there.gate._opened()
    with there.alice():
        draft = there.gate._remote_draft("wire.pay", {"customer_id": "C-1", "amount_cents": 5}, None, idempotency_key=None, wait=None)
    assert isinstance(SyncDriver(house.services, house.portal).run(govern(draft, house.house)), Permitted)
    if swept:  # the store was down in between, say
        there.clock.advance(61)
        house.reporter.sweep()
    house.house.clerk._close_intent(draft, Outcome(status="not_executed", code="cancelled", message="nobody was told"))
    house.house.clerk._close_intent(draft, Outcome(status="not_executed", code="cancelled", message="nobody was told"))
    assert there.kinds() == (["intent", "recovery", "outcome"] if swept else ["intent", "outcome"])
    assert verified(there).problems == ()
    assert (there.gate.store.open_calls(), there.gate.unknown()) == ((), ())


def test_what_was_permitted_to_nobody_does_not_end_beside_what_a_sweep_says_at_that_moment(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = there.gate._opened()
    clerk, recorder = house.house.clerk, house.house.recorder
    with there.alice():
        draft = there.gate._remote_draft("wire.pay", {"customer_id": "C-1", "amount_cents": 5}, None, idempotency_key=None, wait=None)
    assert isinstance(SyncDriver(house.services, house.portal).run(govern(draft, house.house)), Permitted)
    there.clock.advance(61)
    said = recorder.outcome

    def overtaken(*values: Any, **more: Any) -> Filing:
        house.reporter.sweep()
        return said(*values, **more)

    monkeypatch.setattr(Recorder, "outcome", lambda _self, *values, **more: overtaken(*values, **more))
    clerk._close_intent(draft, Outcome(status="not_executed", code="cancelled", message="nobody was told"))
    assert there.kinds() == ["intent", "recovery", "outcome"]
    assert verified(there).problems == ()
