"""Who shares a session with an upstream, how many there are, and when they end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from licet.config.upstreams import CredentialSettings
from licet.gateway.connection import Connection, NotSent
from licet.gateway.eras import Era
from licet.gateway.link import Voyage
from licet.gateway.upstreams.backoff import Backoff
from licet.gateway.upstreams.pool import Pool
from licet.model import JsonObject
from tests.gateway.upstreams.crew import ALL, FakeLink, call, is_running, journal, pool_of, said, until, voyage
from tests.gateway.upstreams.servers.commands import legacy, modern

BOTH = (sys.executable, "-W", "ignore", str(Path(__file__).parent / "servers" / "both.py"))
"""A server of the official SDK: what it is asked first decides its era."""
CALLERS = {
    "bot of acme": {"agent": "bot"},
    "bot for ada": {"agent": "bot", "user": "ada"},
    "bot for bob": {"agent": "bot", "user": "bob"},
    "other agent": {"agent": "other"},
    "service": {"agent": None, "service": "bot"},
    "bot of globex": {"tenant": "globex", "agent": "bot"},
}


async def connections(pool: Pool) -> Mapping[str, Connection]:
    return {name: await pool.connect("it", voyage(**who)) for name, who in CALLERS.items()}  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "count"), [("caller", 6), ("tenant", 2), ("all", 1)])
def test_a_session_is_shared_among_those_that_may_share_it(tmp_path: Path, share: str, count: int) -> None:
    async def main() -> None:
        async with pool_of(modern(), tmp_path, share=share) as pool:
            first, again = await connections(pool), await connections(pool)
            assert len({id(one) for one in first.values()}) == count
            assert first == again
            if share == "tenant":
                assert first["bot of acme"] is first["service"]
                assert first["bot of acme"] is not first["bot of globex"]

    asyncio.run(main())


def test_callers_for_whom_other_credentials_are_shown_share_nothing_with_others(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "globex").write_text("for globex")
        (tmp_path / "globex").chmod(0o600)
        tenants = {"globex": CredentialSettings(env={"FAKE_TOKEN": "file:globex"})}
        async with pool_of(modern(), tmp_path, share="all", tenants=tenants) as pool:
            found = {}
            for tenant in ("acme", "other", "globex"):
                connection = await pool.connect("it", voyage(tenant=tenant))
                seen = (await call(connection, "whoami"))["structuredContent"]
                found[tenant] = (connection, seen["environment"].get("FAKE_TOKEN"))
            assert found["acme"] == found["other"]
            assert [token for _, token in found.values()] == [None, None, "for globex"]

    asyncio.run(main())


def test_a_legacy_session_is_of_one_set_of_capabilities_and_a_modern_one_of_any(tmp_path: Path) -> None:
    async def sessions(command: tuple[str, ...]) -> int:
        async with pool_of(command, tmp_path) as pool:
            declared: list[JsonObject] = [{}, ALL, {"roots": {}}, {}, ALL, {"tasks": {}}, {"roots": {}}]
            found = [await pool.connect("it", voyage(FakeLink(capabilities=capabilities))) for capabilities in declared]
            return len({id(one) for one in found})

    assert asyncio.run(sessions(legacy())) == 3
    assert asyncio.run(sessions(modern())) <= 2, "before its era is known there may be one that was made for it"


def test_where_callers_share_a_session_none_of_them_says_what_its_roots_are(tmp_path: Path) -> None:
    """A file server serves the roots that a client names in place of its own: one caller's must not hold for the others."""

    async def main() -> None:
        async def named(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            return {key: {"roots": [{"uri": "file:///"}]} for key in requests}

        link = FakeLink(capabilities=ALL, answer=named)
        async with pool_of(legacy(), tmp_path, share="tenant") as pool:
            on = voyage(link)
            connection = await pool.connect("it", on)
            client = (await call(connection, "whoami", on=on))["structuredContent"]["client"]
            assert (set(client["capabilities"]), client["clientInfo"]["name"]) == ({"elicitation", "sampling"}, "licet")
            refusal = {"code": -32_601, "message": "the client has not declared that it can be asked `roots/list`"}
            assert (await call(connection, "roots", on=on))["structuredContent"]["answer"] == {"error": refusal}
            assert link.asked == []

    asyncio.run(main())


def test_one_session_is_made_however_many_wait_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path) as pool:
            waiting = [asyncio.create_task(pool.connect("it", voyage())) for _ in range(8)]
            await asyncio.sleep(0)
            waiting[0].cancel()  # who gives up ends nothing that others wait for
            found = await asyncio.gather(*waiting[1:])
            assert len({id(one) for one in found}) == 1
            assert found[0] is await pool.connect("it", voyage())
            results = await asyncio.gather(*(call(found[0], "add", a=number, b=0) for number in range(20)))
            assert [said(one) for one in results] == [str(number) for number in range(20)]

    asyncio.run(main())


def test_beyond_the_limit_an_idle_session_makes_room_and_without_one_nothing_is_executed(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path, at_once=2) as pool:
            ada, bob, eve = (voyage(user=name) for name in ("ada", "bob", "eve"))
            first, second = await pool.connect("it", ada), await pool.connect("it", bob)
            pid = (await call(second, "whoami", on=bob))["structuredContent"]["pid"]
            busy = asyncio.create_task(call(first, "never", on=ada))
            await until(lambda: len(journal(tmp_path)) == 2)
            third = await pool.connect("it", eve)
            assert not is_running(pid), "the idle one has ended before the other began"
            assert await pool.connect("it", ada) is first
            also_busy = asyncio.create_task(call(third, "never", on=eve))
            await until(lambda: len(journal(tmp_path)) == 3)
            with pytest.raises(NotSent) as refused:
                await pool.connect("it", bob)
            assert str(refused.value) == "`it` has 2 sessions in use, which is `at_once`: try again later"
            for task in (busy, also_busy):
                task.cancel()

    asyncio.run(main())


def declaring(what: int, agent: str) -> Voyage:
    """A voyage of a client that declares something of its own invention."""
    return voyage(FakeLink(capabilities={"experimental": {f"x{what}": {}}}), agent=agent)


def test_no_caller_takes_the_sessions_of_others_by_what_its_clients_declare(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path, at_once=4) as pool:
            good = await pool.connect("it", declaring(0, "good"))
            busy = []
            for what in range(2):
                on = declaring(what, "bad")
                busy.append(asyncio.create_task(call(await pool.connect("it", on), "never", on=on)))
            await until(lambda: len(journal(tmp_path)) == 2)
            with pytest.raises(NotSent) as refused:
                await pool.connect("it", declaring(2, "bad"))
            assert str(refused.value) == "`it` has 2 sessions in use for this caller: try again later"
            assert await pool.connect("it", declaring(0, "good")) is good
            for task in busy:
                task.cancel()

    asyncio.run(main())


def test_what_a_client_declares_ends_no_backoff_and_takes_no_memory(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(("false",), tmp_path, connect_timeout_s=0.5) as pool:
            for what in range(6):
                with pytest.raises(NotSent):
                    await pool.connect("it", declaring(what, "bad"))
            assert len(pool._backoffs) == 1
            assert pool._sweeping is not None
            with pytest.raises(NotSent, match="has failed again and again"):
                await pool.connect("it", declaring(7, "bad"))

    asyncio.run(main())


def test_sessions_that_are_made_at_the_same_time_count_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path, at_once=2) as pool:
            found = await asyncio.gather(
                *(pool.connect("it", voyage(user=name)) for name in ("ada", "bob", "eve", "dan")), return_exceptions=True
            )
            assert sum(isinstance(one, NotSent) for one in found) == 2

    asyncio.run(main())


def test_a_session_that_nobody_uses_ends_and_one_that_is_used_or_subscribed_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path, idle_s=0.2) as pool:
            pids = {}
            for name in ("idle", "busy", "subscribed"):
                connection = await pool.connect("it", voyage(user=name))
                pids[name] = (await call(connection, "whoami"))["structuredContent"]["pid"]
                if name == "busy":
                    busy = asyncio.create_task(call(connection, "never"))
                if name == "subscribed":
                    await connection.request("resources/subscribe", {"uri": "memo://one"}, voyage(), timeout_s=5)
            await until(lambda: not is_running(pids["idle"]))
            assert is_running(pids["busy"])
            assert is_running(pids["subscribed"])
            await connection.request("resources/unsubscribe", {"uri": "memo://one"}, voyage(), timeout_s=5)
            busy.cancel()
            await until(lambda: not is_running(pids["busy"]) and not is_running(pids["subscribed"]))

    asyncio.run(main())


def test_an_upstream_that_fails_again_and_again_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gateway.upstreams.backoff.FIRST_S", 20.0)

    async def main() -> None:
        async with pool_of(legacy("dies-at-start"), tmp_path, connect_timeout_s=5) as pool:
            for _ in range(2):
                with pytest.raises(NotSent, match="did not answer its handshake"):
                    await pool.connect("it", voyage())
            with pytest.raises(NotSent, match=r"^`it` has failed again and again; it is tried again in \d+ s$"):
                await pool.connect("it", voyage())

    asyncio.run(main())


def test_whoever_is_refused_for_what_its_client_declares_makes_nobody_else_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gateway.upstreams.backoff.FIRST_S", 20.0)

    async def main() -> None:
        async with pool_of(legacy("refuses-sampling"), tmp_path, share="all", protocol="2025-11-25", connect_timeout_s=5) as pool:
            for what in range(2):
                bad = voyage(FakeLink(capabilities={"sampling": {f"x{what}": {}}}), user="eve")
                with pytest.raises(NotSent, match="go away"):
                    await pool.connect("it", bad)
            with pytest.raises(NotSent, match="has failed again and again"):
                await pool.connect("it", voyage(FakeLink(capabilities={"sampling": {}}), user="eve"))
            connection = await pool.connect("it", voyage(user="ada"))
            assert (await call(connection, "whoami"))["structuredContent"]

    asyncio.run(main())


def test_a_session_that_failed_is_made_again_and_later_each_time() -> None:
    now = 100.0
    backoff = Backoff(lambda: now)
    found = []
    for _ in range(10):
        backoff.failed()
        found.append(backoff.left_s)
        now += backoff.left_s
    assert found == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    backoff.failed(lasted_s=11.0)
    assert backoff.left_s == 0.0


def test_a_pool_that_is_closed_makes_nothing_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(legacy(), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            pid = (await call(connection, "whoami"))["structuredContent"]["pid"]
            open_call = asyncio.create_task(call(connection, "never"))
            await until(lambda: len(journal(tmp_path)) == 2)
            await pool.close()
            assert not is_running(pid)
            with pytest.raises(Exception, match=r"^the session with `it` was ended$") as ended:
                await open_call
            assert getattr(ended.value, "status", None) == "unknown"
            with pytest.raises(NotSent, match=r"^the gateway is ending$"):
                await pool.connect("it", voyage())

    asyncio.run(main())


def test_a_credential_that_cannot_be_had_starts_no_process(tmp_path: Path) -> None:
    async def main() -> None:
        tenants = {"acme": CredentialSettings(env={"FAKE_TOKEN": "file:nowhere"})}
        async with pool_of(legacy(), tmp_path, tenants=tenants) as pool:
            with pytest.raises(NotSent, match=r"^the upstream's credential cannot be read from .*: no such file or directory$"):
                await pool.connect("it", voyage())

    asyncio.run(main())


def test_a_process_that_is_restarted_is_greeted_as_before_without_being_asked_what_it_speaks(tmp_path: Path) -> None:
    """`probe-exits` dies of the question; that it speaks the legacy era is remembered."""

    async def main() -> None:
        async with pool_of(legacy("probe-exits"), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            first: JsonObject = (await call(connection, "whoami"))["structuredContent"]
            other = await pool.connect("it", voyage(user="ada"))
            second: JsonObject = (await call(other, "whoami"))["structuredContent"]
            assert (connection.era, other.era) == ("legacy", "legacy")
            assert first["pid"] != second["pid"]

    asyncio.run(main())


def test_a_session_is_of_the_era_of_its_client_where_the_upstream_speaks_both(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(BOTH, tmp_path, share="all") as pool:
            eras: tuple[Era, ...] = ("legacy", "modern", "legacy")
            found = [await pool.connect("it", voyage(FakeLink(era=era))) for era in eras]
            assert tuple(one.era for one in found) == eras
            assert found[0] is found[2]

    asyncio.run(main())


@pytest.mark.parametrize("command", [legacy(), modern()])
def test_clients_of_both_eras_share_the_session_of_an_upstream_that_speaks_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            eras: tuple[Era, ...] = ("legacy", "modern", "legacy", "modern")
            found = [await pool.connect("it", voyage(FakeLink(era=era))) for era in eras]
            assert len({one.era for one in found}) == 1
            assert found[2] is found[3]

    asyncio.run(main())
