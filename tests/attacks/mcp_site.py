"""`licet serve` as a gateway, as it is run: processes on one ledger before real upstreams, with keys that were issued, and MCP clients."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from licet import Gate
from licet.catalog.pins import LOCK_FILE, Lock, pins_of
from licet.gateway.eras import META_CAPABILITIES, META_VERSION
from licet.identity.api_keys import KeyContent
from licet.model import JsonObject
from licet.policy.own import default_text
from licet.testing import Read, records
from tests.attacks.behind import TOOLS, Behind, behind
from tests.attacks.serving import Replica, Reply, ask
from tests.gate.proof import assert_whole

CONFIG = """
environment = "production"
roles = ["licet-agent", "licet-approver", "licet-auditor", "licet-admin"]
[tenants.acme]
[tenants.globex]
[agents.bot]
tenants = ["acme", "globex"]
roles = ["workers"]
[agents.reader]
tenants = ["acme", "globex"]
roles = ["readers"]
[users.alice]
tenants = ["acme"]
roles = ["workers", "readers"]
[users.bob]
tenants = ["acme"]
roles = ["workers", "readers"]
[users.gil]
tenants = ["globex"]
roles = ["workers", "readers"]
[users.lena]
tenants = ["acme"]
roles = ["licet-approver"]
[users.max]
tenants = ["acme"]
roles = ["licet-approver"]
[groups]
leads = ["lena", "max"]
[tools.crm__get]
access = "read"
[tools.crm__set]
access = "write"
[tools.crm__wipe]
access = "write"
[tools.vault__get]
access = "read"
[tools.vault__set]
access = "write"
[tools.vault__wipe]
access = "write"
[server]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
reload = false
requests_per_minute = 1000000
refusals_per_minute = 1000000
[upstreams.crm]
url = "http://127.0.0.1:{crm}/mcp"
protocol = "2026-07-28"
[upstreams.vault]
url = "http://127.0.0.1:{vault}/mcp"
protocol = "2026-07-28"
[gateway]
hold_s = {hold_s}
{more}
"""
POLICIES = """
@id("wall")
forbid (principal, action, resource) unless { resource.tenant == principal.tenant };
@id("readers-get")
permit (principal in Role::"readers", action == Action::"crm__get", resource);
@id("workers")
permit (principal in Role::"workers", action in [Action::"crm__get", Action::"crm__set"], resource);
@id("open-memos")
permit (principal in Role::"workers", action == Action::"crm.resources.read", resource)
when { context.input.uri == "memo://open" || context.input.uri like "memo://bot/*" };
@id("greetings")
permit (principal in Role::"workers", action == Action::"crm.prompts.get", resource) when { context.input.name == "greet" };
@id("much-needs-a-lead")
@require_approval("1 of Group::\\"leads\\"")
forbid (principal, action == Action::"crm__set", resource) when { context.input.amount > 100 && context.input.amount <= 1000 };
@id("very-much-needs-two")
@require_approval("2 of Group::\\"leads\\"")
forbid (principal, action == Action::"crm__set", resource) when { context.input.amount > 1000 };
@id("some-needs-its-user")
@require_confirmation
forbid (principal, action == Action::"crm__set", resource) when { context.input.amount > 50 && context.input.amount <= 100 };
"""
KEYS = {
    "bot": KeyContent(name="bot", tenants=("acme",), agents=("bot",), users=("alice",), roles=("licet-agent",)),
    "bob": KeyContent(name="bob", tenants=("acme",), agents=("bot",), users=("bob",), roles=("licet-agent",)),
    "reader": KeyContent(name="reader", tenants=("acme",), agents=("reader",), users=("alice",), roles=("licet-agent",)),
    "globex": KeyContent(name="globex", tenants=("globex",), agents=("bot",), users=("gil",), roles=("licet-agent",)),
    "lena": KeyContent(name="lena", tenants=("acme",), user="lena"),
    "max": KeyContent(name="max", tenants=("acme",), user="max"),
}
MODERN = "2026-07-28"
BOTH = "application/json, text/event-stream"
_numbers = itertools.count(1)


def body(method: str, params: JsonObject, number: Any = None, can: JsonObject | None = None) -> JsonObject:
    """A request of 2026-07-28."""
    meta = {META_VERSION: MODERN, META_CAPABILITIES: can or {}, **params.get("_meta", {})}
    return {"jsonrpc": "2.0", "id": next(_numbers) if number is None else number, "method": method, "params": {**params, "_meta": meta}}


def headers(message: JsonObject, **more: str) -> dict[str, str]:
    """What the headers of a request of 2026-07-28 say, unless `more` says it otherwise."""
    found = {"accept": BOTH, "mcp-protocol-version": MODERN, "mcp-method": message["method"]}
    named = message["params"].get("uri" if message["method"] == "resources/read" else "name")
    if isinstance(named, str):
        found["mcp-name"] = named if named.isascii() and named.isprintable() else encoded(named)
    return found | {name.replace("_", "-"): value for name, value in more.items()}


def encoded(text: str) -> str:
    """As a header says what no header may hold."""
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def answer_in(reply: Reply) -> Any:
    """The message that answers, in whatever form it came."""
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        found = [json.loads(line[5:]) for line in reply.content.decode().splitlines() if line.startswith("data:") and len(line) > 6]
        return found[-1]
    return reply.json


class Guarded:
    """A folder with a licet.toml, its ledger, two upstreams, keys, and servers on it."""

    def __init__(self, folder: Path, crm: Behind, vault: Behind, more: str = "", hold_s: float = 0) -> None:
        self.folder, self.crm, self.vault = folder, crm, vault
        folder.mkdir(exist_ok=True)
        (folder / "policies").mkdir()
        (folder / "policies" / "tools.cedar").write_text(POLICIES)
        (folder / "policies" / "licet.cedar").write_text(default_text())
        (folder / "licet.toml").write_text(CONFIG.format(crm=crm.port, vault=vault.port, more=more, hold_s=hold_s))
        Lock({"crm": pins_of(TOOLS), "vault": pins_of(TOOLS)}).write(folder / LOCK_FILE)
        self.replicas: list[Replica] = []
        with self.open() as gate:
            gate.seal()
            self.keys = {name: gate.credentials.issue(content, expires_s=3_600).key for name, content in KEYS.items()}

    def open(self) -> Gate:
        """A gate of this process on the ledger."""
        return Gate(self.folder / "licet.toml")

    def serve(self) -> Replica:
        """One more server."""
        replica = Replica(self.folder, len(self.replicas))
        self.replicas.append(replica)
        replica.wait()
        return replica

    def ask(self, method: str, params: JsonObject, key: str = "bot", *, at: str = "/mcp", on: Replica | None = None, **how: Any) -> Reply:
        """A request of 2026-07-28, on a connection of its own."""
        message = body(method, params, how.pop("number", None), how.pop("can", None))
        return (on or self.replicas[-1]).ask("POST", at, self.keys[key], message, headers(message, **how))

    def call(self, name: str, arguments: JsonObject, key: str = "bot", **how: Any) -> Any:
        """The answer to `tools/call`: its result, or its error."""
        params = {"name": name, "arguments": arguments, **how.pop("params", {})}
        answer = answer_in(self.ask("tools/call", params, key, **how))
        return answer.get("result", answer)

    def raw(self, content: bytes, key: str = "bot", *, at: str = "/mcp", sent: Mapping[str, str] | None = None) -> Reply:
        """These very bytes, by POST."""
        return self.replicas[-1].ask("POST", at, self.keys[key], content, {"accept": BOTH, **(sent or {})})

    def waiting(self, person: str) -> list[Any]:
        """The requests that wait for people, as this one is shown them."""
        found: list[Any] = self.replicas[-1].ask("GET", "/api/v1/requests", self.keys[person]).json["requests"]
        return found

    def vote(self, person: str, shown: Any, verdict: str, seen_by: str | None = None) -> Reply:
        """A person votes on what they, or somebody else, were shown."""
        path = f"/api/v1/requests/{shown['id']}"
        binding = self.replicas[-1].ask("GET", path, self.keys[seen_by or person]).json["binding"]
        return self.replicas[-1].ask("POST", f"{path}/votes", self.keys[person], {"verdict": verdict, "binding": binding})

    def records(self, tenant: str = "acme") -> list[Read]:
        """What is on record of a tenant's calls, oldest first, once every call of a process that is gone was found."""
        with self.open() as gate:
            found: list[Read] = list(records(gate, tenant))
            assert_whole(gate)
        return found

    def close(self) -> None:
        """Every server has ended, however it stood."""
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.end(signal.SIGKILL)


@contextmanager
def guarded(folder: Path, more: str = "", hold_s: float = 0) -> Iterator[Guarded]:
    """A site with two upstreams, closed at the end."""
    with behind() as crm, behind() as vault:
        made = Guarded(folder, crm, vault, more, hold_s)
        try:
            yield made
        finally:
            made.close()


UNSEEN = (OSError, http.client.HTTPException)
"""What a client sees of a server that dies."""
__all__ = ["UNSEEN", "Guarded", "ask", "guarded"]
