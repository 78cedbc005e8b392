"""Sessions of legacy clients over HTTP (2025-11-25, basic/transports).

Rules:

1. A session is not a permission. It is found only for the principal that opened it, the same credential in the name of the same caller;
   for anybody else there is none. Every request in it is authenticated and decided by itself.
2. It ends when its client says so, or has asked nothing and listened to nothing for a stated time. What is under way in it is cancelled.
3. Their number is bounded in all and for each credential, whomever it names. Who opens one too many loses its own that was used least
   recently, nobody else's.
4. An idle one is a few hundred bytes: no task, no timer and no connection of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from licet.gate.acting import Acting
from licet.gateway.client_sse import Stream
from licet.gateway.link import CannotAsk, ClientFacts
from licet.gateway.messages import UNAVAILABLE, MessageId, RpcError, notification
from licet.gateway.session_state import SessionState
from licet.gateway.watch import Watch, Withdrawn
from licet.model import JsonObject

REPLAY_BYTES: Final = 512 * 1024
"""Events that a session keeps for a client that lost its connection."""
REPLAY_STREAMS: Final = 32
"""Streams of which something is kept; one that is still taken is not counted out."""
REPLAY_BYTES_IN_ALL: Final = 64 * 1024 * 1024
EACH: Final = 10
"""One credential has this part of all sessions at most: a tenth."""
LEAST_EACH: Final = 100
SWEEPS: Final = 20
"""How often, in the time that a session may be idle, it is looked which ones are."""


class Principal(NamedTuple):
    """Whose a session is: a credential, in the name of one caller."""

    credential: str
    tenant: str | None
    agent: str | None
    service: str | None
    user: str | None

    @classmethod
    def of(cls, credential: str, acting: Acting) -> Principal:
        """Of who shows this credential and acts as these."""
        return cls(credential, acting.tenant, acting.agent, acting.service, acting.user)


class Kept:
    """Bytes that are kept for replay, of all sessions together."""

    def __init__(self, limit_bytes: int = REPLAY_BYTES_IN_ALL) -> None:
        self.limit_bytes: Final = limit_bytes
        self.bytes = 0


class ClientSession:
    """One session. `label` names it in records and to upstreams; `id` is known to its client alone."""

    __slots__ = (
        "_answers",
        "_asked",
        "_kept",
        "_numbers",
        "_streams",
        "bytes",
        "client",
        "id",
        "label",
        "outside",
        "principal",
        "running",
        "state",
        "upstream",
        "used",
    )

    def __init__(self, principal: Principal, client: ClientFacts, upstream: str | None, kept: Kept) -> None:
        self.id = secrets.token_urlsafe(24)
        self.label = hashlib.sha256(self.id.encode("ascii")).hexdigest()[:16]
        self.principal = principal
        self.client = client
        self.upstream = upstream
        self.used = time.monotonic()
        self.state = SessionState(tell=self._tell)
        self.running: dict[MessageId, Watch] = {}
        self.outside: Stream | None = None
        self.bytes = 0
        self._kept = kept
        self._streams: dict[str, Stream] = {}
        self._answers: dict[MessageId, asyncio.Future[JsonObject]] = {}
        self._asked = 0
        self._numbers = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, and nobody listens."""
        return not self.running and (self.outside is None or not self.outside.is_held)

    # streams

    def open_stream(self) -> Stream:
        """A stream for a request of this session."""
        while len(self._streams) >= REPLAY_STREAMS and self._drop_abandoned():
            pass
        self._numbers += 1
        stream = Stream(f"{self._numbers}", self._grown)
        self._streams[f"{self._numbers}"] = stream
        return stream

    def listening(self) -> Stream:
        """The stream for what belongs to no request."""
        if self.outside is None:
            self.outside = self.open_stream()
        return self.outside

    def find_stream(self, event: str) -> tuple[Stream, int] | None:
        """The stream of this event id, and its number; None where nothing of it is kept."""
        name, dash, number = event.partition("-")
        stream = self._streams.get(name)
        if stream is None or not dash or not number.isdecimal() or len(number) > 12:  # noqa: PLR2004 - more than there can be
            return None
        return stream, int(number)

    def _tell(self, method: str, params: Mapping[str, Any]) -> None:
        self.listening().put(notification(method, params), droppable=True)

    def _grown(self, change: int) -> None:
        self.bytes += change
        self._kept.bytes += change
        if change >= 0:
            self._trim()

    def _trim(self) -> None:
        """What was written goes, the oldest first; then what nobody came back for."""
        while self.bytes > REPLAY_BYTES or (self.bytes and self._kept.bytes > self._kept.limit_bytes):
            if not any(stream.forget_oldest() for stream in self._streams.values()) and not self._drop_abandoned():
                break
        for name in [name for name, stream in self._streams.items() if stream.is_over]:
            del self._streams[name]

    def _drop_abandoned(self) -> bool:
        for name, stream in self._streams.items():
            if stream.ended and not stream.is_held:
                del self._streams[name]
                stream.drop()
                return True
        return False

    # what the client is asked

    def ask(self) -> tuple[MessageId, asyncio.Future[JsonObject]]:
        """A number for a question, never used before in this session, and where the client's answer will be."""
        self._asked += 1
        number = f"licet-{self._asked}"
        answer: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        return number, answer

    def asked_no_more(self, number: MessageId) -> None:
        """Nobody waits for that answer."""
        self._answers.pop(number, None)

    def take(self, message: JsonObject) -> None:
        """The client answers. What belongs to no question is dropped; only the first answer counts."""
        answer = self._answers.pop(message["id"], None)
        if answer is not None and not answer.done():
            answer.set_result(message)

    # its end

    def cancel(self, number: MessageId) -> None:
        """The client has cancelled this request of its, if it is under way."""
        watch = self.running.get(number)
        if watch is not None:
            watch.stop(Withdrawn())

    def end(self) -> None:
        """Everything that is under way ends."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(CannotAsk("the client has ended its session"))
        self._answers.clear()
        for watch in list(self.running.values()):
            watch.stop(Withdrawn())
        for stream in list(self._streams.values()):
            stream.drop()
        self._streams.clear()
        self.state.tell = None


class Sessions:
    """The sessions of one door. On one event loop. `limit` and `idle_s` give what is in force."""

    def __init__(
        self, limit: Callable[[], int], idle_s: Callable[[], float], ended: Callable[[ClientSession], None] = lambda _: None
    ) -> None:
        self._limit = limit
        self._idle_s = idle_s
        self._ended = ended
        self._kept = Kept()
        self._sessions: OrderedDict[str, ClientSession] = OrderedDict()
        self._counts: dict[str, int] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[ClientSession]:
        return iter(list(self._sessions.values()))

    def open(self, principal: Principal, client: ClientFacts, upstream: str | None) -> ClientSession:
        """A new session. Raises `RpcError` where there is no room (rule 3)."""
        limit = self._limit()
        counted = principal.credential  # which may speak for as many users as it likes: they make no more room
        if self._counts.get(counted, 0) >= max(min(limit, LEAST_EACH), limit // EACH) or len(self._sessions) >= limit:
            self._make_room(principal)
        session = ClientSession(principal, client, upstream, self._kept)
        self._sessions[session.id] = session
        self._counts[counted] = self._counts.get(counted, 0) + 1
        if self._sweeping is None:
            self._sweep()
        return session

    def find(self, unverified_id: str, principal: Principal, upstream: str | None) -> ClientSession | None:
        """The session of this id, if it is this principal's and was opened at this address (rule 1). It was used now."""
        session = self._sessions.get(unverified_id)
        if session is None or session.principal != principal or session.upstream != upstream:
            return None
        self._sessions.move_to_end(session.id)
        session.used = time.monotonic()
        return session

    def end(self, session: ClientSession) -> None:
        """It is gone, and what is under way in it ends."""
        if self._sessions.pop(session.id, None) is None:
            return
        left = self._counts.pop(session.principal.credential) - 1
        if left:
            self._counts[session.principal.credential] = left
        session.end()
        self._ended(session)

    def close(self) -> None:
        """All end."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for session in self:
            self.end(session)

    def _make_room(self, principal: Principal) -> None:
        own = next(itertools.chain(s for s in self if s.principal.credential == principal.credential and s.is_idle), None)
        if own is None:
            raise RpcError(UNAVAILABLE, "there are too many sessions: end some, or try again later", http_status=503)
        self.end(own)

    def _sweep(self) -> None:
        """End who is idle for too long, least recently used first, and look again later if anybody is left."""
        now, idle_s = time.monotonic(), self._idle_s()
        for session in self:
            if now - session.used < idle_s:
                break
            if session.is_idle:
                self.end(session)
            else:
                session.used = now
                self._sessions.move_to_end(session.id)
        again = asyncio.get_running_loop().call_later(max(0.01, idle_s / SWEEPS), self._sweep) if self._sessions else None
        self._sweeping = again
