"""Any sequence of calls above a log that fails at random: when it is whole again, it says exactly what ran."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licet.errors import StoreError, VoteRefused
from licet.gate.results import Held, Result
from licet.testing import vote
from tests.gate.faulty import How, drain, faulty_world
from tests.gate.proof import assert_whole
from tests.world import World

READ = ("crm.lookup", {"customer_id": "C-1"})


def read(w: World) -> Result:
    with w.alice():
        return w.gate.call(*READ)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["adjust", "adjust", "read", "hold", "keyed", "approved", "denied"]),
        st.sampled_from([None, None, "down", "ambiguous"]),
        st.sampled_from(["", "intent", "outcome", "hold", "vote", "denial", "call"]),
    ),
    min_size=3,
    max_size=14,
)


BY_THE_WAY = {"repeats", "previews"}
"""What the detail of a `call` says that is no read of its own: a repeated key, and what a held call would change."""


@settings(max_examples=25)
@given(operations=OPERATIONS)
def test_whatever_fails_when_the_log_is_whole_and_says_exactly_what_ran(operations: list[tuple[str, How | None, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch, faulty_world(patch) as (w, store):
        for number, (operation, how, kind) in enumerate(operations):
            if how is not None:
                store.fail(how, *filter(None, [kind]))
            operate(w, operation, number)
            store.mend()
            drain(w.gate)
        report = assert_whole(w.gate)
        assert report.ok
        assert w.gate.store.open_calls() == ()
        found = w.records()
        ended = [record for record in found if record.kind == "outcome" and record.envelope.outcome is not None]
        ran = [record for record in ended if record.envelope.outcome and record.envelope.outcome.status == "ok"]
        assert len(ran) == len([tool for tool, _ in w.ran if tool == "billing.adjust"]), "each write that ran has its outcome, and no other"
        assert len({record.envelope.call for record in ended}) == len(ended) == len([record for record in found if record.kind == "intent"])
        reads = [record for record in found if record.kind == "call" and (record.payload.detail or {}).keys().isdisjoint(BY_THE_WAY)]
        assert len(reads) == len([tool for tool, _ in w.ran if tool == "crm.lookup"]), "each read that ran is recorded"


def operate(w: World, operation: str, number: int) -> None:
    """One thing that people and agents do. What it answers is not looked at here."""
    if operation == "read":
        read(w)
    elif operation == "denied":
        w.adjust(1_000_001)
    elif operation == "keyed":
        w.adjust(100, idempotency_key="k")
    elif operation == "adjust":
        w.adjust(200 + number)
    else:
        held = w.adjust(50_000)
        if operation == "approved" and isinstance(held, Held):
            with contextlib.suppress(StoreError, VoteRefused):
                vote(w.gate, held.request, "lena")
            w.adjust(50_000)
