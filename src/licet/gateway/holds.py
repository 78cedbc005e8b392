"""What is done about a call that is held: who is asked, and what the client is told meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from licet.gate.gate import Gate
from licet.gate.results import Held, Result
from licet.gateway.incoming import Incoming


class Holds:
    """Settles held calls of clients."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def settle(self, held: Held, incoming: Incoming, again: Callable[[], Awaitable[Result]]) -> tuple[Result, str | None]:
        """The end of it, as far as this request can wait for one, and what a client is told of a call that still waits."""
        return held, f"held: {held.decision.message}; request {held.request}"
