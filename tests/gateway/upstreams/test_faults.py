"""Upstreams that die, speak garbage, answer twice or without end: what is recorded of the call, and what becomes of the next."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from pathlib import Path

import pytest

from licet.gate.steps import EndedAs
from licet.gateway.connection import Garbage, NotSeen, NotSent
from tests.gateway.upstreams.crew import FakeLink, call, journal, pool_of, said, until, voyage
from tests.gateway.upstreams.servers.commands import legacy, modern

ERAS = pytest.mark.parametrize("command", [legacy(), modern()], ids=["legacy", "modern"])


@ERAS
def test_a_process_that_dies_during_a_call_leaves_it_unknown_and_the_next_call_has_another(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            with pytest.raises(NotSeen) as gone:
                await call(connection, "die")
            assert (gone.value.status, gone.value.code) == ("unknown", "upstream_gone")
            assert str(gone.value) == "`it` ended before it answered"
            with pytest.raises(NotSent) as over:
                await call(connection, "add", a=1, b=2)
            assert (over.value.status, over.value.code) == ("not_executed", "upstream_unavailable")
            assert str(over.value) == "the session with `it` has ended: `it` ended before it answered"
            another = await pool.connect("it", voyage())
            assert another is not connection
            assert said(await call(another, "add", a=1, b=2)) == "3"
            assert [one["name"] for one in journal(tmp_path)] == ["die", "add"], "nothing is sent again by itself"

    asyncio.run(main())


def test_a_process_that_dies_takes_every_open_call_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            others = [asyncio.create_task(call(connection, "never")) for _ in range(3)]
            await until(lambda: len(journal(tmp_path)) == 3)
            found = await asyncio.gather(*others, call(connection, "die"), return_exceptions=True)
            assert [type(one) for one in found] == [NotSeen] * 4

    asyncio.run(main())


@ERAS
def test_lines_that_are_no_messages_are_passed_over(tmp_path: Path, command: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with pool_of((*command, "garbage-first"), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            assert said(await call(connection, "garbage")) == "after garbage"
            assert said(await call(connection, "add", a=1, b=2)) == "3"

    asyncio.run(main())
    assert "upstream `it` writes lines to its stdout that are no messages" in caplog.messages


def test_an_upstream_that_speaks_nothing_but_garbage_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy("only-garbage"), tmp_path) as pool:
            with pytest.raises(NotSent, match="the session with `it` has ended: `it` writes lines that are no messages"):
                await pool.connect("it", voyage())

    asyncio.run(main())


@ERAS
def test_of_two_answers_the_first_counts(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            assert said(await call(connection, "twice")) == "first"
            assert said(await call(connection, "add", a=1, b=2)) == "3"

    asyncio.run(main())


@ERAS
def test_messages_that_belong_to_nothing_are_dropped(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        link = FakeLink()
        async with pool_of(command, tmp_path) as pool:
            on = voyage(link, wants_progress=True)
            assert said(await call(await pool.connect("it", on), "stray", on=on)) == "after strays"
            assert link.told == []

    asyncio.run(main())


@pytest.mark.parametrize("what", ["text", "both", "neither", "error"])
def test_an_answer_that_is_none_leaves_the_call_unknown(tmp_path: Path, what: str) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            with pytest.raises(Garbage) as garbage:
                await call(connection, "nonsense", what=what)
            assert (garbage.value.status, garbage.value.code) == ("unknown", "upstream_not_understood")
            assert str(garbage.value) == "`it` answered with neither a result nor an error"
            assert said(await call(connection, "add", a=1, b=2)) == "3"

    asyncio.run(main())


@pytest.mark.parametrize("where", ["first", "last"])
def test_an_answer_beyond_the_limit_fails_its_own_call_alone(tmp_path: Path, where: str) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path, result_bytes=100_000) as pool:
            connection = await pool.connect("it", voyage())
            beside = asyncio.create_task(call(connection, "slow", steps=20))
            with pytest.raises(Garbage) as large:
                await call(connection, "huge", bytes=3_000_000, where=where)
            assert (large.value.status, large.value.code) == ("unknown", "upstream_too_large")
            assert str(large.value) == "`it` answered with more than 100000 bytes"
            assert said(await beside) == "slowly done"

    asyncio.run(main())


def test_an_answer_beyond_the_limit_whose_id_cannot_be_told_fails_the_only_call_that_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path, result_bytes=100_000) as pool:
            connection = await pool.connect("it", voyage())
            with pytest.raises(Garbage, match="`it` answered with more than 100000 bytes"):
                await call(connection, "huge", bytes=3_000_000, where="middle")
            beside = asyncio.create_task(call(connection, "slow", steps=20))
            with pytest.raises(EndedAs, match=r"`it` did not answer within 1 s") as late:
                await call(connection, "huge", bytes=3_000_000, where="middle", timeout_s=1)
            assert late.value.status == "timeout"
            assert said(await beside) == "slowly done"

    asyncio.run(main())


def test_a_hundred_megabytes_take_no_memory(tmp_path: Path) -> None:
    async def main() -> int:
        async with pool_of(legacy(), tmp_path, result_bytes=1_000_000) as pool:
            connection = await pool.connect("it", voyage())
            tracemalloc.start()
            try:
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                with pytest.raises(Garbage, match="`it` answered with more than 1000000 bytes"):
                    await call(connection, "huge")
                _, peak = tracemalloc.get_traced_memory()
                assert said(await call(connection, "add", a=1, b=2)) == "3"
                return peak - before
            finally:
                tracemalloc.stop()

    assert asyncio.run(main()) < 6_000_000


def test_a_line_without_end_is_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy("no-newline"), tmp_path, result_bytes=4_096) as pool:
            with pytest.raises(NotSent, match="the session with `it` has ended: `it` answered with more than 4096 bytes"):
                await pool.connect("it", voyage())

    asyncio.run(main())


def test_a_flood_of_complaints_stops_nothing_and_is_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "licet.gateway")

    async def main() -> None:
        async with pool_of(legacy(), tmp_path) as pool:
            assert said(await call(await pool.connect("it", voyage()), "flood")) == "complained"

    asyncio.run(main())
    said_lines = [line for line in caplog.messages if line.startswith("upstream `it` says: ")]
    assert len(said_lines) == 200
    assert max(len(line) for line in said_lines) < 2_100
    assert any(line.startswith("upstream `it` has said ") and line.endswith("lines more, which are not kept") for line in caplog.messages)


def test_a_process_that_reads_nothing_was_not_sent_what_it_never_took_in(tmp_path: Path) -> None:
    """The pipe is full of the first calls; what waits behind them never left the gateway."""

    async def main() -> None:
        script = "import sys, time; sys.stdin.readline(); print(ANSWER, flush=True); sys.stdin.readline(); time.sleep(3600)"
        answer = '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}'
        command = (legacy()[0], "-S", "-c", f"ANSWER = {answer!r}; {script}")
        async with pool_of(command, tmp_path, protocol="2025-11-25") as pool:
            connection = await pool.connect("it", voyage())
            first = asyncio.create_task(call(connection, "echo", text="x" * 1_000_000, timeout_s=0.5))
            await asyncio.sleep(0)
            second = asyncio.create_task(call(connection, "echo", text="y", timeout_s=0.2))
            found = await asyncio.gather(first, second, return_exceptions=True)
            assert [one.status if isinstance(one, EndedAs) else one for one in found] == ["timeout", "not_executed"]
            assert str(found[1]) == "`it` took nothing in for 0.2 s, and was never sent the request"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("no-such-program",), "`no-such-program` of `it` cannot be started: No such file or directory"),
        (("/",), "`/` of `it` cannot be started: Permission denied"),
        (legacy("dies-at-start"), "`it` did not answer its handshake: `it` ended before it answered"),
        (legacy("refuses"), "`it` did not answer its handshake: go away"),
        (legacy("odd-version"), "`it` speaks no version of the protocol that is known here: `1999-01-01`"),
        (modern("odd-version"), "`it` speaks no version of the protocol that is known here: `2099-01-01`"),
    ],
)
def test_what_cannot_be_started_or_greeted_was_not_executed_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, command: tuple[str, ...], message: str
) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            with pytest.raises(NotSent) as refused:
                await pool.connect("it", voyage())
            assert (str(refused.value), refused.value.status) == (message, "not_executed")

    asyncio.run(main())
    assert caplog.record_tuples.count(("licet.gateway", logging.WARNING, f"licet: {message}")) == 1


def test_a_handshake_that_is_not_answered_in_time_was_not_executed(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy("never-initializes"), tmp_path, connect_timeout_s=0.5) as pool:
            with pytest.raises(NotSent, match=r"`it` did not answer its handshake within 0.5 s"):
                await pool.connect("it", voyage())

    asyncio.run(main())


@pytest.mark.parametrize("name", ["probe-exits", "probe-silent", "older", "slow-start"])
def test_servers_of_the_legacy_era_are_understood_however_they_take_the_question(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        async with pool_of(legacy(name), tmp_path, connect_timeout_s=3) as pool:
            connection = await pool.connect("it", voyage())
            assert connection.era == "legacy"
            assert said(await call(connection, "add", a=1, b=2)) == "3"

    asyncio.run(main())


def test_a_modern_server_that_is_slow_to_start_is_modern_all_the_same(tmp_path: Path) -> None:
    """It finds both greetings in its input, and its first answer of the two counts."""

    async def main() -> None:
        async with pool_of(modern("slow-start"), tmp_path, connect_timeout_s=2) as pool:
            assert (await pool.connect("it", voyage())).era == "modern"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("command", "protocol", "message"),
    [
        (legacy(), "2026-07-28", "`it` does not speak 2026-07-28: set `protocol` to what it speaks, or leave it out"),
        (modern(), "2025-11-25", "`it` did not answer its handshake: this server speaks 2026-07-28 only"),
    ],
)
def test_a_protocol_that_is_named_is_not_replaced_by_another(tmp_path: Path, command: tuple[str, ...], protocol: str, message: str) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path, protocol=protocol) as pool:
            with pytest.raises(NotSent) as refused:
                await pool.connect("it", voyage())
            assert str(refused.value) == message

    asyncio.run(main())


def test_listeners_that_break_do_not_end_the_session(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    async def main() -> None:
        async with pool_of(legacy(), tmp_path) as pool:
            pool.listen(broken)
            connection = await pool.connect("it", voyage())
            assert said(await call(connection, "change")) == "changed"
            assert said(await call(connection, "add", a=1, b=2)) == "3"

    asyncio.run(main())
    assert "what upstream `it` told could not be passed on" in caplog.messages
