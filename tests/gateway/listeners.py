"""Clients that listen: what each of them was told, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from licet.gateway.link import ClientFacts
from licet.gateway.session_state import SessionState
from licet.model import JsonObject
from tests.gateway.world import MODERN, FakeLink, GatewayWorld

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
TOOLS, PROMPTS, RESOURCES = [f"notifications/{name}/list_changed" for name in ("tools", "prompts", "resources")]
PATIENCE_S = 30.0


class Heard:
    """What a client was told, in order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, JsonObject]] = asyncio.Queue()

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        self.queue.put_nowait((method, dict(params)))

    async def next(self) -> tuple[str, JsonObject]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.queue.get()


class HeardLink(FakeLink):
    """A client's request, and what it is told of it."""

    def __init__(self, client: ClientFacts) -> None:
        super().__init__(client)
        self.heard = Heard()

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self.heard.tell(method, params)


class Session(Heard):
    """A legacy client's session."""

    def __init__(self, w: GatewayWorld, **how: Any) -> None:
        super().__init__()
        self.w = w
        self.how = how
        self.state: SessionState | None = SessionState(tell=self.tell)

    async def ask(self, method: str, params: Any = None) -> JsonObject:
        return await self.w.ask(method, params, session=self.state, **self.how)

    async def begin(self) -> None:
        await self.w.gateway.describe(self.w.incoming("initialize", {}, session=self.state, **self.how))

    def end(self) -> None:
        assert self.state is not None
        self.state.tell = None


class Streamed:
    """A modern client's stream."""

    def __init__(self, w: GatewayWorld, wanted: Any, *, number: int = 7, **how: Any) -> None:
        link = HeardLink(MODERN)
        incoming = w.incoming("subscriptions/listen", {"notifications": wanted}, client=MODERN, **how)
        self.heard = link.heard
        self.task = asyncio.ensure_future(w.gateway.answer(replace(incoming, link=link, id=number)))

    async def acknowledged(self) -> JsonObject:
        method, params = await self.next()
        assert method == ACKNOWLEDGED
        found: JsonObject = params["notifications"]
        return found

    async def next(self) -> tuple[str, JsonObject]:
        return await self.heard.next()

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
