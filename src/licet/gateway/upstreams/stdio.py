"""The stdio transport: a process of the upstream's command, one message a line.

Rules beside those of a transport:

1. A line that is no message is counted and passed over, for many servers greet on stdout; so many of them one after the other are the end.
2. A message that is longer than the upstream's limit is not kept. It fails the request that it answers, where that can be told, and never
   those beside it.
3. A message goes out whole, after the one before it, and as fast as the process reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from licet.gate.steps import EndedAs
from licet.gateway.connection import Garbage, NotSeen, NotSent
from licet.gateway.eras import Era
from licet.gateway.messages import encode, read_upstream_message
from licet.gateway.upstreams.child import GRACE_S, Child
from licet.gateway.upstreams.lines import Lines
from licet.gateway.upstreams.transport import Exchange, Receiver
from licet.model import JsonObject

GARBAGE_LIMIT: Final = 1_000
"""Lines without a message among them that an upstream may write before it is given up."""
_log = logging.getLogger("licet.gateway")

Environment = Callable[[], Awaitable[Mapping[str, str]]]


class StdioTransport:
    """One process. `environment` gives the variables that are its own, when it is started, and raises `NotSent` where it cannot."""

    streams = False

    def __init__(
        self,
        receiver: Receiver,
        upstream: str,
        *,
        command: tuple[str, ...],
        cwd: Path,
        environment: Environment,
        limit_bytes: int,
    ) -> None:
        self._receiver = receiver
        self._upstream = upstream
        self._command = command
        self._cwd = cwd
        self._environment = environment
        self._limit_bytes = limit_bytes
        self._lines = Lines(limit_bytes, self._take, self._too_long, self._endless)
        self._child: Child | None = None
        self._input: asyncio.WriteTransport | None = None
        self._output: asyncio.BaseTransport | None = None
        self._turn = asyncio.Lock()
        self._writable = asyncio.Event()
        self._fault: EndedAs | None = None
        self._garbage = 0
        self._closing: asyncio.Task[None] | None = None

    @property
    def last_words(self) -> tuple[str, ...]:
        """As `Transport.last_words`."""
        return () if self._child is None else self._child.last_words

    async def start(self) -> None:
        """The process runs. Raises `NotSent`; whoever gives up closes it all the same."""
        environment = await self._environment()
        self._child = Child(self._upstream, self._command, environment, self._cwd, grace_s=GRACE_S)
        await self._child.running()
        self._input = await self._child.connect_input(lambda: _Input(self._writable))
        self._output = await self._child.connect_output(lambda: _Output(self._lines.feed, self._lost))
        self._writable.set()

    async def send(self, message: JsonObject, *, request: Exchange | None, headers: Mapping[str, str]) -> None:  # noqa: ARG002  there are none
        """The message is on its way. Raises `NotSent` where the process has ended before."""
        line = encode(message) + b"\n"
        async with self._turn:
            await self._writable.wait()
            if self._fault is not None or self._input is None or self._input.is_closing():
                raise NotSent(f"the process of `{self._upstream}` has ended")
            if request is not None:
                request.sent = True
            self._input.write(line)

    def agreed(self, era: Era, version: str) -> None:
        """Lines look alike in both eras."""

    async def close(self) -> None:
        """The process has ended, and everything that it started."""
        self._end(NotSeen(f"`{self._upstream}` was ended before it answered"))
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._input is not None and not self._input.is_closing():
            # What still waits to be written is not waited for: a process that does not read it would keep its input open for ever.
            self._input.abort()
        if self._child is not None:
            await self._child.stop()
        self._stop_reading()
        await asyncio.sleep(0)  # closed transports let go of their pipes in the next turn of the loop

    def _take(self, line: bytes) -> None:
        try:
            message = read_upstream_message(line)
        except ValueError:
            self._count_garbage()
        else:
            self._garbage = 0
            self._receiver.receive(message, None)

    def _count_garbage(self) -> None:
        self._garbage += 1
        if self._garbage == 1:
            _log.warning("upstream `%s` writes lines to its stdout that are no messages", self._upstream)
        if self._garbage > GARBAGE_LIMIT and self._fault is None:
            self._end(Garbage("upstream_not_understood", f"`{self._upstream}` writes lines that are no messages"))
            self._stop_reading()

    def _too_long(self, about: int | None) -> None:
        self._receiver.failed(about, self._too_large())

    def _endless(self) -> None:
        self._end(self._too_large())
        self._stop_reading()

    def _too_large(self) -> EndedAs:
        return Garbage("upstream_too_large", f"`{self._upstream}` answered with more than {self._limit_bytes} bytes")

    def _lost(self) -> None:
        self._end(NotSeen(f"`{self._upstream}` ended before it answered"))

    def _end(self, fault: EndedAs) -> None:
        if self._fault is None:
            self._fault = fault
            self._writable.set()  # whoever waits to write learns that it was not sent
            self._receiver.ended(fault)

    def _stop_reading(self) -> None:
        if self._output is not None:
            self._output.close()


class _Input(asyncio.BaseProtocol):
    """Whether the process reads what it is told."""

    def __init__(self, writable: asyncio.Event) -> None:
        self._writable = writable

    def pause_writing(self) -> None:
        """It does not."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It does."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  whatever ended it
        """It never will; whoever waits looks why."""
        self._writable.set()


class _Output(asyncio.Protocol):
    """What the process says."""

    def __init__(self, feed: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._feed = feed
        self._lost = lost

    def data_received(self, data: bytes) -> None:
        """Some of it."""
        self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  whatever ended it
        """All of it."""
        self._lost()
