"""The part of a store's contract that keeps approval requests and votes.

Rules:

1. A row says which request is live and which vote stands; what they say is in their records, in the same batch.
2. At most one request per key is open or approved. At most one vote that stands is of one person.
3. Every vote record (a vote, or a vote taken back) of a request has one row, in the order of the records. How many there are is what a
   vote, and the use of an approval, is worked out with: if there is one more by then, it is worked out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from licet.model import CallId, PlanId, Request, RequestId, RequestState, Vote

if TYPE_CHECKING:
    from licet.store.contract import StoredRecord


class OpenRequest(Struct, frozen=True):
    """Insert a request. Condition `request_exists`: no live request has its key.

    Condition `too_many_open`, where `limit` is given: its caller has fewer requests than that waiting for people, with those that
    would wait still, had they not been superseded or, as steps of plans, withdrawn.
    """

    request: Request
    limit: int | None = None


class MoveRequest(Struct, frozen=True):
    """Move a request. Condition `request_moved`: it is in one of `source` now; to be consumed, `at` must be before `expires_at`.

    `seen`, where it is given, is how many votes were cast on it or taken back when this was worked out. Condition `votes_moved`: there
    were no more since.
    """

    request: RequestId
    source: tuple[RequestState, ...]
    target: RequestState
    at: datetime
    call: CallId | None = None
    seen: int | None = None


class AddVote(Struct, frozen=True):
    """Insert a vote. `seen` is how many votes were cast on its request, or taken back, since what the vote brings about rests on them.

    Conditions: the request is open (`request_moved`), this person has not voted on it (`already_voted`), nobody else has voted since
    (`votes_moved`).
    """

    vote: Vote
    tenant: str
    seen: int = 0


class TakeBackVote(Struct, frozen=True):
    """A person's vote does not stand any more. `seen` as in `AddVote`.

    Conditions: the request is open or approved (`request_moved`), a vote of this person stands on it (`no_vote`), nobody has voted or taken
    a vote back since (`votes_moved`).
    """

    request: RequestId
    person: str
    tenant: str
    seen: int
    at: datetime


RequestChange = OpenRequest | MoveRequest | AddVote | TakeBackVote


class Dossier(Struct, frozen=True):
    """A request, its votes and every record that speaks of it (in order of log and index), all as of one moment.

    `people` are the rows of its vote records, in their order: who voted or took a vote back, as blinds, and whether that vote stands.
    """

    request: Request
    votes: tuple[Vote, ...]
    records: tuple[StoredRecord, ...]
    people: tuple[tuple[str, bool], ...] = ()

    @property
    def ballots(self) -> int:
        """How many votes were cast or taken back so far."""
        return len(self.people)


class RequestReads(Protocol):
    """What a store can be asked about requests and votes."""

    def find_dossier(self, tenant: str, key: str) -> Dossier | None:
        """The request with this key that was opened last, whatever its state (the live one, if there is one), with votes and records.

        Raises `IntegrityBroken` where the records of the row found speak of another request.
        """
        ...

    def get_dossier(self, request: RequestId) -> Dossier:
        """As `get_request`, with votes and records."""
        ...

    def get_request(self, request: RequestId) -> Request:
        """One request, as its record opened it, in the state that it is in now.

        Raises `KeyError` when there is none, or it was erased; `KeyUnavailable` without a key; `IntegrityBroken` where its record cannot be
        read.
        """
        ...

    def requests(self, *, states: Sequence[RequestState] | None = None, tenant: str | None = None) -> tuple[Request, ...]:
        """Requests in these states, the one that expires first first; without those that were erased."""
        ...

    def find_tenant(self, request: RequestId) -> str | None:
        """Whose request this is, whatever has become of it, erased or not. None where there is none. Opens nothing."""
        ...

    def count_requests(self, state: RequestState) -> int:
        """How many requests are in this state, those that were erased among them. Opens none of them."""
        ...

    def dossiers(
        self,
        *,
        states: Sequence[RequestState] | None = None,
        tenants: Sequence[str] | None = None,
        limit: int | None = None,
        after: RequestId | None = None,
    ) -> tuple[Dossier, ...]:
        """As `requests`, of any of these tenants, each with votes and records, at most `limit` of them.

        They are those behind the request `after` in that order, whatever has become of it and whichever tenant it is of.
        """
        ...

    def dossiers_of_plan(self, plan: PlanId) -> tuple[Dossier, ...]:
        """The requests of a plan in the order of their opening, whatever their state; none where there is no such plan.

        Raises `IntegrityBroken` where a row found is that of a request which its record puts elsewhere.
        """
        ...

    def voted_requests(self) -> tuple[RequestId, ...]:
        """The live requests on which a vote stands."""
        ...

    def votes(self, request: RequestId) -> tuple[Vote, ...]:
        """The votes that stand on a request, in order of arrival."""
        ...
