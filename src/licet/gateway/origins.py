"""Whose each connection to an upstream is, and how much it logs.

Rules:

1. What an upstream says over a connection is for those alone who share it: what it tells of one tenant's data is nobody else's.
2. An upstream of the legacy era logs as much as the one of them wants who wants most; each client is told what it wants itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from licet.config.upstreams import Share, UpstreamSettings
from licet.gate.acting import Acting
from licet.gate.steps import EndedAs
from licet.gateway.connection import Connection, Connections
from licet.gateway.link import Voyage
from licet.gateway.messages import INVALID_PARAMS, RpcError
from licet.model import JsonObject

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""The least urgent first (RFC 5424, 6.2.1, the other way round)."""
LEVEL_TIMEOUT_S: Final = 10.0
Scope = tuple[str, ...]
"""Among whom a connection is shared; `()` is everybody."""

_log = logging.getLogger("licet.gateway")


def scope_of(share: Share, who: Acting | Voyage) -> Scope:
    """Whose connections this one may use."""
    tenant = who.tenant or ""
    if share == "all":
        return ()
    return (tenant,) if share == "tenant" else (tenant, who.agent or "", who.service or "", who.user or "")


def check_level(unverified_level: object) -> str:
    """The level, if it is one. Raises `RpcError`."""
    if not isinstance(unverified_level, str) or unverified_level not in LEVELS:
        raise RpcError(INVALID_PARAMS, f"a log level is one of {', '.join(f'`{level}`' for level in LEVELS)}")
    return unverified_level


def is_logged(least: str | None, params: Mapping[str, Any]) -> bool:
    """Whether who wants messages from this level on wants this one. Of a level that is not known, everybody does."""
    level = params.get("level")
    return least not in LEVELS or level not in LEVELS or LEVELS.index(str(level)) >= LEVELS.index(least)


class Origins:
    """All connections of a gateway, and whose they are. `settings` are those of the upstreams."""

    def __init__(self, connections: Connections, settings: Mapping[str, UpstreamSettings]) -> None:
        self._connections = connections
        self._settings = settings
        self._scopes: WeakKeyDictionary[Connection, Scope] = WeakKeyDictionary()
        self._levels: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()

    async def connect(self, upstream: str, voyage: Voyage) -> Connection:
        """The connection for whoever this voyage is of, which logs as much as the voyage wants. Raises `NotSent`."""
        connection = await self._connections.connect(upstream, voyage)
        if connection not in self._scopes:
            self._scopes[connection] = self.scope(upstream, voyage)
        if voyage.log_level is not None:
            await self._log_from(connection, voyage, voyage.log_level)
        return connection

    def listen(self, told: Callable[[Connection, str, JsonObject], None]) -> None:
        """As `Connections.listen`."""
        self._connections.listen(told)

    async def close(self) -> None:
        """As `Connections.close`."""
        await self._connections.close()

    def scope(self, upstream: str, who: Acting | Voyage) -> Scope:
        """Among whom a connection of this caller to this upstream is shared."""
        return scope_of(self._settings[upstream].share, who)

    def is_for(self, connection: Connection, acting: Acting) -> bool:
        """Whether what comes over this connection is for this caller too (rule 1)."""
        return self._scopes.get(connection) == self.scope(connection.upstream, acting)

    def find_scope(self, connection: Connection) -> Scope | None:
        """Whose it is; None where it was not made here."""
        return self._scopes.get(connection)

    async def _log_from(self, connection: Connection, voyage: Voyage, level: str) -> None:
        """Rule 2."""
        if connection.era != "legacy" or level not in LEVELS or not isinstance(connection.capabilities.get("logging"), dict):
            return
        wanted, before = LEVELS.index(level), self._levels.get(connection)
        if before is not None and before <= wanted:
            return
        self._levels[connection] = wanted  # before it is asked: who comes meanwhile does not ask as well
        try:
            await connection.request("logging/setLevel", {"level": level}, voyage, timeout_s=LEVEL_TIMEOUT_S)
        except EndedAs as error:
            _log.info("licet: `%s` does not take a log level: %s", connection.upstream, error)
