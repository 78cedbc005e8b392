"""Every held call of the corpus is, made again with the arguments that were read, the same call: it finds its request."""

from __future__ import annotations

import asyncio

import pytest

from licet.gate.results import Held
from licet.ledger.record import new_id
from licet.model import CallId
from tests.cases.corpus import CORPUS_CONFIG, CORPUS_POLICIES, Case, cases, equip
from tests.gate.proof import assert_whole
from tests.world import world

HELD = [case for case in cases() if case.expect.verdict == "hold" and case.expect.code != "preview_only"]


@pytest.mark.parametrize("case", HELD, ids=lambda case: case.name)
@pytest.mark.parametrize("awaited", [False, True], ids=["call", "acall"])
def test_a_held_case_made_again_finds_its_request(case: Case, *, awaited: bool) -> None:
    with world(CORPUS_CONFIG, CORPUS_POLICIES) as w:
        gate = equip(w).gate
        with case.acting(w):
            draft = gate._draft(case.tool, case.proposed, None, None)
            first = asyncio.run(gate._apropose_once(draft)) if awaited else gate._propose_once(draft)
            again = draft.again(CallId(new_id()), draft.at_us)
            second = asyncio.run(gate._apropose_once(again)) if awaited else gate._propose_once(again)
            waited = (
                asyncio.run(gate.acall(case.tool, case.proposed, wait=0.01)) if awaited else gate.call(case.tool, case.proposed, wait=0.01)
            )
        assert isinstance(first, Held)
        assert isinstance(second, Held)
        assert isinstance(waited, Held)
        assert first.request is not None
        assert first.request == second.request == waited.request
        assert first.decision == second.decision == waited.decision
        assert w.ran == []
        assert_whole(gate)


def test_the_corpus_has_held_calls() -> None:
    assert len(HELD) >= 3
