"""Requests to an upstream of either era: what goes out, what comes back, what the client is told and asked meanwhile."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from licet.gateway.connection import Connection, Refused, TooLong
from licet.gateway.link import CannotAsk
from licet.model import JsonObject
from tests.gateway.upstreams.crew import ALL, FakeLink, call, journal, pool_of, said, until, voyage
from tests.gateway.upstreams.servers.commands import legacy, modern

ERAS = pytest.mark.parametrize("command", [legacy(), modern()], ids=["legacy", "modern"])
PROGRESS = [("notifications/progress", {"progress": step, "total": 3, "message": f"step {step}"}) for step in (1, 2, 3)]


async def accepted(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
    return {key: {"action": "accept", "content": {"name": "Ada"}, "x-kept": 1} for key in requests}


@ERAS
def test_a_result_comes_back_whole_with_everything_that_nobody_knows(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            result = await call(await pool.connect("it", voyage()), "echo", text="hi", more=[1, {"a": None}])
            assert result["content"] == [{"type": "text", "text": "hi", "x-part": 1}]
            assert result["x-extra"] == {"kept": True}
            assert result["structuredContent"]["arguments"] == {"text": "hi", "more": [1, {"a": None}]}

    asyncio.run(main())


@pytest.mark.parametrize(("command", "era", "name"), [(legacy(), "legacy", "legacy-fake"), (modern(), "modern", "modern-fake")])
def test_the_era_is_found_out_and_what_an_upstream_says_of_itself_is_kept(
    tmp_path: Path, command: tuple[str, ...], era: str, name: str
) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            assert (connection.upstream, connection.era, connection.info["name"]) == ("it", era, name)
            assert connection.instructions == "Use with care."
            assert connection.capabilities["resources"] == {"subscribe": True, "listChanged": True}

    asyncio.run(main())


def test_a_modern_upstream_is_told_of_the_client_in_each_request_and_a_legacy_one_gets_no_keys_of_that(tmp_path: Path) -> None:
    prefix = "io.modelcontextprotocol/"

    async def seen(command: tuple[str, ...]) -> JsonObject:
        link = FakeLink(capabilities={**ALL, "tasks": {}, "extensions": {f"{prefix}tasks": {}, "com.example/x": {}}})
        on = voyage(link, meta={"traceparent": "00-1-2-01", "com.example/kept": 1, "progressToken": "theirs"})
        async with pool_of(command, tmp_path) as pool:
            found: JsonObject = (await call(await pool.connect("it", on), "whoami", on=on))["structuredContent"]
            return found

    found = asyncio.run(seen(modern()))
    assert found["meta"] == {
        "traceparent": "00-1-2-01",
        "com.example/kept": 1,
        f"{prefix}protocolVersion": "2026-07-28",
        f"{prefix}clientInfo": {"name": "test-client", "version": "1"},
        f"{prefix}clientCapabilities": {**ALL, "extensions": {"com.example/x": {}}},
    }
    found = asyncio.run(seen(legacy()))
    assert found["meta"] == {"traceparent": "00-1-2-01", "com.example/kept": 1}
    assert found["client"] == {
        "protocolVersion": "2025-11-25",
        "clientInfo": {"name": "test-client", "version": "1"},
        "capabilities": {**ALL, "extensions": {"com.example/x": {}}},
    }
    assert [one["method"] for one in found["notified"]] == ["notifications/initialized"]


@ERAS
def test_progress_goes_to_the_client_that_wished_for_it_in_order_and_before_the_answer(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            wishing, other = FakeLink(), FakeLink()
            connection = await pool.connect("it", voyage())
            results = await asyncio.gather(
                call(connection, "slow", on=voyage(wishing, wants_progress=True)), call(connection, "slow", on=voyage(other))
            )
            assert [said(result) for result in results] == ["slowly done"] * 2
            assert (wishing.told, other.told) == (PROGRESS, [])

    asyncio.run(main())


@ERAS
def test_a_client_that_takes_nothing_in_fills_no_memory_and_gets_its_answer(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("licet.gateway.upstreams.opened._DRAIN_S", 0.05)

    class Stuck(FakeLink):
        async def notify(self, method: str, params: Mapping[str, object]) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            on = voyage(Stuck(), wants_progress=True)
            assert said(await call(await pool.connect("it", on), "chatter", on=on, count=2_000)) == "told"

    asyncio.run(main())


@ERAS
def test_an_error_of_the_upstream_is_handed_on_whole(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            with pytest.raises(Refused) as refused:
                await call(await pool.connect("it", voyage()), "refuse")
            assert refused.value.error == {"code": -32_000, "message": "refused by the tool", "data": {"why": "it does"}}
            assert (refused.value.status, refused.value.code) == ("error", "upstream_error")

    asyncio.run(main())


@ERAS
def test_whoever_stops_waiting_says_so_to_the_upstream(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            work = asyncio.create_task(call(connection, "never", which=1))
            await until(lambda: len(journal(tmp_path)) == 1)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            await until(lambda: journal(tmp_path)[1:] == [{"name": "cancelled", "arguments": {"which": 1}}])
            assert said(await call(connection, "add", a=1, b=2)) == "3"

    asyncio.run(main())


@ERAS
def test_what_does_not_answer_in_time_is_a_timeout_and_told_to_stop(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        async with pool_of(command, tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            with pytest.raises(TooLong) as late:
                await call(connection, "never", timeout_s=0.05)
            assert (late.value.status, late.value.code) == ("timeout", "upstream_timeout")
            assert str(late.value) == "`it` did not answer within 0.05 s; what it has done, or still does, is not known"
            await until(lambda: journal(tmp_path)[-1]["name"] == "cancelled")

    asyncio.run(main())


def test_what_a_legacy_upstream_asks_goes_to_the_client_and_its_answer_back_whole(tmp_path: Path) -> None:
    async def main() -> None:
        link = FakeLink(capabilities=ALL, answer=accepted)
        async with pool_of(legacy(), tmp_path) as pool:
            on = voyage(link)
            result = await call(await pool.connect("it", on), "ask_user", on=on, message="Who?")
            answer = {"action": "accept", "content": {"name": "Ada"}, "x-kept": 1}
            assert result["structuredContent"] == {"answer": {"result": answer}}
            schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
            assert link.asked == [{"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": schema}}]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("tool", "capabilities", "code", "message"),
    [
        ("ask_user", {"sampling": {}}, -32_601, "the client has not declared that it can be asked `elicitation/create`"),
        ("ask_model", {"elicitation": {}}, -32_601, "the client has not declared that it can be asked `sampling/createMessage`"),
        ("roots", {}, -32_601, "the client has not declared that it can be asked `roots/list`"),
        ("ask_other", ALL, -32_601, "`tools/list` cannot be asked of this client"),
        ("ask_user", ALL, -32_603, "the client did not answer: nobody is there"),
    ],
)
def test_what_a_client_cannot_be_asked_is_refused_and_it_never_sees_it(
    tmp_path: Path, tool: str, capabilities: JsonObject, code: int, message: str
) -> None:
    async def main() -> None:
        link = FakeLink(capabilities=capabilities)
        async with pool_of(legacy(), tmp_path) as pool:
            on = voyage(link)
            result = await call(await pool.connect("it", on), tool, on=on)
            assert result["structuredContent"]["answer"] == {"error": {"code": code, "message": message}}
            assert len(link.asked) == (code == -32_603)

    asyncio.run(main())


def test_a_modern_upstream_that_sends_requests_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        link = FakeLink(era="modern", capabilities=ALL, answer=accepted)
        async with pool_of(modern(), tmp_path) as pool:
            on = voyage(link)
            result = await call(await pool.connect("it", on), "ask_wrongly", on=on)
            refusal = {"code": -32_601, "message": "`elicitation/create` cannot be asked of this client"}
            assert (result["structuredContent"]["answer"], link.asked) == ({"error": refusal}, [])

    asyncio.run(main())


def test_the_questions_of_parallel_calls_of_several_callers_go_to_nobody(tmp_path: Path) -> None:
    """Nothing on stdio says which request a question belongs to: an answer of the wrong person must not be given."""

    async def main() -> None:
        ada, bob = FakeLink(capabilities=ALL, answer=accepted), FakeLink(capabilities=ALL, answer=accepted)
        async with pool_of(legacy(), tmp_path, share="all") as pool:
            first, second = voyage(ada, user="ada"), voyage(bob, user="bob")
            connection = await pool.connect("it", first)
            assert await pool.connect("it", second) is connection
            waiting = asyncio.create_task(call(connection, "never", on=first))
            await until(lambda: journal(tmp_path))
            result = await call(connection, "ask_user", on=second)
            message = "it cannot be told which client is asked: no request is open, or those of several callers are"
            assert result["structuredContent"]["answer"] == {"error": {"code": -32_603, "message": message}}
            assert (ada.asked, bob.asked) == ([], [])
            waiting.cancel()

    asyncio.run(main())


def test_the_time_in_which_the_client_is_asked_is_not_the_upstreams(tmp_path: Path) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def slowly(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            await release.wait()
            return await accepted(requests)

        link = FakeLink(capabilities=ALL, answer=slowly)
        async with pool_of(legacy(), tmp_path) as pool:
            on = voyage(link)
            work = asyncio.create_task(call(await pool.connect("it", on), "ask_user", on=on, timeout_s=0.5))
            await link.heard.wait()
            await asyncio.sleep(0.7)  # longer than the call may take
            release.set()
            assert said(await work) == "asked"

    asyncio.run(main())


def test_a_client_that_breaks_while_it_is_asked_leaves_no_upstream_waiting(tmp_path: Path) -> None:
    async def broken(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        raise RuntimeError("secrets of the gateway")

    async def main() -> None:
        on = voyage(FakeLink(capabilities=ALL, answer=broken))
        async with pool_of(legacy(), tmp_path) as pool:
            result = await call(await pool.connect("it", on), "ask_user", on=on)
            assert result["structuredContent"]["answer"] == {"error": {"code": -32_603, "message": "the client did not answer"}}

    asyncio.run(main())


def test_a_call_that_is_cancelled_asks_its_client_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def endlessly(requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise CannotAsk

        link = FakeLink(capabilities=ALL, answer=endlessly)
        async with pool_of(legacy(), tmp_path) as pool:
            on = voyage(link)
            work = asyncio.create_task(call(await pool.connect("it", on), "ask_user", on=on))
            await link.heard.wait()
            work.cancel()
            await ended.wait()

    asyncio.run(main())


def test_an_input_required_result_is_a_result_like_another(tmp_path: Path) -> None:
    async def main() -> None:
        on = voyage(FakeLink(era="modern", capabilities=ALL))
        async with pool_of(modern(), tmp_path) as pool:
            connection = await pool.connect("it", on)
            result = await call(connection, "ask_user", on=on)
            assert (result["resultType"], list(result["inputRequests"]), result["requestState"]) == ("input_required", ["who"], "1:")
            responses = await accepted(result["inputRequests"])
            retry = {"name": "ask_user", "arguments": {}, "requestState": "1:", "inputResponses": responses}
            again = await connection.request("tools/call", retry, on, timeout_s=30)
            assert again["structuredContent"] == {"answer": "accept=Ada;"}

    asyncio.run(main())


@pytest.mark.parametrize(("level", "count"), [(None, 0), ("debug", 8), ("error", 4)])
@ERAS
def test_logs_go_to_the_client_from_the_level_that_it_wants(
    tmp_path: Path, command: tuple[str, ...], level: str | None, count: int
) -> None:
    async def main() -> None:
        link = FakeLink()
        async with pool_of(command, tmp_path) as pool:
            on = voyage(link, log_level=level)
            await call(await pool.connect("it", on), "log", on=on)
            assert [params["data"] for _, params in link.told] == ["hello"] * count

    asyncio.run(main())


def test_who_wants_fewer_logs_than_others_of_the_session_gets_fewer(tmp_path: Path) -> None:
    async def main() -> None:
        many, few = FakeLink(), FakeLink()
        async with pool_of(legacy(), tmp_path) as pool:
            connection = await pool.connect("it", voyage())
            await call(connection, "log", on=voyage(many, log_level="info"))
            await call(connection, "log", on=voyage(few, log_level="alert"))
            assert many.told[0][1]["level"] == "info"
            assert [params["level"] for _, params in few.told] == ["alert", "emergency"]

    asyncio.run(main())


@ERAS
def test_what_belongs_to_no_request_is_told_over_which_connection_it_came(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def main() -> None:
        told: list[tuple[Connection, str, JsonObject]] = []
        async with pool_of(command, tmp_path) as pool:
            pool.listen(lambda *one: told.append(one))
            connection = await pool.connect("it", voyage())
            await call(connection, "change")
            await until(lambda: told)
            assert told == [(connection, "notifications/tools/list_changed", {})]

    asyncio.run(main())


def test_a_subscription_lasts_until_it_is_cancelled_and_what_it_brings_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        told: list[tuple[str, JsonObject]] = []
        async with pool_of(modern(), tmp_path) as pool:
            pool.listen(lambda _, method, params: told.append((method, params)))
            connection = await pool.connect("it", voyage())
            wanted = {"notifications": {"resourceSubscriptions": ["memo://one"]}}
            listening = asyncio.create_task(connection.request("subscriptions/listen", wanted, voyage(), timeout_s=math.inf))
            await until(lambda: told)
            await call(connection, "touch")
            await until(lambda: len(told) == 2)
            assert told == [
                ("notifications/subscriptions/acknowledged", wanted),
                ("notifications/resources/updated", {"uri": "memo://one"}),
            ]
            listening.cancel()

    asyncio.run(main())


def test_a_client_that_says_of_itself_what_no_server_takes_is_called_by_the_gateways_name(tmp_path: Path) -> None:
    async def seen(command: tuple[str, ...]) -> JsonObject:
        link = FakeLink()
        link.client = msgspec.structs.replace(link.client, info={"name": "no version"})
        async with pool_of(command, tmp_path) as pool:
            on = voyage(link)
            found: JsonObject = (await call(await pool.connect("it", on), "whoami", on=on))["structuredContent"]
            return found

    assert asyncio.run(seen(legacy()))["client"]["clientInfo"]["name"] == "licet"
    assert asyncio.run(seen(modern()))["meta"]["io.modelcontextprotocol/clientInfo"]["name"] == "licet"


def test_a_ping_is_answered_here_without_a_word_to_the_client(tmp_path: Path) -> None:
    async def main() -> None:
        link = FakeLink()
        async with pool_of(legacy(), tmp_path) as pool:
            on = voyage(link)
            result = await call(await pool.connect("it", on), "ask_other", on=on, method="ping")
            assert (result["structuredContent"]["answer"], link.asked) == ({"result": {}}, [])

    asyncio.run(main())
