"""A hundred processes, killed one after the other at any step: what the world outside has seen is what the log says."""

from __future__ import annotations

from pathlib import Path

import pytest

from licet.gate.results import Ok
from tests.gate.doomed import DOOMED_POLICIES, STEPS, Doomed
from tests.gate.kills import Kills
from tests.gate.proof import assert_whole
from tests.world import world_on

pytestmark = pytest.mark.heavy

ROUNDS = 100


def test_whenever_a_process_is_killed_the_log_says_what_was_seen(tmp_path: Path) -> None:
    with Kills(tmp_path) as kills:
        for number in range(1, ROUNDS + 1):
            kills.kill_one()
            if number % 20 == 0:
                kills.check()
    assert kills.at.total() == ROUNDS
    assert kills.at.keys() == set(STEPS), "no step was left out"
    assert kills.recovered > 10
    assert kills.receipts > 50
    assert kills.effects > 50
    assert kills.repeats > 10


def test_a_process_goes_on_while_others_are_killed_beside_it(tmp_path: Path) -> None:
    with Kills(tmp_path, seed=1) as kills, world_on(tmp_path, policies=DOOMED_POLICIES) as w:
        Doomed(w, tmp_path)  # its tools, which the policies name
        receipts = []
        for _ in range(2 * len(STEPS)):
            kills.kill_one()
            result = w.adjust()
            assert isinstance(result, Ok)
            receipts.append(result.receipt)
        assert_whole(w.gate)
        there = {record.receipt.leaf for record in w.records()}
        assert {receipt.leaf for receipt in receipts if receipt} <= there
        w.gate.close()
        kills.check()
    assert len(receipts) == 2 * len(STEPS)
