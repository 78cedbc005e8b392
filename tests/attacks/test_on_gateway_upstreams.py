"""Upstreams that are nobody's friend: what a server behind the gateway tries on other callers, on the gateway, and on the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from licet.gateway.connection import Garbage, NotSeen, TooLong
from licet.model import JsonObject
from tests.gateway.upstreams.crew import ALL, FakeLink, call, is_running, journal, pool_of, said, until, voyage
from tests.gateway.upstreams.servers.commands import legacy, modern

SERVERS = pytest.mark.parametrize("command", [legacy(), modern()], ids=["legacy", "modern"])


async def accepted(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
    return {key: {"action": "accept", "content": {"name": "Ada"}} for key in requests}


@SERVERS
def test_an_upstream_finds_no_secret_of_the_gateway_in_its_environment(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LICET_KEYS", "CRM_TOKEN", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "very secret")

    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            found = (await call(await pool.connect("it", voyage()), "whoami"))["structuredContent"]
            assert "very secret" not in str(found)

    asyncio.run(main())


def test_an_upstream_asks_nobody_but_the_client_whose_call_it_answers(tmp_path: Path) -> None:
    """Where two people have calls open on one process, a question of one call must not be shown to the other, nor be answered by them."""

    async def main() -> None:
        ada, bob = FakeLink(capabilities=ALL, answer=accepted), FakeLink(capabilities=ALL, answer=accepted)
        async with pool_of(legacy(), tmp_path, share="tenant") as pool:
            connection = await pool.connect("it", voyage(ada, user="ada"))
            waiting = asyncio.create_task(call(connection, "never", on=voyage(ada, user="ada")))
            await until(lambda: journal(tmp_path))
            for tool in ("ask_user", "ask_model", "roots"):
                result = await call(connection, tool, on=voyage(bob, user="bob"))
                assert result["structuredContent"]["answer"]["error"]["code"] == -32_603
            assert ada.asked == bob.asked == []
            waiting.cancel()

    asyncio.run(main())


def test_an_upstream_asks_a_client_nothing_that_it_has_not_offered_to_answer(tmp_path: Path) -> None:
    async def main() -> None:
        link = FakeLink(capabilities={"roots": {}}, answer=accepted)
        on = voyage(link)
        async with pool_of(legacy(), tmp_path) as pool:
            connection = await pool.connect("it", on)
            for tool, more in (("ask_user", {}), ("ask_model", {}), ("ask_other", {"method": "tools/call"})):
                result = await connection.request("tools/call", {"name": tool, "arguments": more}, on, timeout_s=10)
                assert result["structuredContent"]["answer"]["error"]["code"] == -32_601
            assert link.asked == []

    asyncio.run(main())


@SERVERS
def test_a_call_that_an_upstream_did_not_survive_is_not_sent_again(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            with pytest.raises(NotSeen):
                await call(await pool.connect("it", voyage()), "die", seconds=0.01)
            assert said(await call(await pool.connect("it", voyage()), "add", a=1, b=2)) == "3"
            assert [one["name"] for one in journal(tmp_path)] == ["die", "add"]

    asyncio.run(main())


def test_an_upstream_that_answers_late_answers_no_other_call(tmp_path: Path) -> None:
    """An id is never used twice, so that the late answer of one call cannot become that of the next."""

    async def main() -> None:
        async with pool_of(legacy(), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            with pytest.raises(TooLong):
                await call(connection, "late", timeout_s=0.01)
            nearby = asyncio.create_task(call(connection, "slow", steps=5))
            await until(lambda: journal(tmp_path)[-1]["name"] == "answered")
            assert said(await nearby) == "slowly done"
            results = await asyncio.gather(*(call(connection, "add", a=number, b=0) for number in range(50)))
            assert [said(one) for one in results] == [str(number) for number in range(50)]

    asyncio.run(main())


def test_an_upstream_cannot_fail_the_call_of_another_by_an_id_in_what_it_answers(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path, result_bytes=50_000, share="all") as pool:
            connection = await pool.connect("it", voyage())
            victim = asyncio.create_task(call(connection, "slow", steps=10))
            await until(lambda: journal(tmp_path))
            with pytest.raises(Garbage, match="more than 50000 bytes"):
                await call(connection, "huge", bytes=1_000_000, where="last", on=voyage(user="eve"))
            assert said(await victim) == "slowly done"

    asyncio.run(main())


def test_what_an_upstream_has_started_in_a_session_of_its_own_ends_with_it(tmp_path: Path) -> None:
    async def main() -> int:
        async with pool_of(legacy(), tmp_path) as pool:
            await call(await pool.connect("it", voyage()), "fork", pidfile=str(tmp_path / "pid"))
            grandchild = int((tmp_path / "pid").read_text())
            assert is_running(grandchild)
            return grandchild

    assert not is_running(asyncio.run(main()))
