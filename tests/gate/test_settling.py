"""Settlements beside erasure, other tenants, crashes, failing disks and forgers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licet.errors import LicetError, SettlementRefused, StoreError
from licet.gate.opening import OpenLedger
from licet.gate.parallel import examining
from licet.gate.results import Failed
from licet.gate.unknown import Said, find_case
from licet.ledger.erasure import erase
from licet.ledger.record import decode_envelope
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.model import CallId
from tests.gate.faulty import How, drain, faulty_world
from tests.gate.proof import assert_whole, report_of
from tests.gate.settling import PLACES
from tests.gate.test_kill import ROOT
from tests.gate.unseen import LIMIT_S, add_payments, lost, pay, settlement_of
from tests.world import CONFIG, POLICIES, World, world_on

C1 = Subject("acme", "Customer", "C-1")
ALICE = Subject("acme", "User", "alice")


def forget(w: World, subject: Subject) -> str:
    """The subject is erased; its pseudonym."""
    with OpenLedger(w.gate.settings, w.clock, create=False) as ledger:
        return erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, subject, "asked by letter").pseudonym


def stored(w: World, index: int) -> Any:
    """An envelope as it is stored: with pseudonyms."""
    return decode_envelope(w.gate.store.get_record("acme", index).envelope)


@pytest.mark.parametrize("subject", [C1, ALICE], ids=lambda subject: subject.type)
def test_a_call_about_somebody_who_was_erased_is_settled_without_naming_anybody_anew(tmp_path: Path, subject: Subject) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        call = lost(w, key="k")
        gone = forget(w, subject)
        (found,) = w.gate.unknown()
        assert (found.closed, found.tool, found.agent) == ("erased", "bank.pay", "support-bot")
        assert gone in (found.user, *[target.rpartition("::")[2] for target in found.targets])
        settled = w.gate.settle(call, "ok", reason="seen in the bank's list")
        intent, record = stored(w, 0), stored(w, settled.receipt.index)
        for field in ("actor", "tool", "targets", "trace"):
            assert getattr(record, field) == getattr(intent, field), field
        assert record.payload.subjects == (), "nobody's secret but the log's seals it"
        assert settlement_of(w)["reason"] == "seen in the bank's list"
        last = w.records()[-1].payload
        assert last.names is None
        assert w.gate.unknown() == ()
        assert_whole(w.gate)
        with OpenLedger(w.gate.settings, w.clock, create=False) as ledger:
            assert ledger.store.find_pseudonym(subject) is None


def test_a_settlement_names_and_is_sealed_by_those_whom_the_intent_names(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        settled = w.gate.settle(lost(w), "ok", reason="seen in the bank's list", by="dana")
        intent, record = stored(w, 0), stored(w, settled.receipt.index)
        assert set(record.payload.subjects) > set(intent.payload.subjects), "and by who settled it"
        names = w.records()[-1].payload.names
        assert names is not None
        assert set(names.values()) == {'User::"alice"', 'Customer::"C-1"', 'User::"dana"'}


def test_a_settlement_outlives_whoever_made_it_without_their_words(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        w.gate.settle(lost(w, key="k"), "not_executed", reason="I have asked the bank", by="dana")
        forget(w, Subject("acme", "User", "dana"))
        record = w.records()[2]
        assert record.payload.detail is None
        assert record.envelope.outcome is not None
        assert (record.envelope.outcome.status, record.envelope.outcome.code) == ("not_executed", "settled")
        again = pay(w, key="k")
        assert (again.status, again.code, again.executed) == ("not_executed", "settled", False)
        assert_whole(w.gate)


def test_a_target_of_another_tenant_keeps_the_pseudonym_that_it_has_there(tmp_path: Path) -> None:
    config = CONFIG.replace("[tenants.acme]", 'cross_tenant = [["acme", "partner"]]\n[tenants.acme]\n[tenants.partner]')
    policies = POLICIES.replace("== principal.tenant };", '== principal.tenant || resource.tenant == Tenant::"partner" };', 1)
    with world_on(tmp_path, config, policies) as w:
        w.customers["P-1"] = {"tenant": "partner", "vip": False, "balance": 0, "suspended": False}
        add_payments(w.gate)
        call = lost(w, customer_id="P-1")
        settled = w.gate.settle(call, "ok", reason="seen in the bank's list")
        intent, record = stored(w, 0), stored(w, settled.receipt.index)
        assert record.targets == intent.targets
        with OpenLedger(w.gate.settings, w.clock, create=False) as ledger:
            there = ledger.store.find_pseudonym(Subject("partner", "Customer", "P-1"))
            assert record.targets == (f"Customer::{there}",)
            assert ledger.store.find_pseudonym(Subject("acme", "Customer", "P-1")) is None
        assert_whole(w.gate)


def test_a_second_settlement_by_who_holds_the_writer_is_found(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        call = lost(w)
        house: Any = w.gate._house
        forged = house.reconciliation._statement(find_case(w.gate.store, call), Said(status="not_executed", operating_user="mallory"))
        w.gate.settle(call, "ok", reason="seen in the bank's list")
        house.writer.submit(Filing((forged,))).wait()
        problems = [(problem.log, problem.index, problem.field, problem.message) for problem in report_of(w.gate).problems]
        assert problems == [("acme", 3, "payload.detail.settled", "a settlement of a call that was not unsettled")]


def test_a_settlement_without_its_change_leaves_a_row_that_is_found(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        call = lost(w)
        house: Any = w.gate._house
        said = house.reconciliation._statement(find_case(w.gate.store, call), Said(status="ok", operating_user="mallory"))
        house.writer.submit(Filing((said,))).wait()
        problems = [(problem.log, problem.field, problem.message) for problem in report_of(w.gate).problems]
        assert problems == [("acme", "unsettled", f"the row of call {call} is not what the records say")]
        with pytest.raises(SettlementRefused, match="was settled as ok"):
            w.gate.settle(call, "error", reason="no, it failed")


def test_an_exception_that_is_called_settled_settles_nothing(tmp_path: Path) -> None:
    class settled(Exception):  # noqa: N801  its name becomes the outcome's code
        pass

    with world_on(tmp_path) as w:

        @w.gate.tool("odd.sly", access="write", touches={"access"}, timeout_s=LIMIT_S)
        def sly() -> None:
            w.release.wait(5)
            raise settled

        with w.alice():
            call = w.gate.call("odd.sly", {}).call
        w.gate.settle(call, "ok", reason="it looked like it")
        w.release.set()
        for _ in range(500):
            if w.kinds().count("outcome") == 3:
                break
            time.sleep(0.01)
        late = w.records()[-1].envelope.outcome
        assert late is not None
        assert (late.status, late.code) == ("error", "settled")
        assert_whole(w.gate)


@pytest.mark.parametrize("how", ["down", "ambiguous"])
def test_a_settlement_that_could_not_be_written_is_made_again_or_was_made(monkeypatch: pytest.MonkeyPatch, how: How) -> None:
    with faulty_world(monkeypatch) as (w, store):
        add_payments(w.gate)
        call = lost(w)
        store.fail(how, "outcome")
        with pytest.raises(StoreError):
            w.gate.settle(call, "ok", reason="seen in the bank's list")
        store.mend()
        if how == "down":
            assert [found.call for found in w.gate.unknown()] == [call]
            w.gate.settle(call, "ok", reason="seen in the bank's list")
        else:
            with pytest.raises(SettlementRefused, match="was settled as ok by record acme:2"):
                w.gate.settle(call, "ok", reason="seen in the bank's list")
        assert w.kinds() == ["intent", "outcome", "outcome"]
        assert w.gate.unknown() == ()
        assert_whole(w.gate)


def test_several_processes_that_examine_the_log_find_what_one_does(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        w.gate.settle(lost(w), "ok", reason="seen in the bank's list")
        missed = lost(w)
        with w.gate.store.source() as source, examining(w.gate.settings, 5, workers=2) as chunks:
            assert verify(source, chunks=chunks).ok
        store: Any = w.gate.store
        with store._writing() as con:
            con.execute("DELETE FROM unsettled")
        with w.gate.store.source() as source, examining(w.gate.settings, 5, workers=2) as chunks:
            (problem,) = verify(source, chunks=chunks).problems
        assert (problem.field, problem.expected) == ("unsettled", missed)


@pytest.mark.parametrize("place", PLACES)
def test_killed_while_it_settles_a_process_leaves_all_of_it_or_nothing(tmp_path: Path, place: str) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        call = lost(w)
    program = [sys.executable, "-m", "tests.gate.settling", str(tmp_path), call, place]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stopped\n"
        process.kill()
        assert process.wait() == -9
    with world_on(tmp_path) as w:
        assert [found.call for found in w.gate.unknown()] == ([call] if place == PLACES[0] else [])
        assert w.kinds().count("outcome") == (1 if place == PLACES[0] else 2)
        assert_whole(w.gate)


def ended(w: World) -> set[CallId | None]:
    """The calls of which some record says how they ended."""
    ends = [(record.envelope.call, record.envelope.outcome) for record in w.records() if record.kind == "outcome"]
    return {call for call, outcome in ends if outcome is not None and outcome.status not in {"timeout", "unknown"}}


def end_late(w: World, made: list[CallId]) -> None:
    """Every tool that still runs ends, and that is recorded."""
    w.release.set()
    for _ in range(12_000):
        time.sleep(0.005)
        late = {record.envelope.call for record in w.records() if "late" in (record.payload.detail or {}) and bytes(record.payload.result)}
        if late >= set(made):
            break
    else:
        raise AssertionError("a tool has not ended")
    w.release.clear()


ACTS = st.lists(st.tuples(st.sampled_from(["pay", "settle", "probe", "wrong", "late"]), st.integers(0, 3)), min_size=2, max_size=12)


@settings(max_examples=20, deadline=None)
@given(acts=ACTS, fails=st.lists(st.sampled_from([None, None, "down", "ambiguous"]), min_size=12, max_size=12))
def test_whatever_is_done_what_is_listed_is_what_nobody_has_said(acts: list[tuple[str, int]], fails: list[How | None]) -> None:
    with pytest.MonkeyPatch.context() as patch, faulty_world(patch) as (w, store):
        answers = {0: True, 1: False, 2: None, 3: "no"}

        @w.gate.tool("bank.pay", access="write", touches={"access"}, timeout_s=0.001)
        def bank_pay(number: int) -> int:
            w.release.wait(30)
            return number

        @bank_pay.probe
        def is_paid(number: int) -> Any:
            return answers[number % 4]

        made: list[CallId] = []
        started: list[CallId] = []
        for (act, which), how in zip(acts, fails, strict=False):
            if how is not None:
                store.fail(how, "outcome")
            with contextlib.suppress(LicetError):
                if act == "pay":
                    with w.alice():
                        result = w.gate.call("bank.pay", {"number": which})
                    assert isinstance(result, Failed)
                    made.append(result.call)
                    if result.status != "not_executed":  # its time was over before a thread was free: then there is no end to wait for
                        started.append(result.call)
                elif act == "late":
                    store.mend()
                    end_late(w, started)
                elif made:
                    call = made[which % len(made)]
                    if act == "probe":
                        w.gate.probe_unknown(call)
                    else:
                        w.gate.settle(call, "ok" if act == "settle" else "error", reason="seen", by="dana" if which else None)
            store.mend()
            with contextlib.suppress(RuntimeError):  # the clerk's thread may be about to start, with nothing left to do
                drain(w.gate)
        assert {found.call for found in w.gate.unknown()} == set(made) - ended(w)
        settlements = [record.envelope.call for record in w.records() if "settled" in (record.payload.detail or {})]
        assert len(settlements) == len(set(settlements)), "none is settled twice"
        w.release.set()
        assert_whole(w.gate)
