"""Whole ledgers set back, cut or rewritten: what the ledger itself shows, and what only somebody outside does.

What is done to single records and rows is in `test_stored_*.py` beside this.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.forger import Forger
from tests.attacks.outside import seen_from_outside
from tests.attacks.owner import Owner
from tests.attacks.stored import TENANTS, Stored


def test_the_ledger_that_is_attacked_is_whole_with_and_without_its_key(stored: Stored) -> None:
    assert stored.problems() == []
    assert stored.problems(with_key=False) == []
    assert seen_from_outside(stored) == set()


def test_who_mends_what_is_not_broken_changes_nothing(stored: Stored) -> None:
    """What the tools of the attacker write is what the ledger writes: otherwise the rows below would prove nothing."""
    with Owner(stored) as owner:
        owner.mend_everything()
    assert stored.problems() == []
    assert seen_from_outside(stored) == set()


@pytest.mark.parametrize("log", TENANTS)
def test_a_cut_at_any_record_with_everything_repaired_is_seen_by_anchor_receipts_and_a_kept_checkpoint(
    untouched: Stored, tmp_path: Path, log: str
) -> None:
    with Forger(untouched.copy(tmp_path / "size")) as forger:
        size = forger.size(log)
    for end in range(size):
        stored = untouched.copy(tmp_path / f"cut-{end}")
        with Owner(stored) as owner:
            owner.cut(log, end)
            owner.fill_what_is_gone()
            owner.mend_everything()
        assert stored.problems() == [], (log, end)
        assert seen_from_outside(stored) == {"anchor", "checkpoint", "receipt"}, (log, end)
