"""One request to an upstream while it is open: what its client is told meanwhile, and how long it may take.

Rules:

1. What a client is told of a request, it is told in order, and before the answer.
2. An upstream that tells faster than the client takes it in fills no memory: what is beyond the limit is dropped.
3. The time in which the client itself is asked something is not the upstream's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from licet.gateway.link import Link, Voyage
from licet.gateway.messages import MessageId
from licet.gateway.upstreams.transport import Exchange
from licet.model import JsonObject

WAITING_LIMIT: Final = 256
"""Notifications that may wait for one client."""
_DRAIN_S: Final = 5.0
"""How long an answer waits for what was told before it: a client that takes nothing loses that, and not its answer."""


class Opened(Exchange):
    """One request of a voyage; without one it is the gateway's own."""

    __slots__ = ("asking", "clock", "dropped", "told", "voyage")

    def __init__(self, number: MessageId, method: str, params: JsonObject, voyage: Voyage | None) -> None:
        super().__init__(number, method, params)
        self.voyage = voyage
        self.told: Telling | None = None
        self.asking: dict[MessageId, asyncio.Task[None]] = {}
        self.clock: Clock | None = None

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """The client is told, in its turn."""
        if self.voyage is not None and not self.answered:
            if self.told is None:
                self.told = Telling(self.voyage.link)
            self.told.add(method, params)

    async def finish(self) -> None:
        """Everything has been told."""
        if self.told is not None:
            await self.told.drain()

    def drop(self) -> None:
        """Nobody waits for it any more."""
        if self.told is not None:
            self.told.stop()
        for task in self.asking.values():
            task.cancel()
        if not self.answer.done():
            self.answer.cancel()
        elif not self.answer.cancelled():
            self.answer.exception()  # it has been looked at, whether or not somebody waited


class Telling:
    """Notifications on their way to one client (rules 1 and 2)."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, method: str, params: Mapping[str, Any]) -> None:
        """One more; or it is dropped."""
        if len(self._waiting) < WAITING_LIMIT:
            self._waiting.append((method, params))
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._waiting:
            method, params = self._waiting.popleft()
            await self._link.notify(method, params)

    async def drain(self) -> None:
        """All that waits has been told, or cannot be."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_DRAIN_S)

    def stop(self) -> None:
        """Nothing more is told."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            self._task.add_done_callback(_looked_at)


def _looked_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()


class Clock:
    """How long a request may still take; stopped while its client is asked (rule 3)."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._stopped = 0
        self._left: float | None = None
        """Of a limit that stands still; 0.0 is one that has just passed."""

    def stop(self) -> None:
        """Time stands still, until `go_on` was called as often."""
        self._stopped += 1
        when = self._timeout.when()
        if self._stopped == 1 and when is not None:
            self._left = max(0.0, when - asyncio.get_running_loop().time())
            self._set(None)

    def go_on(self) -> None:
        """Time goes on."""
        self._stopped -= 1
        if self._stopped == 0 and self._left is not None:
            self._set(asyncio.get_running_loop().time() + self._left)
            self._left = None

    def _set(self, when: float | None) -> None:
        with suppress(RuntimeError):  # the time is over, or the request is
            self._timeout.reschedule(when)
