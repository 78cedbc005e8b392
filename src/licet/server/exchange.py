"""One request and its answer: read within bounds, handed to its endpoint, answered once.

`app.py` says in which order, and why.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from licet.errors import NotAuthenticated
from licet.identity.authenticated import Authenticated
from licet.ledger.entropy import new_id
from licet.server import problems
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.observing import CREDENTIAL, REQUEST_ID, Answered
from licet.server.problems import Problem, bad_request
from licet.server.reading import Disconnected, Receive, decode_body, decode_params, read_body
from licet.server.routing import Routes

if TYPE_CHECKING:
    from licet.server.app import Api

R = TypeVar("R")

Scope: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PEER_CERTIFICATE: Final = "licet.peer_certificate"
"""The extension of an ASGI scope with the DER of the client certificate that the TLS layer verified. Only that layer sets it."""
LOOK_S: Final = 0.3
"""How often it is looked, while an answer takes long, whether the credential still holds: a revocation counts within a second."""
ENDING_S: Final = 5.0
"""What was called off and goes on for so long is called off once more."""
LONG_BYTES: Final = 32 * 1024
"""A longer body is decoded in a thread: a megabyte of small members takes a second, in which nobody else would be answered."""
GONE: Final = 499
"""What is told of a request whose peer went away before its answer."""
_ONCE: Final = (b"idempotency-key", b"if-match", b"content-type", b"content-encoding")
"""Headers that change what is done: of one that is sent twice, two readers could see different ones."""
_WITHOUT_CONTENT: Final = frozenset({204, 304})
REQUEST_ID_FORM: Final = re.compile(rb"[!-~]{1,128}")
"""What a peer may call its request."""
NOBODY: Final = Authenticated(method="api_key", credential="")
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger("licet.server")


class Exchange:
    """One request and its answer."""

    def __init__(self, api: Api, scope: Scope, receive: Receive, send: Send) -> None:
        self._api = api
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._headers: dict[bytes, bytes] = {}
        self._twice: set[bytes] = set()
        for name, value in scope["headers"]:
            if name in self._headers:
                self._twice.add(name)
            self._headers[name] = value
        given = self._headers.get(b"x-request-id", b"")
        self._request_id = given.decode("ascii") if REQUEST_ID_FORM.fullmatch(given) else new_id()
        self._endpoint: Endpoint | None = None
        self._who = NOBODY
        self._begun = False

    async def answer(self) -> None:
        """Whatever happens, there is one answer, and it is told of."""
        REQUEST_ID.set(self._request_id)
        self._api.observer.began()
        status, code = GONE, ""
        try:
            answer = await self._answered()
            status = answer.status or HTTPStatus.OK
            await self._write(answer)
        except Disconnected:
            status = GONE
        except Exception as error:  # noqa: BLE001 - rule 2
            problem = self._problem(error)
            status, code = problem.status, problem.code
            if not self._begun:
                await self._write(self._refused(problem))
        finally:
            self._tell(status, code)

    async def _answered(self) -> Answer:
        api, scope = self._api, self._scope
        self._endpoint, path = self._routes().find(scope["method"], _path_as_sent(scope))
        endpoint = self._endpoint
        if not endpoint.public:
            self._who = await self._authenticated()
            CREDENTIAL.set(self._who.credential)
            api.count(self._who)
        if not self._twice.isdisjoint(_ONCE):
            name = next(name for name in _ONCE if name in self._twice)
            raise bad_request(f"the header `{name.decode()}` stands twice")
        params = decode_params(endpoint, path, scope["query_string"])
        raw = b""
        if endpoint.method != "GET":
            settings = api.settings
            raw = await read_body(self._receive, self._headers, settings.body_bytes, settings.request_timeout_s)
        body = None if endpoint.takes_raw else await self._decoded(endpoint, raw)
        asked = Asked(
            api.serving,
            self._who,
            params=params,
            body=body,
            raw_body=raw,
            headers=self._headers,
            path=scope["path"],
            request_id=self._request_id,
        )
        waits = endpoint.waits and getattr(body, "wait_s", 1) > 0  # a body that waits for nothing needs no one to watch its peer
        answer = await (self._waited(endpoint, asked) if waits else api.handle(endpoint, asked))
        if answer.status is None:
            answer = msgspec.structs.replace(answer, status=endpoint.status)
        return answer

    async def _waited(self, endpoint: Endpoint, asked: Asked) -> Answer:
        """What a handler answers that may wait for people; no credential waits on more than half of all connections."""
        if not self._api.waiting.enter(self._who.credential):
            raise Problem("too_many_requests", "too many requests of this credential wait at once", retry_after_s=1)
        try:
            return await self._while_wanted(self._api.handle(endpoint, asked))
        finally:
            self._api.waiting.leave(self._who.credential)

    async def _while_wanted(self, work: Coroutine[Any, Any, R]) -> R:
        """What the work gives. It is cancelled when the peer goes away, or its credential does not hold any more (rule 4)."""
        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(self._left())
        try:
            while not working.done():
                await asyncio.wait({working, leaving}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done() and not working.done():
                    raise Disconnected
                if not working.done() and self._endpoint is not None and not self._endpoint.public:
                    await self._check_still()
            return working.result()
        finally:
            leaving.cancel()
            while not working.done():
                working.cancel()  # again, where what it waited for came at the same moment and it went on
                await asyncio.wait({working}, timeout=ENDING_S)
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _decoded(self, endpoint: Endpoint, raw: bytes) -> Any:
        if len(raw) <= LONG_BYTES:
            return decode_body(endpoint, self._headers, raw, self._api.settings.body_bytes)
        return await self._api.run(lambda: decode_body(endpoint, self._headers, raw, self._api.settings.body_bytes))

    # what another front door does in its own way (licet.console)

    def _routes(self) -> Routes:
        return self._api.routes

    async def _authenticated(self) -> Authenticated:
        return await self._api.authenticate(self._authorization(), self._certificate(), self._client())

    async def _check_still(self) -> None:
        await self._api.check_still(self._who, self._authorization(), self._certificate())

    def _refused(self, problem: Problem) -> Answer:
        return _as_answer(problem, self._request_id, plain=self._endpoint is not None and self._endpoint.plain_errors)

    def _authorization(self) -> str | None:
        if b"authorization" in self._twice:
            raise NotAuthenticated("invalid_credential", "header_twice")  # which one counts, two readers could see differently
        shown = self._headers.get(b"authorization")
        return None if shown is None else shown.decode("latin-1")

    def _certificate(self) -> bytes | None:
        found: bytes | None = (self._scope.get("extensions") or {}).get(PEER_CERTIFICATE)
        return found

    def _client(self) -> str:
        client = self._scope.get("client")
        return client[0] if client else ""

    async def _write(self, answer: Answer) -> None:
        content = answer.content if answer.content is not None else b""
        if answer.content is None and answer.stream is None and answer.body is not None:
            content = _encode(answer.body)
        status = int(answer.status or HTTPStatus.OK)
        if (
            answer.etag is not None
            and self._scope["method"] in {"GET", "HEAD"}
            and _names(self._headers.get(b"if-none-match"), answer.etag)
        ):
            status, content, answer = HTTPStatus.NOT_MODIFIED, b"", msgspec.structs.replace(answer, stream=None)
        headers = self._answer_headers(answer, status, None if answer.stream is not None else len(content))
        self._begun = True
        await self._send({"type": "http.response.start", "status": int(status), "headers": headers})
        if answer.stream is not None:
            await self._while_wanted(self._send_parts(answer.stream))
        await self._send({"type": "http.response.body", "body": content})

    def _answer_headers(self, answer: Answer, status: int, length: int | None) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self._request_id.encode("ascii")), (b"x-content-type-options", b"nosniff")]
        if status not in _WITHOUT_CONTENT:
            headers.append((b"content-type", answer.media_type.encode("latin-1")))
            if length is not None:
                headers.append((b"content-length", b"%d" % length))
        if answer.etag is not None:
            headers.append((b"etag", f'"{answer.etag}"'.encode("latin-1")))
        named = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        if not any(name == b"cache-control" for name, _ in named):
            headers.append((b"cache-control", b"no-store" if answer.etag is None else b"private, no-cache"))
        return headers + named

    async def _send_parts(self, stream: Iterator[bytes] | AsyncIterator[bytes]) -> None:
        async for part in self._parts(stream):
            await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def _parts(self, stream: Iterator[bytes] | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        if isinstance(stream, AsyncIterator):
            async for part in stream:
                yield part
            return
        parts = iter(stream)
        while True:
            found: bytes | None = await self._api.run(lambda: next(parts, None))
            if found is None:
                return
            yield found

    def _problem(self, error: Exception) -> Problem:
        problem = problems.problem_of(error)
        if problem is None:
            operation = self._endpoint.operation if self._endpoint else "(no endpoint)"
            _log.error("licet: `%s` failed (request `%s`)", operation, self._request_id, exc_info=error)
            return Problem("internal_error", "something went wrong here; the server's log has it under this request's id")
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("licet: request `%s`: %s", self._request_id, error)
        return problem

    def _tell(self, status: int, code: str) -> None:
        self._api.observer.answered(
            Answered(
                request_id=self._request_id,
                method=self._scope["method"] if self._endpoint else "",
                route=self._endpoint.path if self._endpoint else "",
                status=int(status),
                duration_s=time.perf_counter() - self._started,
                code=code,
                credential=self._who.credential,
                client=self._client(),
            )
        )


def _path_as_sent(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")  # which ASGI lets a server leave out
    return quote(scope["path"]) if raw is None else raw.decode("utf-8", "replace")


def _as_answer(problem: Problem, request_id: str, *, plain: bool) -> Answer:
    headers = problem.headers
    if problem.retry_after_s is not None:
        headers = (*headers, ("Retry-After", str(problem.retry_after_s)))
    if plain:
        text = "; ".join((problem.detail, *problem.errors))
        return Answer(content=text.encode(), media_type=problems.PLAIN, status=problem.status, headers=headers)
    return Answer(content=problem.encode(request_id), media_type=problems.MEDIA_TYPE, status=problem.status, headers=headers)


def _names(condition: bytes | None, etag: str) -> bool:
    """Whether an `If-None-Match` names this tag (RFC 9110, 13.1.2)."""
    if condition is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in condition.decode("latin-1").split(",")]
    return "*" in tags or f'"{etag}"' in tags
