"""The client as everybody behind the door sees it, while one of its requests is being answered.

Rules:

1. What is asked of a client is asked by its own capabilities, never by the gateway's: what it did not declare is not sent to it.
2. What a client answers is data of whoever asked it. It grants nothing by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol

from msgspec import Struct

from licet.gateway.eras import ASKED_OF_CLIENTS, Era
from licet.gateway.messages import encode
from licet.model import JsonObject


class ClientFacts(Struct, frozen=True, kw_only=True):
    """What a client says of itself: claims, to be passed on and shown, never to be believed."""

    era: Era
    version: str
    capabilities: JsonObject = {}
    info: JsonObject = {}

    def can(self, method: str) -> bool:
        """Whether this may be asked of it (rule 1)."""
        return isinstance(self.capabilities.get(ASKED_OF_CLIENTS.get(method, "")), dict)

    def takes(self, request: JsonObject) -> bool:
        """Whether this very request may be sent to it: an elicitation in a mode that it has (`{}`: forms), tools only if it has them."""
        method, params = request.get("method"), request.get("params")
        if not isinstance(method, str) or not self.can(method):
            return False
        declared = self.capabilities[ASKED_OF_CLIENTS[method]]
        given = params if isinstance(params, dict) else {}
        if method == "sampling/createMessage":
            return "tools" not in given or "tools" in declared
        mode = given.get("mode", "form") if method == "elicitation/create" else "form"
        return method != "elicitation/create" or mode in declared or (mode == "form" and "url" not in declared)


class CannotAsk(Exception):
    """The client has not declared that it can be asked this, is gone, or refused to answer."""


ASK_S: Final = 600.0
"""How long a client is asked for: people fill in forms, and an upstream holds its call open meanwhile."""
ASKED_BYTES: Final = 512 * 1024
"""The longest question, with all that came with it: a client takes its time, and many of them are kept meanwhile."""


class Link(Protocol):
    """One request of a client, for whoever answers it."""

    @property
    def client(self) -> ClientFacts:
        """Who asks."""
        ...

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the client something about this request, before its answer. What cannot be delivered is dropped."""
        ...

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Ask the client, each request (`method`, `params`) under a key of its own; its results by the same keys.

        It waits as long as it takes. Without any request it waits until the client comes back: at once, or when it cares to. Raises
        `CannotAsk`.
        """
        ...


async def ask_in_time(link: Link, requests: Mapping[str, JsonObject], whole: JsonObject | None = None) -> Mapping[str, JsonObject]:
    """As `Link.ask`, for as long as a client is asked at most. They may be part of a `whole` that is kept meanwhile. Raises `CannotAsk`."""
    if len(encode(requests if whole is None else whole)) > ASKED_BYTES:
        raise CannotAsk(f"what is asked is longer than {ASKED_BYTES} bytes")
    try:
        async with asyncio.timeout(ASK_S):
            return await link.ask(requests)
    except TimeoutError as error:
        raise CannotAsk(f"the client did not answer within {ASK_S:g} s") from error


class Voyage(Struct, kw_only=True):
    """What travels with one governed call to its upstream.

    `whose` is among whom a session of the upstream may be shared (tenant, agent, service, user); `meta` is what the upstream is told of the
    request in `_meta`, the client's own keys included, without what belongs to a hop (version, capabilities, progress token).
    `wants_progress` says that the client asked to be told how far it is. `headers` are those of the client's request that may be passed on.
    `session` names the client's own session, where it has one.
    """

    link: Link
    tenant: str
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None
    meta: JsonObject = {}
    wants_progress: bool = False
    log_level: str | None = None
    headers: Mapping[str, str] = {}


VOYAGE: Final[ContextVar[Voyage]] = ContextVar("licet_voyage")
"""That of the call that is executed now: a tool is given its arguments, and nothing else."""
