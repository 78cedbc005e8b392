"""What waits for people, looked at again and again.

Rules:

1. Reads only, through one connection, and nothing at all where the store says that nothing was committed since.
2. The directory is the one of now: licet.toml is read again when it has changed. One that cannot be read keeps the old one for what is
   shown; a vote is then refused, since whoever votes reads it again.
3. What is shown to be decided is held against its records first.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from licet.approvals.attest import attest_rows
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, utc_now
from licet.cli.requests import PAST, Viewed, has_voted, stand
from licet.errors import OperatorError
from licet.identity.directory import Directory
from licet.model import LIVE_STATES, Request, RequestId, RequestState, Vote
from licet.store.contract import Store

Event = Literal[
    "waiting",
    "opened",
    "vote",
    "taken_back",
    "approved",
    "reopened",
    "rejected",
    "expired",
    "withdrawn",
    "superseded",
    "consumed",
    "erased",
]


class Happened(Struct, frozen=True, kw_only=True):
    """Something that happened to a request, and the request after it. `waiting`: it was there when the watch began."""

    event: Event
    at: datetime
    request: Viewed
    vote: Vote | None = None


class Feed(Protocol):
    """The live requests of a source, for one viewer, who may be nobody."""

    def has_moved(self) -> bool:
        """Whether it is worth reading again. May say so without."""
        ...

    def read(self, limit: int | None = None) -> tuple[Viewed, ...]:
        """What waits now, the one that expires first first."""
        ...

    def find(self, request: RequestId) -> Viewed | None:
        """One request, held against its records; None where it was erased. Raises `IntegrityBroken`."""
        ...

    def has_voted(self, found: Viewed) -> bool:
        """Whether a vote of the viewer's person stands on it."""
        ...


class LocalFeed:
    """The live requests of a store."""

    def __init__(self, invocation: Invocation, store: Store, *, tenant: str | None, viewer: str | None) -> None:
        self._invocation = invocation
        self._store = store
        self._tenant = tenant
        self._viewer = viewer
        self._settings = load_settings(invocation)
        self._stamp = self._stamp_now()
        self.directory = Directory.from_settings(self._settings)
        self._version: int | None = None
        self._read: tuple[Viewed, ...] = ()

    def has_moved(self) -> bool:
        """Whether anything was committed, or licet.toml was changed, since the last reading. May say so without."""
        return self._version is None or self._stamp_now() != self._stamp or self._store.version() != self._version

    def read(self, limit: int | None = None) -> tuple[Viewed, ...]:
        """What waits now, the one that expires first first."""
        now = utc_now()
        if self.has_moved():
            self._freshen()
            self._version = self._store.version()  # before the reading: what is committed meanwhile is read once more
            found = self._store.dossiers(states=tuple(LIVE_STATES), tenants=None if self._tenant is None else [self._tenant], limit=limit)
            self._read = tuple([self._stand(one.request, one.votes, now) for one in found])
        return tuple([one.at(now) for one in self._read if one.request.expires_at > now])

    def find(self, request: RequestId) -> Viewed | None:
        """One request, held against its records; None where it was erased. Raises `IntegrityBroken`."""
        try:
            found = self._store.get_dossier(request)
        except KeyError:
            return None
        attest_rows(found)
        return self._stand(found.request, found.votes, utc_now())

    def has_voted(self, found: Viewed) -> bool:
        """Whether a vote of the viewer's person stands on it."""
        return has_voted(found, self.directory)

    def _stand(self, request: Request, votes: tuple[Vote, ...], now: datetime) -> Viewed:
        return stand(request, votes, self.directory, now, viewer=self._viewer)

    def _freshen(self) -> None:
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.directory = Directory.from_settings(load_settings(self._invocation))
        except OperatorError:
            return  # half written, or wrong: whoever votes is told

    def _stamp_now(self) -> tuple[int, int] | None:
        if self._settings.file is None:
            return None
        try:
            found = os.stat(self._settings.file)  # noqa: PTH116 - the file as it is this moment
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


class Chronicle:
    """What happens, told from what waits at two moments. What comes and goes between two looks is in the audit log alone."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._known: dict[RequestId, Viewed] | None = None

    def take(self) -> list[Happened]:
        """What has happened since the last time; at the first time, what waits."""
        now = utc_now()
        waiting = {found.request.id: found for found in self._feed.read()}
        known, self._known = self._known, waiting
        if known is None:
            return [Happened(event="waiting", at=now, request=found) for found in waiting.values()]
        happened = [one for id_, before in known.items() if id_ not in waiting for one in self._gone(id_, before, now)]
        for id_, found in waiting.items():
            if id_ not in known:
                happened.append(Happened(event="opened", at=found.request.opened_at, request=found))
                happened += changes(replace(found, votes=(), state="open"), found, now)
            else:
                happened += changes(known[id_], found, now)
        return happened

    def _gone(self, request: RequestId, before: Viewed, now: datetime) -> list[Happened]:
        found = self._feed.find(request)
        if found is None:
            return [Happened(event="erased", at=now, request=before)]
        return changes(before, found, now)


_ENDS: dict[str, Event] = {
    RequestState.REJECTED: "rejected",
    RequestState.EXPIRED: "expired",
    RequestState.WITHDRAWN: "withdrawn",
    RequestState.CONSUMED: "consumed",
    RequestState.SUPERSEDED: "superseded",
    RequestState.APPROVED: "approved",
    RequestState.OPEN: "reopened",
}


def changes(before: Viewed, after: Viewed, now: datetime) -> list[Happened]:
    """What happened to a request between two looks at it."""
    cast = [vote for vote in after.votes if vote not in before.votes]
    gone = [vote for vote in before.votes if vote not in after.votes]
    happened = [Happened(event="taken_back", at=now, request=after, vote=vote) for vote in gone]
    happened += [Happened(event="vote", at=vote.at, request=after, vote=vote) for vote in cast]
    if after.state == PAST:
        happened.append(Happened(event="expired", at=after.request.expires_at, request=after))
    elif after.state != before.state:
        happened.append(Happened(event=_ENDS[after.state], at=now, request=after))
    return happened
