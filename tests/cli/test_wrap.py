"""`licet wrap` as a desktop client starts it: a process between the client's pipes and the server's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client

from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.wrap import upstream_of, upstream_settings, with_options
from licet.config import loads
from licet.config.upstreams import WrapSettings
from licet.gateway.eras import META_CAPABILITIES, META_VERSION
from licet.store.sqlite import SqliteStore
from licet.testing import Clock
from tests.cli.conftest import run_licet
from tests.gateway.upstreams.servers import commands
from tests.gateway.upstreams.servers.legacy import MORE
from tests.gateway.upstreams.servers.tools import definitions

TOOLS = ("echo", "add", "never", "whoami", "fork", "ask_user")
CONFIG = """
environment = "desk"
[tenants.home]
[tenants.office]
[agents.assistant]
tenants = ["home"]
roles = ["assistant"]
[agents.visitor]
tenants = ["home", "office"]
roles = []
[users.nora]
tenants = ["home", "office"]
roles = ["assistant"]
[users.ruth]
tenants = ["home"]
[groups]
keepers = ["ruth"]
[gateway]
hold_s = 0
[upstreams.fake]
command = COMMAND
"""
POLICY = """
@id("reads")
permit (principal in Role::"assistant", action in Action::"read", resource);
@id("adds")
permit (principal in Role::"assistant", action == Action::"fake__add", resource);
@id("never-three")
@reason("three is nobody's business")
forbid (principal, action == Action::"fake__add", resource) when { context.input.a == 3 };
@id("large-sums")
@require_approval("1 of Group::\\"keepers\\"")
forbid (principal, action == Action::"fake__add", resource) when { context.input.a > 100 };
"""
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "desk", "version": "1"}}
MODERN = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
WRAP = '[wrap]\nagent = "assistant"\nuser = "nora"\n'
PROGRAM = (sys.executable, "-c", "from licet.cli import main; main()")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A licet.toml with one upstream, its pins, and policies."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text(POLICY)
    tables = "".join(f'[tools.fake__{name}]\naccess = "{"write" if name == "add" else "read"}"\n' for name in TOOLS)
    command = json.dumps(commands.legacy())
    (tmp_path / "licet.toml").write_text(CONFIG.replace("COMMAND", command) + tables + WRAP)
    Lock({"fake": pins_of(definitions(MORE))}).write(tmp_path / LOCK_FILE)
    return tmp_path


class Desk:
    """A client of the old era, and the process that it has started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lines: list[bytes] = []
        self._number = 0

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        return self.process.stdin, self.process.stdout

    def send(self, method: str, params: Any = None, *, notify: bool = False) -> int:
        self._number += 1
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}} | ({} if notify else {"id": self._number})
        self._pipes[0].write(json.dumps(message).encode() + b"\n")
        self._pipes[0].flush()
        return self._number

    def read(self) -> Any:
        line = self._pipes[1].readline()
        assert line, "the process said nothing more"
        self.lines.append(line)
        return json.loads(line)

    def ask(self, method: str, params: Any = None) -> Any:
        number = self.send(method, params)
        while "id" not in (answer := self.read()):
            pass  # told, not answered
        assert answer["id"] == number, answer
        return answer.get("result") or answer

    def hello(self) -> Any:
        found = self.ask("initialize", HELLO)
        self.send("notifications/initialized", notify=True)
        return found

    def call(self, name: str, **arguments: Any) -> Any:
        return self.ask("tools/call", {"name": name, "arguments": arguments})

    def end(self) -> tuple[int, str]:
        """The client closes stdin; the exit code, and what stderr had. Nothing more may be on stdout."""
        out, err = self.process.communicate(timeout=60)
        self.lines += out.splitlines()
        return self.process.returncode, err.decode()


@contextmanager
def wrapped(*arguments: str, at: Path, **environ: str) -> Iterator[Desk]:
    """A wrapped server; whatever happens, it is gone afterwards."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LICET_")}
    command = [*PROGRAM, "wrap", *arguments]
    with subprocess.Popen(
        command, cwd=at, env=kept | environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield Desk(process)
        finally:
            watchdog.cancel()
            process.kill()


def recorded(folder: Path) -> list[dict[str, Any]]:
    """The envelopes of the tenants, oldest first. Nobody has the ledger open, and no call is open."""
    store = SqliteStore.open(f"sqlite:{folder / 'licet.db'}", now=Clock(), keys=None, create=False, read_only=True)
    try:
        assert not store.boots()
        assert not store.open_calls()
        return [json.loads(record.envelope) for log in ("home", "office") for record in store.records(log)]
    finally:
        store.close()


def wait_for(come: Callable[[], bool]) -> None:
    """What another process does, of which nothing tells."""
    deadline = time.monotonic() + 60
    while not come():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


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
        while "id" not in (question := desk.read()):
            pass
        assert (question["method"], question["params"]["message"]) == ("elicitation/create", "Who?")
        said = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "nora"}}}
        assert desk.process.stdin is not None
        desk.process.stdin.write(json.dumps(said).encode() + b"\n")
        desk.process.stdin.flush()
        answer = desk.read()
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


BROKEN = {
    "no configuration": (("--config", "none.toml"), "", "", Exit.USAGE, "there is no `none.toml` in `"),
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
