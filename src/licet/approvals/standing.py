"""Do these votes meet what was asked? Pure functions over a request, its votes and the directory of now.

Rules:

1. A vote counts only if it was cast on exactly what the request shows (`binding`) and its voter is, now, somebody who may vote on it:
   known and not disabled, of the request's tenant (unless the group is of operator scope), and in the group that is asked.
2. The user that the call acts for never counts toward an approval, under any of that person's ids. A confirmation is theirs alone.
   Where a policy says `@separation("agent-owner")`, neither does the person who owns the agent, under any id. A vote that came through a
   channel counts toward a confirmation alone. Where the request asks for passkeys, an approval that is not signed counts for nothing.
3. Distinct means distinct people. One person counts toward one need; who counts where is a maximum matching, so that the order
   of voting never decides whether a request can be met.
4. One rejection ends it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import UNSET, Struct

from licet.identity.directory import Directory
from licet.model import Obligation, ObligationKind, Request, Separation, Vote

_encode = msgspec.json.Encoder(order="deterministic").encode


class Need(Struct, frozen=True, kw_only=True):
    """What one conditional policy asks of people, for all principals that it fired for."""

    policy: str
    kind: ObligationKind
    group: str | None
    count: int
    reason: str | None
    separation: Separation | None = None


class NeedStanding(Struct, frozen=True):
    """A need and the voters who count toward it so far."""

    need: Need
    voters: tuple[str, ...]

    @property
    def missing(self) -> int:
        """How many people are still missing."""
        return self.need.count - len(self.voters)


class Standing(Struct, frozen=True):
    """Where a request stands under the directory of now."""

    needs: tuple[NeedStanding, ...]
    rejected_by: str | None

    @property
    def approved(self) -> bool:
        """Enough people have approved, and nobody has rejected."""
        return self.rejected_by is None and bool(self.needs) and all(need.missing <= 0 for need in self.needs)

    @property
    def voters(self) -> tuple[str, ...]:
        """Everybody who counts, each once."""
        return tuple(dict.fromkeys(voter for need in self.needs for voter in need.voters))


def binding_of(key: str, preview_digest: str | None, obligations: Iterable[Obligation]) -> str:
    """The SHA-256 (hex) of what a vote is cast on: the exact call, what it would change, and each policy's text and principal."""
    asked = sorted(
        (o.kind, o.policy, o.policy_digest, o.principal, o.count, o.group or "", o.expires_s or 0, o.separation or "") for o in obligations
    )
    return hashlib.sha256(_encode((key, preview_digest, asked))).hexdigest()


def needs_of(obligations: Iterable[Obligation]) -> tuple[Need, ...]:
    """One need for each conditional policy: it asks its people once, however many principals it fired for."""
    found = {
        (o.policy, o.kind): Need(policy=o.policy, kind=o.kind, group=o.group, count=o.count, reason=o.reason, separation=o.separation)
        for o in obligations
        if o.kind != "preview_only"
    }
    return tuple(found.values())


def is_confirmed_by(request: Request, voter: str) -> bool:
    """Whether this is the user whom the request asks to confirm."""
    return voter == request.user and any(obligation.kind == "confirmation" for obligation in request.obligations)


def why_not(request: Request, need: Need, voter: str, directory: Directory) -> tuple[str, str] | None:
    """Why this voter does not count toward this need, as (code, sentence); None when they do."""
    user = directory.users.get(voter)
    if user is None or user.disabled:
        return "unknown_user", f"`{voter}` is not a user of the directory"
    if need.kind == "confirmation":
        refusal = ("not_the_user", f"only `{request.user}`, for whom the agent acts, can confirm this call")
        return None if voter == request.user else refusal
    if apart := _kept_apart(request, need, voter, directory):
        return apart
    if need.group is None or not directory.is_member(voter, need.group):
        return "not_in_group", f"`{voter}` is not in `{need.group}`"
    if not directory.may_vote(voter, need.group, request.tenant):
        return "not_in_tenant", f"`{voter}` does not belong to tenant `{request.tenant}`"
    return None


def most_telling(refusals: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Of the reasons why somebody counts toward nothing, one about themselves rather than about a group that they are not in."""
    return next((refusal for refusal in refusals if refusal[0] not in {"not_in_group", "not_the_user"}), refusals[0])


def _kept_apart(request: Request, need: Need, voter: str, directory: Directory) -> tuple[str, str] | None:
    """Whether this person is too near to the call to approve it. An agent that names no owner has nobody to be kept apart from."""
    person = directory.person_of(voter)
    if request.user is not None and person == directory.person_of(request.user):
        return "requester", f"`{voter}` is the one this call is made for, and nobody approves their own"
    agent = directory.agents.get(request.agent or "")
    owner = agent.owner if agent is not None and need.separation == "agent-owner" else None
    if owner is not None and person == directory.person_of(owner):
        return "agent_owner", f"`{voter}` is the person who owns the agent `{request.agent}`, and `{need.policy}` asks somebody else"
    return None


def standing(request: Request, votes: Sequence[Vote], directory: Directory) -> Standing:
    """Count the votes as the rules of this module say."""
    bound = binding_of(request.key, request.preview_digest, request.obligations)
    valid = [vote for vote in votes if vote.request == request.id and vote.binding == bound and not _is_unsigned(request, vote)]
    rejected = next((vote.voter for vote in valid if vote.verdict == "reject"), None)
    # By the person whom the directory of now sees behind an id: two ids that have since been found to be one person are one vote.
    by_person = {directory.person_of(vote.voter): vote for vote in valid if vote.verdict == "approve"}
    needs = needs_of(request.obligations)
    fits = {vote.voter: _fits(request, needs, vote.voter, directory) for vote in by_person.values()}
    for vote in by_person.values():
        if vote.channel is not UNSET:  # what a client says is its user's word, and nobody's approval
            fits[vote.voter] = [at for at in fits[vote.voter] if needs[at].kind == "confirmation"]
    seats = _seat(needs, fits)
    return Standing(tuple(NeedStanding(need, tuple(sorted(seats[at]))) for at, need in enumerate(needs)), rejected)


def _is_unsigned(request: Request, vote: Vote) -> bool:
    """Whether a signature is missing: what was signed was checked when the vote was cast, and is checked by whoever verifies the ledger."""
    return request.passkey is True and vote.verdict == "approve" and vote.assertion is UNSET


def find_unmeetable(request: Request, directory: Directory) -> Need | None:
    """A need that the people of the directory cannot meet, even if all of them approve; None where they can."""
    needs = needs_of(request.obligations)
    people: dict[str, set[int]] = {}
    for need in needs:
        for voter in (request.user,) if need.group is None else directory.voters(need.group, request.tenant):
            if voter is not None:
                people.setdefault(directory.person_of(voter), set()).update(_fits(request, needs, voter, directory))
    seats = _seat(needs, people)
    return next((need for at, need in enumerate(needs) if len(seats[at]) < need.count), None)


def _fits(request: Request, needs: Sequence[Need], voter: str, directory: Directory) -> list[int]:
    """Which needs this voter counts toward, by their places."""
    return [at for at, need in enumerate(needs) if why_not(request, need, voter, directory) is None]


def _seat(needs: Sequence[Need], fits: Mapping[str, Iterable[int]]) -> list[set[str]]:
    """A maximum matching of people to needs (augmenting paths; its depth is the number of needs, a handful, so no library)."""
    seats: list[set[str]] = [set() for _ in needs]

    def place(person: str, tried: set[int]) -> bool:
        for at in fits[person]:
            if at in tried:
                continue
            tried.add(at)
            if len(seats[at]) < needs[at].count:
                seats[at].add(person)
                return True
            for sitting in tuple(seats[at]):
                if place(sitting, tried):
                    seats[at].remove(sitting)
                    seats[at].add(person)
                    return True
        return False

    for person in fits:
        place(person, set())
    return seats
