"""The small world of `tests/world.py` behind its HTTP door: the real application, spoken to as a server speaks to it, without sockets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from licet.config.server import ServerSettings
from licet.errors import NotAuthenticated
from licet.identity.authenticated import Authenticated
from licet.identity.authenticator import Authenticator
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from licet.server.api import endpoints
from licet.server.app import Api
from licet.server.endpoint import Endpoint, Serving
from licet.server.observing import Answered
from tests.world import CONFIG, POLICIES, World, world

_SCOPES: dict[str, dict[str, Any]] = {
    "agent": {"tenants": ("acme",), "agents": ("support-bot",), "users": ("alice", "carl"), "roles": ("licet-agent",)},
    "night": {"tenants": ("acme",), "agents": ("night-bot",), "roles": ("licet-agent",)},
    "free": {"tenants": ("*",), "agents": ("free-bot",), "users": ("*",), "roles": ("licet-agent",)},
    "agent-globex": {"tenants": ("globex",), "agents": ("free-bot",), "users": ("gina",), "roles": ("licet-agent",)},
    "auditor": {"tenants": ("acme",), "roles": ("licet-auditor",)},
    "auditor-globex": {"tenants": ("globex",), "roles": ("licet-auditor",)},
    "admin": {"tenants": ("*",), "roles": ("licet-admin",)},
    "admin-acme": {"tenants": ("acme",), "roles": ("licet-admin",)},
    "nobody": {"tenants": ("acme",)},
}
KEYS = {name: Authenticated(method="api_key", credential=f"key-{name}", **scope) for name, scope in _SCOPES.items()}
PEOPLE = {
    name: Authenticated(method="jwt", credential=f"login-{name}", tenants=(tenant,), user=name)
    for name, tenant in {
        "alice": "acme",
        "carl": "acme",
        "lena": "acme",
        "dana": "acme",
        "omar": "acme",
        "dana-two": "acme",
        "gina": "globex",
    }.items()
}
KNOWN = {**KEYS, **PEOPLE}
"""Who may be shown as `who`: programs by their keys, and people by their names."""


class Shown:
    """Credentials of this world: a bearer value is a name of `KNOWN`."""

    def find_known(self, shown: str, peer_certificate: bytes | None) -> Authenticated | None:
        return KNOWN.get(shown)

    def verify(self, shown: str, peer_certificate: bytes | None) -> Authenticated:
        raise NotAuthenticated("invalid_credential", "unknown_key")


class Reply:
    """An answer: status, headers by lower-case name, and body."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The code of a problem, which is checked to be one."""
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.content)
        assert self.json["status"] == self.status
        assert self.json["type"] == f"urn:licet:problem:{self.json['code']}"
        return str(self.json["code"])


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.answers: list[Answered] = []
        self.refusals: list[str] = []
        self.begun = 0

    def began(self) -> None:
        self.begun += 1

    def answered(self, answered: Answered) -> None:
        self.answers.append(answered)

    def not_authenticated(self, reason: str) -> None:
        self.refusals.append(reason)


class ServerWorld:
    """The world, its application, and an event loop in a thread that runs it."""

    def __init__(self, inner: World, table: Iterable[Endpoint], settings: ServerSettings) -> None:
        self.world = inner
        self.gate = inner.gate
        self.told = Told()
        self.serving = Serving(inner.gate, public_url="https://licet.example.com")
        self.app = Api(self.serving, Authenticator(keys=Shown(), tokens=Shown()), table, settings, [self.told])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.app.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def get(self, path: str, who: str | None = None, **more: Any) -> Reply:
        return self.request("GET", path, who, **more)

    def post(self, path: str, who: str | None = None, body: Any = None, **more: Any) -> Reply:
        return self.request("POST", path, who, body=body, **more)

    def request(
        self,
        method: str,
        path: str,
        who: str | None = None,
        *,
        body: Any = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        client: str = "192.0.2.1",
    ) -> Reply:
        """One request; `body` is sent as JSON, `raw` as it is."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        if who is not None:
            pairs.append(("authorization", f"Bearer {who}"))
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None and not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("content-type", "application/json"))
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
            "client": (client, 50_000),
            "server": ("127.0.0.1", 8181),
            "scheme": "http",
        }
        return asyncio.run_coroutine_threadsafe(self._send(scope, raw or b""), self._loop).result(60)

    async def _send(self, scope: dict[str, Any], raw: bytes) -> Reply:
        messages = [{"type": "http.request", "body": raw, "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        assert [message["type"] for message in sent].count("http.response.start") == 1, sent
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
        content = b"".join(message.get("body", b"") for message in sent[1:])
        assert "content-length" not in headers or int(headers["content-length"]) == len(content)
        return Reply(sent[0]["status"], headers, content)


@contextmanager
def server_world(
    config: str = CONFIG,
    policies: str = POLICIES,
    *,
    own: str | None = None,
    table: Iterable[Endpoint] | None = None,
    settings: ServerSettings | None = None,
) -> Iterator[ServerWorld]:
    """A world in memory with its HTTP door open."""
    texts = {"policies.cedar": policies, OWN_FILE: default_text() if own is None else own}
    with world(config, texts) as inner:
        made = ServerWorld(inner, endpoints() if table is None else table, settings or ServerSettings())
        try:
            yield made
        finally:
            made.close()
