"""Who counts, toward what, and for how much."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from licet.approvals.standing import binding_of, find_unmeetable, most_telling, needs_of, standing, why_not
from licet.identity.directory import Directory
from licet.model import Obligation, Request, RequestId
from tests.approvals.room import PEOPLE, approval, confirmation, directory, preview_only, request, votes, without

EVERYBODY = directory()


@pytest.mark.parametrize(
    ("voter", "group", "code", "words"),
    [
        ("bea", "leads", None, ""),
        ("carl", "leads", None, ""),
        ("dana", "leads", "not_in_group", "`dana` is not in `leads`"),
        ("alice", "leads", "requester", "nobody approves their own"),
        ("alice-two", "leads", "requester", "nobody approves their own"),
        ("gina", "leads", "not_in_tenant", "does not belong to tenant `acme`"),
        ("zoe", "leads", "unknown_user", "not a user"),
        ("nobody", "leads", "unknown_user", "`nobody` is not a user of the directory"),
        ("", "leads", "unknown_user", "not a user"),
        ("bot", "leads", "unknown_user", "not a user"),
        ("leads", "leads", "unknown_user", "not a user"),
        ("olga", "operators", None, ""),
        ("olga", "leads", "not_in_group", "not in"),
        ("bea", "no-such-group", "not_in_group", "not in"),
    ],
)
def test_who_may_count_toward_an_approval(voter: str, group: str, code: str | None, words: str) -> None:
    asked = request(approval(group))
    refusal = why_not(asked, needs_of(asked.obligations)[0], voter, EVERYBODY)
    if code is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal[0] == code
        assert words in refusal[1]


@pytest.mark.parametrize(
    ("voter", "code"), [("alice", None), ("alice-two", "not_the_user"), ("bea", "not_the_user"), ("zoe", "unknown_user")]
)
def test_a_confirmation_is_the_acted_for_user_s_alone(voter: str, code: str | None) -> None:
    asked = request(confirmation())
    refusal = why_not(asked, needs_of(asked.obligations)[0], voter, EVERYBODY)
    assert (None if refusal is None else refusal[0]) == code


def test_nobody_confirms_for_an_agent_that_acts_for_itself() -> None:
    asked = request(confirmation(), user=None)
    assert why_not(asked, needs_of(asked.obligations)[0], "alice", EVERYBODY) is not None
    assert not standing(asked, votes(asked, "alice"), EVERYBODY).approved


def test_without_a_user_anybody_of_the_group_counts() -> None:
    asked = request(user=None)
    assert standing(asked, votes(asked, "alice"), EVERYBODY).approved


def test_no_votes_and_no_needs_approve_nothing() -> None:
    assert not standing(request(), (), EVERYBODY).approved
    nothing = request(preview_only())
    assert needs_of(nothing.obligations) == ()
    assert not standing(nothing, votes(nothing, "bea", "carl"), EVERYBODY).approved


def test_one_valid_vote_meets_one_need_and_is_named() -> None:
    asked = request()
    stands = standing(asked, votes(asked, "bea"), EVERYBODY)
    assert stands.approved
    assert stands.voters == ("bea",)
    assert [(need.need.policy, need.voters, need.missing) for need in stands.needs] == [("leads-needed", ("bea",), 0)]


def test_one_need_asked_for_several_principals_asks_people_once() -> None:
    asked = request(approval(principal='Agent::"bot"'), approval(principal='User::"alice"'))
    assert len(needs_of(asked.obligations)) == 1
    assert standing(asked, votes(asked, "bea"), EVERYBODY).approved


def test_two_needs_take_two_people_even_of_one_group() -> None:
    asked = request(approval(policy="first"), approval(policy="second"))
    assert not standing(asked, votes(asked, "bea"), EVERYBODY).approved
    assert standing(asked, votes(asked, "bea", "carl"), EVERYBODY).approved


@pytest.mark.parametrize("order", list(permutations(["bea", "carl", "dana"])))
def test_the_order_of_votes_never_decides_whether_needs_can_be_met(order: tuple[str, ...]) -> None:
    # bea is in both groups: taken for the wrong one she would leave the other short.
    asked = request(approval("leads", 1), approval("security", 2))
    stands = standing(asked, votes(asked, *order), EVERYBODY)
    assert stands.approved
    assert {need.need.group: need.voters for need in stands.needs} == {"leads": ("carl",), "security": ("bea", "dana")}


def test_two_ids_of_one_person_are_one_vote() -> None:
    asked = request(approval("security", 2))
    assert not standing(asked, votes(asked, "dana", "dana-two"), EVERYBODY).approved
    assert standing(asked, votes(asked, "dana", "dana-two", "bea"), EVERYBODY).approved


def test_two_ids_that_are_found_to_be_one_person_later_are_one_vote_then() -> None:
    apart = directory(PEOPLE.replace('[users.dana-two]\ntenants = ["acme"]\nperson = "dana"', '[users.dana-two]\ntenants = ["acme"]'))
    asked = request(approval("security", 2))
    cast = tuple(replace(vote, person=vote.voter) for vote in votes(asked, "dana", "dana-two"))
    assert standing(asked, cast, apart).approved
    assert not standing(asked, cast, EVERYBODY).approved


def test_a_voter_who_is_found_to_be_the_requester_no_longer_counts() -> None:
    apart = directory(PEOPLE.replace('[users.alice-two]\ntenants = ["acme"]\nperson = "alice-p"', '[users.alice-two]\ntenants = ["acme"]'))
    asked = request()
    cast = tuple(replace(vote, person=vote.voter) for vote in votes(asked, "alice-two"))
    assert standing(asked, cast, apart).approved
    assert not standing(asked, cast, EVERYBODY).approved


@pytest.mark.parametrize(
    "later",
    [
        without("bea", "leads"),
        directory(PEOPLE.replace('[users.bea]\ntenants = ["acme"]', '[users.bea]\ntenants = ["acme"]\ndisabled = true')),
        directory(PEOPLE.replace('[users.bea]\ntenants = ["acme"]', '[users.bea]\ntenants = ["globex"]')),
    ],
    ids=["left the group", "disabled", "left the tenant"],
)
def test_a_voter_who_could_not_vote_any_more_no_longer_counts(later: object) -> None:
    asked = request()
    cast = votes(asked, "bea")
    assert standing(asked, cast, EVERYBODY).approved
    assert not standing(asked, cast, later).approved  # type: ignore[arg-type]
    assert standing(asked, votes(asked, "bea", "carl"), later).approved  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"key": "other"},
        {"preview_digest": "q"},
        {"preview_digest": None},
        {"obligations": (approval(digest="e"),)},
        {"obligations": (approval(count=2),)},
        {"obligations": (approval(policy="other"),)},
        {"obligations": (approval(principal='User::"carl"'),)},
        {"obligations": (approval(), approval(policy="second"))},
        {"obligations": (approval("operators", policy="leads-needed"),)},
    ],
)
def test_a_vote_counts_only_on_exactly_what_was_shown(other: dict[str, object]) -> None:
    cast = votes(request(), "bea", "carl")
    changed = replace(request(), **other)
    stands = standing(changed, cast, EVERYBODY)
    assert not stands.approved
    assert stands.voters == ()


def test_a_vote_on_another_request_does_not_count() -> None:
    asked = request()
    cast = tuple(replace(vote, request=RequestId("r-2")) for vote in votes(asked, "bea", "carl"))
    assert not standing(asked, cast, EVERYBODY).approved


def test_one_rejection_ends_it_whatever_else_was_cast() -> None:
    asked = request()
    stands = standing(asked, votes(asked, "bea", "carl", reject=("carl",)), EVERYBODY)
    assert not stands.approved
    assert stands.rejected_by == "carl"


def test_what_a_vote_is_bound_to_does_not_depend_on_the_order_of_obligations() -> None:
    one, two = approval(policy="a"), approval(policy="b")
    assert binding_of("k", "p", (one, two)) == binding_of("k", "p", (two, one))
    assert binding_of("k", "p", (one,)) != binding_of("k", "p", (one, two))
    assert binding_of("k", None, (one,)) != binding_of("k", "None", (one,))


OBLIGATIONS = st.lists(
    st.builds(approval, group=st.sampled_from(["leads", "security", "operators"]), count=st.integers(1, 3), policy=st.sampled_from("abc")),
    min_size=1,
    max_size=3,
    unique_by=lambda obligation: obligation.policy,
)
VOTERS = st.lists(st.sampled_from(sorted(EVERYBODY.users)), unique=True)


def people_can_be_seated(needs: list[tuple[str, int]], people: list[str], asked: tuple[Obligation, ...]) -> bool:
    """The same question by brute force: try every way to seat distinct people."""
    seats = [group for group, count in needs for _ in range(count)]
    held = request(*asked)
    fits = {
        (person, need.group): any(why_not(held, need, voter, EVERYBODY) is None for voter in EVERYBODY.users if voter == person)
        for person in people
        for need in needs_of(asked)
    }
    return any(all(fits[person, group] for person, group in zip(chosen, seats, strict=True)) for chosen in permutations(people, len(seats)))


@given(asked=OBLIGATIONS, voters=VOTERS)
def test_the_matching_finds_seats_exactly_where_there_are_some(asked: list[Obligation], voters: list[str]) -> None:
    held = request(*asked)
    stands = standing(held, votes(held, *voters), EVERYBODY)
    # One id for each person, the last that voted, as the count takes it.
    people = list({EVERYBODY.person_of(voter): voter for voter in voters}.values())
    needs = [(obligation.group or "", obligation.count) for obligation in asked]
    if sum(count for _, count in needs) <= 5:
        assert stands.approved == people_can_be_seated(needs, people, tuple(asked))
    seated = [voter for need in stands.needs for voter in need.voters]
    assert len({EVERYBODY.person_of(voter) for voter in seated}) == len(seated), "nobody sits twice"
    for need in stands.needs:
        assert len(need.voters) <= need.need.count
        assert all(why_not(held, need.need, voter, EVERYBODY) is None for voter in need.voters)


OWNED = PEOPLE.replace('[agents.bot]\ntenants = ["acme"]', '[agents.bot]\ntenants = ["acme"]\nowner = "dana"')
APART = replace(approval("security"), separation="agent-owner")


def refusal_of(asked: Request, voter: str, people: Directory) -> tuple[str, str] | None:
    return why_not(asked, needs_of(asked.obligations)[0], voter, people)


@pytest.mark.parametrize("voter", ["dana", "dana-two"])
def test_the_agent_s_owner_has_no_vote_where_a_policy_keeps_them_apart_under_any_id(voter: str) -> None:
    said = f"`{voter}` is the person who owns the agent `bot`, and `security-needed` asks somebody else"
    assert refusal_of(request(APART), voter, directory(OWNED)) == ("agent_owner", said)
    assert refusal_of(request(approval("security")), voter, directory(OWNED)) is None
    assert refusal_of(request(APART), voter, EVERYBODY) is None, "an agent without an owner keeps nobody apart"
    assert refusal_of(replace(request(APART), agent=None, service="import"), voter, directory(OWNED)) is None


def test_a_vote_of_who_has_become_the_agent_s_owner_no_longer_counts() -> None:
    asked = request(APART)
    assert standing(asked, votes(asked, "dana"), EVERYBODY).approved
    assert not standing(asked, votes(asked, "dana"), directory(OWNED)).approved
    assert standing(asked, votes(asked, "bea"), directory(OWNED)).approved


def test_the_owner_who_is_the_requester_too_is_refused_once() -> None:
    owner = directory(OWNED.replace('owner = "dana"', 'owner = "alice-two"'))
    asked = request(replace(approval("leads", 2), separation="agent-owner"))
    refusal = refusal_of(asked, "alice", owner)
    assert refusal is not None
    assert refusal[0] == "requester"
    assert find_unmeetable(asked, owner) is None


def test_a_group_that_is_too_small_without_the_owner_cannot_meet_the_need() -> None:
    two = replace(approval("security", 2), separation="agent-owner")
    assert find_unmeetable(request(two), EVERYBODY) is None
    need = find_unmeetable(request(two), directory(OWNED))
    assert need is not None
    assert (need.policy, need.separation) == ("security-needed", "agent-owner")


def test_who_is_refused_twice_is_told_what_is_about_themselves() -> None:
    outside, owner = ("not_in_group", "`omar` is not in `leads`"), ("agent_owner", "`omar` owns the agent")
    assert most_telling([outside, owner]) == owner
    assert most_telling([owner, outside]) == owner
    assert most_telling([outside, ("not_the_user", "only `alice`")]) == outside


@pytest.mark.parametrize("changes", [{"separation": "agent-owner"}, {"expires_s": 900}, {"expires_s": 901}])
def test_a_vote_binds_to_separation_and_expiry(changes: dict[str, Any]) -> None:
    asked = request(approval("security"))
    cast = votes(asked, "bea")
    assert standing(asked, cast, EVERYBODY).approved
    edited = replace(asked, obligations=tuple(replace(owed, **changes) for owed in asked.obligations))
    assert not standing(edited, cast, EVERYBODY).approved
