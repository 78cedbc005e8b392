"""What clients are told without having asked for it each time."""

from __future__ import annotations

from licet.gate.gate import Gate
from licet.gateway.calling import Calling
from licet.gateway.connection import Connection
from licet.gateway.incoming import Incoming
from licet.gateway.messages import METHOD_NOT_FOUND, RpcError, text_of
from licet.gateway.origins import Origins
from licet.gateway.routing import Router
from licet.model import JsonObject


class Subscriptions:
    """Who wants to be told what."""

    def __init__(self, gate: Gate, origins: Origins, calling: Calling, router: Router) -> None:
        self._gate = gate
        self._origins = origins
        self._router = router
        self._calling = calling

    async def answer(self, incoming: Incoming) -> JsonObject:
        """The result of a request that subscribes. Raises `RpcError`."""
        if incoming.method == "logging/setLevel":
            incoming.session.log_level = text_of(incoming.params, "level", incoming.method)
            return {}
        raise RpcError(METHOD_NOT_FOUND, f"there is no method `{incoming.method}` here", http_status=404)

    def told(self, connection: Connection, method: str, params: JsonObject) -> None:
        """An upstream has told something that belongs to no request."""
        del params
        scope = self._origins.find_scope(connection)
        if method == "notifications/resources/list_changed" and scope is not None:
            self._router.forget(connection.upstream, scope)

    async def close(self) -> None:
        """End every stream."""
