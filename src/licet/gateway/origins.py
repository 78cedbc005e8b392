"""Whose each connection to an upstream is.

What an upstream says over a connection is for those alone who share it: what it tells of one tenant's data is nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias
from weakref import WeakKeyDictionary

from licet.config.upstreams import UpstreamSettings
from licet.gate.acting import Acting
from licet.gateway.connection import Connection, Connections
from licet.gateway.eras import Era
from licet.gateway.link import Voyage
from licet.model import JsonObject

Scope: TypeAlias = tuple[str, ...]
"""Among whom a connection is shared; `()` is everybody for whom the gateway shows no credential of their tenant's own."""


def caller_scope(who: Acting | Voyage) -> Scope:
    """That of connections which nobody else shares."""
    return (who.tenant or "", who.agent or "", who.service or "", who.user or "")


def scope_of(settings: UpstreamSettings, who: Acting | Voyage) -> Scope:
    """Whose connections this one may use."""
    if settings.share == "caller":
        return caller_scope(who)
    tenant = who.tenant or ""
    return (tenant,) if settings.share == "tenant" or tenant in settings.tenants else ()


class Origins:
    """All connections of a gateway, and whose they are. `settings` are those of the upstreams."""

    def __init__(self, connections: Connections, settings: Mapping[str, UpstreamSettings]) -> None:
        self._connections = connections
        self._settings = settings
        self._scopes: WeakKeyDictionary[Connection, Scope] = WeakKeyDictionary()
        self._eras: dict[str, Era] = {}

    async def connect(self, upstream: str, voyage: Voyage) -> Connection:
        """The connection for whoever this voyage is of. Raises `NotSent`."""
        connection = await self._connections.connect(upstream, voyage)
        if connection not in self._scopes:
            self._scopes[connection] = self.scope(upstream, voyage)
            self._eras[upstream] = connection.era
        return connection

    def listen(self, told: Callable[[Connection, str, JsonObject], None]) -> None:
        """As `Connections.listen`."""
        self._connections.listen(told)

    async def close(self) -> None:
        """As `Connections.close`."""
        await self._connections.close()

    def scope(self, upstream: str, who: Acting | Voyage) -> Scope:
        """Among whom a connection of this caller to this upstream is shared."""
        return scope_of(self._settings[upstream], who)

    def find_scope(self, connection: Connection) -> Scope | None:
        """Whose it is; None where it was not made here."""
        return self._scopes.get(connection)

    def find_era(self, upstream: str) -> Era | None:
        """Which era the upstream spoke when it was asked last; None where it never was."""
        return self._eras.get(upstream)

    def open_of(self, upstream: str, who: Acting | Voyage) -> list[Connection]:
        """Those connections to the upstream that this caller uses, as far as they are there."""
        scope = self.scope(upstream, who)
        return [one for one, whose in list(self._scopes.items()) if one.upstream == upstream and whose == scope]
