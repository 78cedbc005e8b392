"""A server of Licet in front of MCP servers of others, with an API key for one agent, and a proxy that shows the key for programs that
cannot be told to."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from click.testing import CliRunner
from msgspec.structs import replace

from licet import Gate
from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.cli import main
from licet.config import load
from licet.config.server import ServerSettings
from licet.gateway.eras import Era
from licet.gateway.link import CannotAsk, ClientFacts, Voyage
from licet.gateway.upstreams.pool import Pool
from licet.model import JsonObject
from licet.policy.own import default_text
from licet.server.assembly import assemble
from tests.gate.proof import assert_whole

ROOT = Path(__file__).parents[3]
DIRECTORY = """
environment = "test"
[tenants.acme]
[agents.bot]
tenants = ["acme"]
roles = ["anything"]
[agents.reader]
tenants = ["acme"]
roles = ["reading"]
[users.alice]
tenants = ["acme"]
roles = ["anything", "reading"]
[users.lena]
tenants = ["acme"]
[groups]
leads = ["lena"]
"""
POLICIES = """
@id("anything")
permit (principal in Role::"anything", action, resource);

@id("reading")
permit (principal in Role::"reading", action in Action::"read", resource);
"""
CAN = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": True}}


class NoLink:
    """A client that says it can everything, and is asked nothing."""

    def __init__(self, era: Era) -> None:
        version = "2026-07-28" if era == "modern" else "2025-11-25"
        self.client = ClientFacts(era=era, version=version, capabilities=CAN)

    async def notify(self, method: str, params: Any) -> None:
        """Nobody is told."""

    async def ask(self, requests: Any) -> Any:
        raise CannotAsk("nobody is there")


@dataclass
class Project:
    """A folder with licet.toml, policies and licet.lock, in which some upstreams are pinned and classified."""

    folder: Path
    upstreams: str
    access: dict[str, str] = field(default_factory=dict)
    """By the catalog's name; what is not named is a read."""
    tables: dict[str, str] = field(default_factory=dict)
    """More of a tool's table."""
    policies: str = POLICIES
    more: str = ""

    @property
    def config(self) -> Path:
        return self.folder / "licet.toml"

    def write(self) -> None:
        """Write everything, with what the upstreams list now."""
        (self.folder / "policies").mkdir(exist_ok=True)
        (self.folder / "policies" / "policies.cedar").write_text(self.policies)
        (self.folder / "policies" / "licet.cedar").write_text(default_text())
        self.config.write_text(DIRECTORY + self.upstreams + self.more)
        listed = asyncio.run(self._listed())
        lock = Lock()
        tools = ""
        for upstream, definitions in listed.items():
            lock = lock.with_pins(upstream, pins_of(definitions))
            for one in definitions:
                name = f"{upstream}__{one['name']}"
                tools += f'[tools."{name}"]\naccess = "{self.access.get(name, "read")}"\n{self.tables.get(name, "")}\n'
        lock.write(self.folder / LOCK_FILE)
        self.config.write_text(DIRECTORY + self.upstreams + tools + self.more)

    async def _listed(self) -> dict[str, list[JsonObject]]:
        settings = load(self.config).upstreams
        pool = Pool(settings, folder=self.folder)
        found = {}
        try:
            for upstream in settings:
                voyage = Voyage(link=NoLink("legacy"), tenant="acme", agent="bot", user="alice")
                connection = await pool.connect(upstream, voyage)
                found[upstream] = (await connection.request("tools/list", {}, voyage, timeout_s=30))["tools"]
        finally:
            await pool.close()
        return found

    def key(self, agent: str = "bot") -> str:
        """An API key of an agent that acts for alice."""
        options = ("--tenant", "acme", "--agent", agent, "--for", "alice", "--role", "licet-agent", "--json")
        issued = CliRunner().invoke(main, ["--config", str(self.config), "credentials", "issue", f"key-{agent}", *options])
        assert issued.exit_code == 0, issued.output
        key: str = json.loads(issued.stdout)["data"]["key"]
        return key


@dataclass
class Governed:
    """A project that is served: its gate, the URL of its server, and a key."""

    project: Project
    gate: Gate
    url: str
    key: str

    def mcp(self, upstream: str | None = None) -> str:
        """The gateway's address."""
        return f"{self.url}/mcp" if upstream is None else f"{self.url}/mcp/{upstream}"


@contextmanager
def governed(project: Project) -> Iterator[Governed]:
    """The project, written and served; its whole ledger is verified at the end."""
    project.write()
    key = project.key()
    gate = Gate(project.config)
    gate.settings = replace(gate.settings, server=ServerSettings(listen="127.0.0.1:0", metrics="", reload=False))
    server = assemble(gate)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.started.wait(20)
        yield Governed(project, gate, f"http://localhost:{server.address.port}", key)
    finally:
        server.stop()
        thread.join(60)
        assert not thread.is_alive()
    with Gate(project.config) as again:
        assert_whole(again)


@contextmanager
def reference() -> Iterator[str]:
    """The URL of the reference server, in a process of its own."""
    started = [sys.executable, "-W", "ignore", "-m", "tests.gateway.peers.reference_server"]
    with subprocess.Popen(started, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://localhost:{int(process.stdout.readline())}/mcp"
        finally:
            process.terminate()


HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"})


@contextmanager
def showing(key: str, url: str) -> Iterator[str]:
    """An address that passes on to this one, everything as it is, `Host` and `Origin` too, but for the `Authorization` that it adds.

    The conformance suites have no option for a credential.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(_listen(key, url), loop).result(20)
    port = runner.addresses[0][1]
    path = "/" + url.split("/", 3)[3]
    try:
        yield f"http://localhost:{port}{path}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(key: str, url: str) -> web.AppRunner:
    session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
    base = url.split("/", 3)

    async def pass_on(request: web.Request) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        headers.append(("Authorization", f"Bearer {key}"))
        where = f"http://127.0.0.1:{base[2].rpartition(':')[2]}{request.raw_path}"
        async with session.request(request.method, where, headers=headers, data=await request.read(), allow_redirects=False) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP]
            passed = web.StreamResponse(status=answer.status)
            for name, value in kept:
                passed.headers.add(name, value)
            await passed.prepare(request)
            with suppress(ConnectionError):  # whoever asked has left
                async for part in answer.content.iter_any():
                    await passed.write(part)
                await passed.write_eof()
            return passed

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", pass_on)

    async def close(app: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def upstream_url(name: str, url: str, **more: str) -> str:
    """A table of `[upstreams]`."""
    return f'[upstreams.{name}]\nurl = "{url}"\n' + "".join(f"{key} = {value}\n" for key, value in more.items())


def upstream_command(name: str, command: Sequence[str], **more: str) -> str:
    """A table of `[upstreams]`."""
    return f"[upstreams.{name}]\ncommand = {json.dumps(list(command))}\n" + "".join(f"{key} = {value}\n" for key, value in more.items())
