"""The MCP gateway of a server, from its first request to its end.

1. It is opened with the server, if licet.toml has upstreams.
2. When the server stops, who only listens is let go: idle sessions, streams, subscriptions. Requests in flight go on.
3. When those have ended, or their time is over, what is parked or still under way is cancelled, and its outcome recorded; sessions with
   upstreams, and their processes, end. Only then is the gate closed.
"""

from __future__ import annotations

from typing import Final

from licet.gate.gate import Gate
from licet.gateway.connection import Connections
from licet.gateway.gateway import Gateway
from licet.gateway.http_door import HttpDoor


class ServedGateway:
    """A gateway with its door, and its connections to upstreams. Lives on the server's event loop."""

    def __init__(self, gate: Gate, connections: Connections) -> None:
        self.gateway: Final = Gateway(gate, connections)
        self.door: Final = HttpDoor(gate, self.gateway)

    async def stop(self) -> None:
        """As rule 2."""
        self.door.let_go()
        await self.gateway.subscriptions.close()

    async def close(self) -> None:
        """As rule 3."""
        self.door.close()
        await self.gateway.close()
