"""What carries messages to one upstream and back: the process of a command (stdio), or requests of HTTP.

Rules:

1. A transport carries; it decides nothing, answers nothing, and repeats nothing that may have been read.
2. `Exchange.sent` is true before the first byte of a request can be seen by the upstream, and never again false. It alone says whether a
   request that failed was not executed or may have been.
3. What comes is bounded before it is kept.
4. What comes is handed over in the order in which it came, on the event loop that the transport was started on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from licet.gate.steps import EndedAs
from licet.gateway.connection import NotSent
from licet.gateway.eras import Era
from licet.gateway.messages import MessageId
from licet.model import JsonObject


class SessionLost(NotSent):
    """The upstream does not know the session any more (404), and therefore did not execute what was sent. Another handshake may help."""


class Exchange:
    """One request to the upstream, until it is answered. `params` are as they are sent, `_meta` included."""

    __slots__ = ("answer", "id", "method", "params", "sent")

    def __init__(self, number: MessageId, method: str, params: JsonObject) -> None:
        self.id = number
        self.method = method
        self.params = params
        self.sent = False
        self.answer: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()

    @property
    def answered(self) -> bool:
        """Whether its end is known, so that nothing more needs to be read for it."""
        return self.answer.done()


class Receiver(Protocol):
    """Whoever is told what comes from the upstream. Nothing here waits, and nothing here raises."""

    def receive(self, message: JsonObject, about: MessageId | None) -> None:
        """A message came: on the stream of the request `about`, or on one that is everybody's (None)."""
        ...

    def failed(self, about: MessageId | None, fault: EndedAs) -> None:
        """What came in place of the answer to this request is none (None: it cannot be told to which). The connection goes on."""
        ...

    def ended(self, fault: EndedAs) -> None:
        """Nothing more will come, for any request. What was not sent by now was not executed."""
        ...


class Transport(Protocol):
    """The way to one upstream. Made for one session; started once, closed once."""

    @property
    def streams(self) -> bool:
        """Whether each request has a stream of its own, as over HTTP: `send` lasts until it ends; in the modern era closing it cancels."""
        ...

    @property
    def last_words(self) -> tuple[str, ...]:
        """What a process said last on stderr, bounded, with nothing in it that commands a terminal; complete once it is closed."""
        ...

    async def start(self) -> None:
        """Be ready to send. Raises `NotSent`."""
        ...

    async def send(self, message: JsonObject, *, request: Exchange | None, headers: Mapping[str, str]) -> None:
        """Send a message, and set `request.sent` first where it is a request.

        With streams it hands over what comes on the request's stream, and returns when the request is answered (`request.answered`) or the
        stream ends; cancelled, it closes that stream. Without, it returns when the message is on its way. `headers` are those of the
        client's request; which of them may be passed on is for the transport to know. Raises `EndedAs`: `SessionLost` or another
        `NotSent` where the upstream did not read it, else what became of it.
        """
        ...

    def agreed(self, era: Era, version: str) -> None:
        """From now on this is spoken. Told once for each handshake (in the legacy era after `notifications/initialized` was sent)."""
        ...

    async def close(self) -> None:
        """End it. Nothing is left behind: no process, no socket, no task. Requests that are open are told `ended` first."""
        ...


TransportMaker: TypeAlias = Callable[[Receiver], Transport]
