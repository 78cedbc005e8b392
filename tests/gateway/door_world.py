"""The HTTP door in a real server, before a gateway that answers as a test says, and clients that speak HTTP as they like."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from msgspec.structs import replace

from licet import Gate
from licet.errors import NotAuthenticated
from licet.gateway.client_session import ClientSession
from licet.gateway.eras import META_CAPABILITIES, META_VERSION
from licet.gateway.http_door import HttpDoor
from licet.gateway.incoming import Incoming
from licet.identity.authenticated import Authenticated
from licet.identity.authenticator import Authenticator
from licet.model import JsonObject
from licet.server.app import Api
from licet.server.endpoint import Serving
from licet.server.gateway import ServedGateway
from licet.server.mcp import WithGateway
from licet.server.run import Server
from tests.gateway.world import CONFIG, FakeConnections, gateway_world
from tests.server.serving import running
from tests.server.world import Told

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
BOTH = "application/json, text/event-stream"

KNOWN = {
    name: Authenticated(method="api_key", credential=f"key-{name}", tenants=("acme",), agents=agents, users=("alice",), roles=roles)
    for name, agents, roles in (
        ("bot", ("bot",), ("licet-agent",)),
        ("other", ("bot",), ("licet-agent",)),
        ("two", ("bot", "writer"), ("licet-agent",)),
        ("auditor", ("bot",), ("licet-auditor",)),
    )
}


class Shown:
    """Credentials of this world: a bearer value is a name of `KNOWN`, until it is `gone`."""

    def __init__(self) -> None:
        self.gone: set[str] = set()

    def find_known(self, shown: str, peer_certificate: bytes | None) -> Authenticated | None:
        return None if shown in self.gone else KNOWN.get(shown)

    def verify(self, shown: str, peer_certificate: bytes | None) -> Authenticated:
        raise NotAuthenticated("invalid_credential", "unknown_key")


Answering = Callable[[Incoming], Awaitable[JsonObject]]


class FakeGateway:
    """Answers with what it was asked, or as a test says; keeps what it was handed."""

    def __init__(self) -> None:
        self.handed: list[Incoming] = []
        self.heard_of: list[str] = []
        self.answering: Answering | None = None
        self.cancelled = threading.Event()
        self.reached = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def answer(self, incoming: Incoming) -> JsonObject:
        self.handed.append(incoming)
        self.loop = asyncio.get_running_loop()
        self.reached.set()
        try:
            if self.answering is not None:
                return await self.answering(incoming)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {"said": incoming.method}

    async def heard(self, incoming: Incoming) -> None:
        self.heard_of.append(incoming.method)

    async def describe(self, incoming: Incoming) -> JsonObject:
        self.handed.append(incoming)
        self.loop = asyncio.get_running_loop()
        return {"capabilities": {"tools": {}}, "serverInfo": {"name": "fake", "version": "1"}}

    async def hang(self, incoming: Incoming) -> JsonObject:
        """Never answers."""
        del incoming
        await asyncio.Event().wait()
        raise AssertionError


class Reply:
    """An answer, read whole."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.content = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The messages of a stream."""
        assert self.headers["content-type"] == "text/event-stream"
        return [json.loads(event["data"]) for event in events_of(self.content) if event["data"]]


def events_of(content: bytes) -> list[dict[str, str]]:
    """The events of a stream, comments left out."""
    found = []
    for block in content.decode().split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            found.append({name: value for name, _, value in lines})
    return found


class Listening:
    """An answer that is read while it comes."""

    def __init__(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def event(self) -> dict[str, str]:
        """The next event."""
        fields: dict[str, str] = {}
        while True:
            line = self._response.readline().decode()
            assert line, "the stream has ended"
            if line == "\n" and fields:
                return fields
            if line[:1] not in {":", "\n"}:
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value

    def message(self) -> Any:
        """The next event that has a message."""
        while True:
            found = self.event()
            if found.get("data"):
                return json.loads(found["data"])

    def rest(self) -> bytes:
        """What comes until the end."""
        return self._response.read()

    def close(self) -> None:
        """Go away."""
        self._response.close()
        self._connection.close()


@dataclass
class DoorWorld:
    """A server, its door, and the gateway behind it."""

    server: Server
    gate: Gate
    upstreams: FakeConnections
    gateway: FakeGateway
    door: HttpDoor
    shown: Shown
    told: Told
    ended: SimpleQueue[str] = field(default_factory=SimpleQueue)
    opened: list[Listening] = field(default_factory=list)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The server's."""
        assert self.server._loop is not None
        return self.server._loop

    def open(
        self, verb: str, body: Any = None, *, who: str | None = "bot", path: str = "/mcp", headers: Mapping[str, str | None] | None = None
    ) -> Listening:
        """A request, and the beginning of its answer. A header of None is not sent."""
        connection = self.begin(verb, body, who=who, path=path, headers=headers)
        listening = Listening(connection, connection.getresponse())
        self.opened.append(listening)
        return listening

    def begin(
        self, verb: str, body: Any = None, *, who: str | None = "bot", path: str = "/mcp", headers: Mapping[str, str | None] | None = None
    ) -> HTTPConnection:
        """A request, and nothing of its answer."""
        connection = HTTPConnection(*self.server.address, timeout=20)
        sent: dict[str, str | None] = {"accept": BOTH}
        if who is not None:
            sent["authorization"] = f"Bearer {who}"
        if body is not None:
            sent["content-type"] = "application/json"
        sent |= headers or {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(verb, path, data, {name: value for name, value in sent.items() if value is not None})
        return connection

    def send(self, verb: str, body: Any = None, **how: Any) -> Reply:
        """A request and its whole answer."""
        opened = self.open(verb, body, **how)
        try:
            return Reply(opened._response)
        finally:
            opened.close()

    def modern(self, method: str, params: Mapping[str, Any] | None = None, **how: Any) -> Reply:
        """A request as a modern client sends it."""
        return self.send("POST", modern_body(method, params), **how | {"headers": modern_headers(method, params) | how.get("headers", {})})

    def open_modern(self, method: str, params: Mapping[str, Any] | None = None, **how: Any) -> Listening:
        """The same, read while it comes."""
        return self.open("POST", modern_body(method, params), **how | {"headers": modern_headers(method, params) | how.get("headers", {})})

    def initialize(self, who: str = "bot", *, version: str = LEGACY, capabilities: JsonObject | None = None, **how: Any) -> Legacy:
        """A session of a legacy client."""
        params = {"protocolVersion": version, "capabilities": capabilities or {}, "clientInfo": {"name": "raw", "version": "0"}}
        reply = self.send("POST", {"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": params}, who=who, **how)
        assert reply.status == 200, reply.content
        return Legacy(self, who, reply, how.get("path", "/mcp"))


class Legacy:
    """A legacy client in its session."""

    def __init__(self, world: DoorWorld, who: str, reply: Reply, path: str) -> None:
        self._world = world
        self._who = who
        self._path = path
        self.described = reply.json["result"]
        self.id = reply.headers["mcp-session-id"]

    def _how(self, how: dict[str, Any]) -> dict[str, Any]:
        headers = {"mcp-session-id": self.id, "mcp-protocol-version": LEGACY} | how.pop("headers", {})
        return {"who": self._who, "path": self._path, "headers": headers} | how

    def request(self, method: str, params: Mapping[str, Any] | None = None, *, id: Any = 1, **how: Any) -> Reply:  # noqa: A002
        """A request and its answer."""
        return self._world.send("POST", {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}, **self._how(how))

    def open(self, method: str, params: Mapping[str, Any] | None = None, *, id: Any = 1, **how: Any) -> Listening:  # noqa: A002
        """A request whose answer is read while it comes."""
        return self._world.open("POST", {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}, **self._how(how))

    def say(self, message: JsonObject, **how: Any) -> Reply:
        """A message that is no request."""
        return self._world.send("POST", {"jsonrpc": "2.0", **message}, **self._how(how))

    def listen(self, **how: Any) -> Listening:
        """The stream of what belongs to no request."""
        return self._world.open("GET", **self._how(how))

    def delete(self, **how: Any) -> Reply:
        """The end of the session."""
        return self._world.send("DELETE", **self._how(how))


def modern_body(method: str, params: Mapping[str, Any] | None = None, number: Any = 1) -> JsonObject:
    """A message as a modern client writes it."""
    meta = {META_VERSION: MODERN, META_CAPABILITIES: {}} | dict((params or {}).get("_meta", {}))
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": {**(params or {}), "_meta": meta}}


def modern_headers(method: str, params: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What a modern client says of it in headers."""
    named = (params or {}).get("uri" if method == "resources/read" else "name")
    return {"mcp-protocol-version": MODERN, "mcp-method": method} | ({} if named is None else {"mcp-name": str(named)})


class Doored:
    """A door before the fake gateway, for as long as its server runs."""

    def __init__(self, gate: Gate, gateway: FakeGateway, ended: Callable[[ClientSession], None]) -> None:
        self.door = HttpDoor(gate, gateway, ended)

    async def stop(self) -> None:
        self.door.let_go()

    async def close(self) -> None:
        self.door.close()


@contextmanager
def door_world(
    folder: Path, *, config: str = CONFIG, real: bool = False, pinned: Mapping[str, list[Any]] | None = None
) -> Iterator[DoorWorld]:
    """A server with its door, stopped at the end. `real` puts the gateway there, before made-up upstreams, in place of the fake."""
    with gateway_world(folder, config=config, pinned=pinned) as inner:
        gate, fake, shown, told = inner.gate, FakeGateway(), Shown(), Told()
        settings = replace(gate.settings.server, listen="127.0.0.1:0", metrics="127.0.0.1:0", reload=False)
        api = Api(Serving(gate, public_url=settings.public_url), Authenticator(keys=shown, tokens=shown), (), settings, [told])
        ended: SimpleQueue[str] = SimpleQueue()
        beside = ServedGateway(gate, inner.upstreams) if real else Doored(gate, fake, lambda session: ended.put(session.id))
        app = WithGateway(api, beside.door, lambda: gate.settings)
        with running(inner, app, settings, closes=api, beside=beside) as server:  # type: ignore[arg-type]
            made = DoorWorld(server, gate, inner.upstreams, fake, beside.door, shown, told, ended)
            try:
                yield made
            finally:
                for listening in made.opened:
                    listening.close()
