"""Listening at one address: sockets, TLS, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, TypeAlias

from uvicorn.config import Config
from uvicorn.server import ServerState

from licet.config.server import Address, ServerSettings
from licet.errors import ConfigInvalid
from licet.server.connection import Times, bounded

Application: TypeAlias = Callable[..., Any]
"""An ASGI 3 application."""

BACKLOG = 2_048
LOOK_S = 0.05
"""How often it is looked whether those in flight have ended."""
_log = logging.getLogger("licet.server")


class Listener:
    """One application at one address. Raises `ConfigInvalid` where the address or the certificate cannot be used."""

    def __init__(self, app: Application, address: Address, settings: ServerSettings, *, tls: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._tls = tls
        self._state = ServerState()
        self._socket = _bind(address)
        host, port = self._socket.getsockname()[:2]
        self.address = Address(host, port)
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.Task[None] | None = None
        times = Times(
            header_timeout_s=settings.header_timeout_s,
            request_timeout_s=settings.request_timeout_s,
            connections=settings.connections,
        )
        self._config = Config(
            app,
            http=bounded(times),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=bool(settings.proxies),
            forwarded_allow_ips=list(settings.proxies),
            server_header=False,
            timeout_keep_alive=settings.idle_timeout_s,  # type: ignore[arg-type]  # handed to call_later
            reset_contextvars=True,
        )
        self._config.load()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    async def start(self) -> None:
        """Connections are taken from now on."""
        loop = asyncio.get_running_loop()
        protocol: Any = self._config.http_protocol_class
        self._tick()
        self._ticking = loop.create_task(self._keep_time())
        self._server = await loop.create_server(
            lambda: protocol(config=self._config, server_state=self._state, app_state={}, _loop=loop),
            sock=self._socket,
            ssl=self._tls,
            backlog=BACKLOG,
            # A handshake that hangs is no connection yet, and counts among none.
            ssl_handshake_timeout=self._settings.header_timeout_s if self._tls is not None else None,
            ssl_shutdown_timeout=self._settings.header_timeout_s if self._tls is not None else None,
        )

    async def stop(self, within_s: float, hurry: asyncio.Event) -> bool:
        """No connection is taken any more; those in flight end within so many seconds, unless somebody is in a hurry. Whether all did."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while (self._state.connections or self._state.tasks) and not hurry.is_set() and loop.time() < deadline:  # noqa: ASYNC110  uvicorn tells nobody
            await asyncio.sleep(LOOK_S)
        left = list(self._state.tasks)
        for connection in list(self._state.connections):
            connection.transport.abort()
        if left:
            _log.error("licet: %d requests were cut off before they were answered", len(left))
            await asyncio.sleep(0)  # their connections are gone before they are cancelled: nobody is told of an error that is none
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)
        if self._ticking is not None:
            self._ticking.cancel()
        return not left

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._tick()

    def _tick(self) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode("ascii"))]


def tls_of(settings: ServerSettings) -> ssl.SSLContext | None:
    """What TLS is spoken with; None where there is none. Raises `ConfigInvalid` where a file cannot be used."""
    if settings.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        if settings.client_ca is not None:
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL  # who shows none has another credential, or none at all
    except OSError as error:  # ssl.SSLError among them, which names no file
        files = [file for file in (settings.tls_certificate, settings.tls_key, settings.client_ca) if file is not None]
        missing = [file for file in files if not file.is_file()]
        which = f"`{missing[0]}`" if missing else "the certificate, its key or the authorities"
        message = f"{which} of `[server]` cannot be used: {error.strerror or error}"
        raise ConfigInvalid(message, key="server.tls_certificate") from error
    return context


def _bind(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _deaf(address, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
    except OSError as error:
        bound.close()
        raise _deaf(address, error) from error
    bound.setblocking(False)
    return bound


def _deaf(address: Address, error: OSError) -> ConfigInvalid:
    why = (error.strerror or "unknown").lower()
    return ConfigInvalid(f"cannot listen at `{address}`: {why}; `listen` and `metrics` of `[server]` say where", key="server.listen")
