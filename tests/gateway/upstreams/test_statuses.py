"""What a status of HTTP means for a call that was sent: what is said to be known of it, and that it is not made twice."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from licet.gate.steps import EndedAs
from licet.gateway.connection import Garbage, NotSent, Refused
from licet.gateway.upstreams.statuses import FORGOTTEN, SENTENCE_BYTES, STATUSES
from licet.model import JsonObject
from tests.gateway.upstreams.crew import FakeLink, call, said, voyage
from tests.gateway.upstreams.scripted import TEXT, Handler, Script, answering, connected, legacy, pool_at, result, serving

JSON = "application/json"
OLDEST = "Bad Request: No valid session ID provided"


def error(message: str, number: object = None, code: int = -32_000) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}})


def called(handler: Handler, *, times: int = 1) -> EndedAs:
    """How a call within a session ends that is answered so; and that it was sent so often."""

    async def main() -> EndedAs:
        script = legacy(tools__call=handler)
        async with connected(script) as connection:
            with pytest.raises(EndedAs) as caught:
                await call(connection, "pay")
        assert len(script.of("tools/call")) == times
        return caught.value

    return asyncio.run(main())


@pytest.mark.parametrize("body", ["no", error("no"), error("no", "server-error")], ids=["page", "error", "error-of-the-transport"])
@pytest.mark.parametrize("status", [300, 302, 307, 402, 403, 408, 409, 418, 422, 425, 429, 451, 500, 501, 502, 503, 504])
def test_after_a_status_that_a_server_may_give_behind_what_it_did_nobody_knows(status: int, body: str) -> None:
    found = called(answering(status, body, JSON if body.startswith("{") else "text/html"))
    assert (type(found), found.status, found.code) == (Garbage, "unknown", "upstream_not_understood")
    assert f"(HTTP status {status})" in str(found) or str(found) == f"`it` answered with HTTP status {status}"


@pytest.mark.parametrize("status", sorted(one for one, meaning in STATUSES.items() if meaning == "refused" and one != 404))
def test_what_is_answered_before_a_tool_can_be_reached_is_an_error_of_the_call(status: int) -> None:
    found = called(answering(status, error("no such header"), JSON))
    assert (type(found), found.status, str(found)) == (Refused, "error", "no such header")
    found = called(answering(status, "no"))
    assert (type(found), str(found)) == (Refused, f"the upstream refused the request with HTTP status {status}")


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_an_error_with_the_requests_own_id_is_its_answer(status: int) -> None:
    async def refuse(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return web.Response(status=status, text=error(OLDEST, message["id"]), content_type=JSON)

    found = called(refuse)
    assert (type(found), str(found)) == (Refused, OLDEST)


@pytest.mark.parametrize(
    "handler",
    [
        answering(400, error("the session of the payment has expired; it was booked"), JSON),
        answering(400, error(f"{OLDEST}!"), JSON),
        answering(400, f"{OLDEST}, but it was done", "text/plain"),
        answering(400, OLDEST + " " * SENTENCE_BYTES, "text/plain"),
        answering(400, OLDEST, "text/html"),
    ],
)
def test_no_other_words_about_a_session_make_a_call_be_sent_again(handler: Handler) -> None:
    assert called(handler).status == "error"


def test_a_refused_credential_was_not_applied() -> None:
    assert called(answering(401, "no")).status == "not_executed"


@pytest.mark.parametrize(
    "lost",
    [answering(404, "gone"), answering(404, error("Session not found", None, -32_600), JSON)]
    + [answering(400, error(one), JSON) for one in sorted(FORGOTTEN)]
    + [answering(400, OLDEST, "text/plain")],
)
def test_a_session_that_is_not_known_was_looked_at_before_the_call_which_is_made_in_the_next(lost: Handler) -> None:
    async def once(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return await lost(request, message) if len(script.of("tools/call")) == 1 else result(message, TEXT)

    async def main() -> None:
        async with connected(script) as connection:
            assert said(await call(connection, "pay")) == "done"
        assert len(script.of("tools/call")) == 2

    script = legacy(tools__call=once)
    asyncio.run(main())


def test_a_session_that_is_never_known_is_begun_once_and_no_more() -> None:
    found = called(answering(404, "gone"), times=2)
    assert (type(found).__mro__[1], found.status) == (NotSent, "not_executed")


@pytest.mark.parametrize("status", [400, 404])
def test_a_request_that_named_no_session_has_lost_none(status: int) -> None:
    async def main() -> None:
        script = legacy(session=None, tools__call=answering(status, error(OLDEST), JSON))
        async with connected(script) as connection:
            with pytest.raises(Refused, match=f"^{OLDEST}$"):
                await call(connection, "pay")
        assert len(script.of("tools/call")) == 1

    asyncio.run(main())


@pytest.mark.parametrize("status", [302, 403, 429])
def test_a_handshake_that_is_refused_has_done_nothing(status: int) -> None:
    async def main() -> None:
        script = Script(server__discover=answering(status, "no"), initialize=answering(status, "no"))
        async with serving(script), pool_at(script.url, protocol="auto") as pool:
            with pytest.raises(NotSent, match=rf"\(HTTP status {status}\)"):
                await pool.connect("it", voyage(FakeLink(era="modern")))

    asyncio.run(main())
