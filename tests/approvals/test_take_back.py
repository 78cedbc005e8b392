"""A vote can be taken back until its request is over, and goes with the person who leaves the group."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from licet.approvals.aside import COMMENT_LIMIT
from licet.approvals.desk import Shown
from licet.errors import TransitionRefused, VoteRefused
from licet.gate.results import Denied, Held, Ok
from licet.model import RequestId, RequestState
from tests.gate.proof import assert_whole
from tests.world import CONFIG, World, world_on

AMOUNT = 50_000
SUSPEND = {"customer_id": "C-1"}


def suspend(w: World) -> Any:
    with w.alice():
        return w.gate.call("account.suspend", SUSPEND)


def asked(held: Any) -> RequestId:
    assert isinstance(held, Held)
    assert held.request is not None
    return held.request


def shown(w: World, request: RequestId) -> Shown:
    return w.gate.approvals.show(request)


def test_a_vote_taken_back_reopens_what_was_approved_with_it(w: World) -> None:
    request = asked(w.held(AMOUNT))
    w.gate.approvals.vote(request, "lena", "approve")
    cast = w.gate.approvals.take_back(request, "lena", comment="wrong customer")
    assert cast.request.state is RequestState.OPEN
    assert (shown(w, request).request.state, shown(w, request).votes) == (RequestState.OPEN, ())
    assert asked(w.held(AMOUNT)) == request, "the same request waits on"
    assert w.ran == []
    (record,) = [record for record in w.records() if record.envelope.approval and record.envelope.approval.verdict == "take_back"]
    assert record.payload.detail is not None
    assert record.payload.detail["event"] == "reopen"
    assert record.payload.detail["taken_back"]["by"] == "voter"
    assert record.payload.reason == "wrong customer"
    assert_whole(w.gate)


def test_who_has_taken_a_vote_back_may_vote_again(w: World) -> None:
    request = asked(w.held(AMOUNT))
    for _ in range(3):
        w.gate.approvals.vote(request, "lena", "approve")
        w.gate.approvals.take_back(request, "lena")
    w.gate.approvals.vote(request, "lena", "approve")
    assert isinstance(w.adjust(AMOUNT), Ok)
    assert_whole(w.gate)


def test_a_vote_of_two_taken_back_leaves_the_other(w: World) -> None:
    request = asked(suspend(w))
    w.gate.approvals.vote(request, "dana", "approve")
    w.gate.approvals.vote(request, "omar", "approve")
    w.gate.approvals.take_back(request, "dana")
    assert [vote.voter for vote in shown(w, request).votes] == ["omar"]
    assert isinstance(suspend(w), Held)
    w.gate.approvals.vote(request, "dana-two", "approve")
    assert isinstance(suspend(w), Ok)
    assert_whole(w.gate)


def test_a_person_s_vote_can_be_taken_back_under_another_of_their_ids(w: World) -> None:
    request = asked(suspend(w))
    w.gate.approvals.vote(request, "dana", "approve")
    w.gate.approvals.take_back(request, "dana-two")
    assert shown(w, request).votes == ()


def test_a_vote_can_be_taken_back_by_whom_the_directory_has_since_given_another_person(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        request = asked(w.held(AMOUNT))
        w.gate.approvals.vote(request, "lena", "approve")
    with world_on(tmp_path, CONFIG.replace("[users.lena]", '[users.lena]\nperson = "lena-berg"')) as w:
        w.gate.approvals.take_back(request, "lena")
        assert shown(w, request).votes == ()
        assert isinstance(w.adjust(AMOUNT), Held)
        assert_whole(w.gate)


def test_nobody_takes_back_the_vote_of_somebody_who_was_thought_to_be_the_same_person(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        request = asked(suspend(w))
        w.gate.approvals.vote(request, "dana", "approve")
    with world_on(tmp_path, CONFIG.replace('person = "dana"\n', "")) as w:
        refused(w, request, "dana-two", "no_vote")
        assert [vote.voter for vote in shown(w, request).votes] == ["dana"]


def refused(w: World, request: RequestId, voter: str, code: str) -> None:
    with pytest.raises(VoteRefused) as caught:
        w.gate.approvals.take_back(request, voter)
    assert caught.value.code == code


def test_there_must_be_a_vote_to_take_back_and_a_request_that_is_not_over(w: World) -> None:
    request = asked(w.held(AMOUNT))
    refused(w, request, "lena", "no_vote")
    refused(w, request, "nobody", "unknown_user")
    w.gate.approvals.vote(request, "lena", "approve")
    refused(w, request, "dana", "no_vote")
    assert isinstance(w.adjust(AMOUNT), Ok)
    refused(w, request, "lena", "request_moved")
    with pytest.raises(KeyError):
        w.gate.approvals.take_back(RequestId("none"), "lena")


def test_a_rejection_cannot_be_taken_back(w: World) -> None:
    request = asked(w.held(AMOUNT))
    w.gate.approvals.vote(request, "lena", "reject")
    refused(w, request, "lena", "request_moved")
    assert isinstance(w.adjust(AMOUNT), Denied)


def test_a_vote_on_what_has_expired_cannot_be_taken_back(w: World) -> None:
    request = asked(w.held(AMOUNT))
    w.gate.approvals.vote(request, "lena", "approve")
    w.clock.advance(15 * 60)
    refused(w, request, "lena", "request_moved")


def test_taking_back_against_using_ends_in_one_of_both(w: World) -> None:
    """Whoever is second finds the request as the first has left it; a used approval names only votes that stood."""
    ends = []
    for _ in range(12):
        w.ran.clear()
        request = asked(w.held(AMOUNT))
        w.gate.approvals.vote(request, "lena", "approve")
        start = threading.Barrier(2)
        taken: list[bool] = []

        def take_back(request: RequestId = request, start: threading.Barrier = start, taken: list[bool] = taken) -> None:
            start.wait()
            try:
                w.gate.approvals.take_back(request, "lena")
                taken.append(True)
            except VoteRefused:
                taken.append(False)

        thread = threading.Thread(target=take_back)
        thread.start()
        start.wait()
        result = w.adjust(AMOUNT)
        thread.join()
        assert isinstance(result, Ok) is not taken[0], (result, taken)
        assert len(w.ran) == isinstance(result, Ok)
        ends.append(taken[0])
        if taken[0]:
            w.gate.approvals.withdraw(request, "alice")
    assert_whole(w.gate)


def test_two_who_take_back_and_vote_at_once_are_both_counted(w: World) -> None:
    request = asked(suspend(w))
    w.gate.approvals.vote(request, "dana", "approve")
    start = threading.Barrier(2)

    def act(what: Any, voter: str) -> None:
        start.wait()
        what(request, voter)

    desk = w.gate.approvals
    threads = [
        threading.Thread(target=act, args=(desk.take_back, "dana")),
        threading.Thread(target=act, args=(lambda request, voter: desk.vote(request, voter, "approve"), "omar")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = shown(w, request)
    assert [vote.voter for vote in found.votes] == ["omar"]
    assert found.request.state is RequestState.OPEN
    assert_whole(w.gate)


LEFT = CONFIG.replace('billing-leads = ["lena", "alice", "gina"]', 'billing-leads = ["carl", "alice", "gina"]')
DISABLED = CONFIG.replace('[users.lena]\ntenants = ["acme"]', '[users.lena]\ntenants = ["acme"]\ndisabled = true').replace(
    'billing-leads = ["lena",', 'billing-leads = ["lena", "carl",'
)


@pytest.mark.parametrize("config", [LEFT, DISABLED], ids=["left the group", "disabled"])
def test_who_leaves_the_group_takes_their_live_votes_along(tmp_path: Path, config: str) -> None:
    with world_on(tmp_path) as w:
        request = asked(w.held(AMOUNT))
        w.gate.approvals.vote(request, "lena", "approve")
    with world_on(tmp_path, config) as w:
        found = shown(w, request)
        assert (found.request.state, found.votes) == (RequestState.OPEN, ())
        assert asked(w.held(AMOUNT)) == request
        taken = [record.payload.detail["taken_back"] for record in w.records() if "taken_back" in (record.payload.detail or {})]  # type: ignore[index]
        assert [(one["voter"], one["by"]) for one in taken] == [("lena", "directory")]
    with world_on(tmp_path) as w:
        assert shown(w, request).votes == (), "a vote that is gone does not come back with its voter"
        assert w.ran == []
        assert_whole(w.gate)


def test_a_directory_that_takes_nobody_out_drops_nothing(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        request = asked(w.held(AMOUNT))
        w.gate.approvals.vote(request, "lena", "approve")
    with world_on(tmp_path) as w:
        assert w.gate.approvals.drop_lapsed() == 0
        assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_caller_withdraws_its_own_request_and_no_other(w: World) -> None:
    with w.gate.acting(agent="free-bot", tenant="acme"):
        alone = asked(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": AMOUNT}))
    with w.alice(), pytest.raises(VoteRefused, match="only the caller that made this request"):
        w.gate.withdraw(alone)
    with pytest.raises(VoteRefused, match="it was made for no user"):
        w.gate.approvals.withdraw(alone, "alice")
    with w.gate.acting(agent="free-bot", tenant="acme"):
        assert w.gate.withdraw(alone).request.state is RequestState.WITHDRAWN
        with pytest.raises(TransitionRefused):
            w.gate.withdraw(alone)


def test_a_comment_has_a_limit(w: World) -> None:
    request = asked(w.held(AMOUNT))
    with pytest.raises(VoteRefused, match=f"at most {COMMENT_LIMIT} characters"):
        w.gate.approvals.vote(request, "lena", "approve", comment="x" * (COMMENT_LIMIT + 1))
    assert shown(w, request).votes == ()


def test_pages_of_what_waits_follow_each_other_and_leave_out_what_has_expired(w: World) -> None:
    requests = []
    for amount in range(20_000, 20_007):
        requests.append(asked(w.held(amount)))
        w.clock.advance(1)
    desk = w.gate.approvals
    first = desk.waiting(limit=3)
    second = desk.waiting(limit=3, after=first[-1].request.id)
    assert [one.request.id for one in (*first, *second)] == requests[:6]
    assert [one.request.id for one in desk.waiting(limit=3, after=second[-1].request.id)] == requests[6:]
    w.clock.advance(15 * 60 - 6)
    assert [one.request.id for one in desk.waiting(limit=3)] == requests[2:5], "two have expired, others have moved up"
    assert desk.waiting("globex") == ()
