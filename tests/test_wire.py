"""One HTTP request: what `tests/witness/test_client.py` and `tests/approvals/notify/test_webhook.py` do not show of it."""

from __future__ import annotations

import ssl

import pytest

from licet.errors import ConfigInvalid
from licet.wire import Address, Answered, Unreachable, is_loopback
from tests.witness.loopback import Loopback, Request, Script, response, slowly

TLS = ssl.create_default_context()


def answer(script: Script, *, limit_bytes: int = 100, timeout_s: float = 5) -> Answered | Unreachable:
    with Loopback(script) as server:
        return Address.parse(server.url, "a peer").exchange("GET", "/x", None, {}, timeout_s=timeout_s, limit_bytes=limit_bytes, tls=TLS)


def test_status_headers_and_body_are_told() -> None:
    found = answer(lambda _: response(418, b"short", "Retry-After: 5", "X: y"))
    assert found == Answered(418, {"content-length": "5", "retry-after": "5", "x": "y"}, b"short")


def test_a_body_that_is_too_long_or_stops_is_told_with_its_status() -> None:
    long = answer(lambda _: response(200, b"x" * 101))
    assert isinstance(long, Answered)
    assert (long.status, long.body, long.problem) == (200, b"x" * 100, "the answer is longer than 100 bytes")
    cut = answer(lambda _: b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nx")
    assert isinstance(cut, Answered)
    assert cut.status == 503
    assert cut.problem == "the answer ends 8 bytes too early"
    slow = answer(lambda _: slowly([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", *[b"x"] * 20], 0.05), timeout_s=0.2)
    assert isinstance(slow, Answered)
    assert slow.problem == "no answer within 0.2 s"


@pytest.mark.parametrize(
    ("url", "asked"),
    [("", "/"), ("/", "/"), ("/a/", "/a/"), ("/a?b=c&d", "/a?b=c&d"), ("?b", "/?b"), ("/?", "/")],
)
def test_an_address_with_a_query_is_asked_as_it_is(url: str, asked: str) -> None:
    with Loopback(lambda _: response(200)) as server:
        Address.parse(server.url + url, "a peer", query=True).exchange("POST", "", b"", {}, timeout_s=5, limit_bytes=0, tls=TLS)
    assert server.requests[0].path == asked


def test_what_is_sent_is_what_was_given() -> None:
    with Loopback(lambda _: response(200)) as server:
        Address.parse(server.url, "a peer").exchange("PUT", "/p", b"body", {"A": "b"}, timeout_s=5, limit_bytes=0, tls=TLS)
    (got,) = server.requests
    assert isinstance(got, Request)
    assert (got.method, got.path, got.body, got.headers["a"], got.headers["connection"]) == ("PUT", "/p", b"body", "b", "close")


@pytest.mark.parametrize(
    "url",
    [
        "https://me:word@host.invalid/word?word#word",
        "https://host.invalid:99999/word",
        "word@host.invalid/word",
        "ftp://host.invalid/word",
        "ftp://host.invalid/?x=http://other/word",
    ],
)
def test_only_scheme_and_host_of_an_address_are_told(url: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Address.parse(url, "a peer", query=True)
    assert "host.invalid" in str(caught.value)
    assert "is not the address of a peer" in str(caught.value)
    assert "word@" not in str(caught.value)
    assert "/word" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.invalid", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, here: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is here


@pytest.mark.parametrize(
    "url", ["ftp://host.invalid/@word", "ftp://me:wo/rd@host.invalid", "ftp://me:word://x@host.invalid", "://@word/@word"]
)
def test_what_may_be_part_of_a_password_is_not_told(url: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Address.parse(url, "a peer", query=True)
    assert "wo" not in str(caught.value)
