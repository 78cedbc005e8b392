"""The door of one client that started this process: JSON-RPC messages on stdin and stdout, one a line, of either era.

Rules:

1. Who calls is settled before the first line is read. Nothing in a message says it.
2. Requests run beside each other; each is answered once, under its own id, or cancelled and then not answered at all.
3. A request that says its version in `_meta` is modern, whatever came before it. Any other belongs to the one session that `initialize`
   opened, and before that nothing but `ping` is answered.
4. When the client has said all, requests under way have a moment to end; then they are cancelled. Nothing outlasts `serve`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Coroutine, Mapping
from typing import Any, Final, Protocol

import msgspec

from licet.gate.acting import Acting
from licet.gateway.client_facts import id_in, legacy_client, modern_client
from licet.gateway.eras import META_CAPABILITIES, META_VERSION
from licet.gateway.incoming import Incoming
from licet.gateway.link import ClientFacts
from licet.gateway.messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    UNAVAILABLE,
    MessageId,
    RpcError,
    encode,
    failure,
    is_id,
    notification,
    read_client_message,
    result,
)
from licet.gateway.session_state import SessionState
from licet.gateway.stdio_lines import Gone, Lines, LineTooLong
from licet.gateway.stdio_link import Asked, StdioLink
from licet.model import JsonObject

REQUESTS_AT_ONCE: Final = 1_000
"""A client that asks for more before anything was answered has lost count."""
GRACE_S: Final = 1.0
"""For requests under way when the client has said all. Clients commonly wait two seconds before they kill."""
ENDING_S: Final = 10.0
"""For what has been cancelled, to record its outcome."""
UNREAD: Final = 1_000
"""Of what is told without a request, in either direction: whoever does not read misses the rest."""
_log = logging.getLogger("licet.gateway")
_loose: Final = msgspec.json.Decoder()


class Answers(Protocol):
    """The gateway, as far as a door needs it."""

    async def answer(self, incoming: Incoming) -> JsonObject:
        """The `result` of a request. Raises `RpcError`."""
        ...

    async def describe(self, incoming: Incoming) -> JsonObject:
        """What a client is told at its start."""
        ...

    async def heard(self, incoming: Incoming) -> None:
        """A legacy client tells something. What is not understood is no error."""
        ...


class StdioDoor:
    """Serves one client, in the name of one caller, with one upstream."""

    def __init__(self, gateway: Answers, lines: Lines, acting: Acting, upstream: str) -> None:
        self._gateway = gateway
        self._lines = lines
        self._acting = acting
        self._upstream = upstream
        self._session = SessionState()
        self._client: ClientFacts | None = None
        self._asked = Asked(self._send, lambda message: self._aside(self._send(message)))
        self._running: dict[MessageId, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._gone = False

    async def serve(self) -> None:
        """Answer until the client has said all, does not listen any more, or `stop` is called (rule 4)."""
        reading = asyncio.ensure_future(self._read())
        stopping = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
                await self._let_end()
        finally:
            self._session.tell = None
            await _cancelled((reading, stopping, *self._running.values()))
            if self._telling and not self._gone:
                await asyncio.wait(tuple(self._telling), timeout=GRACE_S)  # that questions are withdrawn, where the client still reads
            await _cancelled(tuple(self._telling))
            self._lines.close()

    def stop(self) -> None:
        """End now: requests under way are cancelled. To be called on the event loop."""
        self._stopped.set()

    async def _let_end(self) -> None:
        if self._running and not self._gone:
            await asyncio.wait(self._running.values(), timeout=GRACE_S)

    async def _read(self) -> None:
        while not self._gone:
            try:
                line = await self._lines.read()
            except LineTooLong as error:
                await self._send(failure(None, RpcError(INVALID_REQUEST, f"{error}, and was not read")))
                continue
            if line is None:
                return
            await self._take(line)

    async def _take(self, line: bytes) -> None:
        try:
            message = read_client_message(line, limit_bytes=self._lines.limit_bytes)
        except RpcError as error:
            await self._send(failure(id_in(line), error))
            return
        if "method" not in message:
            self._asked.answered(message)
        elif "id" in message:
            await self._begin(message["id"], message)
        else:
            self._told(message)

    async def _begin(self, number: MessageId, message: JsonObject) -> None:
        """Rule 2. An answer under an id that is in use would be taken for that of the other request, so this one has none."""
        if number in self._running:
            await self._send(failure(None, RpcError(INVALID_REQUEST, f"a request with the id `{number}` is under way: use each id once")))
        elif len(self._running) >= REQUESTS_AT_ONCE:
            error = RpcError(UNAVAILABLE, f"{REQUESTS_AT_ONCE} requests are under way: wait until some are answered")
            await self._send(failure(number, error))
        elif message["method"] == "initialize":
            await self._run(number, message)  # what comes behind it belongs to the session that it opens, and it cannot be cancelled
        else:
            task = asyncio.ensure_future(self._run(number, message))
            self._running[number] = task
            task.add_done_callback(lambda _: self._running.pop(number, None))

    def _told(self, message: JsonObject) -> None:
        """A notification of the client. One that is not understood is no error, and none of them keeps what comes behind it waiting."""
        if message["method"] != "notifications/cancelled":
            if self._client is not None:
                self._aside(self._hear(self._client, message))
            return
        number = message.get("params", {}).get("requestId")
        task = self._running.get(number) if is_id(number) else None
        if task is not None:
            task.cancel()

    async def _hear(self, client: ClientFacts, message: JsonObject) -> None:
        link = StdioLink(client, message, self._send, self._asked)
        link.end()  # it is no request: nothing is answered to it
        try:
            await self._gateway.heard(self._incoming(link, None, message, self._session))
        except Exception:  # noqa: BLE001 - as in `_run`, and nobody waits for an answer
            _log.exception("licet: an error that nobody expected, in `%s`", message["method"])

    async def _run(self, number: MessageId, message: JsonObject) -> None:
        """One request, from its beginning to its answer."""
        try:
            found = result(number, await self._answer(number, message))
        except RpcError as error:
            found = failure(number, error)
        except Exception:  # noqa: BLE001 - the edge: the client is told that something went wrong, and nothing of what
            _log.exception("licet: an error that nobody expected, in `%s`", message["method"])
            found = failure(number, RpcError(INTERNAL_ERROR, "an error that nobody expected; the log of the gateway says more"))
        await self._send(found)

    async def _answer(self, number: MessageId, message: JsonObject) -> JsonObject:
        method, params = message["method"], message.get("params", {})
        client = modern_client(params.get("_meta") or {})
        if client is not None:
            return await self._with_link(client, number, message, SessionState())
        if method == "initialize":
            return await self._initialize(number, message)
        if self._client is None:
            if method == "ping":
                return {}
            say = f"send `initialize` first, or say `{META_VERSION}` and `{META_CAPABILITIES}` in `_meta`"
            raise RpcError(INVALID_PARAMS, say)
        return await self._with_link(self._client, number, message, self._session)

    async def _with_link(self, client: ClientFacts, number: MessageId, message: JsonObject, session: SessionState) -> JsonObject:
        link = StdioLink(client, message, self._send, self._asked)
        try:
            return await self._gateway.answer(self._incoming(link, number, message, session))
        finally:
            link.end()

    async def _initialize(self, number: MessageId, message: JsonObject) -> JsonObject:
        """The one session of this process. What the client can is settled here, and never again."""
        if self._client is not None:
            raise RpcError(INVALID_REQUEST, "this session is initialized already: start another process for another one")
        client = legacy_client(message.get("params", {}))
        link = StdioLink(client, message, self._send, self._asked)
        described = await self._gateway.describe(self._incoming(link, number, message, self._session))
        self._client = client
        self._session.tell = self._tell
        return {"protocolVersion": client.version, **described}

    def _tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the session something that belongs to no request, in its turn."""
        self._aside(self._send(notification(method, params)))

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        """What nobody waits for; dropped where there is too much of it."""
        if len(self._telling) >= UNREAD:
            work.close()
            return
        task = asyncio.ensure_future(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _incoming(self, link: StdioLink, number: MessageId | None, message: JsonObject, session: SessionState) -> Incoming:
        return Incoming(
            method=message["method"],
            params=message.get("params", {}),
            link=link,
            acting=self._acting,
            upstream=self._upstream,
            session=session,
            id=number,
        )

    async def _send(self, message: JsonObject) -> None:
        if self._gone:
            return
        try:
            await self._lines.write(encode(message))
        except Gone:
            self._gone = True
            self.stop()


async def _cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    """These have ended; what does not end by being cancelled is left behind."""
    for task in tasks:
        task.cancel()
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=ENDING_S)
        for task in done:
            if not task.cancelled():
                task.exception()  # nobody else looks


async def refuse_all(lines: Lines, error: RpcError) -> None:
    """Answer every request with this error until the client has said all: for a process that cannot serve, and says why."""
    try:
        while True:
            try:
                line = await lines.read()
            except LineTooLong:
                continue
            if line is None:
                return
            await _refuse(lines, line, error)
    except Gone:
        return
    finally:
        lines.close()


def _refuse(lines: Lines, line: bytes, error: RpcError) -> Awaitable[None]:
    number = id_in(line)
    return _nothing() if number is None else lines.write(encode(failure(number, error)))


async def _nothing() -> None:
    pass
