"""Sessions of legacy clients over HTTP: whose they are, what is told and asked in them, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.gateway.incoming import Incoming
from licet.gateway.link import CannotAsk
from licet.gateway.messages import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, UNSUPPORTED_VERSION, RpcError
from licet.model import JsonObject
from tests.gateway.door_world import LEGACY, DoorWorld, Legacy, door_world, events_of
from tests.gateway.world import CONFIG

CALL = {"name": "crm__get", "arguments": {"id": "C-1"}}
ASKED = {"method": "elicitation/create", "params": {"message": "sure?", "requestedSchema": {"type": "object", "properties": {}}}}


@pytest.fixture
def w(tmp_path: Path) -> Iterator[DoorWorld]:
    with door_world(tmp_path) as world:
        yield world


def tell(w: DoorWorld, number: int = -1, **params: Any) -> None:
    """What belongs to no request, as the gateway tells it to the session of one of the requests so far."""
    told = w.gateway.handed[number].session.tell
    assert w.gateway.loop is not None
    assert told is not None
    w.gateway.loop.call_soon_threadsafe(told, "notifications/resources/updated", params)


# how one begins


def test_initialize_opens_a_session(w: DoorWorld) -> None:
    client = w.initialize()
    assert client.described == {
        "protocolVersion": LEGACY,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "fake", "version": "1"},
    }
    assert (len(client.id) >= 32, client.id.isascii(), w.door.sessions) == (True, True, 1)


@pytest.mark.parametrize(
    ("asked", "answered"), [("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("1900-01-01", LEGACY), ("2026-07-28", LEGACY)]
)
def test_a_session_has_the_version_that_was_asked_for_or_the_newest_of_its_era(w: DoorWorld, asked: str, answered: str) -> None:
    assert w.initialize(version=asked).described["protocolVersion"] == answered


def test_an_initialize_that_says_too_little_opens_none(w: DoorWorld) -> None:
    reply = w.send("POST", {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
    assert (reply.status, reply.error["code"], w.door.sessions) == (400, INVALID_PARAMS, 0)


def test_what_the_client_said_at_its_start_counts_for_its_session(w: DoorWorld) -> None:
    client = w.initialize(capabilities={"roots": {}})
    client.request("tools/list")
    client.request("tools/list")
    first, second = w.gateway.handed[1:]
    assert (first.client.era, first.client.version, first.client.capabilities) == ("legacy", LEGACY, {"roots": {}})
    assert first.session is second.session
    assert first.acting.session == second.acting.session
    assert first.acting.session is not None
    assert first.acting.session not in client.id


def test_without_a_session_nothing_but_initialize_is_answered(w: DoorWorld) -> None:
    reply = w.send("POST", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert (reply.status, reply.error["code"], reply.json["id"]) == (400, INVALID_REQUEST, 1)
    assert (w.send("GET").status, w.send("DELETE").status, w.gateway.handed) == (400, 400, [])


def test_a_version_that_nobody_speaks_is_refused(w: DoorWorld) -> None:
    reply = w.initialize().request("ping", headers={"mcp-protocol-version": "1999-01-01"})
    assert (reply.status, reply.error["code"]) == (400, UNSUPPORTED_VERSION)


# whose one is


@pytest.mark.parametrize("who", ["other", "two"])
def test_the_session_of_another_credential_does_not_exist(w: DoorWorld, who: str) -> None:
    client = w.initialize()
    stranger = Legacy(w, who, w.send("POST", initialize(), who="bot"), "/mcp")
    stranger.id = client.id
    headers = {"licet-agent": "bot"}
    for reply in (stranger.request("tools/list", headers=headers), stranger.delete(headers=headers)):
        assert (reply.status, reply.error["message"]) == (404, "there is no such session, or not any more: send `initialize` again")
    assert stranger.listen(headers=headers).status == 404
    assert client.request("tools/list").status == 200


def initialize() -> JsonObject:
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


def test_the_session_of_the_same_credential_in_another_callers_name_does_not_exist(w: DoorWorld) -> None:
    client = w.initialize("two", headers={"licet-agent": "bot"})
    assert client.request("tools/list", headers={"licet-agent": "writer"}).status == 404
    assert client.request("tools/list", headers={"licet-agent": "bot"}).status == 200


def test_a_session_is_of_the_address_where_it_was_opened(w: DoorWorld) -> None:
    client = w.initialize(path="/mcp/crm")
    assert (
        client.request("ping").status,
        client.request("ping", path="/mcp").status,
        client.request("ping", path="/mcp/notes").status,
    ) == (
        200,
        404,
        404,
    )


def test_a_session_alone_lets_nobody_in(w: DoorWorld) -> None:
    client = w.initialize()
    assert client.request("tools/list", who=None).status == 401
    w.shown.gone.add("bot")
    assert client.request("tools/list").status == 401
    assert len(w.gateway.handed) == 1


# what is answered, told and asked


def test_errors_leave_the_session_where_it_is(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        raise RpcError(METHOD_NOT_FOUND, "none", http_status=404)

    w.gateway.answering = answering
    reply = w.initialize().request("nope")
    assert (reply.status, reply.error["code"]) == (200, METHOD_NOT_FOUND)


def test_events_have_ids_and_the_first_one_is_there_to_come_back_with(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": 1})
        return {"done": True}

    w.gateway.answering = answering
    events = events_of(w.initialize().request("tools/call", CALL).content)
    stream = events[0]["id"].partition("-")[0]
    assert [(event["id"], bool(event["data"])) for event in events] == [
        (f"{stream}-1", False),
        (f"{stream}-2", True),
        (f"{stream}-3", True),
    ]


def test_clients_of_earlier_versions_are_sent_no_event_without_a_message(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": 1})
        return {}

    w.gateway.answering = answering
    events = events_of(w.initialize(version="2025-06-18").request("tools/call", CALL).content)
    assert [bool(event["data"]) for event in events] == [True, True]


def test_a_client_is_asked_on_the_stream_of_its_request_and_answers_by_a_post(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        return {"found": await incoming.link.ask({"k": ASKED})}

    w.gateway.answering = answering
    client = w.initialize(capabilities={"elicitation": {}})
    call = client.open("tools/call", CALL)
    asked = call.message()
    assert (asked["method"], asked["params"]) == ("elicitation/create", ASKED["params"])
    assert client.say({"id": asked["id"], "result": {"action": "accept", "more": 1}}).status == 202
    assert call.message()["result"] == {"found": {"k": {"action": "accept", "more": 1}}}


def test_the_answer_of_another_session_is_none(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        return {"found": await incoming.link.ask({"k": ASKED})}

    w.gateway.answering = answering
    client, other = w.initialize(capabilities={"elicitation": {}}), w.initialize("other", capabilities={"elicitation": {}})
    call = client.open("tools/call", CALL)
    asked = call.message()
    assert other.say({"id": asked["id"], "result": {"action": "accept"}}).status == 202
    client.say({"id": asked["id"], "result": {"action": "decline"}})
    client.say({"id": asked["id"], "result": {"action": "accept"}})
    assert call.message()["result"] == {"found": {"k": {"action": "decline"}}}


@pytest.mark.parametrize(
    ("capabilities", "answer", "said"),
    [
        ({}, None, "the client has not declared that it can be asked `elicitation/create`"),
        ({"elicitation": {}}, {"error": {"code": -1, "message": "no"}}, "the client refused: no"),
        ({"elicitation": {}}, {"result": 1}, "the client refused to answer"),
    ],
)
def test_a_client_that_cannot_or_will_not_answer_is_not_waited_for(
    w: DoorWorld, capabilities: JsonObject, answer: JsonObject | None, said: str
) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        try:
            await incoming.link.ask({"k": ASKED})
        except CannotAsk as cannot:
            return {"cannot": str(cannot)}
        raise AssertionError

    w.gateway.answering = answering
    client = w.initialize(capabilities=capabilities)
    call = client.open("tools/call", CALL)
    if answer is not None:
        client.say({"id": call.message()["id"], **answer})
        assert call.message()["result"] == {"cannot": said}
    else:
        assert said in call.rest().decode()


def test_an_id_that_is_in_use_is_refused(w: DoorWorld) -> None:
    client = w.initialize()
    w.gateway.reached.clear()
    w.gateway.answering = w.gateway.hang
    connection = w.begin("POST", {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}, headers={"mcp-session-id": client.id})
    assert w.gateway.reached.wait(20)
    reply = client.request("tools/call", id=7)
    assert (reply.status, reply.error["message"]) == (400, "a request with this id is under way: use each id once")
    client.delete()
    connection.close()


def test_a_request_that_was_cancelled_is_not_answered(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": "begun"})
        return await w.gateway.hang(incoming)

    w.gateway.answering = answering
    client = w.initialize()
    call = client.open("tools/call", CALL, id="c-1")
    call.message()
    assert client.say({"method": "notifications/cancelled", "params": {"requestId": "other"}}).status == 202
    assert client.say({"method": "notifications/cancelled", "params": {"requestId": "c-1"}}).status == 202
    assert call.rest() == b""
    assert w.gateway.cancelled.wait(20)


def test_nobody_cancels_the_request_of_another_session(w: DoorWorld) -> None:
    let_go = asyncio.Event()

    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": "begun"})
        await let_go.wait()
        return {"done": True}

    w.gateway.answering = answering
    client, other = w.initialize(), w.initialize()
    call = client.open("tools/call", CALL, id=1)
    call.message()
    other.say({"method": "notifications/cancelled", "params": {"requestId": 1}})
    assert w.gateway.loop is not None
    w.gateway.loop.call_soon_threadsafe(let_go.set)
    assert call.message()["result"] == {"done": True}


def test_who_is_asked_when_its_request_is_cancelled_is_told_that_nobody_waits(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        try:
            async with asyncio.timeout(0):
                await incoming.link.ask({"k": ASKED})
        except TimeoutError:
            return {"late": True}
        raise AssertionError

    w.gateway.answering = answering
    events = w.initialize(capabilities={"elicitation": {}}).request("tools/call", CALL).events
    assert [event.get("method", "result") for event in events] == ["elicitation/create", "notifications/cancelled", "result"]
    assert events[0]["id"] == events[1]["params"]["requestId"]


# streams that are lost, and the one that belongs to no request


def test_a_legacy_client_that_goes_away_comes_back_for_its_answer(w: DoorWorld) -> None:
    let_go = asyncio.Event()

    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": "begun"})
        await let_go.wait()
        await incoming.link.notify("notifications/message", {"data": "meanwhile"})
        return {"done": True}

    w.gateway.answering = answering
    client = w.initialize()
    call = client.open("tools/call", CALL, id=3)
    primed, begun = call.event(), call.event()
    assert primed["data"] == ""
    call.close()
    again = client.listen(headers={"last-event-id": begun["id"]})
    assert again.status == 200
    assert w.gateway.loop is not None
    w.gateway.loop.call_soon_threadsafe(let_go.set)
    assert again.message()["params"] == {"data": "meanwhile"}
    assert again.message() == {"jsonrpc": "2.0", "id": 3, "result": {"done": True}}
    assert again.rest() == b""
    assert not w.gateway.cancelled.is_set()
    once_more = client.listen(headers={"last-event-id": begun["id"]})
    assert [event.get("method", "result") for event in (once_more.message(), once_more.message())] == [
        "notifications/message",
        "result",
    ]


@pytest.mark.parametrize("event", ["99-1", "x", "1-", "1-x", "1-99999999999999", "-1"])
def test_a_stream_of_which_nothing_is_kept_cannot_be_resumed(w: DoorWorld, event: str) -> None:
    reply = w.initialize().listen(headers={"last-event-id": event})
    assert reply.status == 400


def test_the_stream_of_another_session_cannot_be_resumed(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": "theirs"})
        return {}

    w.gateway.answering = answering
    mine, theirs = w.initialize(), w.initialize("other")
    first = events_of(theirs.request("tools/call", CALL).content)[0]["id"]
    assert mine.listen(headers={"last-event-id": first}).status == 400


def test_what_belongs_to_no_request_is_told_on_the_stream_that_is_listened_to(w: DoorWorld) -> None:
    client = w.initialize()
    tell(w, uri="before")
    stream = client.listen()
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    assert stream.message() == {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "before"}}
    tell(w, uri="now")
    assert stream.message()["params"] == {"uri": "now"}


def test_who_listens_again_is_told_what_came_meanwhile(w: DoorWorld) -> None:
    client = w.initialize()
    stream = client.listen()
    tell(w, uri="a")
    last = stream.event()
    while not last["data"]:
        last = stream.event()
    stream.close()
    tell(w, uri="b")
    again = client.listen(headers={"last-event-id": last["id"]})
    assert again.message()["params"] == {"uri": "b"}


def test_the_newest_of_two_that_listen_is_told(w: DoorWorld) -> None:
    client = w.initialize()
    first = client.listen()
    second = client.listen()
    assert events_of(first.rest())[1:] == []
    tell(w, uri="a")
    assert second.message()["params"] == {"uri": "a"}


def test_what_nobody_listens_to_is_bounded(w: DoorWorld) -> None:
    client = w.initialize()
    for number in range(2_000):
        tell(w, uri=number)
    stream = client.listen()
    assert stream.message()["params"] == {"uri": 0}
    for _ in range(100):
        stream.message()
    assert stream.message()["params"] == {"uri": 101}


def test_a_stream_that_is_listened_to_ends_with_its_credential(w: DoorWorld) -> None:
    stream = w.initialize().listen()
    w.shown.gone.add("bot")
    assert events_of(stream.rest())[1:] == []


# how one ends


def test_a_client_ends_its_session_and_what_is_under_way_in_it(w: DoorWorld) -> None:
    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": "begun"})
        return await w.gateway.hang(incoming)

    w.gateway.answering = answering
    client = w.initialize()
    call, stream = client.open("tools/call", CALL), client.listen()
    call.message()
    assert client.delete().status == 204
    assert (call.rest(), events_of(stream.rest())[1:]) == (b"", [])
    assert w.gateway.cancelled.wait(20)
    assert (client.request("ping").status, client.listen().status, client.delete().status, w.door.sessions) == (404, 404, 404, 0)


def test_a_session_that_is_not_used_ends(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[gateway]\nsession_idle_s = 0.05\n") as w:
        client = w.initialize()
        assert w.ended.get(timeout=20) == client.id
        assert client.request("ping").status == 404


def test_a_session_that_listens_is_in_use(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[gateway]\nsession_idle_s = 0.05\n") as w:
        listener = w.initialize()
        stream = listener.listen()
        idle = w.initialize()
        assert w.ended.get(timeout=20) == idle.id
        assert idle.request("ping").status == 404
        tell(w, 0, uri="a")
        assert stream.message()["params"] == {"uri": "a"}


def test_who_opens_too_many_sessions_loses_its_own_oldest_one(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[gateway]\nsessions = 3\n") as w:
        other = w.initialize("other")
        first, second = w.initialize(), w.initialize()
        first.request("ping")
        third = w.initialize()
        assert w.door.sessions == 3
        assert [one.request("ping").status for one in (other, first, second, third)] == [200, 200, 404, 200]


def test_a_credential_takes_no_more_room_by_naming_others(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[gateway]\nsessions = 3\n") as w:
        other = w.initialize("other")
        first, second = (w.initialize("two", headers={"licet-agent": agent}) for agent in ("bot", "writer"))
        third = w.initialize("two", headers={"licet-agent": "bot"})
        assert w.door.sessions == 3
        assert other.request("ping").status == third.request("ping", headers={"licet-agent": "bot"}).status == 200
        assert first.request("ping", headers={"licet-agent": "bot"}).status == 404
        assert second.request("ping", headers={"licet-agent": "writer"}).status == 200


def test_nobody_loses_a_session_to_another_principal(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[gateway]\nsessions = 1\n") as w:
        mine = w.initialize()
        reply = w.send("POST", initialize(), who="other")
        assert (reply.status, reply.error["message"]) == (503, "there are too many sessions: end some, or try again later")
        assert mine.request("ping").status == 200


# how the server ends


def test_whoever_only_listens_holds_up_no_end(w: DoorWorld) -> None:
    w.initialize()
    stream = w.initialize().listen()
    stream.event()
    w.server.stop()
    assert (stream.rest(), len({w.ended.get(timeout=20), w.ended.get(timeout=20)})) == (b"", 2)


def test_a_call_that_is_under_way_when_the_server_ends_is_answered(w: DoorWorld) -> None:
    let_go = asyncio.Event()

    async def answering(incoming: Incoming) -> JsonObject:
        await incoming.link.notify("notifications/message", {"data": "begun"})
        await let_go.wait()
        return {"done": True}

    w.gateway.answering = answering
    client, idle = w.initialize(), w.initialize()
    call = client.open("tools/call", CALL)
    call.message()
    w.server.stop()
    assert w.ended.get(timeout=20) == idle.id
    assert w.gateway.loop is not None
    w.gateway.loop.call_soon_threadsafe(let_go.set)
    assert call.message()["result"] == {"done": True}
    assert w.ended.get(timeout=20) == client.id


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_a_call_that_does_not_end_with_the_server_is_cancelled(tmp_path: Path, era: str) -> None:
    with door_world(tmp_path, config=CONFIG + "[server]\nshutdown_s = 0.05\n") as w:

        async def answering(incoming: Incoming) -> JsonObject:
            await incoming.link.notify("notifications/message", {"data": "begun"})
            return await w.gateway.hang(incoming)

        w.gateway.answering = answering
        call = w.open_modern("tools/call", CALL) if era == "modern" else w.initialize().open("tools/call", CALL)
        call.message()
        w.server.stop()
        assert w.gateway.cancelled.wait(20)
