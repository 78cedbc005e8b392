"""The corpus over MCP: its tools behind upstreams, a gateway in a real server before them, and its calls as clients of both eras make them.

The tool `crm.lookup` is the tool `lookup` of the upstream `crm` here, and `crm__lookup` in the catalog. Half of the upstreams speak each era.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from licet import Gate
from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.catalog.python import PythonTool
from licet.config import Settings, loads
from licet.errors import NotAuthenticated
from licet.gateway.upstreams.pool import Pool
from licet.identity.authenticated import Authenticated
from licet.identity.authenticator import Authenticator
from licet.model import JsonObject
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from licet.server.app import Api
from licet.server.endpoint import Serving
from licet.server.gateway import ServedGateway
from licet.server.mcp import WithGateway
from licet.testing import IN_MEMORY, Clock, Read, records
from tests.cases.corpus import CORPUS_CONFIG, CORPUS_POLICIES, Case, File, LogStream, Stream, equip
from tests.gateway.door_world import LEGACY, DoorWorld, FakeGateway, Reply, Shown, modern_body, modern_headers
from tests.gateway.world import FakeConnections
from tests.server.serving import ANY_PORT, running
from tests.server.world import Told
from tests.world import Customer, World, world

UPSTREAMS = {
    "crm": "2026-07-28",
    "billing": "2025-11-25",
    "account": "2026-07-28",
    "file": "2025-11-25",
    "logs": "2026-07-28",
    "order": "2025-11-25",
}
"""With the revision of the protocol that each speaks."""
LOGS = ("acme", "globex", "operator")
_NAMED = re.compile(rf"(?<![.\w/])({'|'.join(UPSTREAMS)})\.([a-z]+)", re.IGNORECASE)


def over_mcp(text: str) -> str:
    """A text of the corpus, with its tools named as those of upstreams."""
    return _NAMED.sub(r"\1__\2", text)


class Tools:
    """The corpus' own tools, as MCP servers at `/crm`, `/billing` and so on. They do what they are told, and remember it."""

    def __init__(self, behind: World) -> None:
        self._tools = {
            name: tool for name, tool in behind.gate.registry.tools.items() if name.partition(".")[0] in UPSTREAMS and name.count(".") == 1
        }
        self.reached: list[tuple[str, JsonObject]] = []

    def spec_of(self, name: str) -> PythonTool | None:
        """A tool by the corpus' name."""
        return self._tools.get(name)

    def definitions(self, upstream: str) -> list[JsonObject]:
        """What `tools/list` says."""
        return [
            {"name": name.partition(".")[2], "description": name, "inputSchema": tool.spec.input_schema}
            for name, tool in self._tools.items()
            if name.partition(".")[0] == upstream
        ]

    def tables(self) -> str:
        """The tables of licet.toml: what each tool can do, and where it is."""
        return "\n".join(
            f"[tools.{over_mcp(name)}]\naccess = {json.dumps(tool.spec.access)}\ntouches = {json.dumps(sorted(tool.spec.touches))}\n"
            f"targets = {json.dumps([str(target) for target in tool.spec.targets])}"
            for name, tool in self._tools.items()
        )

    def answer(self, upstream: str, message: JsonObject) -> JsonObject:
        """The result of a request."""
        match message["method"]:
            case "server/discover":
                return {"supportedVersions": [UPSTREAMS[upstream]], "capabilities": {"tools": {}}}
            case "initialize":
                info = {"name": upstream, "version": "1"}
                return {"protocolVersion": UPSTREAMS[upstream], "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":
                return {"tools": self.definitions(upstream)}
            case "tools/call":
                return self._call(f"{upstream}.{message['params']['name']}", message["params"]["arguments"])
        raise AssertionError(message)

    def _call(self, name: str, arguments: JsonObject) -> JsonObject:
        self.reached.append((name, arguments))
        tool = self._tools[name]
        given = tool.kwargs(tool.reader.read(arguments))
        made = tool.function(**given)
        if tool.is_async:
            made = _finished(made)
        value = msgspec.to_builtins(made)
        return {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": {"value": value}}


def _finished(coroutine: Any) -> Any:
    import asyncio  # noqa: PLC0415

    return asyncio.run(coroutine)


@contextmanager
def served(tools: Tools) -> Iterator[str]:
    """The servers of these tools; the URL before their names."""

    class Handler(BaseHTTPRequestHandler):
        """One request, and the connection is over."""

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if "id" not in message:
                self.send_response(202)
                self.end_headers()
                return
            result = tools.answer(self.path.strip("/"), message)
            content = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", **result}}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.send_error(405)

        do_DELETE = do_GET  # noqa: N815  as its base calls it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of its base
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Keys(Shown):
    """A credential for each caller of the corpus: as wide as its caller, and no wider."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._known: dict[str, Authenticated] = {}

    def issue(self, caller: dict[str, str]) -> str:
        """The bearer value of this caller's."""
        agent, service, user = caller.get("agent"), caller.get("service"), caller.get("user")
        shown = base64.urlsafe_b64encode(json.dumps(caller).encode()).decode().rstrip("=")
        entry = self._settings.agents.get(agent or "") or self._settings.services.get(service or "")
        self._known[shown] = Authenticated(
            method="api_key",
            credential=f"key-{len(self._known)}" if shown not in self._known else self._known[shown].credential,
            tenants=(caller["tenant"],) if "tenant" in caller else tuple(entry.tenants) if entry is not None else ("acme",),
            agents=(agent,) if agent is not None else (),
            services=(service,) if service is not None else (),
            users=(user,) if user is not None else (),
            roles=("licet-agent",),
        )
        return shown

    def find_known(self, shown: str, peer_certificate: bytes | None) -> Authenticated | None:
        return self._known.get(shown)

    def verify(self, shown: str, peer_certificate: bytes | None) -> Authenticated:
        raise NotAuthenticated("invalid_credential", "unknown_key")


@dataclass
class CorpusWorld:
    """A server, the gate in it, and the tools behind it."""

    door: DoorWorld
    gate: Gate
    clock: Clock
    keys: Keys
    tools: Tools
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    def records(self) -> dict[str, list[Read]]:
        """Every record, by log."""
        return {log: records(self.gate, log) for log in LOGS}

    def fresh(self) -> None:
        """What a session has done before counts no more."""
        self.tools.reached.clear()
        house = self.gate._house
        assert house is not None
        house.sessions._facts.clear()

    def call(self, case: Case, era: str, *, path: str = "/mcp") -> Reply:
        """The case as a client of this era makes it."""
        who = self.keys.issue(case.caller) if case.caller else None
        if era == "modern":
            headers = modern_headers("tools/call", {"name": _header(_sent_name(case))})
            return self.door.send(
                "POST", self._body(case, modern_body("tools/call")["params"]["_meta"]), who=who, path=path, headers=headers
            )
        headers = {"mcp-protocol-version": LEGACY}
        if who is not None:
            hello = self._hello(who, path)
            if hello.status != 200:
                return hello
            headers["mcp-session-id"] = hello.headers["mcp-session-id"]
        return self.door.send("POST", self._body(case, None), who=who, path=path, headers=headers)

    def _hello(self, who: str, path: str) -> Reply:
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "corpus", "version": "1"}}
        return self.door.send("POST", {"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": params}, who=who, path=path)

    def _body(self, case: Case, meta: JsonObject | None) -> bytes:
        arguments = json.dumps(case.arguments) if case.json is None else case.json
        more = "" if meta is None else f', "_meta": {json.dumps(meta)}'
        name = json.dumps(_sent_name(case))
        text = f'{{"jsonrpc": "2.0", "id": {next(self.numbers)}, "method": "tools/call", "params": {{"name": {name}, "arguments": {arguments}{more}}}}}'
        return text.encode("utf-8", "surrogatepass")


def _sent_name(case: Case) -> str:
    return over_mcp(case.tool)


def _header(name: str) -> str:
    """A name as a header has it."""
    return name if re.fullmatch(r"[\x20-\x7e]*", name) else f"=?base64?{base64.b64encode(name.encode()).decode()}?="


@contextmanager
def corpus_world(folder: Path) -> Iterator[CorpusWorld]:
    """The corpus behind a gateway."""
    with world(CORPUS_CONFIG, CORPUS_POLICIES) as behind, served(tools := Tools(equip(behind))) as url:
        (folder / "policies").mkdir()
        (folder / "policies" / "policies.cedar").write_text(over_mcp(CORPUS_POLICIES))
        (folder / "policies" / OWN_FILE).write_text(default_text())
        Lock({name: pins_of(tools.definitions(name)) for name in UPSTREAMS}).write(folder / LOCK_FILE)
        upstreams = "\n".join(
            f'[upstreams.{name}]\nurl = "{url}/{name}"\nshare = "all"\nprotocol = "{era}"' for name, era in UPSTREAMS.items()
        )
        config = f"{over_mcp(CORPUS_CONFIG)}\n{tools.tables()}\n{upstreams}\n"
        settings = replace(loads(config, file=folder / "licet.toml"), store=IN_MEMORY)
        clock = Clock()
        with Gate(settings, clock=clock) as gate:
            resolve(gate, behind)
            yield from _serving(gate, clock, tools)


def _serving(gate: Gate, clock: Clock, tools: Tools) -> Iterator[CorpusWorld]:
    gate.seal()
    settings = replace(ANY_PORT, requests_per_minute=1_000_000)
    keys, told = Keys(gate.settings), Told()
    api = Api(Serving(gate, public_url=None), Authenticator(keys=keys, tokens=keys), (), settings, [told])
    beside = ServedGateway(gate, Pool(gate.settings.upstreams, folder=Path.cwd()))
    app = WithGateway(api, beside.door, lambda: gate.settings)
    made = _Gated(gate)
    with running(made, app, settings, closes=api, beside=beside) as server:  # type: ignore[arg-type]
        door = DoorWorld(server, gate, FakeConnections(), FakeGateway(), beside.door, keys, told)
        yield CorpusWorld(door, gate, clock, keys, tools)


@dataclass
class _Gated:
    gate: Gate


def resolve(gate: Gate, behind: World) -> None:
    """The resolvers of the corpus, on what its tools work on."""

    @gate.resource("Customer")
    def customer(identifier: str) -> Customer | None:
        row = behind.customers.get(identifier)
        return Customer(row["tenant"], row["vip"]) if row else None

    @gate.resource("File")
    def file(identifier: str) -> File | None:
        return File("acme")

    @gate.resource("LogStream")
    def stream(identifier: str) -> LogStream | None:
        environment = identifier.partition("-")[0]
        return LogStream("acme", environment) if environment in Stream.ENVIRONMENTS else None
