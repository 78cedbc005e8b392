"""Requests as whoever looks at them sees them. Reads only: what is past its time is said to be, and expired by whoever writes next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from licet.approvals.attest import attest_rows
from licet.approvals.standing import Need, NeedStanding, Standing, binding_of, most_telling, needs_of, standing, why_not
from licet.identity.directory import Directory
from licet.ledger.vault import Subject
from licet.ledger.wording import on_targets, who
from licet.model import LIVE_STATES, CallId, Effect, Request, RequestId, RequestState, Target, Vote
from licet.store.contract import Store

PAST = "past its time"
"""How a live request is called whose time is over, until somebody who writes expires it."""


class Asked(Struct, frozen=True):
    """What an approver is shown: the summary that a request was opened with. `previewed_by` says who promises `preview`."""

    arguments: Any = None
    targets: tuple[Target, ...] = ()
    preview: tuple[Effect, ...] | None = None
    previewed_by: Literal["tool", "arguments"] | None = None
    reason: str | None = None
    changed: str | None = None
    undoes: CallId | None = None


_decode_asked = msgspec.json.Decoder(Asked).decode


class Viewed(Struct, frozen=True, kw_only=True):
    """A request as it stands at a moment: state, votes, who is missing and who may vote. `binding` is what votes are cast on.

    `refused` says why `viewer` may not vote on it now; None where they may, or nobody was named.
    """

    request: Request
    state: str
    asked: Asked
    votes: tuple[Vote, ...]
    needs: tuple[NeedStanding, ...]
    may_vote: dict[str, tuple[str, ...]]
    binding: str
    expires_in_s: int
    standing: Standing
    viewer: str | None = None
    refused: str | None = None

    @property
    def sentence(self) -> str:
        """Who asks for what."""
        request = self.request
        targets = on_targets(str(target.ref) for target in self.asked.targets)
        return f"{who(request.agent, request.service, request.user)} asks to use `{request.tool}`{targets}"

    @property
    def is_live(self) -> bool:
        """Whether it waits: for votes, or for the call to be made again."""
        return self.state in LIVE_STATES

    def at(self, now: datetime) -> Viewed:
        """The same at another moment."""
        left_s = (self.request.expires_at - now).total_seconds()
        return replace(self, expires_in_s=int(left_s), state=_state(self.request, left_s))


def get_request(store: Store, request: str) -> tuple[Request, tuple[Vote, ...]]:
    """One request and its votes. Raises `KeyError` where there is none, `IntegrityBroken` where it is not what its records say."""
    found = store.get_dossier(RequestId(request))
    attest_rows(found)  # an approver who is shown an edited row would approve another call than the one that waits
    return found.request, found.votes


def stand(request: Request, votes: Sequence[Vote], directory: Directory, now: datetime, *, viewer: str | None = None) -> Viewed:
    """The request under the directory of now, at this moment, as `viewer` may decide it."""
    found = standing(request, votes, directory)
    left_s = (request.expires_at - now).total_seconds()
    return Viewed(
        request=request,
        state=_state(request, left_s),
        asked=_decode_asked(request.summary),
        votes=tuple(votes),
        needs=found.needs,
        may_vote={need.policy: tuple(_may_vote(request, need, votes, directory)) for need in needs_of(request.obligations)},
        binding=binding_of(request.key, request.preview_digest, request.obligations),
        expires_in_s=int(left_s),
        standing=found,
        viewer=viewer,
        refused=None if viewer is None else _refused(request, votes, directory, viewer),
    )


def subjects_of(request: Request) -> tuple[Subject, ...]:
    """Whom the request is about: what is recorded of it is sealed under their secrets."""
    targets = _decode_asked(request.summary).targets
    return tuple([Subject(target.tenant, target.type, target.id) for target in targets])


def has_voted(found: Viewed, directory: Directory) -> bool:
    """Whether a vote of the viewer's person stands on it."""
    return found.viewer is not None and directory.person_of(found.viewer) in {directory.person_of(vote.voter) for vote in found.votes}


def _state(request: Request, left_s: float) -> str:
    return PAST if request.state in LIVE_STATES and left_s <= 0 else str(request.state)


def _may_vote(request: Request, need: Need, votes: Sequence[Vote], directory: Directory) -> list[str]:
    """Whoever the need asks for, less those whom it refuses and those who have voted. Only they are looked at: there may be many users."""
    asked = directory.voters(need.group, request.tenant) if need.group is not None else {request.user} - {None}
    voted = {directory.person_of(vote.voter) for vote in votes}
    left = [user for user in sorted(map(str, asked)) if directory.person_of(user) not in voted]
    return [user for user in left if why_not(request, need, user, directory) is None]


def _refused(request: Request, votes: Sequence[Vote], directory: Directory, viewer: str) -> str | None:
    """Why this user may not vote, in words; the desk decides it again."""
    needs = needs_of(request.obligations)
    refusals = [found for need in needs if (found := why_not(request, need, viewer, directory)) is not None]
    if len(refusals) == len(needs):
        return most_telling(refusals)[1] if refusals else "it asks nobody for anything"
    if directory.person_of(viewer) in {directory.person_of(vote.voter) for vote in votes}:
        return f"`{viewer}` has voted on it already"
    if request.state is not RequestState.OPEN:
        return f"it is {request.state} and takes no more votes"
    return None


def is_same(shown: Viewed, now: Request) -> bool:
    """Whether a vote on `now` is a vote on what was shown: the very same request with the same binding, whatever its state."""
    return shown.binding == binding_of(now.key, now.preview_digest, now.obligations) and replace(shown.request, state=now.state) == now
