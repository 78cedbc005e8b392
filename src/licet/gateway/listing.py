"""Lists of resources, templates and prompts, and which upstream one of them belongs to."""

from __future__ import annotations

from licet.gate.gate import Gate
from licet.gate.steps import EndedAs
from licet.gateway.answers import dressed
from licet.gateway.calling import Calling
from licet.gateway.connection import Connections
from licet.gateway.incoming import Incoming
from licet.gateway.messages import INVALID_PARAMS, UNAVAILABLE, RpcError
from licet.model import JsonObject


class Listing:
    """Answers lists, and finds the upstream that a request is for."""

    def __init__(self, gate: Gate, connections: Connections, calling: Calling) -> None:
        self._gate = gate
        self._connections = connections
        self._calling = calling

    async def answer(self, incoming: Incoming) -> JsonObject:
        """The result of a list. Raises `RpcError`."""
        if incoming.upstream is None:
            raise RpcError(INVALID_PARAMS, "name an upstream: `/mcp/{upstream}`")
        params = {name: value for name, value in incoming.params.items() if name != "_meta"}
        voyage = self._calling.voyage(incoming, incoming.upstream)
        try:
            connection = await self._connections.connect(incoming.upstream, voyage)
            return dressed(await connection.request(incoming.method, params, voyage, timeout_s=30), incoming)
        except EndedAs as error:
            raise RpcError(UNAVAILABLE, str(error)) from error

    async def route(self, incoming: Incoming) -> tuple[str, JsonObject]:
        """The upstream of `resources/read`, `prompts/get` or `completion/complete`, and the parameters it takes. Raises `RpcError`."""
        if incoming.upstream is None:
            raise RpcError(INVALID_PARAMS, "name an upstream: `/mcp/{upstream}`")
        return incoming.upstream, {name: value for name, value in incoming.params.items() if name != "_meta"}
