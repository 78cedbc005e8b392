"""Everything at once, in any order: whoever proposes, votes, takes back, withdraws, freezes, lets time pass or changes the world.

Whatever the order, a held tool has run exactly once for each approval that was used, each was used with enough live votes of the moment, nothing
began while it was frozen, and the ledger is whole.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from licet.approvals.standing import standing
from licet.errors import TransitionRefused, VoteRefused
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.model import Request, RequestState
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world_on

STEPS = 60
BIG = 20_000
USERS = ("lena", "lena", "dana", "dana", "omar", "omar", "alice", "dana-two", "gina", "carl")
HELD = {"billing.adjust", "account.suspend"}


def big(amount: int) -> tuple[str, dict[str, Any]]:
    return "billing.adjust", {"customer_id": "C-1", "amount_cents": amount}


SUSPEND = ("account.suspend", {"customer_id": "C-1"})
FLAKY: tuple[str, dict[str, Any]] = ("odd.flaky", {})
PLANS: tuple[tuple[Any, ...], ...] = (
    (big(BIG), SUSPEND),
    (SUSPEND, big(BIG)),
    (FLAKY, SUSPEND, SUSPEND),
    (big(BIG), big(BIG + 1), FLAKY),
)


class Chaos:
    """One world, and somebody who does anything to it."""

    def __init__(self, w: World, seed: int) -> None:
        self.w = w
        self.random = random.Random(seed)
        self.runs = 0
        self.frozen_runs = 0
        self.results: list[Result] = []

        @w.gate.tool("odd.flaky", access="write", touches={"access"})
        def flaky() -> None:
            if self.random.random() < 0.4:
                raise ValueError("not this time")

        for name in HELD:
            tool = w.gate.registry.tools[name]
            tool.function = self._counted(tool.function)

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(**arguments: Any) -> Any:
            self.runs += 1
            self.frozen_runs += bool(self.w.gate.freezes())
            return function(**arguments)

        return run

    def do_anything(self) -> None:
        acts = [self.propose, self.propose, self.propose, self.call, self.vote, self.vote, self.vote, self.vote_plan, self.take_back]
        seldom = [self.withdraw, self.wait, self.freeze, self.lift, self.lift, self.lift, self.change]
        act = self.random.choice(acts * 3 + seldom)
        with suppress(VoteRefused, TransitionRefused):
            act()

    def propose(self) -> None:
        place = self.random.randrange(len(PLANS))
        calls = PLANS[place]
        name = self.random.choice([None, None, None, f"ticket-{place}", "ticket-1"])
        with self.w.alice(session=self.random.choice(["s-1", "s-2"])):
            result = self.w.gate.plan(calls, idempotency_key=name)
        self.results += [step.result for step in result.steps if step.result is not None]

    def call(self) -> None:
        with self.w.alice():
            self.results.append(self.w.gate.call(*self.random.choice([big(BIG), SUSPEND])))

    def _some(self) -> Request | None:
        waiting = [shown.request for shown in self.w.gate.approvals.waiting()]
        return self.random.choice(waiting) if waiting else None

    def vote(self) -> None:
        if request := self._some():
            self.w.gate.approvals.vote(request.id, self.random.choice(USERS), "reject" if self.random.random() < 0.05 else "approve")

    def vote_plan(self) -> None:
        request = self._some()
        if request is not None and request.plan is not None:
            steps = [shown.request.step for shown in self.w.gate.approvals.plan(request.plan)]
            self.w.gate.approvals.vote_plan(request.plan, self.random.choice(USERS), dict.fromkeys(steps, "approve"))

    def take_back(self) -> None:
        if request := self._some():
            self.w.gate.approvals.take_back(request.id, self.random.choice(USERS))

    def withdraw(self) -> None:
        if (request := self._some()) and self.random.random() < 0.3:
            self.w.gate.approvals.withdraw(request.id, "alice")

    def wait(self) -> None:
        self.w.clock.advance(self.random.choice([1, 1, 60, 400, 900]))

    def freeze(self) -> None:
        self.w.gate.freeze("agent", "support-bot", reason="at random")

    def lift(self) -> None:
        for freeze in self.w.gate.freezes():
            self.w.gate.lift(freeze.id, reason="at random")

    def change(self) -> None:
        self.w.customers["C-1"]["balance"] += self.random.choice([0, 1])

    def check(self) -> None:
        """What must hold whatever has happened."""
        used = self.w.gate.approvals.all([RequestState.CONSUMED])
        assert self.runs == len(used)
        assert self.frozen_runs == 0
        assert all(isinstance(result, Ok | Held | Denied | Failed) for result in self.results)
        for shown in used:
            assert standing(shown.request, shown.votes, self.w.gate.scene.directory).approved, shown.request
        live = [shown.request.key for shown in self.w.gate.approvals.waiting()]
        assert len(live) == len(set(live))
        assert_whole(self.w.gate)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_done_in_whatever_order_each_approval_runs_one_call(tmp_path: Path, seed: int) -> None:
    config = CONFIG.replace('"dana-two"]', '"dana-two", "lena"]')
    for part in range(3):  # a restart between them
        with world_on(tmp_path, config, POLICIES) as w:
            chaos = Chaos(w, seed * 10 + part)
            chaos.runs = len(w.gate.approvals.all([RequestState.CONSUMED]))
            for _ in range(STEPS):
                chaos.do_anything()
            chaos.check()
