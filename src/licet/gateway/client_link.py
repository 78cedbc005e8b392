"""The client of an HTTP request, while that is being answered.

Rules:

1. What is told belongs to the request, and goes out on its own stream, before its answer. Of one that is over nothing more is told.
2. A legacy client is asked on the stream of its own request, under an id that was never used before in its session. What it did not
   declare it is not asked, and where nobody can answer, because it has no session or has ended it, it is not waited for.
3. A modern client is asked nothing here: its requests are answered with what is needed (rounds.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from licet.gateway.client_answers import ask_all, result_of
from licet.gateway.client_session import ClientSession
from licet.gateway.client_sse import Reply
from licet.gateway.eras import META_PROGRESS
from licet.gateway.link import CannotAsk, ClientFacts
from licet.gateway.messages import notification, request
from licet.model import JsonObject

CANCELLED: Final = "notifications/cancelled"


class ModernRequest:
    """One request of a modern client."""

    def __init__(self, client: ClientFacts, message: JsonObject, reply: Reply) -> None:
        self._client = client
        self._progress = (message.get("params", {}).get("_meta") or {}).get(META_PROGRESS)
        self._reply = reply
        self._over = False

    @property
    def client(self) -> ClientFacts:
        """Who asks."""
        return self._client

    def end(self) -> None:
        """The request is answered, or cancelled."""
        self._over = True

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the client something about this request, if it is not over; progress only where it wants to know, by its own token."""
        if self._over:
            return
        told = dict(params)
        if method == "notifications/progress":
            if self._progress is None:
                return
            told[META_PROGRESS] = self._progress
        self._reply.tell(notification(method, told))

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Nothing can be asked here (rule 3)."""
        del requests
        raise CannotAsk("the client cannot be asked anything while it waits")


class LegacyRequest(ModernRequest):
    """One request of a legacy client, in its session."""

    def __init__(self, session: ClientSession, message: JsonObject, reply: Reply) -> None:
        super().__init__(session.client, message, reply)
        self._session = session

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Ask the client, all at once; its results by the same keys. Raises `CannotAsk`."""
        return await ask_all(self._client, requests, self._ask)

    async def _ask(self, wanted: JsonObject) -> JsonObject:
        if self._over:
            raise CannotAsk("its request is over")
        number, answer = self._session.ask()
        self._reply.tell(request(number, str(wanted["method"]), wanted.get("params") or {}), droppable=False)
        try:
            message = await answer
        except asyncio.CancelledError:
            self._reply.tell(notification(CANCELLED, {"requestId": number, "reason": "no longer needed"}))
            raise
        finally:
            self._session.asked_no_more(number)
        return result_of(message)
