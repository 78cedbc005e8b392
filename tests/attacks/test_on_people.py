"""Attacks on those who decide: who votes, as whom, on what, and how long a vote stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet.approvals.aside import COMMENT_LIMIT
from licet.errors import TransitionRefused, VoteRefused
from licet.gate.results import Denied, Held, Ok, Result
from licet.model import RequestState
from licet.testing import vote
from tests.attacks.test_on_approvals import edit
from tests.gate.proof import assert_whole, report_of
from tests.world import CONFIG, POLICIES, World, world, world_on

BIG = 50_000
SUSPEND = {"customer_id": "C-1"}


def suspend(w: World) -> Result:
    with w.alice():
        return w.gate.call("account.suspend", SUSPEND)


def held(w: World) -> Held:
    result = suspend(w)
    assert isinstance(result, Held), result
    return result


def state_of(w: World, request: Held) -> RequestState:
    assert request.request is not None
    return w.gate.approvals.show(request.request).request.state


def without(config: str, user: str) -> str:
    """The directory without this member in any group."""
    return config.replace(f'"{user}", ', "").replace(f', "{user}"', "")


PEOPLE = CONFIG.replace("[agents.support-bot]", '[agents.support-bot]\nowner = "dana"').replace(
    "[groups]", '[users.alice-two]\ntenants = ["acme"]\nperson = "alice"\n[users.gus]\ntenants = ["globex"]\n[groups]'
)
PEOPLE = PEOPLE.replace('["dana", "omar", "dana-two"]', '["dana", "omar", "dana-two", "lena", "alice", "alice-two", "gus"]')
APART = POLICIES.replace('@require_approval("2 of', '@separation("agent-owner")\n@require_approval("2 of')


@pytest.mark.parametrize("voter", ["alice", "alice-two", "gus", "gina", "carl", "support-bot", "nobody", "", "Lena", "lena "])
def test_who_has_no_vote_has_none_under_any_name(voter: str) -> None:
    with world(PEOPLE) as w:
        request = held(w)
        for verdict in ("approve", "reject"):
            with pytest.raises(VoteRefused):
                vote(w.gate, request.request, voter, verdict=verdict)
        assert state_of(w, request) is RequestState.OPEN
        assert_whole(w.gate)


@pytest.mark.parametrize("owner", ["dana", "dana-two"])
def test_the_owner_of_the_agent_votes_where_no_policy_keeps_them_apart_and_nowhere_else(owner: str) -> None:
    with world(PEOPLE) as w:
        request = held(w)
        vote(w.gate, request.request, owner, "lena")
        assert isinstance(suspend(w), Ok), "without @separation the owner is somebody as everybody else"
    with world(PEOPLE, APART) as w:
        request = held(w)
        with pytest.raises(VoteRefused, match="owns the agent"):
            vote(w.gate, request.request, owner)
        vote(w.gate, request.request, "lena")
        assert isinstance(suspend(w), Held)
        assert w.ran == []
        assert_whole(w.gate)


def test_two_ids_that_turn_out_to_be_one_person_are_one_vote(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        request = held(w)
        vote(w.gate, request.request, "dana", "omar")
        assert state_of(w, request) is RequestState.APPROVED
    one = CONFIG.replace('[users.omar]\ntenants = ["acme"]', '[users.omar]\ntenants = ["acme"]\nperson = "dana"')
    with world_on(tmp_path, one.replace('"dana-two"]', '"dana-two", "lena"]')) as w:
        assert isinstance(suspend(w), Held)
        assert w.ran == []
        assert_whole(w.gate)


def test_a_voter_who_turns_out_to_be_the_requester_never_voted(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        request = w.held(BIG)
        vote(w.gate, request.request, "lena")
    same = CONFIG.replace('[users.lena]\ntenants = ["acme"]', '[users.lena]\ntenants = ["acme"]\nperson = "alice"')
    with world_on(tmp_path, same.replace('"lena", "alice"', '"lena", "omar", "alice"')) as w:
        assert isinstance(w.adjust(BIG), Held)
        assert w.ran == []
        assert_whole(w.gate)


# leaving and coming back


def left(config: str) -> str:
    return without(config, "dana-two").replace('["dana", "omar"]', '["lena", "omar"]')


def disabled(config: str) -> str:
    return config.replace('[users.dana]\ntenants = ["acme"]', '[users.dana]\ntenants = ["acme"]\ndisabled = true').replace(
        '"dana-two"]', '"dana-two", "lena"]'
    )


def moved_to_another_tenant(config: str) -> str:
    return config.replace('[users.dana]\ntenants = ["acme"]', '[users.dana]\ntenants = ["globex"]').replace('"dana-two"]', '"lena"]')


@pytest.mark.parametrize("voted", [("dana",), ("dana", "omar")], ids=["one of two", "approved"])
@pytest.mark.parametrize("leaves", [left, disabled, moved_to_another_tenant])
def test_a_vote_of_somebody_who_left_does_not_come_back_with_them(
    tmp_path: Path, leaves: Callable[[str], str], voted: tuple[str, ...]
) -> None:
    with world_on(tmp_path) as w:
        request = held(w)
        vote(w.gate, request.request, *voted)
    with world_on(tmp_path, leaves(CONFIG)) as w:
        w.gate.seal()
        assert state_of(w, request) is RequestState.OPEN
        assert_whole(w.gate)
    with world_on(tmp_path) as w:
        assert state_of(w, request) is RequestState.OPEN
        assert isinstance(suspend(w), Held)
        for voter in {"dana", "omar"} - set(voted[1:]):
            vote(w.gate, request.request, voter)
        assert isinstance(suspend(w), Ok)
        assert_whole(w.gate)


def test_a_rejection_of_somebody_who_left_stays_a_rejection(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        request = held(w)
        vote(w.gate, request.request, "dana", verdict="reject")
    with world_on(tmp_path, left(CONFIG)) as w:
        w.denied(suspend(w), "rejected")
        assert w.ran == []


@pytest.mark.parametrize("somebody", ["omar", "lena", "alice", "support-bot", "carl"])
def test_nobody_takes_back_somebody_elses_vote(somebody: str) -> None:
    with world() as w:
        request = held(w)
        vote(w.gate, request.request, "dana")
        assert request.request is not None
        with pytest.raises(VoteRefused):
            w.gate.approvals.take_back(request.request, somebody)
        assert len(w.gate.approvals.show(request.request).votes) == 1
        assert_whole(w.gate)


def test_a_vote_that_was_taken_back_under_another_id_may_be_cast_once_more_and_counts_once() -> None:
    with world() as w:
        request = held(w)
        assert request.request is not None
        for _ in range(4):
            vote(w.gate, request.request, "dana")
            with pytest.raises(VoteRefused):
                vote(w.gate, request.request, "dana-two")
            w.gate.approvals.take_back(request.request, "dana-two")
        vote(w.gate, request.request, "dana-two")
        assert isinstance(suspend(w), Held), "one person, who has voted five times, is one"
        assert_whole(w.gate)


@pytest.mark.parametrize("by", ["lena", "alice-two", "support-bot", "nobody"])
def test_nobody_withdraws_what_was_not_asked_for_them(by: str) -> None:
    with world(PEOPLE) as w:
        request = held(w)
        assert request.request is not None
        with pytest.raises(VoteRefused):
            w.gate.approvals.withdraw(request.request, by)
        for agent, user in (("support-bot", "carl"), ("free-bot", "alice")):
            with w.gate.acting(agent=agent, user=user, tenant="acme"), pytest.raises(VoteRefused):
                w.gate.withdraw(request.request)
        assert state_of(w, request) is RequestState.OPEN


def test_what_was_withdrawn_is_not_approved_by_a_vote_that_comes_later() -> None:
    with world() as w:
        request = w.held(BIG)
        assert request.request is not None
        w.gate.approvals.withdraw(request.request, "alice")
        with pytest.raises(VoteRefused):
            vote(w.gate, request.request, "lena")
        with pytest.raises(TransitionRefused):
            w.gate.approvals.withdraw(request.request, "alice")
        assert w.held(BIG).request != request.request
        assert_whole(w.gate)


# on what, and when


def test_a_vote_on_what_was_held_anew_while_the_voter_looked_is_refused() -> None:
    with world() as w:
        first = w.held(BIG)
        vote(w.gate, first.request, "lena")
        w.customers["C-1"]["balance"] = -900_000
        second = w.held(BIG)
        assert second.request != first.request
        with pytest.raises(VoteRefused):
            vote(w.gate, first.request, "lena")
        assert isinstance(w.adjust(BIG), Held)
        assert w.ran == []


@pytest.mark.parametrize(("late_us", "counts"), [(-1, True), (0, False), (1, False)], ids=["before", "at", "after"])
def test_a_vote_counts_until_the_limit_and_not_at_it(late_us: int, counts: bool) -> None:  # noqa: FBT001
    with world() as w:
        request = w.held(BIG)
        w.clock.advance(15 * 60 + late_us / 1_000_000)
        if counts:
            vote(w.gate, request.request, "lena")
            w.clock.advance(0.000001)
        else:
            with pytest.raises(VoteRefused, match="expired"):
                vote(w.gate, request.request, "lena")
        assert isinstance(w.adjust(BIG), Held), "what is approved in time is of no use at the limit"
        assert w.ran == []
        assert_whole(w.gate)


def test_a_request_of_another_tenant_is_not_theirs_to_decide() -> None:
    config = CONFIG.replace('"gina"]', '"gina", "gus"]').replace("[groups]", '[users.gus]\ntenants = ["globex"]\n[groups]')
    with world(config) as w:
        ours = w.held(BIG)
        with w.gate.acting(agent="free-bot", user="gina", tenant="globex"):
            theirs = w.gate.call("billing.adjust", {"customer_id": "G-1", "amount_cents": BIG})
        assert isinstance(theirs, Held)
        for request, voter in ((ours, "gina"), (ours, "gus"), (theirs, "lena"), (theirs, "alice"), (theirs, "gina")):
            with pytest.raises(VoteRefused):
                vote(w.gate, request.request, voter)
        assert w.ran == []


HOSTILE = [
    "\x1b[2J\x1b]0;x\x07approved by lena",
    "\u202eexe\u200b",
    "a\x00b",
    "\ud800",
    "x" * 4_001,
    "x" * 1_000_000,
    '{"verdict": "approve"}',
]


@pytest.mark.parametrize("comment", HOSTILE, ids=["escapes", "turned round", "null", "half a pair", "too long", "huge", "json"])
def test_what_a_voter_writes_is_kept_or_refused_and_changes_nothing_else(comment: str) -> None:
    with world() as w:
        request = held(w)
        assert request.request is not None
        if len(comment) > COMMENT_LIMIT:
            with pytest.raises(VoteRefused, match="at most"):
                w.gate.approvals.vote(request.request, "dana", "approve", comment=comment)
        else:
            w.gate.approvals.vote(request.request, "dana", "approve", comment=comment)
            w.gate.approvals.take_back(request.request, "dana", comment=comment)
        w.gate.approvals.vote(request.request, "omar", "approve", operating_user=comment[:100])
        assert isinstance(suspend(w), Held)
        with w.alice(reason=comment):
            assert isinstance(w.gate.call("account.suspend", SUSPEND), Held)
        assert_whole(w.gate)


@pytest.mark.parametrize("verdict", ["Approve", "approved", "", "yes", None, True, 1])
def test_what_is_no_verdict_is_none(verdict: Any) -> None:
    with world() as w:
        request = w.held(BIG)
        assert request.request is not None
        with pytest.raises(VoteRefused):
            w.gate.approvals.vote(request.request, "lena", verdict)
        assert state_of(w, request) is RequestState.OPEN


# rows


def strike_a_vote(folder: Path) -> None:
    """The row says that one of the two was taken back."""
    edit(folder, "UPDATE votes SET live = 0 WHERE number = 1")


def delete_a_vote(folder: Path) -> None:
    edit(folder, "DELETE FROM votes WHERE number = 1")


@pytest.mark.parametrize("forge", [strike_a_vote, delete_a_vote])
def test_an_approval_whose_votes_were_edited_is_nobodys(tmp_path: Path, forge: Callable[[Path], None]) -> None:
    with world_on(tmp_path) as w:
        request = held(w)
        vote(w.gate, request.request, "dana", "omar")
        forge(tmp_path)
        w.denied(suspend(w), "approval_not_in_log")
        assert w.ran == []
        assert not report_of(w.gate).ok


@pytest.mark.parametrize("state", ["open", "approved"])
def test_a_vote_that_was_taken_back_is_not_put_back_by_its_row(tmp_path: Path, state: str) -> None:
    with world_on(tmp_path) as w:
        request = held(w)
        assert request.request is not None
        vote(w.gate, request.request, "dana", "omar")
        w.gate.approvals.take_back(request.request, "dana")
        edit(tmp_path, "UPDATE votes SET live = 1 WHERE number = 1")
        edit(tmp_path, "UPDATE requests SET state = ?", (state,))
        assert isinstance(suspend(w), Denied | Held)
        assert w.ran == []
        assert not report_of(w.gate).ok


def test_a_request_that_is_said_to_be_somebody_elses_is_found(tmp_path: Path) -> None:
    """Who can write rows can ask more than others; nothing more is granted, and it is found."""
    with world_on(tmp_path, CONFIG.replace("[approvals]", "[approvals]\nopen_per_caller = 2")) as w:
        w.held(BIG)
        w.held(BIG + 1)
        w.denied(w.adjust(BIG + 2), "too_many_open")
        edit(tmp_path, "UPDATE requests SET asker = 'x'")
        w.held(BIG + 2)
        assert not report_of(w.gate).ok
        assert w.ran == []


def test_words_of_a_vote_are_not_read_as_a_decision() -> None:
    with world() as w:
        request = w.held(BIG)
        assert request.request is not None
        w.gate.approvals.vote(request.request, "lena", "reject", comment="approve; LGTM; verdict=approve")
        w.denied(w.adjust(BIG), "rejected")
        said = msgspec.json.encode([record.payload for record in w.records() if record.kind == "vote"])
        assert b"LGTM" in said
