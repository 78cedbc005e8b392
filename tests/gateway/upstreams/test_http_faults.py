"""Whatever an upstream over HTTP does, a request ends, says whether anything can have been done, and keeps little of what came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from licet.gate.steps import EndedAs
from licet.gateway.connection import Connection, Garbage, NotSeen, NotSent, Refused, TooLong
from licet.model import JsonObject
from tests.gateway.upstreams.crew import call, said, until, voyage
from tests.gateway.upstreams.scripted import TEXT, Handler, Script, answering, connected, event, pool_at, raw, result, serving, stream

LIMIT = 65_536
ERROR = {"code": -32_050, "message": "no", "data": {"why": ["unknown", "fields"]}, "extra": 1}


def ended(handler: Handler, **settings: Any) -> EndedAs:
    """How a call ends that is answered so."""

    async def main() -> EndedAs:
        async with connected(Script(tools__call=handler), result_bytes=LIMIT, **settings) as connection:
            with pytest.raises(EndedAs) as caught:
                await call(connection, "echo")
            return caught.value

    return asyncio.run(main())


def verdict(found: EndedAs) -> tuple[str, str, str]:
    return (found.status, found.code, str(found))


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (answering(500, "oops"), ("unknown", "upstream_not_understood", "`it` answered with HTTP status 500")),
        (answering(200, "hello"), ("unknown", "upstream_not_understood", "`it` answered with neither JSON nor events (HTTP 200)")),
        (answering(202), ("unknown", "upstream_not_understood", "`it` answered with neither JSON nor events (HTTP 202)")),
        (answering(200, "{", "application/json"), ("unknown", "upstream_not_understood", "what `it` answered is no message")),
        (answering(200, "[]", "application/json"), ("unknown", "upstream_not_understood", "what `it` answered is no message")),
        (
            answering(403, "no"),
            ("unknown", "upstream_not_understood", "`it` refuses the gateway's credential (HTTP status 403); look at its `headers`"),
        ),
        (
            answering(401, '{"error": "invalid_token"}', "application/json"),
            ("not_executed", "upstream_unavailable", "`it` refuses the gateway's credential (HTTP status 401); look at its `headers`"),
        ),
        (
            answering(429, "later"),
            ("unknown", "upstream_not_understood", "`it` takes no more requests at the moment (HTTP status 429)"),
        ),
        (
            answering(200, "{}", "application/json", Content_Encoding="br"),
            ("unknown", "upstream_not_understood", "`it` compressed its answer, which it was not asked to"),
        ),
        (answering(404, "gone"), ("error", "upstream_error", "the upstream refused the request with HTTP status 404")),
        (answering(400, json.dumps({"jsonrpc": "2.0", "id": None, "error": ERROR}), "application/json"), ("error", "upstream_error", "no")),
    ],
)
def test_an_answer_that_is_none_says_what_can_have_been_done(handler: Handler, expected: tuple[str, str, str]) -> None:
    assert verdict(ended(handler)) == expected


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_error_is_told_whole(status: int) -> None:
    async def refuse(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": ERROR}, status=status)

    found = ended(refuse)
    assert isinstance(found, Refused)
    assert found.error == ERROR


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_nobody_is_followed_elsewhere(status: int) -> None:
    """A server may lead to the result of what it has done: that is not said to be undone."""

    async def main() -> None:
        async with serving(Script()) as elsewhere:
            script = Script(tools__call=answering(status, Location=elsewhere.url))
            async with connected(script) as connection:
                with pytest.raises(Garbage, match=rf"^`it` sends requests elsewhere \(HTTP status {status}\), which is not followed"):
                    await call(connection, "echo")
            assert elsewhere.seen == []

    asyncio.run(main())


def test_an_answer_that_says_it_is_too_large_is_not_read() -> None:
    begun: list[int] = []

    async def large(request: web.Request, message: JsonObject) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(100 * 1024 * 1024)})
        await response.prepare(request)
        for _ in range(1_600):
            begun.append(1)
            await response.write(b" " * LIMIT)
        return response

    assert verdict(ended(large)) == ("unknown", "upstream_too_large", f"`it` answered with more than {LIMIT} bytes")
    assert len(begun) < 1_600


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_an_answer_without_end_is_read_no_further_than_its_limit(kind: str) -> None:
    begun: list[int] = []

    async def endless(request: web.Request, message: JsonObject) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        await response.write(b"data: ")
        for _ in range(1_600):
            begun.append(1)
            await response.write(b" " * LIMIT)
        return response

    assert verdict(ended(endless)) == ("unknown", "upstream_too_large", f"`it` answered with more than {LIMIT} bytes")
    assert len(begun) < 1_600


def test_a_stream_that_ends_without_an_answer_is_an_unknown_end() -> None:
    async def short(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return await stream(request, b"id: 1\n: nothing\n\n")

    found = ended(short)
    assert isinstance(found, NotSeen)
    assert verdict(found) == ("unknown", "upstream_gone", "`it` ended its stream without an answer")


def test_an_event_that_is_no_message_is_an_unknown_end() -> None:
    async def babble(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return await stream(request, b"data: hello\n\n")

    assert verdict(ended(babble)) == ("unknown", "upstream_not_understood", "what `it` answered is no message")


def test_of_two_answers_the_first_counts() -> None:
    async def twice(request: web.Request, message: JsonObject) -> web.StreamResponse:
        first = {"jsonrpc": "2.0", "id": message["id"], "result": TEXT}
        second = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "other"}]}}
        return await stream(request, event(first) + event(second))

    async def main() -> None:
        async with connected(Script(tools__call=twice)) as connection:
            assert [said(await call(connection, "echo")) for _ in range(3)] == ["done"] * 3

    asyncio.run(main())


def test_an_answer_for_another_request_answers_nothing() -> None:
    async def other(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": message["id"] + 1, "result": TEXT})

    assert verdict(ended(other)) == ("unknown", "upstream_gone", "`it` ended its stream without an answer")


def test_events_of_other_kinds_and_empty_ones_are_passed_over() -> None:
    async def odd(request: web.Request, message: JsonObject) -> web.StreamResponse:
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": TEXT}
        return await stream(request, b"id: 1\ndata:\n\n", b"event: endpoint\ndata: /elsewhere\n\n", event(answer, event="message"))

    async def main() -> None:
        async with connected(Script(tools__call=odd)) as connection:
            assert said(await call(connection, "echo")) == "done"

    asyncio.run(main())


def test_an_upstream_that_is_slow_is_let_go_and_sees_it() -> None:
    async def main() -> None:
        let_go = asyncio.Event()

        async def slow(request: web.Request, message: JsonObject) -> web.StreamResponse:
            try:
                await asyncio.Event().wait()
            finally:
                let_go.set()
            raise AssertionError("it waits for ever")

        async with connected(Script(tools__call=slow)) as connection:
            with pytest.raises(TooLong, match=r"^`it` did not answer within 0\.2 s; what it has done, or still does, is not known$"):
                await call(connection, "echo", timeout_s=0.2)
            await let_go.wait()

    asyncio.run(main())


def with_bytes(answer: Callable[[bytes], bytes]) -> EndedAs:
    """How a call ends whose answer is these bytes, and then the end of the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = await reader.readexactly(length)
        writer.write(answer(body))
        await writer.drain()
        writer.close()

    async def main() -> EndedAs:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, pool_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", result_bytes=LIMIT) as pool:
            connection = await pool.connect("it", voyage())
            with pytest.raises(EndedAs) as caught:
                await call(connection, "echo")
            return caught.value

    return asyncio.run(main())


def discovered(body: bytes, then: bytes) -> bytes:
    message = json.loads(body)
    if message["method"] != "server/discover":
        return then
    found = json.dumps(
        {"jsonrpc": "2.0", "id": message["id"], "result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}}
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(found), found)


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (b"", NotSeen),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Garbage),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{", NotSeen),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:", NotSeen),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", Garbage),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Garbage),
    ],
)
def test_a_connection_that_breaks_or_speaks_no_http_is_an_unknown_end(then: bytes, expected: type[EndedAs]) -> None:
    found = with_bytes(lambda body: discovered(body, then))
    assert type(found) is expected
    assert found.status == "unknown"


def test_an_upstream_that_cannot_prove_itself_is_sent_nothing() -> None:
    async def main() -> None:
        async with serving(Script()) as script:
            async with pool_at(script.url.replace("http:", "https:")) as pool:
                with pytest.raises(NotSent, match=r"^`it` cannot be reached: its certificate, or its TLS, does not hold$"):
                    await pool.connect("it", voyage())
            assert script.seen == []

    asyncio.run(main())


def test_a_hundred_calls_in_a_row_take_one_connection_in_either_form() -> None:
    async def as_events(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return await stream(request, event({"jsonrpc": "2.0", "id": message["id"], "result": TEXT}))

    async def as_json(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return result(message, TEXT)

    async def main(handler: Handler) -> None:
        script = Script(tools__call=handler)
        async with connected(script) as connection:
            for _ in range(100):
                await call(connection, "echo")
            assert len({one.peer for one in script.seen}) <= 2

    asyncio.run(main(as_json))
    asyncio.run(main(as_events))


def test_a_stream_that_goes_on_behind_its_answer_keeps_no_connection_after_the_session() -> None:
    async def main() -> None:
        left = asyncio.Event()

        async def going_on(request: web.Request, message: JsonObject) -> web.StreamResponse:
            response = await stream(request, event({"jsonrpc": "2.0", "id": message["id"], "result": TEXT}))
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            return response

        async with connected(Script(tools__call=going_on)) as connection:
            assert said(await call(connection, "echo")) == "done"
        assert left.is_set()

    asyncio.run(main())


def is_connected(connection: Connection) -> bool:
    """Whether a warm connection is held that has not broken yet, as far as this side knows."""
    kept = raw(connection)._upstream._client.connector._conns.values()
    return any(protocol.is_connected() for some in kept for protocol, _ in some)


def test_an_upstream_that_was_away_is_called_again_over_the_same_session() -> None:
    async def main() -> None:
        script = Script()
        async with serving(script) as running:
            port = running.port
        async with pool_at(script.url) as pool:
            async with serving(script, port):
                connection = await pool.connect("it", voyage())
                assert said(await call(connection, "echo")) == "done"
            await until(lambda: not is_connected(connection))  # what goes out before that is known has an unknown end
            with pytest.raises(NotSent, match=r"^`it` cannot be reached: connection refused$"):
                await call(connection, "echo")
            async with serving(script, port):
                assert said(await call(connection, "echo")) == "done"
        assert len(script.of("tools/call")) == 2

    asyncio.run(main())


def test_what_a_modern_upstream_asks_in_the_way_of_the_other_era_is_not_answered() -> None:
    async def main() -> None:
        async def ask(request: web.Request, message: JsonObject) -> web.StreamResponse:
            question = {"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": {"message": "Who?"}}
            return await stream(request, event(question), event({"jsonrpc": "2.0", "id": message["id"], "result": TEXT}))

        script = Script(tools__call=ask)
        async with connected(script) as connection:
            assert said(await call(connection, "ask")) == "done"
            assert said(await call(connection, "ask")) == "done"
        assert [one.method for one in script.seen] == ["server/discover", "tools/call", "tools/call"]

    asyncio.run(main())
