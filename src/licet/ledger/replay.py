"""What follows from the records: open calls, requests, votes and keys, as far as records alone can tell.

1. every outcome and recovery has an intent, or a late outcome its merged read, before it in its log; no call has two of either
2. a call ends once; a later outcome says that it is late (`detail["late"]`)
3. an intent without an end is an open call, and there is no other; one whose end nobody saw is unsettled until a record says how it
   ended, and is settled once (`detail["settled"]`)
4. a hold record that holds a request opens it, in the tenant's log; at most one request per key is live
5. a vote record holds a vote on an open request, at most one that stands for each person, or takes one back that stands on a live
   request, and what it brought about (`detail["event"]`): a rejection ends the request, an approval needs as many people as its policies
   ask for, and what was taken back can only reopen what was approved; one that came through a client is of the user whom the call is
   made for, on a request that asks for their confirmation
6. a request that is consumed was approved, was not past its time, was consumed once, and the intent is of the same tool, caller and
   arguments
7. what a policy, catalog or directory record says was in force is kept under its hash, and nothing else is
8. a freeze stands until a record of its log lifts it, and what lifts one finds it standing (ledger/frozen.py)
9. a credential is what the record of its issue says, issued once, and ends as early as a record says (ledger/issued.py)
10. an approval of a request that asks for passkeys is signed, and every vote that is signed is signed by a passkey that was its voter's
    then, over what the record says was voted (ledger/signed_votes.py)

A record whose payload cannot be opened (erased, or no key at hand) says nothing of requests: those that it names are left out.
Who may vote is not recomputed here (that needs the directory of that moment): 5 is what must hold in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct

from licet.errors import IntegrityBroken
from licet.ledger.followed import IN_FORCE, Followed
from licet.ledger.frozen import Frozen
from licet.ledger.issued import Issues
from licet.ledger.record import UNREADABLE, Envelope, decode_envelope, microseconds, unmask
from licet.ledger.report import Findings
from licet.ledger.signed_votes import SignedVotes
from licet.model import LIVE_STATES, Request, RequestState, TakenBack, Vote


class _Closing(Struct, frozen=True):
    request: str
    event: str


class _Key(Struct, frozen=True):
    scope: str
    digest: str


class _Detail(Struct, frozen=True):
    key: _Key | None = None
    request: Raw = Raw()
    vote: Vote | None = None
    taken_back: TakenBack | None = None
    superseded: _Closing | None = None
    event: str | None = None
    sha256: str | None = None
    late: bool = False
    settled: Raw = Raw()


class _Said(Struct, frozen=True):
    detail: _Detail = _Detail()


class _Argued(Struct, frozen=True):
    arguments: Raw = Raw()
    names: dict[str, str] | None = None


Blind: TypeAlias = Callable[[str, str, str], str | None]
"""How a row writes a text that nobody may guess back: log, label, text."""


class TakenKey(Struct, frozen=True):
    """An idempotency key as an intent took it: key, scope and digest as blinds."""

    log: str
    index: int
    key: str
    scope: str
    digest: str


class Asking(Struct):
    """A request as far as it has been replayed. `votes` are those that stand, `cast` each person that a vote record names, in order.

    `voters` are the users who have cast votes, whether those stand or not.
    """

    opened: Request
    log: str
    index: int
    state: RequestState
    votes: list[Vote]
    cast: list[tuple[str, bool]] = []
    voters: list[str] = []

    def ballots(self) -> list[tuple[str, int]]:
        """Each vote record's person, and 1 where its vote stands."""
        last = {person: at for at, (person, _) in enumerate(self.cast)}
        return [(person, int(cast and last[person] == at)) for at, (person, cast) in enumerate(self.cast)]

    def has_approvals(self) -> bool:
        """Whether as many people have approved as its policies ask for, whoever they are."""
        needs = {(need.policy, need.kind): need.count for need in self.opened.obligations if need.kind != "preview_only"}
        people = {vote.person for vote in self.votes if vote.verdict == "approve"}
        return bool(needs) and len(people) >= sum(needs.values())


def _is_confirmation(request: Request, vote: Vote) -> bool:
    return vote.voter == request.user and any(obligation.kind == "confirmation" for obligation in request.obligations)


_DECIDED_BY: dict[str | None, RequestState] = {
    "approve": RequestState.APPROVED,
    "reject": RequestState.REJECTED,
    "reopen": RequestState.OPEN,
}
_CLOSED_BY = {
    "expire": RequestState.EXPIRED,
    "withdraw": RequestState.WITHDRAWN,
    "supersede": RequestState.SUPERSEDED,
}
_decode_said = msgspec.json.Decoder(_Said).decode
_decode_argued = msgspec.json.Decoder(_Argued).decode
_decode_request = msgspec.json.Decoder(Request).decode


class OpenIntent(Struct, frozen=True, gc=False):
    """The intent of a call that has not ended. `report_by` as in `Followed`; where it is `closed`, nobody can tell."""

    log: str
    index: int
    boot: str
    report_by: int | None
    closed: bool


class Replay:
    """Takes records in order, log by log. Then `open`, `keys` and `requests` are what the projections must be.

    `open` holds each call that has not ended, `unsettled` log and index of each end that nobody
    saw; `keys` what each intent took, or None where that cannot be told; `unread` the requests of which a record cannot be read.
    `snapshots` are log and index by digest of what was in force; `unread_snapshots` where a record that would say so cannot be read.
    """

    def __init__(self, findings: Findings, blind: Blind) -> None:
        self._findings = findings
        self.blind = blind
        self.unread: set[str] = set()
        self.open: dict[str, OpenIntent] = {}
        self.keys: dict[str, TakenKey | None] = {}
        self.unsettled: dict[str, tuple[str, int]] = {}
        self.requests: dict[str, Asking] = {}
        self.snapshots: dict[str, tuple[str, int]] = {}
        self.frozen = Frozen()
        self.issues = Issues()
        self.signed = SignedVotes(self.issues)
        self.unread_snapshots = False
        self._intents: dict[str, OpenIntent] = {}  # of the log being read: what has not ended
        self._ended: set[str] = set()
        self._live: dict[str, str] = {}
        self._followed: dict[str, Callable[[str, Followed], None]] = {
            "intent": self._begin,
            "outcome": self._end,
            "recovery": self._end,
            "call": self._merge,
            "hold": self._ask,
            "vote": self._ask,
            "expiry": self._ask,
            "freeze": self._freeze,
            "admin": self._issue,
            **dict.fromkeys(IN_FORCE, self._put_in_force),
        }

    def take(self, log: str, records: Sequence[Followed]) -> None:
        """The next records of a log, of those from which something follows."""
        self.signed.note_log(log)
        for record in records:
            self._followed[record.kind](log, record)

    def end_log(self) -> None:
        """All records of this log were taken."""
        self.open |= self._intents
        self._intents.clear()
        self._ended.clear()

    # calls

    def _begin(self, log: str, row: Followed) -> None:
        call, index = row.call, row.index
        if call is None or call in self._intents or call in self._ended:
            self._findings.add(log, index, "call", "an intent needs a call of its own", found=call)
            return
        self._intents[call] = OpenIntent(log, index, row.boot, row.report_by, bool(row.closed))
        if row.key is not None:
            self.keys[call] = self._taken(log, row, row.key)
        if row.request is not None:
            self._consume(log, row, row.request)

    def _taken(self, log: str, row: Followed, key: str) -> TakenKey | None:
        """What the intent took, or None where that cannot be read."""
        if row.closed:
            return None
        said = self._said(log, row).key
        if said is None:
            self._findings.add(log, row.index, "payload.detail.key", "it does not say what the key was taken for")
            return None
        scope, digest = self.blind(log, "scope", said.scope), self.blind(log, "digest", said.digest)
        return TakenKey(log, row.index, key, scope, digest) if scope is not None and digest is not None else None

    def _merge(self, log: str, row: Followed) -> None:
        if row.call in self._intents or row.call in self._ended:
            self._findings.add(log, row.index, "call", "a call that has an intent is recorded as a merged read", found=row.call)
        elif row.call is not None:
            self._ended.add(row.call)  # begun and ended in one record; if it was given up, its late end follows
        if row.request is not None:
            self._consume(log, row, row.request)

    def _end(self, log: str, row: Followed) -> None:
        call = row.call or ""
        if self._intents.pop(call, None) is not None:
            self._ended.add(call)
            if row.unseen:
                self.unsettled[call] = (log, row.index)
        elif call not in self._ended:
            self._findings.add(log, row.index, "call", "an outcome without an intent before it", found=call)
        else:
            self._end_late(log, row, call)

    def _end_late(self, log: str, row: Followed, call: str) -> None:
        said = None if row.closed else self._said(log, row)
        if said is not None and not said.late:
            self._findings.add(log, row.index, "outcome", "a second end of a call, and it does not say that it is late", found=call)
        if said is not None and bytes(said.settled) and call not in self.unsettled:
            self._findings.add(log, row.index, "payload.detail.settled", "a settlement of a call that was not unsettled", found=call)
        if not row.unseen:
            self.unsettled.pop(call, None)

    def _said(self, log: str, row: Followed) -> _Detail:
        try:
            return _decode_said(row.payload or b"{}").detail
        except UNREADABLE as error:
            self._findings.add(log, row.index, "payload.detail", "it cannot be read", found=error)
            return _Detail()

    # freezes

    def _freeze(self, log: str, row: Followed) -> None:
        """Rule 8."""
        problem = self.frozen.take(row.envelope)
        if problem is not None:
            self._findings.add(log, row.index, "targets", f"a freeze or its end, and {problem}")

    # credentials

    def _issue(self, log: str, row: Followed) -> None:
        """Rule 9."""
        problem = self.issues.take(row.envelope)
        if problem is not None:
            self._findings.add(log, row.index, "targets", f"a credential or its end, and {problem}")
        if row.closed or row.payload is not None:
            self.signed.take_passkey(log, row.envelope, row.payload)

    # snapshots

    def _put_in_force(self, log: str, row: Followed) -> None:
        """Rule 7."""
        digest = None if row.closed else self._said(log, row).sha256
        self.unread_snapshots = self.unread_snapshots or bool(row.closed)
        if digest is not None:
            self.snapshots.setdefault(digest, (log, row.index))

    # requests

    def _ask(self, log: str, row: Followed) -> None:
        if row.closed:
            self.unread.add(row.request or "")
            return
        detail = self._said(log, row)
        if detail.superseded is not None:
            self._close(log, row, detail.superseded.request, detail.superseded.event)
        if row.kind == "vote":
            self._vote(log, row, detail)
        elif row.kind == "expiry":
            self._close(log, row, row.request, detail.event or "expire")
        elif bytes(detail.request):
            self._open_request(log, row, detail.request)

    def _open_request(self, log: str, row: Followed, raw: Raw) -> None:
        try:
            request = _decode_request(raw)
        except UNREADABLE as error:
            self._findings.add(log, row.index, "payload.detail.request", "it cannot be read", found=error)
            return
        if request.tenant != log:
            self._findings.add(log, row.index, "payload.detail.request", "it is of another tenant", expected=log, found=request.tenant)
        rival = self.requests.get(self._live.get(request.key, ""))
        if request.id in self.requests or (rival is not None and rival.state in LIVE_STATES and rival.opened.id not in self.unread):
            self._findings.add(log, row.index, "payload.detail.request", "a live request has its key already", found=request.id)
        self.requests[request.id] = Asking(request, log, row.index, RequestState.OPEN, [], [])
        self._live[request.key] = request.id

    def _vote(self, log: str, row: Followed, detail: _Detail) -> None:
        vote, index = detail.vote, row.index
        if detail.taken_back is not None:
            self._take_back(log, row, detail, detail.taken_back)
            return
        if vote is not None and vote.request in self.unread:
            return
        asking = self.requests.get(vote.request) if vote is not None else None
        if vote is None or asking is None or asking.log != log:
            self._findings.add(log, index, "payload.detail.vote", "a vote on no request of this log", found=vote and vote.request)
            return
        if asking.state is not RequestState.OPEN:
            self._findings.add(log, index, "payload.detail.vote", "a vote on a request that is not open", found=asking.state)
        if any(earlier.person == vote.person for earlier in asking.votes):
            self._findings.add(log, index, "payload.detail.vote", "this person has voted already", found=vote.person)
        if vote.channel is not UNSET and not _is_confirmation(asking.opened, vote):
            self._findings.add(log, index, "payload.detail.vote", "a vote that came through a client confirms nothing", found=vote.voter)
        self._verify_signed(log, index, asking, vote)
        asking.voters.append(vote.voter)
        asking.votes.append(vote)
        asking.cast.append((vote.person, True))
        if (detail.event == "reject") != (vote.verdict == "reject") or (detail.event == "approve" and not asking.has_approvals()):
            self._findings.add(log, index, "payload.detail.event", "the votes do not bring this about", found=detail.event)
        asking.state = _DECIDED_BY.get(detail.event, asking.state)

    def _verify_signed(self, log: str, index: int, asking: Asking, vote: Vote) -> None:
        """Rule 10, as far as the vote's own record goes."""
        problem = self.signed.take_vote(log, index, vote, asking.voters.count(vote.voter), asking.opened)
        if problem is not None:
            self._findings.add(log, index, "payload.detail.vote.assertion", problem, found=vote.voter)

    def _take_back(self, log: str, row: Followed, detail: _Detail, taken: TakenBack) -> None:
        if taken.request in self.unread:
            return
        asking = self.requests.get(taken.request)
        if asking is None or asking.log != log or asking.state not in LIVE_STATES:
            self._findings.add(log, row.index, "payload.detail.taken_back", "a vote on no live request of this log", found=taken.request)
            return
        left = [vote for vote in asking.votes if vote.person != taken.person]
        if len(left) == len(asking.votes):
            self._findings.add(log, row.index, "payload.detail.taken_back", "this person has no vote that stands", found=taken.person)
        asking.votes[:] = left
        asking.cast.append((taken.person, False))
        approved = asking.state is RequestState.APPROVED
        if (
            detail.event not in {None, "reopen"}
            or (detail.event == "reopen") > approved
            or (approved and not detail.event and not asking.has_approvals())
        ):
            self._findings.add(log, row.index, "payload.detail.event", "taking a vote back does not bring this about", found=detail.event)
        asking.state = _DECIDED_BY.get(detail.event, asking.state)

    def _close(self, log: str, row: Followed, request: str | None, event: str) -> None:
        if request in self.unread:
            return
        asking = self.requests.get(request or "")
        target = _CLOSED_BY.get(event)
        if asking is None or target is None or asking.log != log:
            self._findings.add(log, row.index, "payload.detail", f"`{event}` of no request of this log", found=request)
        elif asking.state in LIVE_STATES:
            asking.state = target
        elif asking.state is not target:
            self._findings.add(log, row.index, "payload.detail", f"`{event}` of a request that is over", found=asking.state)

    def _consume(self, log: str, row: Followed, request: str) -> None:
        """Rule 6."""
        if request in self.unread:
            return
        asking = self.requests.get(request)
        if asking is None or asking.log != log:
            self._findings.add(log, row.index, "approval.request", "an approval that nobody asked for in this log", found=request)
            return
        if asking.state is not RequestState.APPROVED or not asking.has_approvals():
            problem = "the approval was used before" if asking.state is RequestState.CONSUMED else "the request was not approved"
            self._findings.add(log, row.index, "approval.request", problem, expected=RequestState.APPROVED, found=asking.state)
        asking.state = RequestState.CONSUMED
        try:
            envelope = decode_envelope(row.envelope)
        except IntegrityBroken as error:
            self._findings.add(log, row.index, "envelope", "it cannot be read", found=error)
            return
        for field, expected, found in _mismatches(asking, envelope, row.payload) if not row.closed else ():
            self._findings.add(log, row.index, field, "the call is not the one that was approved", expected=expected, found=found)


def _mismatches(asking: Asking, envelope: Envelope, payload: bytes | None) -> list[tuple[str, object, object]]:
    """In what an intent differs from the call that people voted on."""
    envelope = unmask(envelope, _names(payload))
    opened, actor = asking.opened, envelope.actor
    approvers = {vote.voter for vote in asking.votes if vote.verdict == "approve"}
    voters = set(envelope.approval.voters) if envelope.approval is not None else set()
    pairs: list[tuple[str, object, object]] = [
        ("tool.name", opened.tool, envelope.tool and envelope.tool.name),
        ("actor.agent", opened.agent, actor and actor.agent),
        ("actor.service", opened.service, actor and actor.service),
        ("actor.user", opened.user, actor and actor.user),
        ("payload.arguments", _arguments(opened.summary), _arguments(payload)),
        ("approval.voters", sorted(approvers | voters), sorted(approvers)),
        ("at", True, envelope.at < microseconds(opened.expires_at)),
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _names(payload: bytes | None) -> dict[str, str] | None:
    """Whose pseudonyms stand in the envelope."""
    try:
        return _decode_argued(payload or b"{}").names
    except UNREADABLE:
        return None


def _arguments(holder: bytes | None) -> Any:
    """The arguments that a payload, or the summary of a request, holds."""
    try:
        raw = _decode_argued(holder or b"{}").arguments
        return msgspec.json.decode(raw) if bytes(raw) else None
    except UNREADABLE:
        return None
