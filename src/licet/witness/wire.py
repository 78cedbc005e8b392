"""One HTTP request to a witness: to nowhere else, and not for longer than said.

Rules:

1. Only to the configured address: https, or http to this machine itself. No redirect is followed, no proxy of the process environment used.
2. A request ends by its deadline, however slowly bytes trickle, and reads a limited number of them.
3. Whatever a peer does ends as a value; nothing that it sends raises.

Not guaranteed: that resolving a name ends by the deadline, which is up to the system's resolver. Connections are not kept open.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import Struct

from licet.errors import ConfigInvalid
from licet.names import visible

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

RESPONSE_LIMIT_BYTES = 131_072
"""The size of the largest note (ledger/note.py)."""

_HTTP_TOO_MANY: Final = 429
_HTTP_SERVER_ERROR: Final = 500
_MESSAGE_LIMIT = 200
_PRINTABLE = re.compile(r"[!-~]+")


def clean(unverified_text: str) -> str:
    """A peer's words for a message: one line, not long, nothing that commands a terminal."""
    return visible(unverified_text[:_MESSAGE_LIMIT])


class Unreachable(Struct, frozen=True):
    """No answer, or one that says to come back (429, 5xx)."""

    message: str


class Address(Struct, frozen=True):
    """Where a witness is: a prefix of URLs."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address of this URL. Raises `ConfigInvalid` for one that rule 1 forbids."""
        shown = visible(url.rpartition("@")[2])  # a password is not repeated
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigInvalid(f"`{shown}` is not the address of a witness: {error}") from error
        if parts.scheme not in ("http", "https") or not host or not _PRINTABLE.fullmatch(url):
            raise ConfigInvalid(f"`{shown}` is not the address of a witness: it begins with https:// and has no spaces")
        if parts.query or parts.fragment or "@" in parts.netloc or "?" in url or "#" in url:
            raise ConfigInvalid(f"`{shown}` is not the address of a witness: it has no password, query or fragment")
        secure = parts.scheme == "https"
        if not secure and not _is_loopback(host):
            raise ConfigInvalid(f"`{shown}` is on another machine and not https")
        return cls(secure, host, port or (443 if secure else 80), parts.path.rstrip("/"))

    def exchange(
        self, method: str, path: str, body: bytes | None, *, timeout_s: float, tls: ssl.SSLContext
    ) -> tuple[int, bytes] | Unreachable:
        """Status and body of the answer to one request below this address."""
        until = time.monotonic() + timeout_s
        try:
            with _connect(self, until, tls) as sock:
                connection = http.client.HTTPConnection(self.host, self.port)
                connection.sock = _Timed(sock, until)
                connection.request(method, self.path + path, body, {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"})
                response = connection.getresponse()
                received = response.read(RESPONSE_LIMIT_BYTES + 1)
        except TimeoutError:
            return Unreachable(f"no answer within {timeout_s:g} s")
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Unreachable(clean(f"{type(error).__name__}: {error}"))
        if len(received) > RESPONSE_LIMIT_BYTES:
            return Unreachable(f"the answer is longer than {RESPONSE_LIMIT_BYTES} bytes")
        if response.status == _HTTP_TOO_MANY or response.status >= _HTTP_SERVER_ERROR:
            return Unreachable(clean(f"status {response.status}: {received.decode(errors='replace')}"))
        return response.status, received


class _Timed:
    """What `http.client` needs of a socket; it is closed by whoever opened it."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def sendall(self, data: ReadableBuffer) -> None:
        self._sock.settimeout(_left(self._until))
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._until))

    def close(self) -> None:
        pass


class _TimedReader(io.RawIOBase):
    """Reads until the deadline, which a timeout for each read would not keep."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._sock.settimeout(_left(self._until))
        return self._sock.recv_into(buffer)


def _connect(address: Address, until: float, tls: ssl.SSLContext) -> socket.socket:
    sock = socket.create_connection((address.host, address.port), _left(until))
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not address.secure:
            return sock
        sock.settimeout(_left(until))
        return tls.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
