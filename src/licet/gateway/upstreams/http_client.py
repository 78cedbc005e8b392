"""The HTTP of one upstream: one pool of warm connections for all of its sessions, and what every request to it must keep to.

Rules:

1. No redirect is followed, no cookie kept, no proxy or `.netrc` of the environment asked; nothing is decompressed. The connection goes to
   an address that the guard has looked at.
2. A request shows the gateway's credential. One that is refused (401) is read again, and the request repeated once: it "has not been
   applied" (RFC 9110, 15.5.2). What any other status means stands in `statuses.py`.
3. `Exchange.sent` is true before the body of a request is handed to the connection. No server can act on headers alone.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

import aiohttp
from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from licet.config.upstreams import UpstreamSettings
from licet.gate.steps import EndedAs
from licet.gateway.connection import Garbage, NotSeen, NotSent
from licet.gateway.upstreams.credentials import Credentials, Shown
from licet.gateway.upstreams.guard import Guard
from licet.gateway.upstreams.transport import Exchange

KEEPALIVE_S: Final = 4.0
"""Less than the 5 s after which uvicorn and Node close what is idle: who is second to close loses a request on the way."""
_AGENT: Final = f"licet/{version('licet')}"
_AUTOMATIC: Final = ("Content-Type",)
_NOT_REACHED: Final = (aiohttp.ClientConnectorError, aiohttp.ClientSSLError, aiohttp.InvalidURL, aiohttp.ConnectionTimeoutError)


class HttpUpstream:
    """What all sessions of one upstream share. The pool is opened by the first, and closed with the last."""

    def __init__(self, name: str, settings: UpstreamSettings, credentials: Credentials) -> None:
        assert settings.url is not None
        self.name = name
        self.settings = settings
        self.url = URL(settings.url)
        self.forwarded = frozenset(header.lower() for header in settings.forward_headers)
        self._credentials = credentials
        self._client: ClientSession | None = None
        self._users = 0

    def enter(self) -> None:
        """One session more uses it. Raises `NotSent` where its URL leads nowhere that is permitted."""
        if self._client is None:
            self._client = self._open()
        self._users += 1

    async def leave(self) -> None:
        """One session fewer."""
        self._users -= 1
        if self._users == 0 and self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def _open(self) -> ClientSession:
        guard = Guard(self.url, private=self.settings.private)
        return ClientSession(
            connector=TCPConnector(resolver=guard, limit=0, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=self.settings.connect_timeout_s),
            headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"},
            skip_auto_headers=_AUTOMATIC,
            auto_decompress=False,
            trust_env=False,
        )

    async def request(
        self, method: str, headers: Mapping[str, str], *, tenant: str | None, body: bytes | None = None, exchange: Exchange | None = None
    ) -> ClientResponse:
        """The answer's head; its body is still to be read, within bounds. Raises `EndedAs`."""
        shown = await self._credentials.headers(tenant)
        response = await self._once(method, headers, shown, body, exchange)
        if response.status == HTTPStatus.UNAUTHORIZED:
            renewed = await self._renewed(response, tenant, shown)
            if renewed is not None:
                response.close()
                response = await self._once(method, headers, renewed, body, exchange)
        self._check(response)
        return response

    async def _renewed(self, response: ClientResponse, tenant: str | None, refused: Shown) -> Shown | None:
        try:
            return await self._credentials.renewed(tenant, refused)
        except BaseException:
            response.close()
            raise

    async def _once(
        self, method: str, headers: Mapping[str, str], shown: Shown, body: bytes | None, exchange: Exchange | None
    ) -> ClientResponse:
        if self._client is None:
            raise NotSent(f"the session with `{self.name}` has ended")
        data = None if body is None else _Body(body, exchange)
        own = {name.lower() for name in shown.headers}
        merged = {name: value for name, value in headers.items() if name.lower() not in own} if own else dict(headers)
        merged.update(shown.headers)
        try:
            return await self._client.request(method, self.url, headers=merged, data=data, allow_redirects=False)
        except _NOT_REACHED as error:
            raise NotSent(f"`{self.name}` cannot be reached: {_reason(error)}") from error
        except ValueError as error:  # a header that cannot be sent
            raise NotSent(f"`{self.name}` cannot be sent what it should be sent; look at its `headers`") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self.broken(error, exchange) from error

    def broken(self, error: Exception, exchange: Exchange | None) -> EndedAs:
        """What a connection that broke means for the request on it."""
        if exchange is not None and not exchange.sent:
            return NotSent(f"`{self.name}` closed the connection before it was sent anything")
        if isinstance(error, aiohttp.ClientResponseError):
            return Garbage("upstream_not_understood", f"what `{self.name}` answered is no HTTP")
        return NotSeen(f"the connection to `{self.name}` broke before it answered")

    def _check(self, response: ClientResponse) -> None:
        """What no answer of an upstream may be (rules 1 and 2)."""
        status = response.status
        if status == HTTPStatus.UNAUTHORIZED:
            response.close()
            raise NotSent(f"`{self.name}` refuses the gateway's credential (HTTP status {status}); look at its `headers`")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise Garbage("upstream_not_understood", f"`{self.name}` compressed its answer, which it was not asked to")


class _Body(Payload):
    """The bytes of a message; says when they are handed to a connection (rule 3)."""

    _value: bytes
    _autoclose = True

    def __init__(self, value: bytes, exchange: Exchange | None) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)
        self._exchange = exchange

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002  bytes are bytes
        return self._value

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002  it is ours
        if self._exchange is not None:
            self._exchange.sent = True
        await writer.write(self._value)


def _reason(error: Exception) -> str:
    """Why, for the operator: nothing that the other side wrote."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)) or isinstance(cause, ssl.SSLError):
        return "its certificate, or its TLS, does not hold"
    if isinstance(cause, TimeoutError):
        return "it does not take the connection in time"
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:  # what is below has to do with names
        return os.strerror(cause.errno).lower()
    return "the connection failed"
