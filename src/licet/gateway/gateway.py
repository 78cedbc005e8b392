"""The MCP gateway: every request of every client, whatever door it came by, and what becomes of it.

    tools/call, resources/read, prompts/get,      a governed call (calling.py): the gate decides, holds, executes and records
    completion/complete, methods that are
    classified in licet.toml
    tools/list                                    the pinned definitions that the caller may ever call (toolbox.py)
    resources/list, .../templates/list,           what upstreams list, less what the caller may not read (listing.py)
    prompts/list
    server/discover, ping, subscriptions, levels  the gateway itself
    anything else                                 there is no such method

Rules:

1. What the policy does not allow is not carried, in either direction.
2. Nothing in a request says who asks: that is `Incoming.acting`, which a door has from a verified credential.
3. An upstream is never told which credential its caller showed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from licet.catalog.upstream import CALL, method_name, tool_name
from licet.gate.gate import Gate
from licet.gateway.answers import dressed
from licet.gateway.calling import Calling
from licet.gateway.carrying import Carrying
from licet.gateway.connection import Connection, Connections
from licet.gateway.describing import Describing
from licet.gateway.drift import Drift
from licet.gateway.eras import MAY_ASK, META_LOG_LEVEL, META_SERVER, VERSIONS
from licet.gateway.holds import Holds
from licet.gateway.incoming import Incoming
from licet.gateway.listing import Listing
from licet.gateway.messages import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError, text_of
from licet.gateway.origins import Origins
from licet.gateway.rounds import Rounds
from licet.gateway.session_state import check_level
from licet.gateway.sight import Sight
from licet.gateway.subscriptions import Subscriptions
from licet.gateway.toolbox import Toolbox
from licet.model import JsonObject

ELSEWHERE: Final = " (at the gateway)"
"""Behind a name, what no name in the catalog has."""
ROOTS_CHANGED: Final = "notifications/roots/list_changed"
Handler = Callable[[Incoming], Awaitable[JsonObject]]


class Gateway:
    """Answers the requests of MCP clients in front of the upstreams of a gate. One for each process, on one event loop."""

    def __init__(self, gate: Gate, connections: Connections) -> None:
        self.gate: Final = gate
        self.connections: Final = Origins(connections, gate.settings.upstreams)
        self.drift: Final = Drift(gate)
        self.carrying: Final = Carrying(self.connections, self.drift)
        self.calling: Final = Calling(gate, Holds(gate))
        self.rounds: Final = Rounds(gate)
        self.toolbox: Final = Toolbox(gate, self.drift)
        self._sight = sight = Sight(gate)
        self.listing: Final = Listing(gate, self.connections, self.calling, sight)
        self.subscriptions: Final = Subscriptions(gate, self.connections, self.calling, self.listing.router, sight)
        self.drift.changed = self.subscriptions.tools_changed
        self._describing = Describing(gate, self.connections, self.calling, sight)
        self._handlers: Final[dict[str, Handler]] = {
            "ping": self._ping,
            "server/discover": self._discover,
            "tools/list": self._list_tools,
            CALL: self._call_tool,
            "resources/list": self._list,
            "resources/templates/list": self._list,
            "prompts/list": self._list,
            "resources/read": self._routed,
            "prompts/get": self._routed,
            "completion/complete": self._routed,
            "subscriptions/listen": self.subscriptions.answer,
            "resources/subscribe": self.subscriptions.answer,
            "resources/unsubscribe": self.subscriptions.answer,
            "logging/setLevel": self.subscriptions.answer,
        }
        gate.carry(self.carrying)
        connections.listen(self._told)

    async def answer(self, incoming: Incoming) -> JsonObject:
        """The `result` of a request. Raises `RpcError`."""
        self._check_upstream(incoming)
        if incoming.is_modern and META_LOG_LEVEL in incoming.meta:
            check_level(incoming.meta[META_LOG_LEVEL])
        handler = self._handlers.get(incoming.method, self._other)
        if incoming.is_modern and incoming.method in MAY_ASK:
            return await self.rounds.answer(incoming, handler)
        return await handler(incoming)

    async def describe(self, incoming: Incoming) -> JsonObject:
        """`capabilities`, `serverInfo` and `instructions`: what a client is told at its start, by `initialize` or `server/discover`."""
        self._check_upstream(incoming)
        self.subscriptions.follow(incoming)
        return await self._describing.describe(incoming)

    async def heard(self, incoming: Incoming) -> None:
        """A notification of a client. That its roots have changed is told to upstreams whose sessions are its caller's alone."""
        if incoming.method != ROOTS_CHANGED or not incoming.client.can("roots/list"):
            return
        for upstream, settings in self.gate.settings.upstreams.items():
            if settings.share == "caller" and incoming.upstream in {None, upstream}:
                for connection in self.connections.open_of(upstream, incoming.acting):
                    if connection.era == "legacy":
                        await connection.notify(ROOTS_CHANGED, {})

    async def close(self) -> None:
        """End what is under way with clients and upstreams."""
        await self.rounds.close()
        await self.subscriptions.close()
        await self.connections.close()

    def _check_upstream(self, incoming: Incoming) -> None:
        if incoming.upstream is not None and incoming.upstream not in self.gate.settings.upstreams:
            raise RpcError(INVALID_PARAMS, f"there is no upstream `{incoming.upstream}`", http_status=404)

    async def _ping(self, incoming: Incoming) -> JsonObject:
        if incoming.is_modern:
            raise RpcError(METHOD_NOT_FOUND, "there is no method `ping` in this version", http_status=404)
        return {}

    async def _discover(self, incoming: Incoming) -> JsonObject:
        described = await self.describe(incoming)
        info = described.pop("serverInfo")
        return dressed(described | {"supportedVersions": list(VERSIONS), "ttlMs": self._ttl_ms}, incoming, {META_SERVER: info})

    async def _list_tools(self, incoming: Incoming) -> JsonObject:
        return dressed(self.toolbox.listed(incoming) | {"ttlMs": self._ttl_ms}, incoming)

    async def _list(self, incoming: Incoming) -> JsonObject:
        result = await self.listing.answer(incoming)
        self.subscriptions.listed(incoming)
        return result

    async def _call_tool(self, incoming: Incoming) -> JsonObject:
        name = text_of(incoming.params, "name", incoming.method)
        full = name if incoming.upstream is None else tool_name(incoming.upstream, name)
        tool = self.gate.scene.offered.tools.get(full)
        if full in self.gate.scene.catalog.tools and (tool is None or tool.method != CALL):
            full = (
                f"{name}{ELSEWHERE}"  # a method, or a function of this process: no tool that is shown here, and denied as one that is none
            )
        upstream = full.partition("__")[0] if tool is None else tool.upstream
        if tool is not None and self.drift.find(full) is not None and self._sight.uses(incoming.acting, upstream):
            await self.carrying.look_again(upstream, self.calling.voyage(incoming, upstream))
        return await self.calling.call_tool(incoming, upstream, full, incoming.params.get("arguments", {}))

    async def _routed(self, incoming: Incoming) -> JsonObject:
        upstream, arguments = await self.listing.route(incoming)
        return await self.calling.call_method(incoming, upstream, arguments)

    async def _other(self, incoming: Incoming) -> JsonObject:
        """A method that this version does not know: carried to its upstream where licet.toml classifies it."""
        upstream = incoming.upstream
        tool = None if upstream is None else self.gate.scene.offered.tools.get(method_name(upstream, incoming.method))
        if upstream is None or tool is None or tool.method != incoming.method:  # nor is there a second way to write one
            raise RpcError(METHOD_NOT_FOUND, f"there is no method `{incoming.method}` here", http_status=404)
        arguments = {name: value for name, value in incoming.params.items() if name != "_meta"}
        return await self.calling.call_method(incoming, upstream, arguments)

    def _told(self, connection: Connection, method: str, params: JsonObject) -> None:
        """An upstream says that something has changed."""
        if method == "notifications/tools/list_changed":
            self.carrying.forget(connection.upstream)
        self.subscriptions.told(connection, method, params)

    @property
    def _ttl_ms(self) -> int:
        return int(self.gate.settings.gateway.list_ttl_s * 1_000)
