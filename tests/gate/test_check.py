"""`check` and a rehearsal: what would happen, without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from licet.gate.acting import Acting
from licet.gate.rehearsal import Rehearsal
from licet.gate.results import Ok
from licet.testing import vote
from tests.world import World, world_on

READ = ("crm.lookup", {"customer_id": "C-1"})


def test_check_says_what_would_happen_records_nothing_and_runs_nothing(w: World) -> None:
    w.gate.seal()
    before = (w.kinds("operator"), w.kinds())
    with w.alice():
        for arguments, verdict, code in (
            ({"customer_id": "C-1", "amount_cents": 5}, "allow", "allowed"),
            ({"customer_id": "C-1", "amount_cents": 50_000}, "hold", "approval_required"),
            ({"customer_id": "C-1", "amount_cents": 1_000_001}, "deny", "no_permit"),
            ({"customer_id": "G-1", "amount_cents": 5}, "deny", "target_not_found"),
            ({"customer_id": "C-1"}, "deny", "missing"),
        ):
            decision = w.gate.check("billing.adjust", arguments)
            assert (decision.verdict, decision.code) == (verdict, code)
    assert w.gate.check(*READ).code == "no_caller"
    assert (w.kinds("operator"), w.kinds()) == before
    assert w.ran == []
    assert w.gate.approvals.all() == ()


def test_check_sees_an_approval_and_does_not_use_it(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    for _ in range(3):
        with w.alice():
            assert w.gate.check("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000}).verdict == "allow"
    assert isinstance(w.adjust(50_000), Ok)


def test_check_runs_no_preview(w: World) -> None:
    def never(**_: Any) -> Any:
        raise AssertionError

    w.gate.registry.previews["billing.adjust"].function = never
    with w.alice():
        assert w.gate.check("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000}).verdict == "hold"


def test_check_counts_no_meter(w: World) -> None:
    with w.alice():
        for _ in range(5):
            assert w.gate.check("billing.refund", {"customer_id": "C-1", "amount_cents": 50_000}).verdict == "allow"


def test_a_rehearsal_decides_as_the_gate_does_without_a_store(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        rehearsal = Rehearsal(w.gate.settings, w.gate.registry)
        rehearsed = rehearsal.check(Acting(agent="support-bot", user="alice"), *READ)
        assert (rehearsed.decision.verdict, rehearsed.decision.code) == ("allow", "allowed")
        rehearsal.close()
        assert not (tmp_path / "licet.db").exists()
        assert w.ran == []
