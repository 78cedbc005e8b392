"""Attacks on the HTTP door of the gateway: sessions of others, claims in headers and messages, and bodies that say something else than
what stands in front of the gateway has read."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from licet.gateway.link import CannotAsk, Voyage
from licet.gateway.messages import HEADER_MISMATCH, NOT_PERMITTED, PARSE_ERROR
from licet.model import JsonObject
from licet.testing import records
from tests.gateway.door_world import BOTH, LEGACY, MODERN, DoorWorld, Legacy, door_world, modern_body, modern_headers
from tests.gateway.world import CONFIG

READ = {"name": "crm__get", "arguments": {"id": "C-1"}}
WRITE = {"name": "crm__set", "arguments": {"id": "C-1", "amount": 1}}
ASKED = {"method": "elicitation/create", "params": {"message": "sure?", "requestedSchema": {"type": "object", "properties": {}}}}


@pytest.fixture
def w(tmp_path: Path) -> Iterator[DoorWorld]:
    with door_world(tmp_path, real=True) as world:
        yield world


def nothing_reached(w: DoorWorld) -> bool:
    return w.upstreams.crm.sent == [] and w.upstreams.notes.sent == []


def stolen(w: DoorWorld, session: Legacy, who: str) -> Legacy:
    """The same session, in the hands of another credential."""
    thief = w.initialize(who)
    thief.id = session.id
    return thief


def test_a_stolen_session_id_opens_nothing(w: DoorWorld) -> None:
    victim = w.initialize()
    thief = stolen(w, victim, "other")
    assert thief.request("tools/call", READ).status == 404
    assert thief.listen().status == 404
    assert thief.delete().status == 404
    assert thief.say({"method": "notifications/cancelled", "params": {"requestId": 1}}).status == 404
    assert nothing_reached(w)
    assert victim.request("ping").status == 200


def test_a_session_id_that_somebody_chose_is_not_taken(w: DoorWorld) -> None:
    chosen = {"mcp-session-id": "A" * 32}
    client = w.initialize(headers=chosen)
    assert client.id != "A" * 32
    assert w.send("POST", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=chosen).status == 404


def test_two_session_ids_are_none(w: DoorWorld) -> None:
    mine, theirs = w.initialize(), w.initialize("other")
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": READ}).encode()
    for first, second in ((mine.id, theirs.id), (theirs.id, mine.id)):
        answer = raw(w, body, f"mcp-session-id: {first}", f"Mcp-Session-Id: {second}")
        assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert nothing_reached(w)


def raw(w: DoorWorld, body: bytes, *headers: str) -> bytes:
    """A request as its bytes say; everything that comes back."""
    lines = ["POST /mcp HTTP/1.1", "host: localhost", "connection: close", f"content-length: {len(body)}", f"accept: {BOTH}"]
    if not any(header.lower().startswith("authorization:") for header in headers):
        lines.append("authorization: Bearer bot")
    lines += ["content-type: application/json", *headers]
    with socket.create_connection(w.server.address, timeout=20) as peer:
        peer.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        parts = b""
        while part := peer.recv(65_536):
            parts += part
    return parts


def test_two_credentials_are_none(w: DoorWorld) -> None:
    body = json.dumps(modern_body("tools/call", READ)).encode()
    said = [f"{name}: {value}" for name, value in modern_headers("tools/call", READ).items()]
    answer = raw(w, body, *said, "authorization: Bearer bot", "Authorization: Bearer nobody")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert nothing_reached(w)


def test_nothing_in_headers_or_message_makes_an_agent_another(w: DoorWorld) -> None:
    assert w.modern("tools/call", WRITE, headers={"licet-agent": "writer"}).error["code"] == NOT_PERMITTED
    claims: JsonObject = {"agent": "writer", "tenant": "globex", "user": "lena", "licet/agent": "writer", "dev.licet/call": {"id": "x"}}
    headers = {"x-forwarded-user": "lena", "x-licet-agent": "writer", "x-agent": "writer", "forwarded": "for=lena"}
    reply = w.modern("tools/call", {**WRITE, "_meta": claims, "agent": "writer"}, headers=headers)
    assert (reply.status, reply.json["result"]["isError"]) == (200, True)
    assert reply.json["result"]["content"][0]["text"].startswith("denied (no_permit): ")
    actor = records(w.gate, "acme")[-1].envelope.actor
    assert actor is not None
    assert (actor.agent, actor.user, nothing_reached(w)) == ("bot", "alice", True)


def test_a_header_that_names_a_harmless_tool_carries_no_other_one(w: DoorWorld) -> None:
    for name in ("crm__ask", "=?base64?" + base64.b64encode(b"crm__ask").decode() + "?=", "crm__get ", "CRM__GET"):
        reply = w.modern(
            "tools/call", READ, headers={"mcp-name": name, "mcp-method": "tools/list" if name == "crm__get " else "tools/call"}
        )
        assert (reply.status, reply.error["code"]) == (400, HEADER_MISMATCH)
    assert nothing_reached(w)


def test_a_message_that_names_two_tools_is_read_by_nobody(w: DoorWorld) -> None:
    text = json.dumps(modern_body("tools/call", READ)).replace('"name": "crm__get"', '"name": "crm__ask", "n\\u0061me": "crm__get"')
    reply = w.send("POST", text.encode(), headers=modern_headers("tools/call", READ))
    assert (reply.status, reply.error["code"]) == (400, PARSE_ERROR)
    assert nothing_reached(w)


UNREADABLE = {
    "no UTF-8": b'"\xc0\xae"',
    "half of a pair": b'"\\ud800"',
    "too large": b"99999999999999999999",
    "no end": b"1e400",
    "not a number": b"NaN",
    "too deep": b"[" * 5_000 + b"]" * 5_000,
    "too many": b"[" + b"1," * 20_000 + b"1]",
}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_value_that_is_read_in_more_than_one_way_is_read_in_none(w: DoorWorld, value: bytes) -> None:
    text = json.dumps(modern_body("tools/call", {"name": "crm__get", "arguments": {"id": "HERE"}})).encode().replace(b'"HERE"', value)
    reply = w.send("POST", text, headers=modern_headers("tools/call", READ))
    assert (reply.status, reply.error["code"]) == (400, PARSE_ERROR)
    assert nothing_reached(w)


def test_a_client_does_not_leave_the_header_rules_by_naming_an_older_version(w: DoorWorld) -> None:
    """What says of itself that it is modern is held to the rules of that, whatever its header says."""
    reply = w.send("POST", modern_body("tools/call", READ), headers={"mcp-protocol-version": LEGACY, "mcp-session-id": w.initialize().id})
    assert (reply.status, reply.error["code"]) == (400, HEADER_MISMATCH)
    assert nothing_reached(w)


def test_a_batch_hides_no_call(w: DoorWorld) -> None:
    client = w.initialize(version="2025-03-26")
    batch = [{"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": READ} for number in (1, 2)]
    reply = w.send("POST", batch, headers={"mcp-session-id": client.id})
    assert (reply.status, nothing_reached(w)) == (400, True)


def test_a_yes_that_is_sent_for_somebody_elses_question_is_dropped(w: DoorWorld) -> None:
    async def answering(method: str, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        try:
            found = await voyage.link.ask({"q": ASKED})
        except CannotAsk:
            return {"content": [], "refused": True}
        return {"content": [], "found": found["q"]["action"]}

    w.upstreams.crm.answering = answering
    victim, attacker = w.initialize(capabilities={"elicitation": {}}), w.initialize("other", capabilities={"elicitation": {}})
    call = victim.open("tools/call", {"name": "crm__ask", "arguments": {}})
    number = call.message()["id"]
    assert attacker.say({"id": number, "result": {"action": "accept"}}).status == 202
    assert stolen(w, victim, "other").say({"id": number, "result": {"action": "accept"}}).status == 404
    victim.say({"id": number, "error": {"code": 1, "message": "no"}})
    assert call.message()["result"]["refused"] is True


def test_a_page_whose_name_was_pointed_at_the_gateway_is_refused(w: DoorWorld) -> None:
    headers = {"host": "evil.example.com", "origin": "http://evil.example.com"}
    assert w.modern("tools/call", READ, headers=headers).status == 403
    assert w.send("POST", {"jsonrpc": "2.0", "id": 1, "method": "initialize"}, headers=headers).status == 403
    assert nothing_reached(w)


def test_the_credential_of_a_client_goes_no_further(w: DoorWorld) -> None:
    w.modern("tools/call", READ, headers={"cookie": "session=secret"})
    voyage = w.upstreams.crm.voyages[0]
    told = repr((voyage.headers, voyage.meta, w.upstreams.crm.sent))
    assert ("Bearer" in told, "secret" in told, MODERN in told) == (False, False, False)


def test_sessions_that_are_opened_without_end_push_out_nobody_else(tmp_path: Path) -> None:
    with door_world(tmp_path, config=CONFIG + "[gateway]\nsessions = 20\n", real=True) as w:
        victim = w.initialize()
        for _ in range(40):
            assert w.initialize("other").id
        assert (w.door.sessions <= 20, victim.request("ping").status) == (True, 200)
