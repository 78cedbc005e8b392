"""`licet wrap` as a desktop client starts it: a process between the client's pipes and the server's."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.wrap import upstream_of, upstream_settings, with_options
from licet.config import loads
from licet.config.upstreams import WrapSettings
from tests.cli.conftest import run_licet
from tests.cli.wrapping import HELLO, MODERN, POLICY, PROGRAM, TOOLS, WRAP, is_alive, recorded, wait_for, wrapped, write_desk
from tests.gateway.upstreams.servers import commands


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_desk(tmp_path)
    return tmp_path


@pytest.mark.heavy
def test_one_server_is_governed_under_its_own_names_and_every_call_is_on_record(folder: Path) -> None:
    with wrapped(at=folder) as desk:
        assert desk.hello()["serverInfo"]["name"] == "legacy-fake"
        assert {tool["name"] for tool in desk.ask("tools/list")["tools"]} == set(TOOLS)
        assert desk.call("add", a=1, b=2)["structuredContent"] == {"sum": 3}
        denied = desk.call("add", a=3, b=2)
        assert (denied["isError"], "three is nobody's business" in denied["content"][0]["text"]) == (True, True)
        assert desk.call("slow")["isError"] is True
        code, err = desk.end()
    assert (code, "Traceback" in err) == (0, False)
    assert run_licet(folder, "audit", "verify").returncode == 0
    envelopes = recorded(folder)
    assert [(one["kind"], one["tool"]["name"]) for one in envelopes if "tool" in one] == [
        ("intent", "fake__add"),
        ("outcome", "fake__add"),
        ("denial", "fake__add"),
        ("denial", "(unknown)"),
    ]


@pytest.mark.heavy
def test_nothing_but_messages_is_ever_on_stdout(folder: Path) -> None:
    (folder / "noisy.py").write_text(
        'import os\nfrom licet import Gate\nprint("a banner")\nos.system("echo of a child")\ngate = Gate("licet.toml")\n'
    )
    with wrapped("--app", "noisy:gate", at=folder) as desk:
        desk.hello()
        desk.call("echo", text="x\ny")
        code, err = desk.end()
    assert code == 0, err
    assert "a banner" in err
    assert "of a child" in err
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in desk.lines)


@pytest.mark.heavy
def test_the_caller_is_that_of_the_configuration_whatever_the_client_and_the_environment_say(folder: Path) -> None:
    claims = {"name": "echo", "arguments": {"text": "x"}, "_meta": {"agent": "visitor", "user": "ruth", "tenant": "office"}}
    with wrapped(at=folder, LICET_AGENT="visitor", LICET_USER="ruth") as desk:
        desk.ask("initialize", HELLO | {"clientInfo": {"name": "visitor", "version": "1"}})
        assert desk.ask("tools/call", claims)["structuredContent"]["arguments"] == {"text": "x"}
        assert desk.end()[0] == 0
    with wrapped("--agent", "visitor", "--tenant", "office", at=folder) as desk:
        desk.hello()
        refused = desk.ask("tools/call", claims)
        assert refused["isError"] is True
        assert desk.ask("tools/list")["tools"] == []
        assert desk.end()[0] == 0
    said = [
        (one["actor"]["agent"], one["kind"], one["actor"].get("session")) for one in recorded(folder) if one["kind"] in {"call", "denial"}
    ]
    assert [(agent, kind) for agent, kind, _ in said] == [("assistant", "call"), ("visitor", "denial")]
    assert said[0][2] != said[1][2]


@pytest.mark.heavy
def test_a_held_call_says_what_it_waits_for_and_goes_on_once_somebody_has_approved(folder: Path) -> None:
    with wrapped(at=folder) as desk:
        desk.hello()
        held = desk.call("add", a=700, b=2)
        assert held["isError"] is True
        assert held["_meta"]["dev.licet/call"]["code"] == "held"
        listed = json.loads(run_licet(folder, "approvals", "list", "--json").stdout)["data"]
        (request,) = [one["request"]["id"] for one in listed]
        assert request in held["content"][0]["text"]
        assert run_licet(folder, "approvals", "approve", request, "--as", "ruth").returncode == 0
        assert desk.call("add", a=700, b=2)["structuredContent"] == {"sum": 702}
        assert desk.end()[0] == 0


@pytest.mark.heavy
def test_when_the_client_has_gone_so_are_the_server_its_children_and_the_lease(folder: Path) -> None:
    with wrapped(at=folder) as desk:
        desk.hello()
        pid = desk.call("whoami")["structuredContent"]["pid"]
        desk.call("fork", pidfile=str(folder / "child"))
        child = int((folder / "child").read_text())
        assert is_alive(pid)
        assert is_alive(child)
        assert desk.end()[0] == 0
    assert not is_alive(pid)
    assert not is_alive(child)


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_is_under_way_and_its_outcome_is_recorded(folder: Path, number: int) -> None:
    journal = folder / "journal"
    config = folder / "licet.toml"
    config.write_text(config.read_text().replace("[upstreams.fake]", '[upstreams.fake]\nenv = {FAKE_JOURNAL = "env:JOURNAL"}'))
    with wrapped(at=folder, JOURNAL=str(journal)) as desk:
        desk.hello()
        pid = desk.call("whoami")["structuredContent"]["pid"]
        desk.send("tools/call", {"name": "never", "arguments": {}})
        wait_for(lambda: journal.exists() and "never" in journal.read_text())
        desk.process.send_signal(number)
        assert desk.process.wait(60) == 0
        desk.end()
    assert not is_alive(pid)
    (last,) = [one for one in recorded(folder) if one.get("tool", {}).get("name") == "fake__never"]
    assert (last["kind"], last["outcome"]["status"]) == ("call", "unknown")


@pytest.mark.heavy
def test_a_killed_wrap_leaves_no_server_behind(folder: Path) -> None:
    with wrapped(at=folder) as desk:
        desk.hello()
        pid = desk.call("whoami")["structuredContent"]["pid"]
        desk.process.kill()
        desk.process.wait(60)
        wait_for(lambda: not is_alive(pid))


@pytest.mark.heavy
def test_a_named_command_stands_in_for_that_of_the_file_and_runs_where_the_client_started_it(folder: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    arguments = ("--config", str(folder / "licet.toml"), "--upstream", "fake", "--", *commands.legacy("older"))
    with wrapped(*arguments, at=elsewhere) as desk:
        desk.hello()
        assert desk.call("whoami")["structuredContent"]["cwd"] == str(elsewhere)
        assert desk.end()[0] == 0
    assert list(elsewhere.iterdir()) == []


@pytest.mark.heavy
def test_what_an_upstream_asks_reaches_a_client_that_can_be_asked(folder: Path) -> None:
    with wrapped(at=folder) as desk:
        desk.ask("initialize", HELLO | {"capabilities": {"elicitation": {}}})
        number = desk.send("tools/call", {"name": "ask_user", "arguments": {"message": "Who?"}})
        question = desk.read_message()
        assert (question["method"], question["params"]["message"]) == ("elicitation/create", "Who?")
        desk.answer(question["id"], {"action": "accept", "content": {"name": "nora"}})
        answer = desk.read_message()
        assert answer["id"] == number
        assert answer["result"]["structuredContent"]["answer"]["result"]["content"] == {"name": "nora"}
        assert desk.end()[0] == 0


@pytest.mark.heavy
def test_policies_that_change_are_in_force_without_another_start(folder: Path) -> None:
    with wrapped(at=folder) as desk:
        desk.hello()
        assert desk.call("add", a=1, b=2)["structuredContent"] == {"sum": 3}
        (folder / "policies" / "all.cedar").write_text(POLICY.replace("context.input.a == 3", "context.input.a == 1"))
        desk.process.send_signal(signal.SIGHUP)
        assert desk.process.stderr is not None
        for line in desk.process.stderr:
            if b"licet: reloaded" in line:
                break
        assert desk.call("add", a=1, b=2)["isError"] is True
        assert desk.end()[0] == 0


@pytest.mark.heavy
def test_a_confirmation_is_asked_of_the_user_at_the_desk_and_recorded_as_having_come_through_the_client(folder: Path) -> None:
    confirmed = POLICY.replace('@require_approval("1 of Group::\\"keepers\\"")', "@require_confirmation")
    assert confirmed != POLICY
    (folder / "policies" / "all.cedar").write_text(confirmed)
    config = folder / "licet.toml"
    config.write_text(config.read_text().replace("hold_s = 0", "hold_s = 30"))
    with wrapped(at=folder) as desk:
        desk.ask("initialize", HELLO | {"capabilities": {"elicitation": {}}})
        for said, sums in (({"action": "decline"}, None), ({"action": "accept", "content": {"confirm": True}}, {"sum": 704})):
            number = desk.send("tools/call", {"name": "add", "arguments": {"a": 700 if sums is None else 702, "b": 2}})
            question = desk.read_message()
            assert question["method"] == "elicitation/create"
            assert "fake__add" in question["params"]["message"]
            desk.answer(question["id"], said)
            answer = desk.read_message()
            assert (answer["id"], answer["result"].get("structuredContent")) == (number, sums)
        assert desk.end()[0] == 0
    votes = [one for one in recorded(folder) if one["kind"] == "vote"]
    assert [one["approval"]["verdict"] for one in votes] == ["reject", "approve"]
    shown = run_licet(folder, "audit", "show", votes[1]["call"])
    assert "as a client said over MCP" in shown.stdout


@pytest.mark.heavy
def test_two_clients_at_once_share_one_log_and_no_server(folder: Path) -> None:
    with wrapped(at=folder) as one, wrapped(at=folder) as other:
        pids = []
        for desk in (one, other):
            desk.hello()
            pids.append(desk.call("whoami")["structuredContent"]["pid"])
        assert pids[0] != pids[1]
        for number in range(10):
            assert one.call("add", a=10, b=number)["structuredContent"] == {"sum": 10 + number}
            assert other.call("add", a=20, b=number)["structuredContent"] == {"sum": 20 + number}
        assert one.end()[0] == 0
        assert other.call("add", a=1, b=1)["structuredContent"] == {"sum": 2}
        assert other.end()[0] == 0
    assert run_licet(folder, "audit", "verify").returncode == 0
    assert [one["kind"] for one in recorded(folder)].count("intent") == 21


BROKEN = {
    "no configuration": (("--config", "none.toml"), "", "", Exit.USAGE, "there is no `none.toml` in `"),
    "no configuration there": (("--config", "/nowhere/licet.toml"), "", "", Exit.USAGE, "there is no `/nowhere/licet.toml`\n"),
    "an unknown key": ((), WRAP, WRAP + "wat = 1\n", Exit.USAGE, "wat"),
    "an unknown upstream": (("--upstream", "crm"), "", "", Exit.USAGE, "licet.toml has no upstream `crm`, but `fake`"),
    "no caller": ((), WRAP, "", Exit.USAGE, "whose calls these are was not said"),
    "an unknown agent": (("--agent", "ghost"), "", "", Exit.USAGE, "the caller of the wrapped server cannot be used: "),
    "a tenant of others": (("--tenant", "office"), "", "", Exit.USAGE, "the caller of the wrapped server cannot be used: "),
    "a tenant left open": (("--agent", "visitor"), "", "", Exit.USAGE, "more than one tenant"),
    "an unknown option": (("--agnet", "assistant"), "", "", Exit.USAGE, "no such option"),
    "a server": (("--server", "http://127.0.0.1:1"), "", "", Exit.USAGE, "is about the installation at hand"),
    "a tool that is not pinned": ((), WRAP, WRAP + '[tools.fake__none]\naccess = "read"\n', Exit.USAGE, "`licet.lock` has no definition"),
}


@pytest.mark.heavy
@pytest.mark.parametrize("case", BROKEN)
def test_what_stands_in_the_way_is_said_on_stderr_and_in_the_answer_to_the_client(folder: Path, case: str) -> None:
    arguments, old, new, code, words = BROKEN[case]
    config = folder / "licet.toml"
    config.write_text(config.read_text().replace(old, new) if old else config.read_text())
    with wrapped(*arguments, at=folder) as desk:
        probe = desk.ask("server/discover", {"_meta": MODERN})
        answer = desk.ask("initialize", HELLO)
        ended, err = desk.end()
    assert (ended, err.count("error: ")) == (code, 1)
    assert words in err.replace("`--agnet`", "").lower() if case == "an unknown option" else words in err
    for one in (probe, answer):
        assert one["error"]["code"] == -32004
        assert one["error"]["message"].startswith("licet cannot govern this server: ")
        assert one["error"]["data"]["message"] in err
    assert len(desk.lines) == 2


@pytest.mark.heavy
def test_policies_that_do_not_load_are_told_with_their_place(folder: Path) -> None:
    (folder / "policies" / "all.cedar").write_text("permit (")
    with wrapped(at=folder) as desk:
        error = desk.ask("initialize", HELLO)["error"]
        code, err = desk.end()
    assert code == Exit.POLICY_INVALID
    assert "all.cedar:1" in err
    assert any("all.cedar:1" in line for line in (*error["data"].get("problems", ()), error["message"]))


@pytest.mark.heavy
@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
def test_the_official_client_speaks_to_it_in_both_eras(folder: Path, mode: str) -> None:
    async def main() -> None:
        server = StdioServerParameters(command=PROGRAM[0], args=[*PROGRAM[1:], "--config", str(folder / "licet.toml"), "wrap"])
        with (folder / "stderr").open("w") as stderr:
            async with Client(stdio_client(server, errlog=stderr), mode=mode) as client:
                assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
                assert {tool.name for tool in (await client.list_tools()).tools} == set(TOOLS)
                done = await client.call_tool("add", {"a": 1, "b": 2})
                assert (done.is_error, done.structured_content) == (False, {"sum": 3})
                denied = await client.call_tool("add", {"a": 3, "b": 2})
                assert denied.is_error
                many = await asyncio.gather(*(client.call_tool("echo", {"text": f"n{number}"}) for number in range(20)))
                assert [one.structured_content["arguments"]["text"] for one in many if one.structured_content] == [
                    f"n{n}" for n in range(20)
                ]

    asyncio.run(main())
    assert run_licet(folder, "audit", "verify").returncode == 0


def settings(text: str) -> Any:
    return loads(f'environment = "desk"\n{text}', file=Path("/desk/licet.toml"))


def test_the_upstream_is_the_named_one_or_the_only_one() -> None:
    two = settings('[upstreams.a]\ncommand = ["a"]\n[upstreams.b]\nurl = "https://b.example.com/mcp"\n')
    one = settings('[upstreams.a]\ncommand = ["a"]\n')
    assert upstream_of(one, WrapSettings()) == "a"
    assert upstream_of(two, WrapSettings(upstream="b")) == "b"
    for found, wanted, words in (
        (two, WrapSettings(), "licet.toml has `a`, `b`"),
        (settings(""), WrapSettings(), "licet.toml has none"),
        (one, WrapSettings(upstream="b"), "no upstream `b`, but `a`"),
    ):
        with pytest.raises(Refusal, match=words):
            upstream_of(found, wanted)


def test_a_command_stands_in_for_a_command_and_never_for_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = settings('[upstreams.a]\ncommand = ["a"]\nenv = {KEY = "env:KEY"}\n[upstreams.b]\nurl = "https://b.example.com/mcp"\n')
    assert upstream_settings(found, "a", ()) == found.upstreams["a"]
    changed = upstream_settings(found, "a", ("x", "--y"))
    assert (changed.command, changed.cwd, changed.env) == (("x", "--y"), tmp_path, {"KEY": "env:KEY"})
    with pytest.raises(Refusal, match=r"`\[upstreams.b\]` has a `url`"):
        upstream_settings(found, "b", ("x",))


def test_options_stand_in_for_the_words_of_the_file_one_by_one() -> None:
    of_file = WrapSettings(upstream="files", tenant="home", agent="assistant", user="nora")
    assert with_options(of_file, WrapSettings(user="ruth")) == WrapSettings(upstream="files", tenant="home", agent="assistant", user="ruth")
    assert with_options(WrapSettings(service="cron"), WrapSettings(agent="assistant")) == WrapSettings(agent="assistant")
    assert with_options(WrapSettings(service="cron"), WrapSettings()) == WrapSettings(service="cron")
