"""A desktop client, as a test has one, and the `licet wrap` that it starts in front of a scripted server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.gateway.eras import META_CAPABILITIES, META_VERSION
from licet.store.sqlite import SqliteStore
from licet.testing import Clock
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


def write_desk(folder: Path) -> None:
    """A licet.toml with one upstream, its pins, and policies."""
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(POLICY)
    tables = "".join(f'[tools.fake__{name}]\naccess = "{"write" if name == "add" else "read"}"\n' for name in TOOLS)
    command = json.dumps(commands.legacy())
    (folder / "licet.toml").write_text(CONFIG.replace("COMMAND", command) + tables + WRAP)
    Lock({"fake": pins_of(definitions(MORE))}).write(folder / LOCK_FILE)


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

    def read_message(self) -> Any:
        """The next that asks or answers; what is only told is passed over."""
        while "id" not in (message := self.read()):
            pass
        return message

    def answer(self, number: Any, result: Any) -> None:
        """Answer a question of the server's."""
        self._pipes[0].write(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode() + b"\n")
        self._pipes[0].flush()

    def ask(self, method: str, params: Any = None) -> Any:
        number = self.send(method, params)
        answer = self.read_message()
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
