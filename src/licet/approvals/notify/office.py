"""What everybody who tells people of requests works with: the store, the directory of now, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from licet.approvals.attest import attest_rows
from licet.approvals.desk import Desk, Shown
from licet.approvals.standing import standing
from licet.errors import VoteRefused
from licet.identity.directory import Directory
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing
from licet.ledger.writer import Ticket, Writer
from licet.model import RequestId, RequestState
from licet.store.contract import Change, Dossier, Store


class Office:
    """One store with its writer. `directory` gives the one that is in force when it is asked."""

    def __init__(
        self, store: Store, writer: Writer, directory: Callable[[], Directory], environment: str, now: Callable[[], datetime]
    ) -> None:
        self.store = store
        self.directory = directory
        self._writer = writer
        self._environment = environment
        self._now = now

    def now_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return microseconds(self._now())

    def desk(self) -> Desk:
        """Where requests expire and votes are cast, under the directory of now."""
        return Desk(self.store, self._writer, self.directory(), self._environment, self._now)

    def submit(self, *changes: Change) -> Ticket:
        """These changes are on their way, in one transaction. They rest on no record, and stand in none."""
        return self._writer.submit(Filing((), changes))

    def look(self, request: RequestId) -> tuple[Shown, ...]:
        """The request as it stands, or every step of its plan in order; nothing where it was erased.

        Raises `IntegrityBroken` where one is not what its records say: nobody is to be shown what somebody wrote over the call that waits.
        """
        try:
            found = self.store.get_dossier(request)
        except KeyError:
            return ()
        plan = found.request.plan
        dossiers = [found] if plan is None else _newest_of_each_step(self.store.dossiers_of_plan(plan))
        directory = self.directory()
        for dossier in dossiers:
            attest_rows(dossier)
        return tuple([Shown(one.request, one.votes, standing(one.request, one.votes, directory)) for one in dossiers])

    def decide(self, request: str, user: str, verdict: Literal["approve", "reject"], comment: str | None) -> str:
        """Cast a vote for a user whom a channel has authenticated (`Decide` of channel.py); a sentence that says what it did."""
        try:
            cast = self.desk().vote(RequestId(request), user, verdict, comment=comment)
        except KeyError as error:
            raise VoteRefused("unknown_request", "there is no such request any more") from error
        if cast.request.state is RequestState.REJECTED:
            return "you have rejected it; the call stays denied"
        if cast.request.state is RequestState.APPROVED:
            return "it is approved: the same call, made again before it expires, runs once"
        return "your vote counts; more people must vote"


def _newest_of_each_step(dossiers: tuple[Dossier, ...]) -> list[Dossier]:
    """A step that was held anew has several requests; the last one stands for it."""
    steps = {dossier.request.step: dossier for dossier in dossiers}
    return [steps[step] for step in sorted(steps)]
