"""The door of MCP over HTTP, for clients that speak raw HTTP: who comes in, what is answered, and how."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.gateway.eras import META_CAPABILITIES, META_LOG_LEVEL, META_VERSION, VERSIONS
from licet.gateway.incoming import Incoming
from licet.gateway.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOT_PERMITTED,
    PARSE_ERROR,
    UNAVAILABLE,
    UNSUPPORTED_VERSION,
    RpcError,
)
from licet.model import JsonObject
from tests.gateway.door_world import BOTH, MODERN, DoorWorld, door_world, modern_body, modern_headers
from tests.gateway.world import CONFIG, CRM, NOTES

CALL = {"name": "crm__get", "arguments": {"id": "C-1"}}


@pytest.fixture
def w(tmp_path: Path) -> Iterator[DoorWorld]:
    with door_world(tmp_path) as world:
        yield world


# who comes in


def test_nobody_comes_in_without_a_credential(w: DoorWorld) -> None:
    reply = w.modern("tools/list", who=None)
    assert (reply.status, reply.error["code"], reply.error["data"]["code"]) == (401, NOT_PERMITTED, "invalid_credential")
    assert reply.headers["www-authenticate"] == 'Bearer realm="licet"'
    assert w.gateway.handed == []


def test_a_challenge_says_where_tokens_are_issued(tmp_path: Path) -> None:
    issuers = '[server]\npublic_url = "https://licet.example.com"\n[[identity.issuers]]\nissuer = "https://idp.example.com"\n'
    with door_world(tmp_path, config=f'{CONFIG}{issuers}audience = "a"\njwks = "https://idp.example.com/k"\n') as w:
        reply = w.modern("tools/list", who="nobody", path="/mcp/crm")
    at = "https://licet.example.com/.well-known/oauth-protected-resource/mcp/crm"
    assert (reply.status, reply.headers["www-authenticate"]) == (401, f'Bearer realm="licet", resource_metadata="{at}"')


def test_a_credential_that_may_propose_no_calls_gets_no_further(w: DoorWorld) -> None:
    reply = w.modern("tools/list", who="auditor")
    assert (reply.status, reply.error["code"], reply.error["message"]) == (
        403,
        NOT_PERMITTED,
        "`calls.propose` is not permitted to this credential",
    )
    assert w.gateway.handed == []


def test_who_calls_is_taken_from_the_credential(w: DoorWorld) -> None:
    w.modern("tools/list")
    acting = w.gateway.handed[0].acting
    assert (acting.tenant, acting.agent, acting.user, acting.credential) == ("acme", "bot", "alice", "key-bot")


def test_a_credential_for_several_agents_must_say_which(w: DoorWorld) -> None:
    reply = w.modern("tools/list", who="two")
    assert (reply.status, reply.error["code"]) == (403, NOT_PERMITTED)
    assert "`Licet-Agent`" in reply.error["message"]
    assert w.modern("tools/list", who="two", headers={"licet-agent": "writer"}).status == 200
    assert w.gateway.handed[0].acting.agent == "writer"


def test_a_header_selects_nobody_whom_the_credential_does_not_speak_for(w: DoorWorld) -> None:
    reply = w.modern("tools/list", headers={"licet-agent": "writer"})
    assert (reply.status, reply.error["message"]) == (403, "the credential does not speak for the agent `writer`")
    assert w.gateway.handed == []


@pytest.mark.parametrize("path", ["/mcp", "/mcp/crm"])
def test_a_credential_that_may_not_propose_calls_comes_in_by_no_door(w: DoorWorld, path: str) -> None:
    reply = w.modern("tools/list", who="auditor", path=path)
    assert (reply.status, reply.error["code"], reply.error["data"]["code"]) == (403, NOT_PERMITTED, "not_permitted")
    assert reply.error["message"] == "`calls.propose` is not permitted to this credential"
    assert w.send("GET", who="auditor", path=path).status == 403
    assert w.gateway.handed == []


def test_credentials_and_cookies_are_not_handed_on(w: DoorWorld) -> None:
    w.modern("tools/list", headers={"cookie": "a=b", "proxy-authorization": "Basic eA==", "traceparent": "00-1"})
    headers = w.gateway.handed[0].headers
    assert {"authorization", "cookie", "proxy-authorization"}.isdisjoint(headers)
    assert headers["traceparent"] == "00-1"


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:8181", "user@127.0.0.1", "127.0.0.1/x", ""])
def test_a_name_that_is_not_the_gateways_own_is_refused(w: DoorWorld, host: str) -> None:
    reply = w.modern("tools/list", headers={"host": host})
    assert (reply.status, reply.error["code"]) == (403, INVALID_REQUEST)
    assert "gateway.hosts" in reply.error["message"]
    assert w.gateway.handed == []


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:1", "[::1]:8181"])
def test_addresses_and_localhost_are_names_of_the_gateway(w: DoorWorld, host: str) -> None:
    assert w.modern("tools/list", headers={"host": host}).status == 200


def test_a_page_that_may_ask_reads_its_answers_and_no_other_does(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + '[gateway]\norigins = ["https://app.example.com"]\n') as w:
        page = {"origin": "https://app.example.com", "host": "localhost:80"}
        for reply in (w.modern("tools/list", headers=page), w.modern("tools/list", who=None, headers=page)):
            assert reply.headers["access-control-allow-origin"] == "https://app.example.com"
            assert reply.headers["vary"] == "origin"
            assert "mcp-session-id" in reply.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in reply.headers
        for other in ({"host": "localhost:80"}, {"host": "localhost:80", "origin": "https://evil.example.com"}):
            assert "access-control-allow-origin" not in w.modern("tools/list", headers=other).headers


def test_a_browser_that_asks_before_it_sends_is_told_what_a_page_may_send(tmp_path: Path) -> None:
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "Authorization, mcp-name,x-other, cookie"}
    with door_world(tmp_path, config=CONFIG + '[gateway]\norigins = ["https://app.example.com"]\n') as w:
        page = {"origin": "https://app.example.com", "host": "localhost:80"}
        reply = w.send("OPTIONS", b"", who=None, headers={**page, **wanted})
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, "https://app.example.com")
        assert reply.headers["access-control-allow-headers"] == "authorization, mcp-name"
        assert reply.headers["access-control-allow-methods"] == "GET, POST, DELETE"
        elsewhere = w.send("OPTIONS", b"", who=None, headers={**page, **wanted, "origin": "https://evil.example.com"})
        assert (elsewhere.status, "access-control-allow-origin" in elsewhere.headers) == (403, False)
        assert w.send("OPTIONS", b"", who=None, headers=page).status == 401, "no question of a browser's"
        assert w.gateway.handed == []


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://localhost:1234", "file://"])
def test_a_page_from_elsewhere_is_refused(w: DoorWorld, origin: str) -> None:
    reply = w.modern("tools/list", headers={"origin": origin, "host": "localhost:80"})
    assert (reply.status, "gateway.origins" in reply.error["message"]) == (403, True)
    assert w.gateway.handed == []


def test_a_page_that_asks_where_it_comes_from_is_answered(w: DoorWorld) -> None:
    assert w.modern("tools/list", headers={"origin": "http://localhost:80", "host": "localhost:80"}).status == 200


def test_pages_and_names_that_are_configured_are_answered(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + '[gateway]\norigins = ["https://app.example.com"]\nhosts = ["licet.internal"]\n') as w:
        headers = {"origin": "https://app.example.com", "host": "licet.internal:8181"}
        assert w.modern("tools/list", headers=headers).status == 200


def test_an_upstream_that_is_not_there_is_not_found(w: DoorWorld) -> None:
    for path in ("/mcp/nope", "/mcp/crm/x", "/mcp/..%2f"):
        reply = w.modern("tools/list", path=path)
        assert (reply.status, "there is no upstream" in reply.error["message"]) == (404, True)


def test_the_path_names_the_one_upstream_that_is_meant(w: DoorWorld) -> None:
    w.modern("tools/list", path="/mcp/crm")
    w.modern("tools/list", path="/mcp")
    w.modern("tools/list", path="/mcp/")
    assert [one.upstream for one in w.gateway.handed] == ["crm", None, None]


def test_requests_are_told_to_whoever_counts(w: DoorWorld) -> None:
    w.modern("tools/list", path="/mcp/crm", headers={"x-request-id": "r-1"})
    w.modern("tools/list", who="nobody")
    told = [(one.method, one.route, one.status, one.code, one.credential) for one in w.told.answers]
    assert told == [("POST", "/mcp/{upstream}", 200, "", "key-bot"), ("POST", "/mcp", 401, "invalid_credential", "")]
    assert (w.told.answers[0].request_id, w.told.begun, w.told.refusals) == ("r-1", 2, ["unknown_key"])


def test_a_credential_asks_no_more_often_than_it_may(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[server]\nrequests_per_minute = 1\n") as w:
        assert w.modern("ping").status == 200
        reply = w.modern("ping")
        assert (reply.status, reply.error["code"], int(reply.headers["retry-after"]) > 0) == (429, UNAVAILABLE, True)


def test_a_credential_has_so_many_calls_at_once_and_no_more(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[server]\nconnections = 8\n") as w:
        w.gateway.answering = w.gateway.hang
        held = []
        for _ in range(2):
            w.gateway.reached.clear()
            held.append(w.begin("POST", modern_body("tools/call", CALL), headers=modern_headers("tools/call", CALL)))
            assert w.gateway.reached.wait(20)
        reply = w.modern("tools/call", CALL)
        assert (reply.status, reply.error["data"]["code"], reply.headers["retry-after"]) == (429, "too_many_requests", "1")
        w.gateway.answering = None
        assert w.modern("tools/call", CALL, who="other").status == 200
        for connection in held:
            connection.close()


# a modern request


def test_a_request_is_answered_by_itself_with_json(w: DoorWorld) -> None:
    reply = w.modern("tools/list")
    assert (reply.status, reply.headers["content-type"], reply.json) == (
        200,
        "application/json",
        {"jsonrpc": "2.0", "id": 1, "result": {"said": "tools/list"}},
    )
    assert "mcp-session-id" not in reply.headers
    assert reply.headers["cache-control"] == "no-store"


def test_a_session_id_of_a_modern_client_is_passed_over(w: DoorWorld) -> None:
    reply = w.modern("tools/list", headers={"mcp-session-id": "anything"})
    assert (reply.status, w.door.sessions) == (200, 0)


def test_what_a_client_says_of_itself_is_handed_over_as_that(w: DoorWorld) -> None:
    meta = {META_CAPABILITIES: {"sampling": {}}, META_LOG_LEVEL: "warning"}
    w.modern("tools/list", {"_meta": meta})
    incoming = w.gateway.handed[0]
    assert (incoming.client.era, incoming.client.version, incoming.client.capabilities) == ("modern", MODERN, {"sampling": {}})
    assert (incoming.session.log_level, incoming.session.tell, incoming.id) == ("warning", None, 1)


def test_what_is_told_before_the_answer_makes_it_a_stream(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/progress", {"progressToken": "upstream's", "progress": 1})
        await incoming.link.notify("notifications/message", {"level": "info", "data": "a\nb"})
        return {"done": True}

    w.gateway.answering = answering
    reply = w.modern("tools/call", CALL | {"_meta": {"progressToken": "mine"}})
    assert (reply.status, reply.headers["x-accel-buffering"]) == (200, "no")
    assert reply.events == [
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "mine", "progress": 1}},
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "a\nb"}},
        {"jsonrpc": "2.0", "id": 1, "result": {"done": True}},
    ]
    assert b"id:" not in reply.content.replace(b'"id":', b"")


def test_progress_that_nobody_asked_for_is_not_told(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/progress", {"progressToken": 1, "progress": 1})
        return {}

    w.gateway.answering = answering
    assert w.modern("tools/call", CALL).headers["content-type"] == "application/json"


def test_an_error_has_the_status_that_it_is_given(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        raise RpcError(METHOD_NOT_FOUND, f"there is no method `{incoming.method}` here", http_status=404)

    w.gateway.answering = answering
    reply = w.modern("nope")
    assert (reply.status, reply.error) == (404, {"code": METHOD_NOT_FOUND, "message": "there is no method `nope` here"})
    assert reply.json["id"] == 1


def test_an_error_that_nobody_expected_tells_nothing_of_itself(w: DoorWorld, caplog: pytest.LogCaptureFixture) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        raise ValueError("/secret/path")

    w.gateway.answering = answering
    reply = w.modern("tools/list")
    assert (reply.status, b"secret" in reply.content) == (500, False)
    assert "an error that nobody expected" in caplog.text


def test_a_client_that_goes_away_has_cancelled_its_request(w: DoorWorld) -> None:
    w.gateway.answering = w.gateway.hang
    connection = w.begin("POST", modern_body("tools/call", CALL), headers=modern_headers("tools/call", CALL))
    assert w.gateway.reached.wait(20)
    connection.close()
    assert w.gateway.cancelled.wait(20)


def test_a_client_that_closes_its_stream_has_cancelled_its_request(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": "begun"})
        return await w.gateway.hang(incoming)

    w.gateway.answering = answering
    listening = w.open_modern("tools/call", CALL)
    assert listening.message()["params"] == {"data": "begun"}
    listening.close()
    assert w.gateway.cancelled.wait(20)


def test_a_request_ends_with_its_credential(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        w.shown.gone.add("bot")
        return await w.gateway.hang(incoming)

    w.gateway.answering = answering
    reply = w.modern("tools/call", CALL)
    assert (reply.status, reply.error["code"], reply.error["data"]["code"]) == (401, NOT_PERMITTED, "invalid_credential")
    assert w.gateway.cancelled.wait(20)


def test_a_stream_ends_with_its_credential(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": 1})
        return await w.gateway.hang(incoming)

    w.gateway.answering = answering
    listening = w.open_modern("tools/call", CALL)
    listening.message()
    w.shown.gone.add("bot")
    assert listening.rest() == b""
    assert w.gateway.cancelled.wait(20)


def test_nothing_is_told_of_a_request_that_is_over(w: DoorWorld) -> None:
    w.modern("tools/list")
    link = w.gateway.handed[0].link
    loop = w.gateway.loop
    assert loop is not None
    asyncio.run_coroutine_threadsafe(link.notify("notifications/message", {}), loop).result(20)
    assert w.modern("tools/list").status == 200


def test_a_notification_is_taken(w: DoorWorld) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/whatever"}
    reply = w.send("POST", body, headers={"mcp-protocol-version": MODERN})
    assert (reply.status, reply.content) == (202, b"")


def test_answers_of_a_modern_client_are_refused(w: DoorWorld) -> None:
    reply = w.send("POST", {"jsonrpc": "2.0", "id": 1, "result": {}}, headers={"mcp-protocol-version": MODERN})
    assert (reply.status, reply.error["code"]) == (400, INVALID_REQUEST)


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_there_is_nothing_to_get_or_delete_for_a_modern_client(w: DoorWorld, verb: str) -> None:
    reply = w.send(verb, headers={"mcp-protocol-version": MODERN})
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


def test_other_verbs_are_refused(w: DoorWorld) -> None:
    reply = w.send("PUT", {})
    assert (reply.status, reply.headers["allow"]) == (405, "POST, GET, DELETE")


# what headers must say


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mcp-protocol-version": None}, "`mcp-protocol-version` is missing"),
        ({"mcp-protocol-version": "2025-11-25"}, "`mcp-protocol-version` does not say"),
        ({"mcp-method": None}, "`mcp-method` is missing"),
        ({"mcp-method": "tools/list"}, "`mcp-method` does not say"),
        ({"mcp-method": "TOOLS/CALL"}, "`mcp-method` does not say"),
        ({"mcp-name": None}, "`mcp-name` is missing"),
        ({"mcp-name": "crm__set"}, "`mcp-name` does not say"),
        ({"mcp-name": "=?base64?####?="}, "`mcp-name` is no Base64"),
        ({"mcp-name": "=?base64?/w==?="}, "`mcp-name` is no Base64"),
        ({"mcp-name": "crm__g\xe9t"}, "`mcp-name` holds what no header may"),
    ],
)
def test_headers_that_say_something_else_than_the_body_are_refused(w: DoorWorld, changed: dict[str, str | None], said: str) -> None:
    reply = w.modern("tools/call", CALL, headers=changed)
    assert (reply.status, reply.error["code"], reply.json["id"]) == (400, HEADER_MISMATCH, 1)
    assert said in reply.error["message"]
    assert w.gateway.handed == []


def test_a_name_may_come_as_base64(w: DoorWorld) -> None:
    uri = "file:///\u4e16"
    encoded = base64.b64encode(uri.encode()).decode()
    reply = w.modern("resources/read", {"uri": uri}, headers={"mcp-name": f"=?base64?{encoded}?="})
    assert reply.status == 200


def test_a_version_that_nobody_speaks_is_refused_with_those_that_are_spoken(w: DoorWorld) -> None:
    body = modern_body("tools/list", {"_meta": {META_VERSION: "1900-01-01"}})
    reply = w.send("POST", body, headers=modern_headers("tools/list") | {"mcp-protocol-version": "1900-01-01"})
    assert (reply.status, reply.error["code"]) == (400, UNSUPPORTED_VERSION)
    assert reply.error["data"] == {"supported": list(VERSIONS), "requested": "1900-01-01"}


@pytest.mark.parametrize("without", [META_VERSION, META_CAPABILITIES])
def test_a_request_says_its_version_and_what_its_client_can(w: DoorWorld, without: str) -> None:
    body = modern_body("tools/list")
    del body["params"]["_meta"][without]
    reply = w.send("POST", body, headers=modern_headers("tools/list"))
    assert (reply.status, reply.error["code"]) == (400, INVALID_PARAMS)
    assert without in reply.error["message"]


MIRRORING: list[Any] = [
    *[tool for tool in CRM if tool["name"] != "ask"],
    {
        "name": "ask",
        "inputSchema": {
            "type": "object",
            "properties": {
                "id": {"type": "string", "x-mcp-header": "Customer"},
                "count": {"type": "integer", "x-mcp-header": "Count"},
                "deep": {"type": "object", "properties": {"yes": {"type": "boolean", "x-mcp-header": "Yes"}}},
            },
        },
    },
]


@pytest.mark.parametrize(
    ("arguments", "headers", "wrong"),
    [
        ({"id": "C-1"}, {"mcp-param-customer": "C-1"}, None),
        ({"id": "\u00e9"}, {"mcp-param-customer": "=?base64?w6k=?="}, None),
        ({"id": "x", "count": 42}, {"mcp-param-customer": "x", "mcp-param-count": "42.0"}, None),
        ({"deep": {"yes": True}}, {"mcp-param-yes": "true"}, None),
        ({"id": None}, {}, None),
        ({"id": "C-1"}, {"mcp-param-customer": "C-1", "mcp-param-unknown": "x"}, None),
        ({"id": "C-1"}, {}, "mcp-param-customer"),
        ({"id": "C-1"}, {"mcp-param-customer": "C-2"}, "mcp-param-customer"),
        ({}, {"mcp-param-customer": "C-1"}, "mcp-param-customer"),
        ({"count": 42}, {"mcp-param-count": "43"}, "mcp-param-count"),
        ({"count": 42}, {"mcp-param-count": "4_2"}, "mcp-param-count"),
        ({"deep": {"yes": True}}, {"mcp-param-yes": "True"}, "mcp-param-yes"),
    ],
)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/crm"])
def test_arguments_that_are_mirrored_in_headers_must_agree_with_them(
    tmp_path: Path, path: str, arguments: JsonObject, headers: dict[str, str | None], wrong: str | None
) -> None:
    with door_world(tmp_path, pinned={"crm": MIRRORING, "notes": NOTES}) as w:
        name = "crm__ask" if path == "/mcp" else "ask"
        reply = w.modern("tools/call", {"name": name, "arguments": arguments}, path=path, headers=headers)
        assert reply.status == (200 if wrong is None else 400), reply.content
        if wrong is not None:
            assert (reply.error["code"], wrong in reply.error["message"], w.gateway.handed) == (HEADER_MISMATCH, True, [])


# what cannot be read


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", PARSE_ERROR),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "a", "method": "b"}', PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b'{"id": 1, "method": "a"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": null, "method": "a"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "a"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "a", "params": []}', INVALID_PARAMS),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "a", "params": {"_meta": 1}}', INVALID_PARAMS),
    ],
)
def test_what_is_no_message_is_refused(w: DoorWorld, body: bytes, code: int) -> None:
    reply = w.send("POST", body)
    assert (reply.status, reply.error["code"]) == (400, code)
    assert w.gateway.handed == []


def test_a_message_that_is_not_json_by_its_own_account_is_refused(w: DoorWorld) -> None:
    assert w.modern("ping", headers={"content-type": "text/plain"}).status == 415


def test_a_client_that_takes_neither_json_nor_events_is_refused(w: DoorWorld) -> None:
    assert w.modern("ping", headers={"accept": "text/html"}).status == 406
    assert w.modern("ping", headers={"accept": None}).status == 200
    assert w.modern("ping", headers={"accept": BOTH.upper()}).status == 200


def test_a_body_is_bounded(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[gateway]\nbody_bytes = 4096\n") as w:
        assert w.modern("tools/list", {"much": "x" * 5_000}).status == 413
        assert w.modern("tools/list", {"much": "x" * 3_000}).status == 200


def test_a_long_message_is_read_all_the_same(w: DoorWorld) -> None:
    w.modern("tools/list", {"much": "x" * 100_000})
    assert len(w.gateway.handed[0].params["much"]) == 100_000
