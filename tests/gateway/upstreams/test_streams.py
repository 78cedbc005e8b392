"""Sessions over a transport that has a stream for each request, as HTTP has: what a stream says of whose a message is, and of its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from licet.gateway.connection import NotSeen, NotSent, Refused, TooLong
from licet.gateway.eras import Era
from licet.gateway.upstreams.handshake import Declared, NoHandshake
from licet.gateway.upstreams.session import UpstreamSession
from licet.gateway.upstreams.transport import Exchange, Receiver, SessionLost
from licet.model import JsonObject
from tests.gateway.upstreams.crew import ALL, FakeLink, until, voyage

Answering = Callable[["Streams", JsonObject, Exchange], Awaitable[None]]


class Streams:
    """An upstream in memory. `answering` answers every request that is no handshake."""

    streams = True
    last_words: tuple[str, ...] = ()

    def __init__(self, era: Era, answering: Answering) -> None:
        self.era = era
        self.answering = answering
        self.receiver: Receiver | None = None
        self.sent: list[JsonObject] = []
        self.handshakes = 0
        self.refuses_handshakes = False
        self.closed = False

    def make(self, receiver: Receiver) -> Streams:
        self.receiver = receiver
        return self

    async def start(self) -> None:
        pass

    async def send(self, message: JsonObject, *, request: Exchange | None, headers: Mapping[str, str]) -> None:
        self.sent.append(message)
        if request is None:
            return
        request.sent = True
        await asyncio.sleep(0)
        if request.method in {"initialize", "server/discover"}:
            self._greet(request)
        else:
            await self.answering(self, message, request)

    def _greet(self, request: Exchange) -> None:
        if (request.method == "initialize") != (self.era == "legacy") or self.refuses_handshakes:
            self.say({"id": request.id, "error": {"code": -32_601, "message": "unknown"}}, request)
            return
        self.handshakes += 1
        modern = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
        self.say({"id": request.id, "result": modern if self.era == "modern" else {"protocolVersion": "2025-03-26"}}, request)

    def say(self, message: JsonObject, request: Exchange | None) -> None:
        assert self.receiver is not None
        self.receiver.receive({"jsonrpc": "2.0"} | message, None if request is None else request.id)

    def agreed(self, era: Era, version: str) -> None:
        assert (era, version) in {("modern", "2026-07-28"), ("legacy", "2025-03-26")}

    async def close(self) -> None:
        self.closed = True

    def told(self) -> list[str]:
        return [message["method"] for message in self.sent if "id" not in message]

    def calls(self) -> int:
        return sum(message.get("method") == "tools/call" for message in self.sent)


async def session_with(upstream: Streams) -> UpstreamSession:
    session = UpstreamSession("it", upstream.make, declared=Declared(capabilities=ALL, info={}), told=lambda *_: None)
    await session.open(protocol="auto", known=None, timeout_s=5)
    return session


async def call(session: UpstreamSession, link: FakeLink | None = None, *, timeout_s: float = 5, user: str | None = None) -> JsonObject:
    return await session.request("tools/call", {"name": "x"}, voyage(link, user=user), timeout_s=timeout_s)


async def done(upstream: Streams, message: JsonObject, request: Exchange) -> None:
    upstream.say({"id": message["id"], "result": {"done": True}}, request)


def test_a_session_that_is_lost_is_opened_again_and_the_request_sent_anew() -> None:
    """What the upstream does not know the session of, it has not executed."""
    lost = True

    async def once_lost(upstream: Streams, message: JsonObject, request: Exchange) -> None:
        nonlocal lost
        if lost:
            lost = False
            raise SessionLost("gone")
        await done(upstream, message, request)

    async def main() -> None:
        upstream = Streams("legacy", once_lost)
        session = await session_with(upstream)
        assert await call(session) == {"done": True}
        assert (upstream.handshakes, upstream.calls(), upstream.told()) == (2, 2, ["notifications/initialized"] * 2)

    asyncio.run(main())


def test_requests_that_lose_a_session_together_open_one_new_one() -> None:
    known = 1

    async def of_handshake(upstream: Streams, message: JsonObject, request: Exchange) -> None:
        if upstream.handshakes == known:
            raise SessionLost("gone")
        await done(upstream, message, request)

    async def main() -> None:
        upstream = Streams("legacy", of_handshake)
        session = await session_with(upstream)
        assert await asyncio.gather(*(call(session) for _ in range(5))) == [{"done": True}] * 5
        assert (upstream.handshakes, upstream.calls()) == (2, 10)

    asyncio.run(main())


def test_a_session_that_cannot_be_opened_again_is_over_and_nothing_was_executed() -> None:
    async def lost(upstream: Streams, message: JsonObject, request: Exchange) -> None:
        upstream.refuses_handshakes = True
        raise SessionLost("gone")

    async def main() -> None:
        session = await session_with(Streams("legacy", lost))
        with pytest.raises(NotSent) as refused:
            await call(session)
        assert str(refused.value) == "`it` has lost the session, and opens no other: `it` did not answer its handshake: unknown"
        assert session.is_over

    asyncio.run(main())


def test_a_session_that_is_lost_again_and_again_is_opened_again_once_for_each_request() -> None:
    async def lost(upstream: Streams, message: JsonObject, request: Exchange) -> None:
        raise SessionLost("gone")

    async def main() -> None:
        upstream = Streams("legacy", lost)
        session = await session_with(upstream)
        with pytest.raises(NotSent, match=r"^gone$"):
            await call(session)
        assert upstream.calls() == 2

    asyncio.run(main())


def test_a_stream_that_ends_without_an_answer_leaves_the_call_unknown() -> None:
    async def nothing(upstream: Streams, message: JsonObject, request: Exchange) -> None:
        return

    async def main() -> None:
        session = await session_with(Streams("modern", nothing))
        with pytest.raises(NotSeen) as gone:
            await call(session)
        assert (gone.value.status, str(gone.value)) == ("unknown", "`it` ended its stream without an answer")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("era", "told"), [("modern", []), ("legacy", ["notifications/initialized", "notifications/cancelled"])], ids=["modern", "legacy"]
)
def test_a_modern_request_is_cancelled_by_closing_its_stream_and_a_legacy_one_by_saying_so(era: Era, told: list[str]) -> None:
    async def main() -> None:
        closed = asyncio.Event()

        async def never(upstream: Streams, message: JsonObject, request: Exchange) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                closed.set()

        upstream = Streams(era, never)
        session = await session_with(upstream)
        with pytest.raises(TooLong):
            await call(session, timeout_s=0.02)
        assert closed.is_set()
        await asyncio.sleep(0)
        assert upstream.told() == told
        await session.close()

    asyncio.run(main())


def test_a_question_on_the_stream_of_a_request_goes_to_its_client_whoever_else_calls() -> None:
    async def main() -> None:
        async def asking(upstream: Streams, message: JsonObject, request: Exchange) -> None:
            upstream.say({"id": f"q{message['id']}", "method": "elicitation/create", "params": {"for": message["id"]}}, request)
            await until(lambda: any(one.get("id") == f"q{message['id']}" for one in upstream.sent))
            answer = next(one for one in upstream.sent if one.get("id") == f"q{message['id']}")
            upstream.say({"id": message["id"], "result": {"answer": answer["result"]}}, request)

        def answers(name: str) -> FakeLink:
            async def answer(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
                return {key: {"by": name} for key in requests}

            return FakeLink(capabilities=ALL, answer=answer)

        session = await session_with(Streams("legacy", asking))
        names = ["ada", "bob", "eve"]
        found = await asyncio.gather(*(call(session, answers(name), user=name) for name in names))
        assert found == [{"answer": {"by": name}} for name in names]

    asyncio.run(main())


def test_an_answer_to_another_request_than_that_of_the_stream_is_taken_once() -> None:
    """Ids are unique in the session; an upstream that answers one request twice, on two streams, is heard once."""

    async def main() -> None:
        first: list[Exchange] = []

        async def crossed(upstream: Streams, message: JsonObject, request: Exchange) -> None:
            first.append(request)
            upstream.say({"id": first[0].id, "result": {"by": request.id}}, request)
            upstream.say({"id": request.id, "result": {"by": request.id}}, request)

        session = await session_with(Streams("modern", crossed))
        one, other = await asyncio.gather(call(session), call(session))
        assert one == {"by": first[0].id}
        assert other == {"by": first[1].id}
        assert session.strays == 2

    asyncio.run(main())


@pytest.mark.parametrize(("code", "over"), [(-32_022, True), (-32_020, True), (-32_601, False), (-32_602, False)])
def test_an_upstream_that_answers_as_one_of_the_other_era_is_asked_anew_what_it_is(code: int, over: bool) -> None:  # noqa: FBT001
    async def refusing(upstream: Streams, message: JsonObject, request: Exchange) -> None:
        upstream.say({"id": message["id"], "error": {"code": code, "message": "no"}}, request)

    async def main() -> None:
        session = await session_with(Streams("modern", refusing))
        with pytest.raises(Refused):
            await call(session)
        assert session.is_over is over

    asyncio.run(main())


def test_what_answers_neither_greeting_is_no_upstream() -> None:
    async def main() -> None:
        upstream = Streams("modern", done)
        upstream.refuses_handshakes = True
        with pytest.raises(NoHandshake, match=r"^`it` did not answer its handshake: unknown$"):
            await session_with(upstream)

    asyncio.run(main())


def test_a_question_whose_request_has_ended_is_answered_too() -> None:
    async def main() -> None:
        async def endlessly(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            await asyncio.Event().wait()
            return {}

        async def asking(upstream: Streams, message: JsonObject, request: Exchange) -> None:
            upstream.say({"id": "q", "method": "elicitation/create", "params": {}}, request)
            upstream.say({"id": message["id"], "result": {}}, request)

        upstream = Streams("legacy", asking)
        session = await session_with(upstream)
        assert await call(session, FakeLink(capabilities=ALL, answer=endlessly)) == {}
        await until(lambda: any(one.get("id") == "q" for one in upstream.sent))
        error = {"code": -32_603, "message": "the request that this belongs to has ended"}
        assert upstream.sent[-1] == {"jsonrpc": "2.0", "id": "q", "error": error}

    asyncio.run(main())
