"""Attacks on what tools report and on undoing it: nothing is undone twice, or otherwise than the log says."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

import licet
from licet import Denied, Effect, Ok
from licet.cli.acting import acting
from licet.errors import UndoRefused
from licet.gate.results import Result
from licet.ledger.erasure import erase
from licet.ledger.record import decode_envelope
from licet.ledger.vault import Subject
from licet.model import CallId
from tests.attacks.test_on_approvals import edit
from tests.gate.proof import assert_whole, report_of
from tests.world import POLICIES, World, world, world_on

CALLERS = 16
UNDO = """
@id("security-changes")
permit (principal in Role::"security", action in [Action::"plan.set", Action::"plan.set.undo"], resource);
"""


def populate(w: World) -> None:
    @w.gate.tool("plan.set", access="write", targets="Customer::{customer_id}")
    def set_plan(customer_id: str, plan: str) -> None:
        before = w.customers[customer_id].get("plan")
        w.customers[customer_id]["plan"] = plan
        licet.effect(f'Customer::"{customer_id}"', "plan", before=before, after=plan)

    @set_plan.undo
    def unset_plan(customer_id: str, plan: str, effects: list[Effect]) -> None:
        w.ran.append(("undo", {"effects": effects}))
        w.customers[customer_id]["plan"] = effects[0].after


def done(w: World, plan: str = "pro") -> CallId:
    with w.alice():
        result = w.gate.call("plan.set", {"customer_id": "C-1", "plan": plan})
    assert isinstance(result, Ok), result
    return result.call


def undo(w: World, call: CallId) -> Result:
    with w.alice():
        return w.gate.undo(call)


def refused(w: World, call: CallId) -> UndoRefused:
    with pytest.raises(UndoRefused) as error:
        undo(w, call)
    assert w.ran == []
    return error.value


def test_sixteen_callers_undo_a_call_once() -> None:
    with world(policies=POLICIES + UNDO) as w:
        populate(w)
        call = done(w)
        together = threading.Barrier(CALLERS)

        def race(_: int) -> str:
            together.wait(30)
            try:
                result = undo(w, call)
            except UndoRefused as error:
                return error.code
            return "ok" if isinstance(result, Ok) else result.decision.code if isinstance(result, Denied) else "?"

        with ThreadPoolExecutor(CALLERS) as pool:
            ends = list(pool.map(race, range(CALLERS)))
        assert sorted(set(ends)) in (["already_undone", "ok"], ["ok"])
        assert ends.count("ok") == 1
        assert len(w.ran) == 1
        assert_whole(w.gate)


PROGRAM = """
import sys
from pathlib import Path
from licet import Denied, Ok
from licet.cli.acting import acting
from licet.errors import UndoRefused
from tests.attacks.test_on_effects import POLICIES, UNDO, populate
from tests.world import world_on

folder, call = Path(sys.argv[1]), sys.argv[2]
with world_on(folder, policies=POLICIES + UNDO) as w:
    populate(w)
    w.gate.seal()
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with w.alice():
            result = w.gate.undo(call)
        print("ok" if isinstance(result, Ok) else result.decision.code if isinstance(result, Denied) else "?", len(w.ran))
    except UndoRefused as error:
        print(error.code, len(w.ran))
"""


@pytest.mark.heavy
def test_two_processes_undo_a_call_once(tmp_path: Path) -> None:
    with world_on(tmp_path, policies=POLICIES + UNDO) as w:
        populate(w)
        call = done(w)
        root = Path(__file__).parents[2]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(tmp_path), call], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        ends = sorted(process.communicate(timeout=60)[0].strip() for process in processes)
        assert ends == ["already_undone 0", "ok 1"]
        assert_whole(w.gate)


def test_a_key_that_a_caller_takes_first_keeps_nobody_from_undoing() -> None:
    with world(policies=POLICIES + UNDO) as w:
        populate(w)
        call = done(w)
        for key in (f"undo:{call}", f"undo:{call}:2"):
            w.adjust(100, idempotency_key=key)
        assert isinstance(undo(w, call), Ok)
        assert w.customers["C-1"]["plan"] is None


def test_what_two_people_were_allowed_to_undo_is_undone_once() -> None:
    held = """
    @id("undo-is-held")
    @require_approval("1 of Group::\\"billing-leads\\"")
    forbid (principal, action == Action::"plan.set.undo", resource);
    @id("self") permit (principal == Agent::"night-bot", action == Action::"plan.set.undo", resource);
    """
    with world(policies=POLICIES + UNDO + held) as w:
        populate(w)
        call = done(w)
        first = undo(w, call)
        with w.gate.acting(agent="night-bot"):
            second = w.gate.undo(call)
        for one in (first, second):
            assert isinstance(one, licet.Held), one
            assert one.request is not None
            w.gate.approvals.vote(one.request, "lena", "approve")
        assert isinstance(undo(w, call), Ok)
        with w.gate.acting(agent="night-bot"), pytest.raises(UndoRefused) as error:
            w.gate.undo(call)
        assert error.value.code == "already_undone"
        assert len(w.ran) == 1


def place(folder: Path, call: CallId, kind: str) -> int:
    [(found,)] = edit(folder, "SELECT place FROM records WHERE call = ? AND kind = ?", (call, kind))
    assert isinstance(found, int)
    return found


def flip_outcome(folder: Path, call: CallId, _other: CallId) -> None:
    [(sealed,)] = edit(folder, "SELECT sealed FROM payloads WHERE place = ?", (place(folder, call, "outcome"),))
    changed = bytearray(sealed)
    changed[len(changed) // 2] ^= 1
    edit(folder, "UPDATE payloads SET sealed = ? WHERE place = ?", (bytes(changed), place(folder, call, "outcome")))


def swap_payloads(folder: Path, call: CallId, other: CallId) -> None:
    [(sealed,)] = edit(folder, "SELECT sealed FROM payloads WHERE place = ?", (place(folder, other, "outcome"),))
    edit(folder, "UPDATE payloads SET sealed = ? WHERE place = ?", (sealed, place(folder, call, "outcome")))


def lead_to_another_intent(folder: Path, call: CallId, other: CallId) -> None:
    mine, its = place(folder, call, "intent"), place(folder, other, "intent")
    edit(folder, "UPDATE records SET call = 'x' WHERE place = ?", (mine,))
    edit(folder, "UPDATE records SET call = ? WHERE place = ?", (call, its))


def lead_to_another_outcome(folder: Path, call: CallId, other: CallId) -> None:
    mine, its = place(folder, call, "outcome"), place(folder, other, "outcome")
    edit(folder, "UPDATE records SET call = 'x' WHERE place = ?", (mine,))
    edit(folder, "UPDATE records SET call = ? WHERE place = ?", (call, its))


def claim_more_effects(folder: Path, call: CallId, _other: CallId) -> None:
    [(envelope,)] = edit(folder, "SELECT envelope FROM records WHERE place = ?", (place(folder, call, "outcome"),))
    found = decode_envelope(envelope)
    assert found.outcome is not None
    forged = msgspec.structs.replace(found, outcome=msgspec.structs.replace(found.outcome, effects=2))
    edit(folder, "UPDATE records SET envelope = ? WHERE place = ?", (msgspec.json.encode(forged), place(folder, call, "outcome")))


ATTACKS: dict[Callable[[Path, CallId, CallId], None], set[str]] = {
    flip_outcome: {"damaged"},
    swap_payloads: {"damaged"},
    lead_to_another_intent: {"not_in_log"},
    lead_to_another_outcome: {"not_in_log"},
    claim_more_effects: {"effects_not_kept"},
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_edited_record_is_not_undone(tmp_path: Path, attack: Callable[[Path, CallId, CallId], None]) -> None:
    with world_on(tmp_path, policies=POLICIES + UNDO) as w:
        populate(w)
        call, other = done(w, "pro"), done(w, "gold")
    attack(tmp_path, call, other)
    with world_on(tmp_path, policies=POLICIES + UNDO) as w:
        populate(w)
        w.gate.seal()
        assert refused(w, call).code in ATTACKS[attack]
        assert not report_of(w.gate).ok


def test_a_returned_effect_cannot_break_out_of_its_record() -> None:
    out = msgspec.Raw(b'1},{"target":"x","field":"y","before":0,"after":1')
    with world() as w:

        @w.gate.tool("odd.returns", access="write", touches={"access"})
        def returns() -> Any:
            return [Effect(target="x", field="plan", before=out, after=2)]

        with w.alice():
            result = w.gate.call("odd.returns", {})
        assert isinstance(result, Ok)
        assert result.effects == ()
        [record] = [record for record in w.records() if record.kind == "outcome"]
        assert record.payload.effects == ()
        assert record.envelope.outcome is not None
        assert record.envelope.outcome.effects == 1
        assert_whole(w.gate)


def test_an_erased_call_is_not_undone(tmp_path: Path) -> None:
    with world_on(tmp_path, policies=POLICIES + UNDO) as w:
        populate(w)
        call = done(w)
        settings = w.gate.settings
    with acting(settings) as (ledger, operator):
        erase(operator, ledger.manifest, Subject("acme", "Customer", "C-1"), "asked to")
    with world_on(tmp_path, policies=POLICIES + UNDO) as w:
        populate(w)
        error = refused(w, call)
        assert (error.code, "was erased" in str(error)) == ("erased", True)


def test_a_call_that_no_row_leads_to_is_not_there(tmp_path: Path) -> None:
    with world_on(tmp_path, policies=POLICIES + UNDO) as w:
        populate(w)
        call = done(w)
    edit(tmp_path, "UPDATE records SET call = NULL WHERE call = ?", (call,))
    with world_on(tmp_path, policies=POLICIES + UNDO) as w:
        populate(w)
        assert refused(w, call).code == "no_such_call"
