from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from licet.config.server import ServerSettings
from licet.errors import IntegrityBroken, NotAuthenticated, StoreUnavailable
from licet.server.api import endpoints
from licet.server.app import CHECKING, WORKERS
from licet.server.endpoint import Answer, Asked, Endpoint, Handler, Method
from licet.server.limits import neighbourhood
from tests.server.world import KNOWN, ServerWorld, Shown, server_world


class Named(Struct, forbid_unknown_fields=True):
    name: str
    count: int = 1
    tags: tuple[str, ...] = ()


class Sent(Struct, forbid_unknown_fields=True):
    text: str


def _echo(asked: Asked) -> Answer:
    asked.allow("catalog.read", "acme")
    return Answer(body={"params": asked.params, "body": asked.body, "who": asked.who.credential}, etag="abc")


async def _later(asked: Asked) -> Answer:
    asked.allow("catalog.read", "acme")
    await asyncio.sleep(0)
    return Answer(stream=iter([b"one ", b"two"]), media_type="text/plain")


def _forgot(asked: Asked) -> Answer:
    return Answer(body={"secret": 1})


def _fails(asked: Asked) -> Answer:
    asked.allow("catalog.read", "acme")
    raise RuntimeError("the secret is 42")


def _cannot(asked: Asked) -> Answer:
    asked.allow("catalog.read", "acme")
    if asked.params.name == "read":
        raise IntegrityBroken("the tree of log `globex` in `/var/lib/licet/ledger.db` is damaged")
    raise StoreUnavailable("the ledger `licet@db.internal/ledger` cannot be reached")


BEGUN = threading.Event()


async def _waits(asked: Asked) -> Answer:
    asked.allow("catalog.read", "acme")
    BEGUN.set()
    await asyncio.Event().wait()
    raise AssertionError


async def _flows(asked: Asked) -> Answer:
    asked.allow("catalog.read", "acme")
    BEGUN.set()
    return Answer(stream=itertools.repeat(b"again "), media_type="text/plain")


def _endpoint(method: Method, path: str, handler: Handler, **more: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "operation": handler.__name__ + path + method,
        "summary": "s",
        "tag": "t",
        "action": "catalog.read",
        **more,
    }
    return Endpoint(method=method, path=path, handler=handler, **fields)


TABLE = (
    _endpoint("GET", "/things/{name}", _echo, params=Named),
    _endpoint("POST", "/things/{name}", _echo, params=Named, body=Sent),
    _endpoint("GET", "/later", _later),
    _endpoint("GET", "/forgot", _forgot),
    _endpoint("GET", "/fails", _fails),
    _endpoint("GET", "/cannot/{name}", _cannot, params=Named),
    _endpoint("GET", "/waits", _waits, waits=True),
    _endpoint("GET", "/flows", _flows),
)


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    BEGUN.clear()
    with server_world(table=TABLE, settings=ServerSettings(body_bytes=2_000, requests_per_minute=60, refusals_per_minute=3)) as made:
        yield made


def test_parameters_and_body_arrive_as_their_types(served: ServerWorld) -> None:
    reply = served.post("/things/x%20y".replace("%20", " ") + "?count=2&tags=a&tags=b", "agent", {"text": "hello"})
    assert reply.status == 200
    assert reply.json == {"params": {"name": "x y", "count": 2, "tags": ["a", "b"]}, "body": {"text": "hello"}, "who": "key-agent"}
    assert reply.headers["cache-control"] == "private, no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/things/x?count=many", "$.count"),
        ("/things/x?colour=red", "colour"),
        ("/things/x?count=1&count=2", "count"),
        ("/things/x?count", ""),
        ("/things/x?name=y", "name"),
        ("/later?x=1", ""),
        ("/things/x?tags=%00", ""),
        ("/things/x?tags=%ff", ""),
        ("/things/x?" + "&".join(f"tags={n}" for n in range(101)), ""),
        ("/things/x?tags=" + "a" * 9_000, ""),
    ],
)
def test_parameters_that_are_not_as_they_must_be_are_refused(served: ServerWorld, path: str, where: str) -> None:
    reply = served.get(path, "agent")
    assert reply.status == 400
    assert reply.code == "bad_request"
    assert where in " ".join(reply.json["errors"])


@pytest.mark.parametrize(
    ("raw", "code", "status"),
    [
        (b'{"text": "a", "text": "b"}', "not_json", 400),
        (b'{"text": "a"', "not_json", 400),
        (b"", "not_json", 400),
        (b"[]", "bad_request", 400),
        (b'{"text": 1}', "bad_request", 400),
        (b'{"text": "a", "more": 1}', "bad_request", 400),
        (b'{"text": NaN}', "not_json", 400),
        (b'{"text": "\xff"}', "not_json", 400),
        (b'{"text": {"__entity": {}}}', "not_json", 400),
        (b"[" * 1_000, "not_json", 400),
        (b'{"text": "' + b"a" * 3_000 + b'"}', "too_large", 413),
    ],
    ids=["twice", "cut", "empty", "list", "number", "unknown", "nan", "latin", "entity", "deep", "large"],
)
def test_a_body_that_is_not_as_it_must_be_is_refused(served: ServerWorld, raw: bytes, code: str, status: int) -> None:
    reply = served.request("POST", "/things/x", "agent", raw=raw)
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=["text", "latin", "form", "gzip"],
)
def test_only_json_is_read(served: ServerWorld, headers: dict[str, str]) -> None:
    reply = served.request("POST", "/things/x", "agent", raw=b'{"text": "a"}', headers=headers)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


def test_paths_and_methods_that_are_not_there_are_told_apart(served: ServerWorld) -> None:
    assert served.get("/nothing", "agent").code == "not_found"
    reply = served.request("DELETE", "/things/x", "agent")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, POST")


def test_nobody_gets_in_without_a_credential_that_is_known(served: ServerWorld) -> None:
    missing = served.get("/things/x")
    assert (missing.status, missing.code) == (401, "invalid_credential")
    assert missing.headers["www-authenticate"].startswith("Bearer")
    assert served.get("/things/x", "stranger").json["detail"] == missing.json["detail"]
    assert served.told.refusals == ["missing", "unknown_key"]


def test_two_credentials_in_one_request_are_none(served: ServerWorld) -> None:
    headers = [("authorization", "Bearer agent"), ("authorization", "Bearer admin")]
    assert served.request("GET", "/things/x", headers=headers).code == "invalid_credential"


def test_strangers_take_no_thread_from_those_who_are_known(served: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, begun = threading.Event(), threading.Semaphore(0)

    def slow(*_: object) -> None:
        begun.release()
        assert goes_on.wait(60)
        raise NotAuthenticated("invalid_credential", "unknown_kid")

    monkeypatch.setattr(Shown, "verify", slow)
    strangers = WORKERS + CHECKING
    with ThreadPoolExecutor(strangers) as pool:
        asking = [pool.submit(served.get, "/things/x", f"stranger-{number}", client=f"192.0.2.{number}") for number in range(strangers)]
        assert all(begun.acquire(timeout=60) for _ in range(CHECKING))
        assert served.get("/things/x", "agent").status == 200
        goes_on.set()
        assert {one.result(60).status for one in asking} == {401}


def test_an_address_that_fails_too_often_waits_and_others_do_not(served: ServerWorld) -> None:
    for _ in range(3):
        assert served.get("/things/x", "stranger").status == 401
    reply = served.get("/things/x", "stranger")
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "too_many_requests", "60")
    assert served.get("/things/x", "stranger", client="192.0.2.2").status == 401
    assert served.get("/things/x", "agent").status == 200  # who is known is let in from anywhere


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "socket", False),
    ],
    ids=["one subscriber", "two subscribers", "mapped", "two addresses", "none"],
)
def test_addresses_of_one_subscriber_count_as_one(one: str, other: str, *, same: bool) -> None:
    assert (neighbourhood(one) == neighbourhood(other)) is same


def test_a_credential_asks_so_often_and_no_more(served: ServerWorld) -> None:
    statuses = [served.get("/things/x", "agent").status for _ in range(62)]
    assert statuses[:60] == [200] * 60
    assert 429 in statuses[60:]
    assert served.get("/things/x", "night").status == 200


def test_an_answer_without_permission_asked_for_is_kept_back(served: ServerWorld, caplog: pytest.LogCaptureFixture) -> None:
    reply = served.get("/forgot", "agent")
    assert (reply.status, reply.code) == (500, "internal_error")
    assert b"secret" not in reply.content
    assert "without asking for permission" in caplog.text


def test_an_error_nobody_expected_tells_its_asker_nothing(served: ServerWorld, caplog: pytest.LogCaptureFixture) -> None:
    reply = served.get("/fails", "agent", headers={"x-request-id": "req-7"})
    assert (reply.status, reply.code) == (500, "internal_error")
    assert b"42" not in reply.content
    assert reply.json["request_id"] == reply.headers["x-request-id"] == "req-7"
    assert "req-7" in caplog.text


@pytest.mark.parametrize("given", ["a\tb", "x" * 129, "", "é"], ids=["control", "long", "empty", "latin"])
def test_a_request_id_that_could_break_a_log_is_replaced(served: ServerWorld, given: str) -> None:
    assert served.get("/things/x", "agent", headers={"x-request-id": given}).headers["x-request-id"] != given


def test_a_tag_that_is_known_is_answered_with_nothing(served: ServerWorld) -> None:
    reply = served.get("/things/x", "agent", headers={"if-none-match": '"zzz", W/"abc"'})
    assert (reply.status, reply.content) == (304, b"")
    assert reply.headers["etag"] == '"abc"'


def test_a_stream_goes_out_in_parts(served: ServerWorld) -> None:
    reply = served.get("/later", "agent")
    assert (reply.content, reply.headers["content-type"]) == (b"one two", "text/plain")
    assert "content-length" not in reply.headers


@pytest.mark.parametrize(("name", "status", "code"), [("read", 500, "integrity_broken"), ("ask", 503, "unavailable")])
def test_a_failure_of_ours_tells_its_asker_no_place_and_no_other_tenant(
    served: ServerWorld, caplog: pytest.LogCaptureFixture, name: str, status: int, code: str
) -> None:
    reply = served.get(f"/cannot/{name}", "agent")
    assert (reply.status, reply.code) == (status, code)
    for secret in ("globex", "/var", "ledger.db", "db.internal"):
        assert secret not in reply.json["detail"]
    assert reply.json["request_id"] in caplog.text
    assert ("globex" in caplog.text) is (name == "read")


@pytest.mark.parametrize("changed", [None, {"roles": ()}], ids=["revoked", "narrowed"])
def test_who_waits_is_sent_away_when_the_credential_does_not_hold_any_more(
    served: ServerWorld, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any] | None
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.get, "/waits", "agent")
        assert BEGUN.wait(60)
        if changed is None:
            monkeypatch.delitem(KNOWN, "agent")
        else:
            monkeypatch.setitem(KNOWN, "agent", replace(KNOWN["agent"], **changed))
        reply = waiting.result(60)
    assert (reply.status, reply.code) == (401, "invalid_credential")
    assert served.told.refusals == ["unknown_key" if changed is None else "scope_changed"]


def test_a_credential_waits_on_half_of_all_connections_and_no_more() -> None:
    BEGUN.clear()
    with server_world(table=TABLE, settings=ServerSettings(connections=2)) as served, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.get, "/waits", "agent")
        assert BEGUN.wait(60)
        refused = served.get("/waits", "agent")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "too_many_requests", "1")
        BEGUN.clear()
        other = pool.submit(served.get, "/things/x", "admin")
        with pytest.MonkeyPatch.context() as patched:
            patched.delitem(KNOWN, "agent")
            assert waiting.result(60).status == 401
        assert other.result(60).status == 200
        again = pool.submit(served.get, "/waits", "agent")
        assert BEGUN.wait(60), "the place is free again"
        with pytest.MonkeyPatch.context() as patched:
            patched.delitem(KNOWN, "agent")
            assert again.result(60).status == 401


def test_a_stream_ends_when_the_credential_does_not_hold_any_more(served: ServerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as pool:
        flowing = pool.submit(served.get, "/flows", "agent")
        assert BEGUN.wait(60)
        monkeypatch.delitem(KNOWN, "agent")
        assert flowing.result(60).content.startswith(b"again again ")
    assert [(one.status, one.code) for one in served.told.answers] == [(401, "invalid_credential")]


@pytest.mark.parametrize("path", ["/waits", "/flows"])
def test_nothing_is_made_for_a_peer_that_went_away(served: ServerWorld, path: str) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer agent")]
    place = {"path": path, "raw_path": path.encode(), "query_string": b""}
    scope = {"type": "http", "method": "GET", **place, "headers": headers, "client": ("192.0.2.1", 1)}
    asyncio.run(asyncio.wait_for(served.app(scope, receive, send), 60))
    assert [one.status for one in served.told.answers] == [499]
    assert not any(message.get("more_body") is False for message in sent)


def test_permission_is_refused_alike_whether_or_not_a_tenant_is_there(served: ServerWorld) -> None:
    assert served.get("/things/x", "nobody").code == "not_permitted"
    foreign = served.get("/things/x", "auditor-globex")
    assert (foreign.status, foreign.code) == (404, "not_found")


def test_each_request_is_told_once_by_its_template(served: ServerWorld) -> None:
    served.get("/things/secret-name", "agent")
    served.get("/nothing/secret-name", "agent")
    assert [(one.route, one.status, one.credential) for one in served.told.answers] == [
        ("/things/{name}", 200, "key-agent"),
        ("", 404, ""),
    ]


def test_the_document_describes_each_endpoint_and_each_status() -> None:
    with server_world() as served:
        reply = served.get("/openapi.json")
        assert reply.status == 200
        document = reply.json
        assert document["openapi"] == "3.1.0"
        for endpoint in endpoints():
            path = "/".join("{" + part[1:-1].partition(":")[0] + "}" if part.startswith("{") else part for part in endpoint.path.split("/"))
            operation = document["paths"][path][endpoint.method.lower()]
            assert operation["operationId"] == endpoint.operation
            assert str(endpoint.status) in operation["responses"]


def test_whoever_asks_is_told_what_they_may() -> None:
    with server_world() as served:
        told = served.get("/api/v1/whoami", "lena").json
        assert (told["user"], told["groups"]) == ("lena", ["billing-leads"])
        assert told["permitted"] == {
            "acme": ["catalog.read", *(f"requests.{one}" for one in ("confirm_own", "read", "read_own", "vote", "withdraw_own"))]
        }
        assert set(served.get("/api/v1/whoami", "admin").json["permitted"]) == {"acme", "globex", "operator"}
        assert served.get("/api/v1/whoami").status == 401
