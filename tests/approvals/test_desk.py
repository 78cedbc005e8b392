"""Votes as people cast them: once, each for themselves, never for their own, on what is still open."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from licet.approvals.desk import Cast, Desk
from licet.approvals.standing import binding_of
from licet.approvals.states import Event
from licet.errors import TransitionRefused, VoteRefused
from licet.gate.results import Held, Ok
from licet.model import Request, RequestId, RequestState, Vote
from licet.testing import Read, vote
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world

S = RequestState


@pytest.fixture
def w() -> Iterator[World]:
    with world() as made:
        yield made
        assert_whole(made.gate)


def opened(w: World) -> RequestId:
    """A request for one billing lead."""
    held = w.held()
    assert held.request is not None
    return held.request


def opened_for_two(w: World) -> RequestId:
    """A request for two security leads."""
    with w.alice():
        held = w.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(held, Held)
    assert held.request is not None
    return held.request


def state(w: World, request: RequestId) -> RequestState:
    return w.gate.store.get_request(request).state


def refused(call: Callable[[], object], code: str, *words: str) -> None:
    """The vote is refused with this code and these words."""
    with pytest.raises(VoteRefused) as raised:
        call()
    assert raised.value.code == code
    for word in words:
        assert word in str(raised.value)


def vote_records(w: World) -> list[Read]:
    return [record for record in w.records() if record.kind == "vote"]


def test_an_approval_moves_the_request_and_is_recorded_with_who_said_what(w: World) -> None:
    request = opened(w)
    w.clock.advance(60)
    cast = w.gate.approvals.vote(request, "lena", "approve", comment="looks right", operating_user="root")
    assert (cast.request.id, cast.request.state, state(w, request)) == (request, S.APPROVED, S.APPROVED)
    (record,) = vote_records(w)
    assert record.receipt == cast.receipt
    assert record.envelope.approval is not None
    assert (record.envelope.approval.request, record.envelope.approval.voters, record.envelope.approval.verdict) == (
        request,
        ("lena",),
        "approve",
    )
    assert record.envelope.at == int(w.clock().timestamp()) * 1_000_000
    assert record.payload.reason == "looks right"
    assert [one.policy for one in record.payload.obligations] == ["adjust-needs-lead"] * 2
    detail = record.payload.detail
    assert detail is not None
    assert detail["event"] == "approve"
    assert (detail["vote"]["voter"], detail["vote"]["person"]) == ("lena", "lena")
    assert (detail["vote"]["comment"], detail["vote"]["operating_user"]) == ("looks right", "root")
    assert len(detail["vote"]["binding"]) == 64
    (kept,) = w.gate.approvals.show(request).votes
    assert (kept.voter, kept.at, kept.comment, kept.operating_user) == ("lena", w.clock(), "looks right", "root")


def test_the_first_of_two_votes_leaves_the_request_open(w: World) -> None:
    request = opened_for_two(w)
    cast = w.gate.approvals.vote(request, "dana", "approve")
    assert (cast.request.state, state(w, request)) == (S.OPEN, S.OPEN)
    detail = vote_records(w)[0].payload.detail
    assert detail is not None
    assert detail["event"] is None
    stands = w.gate.approvals.show(request).standing
    assert (stands.approved, stands.voters, [need.missing for need in stands.needs]) == (False, ("dana",), [1])
    assert w.gate.approvals.vote(request, "omar", "approve").request.state is S.APPROVED


def test_one_rejection_ends_the_request(w: World) -> None:
    request = opened_for_two(w)
    vote(w.gate, request, "dana")
    cast = w.gate.approvals.vote(request, "omar", "reject", comment="no ticket")
    assert (cast.request.state, state(w, request)) == (S.REJECTED, S.REJECTED)
    assert w.gate.approvals.show(request).standing.rejected_by == "omar"
    refused(lambda: vote(w.gate, request, "dana"), "not_open", "is rejected and takes no more votes")


@pytest.mark.parametrize(
    ("voter", "code", "words"),
    [
        ("alice", "requester", "nobody approves their own"),
        ("carl", "not_in_group", "`carl` is not in `billing-leads`"),
        ("gina", "not_in_tenant", "does not belong to tenant `acme`"),
        ("nobody", "unknown_user", "`nobody` is not a user of the directory"),
        ("support-bot", "unknown_user", "not a user"),
        ("", "unknown_user", "not a user"),
    ],
)
@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_who_may_not_vote_changes_nothing(w: World, voter: str, code: str, words: str, verdict: Any) -> None:
    request = opened(w)
    refused(lambda: w.gate.approvals.vote(request, voter, verdict), code, words)
    assert state(w, request) is S.OPEN
    assert w.gate.store.votes(request) == ()
    assert vote_records(w) == []
    assert isinstance(w.adjust(50_000), Held)
    assert w.ran == []


def test_the_user_acted_for_does_not_approve_under_a_second_id() -> None:
    config = CONFIG.replace('[users.lena]\ntenants = ["acme"]', '[users.lena]\ntenants = ["acme"]\nperson = "alice"')
    config = config.replace('"gina"]', '"gina", "dana"]')
    with world(config) as w:
        request = opened(w)
        refused(lambda: vote(w.gate, request, "lena"), "requester", "nobody approves their own")
        assert w.ran == []
        assert_whole(w.gate)


def test_a_disabled_user_has_no_vote() -> None:
    config = CONFIG.replace('[users.lena]\ntenants = ["acme"]', '[users.lena]\ntenants = ["acme"]\ndisabled = true')
    config = config.replace('"gina"]', '"gina", "dana"]')
    with world(config) as w:
        request = opened(w)
        refused(lambda: vote(w.gate, request, "lena"), "unknown_user")


def test_a_group_of_operator_scope_votes_for_every_tenant() -> None:
    config = CONFIG.replace('billing-leads = ["lena", "alice", "gina"]', 'billing-leads = {members = ["gina"], scope = "operator"}')
    with world(config) as w:
        request = opened(w)
        assert w.gate.approvals.vote(request, "gina", "approve").request.state is S.APPROVED
        assert isinstance(w.adjust(50_000), Ok)
        assert_whole(w.gate)


def test_nobody_votes_twice_nor_under_a_second_id(w: World) -> None:
    request = opened_for_two(w)
    vote(w.gate, request, "dana")
    refused(lambda: vote(w.gate, request, "dana"), "already_voted", "`dana` has already voted")
    refused(lambda: w.gate.approvals.vote(request, "dana", "reject"), "already_voted")
    refused(lambda: vote(w.gate, request, "dana-two"), "already_voted")
    assert state(w, request) is S.OPEN
    assert len(vote_records(w)) == len(w.gate.store.votes(request)) == 1


@pytest.mark.parametrize("verdict", ["aprove", "", "APPROVE", None, 1])
def test_a_vote_that_is_neither_is_refused(w: World, verdict: Any) -> None:
    request = opened(w)
    refused(lambda: w.gate.approvals.vote(request, "lena", verdict), "unknown_verdict", "`approve` or `reject`")
    assert w.gate.approvals.show(request).votes == ()


def test_a_request_that_does_not_exist_raises_key_error(w: World) -> None:
    w.gate.seal()
    for call in (
        lambda: w.gate.approvals.vote(RequestId("none"), "lena", "approve"),
        lambda: w.gate.approvals.show(RequestId("none")),
        lambda: w.gate.approvals.withdraw(RequestId("none"), "alice"),
    ):
        with pytest.raises(KeyError, match="none"):
            call()


def test_an_approved_and_a_consumed_request_take_no_more_votes(w: World) -> None:
    request = opened(w)
    vote(w.gate, request, "lena")
    refused(lambda: w.gate.approvals.vote(request, "lena", "reject"), "not_open", "approved")
    assert isinstance(w.adjust(50_000), Ok)
    assert state(w, request) is S.CONSUMED
    refused(lambda: vote(w.gate, request, "lena"), "not_open", "consumed")


def test_a_vote_after_the_time_is_refused_and_the_expiry_recorded_once(w: World) -> None:
    request = opened(w)
    w.clock.advance(15 * 60)
    refused(lambda: vote(w.gate, request, "lena"), "expired", "expired at 2026-01-05 09:15 UTC", "can ask again")
    refused(lambda: vote(w.gate, request, "lena"), "not_open", "expired")
    assert w.kinds() == ["call", "hold", "expiry"]
    assert w.gate.approvals.waiting() == ()


def test_a_vote_at_the_last_moment_counts(w: World) -> None:
    request = opened(w)
    w.clock.advance(15 * 60 - 1)
    vote(w.gate, request, "lena")
    assert isinstance(w.adjust(50_000), Ok)


def test_who_looks_expires_what_is_past_its_time(w: World) -> None:
    first, second = opened(w), opened_for_two(w)
    w.clock.advance(15 * 60)
    assert w.gate.approvals.show(first).request.state is S.EXPIRED
    assert w.gate.approvals.waiting() == ()
    assert [shown.request.state for shown in w.gate.approvals.all()] == [S.EXPIRED, S.EXPIRED]
    assert w.kinds() == ["call", "hold", "hold", "expiry", "expiry"]
    assert state(w, second) is S.EXPIRED


def test_a_page_is_found_behind_however_many_requests_are_past_their_time(w: World) -> None:
    """Without a frame of Python's stack for each of them."""
    for amount in range(80):
        w.held(50_000 + amount)
    w.clock.advance(15 * 60)
    last = opened(w)
    before = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack(0)) + 70)
        found = w.gate.approvals.waiting(limit=1)
    finally:
        sys.setrecursionlimit(before)
    assert [shown.request.id for shown in found] == [last]


def test_what_waits_is_listed_by_tenant_first_to_expire_first(w: World) -> None:
    first = opened(w)
    w.clock.advance(60)
    second = opened_for_two(w)
    assert [shown.request.id for shown in w.gate.approvals.waiting()] == [first, second]
    assert [shown.request.id for shown in w.gate.approvals.waiting("acme")] == [first, second]
    assert w.gate.approvals.waiting("globex") == ()
    vote(w.gate, first, "lena")
    assert [shown.request.id for shown in w.gate.approvals.all([S.APPROVED])] == [first]


def test_what_is_shown_is_the_exact_call_and_what_it_would_change(w: World) -> None:
    shown = w.gate.approvals.show(opened(w)).request
    summary = msgspec.json.decode(shown.summary)
    assert summary["arguments"] == {"customer_id": "C-1", "amount_cents": 50_000}
    assert summary["targets"][0]["id"] == "C-1"
    assert summary["preview"] == [{"target": 'Customer::"C-1"', "field": "balance", "before": 100, "after": 50_100}]
    assert (shown.tenant, shown.agent, shown.user, shown.tool) == ("acme", "support-bot", "alice", "billing.adjust")


def test_the_user_it_was_made_for_withdraws_a_request_and_nobody_else(w: World) -> None:
    request = opened(w)
    for other in ("lena", "carl", "nobody", ""):
        refused(lambda other=other: w.gate.approvals.withdraw(request, other), "not_the_requester", "only `alice`")  # type: ignore[misc]
    cast = w.gate.approvals.withdraw(request, "alice")
    assert (cast.request.state, state(w, request)) == (S.WITHDRAWN, S.WITHDRAWN)
    record = w.records()[-1]
    assert (record.kind, record.receipt) == ("expiry", cast.receipt)
    assert record.payload.detail == {"request": request, "event": "withdraw", "withdrawn_by": "alice"}
    refused(lambda: vote(w.gate, request, "lena"), "not_open", "withdrawn")
    with pytest.raises(TransitionRefused, match="withdrawn cannot withdraw"):
        w.gate.approvals.withdraw(request, "alice")


def test_an_approval_that_was_withdrawn_is_not_used(w: World) -> None:
    request = opened(w)
    vote(w.gate, request, "lena")
    w.gate.approvals.withdraw(request, "alice")
    again = w.held()
    assert again.request != request
    assert w.ran == []


def test_two_voters_at_the_same_instant_both_count(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    request = opened_for_two(w)
    desk = w.gate.approvals
    together = threading.Barrier(2)
    weighed: list[int] = []
    weigh = Desk._event_of

    def weigh_together(self: Desk, asked: Request, votes: tuple[Vote, ...]) -> Event | None:
        """Both have read the votes before either casts."""
        weighed.append(len(votes))
        if len(weighed) <= 2:
            together.wait(10)
        return weigh(self, asked, votes)

    monkeypatch.setattr(Desk, "_event_of", weigh_together)

    def cast(voter: str) -> Cast:
        return desk.vote(request, voter, "approve")

    with ThreadPoolExecutor(2) as pool:
        states = sorted(cast.request.state for cast in pool.map(cast, ["dana", "omar"]))
    assert states == [S.APPROVED, S.OPEN]
    assert state(w, request) is S.APPROVED
    assert weighed == [1, 1, 2], "the second one worked out afresh what its vote brings about"
    assert [record.payload.detail["event"] for record in vote_records(w) if record.payload.detail] == [None, "approve"]


def test_of_an_approval_and_a_rejection_at_the_same_instant_one_comes_first(w: World) -> None:
    for _ in range(10):
        request = opened(w)
        barrier = threading.Barrier(2)

        def cast(pair: tuple[str, Any], request: RequestId = request, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(10)
            try:
                return w.gate.approvals.vote(request, pair[0], pair[1]).request.state
            except VoteRefused as refusal:
                return refusal.code

        with ThreadPoolExecutor(2) as pool:
            ends = set(pool.map(cast, [("lena", "approve"), ("lena", "reject")]))
        assert len(ends & {"approved", "rejected"}) == 1
        assert ends & {"not_open", "request_moved", "already_voted"}
        w.clock.advance(3600)


def test_a_request_that_nobody_is_asked_about_takes_no_vote() -> None:
    policies = (
        POLICIES
        + '\n@id("look")\n@preview_only\nforbid (principal, action == Action::"billing.refund", resource)\nwhen { context.input.amount_cents > 100 };\n'
    )
    with world(policies=policies) as w:
        with w.alice():
            held = w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 101})
        assert isinstance(held, Held)
        assert (held.request, held.decision.code) == (None, "preview_only")
        assert w.gate.approvals.all() == ()
        assert w.kinds() == ["hold"]
        assert w.ran == []


def test_a_confirmation_is_given_by_the_user_acted_for_and_nobody_else() -> None:
    policies = (
        POLICIES
        + '\n@id("sure")\n@require_confirmation\nforbid (principal, action == Action::"billing.refund", resource)\nwhen { context.input.amount_cents > 100 };\n'
    )
    with world(policies=policies) as w:

        def refund() -> Any:
            with w.alice():
                return w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 101})

        held = refund()
        assert isinstance(held, Held)
        assert held.request is not None
        refused(lambda: vote(w.gate, held.request, "lena"), "not_the_user", "only `alice`")
        vote(w.gate, held.request, "alice")
        assert isinstance(refund(), Ok)
        assert w.ran == [("billing.refund", {"customer_id": "C-1", "amount_cents": 101})]
        assert_whole(w.gate)


def test_votes_beside_each_other_are_never_taken_for_damage(w: World) -> None:
    """The rows and their records are read while others vote: what comes in between is no sign of a forger."""
    for _ in range(15):
        request = opened_for_two(w)
        barrier = threading.Barrier(4)

        def cast(voter: str, request: RequestId = request, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(10)
            try:
                return w.gate.approvals.vote(request, voter, "approve").request.state
            except VoteRefused as refusal:
                return refusal.code

        def call(_: str, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(10)
            with w.alice():
                return type(w.gate.call("account.suspend", {"customer_id": "C-1"})).__name__

        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(call, "") for _ in range(2)]
            assert sorted(pool.map(cast, ["dana", "omar"])) == ["approved", "open"]
            assert {one.result(20) for one in calls} <= {"Held", "Ok", "Denied"}
        with w.alice():
            w.gate.call("account.suspend", {"customer_id": "C-1"})
        w.clock.advance(3_600)
    codes = {record.envelope.decision.code for record in w.records() if record.envelope.decision is not None}
    assert codes <= {"approval_required", "allowed", "approval_used"}, codes
    assert len(w.ran) == 15


def test_a_vote_names_the_credential_that_was_shown_and_so_does_taking_it_back(w: World) -> None:
    request = opened(w)
    w.gate.approvals.vote(request, "lena", "approve", credential="k-1")
    (kept,) = w.gate.approvals.show(request).votes
    assert (kept.voter, kept.credential, kept.operating_user) == ("lena", "k-1", None)
    w.gate.approvals.take_back(request, "lena", credential="k-2")
    cast, taken = [record.payload.detail for record in vote_records(w)]
    assert cast is not None
    assert taken is not None
    assert (cast["vote"]["credential"], taken["taken_back"]["credential"]) == ("k-1", "k-2")


def test_two_credentials_of_one_person_are_one_vote(w: World) -> None:
    request = opened_for_two(w)
    w.gate.approvals.vote(request, "dana", "approve", credential="k-1")
    refused(lambda: w.gate.approvals.vote(request, "dana-two", "approve", credential="k-2"), "already_voted", "has already voted")
    assert state(w, request) is S.OPEN


def test_a_vote_on_what_was_not_looked_at_is_refused_and_moves_nothing(w: World) -> None:
    request = opened(w)
    other = "0" * 64
    refused(lambda: w.gate.approvals.vote(request, "lena", "approve", binding=other), "not_as_shown", "look at it again, then vote")
    assert (state(w, request), vote_records(w)) == (S.OPEN, [])
    shown = w.gate.approvals.show(request).request
    w.gate.approvals.vote(request, "lena", "approve", binding=binding_of(shown.key, shown.preview_digest, shown.obligations))
    assert state(w, request) is S.APPROVED
