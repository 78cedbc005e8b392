"""One connection: HTTP/1.1 by uvicorn's httptools protocol, with an end to every wait and a bound to every amount.

Rules:

1. Who connects is answered or gone within stated times: headers are whole within `header_timeout_s` of the first byte (or of connecting),
   the body within `request_timeout_s`, each part of an answer is taken within `request_timeout_s`, and between two requests nothing comes
   for `idle_timeout_s` at most. A byte now and then moves none of these.
2. Beyond `connections` who comes is turned away at once (503).
3. Request line and headers are `HEADERS_LIMIT_BYTES` together at most (431), and so is what stands between two parts of a body: nothing is
   kept that nobody has asked for. Trailer fields are passed over: what stands behind the body is said to nobody as a header.
4. Nothing of the protocol's own is written into or behind an answer while its request is not over.
5. A client certificate that TLS has verified goes into the scope's extensions. It comes from the TLS layer and from nowhere else.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from msgspec import Struct
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from licet.server.exchange import PEER_CERTIFICATE

HEADERS_LIMIT_BYTES = 64 * 1024
"""A token of 16 KiB (identity/authenticator.py), a traceparent and what proxies add fit in it many times."""
GRACE_S = 2.0
"""The application has the first word about a body that does not arrive (408); after this the connection is cut all the same."""


class Times(Struct, frozen=True, kw_only=True):
    """What a connection is held to; seconds, and a number of connections."""

    header_timeout_s: float
    request_timeout_s: float
    connections: int


class Connection(HttpToolsProtocol):
    """A connection under `times`, which `bounded` sets."""

    times: Times

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._in_headers = False
        self._bytes = 0
        self._refused = False
        self._certificate: bytes | None = None
        self._running: RequestResponseCycle | None = None

    # what the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, if there is room."""
        super().connection_made(transport)
        if len(self.connections) > self.times.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        tls = transport.get_extra_info("ssl_object")
        self._certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self._await(self.times.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._forget()
        if self._taking is not None:
            self._taking.cancel()
        self._unset_keepalive_if_required()
        self._let_go()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._refused or self.transport.is_closing():
            return
        self._bytes += len(data)  # a header, a trailer or a chunk's extension that never ends is told by the parser to nobody
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._bytes > HEADERS_LIMIT_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._is_idle() and self._deadline is None and self.timeout_keep_alive_task is None:
            self._await(self.times.header_timeout_s)  # bytes that begin no request have ended the time between two

    def pause_writing(self) -> None:
        """The peer takes nothing: from now on it has so long."""
        super().pause_writing()
        self._must_take()

    def resume_writing(self) -> None:
        """The peer takes again."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    # what the parser tells

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_headers, self._bytes = True, 0
        if self._certificate is not None:
            self.scope["extensions"] = {PEER_CERTIFICATE: self._certificate}  # type: ignore[dict-item]  # an extension of our own
        if self._deadline is None:
            self._await(self.times.header_timeout_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a trailer field is none: it could name who asks, or for whom, behind a proxy that looks at headers alone."""
        if not self._in_headers:
            return
        self._bytes += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered."""
        if self._bytes + len(self.url) > 2 * HEADERS_LIMIT_BYTES:  # counted by the chunk and by the header: at most twice
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self._in_headers, self._bytes = False, 0
        self._await(self.times.request_timeout_s + GRACE_S)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is here."""
        if self._refused:
            return
        self._bytes = 0
        self._forget()
        super().on_message_complete()

    # what uvicorn does

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """The whole answer was handed to the transport."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._must_take()  # closed once the peer has taken it, which it may never do

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def timeout_keep_alive_handler(self) -> None:
        """The time between two requests is over."""
        self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def shutdown(self) -> None:
        """End when the request in flight is answered."""
        super().shutdown()
        if self.transport.is_closing():
            self._must_take()

    def _is_idle(self) -> bool:
        """Whether no request has begun since the last answer."""
        return not self._in_headers and (self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body))

    def _await(self, seconds: float) -> None:
        self._forget()
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        """What was waited for did not come."""
        self._deadline = None
        if self._in_headers:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.abort()

    def _let_go(self) -> None:
        """Who is gone is answered no more, and what they sent ahead of the answer is not begun: uvicorn tells the newest request alone."""
        self.pipeline.clear()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _must_take(self) -> None:
        if self._taking is None:
            self._taking = self.loop.call_later(self.times.request_timeout_s, self.transport.abort)

    def _refuse(self, status: HTTPStatus, message: str | None = None) -> None:
        """A short answer of the protocol itself, and the end."""
        self._refused = True
        self._forget()
        if self.transport.is_closing():
            return
        body = (message or status.phrase).encode("ascii")
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
        if self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body):  # else it would be a second answer to one
            self.transport.write(head.encode("ascii") + b"connection: close\r\n\r\n" + body)
        self._let_go()
        self.transport.close()
        self._must_take()


def bounded(times: Times) -> type[Connection]:
    """Connections under these times."""
    return type("BoundedConnection", (Connection,), {"times": times})
