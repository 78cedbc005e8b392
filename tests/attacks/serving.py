"""`licet serve` as it is run: processes on one ledger, with real keys, spoken to over sockets."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from licet import Gate
from licet.identity.api_keys import KeyContent
from licet.policy.own import default_text

CONFIG = """
environment = "production"
{store}
roles = ["licet-agent", "licet-approver", "licet-auditor", "licet-admin"]
[tenants.acme]
[tenants.globex]
[agents.bot]
tenants = ["acme", "globex"]
roles = ["bots"]
acts_for = "self"
[users.lena]
tenants = ["acme"]
roles = ["licet-approver"]
[users.gina]
tenants = ["globex"]
roles = ["licet-approver"]
[groups]
leads = ["lena", "gina"]
[tools."door.open"]
access = "write"
input = {{number = "integer"}}
[tools."safe.open"]
access = "write"
input = {{number = "integer"}}
[server]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
reload = false
requests_per_minute = 1000000
refusals_per_minute = 1000000
{server}
"""
POLICIES = """
@id("wall")
forbid (principal, action, resource) unless { resource.tenant == principal.tenant };
@id("bots-open")
permit (principal in Role::"bots", action in [Action::"door.open", Action::"safe.open"], resource);
@id("safe-needs-lead")
@require_approval("1 of Group::\\"leads\\"")
forbid (principal, action == Action::"safe.open", resource);
"""
PEOPLE = {"lena": "acme", "gina": "globex"}
PROGRAMS = {
    "bot": KeyContent(name="bot", tenants=("acme",), agents=("bot",), roles=("licet-agent",)),
    "bot-globex": KeyContent(name="bot-globex", tenants=("globex",), agents=("bot",), roles=("licet-agent",)),
    "auditor": KeyContent(name="auditor", tenants=("acme",), roles=("licet-auditor",)),
    "admin": KeyContent(name="admin", tenants=("*",), roles=("licet-admin",)),
}
PATIENCE_S = 60.0


class Reply:
    """An answer."""

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Replica:
    """One `licet serve`."""

    def __init__(self, folder: Path, number: int) -> None:
        self.log = folder / f"log-{number}"
        with self.log.open("wb") as log:
            licet = Path(sys.executable).parent / "licet"
            self.process = subprocess.Popen([licet, "serve", "--log-format", "json"], cwd=folder, stdout=log, stderr=log)
        self.port = 0

    def wait(self) -> None:
        """It has said where it is."""
        until = time.monotonic() + PATIENCE_S
        while not self.port:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until
            for line in self.log.read_text().splitlines():
                if "serving at" in line:
                    self.port = int(json.loads(line)["message"].rpartition(":")[2])
            time.sleep(0.05)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)

    def ask(self, method: str, path: str, key: str | None = None, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request on a connection of its own. Raises `OSError`, `HTTPException`."""
        connection = self.connect()
        try:
            return ask(connection, method, path, key, body, headers)
        finally:
            connection.close()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """It has ended by this signal; its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def errors(self) -> list[str]:
        """What it logged as an error, or printed past its log."""
        return [line for line in self.log.read_text().splitlines() if not line.startswith("{") or json.loads(line)["level"] == "error"]


def ask(  # noqa: PLR0917  as a request is written
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    key: str | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request on this connection."""
    sent = dict(headers or {})
    if key is not None:
        sent["Authorization"] = f"Bearer {key}"
    if body is not None:
        sent["Content-Type"] = "application/json"
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, body=content, headers=sent)
    with connection.getresponse() as answer:
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


class Site:
    """A folder with a licet.toml, its ledger, keys that were issued, and servers on it."""

    def __init__(self, folder: Path, store: str = "", server: str = "") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "policies").mkdir()
        (folder / "policies" / "tools.cedar").write_text(POLICIES)
        (folder / "policies" / "licet.cedar").write_text(default_text())
        (folder / "licet.toml").write_text(CONFIG.format(store=f'store = "{store}"' if store else "", server=server))
        self.replicas: list[Replica] = []
        self.keys: dict[str, str] = {}
        with self.open() as gate:
            gate.seal()
            contents = PROGRAMS | {user: KeyContent(name=user, tenants=(tenant,), user=user) for user, tenant in PEOPLE.items()}
            for name, content in contents.items():
                self.keys[name] = gate.credentials.issue(content, expires_s=3_600).key

    def open(self) -> Gate:
        """A gate of this process on the ledger."""
        return Gate(self.folder / "licet.toml")

    def serve(self, count: int = 1) -> list[Replica]:
        """So many more servers."""
        begun = [Replica(self.folder, len(self.replicas) + number) for number in range(count)]
        self.replicas += begun
        for replica in begun:
            replica.wait()
        return begun

    def close(self) -> None:
        """Every server has ended, however it stood."""
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.process.kill()
            replica.process.wait(PATIENCE_S)


@contextmanager
def site(folder: Path, store: str = "", server: str = "") -> Iterator[Site]:
    """A site, closed at the end."""
    made = Site(folder, store, server)
    try:
        yield made
    finally:
        made.close()
