"""Sessions of the older era over HTTP: their ids, the streams besides, what is taken up again, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from aiohttp import web

from licet.gateway.connection import NotSeen, NotSent
from licet.gateway.upstreams import http
from licet.model import JsonObject
from tests.gateway.upstreams.crew import ALL, FakeLink, call, said, voyage
from tests.gateway.upstreams.scripted import (
    INITIALIZED,
    TEXT,
    Handler,
    answering,
    connected,
    event,
    legacy,
    pool_at,
    raw,
    result,
    serving,
    stream,
)

CHANGED: JsonObject = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}


def answer(message: JsonObject, value: JsonObject = TEXT) -> JsonObject:
    return {"jsonrpc": "2.0", "id": message["id"], "result": value}


def test_a_session_is_greeted_named_in_every_request_and_ended() -> None:
    async def main() -> None:
        script = legacy()
        async with connected(script) as connection:
            assert connection.era == "legacy"
            assert connection.info == {"name": "scripted", "version": "1"}
            await call(connection, "echo")
        shown = {
            one.method or one.verb: (one.headers.get("mcp-session-id"), one.headers.get("mcp-protocol-version")) for one in script.seen
        }
        assert shown.pop("server/discover") == (None, "2026-07-28")
        assert shown == {
            "initialize": (None, None),
            "notifications/initialized": ("session-1", "2025-11-25"),
            "GET": ("session-1", "2025-11-25"),
            "tools/call": ("session-1", "2025-11-25"),
            "DELETE": ("session-1", "2025-11-25"),
        }
        assert not any(name.startswith("mcp-method") for name in script.of("tools/call")[0].headers)
        assert script.seen[-1].verb == "DELETE"

    asyncio.run(main())


def test_an_upstream_without_sessions_is_shown_none_and_told_no_end() -> None:
    async def main() -> None:
        script = legacy(session=None)
        async with connected(script) as connection:
            assert said(await call(connection, "echo")) == "done"
        assert not any("mcp-session-id" in one.headers for one in script.seen)
        assert script.of("DELETE") == []

    asyncio.run(main())


@pytest.mark.parametrize("session", ["a b", "x" * 2_000, "gr\u00fcn"])
def test_an_id_that_cannot_be_repeated_opens_no_session(session: str) -> None:
    async def main() -> None:
        async with serving(legacy(session=session)) as script, pool_at(script.url, protocol="auto") as pool:
            with pytest.raises(NotSent, match=r"names its session in a way that cannot be repeated$"):
                await pool.connect("it", voyage())

    asyncio.run(main())


def lost_once(then: Handler) -> Handler:
    """Knows no session but the second."""

    async def handle(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return await then(request, message) if request.headers["mcp-session-id"] == "session-1" else result(message, TEXT)

    return handle


NO_SESSION = '{"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "Bad Request: No valid session ID provided"}}'


@pytest.mark.parametrize(
    "lost", [answering(404), answering(404, NO_SESSION, "application/json"), answering(400, NO_SESSION, "application/json")]
)
def test_a_session_that_was_forgotten_is_begun_anew_once_for_all(lost: Handler) -> None:
    async def main() -> None:
        greeted: list[str] = []

        async def greet(request: web.Request, message: JsonObject) -> web.StreamResponse:
            assert "mcp-session-id" not in request.headers
            greeted.append(f"session-{len(greeted) + 1}")
            return result(message, INITIALIZED, {"Mcp-Session-Id": greeted[-1]})

        script = legacy(initialize=greet, tools__call=lost_once(lost))
        async with connected(script) as connection:
            found = await asyncio.gather(*(call(connection, f"t{i}") for i in range(8)))
            assert [said(one) for one in found] == ["done"] * 8
        assert greeted == ["session-1", "session-2"]
        done = [one.message["params"]["name"] for one in script.of("tools/call") if one.headers["mcp-session-id"] == "session-2"]
        assert sorted(done) == [f"t{i}" for i in range(8)]
        assert [one.headers["mcp-session-id"] for one in script.of("DELETE")] == ["session-2"]

    asyncio.run(main())


def test_what_belongs_to_no_request_comes_on_a_stream_besides_that_is_taken_up_where_it_broke() -> None:
    async def main() -> None:
        heard: list[tuple[str, JsonObject]] = []
        both = asyncio.Event()
        began: list[str | None] = []

        async def listen(request: web.Request, message: JsonObject) -> web.StreamResponse:
            began.append(request.headers.get("last-event-id"))
            response = await stream(request, b"retry: 1\n\n", event(CHANGED, id=f"e{len(began)}"))
            if len(began) > 1:
                await asyncio.Event().wait()
            return response

        def told(_: object, method: str, params: JsonObject) -> None:
            heard.append((method, params))
            if len(heard) == 2:
                both.set()

        async with serving(legacy(GET=listen)) as script, pool_at(script.url, protocol="auto") as pool:
            pool.listen(told)
            await pool.connect("it", voyage())
            await both.wait()
        assert began == [None, "e1"]
        assert heard == [("notifications/tools/list_changed", {})] * 2

    asyncio.run(main())


@pytest.mark.parametrize("refusal", [answering(405), answering(404), answering(200, "hello")])
def test_an_upstream_without_that_stream_is_asked_for_it_once(refusal: Handler) -> None:
    async def main() -> None:
        script = legacy(GET=refusal)
        async with connected(script) as connection:
            await raw(connection)._listening
            assert said(await call(connection, "echo")) == "done"
        assert len(script.of("GET")) == 1

    asyncio.run(main())


def test_what_an_upstream_asks_on_the_stream_of_a_request_is_answered_by_a_message_of_its_own() -> None:
    async def main() -> None:
        answered = asyncio.Event()
        replies: list[JsonObject] = []

        async def ask(request: web.Request, message: JsonObject) -> web.StreamResponse:
            question = {"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": {"message": "Who?"}}
            response = await stream(request, event(question))
            await answered.wait()
            await response.write(event(answer(message)))
            return response

        async def reply(request: web.Request, message: JsonObject) -> web.StreamResponse:
            replies.append(message)
            answered.set()
            return web.Response(status=202)

        async def person(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            return {key: {"action": "accept", "content": {"name": one["params"]["message"]}} for key, one in requests.items()}

        link = FakeLink(capabilities=ALL, answer=person)
        script = legacy(tools__call=ask, reply=reply)
        async with serving(script), pool_at(script.url, protocol="auto") as pool:
            connection = await pool.connect("it", voyage(link))
            assert said(await call(connection, "ask", on=voyage(link))) == "done"
        assert replies == [{"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept", "content": {"name": "Who?"}}}]
        assert script.of("reply") == []

    asyncio.run(main())


def test_a_stream_that_breaks_before_its_answer_is_taken_up_where_it_broke() -> None:
    async def main() -> None:
        asked: list[JsonObject] = []

        async def broken(request: web.Request, message: JsonObject) -> web.StreamResponse:
            asked.append(message)
            return await stream(request, b"id: e1\nretry: 1\ndata:\n\n", b"data: half of")

        async def rest(request: web.Request, message: JsonObject) -> web.StreamResponse:
            if request.headers.get("last-event-id") != "e1":
                return web.Response(status=405)
            return await stream(request, event(answer(asked[0]), id="e2"))

        script = legacy(tools__call=broken, GET=rest)
        async with connected(script) as connection:
            assert said(await call(connection, "echo")) == "done"
        assert len(asked) == 1

    asyncio.run(main())


def test_a_stream_that_gives_nothing_when_it_is_taken_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRY_S", (0.0, 0.0))

    async def main() -> None:
        async def broken(request: web.Request, message: JsonObject) -> web.StreamResponse:
            return await stream(request, b"id: e1\ndata:\n\n")

        async def nothing(request: web.Request, message: JsonObject) -> web.StreamResponse:
            return await stream(request) if "last-event-id" in request.headers else web.Response(status=405)

        script = legacy(tools__call=broken, GET=nothing)
        async with connected(script) as connection:
            with pytest.raises(NotSeen, match=r"^`it` ended its stream without an answer$"):
                await call(connection, "echo")
        assert len([one for one in script.of("GET") if "last-event-id" in one.headers]) == http.RESUMED

    asyncio.run(main())


def test_who_stops_waiting_says_so_since_a_closed_stream_does_not() -> None:
    async def main() -> None:
        began, told = asyncio.Event(), asyncio.Event()

        async def slow(request: web.Request, message: JsonObject) -> web.StreamResponse:
            began.set()
            await asyncio.Event().wait()
            raise AssertionError("it waits for ever")

        async def cancelled(request: web.Request, message: JsonObject) -> web.StreamResponse:
            told.set()
            return web.Response(status=202)

        script = legacy(tools__call=slow, notifications__cancelled=cancelled)
        async with connected(script) as connection:
            waiting = asyncio.create_task(call(connection, "slow"))
            await began.wait()
            waiting.cancel()
            await told.wait()
            assert script.of("notifications/cancelled")[0].message["params"]["requestId"] == script.of("tools/call")[0].message["id"]

    asyncio.run(main())


def test_requests_that_are_open_when_the_session_ends_are_told() -> None:
    async def main() -> None:
        began = asyncio.Event()

        async def slow(request: web.Request, message: JsonObject) -> web.StreamResponse:
            response = await stream(request, b": wait\n\n")
            began.set()
            await asyncio.Event().wait()
            return response

        async with serving(legacy(tools__call=slow)) as script, pool_at(script.url, protocol="auto") as pool:
            connection = await pool.connect("it", voyage())
            waiting = asyncio.create_task(call(connection, "slow"))
            await began.wait()
            await pool.close()
            with pytest.raises(NotSeen, match=r"was ended"):
                await waiting
            with pytest.raises(NotSent):
                await call(connection, "slow")

    asyncio.run(main())


def test_an_upstream_that_hangs_at_the_end_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "GOODBYE_S", 0.05)

    async def main() -> None:
        async def hang(request: web.Request, message: JsonObject) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError("it waits for ever")

        script = legacy(DELETE=hang)
        async with connected(script) as connection:
            upstream = raw(connection)._upstream
        assert upstream._client is None
        assert len(script.of("DELETE")) == 1

    asyncio.run(main())


def test_a_stream_besides_that_cannot_be_had_now_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRY_DEFAULT_S", 0.001)

    async def main() -> None:
        told = asyncio.Event()
        answers = iter([answering(503), answering(401), answering(200, "data: hello\n\n", "text/event-stream")])

        async def listen(request: web.Request, message: JsonObject) -> web.StreamResponse:
            failing = next(answers, None)
            return await stream(request, event(CHANGED)) if failing is None else await failing(request, message)

        async with serving(legacy(GET=listen)) as script, pool_at(script.url, protocol="auto") as pool:
            pool.listen(lambda *_: told.set())
            await pool.connect("it", voyage())
            await told.wait()

    asyncio.run(main())


@pytest.mark.parametrize("refusal", [answering(405), answering(200, "hello"), answering(404)])
def test_a_stream_that_cannot_be_taken_up_leaves_an_unknown_end(refusal: Handler) -> None:
    async def main() -> None:
        async def broken(request: web.Request, message: JsonObject) -> web.StreamResponse:
            return await stream(request, b"id: e1\nretry: 1\ndata:\n\n")

        script = legacy(tools__call=broken, GET=refusal)
        async with connected(script) as connection:
            with pytest.raises(NotSeen, match=r"^`it` ended its stream without an answer$"):
                await call(connection, "echo")
        assert len(script.of("tools/call")) == 1

    asyncio.run(main())


def test_a_call_that_begins_while_the_session_ends_is_not_executed() -> None:
    async def main() -> None:
        began, go_on = asyncio.Event(), asyncio.Event()

        async def goodbye(request: web.Request, message: JsonObject) -> web.StreamResponse:
            began.set()
            await go_on.wait()
            return web.Response(status=204)

        script = legacy(DELETE=goodbye)
        async with serving(script), pool_at(script.url, protocol="auto") as pool:
            connection = await pool.connect("it", voyage())
            closing = asyncio.create_task(pool.close())
            await began.wait()
            with pytest.raises(NotSent, match=r"^the session with `it` has ended"):
                await call(connection, "echo")
            go_on.set()
            await closing
        assert script.of("tools/call") == []

    asyncio.run(main())
