"""What an upstream offers now, asked of it: for comparing it with what is pinned, and for whoever decides what to accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from licet.gate.steps import EndedAs
from licet.gateway.connection import Connection, Connections, NotSent
from licet.gateway.eras import MODERN_VERSIONS
from licet.gateway.link import CannotAsk, ClientFacts, Voyage
from licet.model import JsonObject

PAGES: Final = 100
"""Of a `tools/list`. An upstream whose list goes on without end has too many tools, or is no friend."""
LIST_BYTES: Final = 32 * 1024 * 1024
"""Of all pages together, as JSON."""
LIST_TIMEOUT_S: Final = 30.0
_encode: Final = msgspec.json.Encoder().encode
_EVERYTHING: Final[JsonObject] = {"roots": {}, "sampling": {}, "elicitation": {}}
"""Servers offer tools that ask their client only to clients that can be asked."""


class Onlooker:
    """The link of nobody's request: told nothing that matters, and answering nothing."""

    client = ClientFacts(era="modern", version=MODERN_VERSIONS[0], capabilities=_EVERYTHING, info={"name": "licet-catalog", "version": "1"})

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Nobody is there to be told."""

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Nobody is there to be asked."""
        raise CannotAsk(f"nobody is there to answer {', '.join(requests)}")


async def offered_by(connections: Connections, upstream: str, tenant: str) -> list[Any]:
    """The definitions that this upstream lists, unverified, for callers of this tenant, who can be asked anything. Raises `EndedAs`."""
    voyage = Voyage(link=Onlooker(), tenant=tenant)
    return await definitions_of(await connections.connect(upstream, voyage), voyage)


async def definitions_of(connection: Connection, voyage: Voyage) -> list[Any]:
    """The definitions that an upstream lists over this connection, unverified. Raises `NotSent`."""
    if not isinstance(connection.capabilities.get("tools"), dict):
        return []
    found: list[Any] = []
    cursor: JsonObject = {}
    size_bytes = 0
    for _ in range(PAGES):
        try:
            page = await connection.request("tools/list", cursor, voyage, timeout_s=LIST_TIMEOUT_S)
        except EndedAs as error:
            raise NotSent(f"what `{connection.upstream}` offers cannot be compared with what is pinned: {error}") from error
        size_bytes += len(_encode(page))
        if size_bytes > LIST_BYTES:
            raise NotSent(f"`{connection.upstream}` lists more than {LIST_BYTES} bytes of tools")
        tools = page.get("tools")
        found.extend(tools if isinstance(tools, list) else [])
        if not isinstance(following := page.get("nextCursor"), str):
            return found
        cursor = {"cursor": following}
    raise NotSent(f"`{connection.upstream}` lists tools without end")
