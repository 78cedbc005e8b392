"""A server in a thread, on ports of its own, and sockets that speak to it as they like."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from licet.config.server import Address, ServerSettings
from licet.server.run import Server
from tests.gate.files import Files

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
ANY_PORT = ServerSettings(listen="127.0.0.1:0", metrics="127.0.0.1:0", reload=False)


async def echo(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Answers with the body it was sent."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await reply(send, body or b"hello")


async def reply(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def running(w: Files, app: App, settings: ServerSettings = ANY_PORT, **more: Any) -> Iterator[Server]:
    """A server of this world, stopped at the end."""
    w.gate.settings = replace(w.gate.settings, server=settings)
    server = Server(w.gate, app, **more)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert server.started.wait(20)
    try:
        yield server
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


class Peer:
    """A connection that sends what it likes."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
        self.socket.settimeout(20)
        self.socket.connect(address)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def rest(self) -> bytes:
        """Everything until the other side closes; a reset is an end too."""
        parts = []
        while True:
            try:
                part = self.socket.recv(65_536)
            except ConnectionError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)

    def answer(self) -> tuple[int, bytes]:
        """One answer with a content-length: status and body."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(65_536)
            assert part, data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        while len(body) < length:
            body += self.socket.recv(65_536)
        return int(head.split(b" ")[1]), body

    def get(self, path: str) -> tuple[int, bytes]:
        self.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        return self.answer()

    def close(self) -> None:
        self.socket.close()

    def __del__(self) -> None:
        self.socket.close()


def get(address: Address | None, path: str) -> tuple[int, bytes]:
    """One GET on a connection of its own."""
    assert address is not None
    peer = Peer(address)
    try:
        return peer.get(path)
    finally:
        peer.close()


def get_json(address: Address | None, path: str) -> tuple[int, Any]:
    status, body = get(address, path)
    return status, json.loads(body)
