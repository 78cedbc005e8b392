"""Attacks on the server's HTTP: requests that two readers could read differently, that never end, or that hope for a slip of the parser."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.server.descriptors import raise_limit
from tests.attacks.serving import Replica, Site, site

pytestmark = pytest.mark.heavy

JSON = b"Content-Type: application/json\r\n"
CALL = b'{"tool":"door.open","arguments":{"number":2}}'
LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
MEBIBYTE = 1_048_576


class Target:
    """A server, and the key of a program."""

    def __init__(self, made: Site, server: Replica) -> None:
        self.site = made
        self.server = server
        self.auth = f"Authorization: Bearer {made.keys['bot']}\r\n".encode()

    def send(self, *parts: bytes, wait_s: float = 20.0) -> bytes:
        """Everything that comes back until the other side closes."""
        with self.server.socket() as peer:
            peer.settimeout(wait_s)
            received = b""
            try:
                for part in parts:
                    peer.sendall(part)
                while part := peer.recv(65_536):
                    received += part
            except ConnectionError:
                pass
            return received

    def post(self, *headers: bytes, body: bytes) -> bytes:
        """A proposal with these headers."""
        return self.send(b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\n" + self.auth + JSON + b"".join(headers) + b"\r\n" + body)

    def count(self) -> int:
        """How many records the log of acme has."""
        with self.site.open() as gate:
            return sum(1 for _ in gate.store.records("acme"))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with site(
        Path(tmp_path_factory.mktemp("http")) / "site",
        server="connections = 1100\nheader_timeout_s = 3.0\nrequest_timeout_s = 3.0\nidle_timeout_s = 0.5",
    ) as made:
        (server,) = made.serve()
        yield Target(made, server)
        assert server.ask("GET", "/api/v1/whoami", made.keys["bot"]).status == 200, "whatever was done to it, it serves"
        assert server.errors() == []


def statuses(received: bytes) -> list[int]:
    """Of every answer."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


# where one request ends and the next begins

SMUGGLED = b"0\r\n\r\nPOST /api/v1/calls HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 5\r\nContent-Length: 45\r\n",
        b"Content-Length: 5, 45\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length:\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X-A: b\r\n Transfer-Encoding: chunked\r\n",
        b"X-A: b\nTransfer-Encoding: chunked\r\n",
        b"X-A: \x00\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
    ],
    ids=map(str, range(18)),
)
def test_a_request_whose_length_can_be_read_in_two_ways_is_refused_and_ends_the_connection(target: Target, headers: bytes) -> None:
    before = target.count()
    received = target.post(headers, body=SMUGGLED + target.auth + JSON + b"Content-Length: 45\r\n\r\n" + CALL)
    assert statuses(received) in ([], [400]), received
    assert target.count() == before, "nothing behind it was read as a request"


@pytest.mark.parametrize(
    "chunks",
    [
        b"ffffffffffffffffff\r\n" + CALL + b"\r\n0\r\n\r\n",
        b"2d\n" + CALL + b"\n0\n\n",
        b"2c\r\n" + CALL + b"\r\n0\r\n\r\n",
        b"2e\r\n" + CALL + b"\r\n0\r\n\r\n",
        b"0x2d\r\n" + CALL + b"\r\n0\r\n\r\n",
        b"-2d\r\n" + CALL + b"\r\n0\r\n\r\n",
        b"2d\r\n" + CALL,
        b"2d\r\n" + CALL + b"\r\n0\r\n",
    ],
    ids=["huge", "bare lf", "short", "long", "0x", "minus", "truncated", "no end"],
)
def test_chunks_that_do_not_say_where_they_end_propose_nothing(target: Target, chunks: bytes) -> None:
    before = target.count()
    assert 200 not in statuses(target.post(b"Transfer-Encoding: chunked\r\n", body=chunks))
    assert target.count() == before


def test_a_body_that_was_not_asked_for_is_not_the_next_request(target: Target) -> None:
    inner = b"GET /api/v1/tools HTTP/1.1\r\nHost: x\r\n" + target.auth + b"\r\n"
    request = b"GET /api/v1/whoami HTTP/1.1\r\nHost: x\r\n" + target.auth + b"Content-Length: %d\r\n\r\n" % len(inner)
    assert statuses(target.send(request + inner + LIVE)) == [200, 200]
    assert target.send(request + inner + LIVE).endswith(b'{"status":"ok"}')


def test_what_comes_behind_a_refusal_is_answered_once(target: Target) -> None:
    request = b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    with target.server.socket() as peer:
        peer.sendall(request)
        received = peer.recv(65_536)
        peer.sendall(b"zz\r\n")
        while part := peer.recv(65_536):
            received += part
    assert statuses(received) == [401], "a second answer would be taken for that of somebody else's request"


def test_whoever_stops_to_send_leaves_no_error_behind(target: Target) -> None:
    for _ in range(20):
        with target.server.socket() as peer:
            peer.sendall((b"GET /api/v1/whoami HTTP/1.1\r\nHost: x\r\n" + target.auth + b"\r\n") * 20)
            peer.shutdown(1)
            while peer.recv(65_536):
                pass
    assert target.server.errors() == []


# trailers


def test_a_trailer_names_nobody(target: Target) -> None:
    request = b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n2d\r\n" + CALL + b"\r\n0\r\n"
    before = target.count()
    assert statuses(target.send(request + target.auth + b"\r\n")) == [401]
    assert target.count() == before


def test_a_trailer_is_no_key_for_the_call(target: Target) -> None:
    chunked = b"Transfer-Encoding: chunked\r\n"
    body = b"2d\r\n" + CALL + b"\r\n0\r\nIdempotency-Key: trailing\r\n\r\n"
    assert b'"decision":"allow"' in target.post(chunked, body=body)
    assert b'"decision":"allow"' in target.post(chunked, body=body), "else the second would be a repeat"


@pytest.mark.parametrize("start", [b"0\r\nX-A: ", b"2d;a=", b"0\r\n"], ids=["trailer", "extension", "trailers"])
def test_what_stands_between_chunks_has_an_end(target: Target, start: bytes) -> None:
    head = b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\n" + target.auth + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    more = b"X-A: b\r\n" * 8_192 if start == b"0\r\n" else b"a" * 65_536
    with target.server.socket() as peer:
        peer.sendall(head + start)
        with pytest.raises(ConnectionError):
            peer.sendall(more * 1_024)


# targets, methods, headers


@pytest.mark.parametrize(
    "line",
    [
        b"GET /api/v1/who%00ami HTTP/1.1",
        b"GET //api/v1/whoami HTTP/1.1",
        b"GET /livez/../api/v1/whoami HTTP/1.1",
        b"GET /livez/%2e%2e/api/v1/whoami HTTP/1.1",
        b"GET /api/v1/whoami/ HTTP/1.1",
        b"GET /api/v1/whoami%0A HTTP/1.1",
        b"GET /api%2Fv1%2Fwhoami HTTP/1.1",
        b"GET /api/v1/records/acme%2F0 HTTP/1.1",
        b"GET /api/v1/requests/x%2Fwait HTTP/1.1",
        b"GET /api/v1/whoami\xff HTTP/1.1",
        b"GET /api/v1/whoami;a=b HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"TRACE /api/v1/whoami HTTP/1.1",
        b"BREW /api/v1/whoami HTTP/1.1",
        b"GET /api/v1/whoami?Authorization=x HTTP/1.1",
        b"PRI * HTTP/2.0",
    ],
)
def test_a_target_that_a_proxy_would_read_otherwise_is_none(target: Target, line: bytes) -> None:
    found = statuses(target.send(line + b"\r\nHost: x\r\nConnection: close\r\n" + target.auth + b"\r\n"))
    assert found
    assert found[0] in {400, 404, 405}


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_older_clients_and_upgrades_get_a_plain_answer(target: Target, version: bytes) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    received = target.send(b"GET /livez " + version + b"\r\nHost: x\r\n" + upgrade + b"\r\n")
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"101" not in received.partition(b"\r\n")[0]


def test_head_and_trace_say_nothing_of_what_was_sent(target: Target) -> None:
    received = target.send(b"HEAD /api/v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + target.auth + b"\r\n")
    assert received.endswith(b"\r\n\r\n")
    for method in (b"TRACE", b"OPTIONS", b"HEAD"):
        received = target.send(
            method + b" /api/v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Secret: s3cret\r\n" + target.auth + b"\r\n"
        )
        assert b"s3cret" not in received
        assert target.auth[22:-2] not in received


@pytest.mark.parametrize("name", [b"X-Request-ID", b"Idempotency-Key", b"If-None-Match", b"Traceparent", b"X-Forwarded-For", b"Host"])
def test_no_header_puts_another_into_the_answer_or_the_log(target: Target, name: bytes) -> None:
    for value in (b"a\x0d Set-Cookie: stolen=1", b"a%0d%0aSet-Cookie:%20stolen=1", b"\xff\xfeSet-Cookie", b"\x1b[2J", "é\u2028".encode()):
        received = target.send(
            b"GET /api/v1/tools HTTP/1.1\r\n" + name + b": " + value + b"\r\nConnection: close\r\n" + target.auth + b"\r\n"
        )
        assert statuses(received) in ([200], [400]), received
        assert b"\nset-cookie" not in received.lower()
    for line in target.server.log.read_text().splitlines():
        json.loads(line)


def test_a_client_that_expects_to_be_asked_is_not_asked_for_what_nobody_takes(target: Target) -> None:
    head = b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + JSON
    with target.server.socket() as peer:
        peer.sendall(head + b"Content-Length: 45\r\n\r\n")
        assert peer.recv(65_536).startswith(b"HTTP/1.1 401 ")
    with target.server.socket() as peer:
        peer.sendall(head + target.auth + b"Content-Length: 999999999\r\n\r\n")
        assert peer.recv(65_536).startswith(b"HTTP/1.1 413 ")


# bodies


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\xef\xbb\xbf" + CALL, 400),
        (CALL.decode().encode("utf-16"), 400),
        (CALL.decode().encode("utf-32-le"), 400),
        (b'{"tool":"door.open","arguments":{"number":' + b"9" * 1_000_000 + b"}}", 400),
        (b'{"tool":"door.open","arguments":{"number":1e400}}', 400),
        (b'{"tool":"door.open","arguments":{"number":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", 400),
        (b'{"tool":"door.open","arguments":{"number":2}} {}', 400),
        (b'{"tool":"door.open","arguments":{"number":2}}\x00', 400),
        (b'{"tool":"door.open","tool":"safe.open","arguments":{"number":2}}', 400),
        (b'{"tool":"door.open","arguments":{"number":1,"number":2}}', 400),
        (b'{"tool":"door.open","arguments":{"number":1},"argument\\u0073":{"number":2}}', 400),
        (b'{"tool":"door.open","arguments":{"number":NaN}}', 400),
        (b'{"tool":"\xff","arguments":{}}', 400),
        (b'{"tool":"\\ud800","arguments":{}}', 400),
        (b'{"tool":"door.open","arguments":{"number":2}' + b" " * 2_000_000 + b"}", 413),
        (gzip.compress(CALL), 400),
    ],
    ids=map(str, range(16)),
)
def test_a_body_that_is_no_plain_json_of_one_meaning_is_refused(target: Target, body: bytes, status: int) -> None:
    before = target.count()
    answer = target.server.ask("POST", "/api/v1/calls", target.site.keys["bot"], body)
    assert answer.status == status, answer.content
    assert target.count() == before


@pytest.mark.parametrize("way", ["declared", "chunked"])
def test_whoever_sends_too_much_reads_that_it_was_too_much(target: Target, way: str) -> None:
    """A peer that still sends when the connection ends would know that it broke, and not why."""
    spaces = b" " * MEBIBYTE
    head = b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\n" + target.auth + JSON
    head += b"Transfer-Encoding: chunked\r\n\r\n" if way == "chunked" else b"Content-Length: %d\r\n\r\n" % (4 * MEBIBYTE)
    with target.server.socket() as peer:
        peer.sendall(head)
        for _ in range(4):
            peer.sendall(b"100000\r\n" + spaces + b"\r\n" if way == "chunked" else spaces)
            time.sleep(0.1)  # as long as an answer would take
        peer.sendall(b"0\r\n\r\n" if way == "chunked" else b"")
        assert peer.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_whoever_sends_without_an_end_is_answered_all_the_same(target: Target) -> None:
    received = target.post(b"Transfer-Encoding: chunked\r\n", body=(b"100000\r\n" + b" " * MEBIBYTE + b"\r\n") * 19)
    assert statuses(received) in ([413], []), "what was sent on after the answer may have broken the connection"


def test_what_is_compressed_is_not_opened(target: Target) -> None:
    bomb = gzip.compress(b" " * 100 * MEBIBYTE)
    for coding in ("gzip", "deflate", "br", "GZIP", "identity, gzip"):
        answer = target.server.ask("POST", "/api/v1/calls", target.site.keys["bot"], bomb, {"Content-Encoding": coding})
        assert answer.status == 415, answer.content


# patience


def test_a_thousand_that_hang_in_every_way_hold_up_nobody(target: Target) -> None:
    raise_limit(1_000)
    ways = (
        b"",
        b"GET /api/v1/who",
        b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\n" + target.auth + JSON + b"Content-Length: 1000\r\n\r\n{",
        b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\n" + target.auth + JSON + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    )
    hanging = [target.server.socket() for _ in range(1_000)]
    try:
        for number, peer in enumerate(hanging):
            peer.sendall(ways[number % len(ways)])
        for _ in range(50):
            assert target.server.ask("POST", "/api/v1/calls", target.site.keys["bot"], CALL).status == 200
        for peer in hanging:
            peer.settimeout(20)
            while peer.recv(65_536):
                pass
    except ConnectionResetError:
        pass
    finally:
        for peer in hanging:
            peer.close()


def test_pipelined_requests_are_answered_in_order_and_a_flood_of_them_stops_nobody(target: Target) -> None:
    received = target.send(
        *[b"GET /api/v1/requests/none-%d HTTP/1.1\r\nHost: x\r\nX-Request-ID: n%d\r\n" % (n, n) + target.auth + b"\r\n" for n in range(20)]
    )
    assert statuses(received) == [404] * 20
    order = [line.partition(b"n")[2] for line in received.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert order == [b"%d" % n for n in range(20)]
    flood = threading.Thread(target=lambda: target.send(LIVE * 20_000))
    flood.start()
    for _ in range(20):  # meanwhile
        assert target.server.ask("GET", "/api/v1/whoami", target.site.keys["bot"]).status == 200
    flood.join()
