"""One HTTP request to an address that somebody configured: to nowhere else, not for longer than said, and no more read than said.

Rules:

1. Only to the configured address: https, or http to this machine itself. No redirect is followed, no proxy of the process environment used.
2. A request ends by its deadline, however slowly bytes trickle, and reads a limited number of them.
3. Whatever a peer does ends as a value; nothing that it sends raises.
4. No message repeats the path or the query of an address: some are secrets.

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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from licet.errors import ConfigInvalid
from licet.names import visible

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

PART_BYTES = 65_536

_MESSAGE_LIMIT = 200
_PRINTABLE = re.compile(r"[!-~]+")
_PARTS = re.compile(r"([a-z0-9+.-]*://)?(?:[^@/?#]*@)?([^@/?#]*)(?:[/?#][^@]*)?", re.DOTALL)


def clean(unverified_text: str) -> str:
    """A peer's words for a message: one line, not long, nothing that commands a terminal."""
    return visible(unverified_text[:_MESSAGE_LIMIT])


def is_loopback(host: str) -> bool:
    """Whether this host of a URL is this machine itself, without asking any resolver."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Unreachable(Struct, frozen=True):
    """No answer, or none that can be used. `sent`: the request, or a part of it, may have arrived all the same."""

    message: str
    sent: bool = False


class Answered(Struct, frozen=True):
    """Status, headers (names in lower case) and body of an answer; `problem` says why the body is not whole, if it is not."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    problem: str | None = None


class Streamed(Struct, frozen=True):
    """An answer whose body is read as it comes. `parts` raises `OSError` where it stops too early."""

    status: int
    headers: Mapping[str, str]
    parts: Iterator[bytes]


class Address(Struct, frozen=True):
    """Where a peer is: a URL, or a prefix of URLs."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str, peer: str, *, query: bool = False) -> Address:
        """The address of this URL. Raises `ConfigInvalid`, which speaks of `peer` ("a witness"), for one that rule 1 forbids."""
        shown = _shown(url)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            # Its words are not repeated, nor chained: they may hold the password.
            raise ConfigInvalid(f"`{shown}` is not the address of {peer}: it cannot be read as a URL") from None
        if parts.scheme not in ("http", "https") or not host or not _PRINTABLE.fullmatch(url):
            raise ConfigInvalid(f"`{shown}` is not the address of {peer}: it begins with https:// and has no spaces")
        if "@" in parts.netloc or "#" in url or ("?" in url and not query):
            parted = "password or fragment" if query else "password, query or fragment"
            raise ConfigInvalid(f"`{shown}` is not the address of {peer}: it has no {parted}")
        secure = parts.scheme == "https"
        if not secure and not is_loopback(host):
            raise ConfigInvalid(f"`{shown}` is on another machine and not https")
        path = parts.path if query else parts.path.rstrip("/")
        if parts.query:
            path = f"{path or '/'}?{parts.query}"
        return cls(secure, host, port or (443 if secure else 80), path)

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        limit_bytes: int,
        tls: ssl.SSLContext,
    ) -> Answered | Unreachable:
        """The answer to one request below this address, of whose body `limit_bytes` are read at most."""
        until, sent = time.monotonic() + timeout_s, False
        try:
            with _connect(self, until, tls) as sock:
                sent = True
                connection = http.client.HTTPConnection(self.host, self.port)
                connection.sock = _Timed(sock, until)
                connection.request(method, self.path + path or "/", body, {**headers, "Connection": "close"})
                return _read(connection.getresponse(), timeout_s, limit_bytes)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Unreachable(_why(error, timeout_s), sent)

    @contextmanager
    def stream(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, timeout_s: float, tls: ssl.SSLContext
    ) -> Iterator[Streamed | Unreachable]:
        """The answer to one request, whose body is read part by part, however long it is. `timeout_s` is for each step, not for all."""
        with ExitStack() as opened:
            try:
                sock = opened.enter_context(_connect(self, time.monotonic() + timeout_s, tls))
                sock.settimeout(timeout_s)
                connection = http.client.HTTPConnection(self.host, self.port)
                connection.sock = sock
                connection.request(method, self.path + path or "/", body, {**headers, "Connection": "close"})
                response = connection.getresponse()
            except (OSError, http.client.HTTPException, ValueError) as error:
                yield Unreachable(_why(error, timeout_s), True)
                return
            named = {name.lower(): value for name, value in response.getheaders()}
            yield Streamed(response.status, named, _parts(response, timeout_s))


def _shown(url: str) -> str:
    """Scheme and host of a URL, for a message. Passwords, paths and queries may be secrets (rule 4); who knows, with an `@` elsewhere?"""
    parts = _PARTS.fullmatch(url)
    return visible(f"{parts[1] or ''}{parts[2]}") if parts else "..."


def _read(response: http.client.HTTPResponse, timeout_s: float, limit_bytes: int) -> Answered:
    headers = {name.lower(): value for name, value in response.getheaders()}
    try:
        body, problem = response.read(limit_bytes + 1), None
    except (OSError, http.client.HTTPException, ValueError) as error:
        body, problem = b"", _why(error, timeout_s)
    if len(body) > limit_bytes:
        body, problem = body[:limit_bytes], f"the answer is longer than {limit_bytes} bytes"
    elif response.length and problem is None:  # `read` with a limit does not mind
        problem = f"the answer ends {response.length} bytes too early"
    return Answered(response.status, headers, body, problem)


def _parts(response: http.client.HTTPResponse, timeout_s: float) -> Iterator[bytes]:
    try:
        while part := response.read(PART_BYTES):
            yield part
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OSError(_why(error, timeout_s)) from error
    if response.length:  # `read` with a limit does not mind
        raise OSError(f"the answer ends {response.length} bytes too early")


def _why(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    return clean(f"{type(error).__name__}: {error}")


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
