"""A gate before two made-up upstreams, without transports: what a door would hand over goes in, what an upstream would be sent is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from licet import Gate
from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.gate.acting import Acting
from licet.gateway.connection import Connection
from licet.gateway.eras import META_CAPABILITIES, META_VERSION, Era
from licet.gateway.gateway import Gateway
from licet.gateway.incoming import Incoming
from licet.gateway.link import CannotAsk, ClientFacts, Voyage
from licet.gateway.session_state import SessionState
from licet.model import JsonObject
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from licet.testing import Read, records

CONFIG = """
environment = "test"
[tenants.acme]
[tenants.globex]
[agents.bot]
tenants = ["acme"]
roles = ["support"]
[agents.writer]
tenants = ["acme"]
roles = ["support", "billing"]
[users.alice]
tenants = ["acme"]
roles = ["support", "billing"]
[users.lena]
tenants = ["acme"]
[groups]
leads = ["lena"]
[tools.crm__get]
access = "read"
targets = "Customer::{id}"
[tools.crm__set]
access = "write"
targets = "Customer::{id}"
[tools.crm__ask]
access = "read"
[tools.notes__get]
access = "read"
[resources.Customer]
attributes = {}
tenant = "caller"
[upstreams.crm]
command = ["never-run"]
[upstreams.notes]
command = ["never-run"]
"""

POLICIES = """
@id("wall")
forbid (principal, action, resource) unless { resource.tenant == principal.tenant };

@id("reads")
permit (principal in Role::"support", action in Action::"read", resource);

@id("writes")
permit (principal in Role::"billing", action == Action::"crm__set", resource);

@id("writes-need-lead")
@require_approval("1 of Group::\\"leads\\"")
@reason("changes need a lead")
forbid (principal, action == Action::"crm__set", resource)
when { context.input.amount > 100 };

@id("never-seven")
@reason("seven is nobody's business")
forbid (principal, action == Action::"crm__get", resource)
when { context.input.id == "C-7" };
"""

_ID = {"type": "string", "maxLength": 40}
CRM = [
    {"name": "get", "description": "Find a customer.", "inputSchema": {"type": "object", "properties": {"id": _ID}, "required": ["id"]}},
    {
        "name": "set",
        "description": "Change a customer.",
        "inputSchema": {"type": "object", "properties": {"id": _ID, "amount": {"type": "integer"}}, "required": ["id", "amount"]},
        "annotations": {"readOnlyHint": False},
        "future": {"unknown": True},
    },
    {"name": "ask", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "wipe", "description": "Never classified.", "inputSchema": {"type": "object", "properties": {}}},
]
NOTES = [{"name": "get", "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}]

Answering = Callable[[str, Mapping[str, Any], Voyage], Awaitable[JsonObject]]


class FakeConnection:
    """An upstream that answers by a function, and remembers what it was sent."""

    def __init__(self, upstream: str, tools: list[JsonObject]) -> None:
        self.upstream = upstream
        self.era: Era = "legacy"
        self.capabilities: JsonObject = {"tools": {}, "resources": {}, "prompts": {}}
        self.info: JsonObject = {"name": upstream, "version": "1"}
        self.instructions: str | None = None
        self.handshakes = 1
        self.tools = tools
        self.sent: list[tuple[str, JsonObject]] = []
        self.voyages: list[Voyage] = []
        self.answering: Answering | None = None

    async def request(self, method: str, params: Mapping[str, Any], voyage: Voyage, *, timeout_s: float) -> JsonObject:
        if method == "tools/list":
            return {"tools": self.tools}
        self.sent.append((method, dict(params)))
        self.voyages.append(voyage)
        await asyncio.sleep(0)
        if self.answering is not None:
            return await self.answering(method, params, voyage)
        return {"content": [{"type": "text", "text": "done"}], "structuredContent": {"echo": dict(params)}, "extra": 1}

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self.sent.append((method, dict(params)))


class FakeConnections:
    """One connection for each upstream, whoever asks."""

    def __init__(self) -> None:
        self.crm = FakeConnection("crm", [dict(one) for one in CRM])
        self.notes = FakeConnection("notes", [dict(one) for one in NOTES])
        self.told: Callable[[Connection, str, JsonObject], None] | None = None
        self.failing: Exception | None = None

    async def connect(self, upstream: str, voyage: Voyage) -> Connection:
        if self.failing is not None:
            raise self.failing
        return {"crm": self.crm, "notes": self.notes}[upstream]

    def listen(self, told: Callable[[Connection, str, JsonObject], None]) -> None:
        self.told = told

    async def close(self) -> None:
        pass


class FakeLink:
    """A client that answers by a table."""

    def __init__(self, client: ClientFacts, answers: Mapping[str, JsonObject] | None = None) -> None:
        self.client = client
        self.told: list[tuple[str, JsonObject]] = []
        self.asked: list[Mapping[str, JsonObject]] = []
        self._answers = answers

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self.told.append((method, dict(params)))

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        self.asked.append(requests)
        if self._answers is None:
            raise CannotAsk("the client cannot be asked")
        return self._answers


LEGACY = ClientFacts(era="legacy", version="2025-11-25")
MODERN = ClientFacts(era="modern", version="2026-07-28")


@dataclass
class GatewayWorld:
    """A gate, its gateway and its upstreams."""

    gate: Gate
    folder: Path
    upstreams: FakeConnections
    gateway: Gateway
    links: list[FakeLink] = field(default_factory=list)

    async def ask(self, method: str, params: JsonObject | None = None, **how: Any) -> JsonObject:
        """The result of one request."""
        return await self.gateway.answer(self.incoming(method, params, **how))

    def incoming(
        self,
        method: str,
        params: JsonObject | None = None,
        *,
        client: ClientFacts = LEGACY,
        upstream: str | None = None,
        agent: str = "bot",
        user: str | None = "alice",
        answers: Mapping[str, JsonObject] | None = None,
        headers: Mapping[str, str] | None = None,
        session: SessionState | None = None,
    ) -> Incoming:
        """What a door would hand over."""
        link = FakeLink(client, answers)
        self.links.append(link)
        sent = dict(params or {})
        if client.era == "modern":
            meta = {META_VERSION: client.version, META_CAPABILITIES: client.capabilities}
            sent["_meta"] = meta | sent.get("_meta", {})
        return Incoming(
            method=method,
            params=sent,
            link=link,
            acting=Acting(tenant="acme", agent=agent, user=user),
            upstream=upstream,
            session=session or SessionState(),
            headers=headers or {},
        )

    def records(self) -> list[Read]:
        """Every record of the tenant."""
        return records(self.gate, "acme")


@contextmanager
def gateway_world(
    folder: Path, *, config: str = CONFIG, policies: str = POLICIES, pinned: Mapping[str, list[Any]] | None = None
) -> Iterator[GatewayWorld]:
    """A world in this folder, closed at the end."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "all.cedar").write_text(policies)
    (folder / "policies" / OWN_FILE).write_text(default_text())
    (folder / "licet.toml").write_text(config)
    lock = Lock({name: pins_of(tools) for name, tools in (pinned or {"crm": CRM, "notes": NOTES}).items()})
    lock.write(folder / LOCK_FILE)
    gate = Gate(folder / "licet.toml")
    upstreams = FakeConnections()
    try:
        yield GatewayWorld(gate=gate, folder=folder, upstreams=upstreams, gateway=Gateway(gate, upstreams))
    finally:
        gate.close()
