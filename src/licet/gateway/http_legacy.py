"""Sessions of legacy clients over HTTP (2025-11-25): opened by `initialize`, named by `Mcp-Session-Id`, ended by DELETE or by time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from licet.gate.gate import Gate
from licet.gateway.client_facts import legacy_client
from licet.gateway.client_link import CANCELLED, LegacyRequest
from licet.gateway.client_session import ClientSession, Principal, Sessions
from licet.gateway.client_sse import HEADERS, KEEP_ALIVE_S, MEDIA_TYPE, Reply, Stream
from licet.gateway.messages import INVALID_REQUEST, RpcError, encode, is_id
from licet.gateway.requested import REFUSED, Answers, Requested, outcome, scope_wanting
from licet.gateway.watch import Watch, Withdrawn
from licet.model import JsonObject

SESSION: Final = "mcp-session-id"
LAST_EVENT: Final = "last-event-id"
INITIALIZE: Final = "initialize"
PRIMED_FROM: Final = "2025-11-25"
"""Clients of earlier versions take an event without a message for a broken one."""


class LegacyDoor:
    """Answers legacy clients, in their sessions."""

    def __init__(self, gate: Gate, gateway: Answers, ended: Callable[[ClientSession], None] = lambda _: None) -> None:
        self._gate = gate
        self._gateway = gateway
        self.sessions: Final = Sessions(lambda: gate.settings.gateway.sessions, lambda: gate.settings.gateway.session_idle_s, ended)

    async def post(self, asked: Requested, message: JsonObject) -> None:
        """Answer one message. Raises `RpcError` for one that is malformed, or belongs to no session, before anything was done."""
        method = message.get("method")
        if method == INITIALIZE and "id" in message:
            await self._initialize(asked, message)
            return
        session = self._find(asked)
        if method is not None and "id" in message:
            await self._request(asked, session, message)
            return
        if method is None:
            session.take(message)
        elif method != CANCELLED:
            await self._hear(asked, session, message)
        elif is_id(number := message.get("params", {}).get("requestId")):
            session.cancel(number)
        await asked.visit.answer(202)

    async def listen(self, asked: Requested) -> None:
        """The stream of what belongs to no request, or, with `Last-Event-ID`, the rest of one that was lost. Raises `RpcError`."""
        session = self._find(asked)
        stream, after = _resumed(session, asked.visit.headers.get(LAST_EVENT))
        if _is_primed(session):
            stream.prime()
        await asked.visit.begin(HEADERS)
        await self._pour(asked, stream, after)
        await asked.visit.end()

    async def end(self, asked: Requested) -> None:
        """The client ends its session. Raises `RpcError`."""
        self.sessions.end(self._find(asked))
        await asked.visit.answer(204)

    def let_go(self) -> None:
        """Nobody listens any more, and sessions in which nothing is under way end."""
        for session in self.sessions:
            if session.running:
                session.listening().drop()
            else:
                self.sessions.end(session)

    def close(self) -> None:
        """Every session ends."""
        self.sessions.close()

    async def _pour(self, asked: Requested, stream: Stream, after: int) -> None:
        with Watch(asked.visit, ends_with_peer=True):
            await stream.pour(asked.visit, after)

    def _find(self, asked: Requested) -> ClientSession:
        """The session that the request names (rule 3 of the door). Raises `RpcError`."""
        visit = asked.visit
        unverified = visit.headers.get(SESSION)
        if unverified is None or SESSION in visit.twice:
            say = "send `initialize` first and name its session once, in `Mcp-Session-Id`; or say in `_meta` which modern version you speak"
            raise RpcError(INVALID_REQUEST, say, http_status=400)
        session = self.sessions.find(unverified, _principal(asked), visit.upstream)
        if session is None:
            raise RpcError(INVALID_REQUEST, "there is no such session, or not any more: send `initialize` again", http_status=404)
        return session

    async def _initialize(self, asked: Requested, message: JsonObject) -> None:
        client = legacy_client(message.get("params", {}))
        session = self.sessions.open(_principal(asked), client, asked.visit.upstream)
        number = message["id"]
        reply = Reply(asked.visit, session.open_stream)
        link = LegacyRequest(session, message, reply)
        incoming = asked.incoming(message, link, session.state, session.label)

        async def described() -> JsonObject:
            return {"protocolVersion": client.version, **await self._gateway.describe(incoming)}

        try:
            answer, status = await outcome(Watch(asked.visit, ends_with_peer=True), number, described)
        except BaseException:
            self.sessions.end(session)
            raise
        finally:
            link.end()
        if "error" in answer:
            self.sessions.end(session)
            await asked.visit.answer(max(status, REFUSED), encode(answer))
            return
        await reply.finish(answer, headers={SESSION: session.id})

    async def _hear(self, asked: Requested, session: ClientSession, message: JsonObject) -> None:
        link = LegacyRequest(session, message, Reply(asked.visit, session.open_stream))
        link.end()  # it is no request: nothing is answered to it
        await self._gateway.heard(asked.incoming(message, link, session.state, session.label))

    async def _request(self, asked: Requested, session: ClientSession, message: JsonObject) -> None:
        number = message["id"]
        if number in session.running:
            # an answer under this id would be taken for that of the other request, so this one has none
            raise RpcError(INVALID_REQUEST, "a request with this id is under way: use each id once", http_status=400)
        reply = Reply(asked.visit, session.open_stream, primed=_is_primed(session))
        link = LegacyRequest(session, message, reply)
        incoming = asked.incoming(message, link, session.state, session.label)
        wanting = scope_wanting(self._gate, asked, incoming)
        if wanting is not None:
            await asked.refuse(wanting[0], number, wanting[1])
            return
        watch = session.running[number] = Watch(asked.visit, ends_with_peer=False, long_s=KEEP_ALIVE_S, long_after=reply.open)
        try:
            answer, _ = await outcome(watch, number, lambda: self._gateway.answer(incoming))
        except Withdrawn:
            link.end()
            await reply.end_unanswered()
            return
        except BaseException:
            reply.stop()
            raise
        finally:
            link.end()
            session.running.pop(number, None)
        await reply.finish(answer)  # with 200 whatever it is: 404 would say that the session is gone


def accepts_stream(accept: str | None) -> bool:
    """Whether a client takes events, by its `Accept`."""
    return accept is None or any(kind in accept.lower() for kind in (MEDIA_TYPE, "text/*", "*/*"))


def _resumed(session: ClientSession, last: str | None) -> tuple[Stream, int]:
    """What is listened to, and behind which of its events. Raises `RpcError`."""
    if last is None:
        stream = session.listening()
        return stream, stream.written
    found = session.find_stream(last)
    if found is None:
        raise RpcError(INVALID_REQUEST, "nothing of this stream is kept any more: listen without `Last-Event-ID`", http_status=400)
    return found


def _principal(asked: Requested) -> Principal:
    return Principal.of(asked.who.credential, asked.acting)


def _is_primed(session: ClientSession) -> bool:
    return session.client.version >= PRIMED_FROM
