"""Any sequence of what can happen to approvals: nothing runs that enough distinct people have not approved, and nothing twice."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from licet.approvals.states import TRANSITIONS
from licet.errors import TransitionRefused, VoteRefused
from licet.gate.results import Denied, Held, Ok, Result
from licet.identity.directory import Directory
from licet.model import RequestId, RequestState
from tests.gate.proof import assert_whole
from tests.world import CONFIG, World, world

LEADS = ("lena", "dana", "dana-two", "omar", "alice", "gina", "carl")
CONFIG_OF_THREE = CONFIG.replace(
    'billing-leads = ["lena", "alice", "gina"]', 'billing-leads = ["lena", "dana", "dana-two", "omar", "alice", "gina"]'
)
POLICIES = """
@id("billing-writes")
permit (principal in Role::"billing", action in [Action::"billing.adjust", Action::"billing.adjust.preview"], resource);

@id("needs-two")
@require_approval("2 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"billing.adjust", resource)
when { context.input.amount_cents > 100 };
"""
PEOPLE_OF_LEADS = {"lena": "lena", "dana": "dana", "dana-two": "dana", "omar": "omar"}
"""Who may approve for alice, and the person behind each id."""


def reachable(source: RequestState) -> set[RequestState]:
    """The states that a request can be in some moves later."""
    found = {source}
    while True:
        more = {target for (state, _), target in TRANSITIONS.items() if state in found} - found
        if not more:
            return found
        found |= more


class Approvals(RuleBasedStateMachine):
    """One gate, one tool, two amounts; people come, vote, leave; time passes; the world changes."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.w: World = self.stack.enter_context(world(CONFIG_OF_THREE, POLICIES))
        self.votes: dict[RequestId, dict[str, str]] = {}
        self.shown: dict[RequestId, tuple[int, int, datetime]] = {}
        self.states: dict[RequestId, RequestState] = {}
        self.used: set[RequestId] = set()
        self.gone: set[str] = set()
        self.executed = 0

    @initialize()
    def open_gate(self) -> None:
        self.w.gate.seal()
        house = self.w.gate._house
        assert house is not None
        self.house = house
        self.everybody = house.scene.directory

    @rule(amount=st.sampled_from([20_000, 30_000]), again=st.booleans())
    def call(self, amount: int, again: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        for _ in range(1 + again):
            self.judge(amount, self.w.adjust(amount))

    def judge(self, amount: int, result: Result) -> None:
        if isinstance(result, Ok):
            self.executed += 1
            self.judge_execution(amount, result)
        elif isinstance(result, Held):
            assert result.request is not None
            if result.request not in self.votes:
                self.votes[result.request] = {}
                balance = self.w.customers["C-1"]["balance"]
                self.shown[result.request] = (amount, balance, self.w.clock())
        else:
            assert isinstance(result, Denied), result
            assert result.decision.code == "rejected", result.decision

    def judge_execution(self, amount: int, result: Ok) -> None:
        (intent,) = [record for record in self.w.records() if record.kind == "intent" and record.envelope.call == result.call]
        assert intent.envelope.approval is not None
        request = RequestId(intent.envelope.approval.request)
        assert request not in self.used, "an approval is used once"
        self.used.add(request)
        voted_amount, voted_balance, opened_at = self.shown[request]
        assert voted_amount == amount
        assert voted_balance == self.w.customers["C-1"]["balance"] - amount, "what was voted on is what happened"
        assert (self.w.clock() - opened_at).total_seconds() < 15 * 60
        assert "reject" not in self.votes[request].values()
        people = {PEOPLE_OF_LEADS[voter] for voter in self.votes[request] if voter not in self.gone}
        assert len(people) >= 2, "enough distinct people who may still vote"
        assert set(intent.envelope.approval.voters) <= set(self.votes[request]) - self.gone

    @precondition(lambda self: self.votes)
    @rule(voters=st.permutations(LEADS).map(lambda voters: voters[:4]), then_call=st.booleans())
    def agree(self, voters: list[str], then_call: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        """Several people approve what was asked last; without this, sequences that come to an execution are rare."""
        request = list(self.votes)[-1]
        for voter in voters:
            self.cast(request, voter, "approve")
        if then_call:
            amount = self.shown[request][0]
            self.judge(amount, self.w.adjust(amount))

    @precondition(lambda self: self.votes)
    @rule(data=st.data(), voter=st.sampled_from(LEADS), verdict=st.sampled_from(["approve", "approve", "approve", "reject"]))
    def vote(self, data: st.DataObject, voter: str, verdict: Any) -> None:
        self.cast(data.draw(st.sampled_from(sorted(self.votes))), voter, verdict)

    def cast(self, request: RequestId, voter: str, verdict: Any) -> None:
        before = self.w.gate.store.get_request(request).state
        try:
            self.w.gate.approvals.vote(request, voter, verdict)
        except VoteRefused:
            return
        assert before is RequestState.OPEN
        assert voter in PEOPLE_OF_LEADS
        assert voter not in self.gone
        assert PEOPLE_OF_LEADS[voter] not in {PEOPLE_OF_LEADS[other] for other in self.votes[request]}
        self.votes[request][voter] = verdict

    @precondition(lambda self: self.votes)
    @rule(data=st.data(), by=st.sampled_from(["alice", "lena"]))
    def withdraw(self, data: st.DataObject, by: str) -> None:
        request = data.draw(st.sampled_from(sorted(self.votes)))
        try:
            self.w.gate.approvals.withdraw(request, by)
        except (VoteRefused, TransitionRefused):
            return
        assert by == "alice"

    @rule(seconds=st.sampled_from([1, 60, 600, 900]))
    def wait(self, seconds: int) -> None:
        self.w.clock.advance(seconds)

    @rule()
    def look(self) -> None:
        for shown in self.w.gate.approvals.waiting():
            assert self.w.clock() < shown.request.expires_at

    @rule()
    def change_the_world(self) -> None:
        self.w.customers["C-1"]["balance"] += 1

    @rule(voter=st.sampled_from(["lena", "dana"]))
    def leave_or_join(self, voter: str) -> None:
        self.gone ^= {voter}
        content = msgspec.json.decode(self.everybody.content)
        group = content["groups"]["billing-leads"]
        group["members"] = [member for member in group["members"] if member not in self.gone]
        directory = Directory.from_content(msgspec.json.encode(content))
        self.house._scene = msgspec.structs.replace(self.house.scene, directory=directory)

    @invariant()
    def requests_move_only_as_the_table_says(self) -> None:
        live = []
        for request in self.w.gate.store.requests():
            before = self.states.get(request.id, RequestState.OPEN)
            assert request.state in reachable(before), (request.id, before, request.state)
            self.states[request.id] = request.state
            if request.state in (RequestState.OPEN, RequestState.APPROVED):
                live.append(request.key)
            assert (request.state is RequestState.CONSUMED) == (request.id in self.used)
        assert len(live) == len(set(live)), "one live request for each call"

    @invariant()
    def nothing_ran_that_was_not_seen(self) -> None:
        assert len(self.w.ran) == self.executed == len(self.used)

    def teardown(self) -> None:
        assert_whole(self.w.gate)
        self.stack.close()


TestApprovals = Approvals.TestCase
TestApprovals.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
