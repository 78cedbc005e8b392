"""The client of a stdio door, while one of its requests is being answered.

Rules:

1. Of a request that has been answered, or that its client has cancelled, nothing more is told.
2. What is asked of a client is asked under an id that was never used before, and only its first answer counts.
3. A client of 2026-07-28 is asked nothing here: its requests are answered with what is needed (rounds.py).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from licet.gateway.client_answers import ask_all, result_of
from licet.gateway.eras import META_PROGRESS
from licet.gateway.link import CannotAsk, ClientFacts
from licet.gateway.messages import MessageId, notification, request
from licet.model import JsonObject

Send = Callable[[JsonObject], Awaitable[None]]


class Asked:
    """What the client was asked, and has not answered."""

    def __init__(self, send: Send, aside: Callable[[JsonObject], None]) -> None:
        self._send = send
        self._aside = aside  # sends too, and nobody waits for it
        self._numbers = itertools.count(1)
        self._open: dict[MessageId, asyncio.Future[JsonObject]] = {}

    async def ask(self, wanted: JsonObject) -> JsonObject:
        """The client's result. Raises `CannotAsk` for an error; cancelled, the client is told so."""
        number = f"licet-{next(self._numbers)}"
        answer: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            await self._send(request(number, str(wanted["method"]), wanted.get("params") or {}))
            message = await answer
        except asyncio.CancelledError:
            # Whoever is being cancelled waits for nothing: a client that reads no more would keep the process from ending.
            self._aside(notification("notifications/cancelled", {"requestId": number, "reason": "no longer needed"}))
            raise
        finally:
            self._open.pop(number, None)
        return result_of(message)

    def answered(self, message: JsonObject) -> None:
        """The client answers. What belongs to no question is dropped (rule 2)."""
        answer = self._open.pop(message["id"], None)
        if answer is not None and not answer.done():
            answer.set_result(message)


class StdioLink:
    """One request of a client, which came by stdio."""

    def __init__(self, client: ClientFacts, message: JsonObject, send: Send, asked: Asked) -> None:
        self._client = client
        meta = message.get("params", {}).get("_meta") or {}
        self._progress_token = meta.get(META_PROGRESS)
        self._send = send
        self._asked = asked
        self._task = asyncio.current_task()
        self._over = False

    @property
    def client(self) -> ClientFacts:
        """Who asks."""
        return self._client

    def end(self) -> None:
        """The request is answered."""
        self._over = True

    @property
    def _is_over(self) -> bool:
        return self._over or (self._task is not None and self._task.cancelling() > 0)

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the client something about this request, before its answer (rule 1)."""
        if self._is_over:
            return
        told = dict(params)
        if method == "notifications/progress":
            if self._progress_token is None:
                return
            told["progressToken"] = self._progress_token
        await self._send(notification(method, told))

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Ask the client, all at once; its results. Raises `CannotAsk`."""
        if self._client.era == "modern":
            raise CannotAsk("a client of this version is asked nothing while it waits for this request")
        if self._is_over:
            raise CannotAsk("its request is over")
        return await ask_all(self._client, requests, self._asked.ask)
