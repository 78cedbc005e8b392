"""A client on the other end of two pipes: what it writes, line by line, and what it reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from licet.gate.acting import Acting
from licet.gateway.eras import META_CAPABILITIES, META_VERSION
from licet.gateway.incoming import Incoming
from licet.gateway.link import CannotAsk
from licet.gateway.messages import NOT_PERMITTED, RpcError
from licet.gateway.stdio_door import StdioDoor, refuse_all
from licet.gateway.stdio_lines import AT_ONCE_BYTES, Lines
from licet.model import JsonObject

LIMIT = 100_000
MODERN = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "desk", "version": "1"}}
ACTING = Acting(tenant="acme", agent="bot", user="alice")
Answering = Callable[[Incoming], Awaitable[JsonObject]]


class Echo:
    """A gateway that answers by a function, and remembers what came."""

    def __init__(self, answering: Answering | None = None) -> None:
        self.came: list[Incoming] = []
        self.heard_of: list[str] = []
        self.answering = answering

    async def answer(self, incoming: Incoming) -> JsonObject:
        self.came.append(incoming)
        return {"echo": incoming.method} if self.answering is None else await self.answering(incoming)

    async def heard(self, incoming: Incoming) -> None:
        self.heard_of.append(incoming.method)

    async def describe(self, incoming: Incoming) -> JsonObject:
        self.came.append(incoming)
        return {"capabilities": {"tools": {}}, "serverInfo": {"name": "files", "version": "1"}}


class Client:
    """The other end. `read` gives the next message, `end` says that there is nothing more."""

    def __init__(self) -> None:
        self.theirs_in, self._to = os.pipe()
        self._from, self.theirs_out = os.pipe()
        self._part = b""

    def send(self, *messages: Any) -> None:
        for message in messages:
            os.write(self._to, message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")

    async def read(self) -> Any:
        while b"\n" not in self._part:
            chunk = await asyncio.to_thread(os.read, self._from, 1_000_000)
            assert chunk, "the door said nothing more"
            self._part += chunk
        line, _, self._part = self._part.partition(b"\n")
        return json.loads(line)

    async def hello(self) -> Any:
        self.send(asks("initialize", HELLO, "hello"))
        return await self.read()

    def end(self) -> None:
        os.close(self._to)
        self._to = -1

    def close(self) -> None:
        for descriptor in (self._to, self._from, self.theirs_in, self.theirs_out):
            if descriptor >= 0:
                os.close(descriptor)

    def rest(self) -> list[Any]:
        """What was written and not read, once nobody writes any more."""
        os.set_blocking(self._from, False)
        with contextlib.suppress(BlockingIOError):
            self._part += os.read(self._from, 1_000_000)
        return [json.loads(line) for line in self._part.splitlines()]


def asks(method: str, params: Any = None, number: Any = 1) -> JsonObject:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params if params is not None else {}}


def modern(method: str, number: Any = 1, **params: Any) -> JsonObject:
    return asks(method, {**params, "_meta": MODERN | params.get("_meta", {})}, number)


def tells(method: str, **params: Any) -> JsonObject:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def serve(gateway: Echo, talk: Callable[[Client], Awaitable[None]], *, limit_bytes: int = LIMIT) -> list[Any]:
    """What the client had not read by itself when the door had ended. The client ends when `talk` has."""

    async def main() -> list[Any]:
        client = Client()
        door = StdioDoor(gateway, Lines(client.theirs_in, client.theirs_out, limit_bytes=limit_bytes), ACTING, "files")
        serving = asyncio.ensure_future(door.serve())
        try:
            await talk(client)
            client.end()
            await serving
            return client.rest()
        finally:
            client.close()

    return asyncio.run(asyncio.wait_for(main(), 30))


def test_a_legacy_client_is_met_in_its_own_version_with_the_upstreams_name() -> None:
    async def talk(client: Client) -> None:
        assert await client.hello() == {
            "jsonrpc": "2.0",
            "id": "hello",
            "result": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "files", "version": "1"},
            },
        }
        client.send(tells("notifications/initialized"), asks("tools/list"))
        assert (await client.read())["result"] == {"echo": "tools/list"}

    gateway = Echo()
    assert serve(gateway, talk) == []
    came = gateway.came[-1]
    assert (came.client.era, came.client.version, came.client.info["name"]) == ("legacy", "2025-06-18", "desk")
    assert (came.acting, came.upstream, came.headers) == (ACTING, "files", {})


def test_a_version_that_is_not_known_is_answered_with_the_newest_that_has_a_handshake() -> None:
    async def talk(client: Client) -> None:
        client.send(asks("initialize", HELLO | {"protocolVersion": "1900-01-01"}))
        assert (await client.read())["result"]["protocolVersion"] == "2025-11-25"

    serve(Echo(), talk)


def test_a_modern_client_needs_no_handshake_and_shares_no_session() -> None:
    async def talk(client: Client) -> None:
        client.send(modern("tools/list", 1), modern("tools/list", 2))
        assert {(await client.read())["id"], (await client.read())["id"]} == {1, 2}

    gateway = Echo()
    serve(gateway, talk)
    one, other = gateway.came
    assert one.client.era == other.client.era == "modern"
    assert one.session is not other.session


def test_before_a_handshake_nothing_but_ping_is_answered() -> None:
    async def talk(client: Client) -> None:
        client.send(asks("ping"))
        assert (await client.read())["result"] == {}
        client.send(asks("tools/call", {"name": "write_file"}))
        error = (await client.read())["error"]
        assert (error["code"], error["message"].startswith("send `initialize` first")) == (-32602, True)

    gateway = Echo()
    serve(gateway, talk)
    assert gateway.came == []


def test_requests_behind_an_initialize_that_nobody_waited_for_belong_to_its_session() -> None:
    async def talk(client: Client) -> None:
        client.send(asks("initialize", HELLO, 1), asks("tools/list", None, 2))
        assert [(await client.read())["id"], (await client.read())["result"]] == [1, {"echo": "tools/list"}]

    serve(Echo(), talk)


def test_what_a_client_can_is_settled_once() -> None:
    async def talk(client: Client) -> None:
        await client.hello()
        client.send(asks("initialize", HELLO | {"capabilities": {"sampling": {}}}))
        assert (await client.read())["error"]["code"] == -32600
        client.send(asks("tools/list"))
        await client.read()

    gateway = Echo()
    serve(gateway, talk)
    assert gateway.came[-1].client.capabilities == {"elicitation": {}}


@pytest.mark.parametrize(
    ("meta", "code", "words"),
    [
        ({META_VERSION: "1900-01-01", META_CAPABILITIES: {}}, -32022, "this version of the protocol"),
        ({META_VERSION: "2025-11-25", META_CAPABILITIES: {}}, -32022, "this version of the protocol"),
        ({META_VERSION: 7, META_CAPABILITIES: {}}, -32602, f"`{META_VERSION}` is text"),
        ({META_VERSION: "2026-07-28"}, -32602, f"`{META_CAPABILITIES}` is an object"),
        (MODERN | {"io.modelcontextprotocol/clientInfo": "me"}, -32602, "`io.modelcontextprotocol/clientInfo` is an object"),
    ],
)
def test_a_modern_request_that_says_too_little_is_refused_with_what_is_missing(meta: JsonObject, code: int, words: str) -> None:
    async def talk(client: Client) -> None:
        client.send(asks("tools/list", {"_meta": meta}))
        error = (await client.read())["error"]
        assert (error["code"], words in error["message"]) == (code, True)
        assert ("2026-07-28" in error.get("data", {}).get("supported", ())) == (code == -32022)

    gateway = Echo()
    serve(gateway, talk)
    assert gateway.came == []


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        (b"{not json\n", None, -32700),
        (b'{"jsonrpc":"2.0","id":3,"method":"ping","params":{"name":"\xc0\xae"}}\n', None, -32700),
        (b"[]\n", None, -32600),
        (b'{"jsonrpc":"2.0","id":3,"method":"tools/list","params":[]}\n', 3, -32602),
        (b'{"jsonrpc":"2.0","id":3,"method":"ping","method":"tools/call"}\n', 3, -32700),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}\n', None, -32600),
        (b'{"id":4,"method":"ping"}\n', 4, -32600),
    ],
)
def test_a_message_that_cannot_be_taken_is_answered_and_the_next_one_is_read(line: bytes, number: Any, code: int) -> None:
    async def talk(client: Client) -> None:
        client.send(line)
        answer = await client.read()
        assert (answer.get("id"), answer["error"]["code"]) == (number, code)
        client.send(b"\n  \r\n", asks("ping"))
        assert (await client.read())["result"] == {}

    serve(Echo(), talk)


def test_a_line_that_is_too_long_is_skipped_whole_and_never_kept() -> None:
    async def talk(client: Client) -> None:
        long = json.dumps(asks("tools/list", {"name": "x" * 5_000})).encode()
        await asyncio.to_thread(client.send, long + b"\n")
        answer = await client.read()
        assert "id" not in answer
        assert answer["error"] == {"code": -32600, "message": "a message is longer than 1000 bytes, and was not read"}
        client.send(asks("ping"))
        assert (await client.read())["result"] == {}

    serve(Echo(), talk, limit_bytes=1_000)


def test_a_line_may_come_in_pieces_and_several_at_once() -> None:
    async def talk(client: Client) -> None:
        line = json.dumps(asks("ping")).encode() + b"\n"
        for place in range(len(line)):
            client.send(line[place : place + 1])
        assert (await client.read())["id"] == 1
        client.send(line.replace(b"1", b"2") + line.replace(b"1", b"3"))
        assert {(await client.read())["id"], (await client.read())["id"]} == {2, 3}

    serve(Echo(), talk)


def test_an_answer_that_is_larger_than_a_pipe_arrives_whole_and_before_later_ones() -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        return {"text": "ä" * incoming.params["many"]}

    async def talk(client: Client) -> None:
        client.send(modern("tools/call", 1, many=700_000), modern("tools/call", 2, many=AT_ONCE_BYTES), modern("tools/call", 3, many=1))
        found = [await client.read() for _ in range(3)]
        assert {one["id"]: len(one["result"]["text"]) for one in found} == {1: 700_000, 2: AT_ONCE_BYTES, 3: 1}

    serve(Echo(answering), talk)


def test_descriptors_that_do_not_block_carry_the_same() -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        return {"text": "x" * incoming.params["many"]}

    async def talk(client: Client) -> None:
        os.set_blocking(client.theirs_in, False)
        os.set_blocking(client.theirs_out, False)
        client.send(modern("tools/call", 1, many=1))
        assert (await client.read())["id"] == 1
        client.send(modern("tools/call", 2, many=500_000))
        assert len((await client.read())["result"]["text"]) == 500_000

    serve(Echo(answering), talk)


def test_a_client_that_does_not_read_holds_up_nobody_but_whoever_tells_it_something() -> None:
    all_came = asyncio.Event()

    async def answering(incoming: Incoming) -> JsonObject:
        if len(gateway.came) == 19:
            all_came.set()
        return {"text": "x" * incoming.params["many"]}

    async def talk(client: Client) -> None:
        client.send(modern("tools/call", 1, many=1_000_000))
        for number in range(2, 20):
            client.send(modern("tools/call", number, many=1))
        await all_came.wait()
        assert {(await client.read())["id"] for _ in range(19)} == set(range(1, 20))

    gateway = Echo(answering)
    serve(gateway, talk)


def test_requests_run_beside_each_other_and_one_that_waits_holds_up_nobody() -> None:
    gate: list[asyncio.Event] = []

    async def answering(incoming: Incoming) -> JsonObject:
        if incoming.params.get("name") == "slow":
            gate.append(asyncio.Event())
            await gate[0].wait()
        return {"name": incoming.params.get("name")}

    async def talk(client: Client) -> None:
        client.send(modern("tools/call", 1, name="slow"), modern("tools/call", 2, name="fast"))
        assert (await client.read())["id"] == 2
        gate[0].set()
        assert (await client.read())["id"] == 1

    serve(Echo(answering), talk)


class Waits:
    """Answers that wait until they are cancelled, and say so."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.incoming: Incoming | None = None

    async def __call__(self, incoming: Incoming) -> JsonObject:
        if incoming.params.get("name") != "wait":
            return {}
        self.incoming = incoming
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await incoming.link.notify("notifications/message", {"data": "too late"})
            self.cancelled.set()
            raise
        raise AssertionError


def test_a_cancelled_request_is_stopped_and_nothing_more_is_said_of_it() -> None:
    waits = Waits()

    async def talk(client: Client) -> None:
        client.send(modern("tools/call", 7, name="wait"))
        await waits.begun.wait()
        client.send(tells("notifications/cancelled", requestId="7"), tells("notifications/cancelled", requestId=[7]))
        client.send(tells("notifications/cancelled", requestId=7, reason="changed my mind"))
        await waits.cancelled.wait()
        client.send(modern("tools/call", 8, name="other"))
        assert (await client.read())["id"] == 8

    assert serve(Echo(waits), talk) == []


def test_an_id_that_is_in_use_is_refused_without_touching_the_request_that_has_it() -> None:
    waits = Waits()

    async def talk(client: Client) -> None:
        client.send(modern("tools/call", 7, name="wait"))
        await waits.begun.wait()
        client.send(modern("tools/call", 7, name="second"))
        answer = await client.read()
        assert "id" not in answer
        assert "`7` is under way" in answer["error"]["message"]
        assert not waits.cancelled.is_set()

    gateway = Echo(waits)
    serve(gateway, talk)
    assert len(gateway.came) == 1


def test_requests_without_end_are_refused_past_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gateway.stdio_door.REQUESTS_AT_ONCE", 1)
    waits = Waits()

    async def talk(client: Client) -> None:
        client.send(modern("tools/call", 1, name="wait"), modern("tools/call", 2, name="wait"))
        answer = await client.read()
        assert (answer["id"], answer["error"]["code"]) == (2, -32004)

    serve(Echo(waits), talk)


def test_a_refusal_and_an_error_that_nobody_expected_are_answers_and_the_second_says_nothing_of_the_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        if incoming.params.get("name") == "denied":
            raise RpcError(NOT_PERMITTED, "denied (forbidden): no", data={"why": 1})
        raise RuntimeError("the password is swordfish")

    async def talk(client: Client) -> None:
        client.send(modern("resources/read", 1, name="denied"))
        assert (await client.read())["error"] == {"code": NOT_PERMITTED, "message": "denied (forbidden): no", "data": {"why": 1}}
        client.send(modern("resources/read", 2, name="broken"))
        error = (await client.read())["error"]
        assert error["code"] == -32603
        assert "swordfish" not in error["message"]

    serve(Echo(answering), talk)
    assert "an error that nobody expected, in `resources/read`" in caplog.text


def test_progress_has_the_clients_own_token_and_is_not_told_without_one() -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/progress", {"progress": 1, "progressToken": "the upstream's"})
        return {}

    async def talk(client: Client) -> None:
        client.send(modern("tools/call", 1, _meta={"progressToken": "mine"}))
        assert (await client.read())["params"] == {"progress": 1, "progressToken": "mine"}
        assert (await client.read())["id"] == 1
        client.send(modern("tools/call", 2))
        assert (await client.read())["id"] == 2

    assert serve(Echo(answering), talk) == []


def test_the_gateway_knows_the_id_of_each_request() -> None:
    async def talk(client: Client) -> None:
        client.send(modern("subscriptions/listen", "s-1"))
        await client.read()

    gateway = Echo()
    serve(gateway, talk)
    assert gateway.came[0].id == "s-1"


ELICIT = {"who": {"method": "elicitation/create", "params": {"message": "who?"}}}


async def asks_the_client(incoming: Incoming) -> JsonObject:
    try:
        return {"answers": dict(await incoming.link.ask(ELICIT))}
    except CannotAsk as error:
        return {"cannot": str(error)}


def test_a_legacy_client_is_asked_over_the_same_stream_and_its_first_answer_counts() -> None:
    async def talk(client: Client) -> None:
        await client.hello()
        client.send(asks("tools/call"))
        question = await client.read()
        assert (question["method"], question["params"]) == ("elicitation/create", {"message": "who?"})
        said = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "alice"}}}
        client.send({"jsonrpc": "2.0", "id": "licet-99", "result": {}}, said, said | {"result": {"action": "decline"}})
        assert (await client.read())["result"] == {"answers": {"who": {"action": "accept", "content": {"name": "alice"}}}}

    assert serve(Echo(asks_the_client), talk) == []


def test_a_client_that_refuses_or_that_cannot_be_asked_is_no_answer() -> None:
    async def talk(client: Client) -> None:
        await client.hello()
        client.send(asks("tools/call"))
        question = await client.read()
        client.send({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "not now"}})
        assert (await client.read())["result"] == {"cannot": "the client refused: not now"}

    assert serve(Echo(asks_the_client), talk) == []

    async def cannot(client: Client) -> None:
        client.send(asks("initialize", HELLO | {"capabilities": {}}))
        await client.read()
        client.send(asks("tools/call"))
        assert (await client.read())["result"] == {"cannot": "the client has not declared that it can be asked `elicitation/create`"}

    assert serve(Echo(asks_the_client), cannot) == []


def test_a_modern_client_is_sent_no_request_whatever_it_declares() -> None:
    async def talk(client: Client) -> None:
        client.send(modern("completion/complete", 1, _meta={META_CAPABILITIES: {"elicitation": {}}}))
        assert (await client.read())["result"] == {"cannot": "a client of this version is asked nothing while it waits for this request"}

    assert serve(Echo(asks_the_client), talk) == []


def test_a_legacy_session_is_told_what_belongs_to_no_request_and_only_once_it_has_begun() -> None:
    async def talk(client: Client) -> None:
        client.send(modern("tools/list"))
        await client.read()
        assert gateway.came[0].session.tell is None
        await client.hello()
        client.send(asks("tools/list"))
        await client.read()
        tell = gateway.came[-1].session.tell
        assert tell is not None
        tell("notifications/tools/list_changed", {})
        tell("notifications/resources/updated", {"uri": "file:///a"})
        assert [(await client.read())["method"] for _ in range(2)] == [
            "notifications/tools/list_changed",
            "notifications/resources/updated",
        ]

    gateway = Echo()
    assert serve(gateway, talk) == []
    assert gateway.came[-1].session.tell is None


def test_what_a_client_tells_is_heard_and_an_error_in_it_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Echo):
        async def heard(self, incoming: Incoming) -> None:
            self.came.append(incoming)
            raise RuntimeError("deaf")

    async def talk(client: Client) -> None:
        client.send(tells("notifications/roots/list_changed"))
        await client.hello()
        client.send(tells("notifications/roots/list_changed"), asks("ping", None, 2))
        assert (await client.read())["id"] == 2

    gateway = Deaf()
    serve(gateway, talk)
    heard = [incoming for incoming in gateway.came if incoming.method.startswith("notifications/")]
    assert [(incoming.id, incoming.acting) for incoming in heard] == [(None, ACTING)]
    assert "an error that nobody expected, in `notifications/roots/list_changed`" in caplog.text


def test_a_question_whose_request_was_cancelled_is_taken_back() -> None:
    async def talk(client: Client) -> None:
        await client.hello()
        client.send(asks("tools/call", None, 5))
        question = await client.read()
        client.send(tells("notifications/cancelled", requestId=5))
        taken_back = await client.read()
        assert (taken_back["method"], taken_back["params"]["requestId"]) == ("notifications/cancelled", question["id"])

    assert serve(Echo(asks_the_client), talk) == []


def test_at_the_end_what_is_under_way_may_finish_and_what_does_not_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    waits = Waits()

    async def answering(incoming: Incoming) -> JsonObject:
        if incoming.params.get("name") == "wait":
            return await waits(incoming)
        await ended.wait()
        return {"finished": True}

    async def talk(client: Client) -> None:
        client.send(modern("tools/call", 1, name="wait"), modern("tools/call", 2, name="short"))
        await waits.begun.wait()
        ended.set()

    monkeypatch.setattr("licet.gateway.stdio_door.GRACE_S", 0.2)
    left = serve(Echo(answering), talk)
    assert [(one["id"], one["result"]) for one in left] == [(2, {"finished": True})]
    assert waits.cancelled.is_set()


def test_a_client_that_does_not_listen_any_more_ends_the_door() -> None:
    async def main() -> None:
        client, waits = Client(), Waits()
        lines = Lines(client.theirs_in, client.theirs_out, limit_bytes=LIMIT)
        serving = asyncio.ensure_future(StdioDoor(Echo(waits), lines, ACTING, "files").serve())
        client.send(modern("tools/call", 1, name="wait"))
        await waits.begun.wait()
        os.close(client._from)
        client._from = -1
        client.send(modern("tools/call", 2))
        await serving
        assert waits.cancelled.is_set()
        client.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_process_that_cannot_serve_answers_every_request_with_why() -> None:
    async def main() -> None:
        client = Client()
        lines = Lines(client.theirs_in, client.theirs_out, limit_bytes=1_000)
        refusing = asyncio.ensure_future(refuse_all(lines, RpcError(-32004, "no licet.toml")))
        client.send(
            modern("server/discover", "probe"), tells("notifications/initialized"), b"x" * 2_000 + b"\n", asks("initialize", HELLO, 0)
        )
        for number in ("probe", 0):
            assert await client.read() == {"jsonrpc": "2.0", "error": {"code": -32004, "message": "no licet.toml"}, "id": number}
        client.end()
        await refusing
        assert client.rest() == []
        client.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_what_a_client_tells_in_its_session_is_heard() -> None:
    async def talk(client: Client) -> None:
        client.send(tells("notifications/roots/list_changed"))
        await client.hello()
        client.send(tells("notifications/roots/list_changed"), asks("ping", None, 9))
        assert (await client.read())["id"] == 9

    gateway = Echo()
    assert serve(gateway, talk) == []
    assert gateway.heard_of.count("notifications/roots/list_changed") == 1


QUESTION = {"method": "elicitation/create", "params": {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {}}}}


def test_who_has_refused_a_question_is_told_of_its_request_and_asked_as_before() -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        with pytest.raises(CannotAsk, match="the client refused: not now"):
            await incoming.link.ask({"a": QUESTION, "b": QUESTION})
        await incoming.link.notify("notifications/message", {"data": "going on"})
        return {"again": await incoming.link.ask({"c": QUESTION})}

    async def talk(client: Client) -> None:
        await client.hello()
        client.send(asks("tools/call"))
        first, second = await client.read(), await client.read()
        client.send({"jsonrpc": "2.0", "id": first["id"], "error": {"code": -1, "message": "not now"}})
        told = [await client.read() for _ in range(3)]
        assert {one["method"] for one in told} == {"notifications/cancelled", "notifications/message", "elicitation/create"}
        withdrawn = next(one for one in told if one["method"] == "notifications/cancelled")
        assert withdrawn["params"]["requestId"] == second["id"]
        third = next(one for one in told if one["method"] == "elicitation/create")
        client.send({"jsonrpc": "2.0", "id": third["id"], "result": {"action": "decline"}})
        assert (await client.read())["result"] == {"again": {"c": {"action": "decline"}}}

    assert serve(Echo(answering), talk) == []


def test_a_client_that_reads_no_more_keeps_nothing_from_ending_while_it_is_asked() -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        if incoming.method == "resources/read":
            await incoming.link.notify("notifications/message", {"data": "x" * 300_000})  # more than a pipe holds
        return dict(await incoming.link.ask({"a": QUESTION}))

    async def main() -> bool:
        client = Client()
        door = StdioDoor(Echo(answering), Lines(client.theirs_in, client.theirs_out, limit_bytes=LIMIT), ACTING, "files")
        serving = asyncio.ensure_future(door.serve())
        try:
            await client.hello()
            client.send(asks("tools/call"))
            assert (await client.read())["method"] == "elicitation/create"
            client.send(asks("resources/read", number=2))
            while not os.get_blocking(client.theirs_out) and select.select([], [client.theirs_out], [], 0)[1]:  # noqa: ASYNC110  nothing tells that a pipe is full
                await asyncio.sleep(0)
            door.stop()
            return bool((await asyncio.wait({serving}, timeout=20))[0])
        finally:
            client.close()

    assert asyncio.run(main()), "the door waits for a client that does not read"
