"""Where people decide: requests are listed, shown, voted on and withdrawn. The gate opens and consumes them; nobody does both.

Rules:

1. A vote is by a user of the directory who may vote on this request now (`standing.why_not`), once, and never by the one it is for.
2. Vote, record and the move it causes are one transaction. A vote that comes second finds the request moved and changes nothing.
3. A vote is cast on what the request shows; nothing a voter sends widens it.
4. What is past its time is expired first, with a record of its own, whoever looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from licet.approvals.attest import attest
from licet.approvals.standing import Standing, binding_of, needs_of, standing, why_not
from licet.approvals.states import Event, next_state, sources
from licet.errors import ConditionLost, TransitionRefused, VoteRefused
from licet.identity.directory import Directory
from licet.ledger.record import Actor, ApprovalEntry, Kind, Payload, ToolEntry, microseconds
from licet.ledger.seal import Filing, Statement, state
from licet.ledger.vault import Subject
from licet.ledger.writer import Writer
from licet.model import LIVE_STATES, Receipt, Request, RequestId, RequestState, Target, Vote
from licet.store.contract import AddVote, Change, Dossier, MoveRequest, Store


class Shown(Struct, frozen=True):
    """A request as it stands: itself, its votes, and what they amount to under the directory of now."""

    request: Request
    votes: tuple[Vote, ...]
    standing: Standing


class Cast(Struct, frozen=True):
    """What a vote has done: the request after it, and the receipt of its record."""

    request: Request
    receipt: Receipt


class Desk:
    """The approvals of one store, under one directory."""

    def __init__(self, store: Store, writer: Writer, directory: Directory, environment: str, now: Callable[[], datetime]) -> None:
        self._store = store
        self._writer = writer
        self._directory = directory
        self._environment = environment
        self._now = now

    def waiting(self, tenant: str | None = None) -> tuple[Shown, ...]:
        """The live requests, the one that expires first first; those past their time are expired on the way."""
        found = self._store.requests(states=tuple(LIVE_STATES), tenant=tenant)
        return tuple(self._shown(request) for request in found if not self._expired(request))

    def all(self, states: Sequence[RequestState] | None = None, tenant: str | None = None) -> tuple[Shown, ...]:
        """Requests in these states, as they stand."""
        return tuple(self._shown(request) for request in self._store.requests(states=states, tenant=tenant))

    def show(self, request: RequestId) -> Shown:
        """One request. Raises `KeyError` when there is none."""
        found = self._store.get_request(request)
        if self._expired(found):
            found = self._store.get_request(request)
        return self._shown(found)

    def vote(
        self,
        request: RequestId,
        voter: str,
        verdict: Literal["approve", "reject"],
        *,
        comment: str | None = None,
        operating_user: str | None = None,
    ) -> Cast:
        """Cast a vote.

        Raises `VoteRefused` where this person may not, `KeyError` when there is no such request, `IntegrityBroken` when it is not what the
        log says was held, `StoreError`.
        """
        if verdict not in {"approve", "reject"}:
            raise VoteRefused("unknown_verdict", "a vote is `approve` or `reject`")
        while True:
            try:
                return self._cast(request, voter, verdict, comment, operating_user)
            except ConditionLost as lost:
                if lost.condition != "votes_moved":
                    raise VoteRefused(lost.condition, str(lost)) from lost
                # Somebody else voted at the same moment: what this vote brings about is worked out again, with theirs.

    def _cast(
        self, request: RequestId, voter: str, verdict: Literal["approve", "reject"], comment: str | None, operating_user: str | None
    ) -> Cast:
        dossier = self._votable(request)
        found, before = dossier.request, dossier.votes
        self._may_vote(found, voter)
        now = self._now()
        vote = Vote(
            request=found.id,
            voter=voter,
            person=self._directory.person_of(voter),
            verdict=verdict,
            at=now,
            binding=binding_of(found.key, found.preview_digest, found.obligations),
            comment=comment,
            operating_user=operating_user,
        )
        event = self._event_of(found, (*before, vote))
        changes: list[Change] = [AddVote(vote, found.tenant, len(before))]
        if event is not None:
            changes.append(MoveRequest(found.id, (RequestState.OPEN,), next_state(found.state, event), now))
        receipts = self._writer.submit(Filing((self._vote_record(found, vote, event, now),), tuple(changes))).wait()
        return Cast(replace(found, state=found.state if event is None else next_state(found.state, event)), receipts[0])

    def withdraw(self, request: RequestId, by: str) -> Cast:
        """Take a request back: the user it was made for may. Raises `VoteRefused`, `TransitionRefused`, `KeyError`, `StoreError`."""
        found = self._store.get_request(request)
        if found.user != by:
            raise VoteRefused("not_the_requester", f"only `{found.user}`, for whom it was made, can withdraw this request")
        receipt = self._move(found, Event.WITHDRAW, {"withdrawn_by": by})
        return Cast(replace(found, state=RequestState.WITHDRAWN), receipt)

    def _votable(self, request: RequestId) -> Dossier:
        found = self._store.get_dossier(request)
        asked = found.request
        if self._expired(asked):
            raise VoteRefused("expired", f"request `{request}` expired at {asked.expires_at:%Y-%m-%d %H:%M} UTC; the call can ask again")
        if asked.state is not RequestState.OPEN:
            raise VoteRefused("not_open", f"request `{request}` is {asked.state} and takes no more votes")
        attest(found)  # nobody is to approve what somebody has written over the call that was held
        return found

    def _may_vote(self, request: Request, voter: str) -> None:
        """Raise the reason why this voter counts toward nothing that the request asks for."""
        refusals = [why_not(request, need, voter, self._directory) for need in needs_of(request.obligations)]
        if not refusals:
            raise VoteRefused("nothing_to_decide", f"request `{request.id}` asks nobody for anything")
        if any(refusal is None for refusal in refusals):
            return
        code, message = next(refusal for refusal in refusals if refusal is not None)
        raise VoteRefused(code, message)

    def _event_of(self, request: Request, votes: tuple[Vote, ...]) -> Event | None:
        """What the last of these votes brings about, with those that were cast before it."""
        if votes[-1].verdict == "reject":
            return Event.REJECT
        return Event.APPROVE if standing(request, votes, self._directory).approved else None

    def _shown(self, request: Request) -> Shown:
        votes = self._store.votes(request.id)
        return Shown(request, votes, standing(request, votes, self._directory))

    def _expired(self, request: Request) -> bool:
        """Whether its time is over; if it still waits, that is recorded now."""
        if request.state not in LIVE_STATES or self._now() < request.expires_at:
            return False
        try:
            self._move(request, Event.EXPIRE, {})
        except TransitionRefused:
            return False
        return True

    def _move(self, request: Request, event: Event, detail: dict[str, str]) -> Receipt:
        """Move a request, with a record of kind `expiry`. Raises `TransitionRefused` if something else has moved it."""
        now = self._now()
        change = MoveRequest(request.id, sources(event), next_state(request.state, event), now)
        payload = Payload(detail={"request": request.id, "event": event.value, **detail})
        record = self._record("expiry", request, now, payload, ApprovalEntry(request.id))
        try:
            return self._writer.submit(Filing((record,), (change,))).wait()[0]
        except ConditionLost as lost:
            raise TransitionRefused(str(lost)) from lost

    def _vote_record(self, request: Request, vote: Vote, event: Event | None, now: datetime) -> Statement:
        detail = {"vote": Raw(msgspec.json.encode(vote)), "event": None if event is None else event.value}
        payload = Payload(reason=vote.comment, obligations=request.obligations, detail=detail)
        return self._record("vote", request, now, payload, ApprovalEntry(request.id, (vote.voter,), vote.verdict))

    def _record(self, kind: Kind, request: Request, now: datetime, payload: Payload, approval: ApprovalEntry) -> Statement:
        return state(
            log=request.tenant,
            kind=kind,
            at=microseconds(now),
            boot=self._store.boot,
            environment=self._environment,
            call=request.call,
            actor=Actor(agent=request.agent, service=request.service, user=request.user),
            tool=ToolEntry(request.tool, None, None),
            targets=_targets_of(request),
            approval=approval,
            payload=payload,
        )


class _Summary(Struct):
    """The part of a request's summary that names its targets."""

    targets: tuple[Target, ...] = ()


def _targets_of(request: Request) -> tuple[Subject, ...]:
    """Whom the request is about: what is recorded of it is sealed under their secrets."""
    targets = msgspec.json.decode(request.summary, type=_Summary).targets
    return tuple([Subject(target.tenant, target.type, target.id) for target in targets])
