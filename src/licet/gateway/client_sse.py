"""What a client is told over HTTP: server-sent events, written one after the other, and kept for a client that comes back for them.

Rules:

1. A request is answered with JSON unless something is told before its answer; from then on with a stream, whose last event is the answer.
2. Who is told something waits for nobody: it is put in line. What nobody takes is bounded; beyond that notifications are dropped, never a
   question and never an answer.
3. Events of a legacy session have ids. What was written lately is kept, within a bound for each session and one for all, and told again to
   whoever resumes the stream it belongs to (`Last-Event-ID`), once they have shown whose session it is.
4. One connection has a stream at a time: the newest one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from licet.gateway.messages import encode
from licet.gateway.visit import Visit

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"content-type": MEDIA_TYPE, "cache-control": "no-store", "x-accel-buffering": "no"}
WAITING_EVENTS: Final = 256
"""Notifications in line for one stream; a client that takes none of so many does not read."""
WAITING_BYTES: Final = 1024 * 1024
KEEP_ALIVE_S: Final = 15.0
"""Proxies commonly close what is silent for 30 to 60 s."""
_ALIVE: Final = b":\n\n"


class Event(NamedTuple):
    """One event, as it is written."""

    number: int
    content: bytes


class Stream:
    """A stream of events. With a `name` its events have ids, and stay when they were written, until `forget_oldest`.

    `grown` is told of each change of the bytes that are kept, and of 0 when some of them may be forgotten from now on.
    """

    def __init__(self, name: str | None = None, grown: Callable[[int], None] | None = None) -> None:
        self.name: Final = name
        self.written = 0
        self.ended = False
        self._grown = grown
        self._events: deque[Event] = deque()
        self._last = 0
        self._waiting = 0
        self._more = asyncio.Event()
        self._takers = 0
        self._holder = 0

    def put(self, message: Mapping[str, Any], *, droppable: bool) -> bool:
        """The message is in line. False where it was dropped (rule 2)."""
        if self.ended:
            return False
        data = encode(message)
        if droppable and (self._last - self.written >= WAITING_EVENTS or self._waiting + len(data) > WAITING_BYTES):
            return False
        self._add(b"event: message\n", data)
        return True

    def prime(self) -> None:
        """An event without a message, so that the client has an id to come back with (2025-11-25, basic/transports)."""
        if self.name is not None and not self._last:
            self._add(b"", b"")

    def end(self) -> None:
        """Nothing follows."""
        self.ended = True
        self._more.set()

    def forget_oldest(self) -> bool:
        """Whether there was an event that had been written, which is gone now."""
        if not self._events or self._events[0].number > self.written:
            return False
        self._count(-len(self._events.popleft().content))
        return True

    def drop(self) -> None:
        """Nothing of it is kept, and whoever writes it stops."""
        self._count(-sum([len(event.content) for event in self._events]))
        self._events.clear()
        self._grown = None
        self.end()

    @property
    def is_held(self) -> bool:
        """Whether a connection is taking it."""
        return self._holder > 0

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to be told, or told again."""
        return self.ended and not self._events

    async def pour(self, visit: Visit, after: int) -> None:
        """Write what comes behind this event, until the stream ends or another connection takes it over (rule 4)."""
        self._takers += 1
        mine = self._holder = self._takers
        self._more.set()  # whoever had it looks, and lets go
        try:
            while self._holder == mine:
                found = self._behind(after)
                if found is not None:
                    after = found.number
                    await visit.part(found.content)
                    self._was_written(after)
                elif self.ended:
                    return
                elif not await self._comes():
                    await visit.part(_ALIVE)
        finally:
            if self._holder == mine:
                self._holder = 0

    def _behind(self, number: int) -> Event | None:
        """The first event behind this one that is still here."""
        if number >= self._last or not self._events:
            return None
        return self._events[max(0, number + 1 - self._events[0].number)]  # their numbers follow each other

    async def _comes(self) -> bool:
        """Whether anything happened before the connection needs a sign of life."""
        self._more.clear()
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                await self._more.wait()
        except TimeoutError:
            return False
        return True

    def _was_written(self, number: int) -> None:
        if number <= self.written:
            return
        for event in reversed(self._events):
            if event.number <= self.written:
                break
            if event.number <= number:
                self._waiting -= len(event.content)
        self.written = number
        if self._grown is not None:
            self._grown(0)  # what was written may be forgotten now
        while self.name is None and self.forget_oldest():
            pass

    def _add(self, kind: bytes, data: bytes) -> None:
        self._last += 1
        place = b"" if self.name is None else f"id: {self.name}-{self._last}\n".encode("ascii")
        event = Event(self._last, b"%s%sdata: %s\n\n" % (place, kind, data))
        self._events.append(event)
        self._waiting += len(event.content)
        self._count(len(event.content))
        self._more.set()

    def _count(self, change: int) -> None:
        if self._grown is not None and change:
            self._grown(change)


class Reply:
    """The answer to one request: JSON, or a stream from the moment that something is told before it (rule 1).

    `opened` makes the stream; `headers` go out with either form.
    """

    def __init__(self, visit: Visit, opened: Callable[[], Stream], *, primed: bool = False) -> None:
        self._visit = visit
        self._opened = opened
        self._primed = primed
        self._stream: Stream | None = None
        self._writing: asyncio.Task[None] | None = None

    @property
    def streams(self) -> bool:
        """Whether it is a stream by now."""
        return self._stream is not None

    def tell(self, message: Mapping[str, Any], *, droppable: bool = True) -> None:
        """The client is told this before the answer."""
        self.open().put(message, droppable=droppable)

    def open(self) -> Stream:
        """It is a stream from now on."""
        if self._stream is None:
            self._stream = self._opened()
            if self._primed:
                self._stream.prime()
            self._writing = asyncio.ensure_future(self._write(self._stream))
        return self._stream

    async def finish(
        self, message: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None, code: str = ""
    ) -> None:
        """The answer is written, or kept for a client that went away and may come back."""
        if self._stream is None:
            await self._visit.answer(status, encode(message), headers, code)
            return
        self._stream.put(message, droppable=False)
        await self._end()

    async def end_unanswered(self) -> None:
        """There is no answer to come, as to a request that was cancelled. Nobody is invited to come back for one."""
        self._primed = False
        self.open()
        await self._end()

    async def _end(self) -> None:
        stream = self.open()
        stream.end()
        assert self._writing is not None
        await self._writing

    def stop(self) -> None:
        """Nobody is told anything any more. What had been begun is cut off."""
        if self._stream is not None:
            self._stream.drop()
        if self._writing is not None:
            self._writing.cancel()

    async def _write(self, stream: Stream) -> None:
        await self._visit.begin(HEADERS)
        await stream.pour(self._visit, 0)
        await self._visit.end()
