"""Clients that trickle, hang, flood and lie: each is answered or gone, and others are served meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet.server import connection
from licet.server.connection import HEADERS_LIMIT_BYTES
from licet.server.run import Server
from tests.gate.files import Files, world_of_files
from tests.server.serving import ANY_PORT, Peer, echo, get, reply, running

QUICK = replace(ANY_PORT, header_timeout_s=0.2, request_timeout_s=0.2, idle_timeout_s=0.2, connections=20)


@pytest.fixture
def w(tmp_path: Path) -> Iterator[Files]:
    with world_of_files(tmp_path) as made:
        yield made


@pytest.fixture
def server(w: Files, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(connection, "GRACE_S", 0.05)
    with running(w, echo, QUICK) as server:
        yield server
        assert get(server.address, "/") == (200, b"hello"), "whatever was done to it, it serves"


def test_requests_are_answered_one_after_the_other_on_one_connection(server: Server) -> None:
    peer = Peer(server.address)
    assert peer.get("/a") == (200, b"hello")
    assert peer.get("/b") == (200, b"hello")
    peer.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"abc" in peer.socket.recv(65_536)


def test_who_connects_and_says_nothing_is_gone(server: Server) -> None:
    assert Peer(server.address).rest() == b""


def test_who_sends_headers_byte_by_byte_is_gone(server: Server) -> None:
    peer = Peer(server.address)
    received = b""
    peer.socket.settimeout(0.02)
    for byte in b"GET / HTTP/1.1\r\nhost: x\r\nx-padding: " + b"a" * 500:
        try:
            peer.send(bytes([byte]))
            received = peer.socket.recv(1_000)
            break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    else:
        pytest.fail("the server took a byte at a time for ten seconds")
    assert received == b"" or received.startswith(b"HTTP/1.1 408 ")


def test_who_sends_a_body_byte_by_byte_is_gone(server: Server) -> None:
    peer = Peer(server.address)
    peer.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
    peer.socket.settimeout(0.02)
    for _ in range(500):
        try:
            peer.send(b"a")
            received = peer.socket.recv(1_000)
        except TimeoutError:
            continue
        except ConnectionError:
            return
        assert received == b""
        return
    pytest.fail("the server took a byte at a time for ten seconds")


def test_who_says_nothing_between_two_requests_is_gone(server: Server) -> None:
    peer = Peer(server.address)
    assert peer.get("/") == (200, b"hello")
    assert peer.rest() == b""


def test_who_sends_line_ends_between_two_requests_is_gone(server: Server) -> None:
    peer = Peer(server.address)
    assert peer.get("/") == (200, b"hello")
    peer.socket.settimeout(0.02)
    for _ in range(500):
        try:
            peer.send(b"\r\n")
            received = peer.socket.recv(1_000)
        except TimeoutError:
            continue
        except ConnectionError:
            return
        assert received == b""
        return
    pytest.fail("the server took line ends for ten seconds")


async def _flood(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    await reply(send, b"x" * (64 * 1024 * 1024))


def test_who_does_not_take_the_answer_is_gone(w: Files) -> None:
    with running(w, _flood, QUICK) as server:
        peer = Peer(server.address)
        peer.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        while server._door.connections == 0:
            pass
        while server._door.connections:  # the server lets go, though nobody has read
            pass
        assert len(peer.rest()) < 64 * 1024 * 1024


def test_beyond_the_number_of_connections_who_comes_is_turned_away(w: Files) -> None:
    with running(w, echo, replace(QUICK, header_timeout_s=60, connections=3)) as server:
        hanging = [Peer(server.address) for _ in range(3)]
        assert hanging[0].get("/") == (200, b"hello")
        assert Peer(server.address).rest().startswith(b"HTTP/1.1 503 ")
        hanging.pop().close()
        while server._door.connections > 2:
            pass
        assert get(server.address, "/") == (200, b"hello")


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_headers_without_end_are_refused(server: Server, *, many: bool) -> None:
    peer = Peer(server.address)
    peer.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
    line = b"x-a: b\r\n" if many else b"x" * 1_000
    if not many:
        peer.send(b"x-long: ")
    received = b""
    try:
        for _ in range(3 * HEADERS_LIMIT_BYTES // len(line)):
            peer.send(line)
        received = peer.rest()
    except ConnectionError:
        received = b"HTTP/1.1 431 reset"
    assert received.startswith(b"HTTP/1.1 431 ")


def test_headers_at_the_limit_are_taken(server: Server) -> None:
    peer = Peer(server.address)
    peer.send(b"GET / HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * (HEADERS_LIMIT_BYTES - 1_000) + b"\r\n\r\n")
    assert peer.answer() == (200, b"hello")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    ],
    ids=["tls", "version", "smuggled", "two-lengths", "space", "negative"],
)
def test_what_is_not_http_is_refused_and_nothing_of_it_is_answered(server: Server, data: bytes) -> None:
    peer = Peer(server.address)
    peer.send(data)
    received = peer.rest()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1") == 1
    assert b"connection: close" in received


def test_websockets_are_not_spoken(server: Server) -> None:
    peer = Peer(server.address)
    peer.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    assert peer.answer() == (200, b"hello")
