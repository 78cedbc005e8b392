"""Streams of events: what is kept, what is dropped, and who takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from licet.gateway import client_session
from licet.gateway.client_session import ClientSession, Kept, Principal
from licet.gateway.client_sse import WAITING_BYTES, WAITING_EVENTS, Stream
from licet.gateway.link import ClientFacts

WHO = Principal("key", "acme", "bot", None, None)
CLIENT = ClientFacts(era="legacy", version="2025-11-25")


class Taker:
    """A connection that takes what it is given, or waits."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.took = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()

    async def part(self, content: bytes) -> None:
        await self.takes.wait()
        self.parts.append(content)
        self.took.set()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(bounded())


async def poured(stream: Stream, after: int = 0) -> list[bytes]:
    """All that is told to somebody who listens until the end."""
    taker = Taker()
    await stream.pour(taker, after)  # type: ignore[arg-type]  # it takes parts, and nothing else is asked of it here
    return taker.parts


def test_what_was_put_is_written_in_order_and_then_the_stream_ends() -> None:
    async def work() -> None:
        stream = Stream()
        for number in (1, 2):
            assert stream.put({"n": number}, droppable=True)
        stream.end()
        assert await poured(stream) == [b'event: message\ndata: {"n":1}\n\n', b'event: message\ndata: {"n":2}\n\n']
        assert stream.is_over
        assert not stream.put({"n": 3}, droppable=False)

    run(work)


def test_a_stream_with_a_name_numbers_its_events_and_tells_them_again() -> None:
    async def work() -> None:
        stream = Stream("s")
        stream.prime()
        stream.put({"n": 1}, droppable=True)
        stream.prime()
        stream.end()
        first = await poured(stream)
        assert [part.split(b"\n")[0] for part in first] == [b"id: s-1", b"id: s-2"]
        assert await poured(stream, 1) == first[1:]
        assert await poured(stream, 2) == []

    run(work)


@pytest.mark.parametrize(("size", "kept"), [(1, WAITING_EVENTS), (WAITING_BYTES // 4, 3)])
def test_notifications_that_nobody_takes_are_dropped_beyond_a_bound_and_answers_are_not(size: int, kept: int) -> None:
    async def work() -> None:
        stream = Stream()
        put = [stream.put({"x": "x" * size}, droppable=True) for _ in range(kept + 2)]
        assert put == [True] * kept + [False] * 2
        assert stream.put({"answer": True}, droppable=False)
        stream.end()
        assert len(await poured(stream)) == kept + 1

    run(work)


def test_who_takes_again_makes_room_again() -> None:
    async def work() -> None:
        stream, taker = Stream(), Taker()
        pouring = asyncio.ensure_future(stream.pour(taker, 0))  # type: ignore[arg-type]  # as above
        for number in range(10 * WAITING_EVENTS):
            assert stream.put({"n": number}, droppable=True)
            await taker.took.wait()
            taker.took.clear()
        stream.end()
        await pouring
        assert len(taker.parts) == 10 * WAITING_EVENTS

    run(work)


def test_a_connection_that_takes_nothing_lets_go_when_another_one_comes() -> None:
    async def work() -> None:
        stream, slow = Stream("s"), Taker()
        slow.takes.clear()
        stream.put({"n": 1}, droppable=True)
        first = asyncio.ensure_future(stream.pour(slow, 0))  # type: ignore[arg-type]  # as above
        await asyncio.sleep(0)
        second = asyncio.ensure_future(poured(stream))
        await asyncio.sleep(0)
        slow.takes.set()
        await first
        stream.put({"n": 2}, droppable=True)
        stream.end()
        assert (len(slow.parts), len(await second)) == (1, 2)

    run(work)


def test_a_session_keeps_no_more_than_its_bound_and_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_session, "REPLAY_BYTES", 1_000)

    async def work() -> None:
        kept = Kept()
        session = ClientSession(WHO, CLIENT, None, kept)
        streams = [session.open_stream() for _ in range(3)]
        for stream in streams:
            for _ in range(10):
                stream.put({"x": "x" * 100}, droppable=False)
            stream.end()
            await poured(stream)
        assert session.bytes == kept.bytes
        assert kept.bytes <= 1_000
        assert (await poured(streams[0]), len(await poured(streams[2])) > 3) == ([], True)
        session.end()
        assert kept.bytes == 0

    run(work)


def test_all_sessions_together_keep_no_more_than_their_bound() -> None:
    async def work() -> None:
        kept = Kept(limit_bytes=1_000)
        sessions = [ClientSession(WHO, CLIENT, None, kept) for _ in range(5)]
        for session in sessions:
            stream = session.open_stream()
            for _ in range(10):
                stream.put({"x": "x" * 100}, droppable=False)
                stream.end() if stream.written > 8 else None
            stream.end()
            await poured(stream)
            session.open_stream().put({}, droppable=True)
        assert kept.bytes < 2_200
        for session in sessions:
            session.end()
        assert kept.bytes == 0

    run(work)


def test_a_session_remembers_no_more_streams_than_it_may() -> None:
    async def work() -> None:
        session = ClientSession(WHO, CLIENT, None, Kept())
        listening = session.listening()
        listening.put({}, droppable=True)
        for _ in range(1_000):
            stream = session.open_stream()
            stream.put({"n": 1}, droppable=False)
            stream.end()
            await poured(stream)
        assert len(session._streams) <= client_session.REPLAY_STREAMS
        assert session.find_stream("1-1") == (listening, 1)
        assert session.find_stream("2-1") is None

    run(work)
