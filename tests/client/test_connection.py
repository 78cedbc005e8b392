"""What goes to a server and what is made of its answers, against a peer that says whatever a test wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from licet.client import Client, Connection, ServerProblem, ServerUnreachable, connection, read_credential
from licet.client.connection import in_path
from licet.errors import ConfigInvalid
from tests.witness.loopback import Loopback, Request, Script, response

WHO: dict[str, Any] = {
    "method": "api_key",
    "credential": "k",
    "user": None,
    "tenants": [],
    "agents": [],
    "services": [],
    "users": [],
    "roles": [],
    "groups": [],
    "permitted": {},
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE_S", 0.001)


def problem(status: int, code: str, **more: object) -> bytes:
    return response(status, json.dumps({"code": code, "detail": "because", "request_id": "r-1", **more}).encode())


def in_turn(*answers: bytes) -> Script:
    left = list(answers)
    return lambda _: left.pop(0)


def test_a_request_shows_the_credential_and_says_what_it_takes() -> None:
    with Loopback(lambda _: response(200, json.dumps(WHO).encode())) as server:
        found = Client(Connection(server.url, "secret-key")).who_am_i()
    assert found.credential == "k"
    (asked,) = server.requests
    assert (asked.method, asked.path) == ("GET", "/api/v1/whoami")
    assert asked.headers["authorization"] == "Bearer secret-key"
    assert "application/json" in asked.headers["accept"]


def test_what_a_newer_server_says_beside_is_no_error() -> None:
    with Loopback(lambda _: response(200, json.dumps({**WHO, "later": 1}).encode())) as server:
        assert Client(Connection(server.url, None)).who_am_i().method == "api_key"
    assert "authorization" not in server.requests[0].headers


def test_a_body_is_sent_as_json_and_a_query_leaves_out_what_is_not_given() -> None:
    with Loopback(lambda _: response(200, b"{}", 'ETag: "v7"', "X-Request-ID: r-9")) as server:
        query = {"a": "x y", "none": None, "list": ("1", "2"), "yes": True, "count": 3}
        reply = Connection(server.url, "k").ask("POST", "/x", query=query, body={"n": 1}, headers={"If-Match": '"v6"'})
    (asked,) = server.requests
    assert asked.path == "/x?a=x+y&list=1&list=2&yes=true&count=3"
    assert (asked.body, asked.headers["content-type"], asked.headers["if-match"]) == (b'{"n":1}', "application/json", '"v6"')
    assert (reply.status, reply.etag, reply.request_id) == (200, '"v7"', "r-9")


def test_a_problem_is_an_error_with_its_code_status_and_request() -> None:
    with Loopback(lambda _: problem(403, "not_permitted", errors=["here"], unknown=1)) as server, pytest.raises(ServerProblem) as refused:
        Client(Connection(server.url, "k")).who_am_i()
    error = refused.value
    assert (error.status, error.code, str(error), error.request_id, error.errors) == (403, "not_permitted", "because", "r-1", ("here",))
    assert len(server.requests) == 1


def test_what_a_server_says_commands_no_terminal() -> None:
    with Loopback(lambda _: problem(403, "x\x1b[2J", request_id="\x1b]0;")) as server, pytest.raises(ServerProblem) as refused:
        Connection(server.url, "k").ask("GET", "/")
    assert "\x1b" not in refused.value.code + refused.value.request_id


@pytest.mark.parametrize(
    "body", [b"<html>bad gateway</html>", b"", b"[]", b"\xff", b'{"code":7}'], ids=["html", "empty", "list", "bytes", "type"]
)
def test_an_answer_that_no_licet_gives_is_told_as_such(body: bytes) -> None:
    with Loopback(lambda _: response(403, body)) as server, pytest.raises(ServerProblem) as refused:
        Connection(server.url, "k").ask("GET", "/")
    assert (refused.value.status, refused.value.code) == (403, "bad_answer")
    with Loopback(lambda _: response(200, body)) as server, pytest.raises(ServerProblem) as refused:
        Client(Connection(server.url, "k")).who_am_i()
    assert (refused.value.status, refused.value.code) == (200, "bad_answer")


def test_a_redirect_is_not_followed() -> None:
    with Loopback(lambda _: response(302, b"", "Location: http://127.0.0.1:1/")) as server, pytest.raises(ServerProblem) as refused:
        Connection(server.url, "k").ask("GET", "/")
    assert (refused.value.status, len(server.requests)) == (302, 1)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_reads_is_asked_again_where_that_may_help(status: int) -> None:
    with Loopback(in_turn(problem(status, "busy"), problem(status, "busy"), response(200, b"yes"))) as server:
        assert Connection(server.url, "k").ask("GET", "/").body == b"yes"
    assert len(server.requests) == 3


def test_what_changes_something_is_asked_once_unless_it_may_be_repeated() -> None:
    with Loopback(in_turn(problem(503, "busy"), response(200, b"yes"))) as server:
        with pytest.raises(ServerProblem, match="because"):
            Connection(server.url, "k").ask("POST", "/", body={})
        assert len(server.requests) == 1
        assert Connection(server.url, "k").ask("POST", "/", body={}, repeatable=True).body == b"yes"


def test_three_attempts_are_all_and_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    with Loopback(lambda _: problem(503, "busy")) as server, pytest.raises(ServerProblem):
        Connection(server.url, "k").ask("GET", "/")
    assert len(server.requests) == 3
    with Loopback(lambda _: problem(429, "busy", retry_after_s=3600)) as server, pytest.raises(ServerProblem) as refused:
        Connection(server.url, "k").ask("GET", "/")
    assert (refused.value.retry_after_s, len(server.requests)) == (3600, 1)


def test_an_answer_that_breaks_off_may_have_been_carried_out() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"
    with Loopback(lambda _: cut) as server, pytest.raises(ServerUnreachable, match="95 bytes too early") as lost:
        Connection(server.url, "k").ask("POST", "/", body={})
    assert lost.value.sent
    with Loopback(lambda _: b"") as server, pytest.raises(ServerUnreachable) as lost:
        Connection(server.url, "k").ask("POST", "/", body={})
    assert lost.value.sent


def test_where_nobody_listens_nothing_was_sent() -> None:
    with Loopback(lambda _: response(200)) as server:
        url = server.url
    with pytest.raises(ServerUnreachable, match="does not answer: ConnectionRefusedError") as lost:
        Connection(url, "k").ask("GET", "/")
    assert not lost.value.sent


def test_a_stream_is_read_in_parts_and_its_problem_is_one() -> None:
    big = b"x" * 200_000
    with Loopback(lambda _: response(200, big)) as server, Connection(server.url, "k").stream("GET", "/e", query={"a": 1}) as parts:
        found = list(parts)
    assert (b"".join(found), len(found) > 1, server.requests[0].path) == (big, True, "/e?a=1")
    with (
        Loopback(lambda _: problem(403, "not_permitted")) as server,
        pytest.raises(ServerProblem) as refused,
        Connection(server.url, "k").stream("GET", "/e"),
    ):
        raise AssertionError
    assert refused.value.code == "not_permitted"
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"
    with (
        Loopback(lambda _: cut) as server,
        pytest.raises(ServerUnreachable, match="too early"),
        Connection(server.url, "k").stream("GET", "/e") as parts,
    ):
        list(parts)


@pytest.mark.parametrize(
    ("value", "segment"),
    [("a", "a"), ("a/b", "a%2Fb"), ("..", "%2E%2E"), (".", "%2E"), ("a.b", "a.b"), ("a?b#c", "a%3Fb%23c"), ("ü", "%C3%BC"), ("", "")],
)
def test_a_value_in_a_path_stays_one_segment(value: str, segment: str) -> None:
    assert in_path(value) == segment


@pytest.mark.parametrize("url", ["http://licet.example.com", "ftp://localhost", "https://user:hunter2@localhost", "localhost:8181", ""])
def test_a_credential_goes_over_https_or_to_this_machine_only(url: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        Connection(url, "k")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("credential", ["", "a b", "a\r\nX-Evil: 1", "ü"])
def test_a_credential_that_would_break_a_header_is_refused_and_not_repeated(credential: str) -> None:
    with pytest.raises(ConfigInvalid, match="the credential is empty, or holds what no credential holds"):
        Connection("https://licet.example.com", credential)


def test_the_credential_comes_from_environment_or_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert read_credential({}) is None
    assert read_credential({"LICET_API_KEY": "from-environment\n"}) == "from-environment"
    assert read_credential({"LICET_API_KEY_FILE": str(file)}) == "from-file"
    assert read_credential({"LICET_API_KEY": "from-environment"}, file=file) == "from-file"
    for content in (b"", b"\n", b"\xff", b"x" * 70_000):
        file.write_bytes(content)
        with pytest.raises(ConfigInvalid, match="holds no credential"):
            read_credential({}, file=file)
    with pytest.raises(ConfigInvalid, match=r"the credential cannot be read from `.*missing`: no such file or directory"):
        read_credential({"LICET_API_KEY_FILE": str(tmp_path / "missing")})


def test_a_client_is_made_from_the_environment_and_says_what_is_missing() -> None:
    made = Client.connect(environment={"LICET_SERVER": "https://licet.example.com/", "LICET_API_KEY": "k"})
    assert made.connection.url == "https://licet.example.com"
    with pytest.raises(ConfigInvalid, match="no server is named; give its URL, or `LICET_SERVER`"):
        Client.connect(environment={})


def test_a_request_is_what_the_peer_saw() -> None:
    with Loopback(lambda _: response(204)) as server:
        Connection(server.url, "k").ask("DELETE", "/x")
    assert isinstance(server.requests[0], Request)
    assert (server.requests[0].method, server.requests[0].body) == ("DELETE", b"")
