"""Where people decide: requests are listed, shown, voted on and withdrawn. The gate opens and consumes them; nobody does both.

Rules:

1. A vote is by a user of the directory who may vote on this request now (`standing.why_not`), once, and never by the one it is for.
2. Vote, record and the move it causes are one transaction. A vote that comes second finds the request moved and changes nothing.
3. A vote is cast on what the request shows; nothing a voter sends widens it. Votes on the steps of a plan are one transaction too: all of
   them are cast, or none.
4. A vote can be taken back for as long as its request is not over; what is approved without it no longer is not. Who is in none of the
   groups that are asked any more has no vote: theirs are taken back when the directory that says so comes into force.
5. What is past its time is expired first, with a record of its own, whoever looks.
6. A request that asks for passkeys is approved by votes that were signed with one, on exactly what is voted (approvals/signing.py). Saying
   no takes none: it must stay easy, and changes nothing.
7. A vote that comes through a channel (a client of the gateway) is the confirmation of the user whom the call is made for, or their no. It
   counts for nothing else that the request asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from licet.approvals.aside import Aside, aside
from licet.approvals.attest import attest
from licet.approvals.signing import ShownAssertion, sign
from licet.approvals.standing import Standing, binding_of, is_confirmed_by, most_telling, needs_of, standing, why_not
from licet.approvals.states import Event, next_state, sources
from licet.approvals.viewed import subjects_of
from licet.errors import ConditionLost, IntegrityBroken, TransitionRefused, VoteRefused
from licet.identity.directory import Directory
from licet.ledger.record import Actor, ApprovalEntry, Kind, Payload, ToolEntry, microseconds
from licet.ledger.seal import Filing, Statement, state
from licet.ledger.writer import Writer
from licet.model import LIVE_STATES, Caller, PlanId, Receipt, Request, RequestId, RequestState, TakenBack, Vote, VoteChannel
from licet.store.contract import AddVote, Change, Dossier, MoveRequest, Store, TakeBackVote, TouchCredentials

Verdict = Literal["approve", "reject"]
T = TypeVar("T")


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

    def waiting(self, tenant: str | None = None, *, limit: int | None = None, after: RequestId | None = None) -> tuple[Shown, ...]:
        """The live requests, the one that expires first first; those past their time are expired on the way.

        At most `limit` of them, behind the request `after`.
        """
        while True:
            found = self._store.dossiers(states=tuple(LIVE_STATES), tenants=None if tenant is None else [tenant], limit=limit, after=after)
            live = tuple([self._shown(dossier) for dossier in found if not self._expired(dossier.request)])
            if len(live) == len(found):
                return live
            # Some were past their time, and are not live any more: others have moved up.

    def all(self, states: Sequence[RequestState] | None = None, tenant: str | None = None) -> tuple[Shown, ...]:
        """Requests in these states, as they stand."""
        return tuple(
            [self._shown(dossier) for dossier in self._store.dossiers(states=states, tenants=None if tenant is None else [tenant])]
        )

    def show(self, request: RequestId) -> Shown:
        """One request. Raises `KeyError` when there is none."""
        found = self._store.get_dossier(request)
        if self._expired(found.request):
            found = self._store.get_dossier(request)
        return self._shown(found)

    def vote(
        self,
        request: RequestId,
        voter: str,
        verdict: Verdict,
        *,
        comment: str | None = None,
        operating_user: str | None = None,
        credential: str | None = None,
        binding: str | None = None,
        channel: VoteChannel | None = None,
        signed: ShownAssertion | None = None,
    ) -> Cast:
        """Cast a vote. `comment` is of `COMMENT_LIMIT` characters at most; `credential` the id of the one that was shown, if one was.

        `binding` is that of what the voter looked at, where they say so: a vote on anything else is refused (`not_as_shown`). `channel` is
        through what the vote came, where the voter did not come themselves (rule 7). `signed` is what a passkey has signed, where one has.

        Raises `VoteRefused` where this person may not, `KeyError` when there is no such request, `IntegrityBroken` when it is not what the
        log says was held, `StoreError`.
        """
        looked_at = {} if binding is None else {request: binding}
        return self._vote({request: verdict}, voter, aside(comment, operating_user, credential, channel), looked_at, signed)[0]

    def vote_plan(
        self,
        plan: PlanId,
        voter: str,
        verdicts: Mapping[int, Verdict],
        *,
        comment: str | None = None,
        operating_user: str | None = None,
        credential: str | None = None,
        bindings: Mapping[int, str] | None = None,
        signed: ShownAssertion | None = None,
    ) -> tuple[Cast, ...]:
        """Cast a vote on each of these steps of a plan, all at once or none. `bindings` are those that were looked at. Raises as `vote`.

        They are signed together, in the order of the steps.

        Of the steps that people were asked about together: a plan and a number name what was shown under them once, and nothing that has
        taken its place since. What was asked later is voted on by the id of its request.
        """
        steps = {shown.request.step: shown.request for shown in self.plan(plan)}
        missing = [step for step in verdicts if step not in steps]
        if missing or not verdicts:
            raise VoteRefused("no_such_step", f"the plan has no step {missing[0]} to decide on" if missing else "no step was decided on")
        together = _asked_together(self._store.dossiers_of_plan(plan))
        later = next((step for step in sorted(verdicts) if steps[step].id not in together), None)
        if later is not None:
            message = f"step {later} was asked about anew, after the plan was: look at request `{steps[later].id}`, and vote on that"
            raise VoteRefused("asked_later", message)
        chosen = {steps[step].id: verdicts[step] for step in sorted(verdicts)}
        looked_at = {steps[step].id: binding for step, binding in (bindings or {}).items() if step in steps}
        return self._vote(chosen, voter, aside(comment, operating_user, credential), looked_at, signed)

    def plan(self, plan: PlanId) -> tuple[Shown, ...]:
        """The requests of a plan as they stand, by their steps; of a step that was held anew, the last.

        Raises `KeyError` when there is none, `IntegrityBroken` where a row names a plan that its record does not.
        """
        steps: dict[int, Dossier] = {}
        for dossier in self._store.dossiers_of_plan(plan):
            steps[dossier.request.step] = dossier
        if not steps:
            raise KeyError(f"no plan `{plan}`")
        expired = [dossier.request.id for dossier in steps.values() if self._expired(dossier.request)]  # each of them, not the first alone
        if expired:
            return self.plan(plan)
        return tuple([self._shown(steps[step]) for step in sorted(steps)])

    def take_back(
        self,
        request: RequestId,
        voter: str,
        *,
        comment: str | None = None,
        operating_user: str | None = None,
        credential: str | None = None,
    ) -> Cast:
        """The vote of this person stands no more; what was approved with it, and is not without it, is open again.

        Raises `VoteRefused` (`unknown_user`, `no_vote`, `request_moved`), `KeyError`, `IntegrityBroken`, `StoreError`.
        """
        if voter not in self._directory.users:
            raise VoteRefused("unknown_user", f"`{voter}` is not a user of the directory")
        beside = aside(comment, operating_user, credential)
        taken = TakenBack(
            request=request,
            voter=voter,
            person=self._directory.person_of(voter),
            by="voter",
            at=self._now(),
            comment=beside.comment,
            operating_user=beside.operating_user,
            credential=beside.credential,
        )
        return self._until_settled(lambda: self._take_back(taken))

    def drop_lapsed(self) -> int:
        """Take back every vote of somebody who may vote on its request no more; how many there were.

        Called whenever a directory comes into force. Raises `StoreError`.
        """
        dropped = 0
        for request in self._store.voted_requests():
            try:
                found = self._store.get_dossier(request)
            except (IntegrityBroken, KeyError):
                continue  # nobody can use what is not what the log says; nor what was erased
            lapsed = [vote for vote in found.votes if vote.verdict == "approve" and all(self._refusals(found.request, vote.voter))]
            for vote in lapsed:
                taken = TakenBack(request=request, voter=vote.voter, person=vote.person, by="directory", at=self._now())
                with suppress(VoteRefused, IntegrityBroken):  # decided, or taken back, at the same moment; or as above
                    self._until_settled(partial(self._take_back, taken))
                    dropped += 1
        return dropped

    def withdraw(self, request: RequestId, by: str, *, credential: str | None = None) -> Cast:
        """Take a request back: the user it was made for may. Raises `VoteRefused`, `TransitionRefused`, `KeyError`, `StoreError`."""
        found = self._store.get_request(request)
        if found.user is None or found.user != by:
            whom = (
                f"only `{found.user}`, for whom it was made, can" if found.user is not None else "it was made for no user: its caller can"
            )
            raise VoteRefused("not_the_requester", f"{whom} withdraw this request")
        return self._withdraw(found, {"withdrawn_by": by} | _shown(credential))

    def withdraw_as_caller(self, request: RequestId, caller: Caller, *, credential: str | None = None) -> Cast:
        """Take a request back in the name of whoever made it: the same agent or service, for the same user. Raises as `withdraw`."""
        found = self._store.get_request(request)
        made_by = Caller(tenant=found.tenant, agent=found.agent, service=found.service, user=found.user)
        if made_by != replace(caller, roles=()):
            raise VoteRefused("not_the_requester", "only the caller that made this request can withdraw it")
        return self._withdraw(found, {"withdrawn_by": caller.agent or caller.service or ""} | _shown(credential))

    def withdraw_as_operator(self, request: RequestId, *, credential: str) -> Cast:
        """End a request in the name of whoever operates this, by the credential that was shown. Raises `TransitionRefused`, `KeyError`."""
        return self._withdraw(self._store.get_request(request), {"withdrawn_by": "(operator)"} | _shown(credential))

    def _withdraw(self, found: Request, detail: dict[str, str]) -> Cast:
        return Cast(replace(found, state=RequestState.WITHDRAWN), self._move(found, Event.WITHDRAW, detail))

    def _vote(
        self,
        verdicts: Mapping[RequestId, Verdict],
        voter: str,
        beside: Aside,
        looked_at: Mapping[RequestId, str],
        signed: ShownAssertion | None,
    ) -> tuple[Cast, ...]:
        if not all(verdict in {"approve", "reject"} for verdict in verdicts.values()):
            raise VoteRefused("unknown_verdict", "a vote is `approve` or `reject`")
        return self._until_settled(lambda: self._cast(verdicts, voter, beside, looked_at, signed))

    def _until_settled(self, act: Callable[[], T]) -> T:
        """What `act` does, worked out again for as long as somebody else votes at the same moment."""
        while True:
            try:
                return act()
            except ConditionLost as lost:
                if lost.condition != "votes_moved":
                    raise VoteRefused(lost.condition, str(lost)) from lost

    def _cast(
        self,
        verdicts: Mapping[RequestId, Verdict],
        voter: str,
        beside: Aside,
        looked_at: Mapping[RequestId, str],
        signed: ShownAssertion | None,
    ) -> tuple[Cast, ...]:
        now = self._now()
        statements: list[Statement] = []
        changes: list[Change] = []
        after: list[Request] = []
        dossiers = [self._votable(request) for request in verdicts]
        votes = [self._checked(dossier.request, voter, verdicts[dossier.request.id], beside, looked_at) for dossier in dossiers]
        assertion = sign(self._store, list(zip(dossiers, votes, strict=True)), signed)
        if assertion is not UNSET:
            changes.append(TouchCredentials(((assertion.credential, microseconds(now)),)))
        for dossier, unsigned in zip(dossiers, votes, strict=True):
            found, vote = dossier.request, replace(unsigned, assertion=assertion)
            event = self._event_of(found, (*dossier.votes, vote))
            statements.append(self._vote_record(found, vote, event, now))
            changes.append(AddVote(vote, found.tenant, dossier.ballots))
            if event is not None:
                changes.append(MoveRequest(found.id, (RequestState.OPEN,), next_state(found.state, event), now))
            after.append(found if event is None else replace(found, state=next_state(found.state, event)))
        receipts = self._writer.submit(Filing(tuple(statements), tuple(changes))).wait()
        return tuple([Cast(request, receipt) for request, receipt in zip(after, receipts, strict=True)])

    def _checked(self, found: Request, voter: str, verdict: Verdict, beside: Aside, looked_at: Mapping[RequestId, str]) -> Vote:
        """The vote, which this person may cast on this request, and on what they looked at. Raises `VoteRefused`."""
        self._may_vote(found, voter)
        if beside.channel is not UNSET and not is_confirmed_by(found, voter):  # rule 7
            raise VoteRefused("not_through_this", "through a client only the user whom the call is made for decides, to confirm it")
        binding = binding_of(found.key, found.preview_digest, found.obligations)
        if looked_at.get(found.id, binding) != binding:
            raise VoteRefused("not_as_shown", f"request `{found.id}` is not what was looked at: look at it again, then vote")
        return Vote(
            request=found.id,
            voter=voter,
            person=self._directory.person_of(voter),
            verdict=verdict,
            at=self._now(),
            binding=binding,
            comment=beside.comment,
            operating_user=beside.operating_user,
            credential=beside.credential,
            channel=beside.channel,
        )

    def _take_back(self, taken: TakenBack) -> Cast:
        dossier = self._store.get_dossier(taken.request)
        found = dossier.request
        if self._expired(found) or found.state not in LIVE_STATES:
            raise VoteRefused("request_moved", f"request `{found.id}` is over, and its votes with it")
        attest(dossier)
        own = self._find_own(dossier.votes, taken.voter)
        if own is None:
            raise VoteRefused("no_vote", f"`{taken.voter}` has no vote on request `{found.id}` to take back")
        taken, left = replace(taken, person=own.person), tuple([vote for vote in dossier.votes if vote is not own])
        now = self._now()
        reopens = found.state is RequestState.APPROVED and not standing(found, left, self._directory).approved
        event = Event.REOPEN if reopens else None
        changes: list[Change] = [TakeBackVote(found.id, taken.person, found.tenant, dossier.ballots, taken.at)]
        if event is not None:
            changes.append(MoveRequest(found.id, sources(event), next_state(found.state, event), now))
        detail = {"taken_back": Raw(msgspec.json.encode(taken)), "event": event}
        entry = ApprovalEntry(found.id, (taken.voter,), "take_back")
        record = self._record("vote", found, now, Payload(reason=taken.comment, detail=detail), entry)
        receipts = self._writer.submit(Filing((record,), tuple(changes))).wait()
        return Cast(found if event is None else replace(found, state=RequestState.OPEN), receipts[0])

    def _find_own(self, votes: Sequence[Vote], voter: str) -> Vote | None:
        """The vote of this person, whom the directory may have known by another name when it was cast; of two, the one under this id."""
        person_of = self._directory.person_of
        own = [vote for vote in votes if person_of(vote.voter) == person_of(voter)]
        return next((vote for vote in own if vote.voter == voter), own[0] if own else None)

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
        refusals = self._refusals(request, voter)
        if not refusals:
            raise VoteRefused("nothing_to_decide", f"request `{request.id}` asks nobody for anything")
        if any(refusal is None for refusal in refusals):
            return
        code, message = most_telling([refusal for refusal in refusals if refusal is not None])
        raise VoteRefused(code, message)

    def _refusals(self, request: Request, voter: str) -> list[tuple[str, str] | None]:
        return [why_not(request, need, voter, self._directory) for need in needs_of(request.obligations)]

    def _event_of(self, request: Request, votes: tuple[Vote, ...]) -> Event | None:
        """What the last of these votes brings about, with those that were cast before it."""
        if votes[-1].verdict == "reject":
            return Event.REJECT
        return Event.APPROVE if standing(request, votes, self._directory).approved else None

    def _shown(self, found: Dossier) -> Shown:
        return Shown(found.request, found.votes, standing(found.request, found.votes, self._directory))

    def _expired(self, request: Request) -> bool:
        """Whether its time is over; if it still waits, that is recorded now."""
        if request.state not in LIVE_STATES or self._now() < request.expires_at:
            return False
        with suppress(TransitionRefused):  # somebody else has ended it at the same moment
            self._move(request, Event.EXPIRE, {})
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
            targets=subjects_of(request),
            approval=approval,
            payload=payload,
        )


def _shown(credential: str | None) -> dict[str, str]:
    return {} if credential is None else {"credential": credential}


def _asked_together(dossiers: Sequence[Dossier]) -> frozenset[RequestId]:
    """The requests with which a plan began: opened at one moment, and the first of their steps."""
    first = dossiers[0].request.opened_at
    steps: dict[int, Request] = {}
    for dossier in dossiers:
        steps.setdefault(dossier.request.step, dossier.request)
    return frozenset(request.id for request in steps.values() if request.opened_at == first)
