"""What the gateway needs of a connection to an upstream, whatever carries it (stdio, Streamable HTTP) and whichever era it speaks.

Rules:

1. Whatever an upstream does, a request ends: with its result, with its error, or with one of the faults below, each of which says whether
   the upstream can have done anything.
2. One answer to a request counts, the first. Messages that belong to nothing are counted and dropped.
3. What comes from an upstream is bounded before it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from licet.gate.steps import EndedAs
from licet.gateway.eras import Era
from licet.gateway.link import Voyage
from licet.model import JsonObject


class NotSent(EndedAs):
    """The upstream could not be reached, so that it was never asked: it is down, cannot be started, or its credential cannot be had."""

    last_words: tuple[str, ...] = ()
    """What its process said last on stderr, as lines for a terminal. For whoever runs it, and in no record: it may say anything there."""

    def __init__(self, message: str) -> None:
        super().__init__("not_executed", "upstream_unavailable", message)


def with_last_words(error: BaseException | None, message: str) -> str:
    """What is told of this error to whoever runs the upstream, and to nobody else."""
    said = error.last_words if isinstance(error, NotSent) else ()
    return f"{message}; it said last: {' / '.join(said)}" if said else message


class NotSeen(EndedAs):
    """The request went out, and no answer can come any more: the upstream died, or the connection to it broke."""

    def __init__(self, message: str) -> None:
        super().__init__("unknown", "upstream_gone", message)


class TooLong(EndedAs):
    """The request went out, and no answer came in time."""

    def __init__(self, message: str) -> None:
        super().__init__("timeout", "upstream_timeout", message)


class Garbage(EndedAs):
    """The request went out, and what came back is no answer: no JSON, too large, not what the protocol says. What was done is not known."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__("unknown", code, message)


class Refused(EndedAs):
    """The upstream answered with an error of JSON-RPC, which is what its client is told."""

    def __init__(self, error: JsonObject) -> None:
        super().__init__("error", "upstream_error", str(error.get("message", "")))
        self.error = error


Told = Callable[[str, JsonObject], None]
"""Told of a notification that belongs to no request: its method and params."""


class Connection(Protocol):
    """One session with an upstream, or one process of it. Safe to use for many requests at once, on one event loop."""

    @property
    def upstream(self) -> str:
        """The upstream's name."""
        ...

    @property
    def era(self) -> Era:
        """Which era it speaks."""
        ...

    @property
    def capabilities(self) -> JsonObject:
        """What it says that it can."""
        ...

    @property
    def info(self) -> JsonObject:
        """What it calls itself (`serverInfo`), whole."""
        ...

    @property
    def instructions(self) -> str | None:
        """What it tells models about itself."""
        ...

    @property
    def handshakes(self) -> int:
        """How many sessions were begun over it. An upstream may lose one; what was subscribed to in it is then gone with it."""
        ...

    async def request(self, method: str, params: Mapping[str, Any], voyage: Voyage, *, timeout_s: float) -> JsonObject:
        """The whole result of a request, unknown fields included; `_meta` of the hop is added here, not by whoever asks.

        Progress and log messages that belong to it go to `voyage.link`, and so does what the upstream asks of the client (legacy era). A
        result may be `input_required` (modern era). Cancelled, it cancels the request at the upstream. Raises `EndedAs`.
        """
        ...

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the upstream something. What cannot be delivered is dropped."""
        ...


class Connections(Protocol):
    """All connections of one gateway."""

    async def connect(self, upstream: str, voyage: Voyage) -> Connection:
        """The connection for whoever this voyage is of: made, and its handshake done, where there is none. Raises `NotSent`."""
        ...

    def listen(self, told: Callable[[Connection, str, JsonObject], None]) -> None:
        """From now on this is told of each notification that belongs to no request: over which connection, method, params."""
        ...

    async def close(self) -> None:
        """End every session and process. Nothing is left behind."""
        ...
