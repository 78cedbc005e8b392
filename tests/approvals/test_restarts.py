"""Any sequence of calls, votes, withdrawals, waits and restarts on one file: a grant runs its call at most once, and nothing is asked twice.

The model is small: for each amount, the request that is live (if any), whether it is approved, and when it ends.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import Struct

from licet.errors import VoteRefused
from licet.gate.results import Denied, Held, Ok
from licet.model import RequestId
from licet.testing import START
from tests.gate.proof import assert_whole
from tests.world import World, world_on

AMOUNTS = st.sampled_from([20_000, 30_000])
LIFE = timedelta(minutes=15)


class Asked(Struct):
    """The last request for an amount."""

    request: RequestId
    ends: datetime
    state: str = "open"


class Restarts(RuleBasedStateMachine):
    """One file; the gate on it is closed and opened again, or left open; a lead decides."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.now = START
        self.asked: dict[int, Asked] = {}
        self.opened = 0
        self.granted = 0
        self.ran = 0
        self.open()

    def open(self) -> None:
        self.inner = ExitStack()
        self.w: World = self.inner.enter_context(world_on(self.folder))
        self.w.clock.advance(self.now - START)
        self.w.gate.seal()

    @rule(amount=AMOUNTS, wait=st.sampled_from([None, 0.02]))
    def call(self, amount: int, wait: float | None) -> None:
        known = self.asked.get(amount)
        self.w.customers["C-1"]["balance"] = 100  # what is previewed stays the same
        before = len(self.w.ran)
        result = self.w.adjust(amount, wait=wait)
        self.ran += len(self.w.ran) - before
        over = known is None or self.now >= known.ends
        if known is not None and not over and known.state == "approved":
            assert isinstance(result, Ok), result
            known.state = "used"
        elif known is not None and not over and known.state == "rejected":
            assert isinstance(result, Denied), result
            assert result.decision.code == "rejected"
        else:
            assert isinstance(result, Held), result
            assert result.request is not None
            if known is not None and not over and known.state == "open":
                assert result.request == known.request, "a retry opens no second request"
            else:
                self.opened += 1
                self.asked[amount] = Asked(result.request, self.now + LIFE)

    @rule(amount=AMOUNTS, verdict=st.sampled_from(["approve", "approve", "reject"]))
    def vote(self, amount: int, verdict: str) -> None:
        known = self.asked.get(amount)
        if known is None:
            return
        try:
            self.w.gate.approvals.vote(known.request, "lena", "approve" if verdict == "approve" else "reject")
        except VoteRefused:
            assert known.state != "open" or self.now >= known.ends
            return
        assert known.state == "open"
        assert self.now < known.ends
        known.state = "approved" if verdict == "approve" else "rejected"
        self.granted += verdict == "approve"

    @rule(amount=AMOUNTS)
    def withdraw(self, amount: int) -> None:
        known = self.asked.get(amount)
        if known is not None and known.state in {"open", "approved"} and self.now < known.ends:
            self.w.gate.approvals.withdraw(known.request, "alice")
            known.state = "withdrawn"

    @rule(seconds=st.sampled_from([1, 600, 900]))
    def pass_time(self, seconds: int) -> None:
        self.now = self.w.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.inner.close()
        self.open()

    @invariant()
    def a_grant_runs_at_most_once_and_nothing_is_asked_twice(self) -> None:
        assert self.ran <= self.granted
        assert self.ran == self.w.kinds().count("intent")
        assert len(self.w.gate.store.requests()) == self.opened
        for known in self.asked.values():
            if known.state in {"open", "approved"}:
                expected = "expired" if self.now >= known.ends else known.state
                assert self.w.gate.poll(known.request) == expected

    def teardown(self) -> None:
        assert_whole(self.w.gate)
        self.inner.close()
        self.stack.close()


TestRestarts = pytest.mark.heavy(Restarts.TestCase)
TestRestarts.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)
