"""On gateways as they are run, several processes on one ledger, by callers who hold real keys, and by what fails beside them."""

from __future__ import annotations

import json
import socket
import sqlite3
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.cli import main
from licet.model import JsonObject
from tests.attacks.behind import DONE, TOOLS, Asked
from tests.attacks.mcp_site import Guarded, answer_in, body, guarded, headers
from tests.attacks.serving import PATIENCE_S
from tests.cli.wrapping import wait_for

pytestmark = pytest.mark.heavy

HELD: JsonObject = {"id": "C-1", "amount": 500}
SURE: JsonObject = {"id": "C-2", "amount": 60}
FORMS: JsonObject = {"elicitation": {"form": {}}}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path / "site", hold_s=30) as made:
        yield made


def is_done(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("content") == DONE["content"]


def test_one_approval_is_used_once_at_two_gateways_however_many_come_with_it(site: Guarded) -> None:
    servers = [site.serve(), site.serve()]
    state = site.call("crm__set", HELD)["requestState"]
    (shown,) = site.waiting("lena")
    assert site.vote("lena", shown, "approve").status == 200

    def use(number: int) -> Any:
        return site.call("crm__set", HELD, on=servers[number % 2], params={"requestState": state} if number % 4 < 2 else {})

    with ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(use, range(16)))
    assert [is_done(one) for one in answers].count(True) == 1
    assert site.crm.ids() == ["C-1"]


def test_two_people_are_two_people_whatever_one_of_them_sends(site: Guarded) -> None:
    site.serve()
    much = {"id": "C-9", "amount": 5_000}
    site.call("crm__set", much)
    (shown,) = site.waiting("lena")
    assert [site.vote("lena", shown, "approve").status for _ in range(2)] == [200, 409]
    assert "requestState" in site.call("crm__set", much)
    assert site.vote("max", shown, "approve").status == 200
    assert is_done(site.call("crm__set", much))


def test_the_key_of_an_agent_approves_nothing_and_that_of_a_person_calls_nothing(site: Guarded) -> None:
    site.serve()
    site.call("crm__set", HELD)
    (shown,) = site.waiting("lena")
    for key in ("bot", "bob", "globex"):
        assert site.vote(key, shown, "approve", seen_by="lena").status in {403, 404}
    assert site.ask("tools/call", {"name": "crm__get", "arguments": {"id": "C-1"}}, "lena").status == 403
    assert site.crm.ids() == []


def test_a_state_is_of_nobody_else_and_of_nothing_else_at_any_gateway(site: Guarded) -> None:
    servers = [site.serve(), site.serve()]
    state = {"requestState": site.call("crm__set", HELD, on=servers[0])["requestState"]}
    (shown,) = site.waiting("lena")
    site.vote("lena", shown, "approve")
    for server in servers:
        for key in ("bob", "globex", "reader"):
            assert "not of this request" in str(site.call("crm__set", HELD, key, params=state, on=server))
        assert "not of this request" in str(site.call("crm__set", HELD | {"amount": 501}, params=state, on=server))
        assert "not of this request" in str(site.call("crm__set", HELD, params=state | {"more": 1}, on=server))
        assert "not of this request" in str(site.call("crm__get", {"id": "C-1"}, params=state, on=server))
        assert "not of this request" in str(site.call("set", HELD, params=state, at="/mcp/crm", on=server))
        assert "not of this request" in str(answer_in(site.ask("resources/read", {"uri": "memo://open", **state}, on=server)))
    assert site.crm.ids() == []


def test_an_approval_of_one_definition_is_none_of_the_next_that_is_accepted(site: Guarded) -> None:
    first = site.serve()
    site.call("crm__set", HELD)
    (shown,) = site.waiting("lena")
    site.vote("lena", shown, "approve")
    first.end()
    changed = [one | {"description": "Change all."} if one["name"] == "set" else one for one in TOOLS]
    Lock({"crm": pins_of(changed), "vault": pins_of(TOOLS)}).write(site.folder / LOCK_FILE)
    site.crm.tools = changed
    site.serve()
    assert "requestState" in site.call("crm__set", HELD)  # asked anew
    assert site.crm.ids() == []


def test_a_yes_at_one_gateway_is_none_to_the_question_of_another(site: Guarded) -> None:
    servers = [site.serve(), site.serve()]
    yes = {"confirm": {"action": "accept", "content": {"confirm": True, "amount": 5_000, "binding": "x"}}}
    asked = site.call("crm__set", SURE, can=FORMS, on=servers[0])
    again = site.call("crm__set", SURE, can=FORMS, on=servers[1], params={"requestState": asked["requestState"], "inputResponses": yes})
    assert list(again["inputRequests"]) == ["confirm"]
    for _ in range(2):
        last = site.call("crm__set", SURE, can=FORMS, on=servers[0], params={"requestState": asked["requestState"], "inputResponses": yes})
    assert "used already" in str(last)
    assert site.crm.ids() == ["C-2"]


@pytest.mark.parametrize(("tool", "arguments"), [("crm__set", {"id": "C-3", "amount": 5}), ("crm__get", {"id": "C-3"})])
def test_a_ledger_that_is_locked_while_a_call_runs_keeps_its_result_and_its_record_comes_later(
    site: Guarded, tool: str, arguments: JsonObject
) -> None:
    server = site.serve()
    held: list[sqlite3.Connection] = []

    def locking(_: Asked) -> JsonObject:
        held.append(sqlite3.connect(site.folder / "licet.db", isolation_level=None, timeout=PATIENCE_S, check_same_thread=False))
        held[0].execute("BEGIN EXCLUSIVE")
        return DONE

    site.crm.answering = locking
    said = site.call(tool, arguments)
    assert "its outcome cannot be recorded" in str(said)
    assert "its result is withheld" in str(said)
    site.crm.answering = lambda _: DONE
    refused = site.call("crm__set", {"id": "C-4", "amount": 5})  # nothing is changed meanwhile
    assert "nothing was done, try again later" in str(refused)
    held[0].close()
    assert server.end() == 0
    assert site.crm.ids() == ["C-3"]
    assert [one.envelope.outcome.status for one in site.records() if one.envelope.outcome is not None] == ["ok"]


def test_whoever_leaves_in_the_middle_of_a_call_leaves_its_record(site: Guarded) -> None:
    server = site.serve()
    go = threading.Event()
    site.crm.answering = lambda asked: DONE if go.wait(PATIENCE_S) and asked else None
    for number in range(30):
        message = body("tools/call", {"name": "crm__set", "arguments": {"id": f"L-{number}", "amount": 5}})
        content = json.dumps(message).encode()
        said = headers(message) | {
            "host": "localhost",
            "authorization": f"Bearer {site.keys['bot']}",
            "content-type": "application/json",
            "content-length": str(len(content)),
        }
        head = "POST /mcp HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in said.items()) + "\r\n"
        with server.socket() as client:
            client.sendall(head.encode() + (content[:-1] if number % 3 == 0 else content))
            if number % 3:
                assert site.crm.reached.acquire(timeout=PATIENCE_S)
            if number % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with RST
    go.set()
    assert server.end() == 0
    found = site.records()
    assert len(site.crm.ids()) == len(set(site.crm.ids())) == 20
    assert [one.kind for one in found].count("intent") == 20
    ends = [one.envelope.outcome.status for one in found if one.envelope.outcome is not None]
    assert "unknown" in ends
    assert set(ends) <= {"unknown", "ok"}  # who leaves last may be noticed too late
    assert [one.kind for one in found].count("outcome") == 20
    assert server.errors() == []


EVIL = "\x1b[2J\x1b]0;mine\x07\u202eevil\u200b\r\nallowed\x9b31m\U000e0041"


def test_nothing_that_a_client_or_an_upstream_wrote_commands_the_terminal_of_whoever_looks(site: Guarded) -> None:
    site.serve()

    def failing(asked: Asked) -> JsonObject | None:
        error = {"code": -32_000, "message": EVIL, "data": EVIL}
        asked.send(json.dumps({"jsonrpc": "2.0", "id": asked.message["id"], "error": error}).encode())
        return None

    site.crm.answering = lambda _: {"content": [{"type": "text", "text": EVIL}], "isError": True}
    calls = [site.call("crm__set", {"id": EVIL, "amount": 5})["_meta"]["dev.licet/call"]["id"]]
    site.crm.answering = failing
    site.call("crm__set", {"id": EVIL, "amount": 6})
    held = site.call("crm__set", {"id": EVIL, "amount": 5_000})
    site.call(f"crm__{EVIL}", {"id": EVIL})
    assert "requestState" in held
    (shown,) = site.waiting("lena")
    site.close()
    for command in (
        ("audit", "tail", "-n", "50"),
        ("audit", "search"),
        ("audit", "show", *calls),
        ("audit", "unknown"),
        ("approvals", "list"),
        ("approvals", "show", shown["id"]),
    ):
        for form in ((), ("--json",)):
            told = CliRunner().invoke(main, ["--config", str(site.folder / "licet.toml"), *command, *form])
            assert told.exit_code == 0, told.output
            assert not set(EVIL) & set(told.output) - set("[2J]0;mineviallowed31\n"), command


def resident_mib(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1_024


def test_what_one_credential_leaves_behind_is_bounded_and_others_are_served(site: Guarded) -> None:
    server = site.serve()
    assert is_done(site.call("crm__get", {"id": "C-1"}))
    before = resident_mib(server.process.pid)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {"x": "y" * 3_000}, "clientInfo": {"name": "x" * 2_000, "version": "1"}}
    opening = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode()
    long = "x" * 4_000

    def ask(number: int) -> None:
        assert site.raw(opening).status == 200
        site.call("crm__set", {"id": f"c-{number}", "amount": 60}, can=FORMS)
        site.call("crm__set", {"id": f"h-{number}", "amount": 500})
        site.call(f"crm__{number}{long}", {"id": "C-1"})
        site.ask("resources/read", {"uri": f"memo://bot/{number}{long}"})
        site.ask(f"no/{number}{long}", {})

    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(ask, range(1_500)))
    assert resident_mib(server.process.pid) - before < 100
    assert is_done(site.call("crm__get", {"id": "C-1"}, "globex"))
    assert is_done(site.call("crm__get", {"id": "C-1"}, "bob"))


def test_calls_of_one_credential_that_never_end_leave_room_for_others(site: Guarded) -> None:
    server = site.serve()
    go = threading.Event()
    site.crm.answering = lambda asked: DONE if go.wait(PATIENCE_S) and asked else None
    refused: list[int] = []

    def ask(_: int) -> None:
        refused.append(site.ask("tools/call", {"name": "crm__get", "arguments": {"id": "C-1"}}).status)

    crowd = ThreadPoolExecutor(600)
    try:
        asking = [crowd.submit(ask, number) for number in range(600)]
        wait_for(lambda: len(refused) >= 100)
        assert set(refused) == {429}
        assert site.ask("tools/list", {}, "globex").status == 200
    finally:
        go.set()
        crowd.shutdown()
    assert {one.exception() for one in asking} == {None}
    assert server.errors() == []
