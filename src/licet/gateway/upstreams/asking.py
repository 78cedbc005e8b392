"""What an upstream of the legacy era asks of the client, while it answers a request of it.

Rules:

1. Only what a client can be asked is passed on (elicitation, sampling, roots), only to the client whose request it belongs to, and only
   where that client has declared it. Everything else is refused here, and the client never sees it.
2. An upstream of the modern era must not ask so; it is refused.
3. At most so many questions are open at a time. What the client answers is passed back whole. A question whose request has ended is
   answered too, with an error: no upstream is left waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from licet.gate.steps import EndedAs
from licet.gateway.eras import ASKED_OF_CLIENTS, META_PROGRESS, Era
from licet.gateway.link import CannotAsk, ask_in_time
from licet.gateway.messages import INTERNAL_ERROR, METHOD_NOT_FOUND, MessageId, RpcError, failure, result
from licet.gateway.upstreams.opened import Opened
from licet.gateway.upstreams.transport import Transport
from licet.model import JsonObject

AT_ONCE: Final = 16
"""Questions of one session that wait for an answer."""
_REPLIES: Final = 256
"""Answers that may be on their way to an upstream: one that asks without reading the answers fills no memory."""
_KEY: Final = "asked"


class Asking:
    """The questions of one session."""

    def __init__(self, transport: Transport, declared: Mapping[str, object]) -> None:
        self._declared = declared
        self._transport = transport
        self._open: dict[MessageId, asyncio.Task[None]] = {}
        self._replies: set[asyncio.Task[None]] = set()
        self._withdrawn: set[MessageId] = set()
        self._closed = False

    def take(self, number: MessageId, method: str, params: JsonObject, opened: Opened | None, *, era: Era) -> None:
        """A request of the upstream. It is answered, whatever it is; one whose id is open already is not."""
        if number in self._open:
            return
        if method == "ping" and era == "legacy":
            self._reply(result(number, {}))
        elif (refusal := self._refusal(method, opened, era)) is not None:
            self._reply(failure(number, refusal))
        else:
            assert opened is not None
            task = asyncio.create_task(self._ask(number, method, params, opened))
            self._open[number] = opened.asking[number] = task
            task.add_done_callback(lambda ended: self._asked(number, opened, ended))

    def _asked(self, number: MessageId, opened: Opened, task: asyncio.Task[None]) -> None:
        if task.cancelled() and number not in self._withdrawn:
            self._reply(failure(number, RpcError(INTERNAL_ERROR, "the request that this belongs to has ended")))
        self._withdrawn.discard(number)
        del self._open[number], opened.asking[number]

    def withdraw(self, number: MessageId) -> None:
        """The upstream does not want to know any more."""
        if (task := self._open.get(number)) is not None:
            self._withdrawn.add(number)
            task.cancel()

    async def close(self) -> None:
        """Nothing is asked or answered any more."""
        self._closed = True
        tasks = {*self._open.values(), *self._replies}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _refusal(self, method: str, opened: Opened | None, era: Era) -> RpcError | None:
        """Why it is not passed on (rules 1 to 3)."""
        if era == "modern" or method not in ASKED_OF_CLIENTS:
            return RpcError(METHOD_NOT_FOUND, f"`{method}` cannot be asked of this client")
        if opened is None or opened.voyage is None:
            return RpcError(INTERNAL_ERROR, "it cannot be told which client is asked: no request is open, or those of several callers are")
        if ASKED_OF_CLIENTS[method] not in self._declared or not opened.voyage.link.client.can(method):
            return RpcError(METHOD_NOT_FOUND, f"the client has not declared that it can be asked `{method}`")
        if len(self._open) >= AT_ONCE:
            return RpcError(INTERNAL_ERROR, f"more than {AT_ONCE} questions are open")
        return None

    async def _ask(self, number: MessageId, method: str, params: JsonObject, opened: Opened) -> None:
        assert opened.voyage is not None
        if opened.clock is not None:
            opened.clock.stop()
        try:
            answers = await ask_in_time(opened.voyage.link, {_KEY: {"method": method, "params": _without_token(params)}})
            self._reply(result(number, answers[_KEY]))
        except CannotAsk as error:
            self._reply(failure(number, RpcError(INTERNAL_ERROR, f"the client did not answer: {error}")))
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001  a client that cannot be asked, for whatever reason, must not leave the upstream waiting
            self._reply(failure(number, RpcError(INTERNAL_ERROR, "the client did not answer")))
        finally:
            if opened.clock is not None:
                opened.clock.go_on()

    def _reply(self, message: JsonObject) -> None:
        if len(self._replies) < _REPLIES and not self._closed:
            task = asyncio.create_task(self._send(message))
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

    async def _send(self, message: JsonObject) -> None:
        try:
            await self._transport.send(message, request=None, headers={})
        except EndedAs:  # whoever asked is gone
            return


def _without_token(params: JsonObject) -> JsonObject:
    """A token of the upstream's hop says nothing to the client, whose progress is not passed back."""
    meta = params.get("_meta")
    if not isinstance(meta, dict) or META_PROGRESS not in meta:
        return params
    return params | {"_meta": {name: value for name, value in meta.items() if name != META_PROGRESS}}
