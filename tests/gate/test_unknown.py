"""Calls of which nobody saw the end are listed until somebody says how they ended, and that is recorded, once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet.errors import CatalogInvalid, IntegrityBroken, SettlementRefused
from licet.gate.acting import Acting
from licet.gate.draft import Draft
from licet.gate.results import Denied, Failed, Ok
from licet.gate.unknown import Settled, SettledAs
from licet.gate.writable import whoever_runs_this
from licet.model import CallId, Outcome
from licet.store.unsettled import EndUnsettled
from tests.gate.proof import assert_whole, report_of
from tests.gate.test_kill import killed
from tests.gate.unseen import PAID, add_payments, add_probe, lost, pay, settlement_of
from tests.world import World, world_on

ME = whoever_runs_this().name


@pytest.fixture(autouse=True)
def _payments(w: World) -> None:
    add_payments(w.gate)


def refused(w: World, call: CallId, code: str, status: SettledAs = "ok", *, reason: str = "asked the bank", by: str | None = None) -> str:
    before = w.kinds()
    with pytest.raises(SettlementRefused) as caught:
        w.gate.settle(call, status, reason=reason, by=by)
    assert caught.value.code == code, caught.value
    assert w.kinds() == before
    return str(caught.value)


def test_a_call_that_took_too_long_is_listed_as_it_was_made(w: World) -> None:
    call = lost(w)
    (found,) = w.gate.unknown()
    assert (found.call, found.tenant, found.tool, found.agent, found.user) == (call, "acme", "bank.pay", "support-bot", "alice")
    assert (found.targets, found.status, found.code, found.closed, found.has_probe) == (
        ('Customer::"C-1"',),
        "timeout",
        "timeout",
        "",
        False,
    )
    assert found.at == found.ended_at == w.clock()
    assert w.gate.unknown("acme") == (found,)
    assert w.gate.unknown("globex") == ()


def test_a_call_that_was_cancelled_while_its_tool_ran_is_listed(w: World) -> None:
    started = asyncio.Event()

    @w.gate.tool("bank.wire", access="write", touches={"access"})
    async def wire() -> None:
        started.set()
        await asyncio.sleep(60)

    async def cancelled() -> None:
        with w.alice():
            task = asyncio.ensure_future(w.gate.acall("bank.wire", {}))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    (found,) = w.gate.unknown()
    assert (found.tool, found.status, found.code) == ("bank.wire", "unknown", "CancelledError")
    w.gate.settle(found.call, "not_executed", reason="the bank knows nothing of it")
    assert w.gate.unknown() == ()


def test_a_late_end_that_nobody_saw_either_settles_nothing(w: World) -> None:
    lost(w)
    house: Any = w.gate._house
    draft = Draft(CallId("late"), 0, Acting(), "bank.pay", {})
    seen = house._recorder.outcome(draft, 0, Outcome(status="ok"), late=True)
    unseen = house._recorder.outcome(draft, 0, Outcome(status="unknown"), late=True)
    assert (seen.changes, unseen.changes) == ((EndUnsettled(CallId("late")),), ())


def test_a_call_that_ended_is_not_listed(w: World) -> None:
    assert isinstance(w.adjust(), Ok)
    assert w.gate.unknown() == ()


def test_a_read_that_was_recorded_with_its_end_leaves_nothing_to_settle(w: World) -> None:
    with w.alice():
        result = w.gate.call("slow.awaited", {})
    assert isinstance(result, Failed)
    assert result.status == "timeout"
    assert w.kinds() == ["call"]
    assert w.gate.unknown() == ()
    refused(w, result.call, "no_such_call")


def test_a_person_settles_a_call_and_the_record_says_who_and_why(w: World) -> None:
    call = lost(w)
    settled = w.gate.settle(call, "ok", reason="  seen in the bank's list  ", by="dana")
    assert (settled.call, settled.tenant, settled.status, settled.by) == (call, "acme", "ok", "person")
    assert w.kinds() == ["intent", "outcome", "outcome"]
    intent, _, record = w.records()
    assert record.receipt == settled.receipt
    assert record.envelope.call == call
    assert record.envelope.outcome is not None
    assert (record.envelope.outcome.status, record.envelope.outcome.code) == ("ok", "settled")
    for field in ("log", "actor", "tool", "targets", "trace"):
        assert getattr(record.envelope, field) == getattr(intent.envelope, field), field
    assert record.payload.message == "settled by a person: it took effect; what it returned is not known"
    assert settlement_of(w) == {
        "by": "person",
        "operating_user": ME,
        "as": "dana",
        "reason": "seen in the bank's list",
        "saw": {"index": 1, "status": "timeout", "answer": None},
    }
    assert w.gate.unknown() == ()


def test_a_settlement_names_the_credential_that_was_shown(w: World) -> None:
    w.gate.settle(lost(w), "error", reason="the bank refused it", by="dana", credential="k-1")
    said = settlement_of(w)
    assert (said["as"], said["credential"], said["operating_user"]) == ("dana", "k-1", None)


def test_who_settles_need_not_be_in_the_directory_but_is_known_to_the_system(w: World) -> None:
    w.gate.settle(lost(w), "error", reason="the bank refused it")
    assert (settlement_of(w)["as"], settlement_of(w)["operating_user"]) == (None, ME)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bad_status": ({"status": "timeout"}, "`ok`, `not_executed`, `error`"),
    "no_reason": ({"reason": " \n"}, "with a reason"),
    "unknown_user": ({"by": "nobody"}, "there is no user `nobody`"),
    "not_in_tenant": ({"by": "gina"}, "does not belong to the tenant `acme`"),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused_leaves_the_call_unsettled(w: World, code: str) -> None:
    call = lost(w)
    more, says = REFUSED[code]
    assert says in refused(w, call, code, **more)
    assert [found.call for found in w.gate.unknown()] == [call]


def test_a_call_whose_end_was_seen_cannot_be_settled(w: World) -> None:
    result = w.adjust()
    assert isinstance(result, Ok)
    assert "it is ok, by record acme:1" in refused(w, result.call, "not_unknown", "not_executed")


def test_a_call_that_never_was_cannot_be_settled(w: World) -> None:
    refused(w, CallId("0197-none"), "no_such_call")
    denied = w.adjust(customer="G-1")
    assert isinstance(denied, Denied)
    refused(w, denied.call, "no_such_call")


def test_a_call_is_settled_once(w: World) -> None:
    call = lost(w)
    w.gate.settle(call, "ok", reason="seen in the bank's list")
    assert "settled as ok by record acme:2" in refused(w, call, "already_settled", "not_executed")


def test_of_many_who_settle_at_one_moment_one_does(w: World) -> None:
    call = lost(w)
    start = threading.Barrier(16)

    def settle(number: int) -> Settled | str:
        start.wait()
        try:
            return w.gate.settle(call, ("ok", "not_executed", "error")[number % 3], reason=f"number {number}")
        except SettlementRefused as error:
            return error.code

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(settle, range(16)))
    assert [answer for answer in answers if not isinstance(answer, Settled)] == ["already_settled"] * 15
    assert w.kinds() == ["intent", "outcome", "outcome"]
    assert w.gate.unknown() == ()


def test_a_repeat_of_a_call_that_was_settled_as_done_says_that_its_result_is_not_kept(w: World) -> None:
    call = lost(w, key="k")
    w.gate.settle(call, "ok", reason="seen in the bank's list", by="dana")
    again = pay(w, key="k")
    assert (again.code, again.status, again.executed, again.retry, again.replayed) == ("result_not_kept", "ok", True, False, True)
    assert "took effect" in again.message
    assert "dana" not in again.message
    assert "bank" not in again.message, "what people tell each other is not for the agent"


def test_a_repeat_of_a_call_that_was_settled_as_not_executed_says_that_a_new_key_may_be_used(w: World) -> None:
    call = lost(w, key="k")
    w.gate.settle(call, "not_executed", reason="the bank knows nothing of it")
    again = pay(w, key="k")
    assert (again.code, again.status, again.executed, again.retry, again.replayed) == ("settled", "not_executed", False, False, True)
    assert "with a new idempotency key" in again.message
    assert lost(w, key="another") != call


def test_a_repeat_of_a_call_that_was_settled_as_failed_says_so(w: World) -> None:
    w.gate.settle(lost(w, key="k"), "error", reason="the bank refused it")
    again = pay(w, key="k")
    assert (again.code, again.status, again.executed, again.replayed) == ("settled", "error", True, True)


def test_a_tool_that_ends_after_its_call_was_settled_is_recorded_and_both_stand(w: World) -> None:
    with w.alice():
        call = w.gate.call("account.wipe", {}, idempotency_key="k").call if _add_thread(w) else None
    assert call is not None
    w.gate.settle(call, "not_executed", reason="it looked like it")
    w.release.set()
    assert _until(w, 4) == ["intent", "outcome", "outcome", "outcome"]
    settled, late = w.records()[2:]
    assert settled.envelope.outcome is not None
    assert late.envelope.outcome is not None
    assert (settled.envelope.outcome.status, late.envelope.outcome.status) == ("not_executed", "ok")
    assert w.gate.unknown() == ()
    with w.alice():
        again = w.gate.call("account.wipe", {}, idempotency_key="k")
    assert isinstance(again, Ok), "what the tool itself said is the newer word"
    assert (again.value, again.replayed) == ("wiped", True)


def test_a_tool_that_ends_late_leaves_nothing_to_settle(w: World) -> None:
    _add_thread(w)
    with w.alice():
        call = w.gate.call("account.wipe", {}).call
    assert [found.call for found in w.gate.unknown()] == [call]
    w.release.set()
    _until(w, 3)
    assert w.gate.unknown() == ()
    assert "it is ok" in refused(w, call, "not_unknown", "not_executed")


def _add_thread(w: World) -> bool:
    @w.gate.tool("account.wipe", access="destructive", touches={"access"}, timeout_s=0.05)
    def wipe() -> str:
        w.release.wait(10)
        return "wiped"

    return True


def _until(w: World, count: int) -> list[str]:
    for _ in range(500):
        if len(w.kinds()) >= count:
            break
        threading.Event().wait(0.01)
    return w.kinds()


@pytest.mark.parametrize("answer", [True, False])
def test_a_clear_answer_of_a_probe_settles_the_call(w: World, answer: bool) -> None:  # noqa: FBT001
    call = lost(w)
    asked = add_probe(w, answer)
    (found,) = w.gate.unknown()
    assert found.has_probe is True
    probed = w.gate.probe_unknown(call)
    assert asked[0]["on"].isoformat() == PAID["on"], "the probe gets the types that the tool gets"
    assert (len(asked), asked[0]["amount_cents"]) == (1, 700)
    assert probed.settled is not None
    assert (probed.answer, probed.why, probed.settled.status, probed.settled.by) == (
        answer,
        None,
        "ok" if answer else "not_executed",
        "probe",
    )
    saw = {"index": 1, "status": "timeout", "answer": answer}
    assert settlement_of(w) == {"by": "probe", "operating_user": ME, "as": None, "reason": None, "saw": saw}
    assert w.gate.unknown() == ()
    with pytest.raises(SettlementRefused, match="was settled"):
        w.gate.probe_unknown(call)
    assert len(asked) == 1


def test_killed_in_the_tool_a_call_is_settled_by_its_probe(tmp_path: Path) -> None:
    killed(tmp_path, "in the tool")
    with world_on(tmp_path) as w:
        asked: list[tuple[str, int]] = []

        @w.gate.probe("billing.adjust")
        def happened(customer_id: str, amount_cents: int) -> bool:
            asked.append((customer_id, amount_cents))
            return False

        (found,) = w.gate.unknown()
        assert (found.tool, found.status, found.code) == ("billing.adjust", "unknown", "process_died")
        probed = w.gate.probe_unknown(found.call)
        assert probed.settled is not None, "the process is gone: what has not happened will not"
        assert (probed.settled.status, asked) == ("not_executed", [("C-1", 50_000)])
        again = w.adjust(50_000, idempotency_key="last")
        assert isinstance(again, Failed)
        assert (again.code, again.executed) == ("settled", False)
        assert w.ran == []
        assert_whole(w.gate)


def test_an_edited_row_settles_nothing(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        call = lost(w)
        done = w.adjust()
        assert isinstance(done, Ok)
        writer: Any = w.gate.store
        with writer._writing() as con:
            con.execute("DELETE FROM unsettled")
            con.execute("INSERT INTO unsettled (call, log) VALUES (?, 'acme')", (done.call,))
        with pytest.raises(IntegrityBroken, match="not known as unsettled"):
            w.gate.settle(call, "ok", reason="seen in the bank's list")
        assert w.gate.unknown() == ()
        refused(w, done.call, "not_unknown", "not_executed")
        problems = [(problem.field, problem.message) for problem in report_of(w.gate).problems]
        assert ("unsettled", f"the row of call {done.call} is not what the records say") in problems
        assert ("unsettled", "a call of which nobody saw the end is not known as unsettled") in problems


def test_a_probe_takes_what_its_tool_takes(w: World) -> None:
    with pytest.raises(CatalogInvalid, match=r"the probe of `bank\.pay` must take the arguments of its tool"):

        @w.gate.probe("bank.pay")
        def _(customer_id: str) -> bool:
            return bool(customer_id)

    with pytest.raises(CatalogInvalid, match=r"there is no `bank\.lend`"):
        w.gate.probe("bank.lend")(lambda: True)
