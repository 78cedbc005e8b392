"""A vote that a client of the gateway brings: the user's own confirmation or no, said to be that wherever the vote is told, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from licet.approvals.desk import Desk
from licet.approvals.standing import standing
from licet.approvals.viewed import stand
from licet.cli.approvals_facts import facts_of
from licet.errors import VoteRefused
from licet.gate.results import Denied, Held, Ok
from licet.ledger.entries import read_entry, tell
from licet.model import RequestId, RequestState
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world, world_on

CONFIRMED = (
    POLICIES
    + """
@id("refund-is-confirmed")
@require_confirmation
@reason("it is your money")
forbid (principal, action == Action::"billing.refund", resource);

@id("suspend-is-confirmed")
@require_confirmation
forbid (principal, action == Action::"account.suspend", resource);
"""
)


@pytest.fixture(params=["memory", "file", "postgres"])
def w(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world on each kind of store."""
    if request.param == "memory":
        made = world(policies=CONFIRMED)
    elif request.param == "file":
        made = world_on(tmp_path, policies=CONFIRMED)
    else:
        made = world_on(tmp_path, f'store = "{request.getfixturevalue("postgres_url")}"\n{CONFIG}', CONFIRMED)
    with made as opened:
        yield opened
        assert_whole(opened.gate)


@pytest.fixture
def m() -> Iterator[World]:
    with world(policies=CONFIRMED) as made:
        yield made
        assert_whole(made.gate)


def refund(w: World) -> Ok | Held | Denied:
    with w.alice():
        result = w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 100})
    assert isinstance(result, Ok | Held | Denied), result
    return result


def held(w: World, call: Callable[[World], object] = refund) -> RequestId:
    result = call(w)
    assert isinstance(result, Held), result
    assert result.request is not None
    return result.request


def suspend(w: World) -> object:
    with w.alice():
        return w.gate.call("account.suspend", {"customer_id": "C-1"})


def test_what_the_user_said_in_a_client_confirms_the_call_once(w: World) -> None:
    request = held(w)
    cast = w.gate.approvals.vote(request, "alice", "approve", channel="mcp", credential="k-1")
    assert cast.request.state is RequestState.APPROVED
    assert isinstance(refund(w), Ok)
    assert isinstance(refund(w), Held)
    assert [tool for tool, _ in w.ran] == ["billing.refund"]


def test_a_no_in_a_client_is_a_rejection(w: World) -> None:
    request = held(w)
    assert w.gate.approvals.vote(request, "alice", "reject", channel="mcp").request.state is RequestState.REJECTED
    result = refund(w)
    assert isinstance(result, Denied)
    assert result.decision.code == "rejected"
    assert "`alice` rejected exactly this call" in result.decision.message
    assert w.ran == []


def test_the_record_and_whoever_tells_of_it_say_through_what_the_vote_came(w: World) -> None:
    request = held(w)
    w.gate.approvals.vote(request, "alice", "approve", channel="mcp", credential="k-1")
    (record,) = [record for record in w.records() if record.kind == "vote"]
    assert record.payload.detail is not None
    assert record.payload.detail["vote"]["channel"] == "mcp"
    shown = w.gate.approvals.show(request)
    assert shown.votes[0].channel == "mcp"
    viewed = stand(shown.request, shown.votes, w.gate.scene.directory, w.clock())
    assert "with credential k-1, as a client said over MCP" in str(facts_of(viewed))


def test_the_story_of_a_call_says_that_a_client_said_so(m: World) -> None:
    request = held(m)
    m.gate.approvals.vote(request, "alice", "approve", channel="mcp", credential="k-1")
    stored = [record for record in m.gate.store.records("acme") if record.kind == "vote"]
    sentence = tell(read_entry(stored[0])).sentence
    assert sentence.startswith("alice approved a call of ")
    assert sentence.endswith(" (with credential k-1), as a client said over MCP")


def test_a_vote_of_somebody_who_came_themselves_says_nothing_of_a_channel(w: World) -> None:
    request = held(w)
    w.gate.approvals.vote(request, "alice", "approve")
    (record,) = [record for record in w.records() if record.kind == "vote"]
    assert record.payload.detail is not None
    assert "channel" not in record.payload.detail["vote"]
    assert w.gate.approvals.show(request).votes[0].channel is UNSET


def refused(desk: Desk, request: RequestId, voter: str, code: str) -> None:
    with pytest.raises(VoteRefused) as caught:
        desk.vote(request, voter, "approve", channel="mcp")
    assert caught.value.code == code


def test_nobody_approves_through_a_client(m: World) -> None:
    request = m.held().request
    assert request is not None
    refused(m.gate.approvals, request, "lena", "not_through_this")  # a billing lead, who may approve it
    refused(m.gate.approvals, request, "alice", "requester")
    assert m.gate.approvals.show(request).votes == ()


def test_nobody_but_the_user_confirms_through_a_client(m: World) -> None:
    request = held(m)
    refused(m.gate.approvals, request, "lena", "not_the_user")
    refused(m.gate.approvals, request, "nobody", "unknown_user")


def test_an_approver_of_a_call_that_is_to_be_confirmed_too_does_not_come_through_a_client(m: World) -> None:
    request = held(m, suspend)
    refused(m.gate.approvals, request, "dana", "not_through_this")
    m.gate.approvals.vote(request, "alice", "approve", channel="mcp")
    stands = m.gate.approvals.show(request).standing
    assert {need.need.policy: need.voters for need in stands.needs} == {"suspend-is-confirmed": ("alice",), "suspend-needs-two": ()}
    assert isinstance(suspend(m), Held)


def test_a_vote_with_a_channel_fills_no_seat_of_an_approval_whoever_cast_it(m: World) -> None:
    request = held(m, suspend)
    for voter in ("dana", "omar"):
        m.gate.approvals.vote(request, voter, "approve")
    shown = m.gate.approvals.show(request)
    brought = [replace(vote, channel="mcp") for vote in shown.votes]
    directory = m.gate.scene.directory
    assert standing(shown.request, shown.votes, directory).voters == ("dana", "omar")
    assert standing(shown.request, brought, directory).voters == ()
