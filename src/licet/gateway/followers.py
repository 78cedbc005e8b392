"""Clients that are told what has changed: sessions of legacy clients, and streams of modern ones.

Rules:

1. What waits for a client is bounded, and what waits already is not kept twice: that a list has changed is said once, however often it has.
   What has no room is dropped and counted.
2. A session is followed for as long as its door holds it, and not longer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from weakref import ref

from msgspec import Struct

from licet.gate.acting import Acting
from licet.gateway.incoming import Incoming
from licet.gateway.link import ClientFacts
from licet.gateway.listening import LISTS
from licet.gateway.session_state import SessionState

WAITING_LIMIT: Final = 256
"""Notes that wait for one client."""
UPDATED: Final = "notifications/resources/updated"
TOOLS_CHANGED, PROMPTS_CHANGED, RESOURCES_CHANGED = CHANGED = (
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
)
FILTER_OF: Final = dict(zip(CHANGED, LISTS, strict=True))
"""By which name of a filter somebody asks to be told that a list has changed."""


class Note(Struct, frozen=True):
    """Something that a client is to be told, and the upstream that said it; None where it was the gateway itself."""

    method: str
    params: Mapping[str, Any] = {}
    upstream: str | None = None

    @property
    def uri(self) -> str | None:
        """The resource that has changed, where it is about one."""
        uri = self.params.get("uri")
        return uri if self.method == UPDATED and isinstance(uri, str) else None


class Follower:
    """One client: who it is, what it wants to be told, and what waits for it. `watched` are resources, each with its upstream."""

    def __init__(self, incoming: Incoming, lists: frozenset[str], watched: dict[str, str]) -> None:
        self.acting: Acting = incoming.acting
        self.only: Final = incoming.upstream
        self.client: ClientFacts = incoming.client
        self.lists = lists
        self.watched: Final = watched
        self.dropped = 0
        self.left: Final = asyncio.Event()
        self._waiting: OrderedDict[tuple[str, str | None], Note] = OrderedDict()
        self._something = asyncio.Event()

    @property
    def is_there(self) -> bool:
        """Whether there is still somebody to be told."""
        return not self.left.is_set()

    @property
    def is_held(self) -> bool:
        """Whether connections are kept for it so that it is told of lists, and not only while it uses them."""
        return True

    def follows(self, upstream: str) -> bool:
        """Whether this upstream is behind the address that it asks at."""
        return self.only is None or self.only == upstream

    def watches(self, upstream: str, uri: str) -> bool:
        """Whether it wants to know of this resource: it watches it, or what it is a part of."""
        return any(whose == upstream and (uri == one or uri.startswith(one.rstrip("/") + "/")) for one, whose in self.watched.items())

    def add(self, note: Note) -> None:
        """It is to be told this too (rule 1)."""
        key = (note.method, note.uri)
        if key not in self._waiting and len(self._waiting) >= WAITING_LIMIT:
            self.dropped += 1
            return
        self._waiting[key] = note
        self._something.set()

    def wake(self) -> None:
        """Whoever waits for a note looks up."""
        self._something.set()

    def take(self) -> Note | None:
        """What waits longest, if anything does."""
        if not self._waiting:
            return None
        return self._waiting.popitem(last=False)[1]

    async def wait(self) -> None:
        """Something waits, or `wake` was called."""
        await self._something.wait()
        self._something.clear()


class SessionFollower(Follower):
    """A legacy client, in its session (rule 2)."""

    def __init__(self, incoming: Incoming, lists: frozenset[str]) -> None:
        super().__init__(incoming, lists, incoming.session.watched)
        self._session: Final[ref[SessionState]] = ref(incoming.session)
        self.telling: asyncio.Task[None] | None = None

    @property
    def is_there(self) -> bool:
        """Whether the session lasts."""
        session = self._session()
        return session is not None and session.tell is not None

    @property
    def is_held(self) -> bool:
        """A session may be idle for long."""
        return False

    def tell(self, note: Note) -> None:
        """The client is told, where its session lasts."""
        session = self._session()
        if session is not None and session.tell is not None:
            session.tell(note.method, note.params)
