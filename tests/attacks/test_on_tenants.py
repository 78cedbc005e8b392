"""One tenant's people and programs against everything of another: each endpoint answers as if there were no other tenant.

`globex` has one of everything. Whoever belongs to `acme` asks for it by its true id or name, and then by one of the same form that nobody
has: both answers must be the same to the letter, and what is listed must hold nothing of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from licet.config.server import ServerSettings
from licet.identity.api_keys import KeyContent
from licet.model import LIVE_STATES
from licet.server.api import endpoints
from licet.server.endpoint import Endpoint
from tests.gate.asleep import until
from tests.gate.remoting import REMOTE_CONFIG, REMOTE_POLICIES
from tests.server.test_permissions import BODIES
from tests.server.world import Reply, ServerWorld, server_world

CONFIG = (
    REMOTE_CONFIG.replace('"alice", "gina"]', '"alice", "gina", "zelda"]')
    + """
[agents.zebra-bot]
tenants = ["globex"]
roles = ["zebras"]
[services.zebra-sync]
tenants = ["globex"]
roles = ["zebras"]
[users.zelda]
tenants = ["globex"]
roles = ["zebras"]
"""
)
ATTACKERS = ("agent", "auditor", "admin-acme", "lena", "alice", "nobody")
SETTINGS = ServerSettings(requests_per_minute=1_000_000, refusals_per_minute=1_000_000)
MADE_UP = "01a2050c-0000-7000-8000-0000000000aa"
NOWHERE = "nowhere"
MORE_BODIES: dict[str, Any] = {
    "proposeCall": {"tool": "wire.pay", "arguments": {"customer_id": "C-1", "amount_cents": 1}},
    "reportOutcome": {"status": "ok"},
    "proposeUndo": {},
}


class Theirs:
    """What globex has, by what it is."""

    def __init__(self, served: ServerWorld) -> None:
        self.served = served
        world, gate = served.world, served.gate
        caller = {"tenant": "globex", "agent": "free-bot", "user": "gina", "session": "zebra-session"}
        pay = {"tool": "wire.pay", "arguments": {"customer_id": "G-1", "amount_cents": 7_777}, "caller": caller, "reason": "zebra crossing"}
        self.call = served.post("/api/v1/calls", "agent-globex", pay).json["call"]
        self.over = served.post("/api/v1/calls", "agent-globex", pay).json["call"]
        done = {"status": "ok", "result": "zebra paid"}
        assert served.post(f"/api/v1/calls/{self.over}/outcome", "agent-globex", done).status == 200
        held = served.post("/api/v1/calls", "agent-globex", {**pay, "arguments": {"customer_id": "G-1", "amount_cents": 77_777}})
        self.request = held.json["request"]
        with gate.acting(tenant="globex", agent="free-bot", user="gina"):
            gate.plan([("billing.adjust", {"customer_id": "G-1", "amount_cents": 88_888})])
        steps = gate.store.dossiers(states=tuple(LIVE_STATES), tenants=["globex"], limit=10)
        self.plan = next(str(one.request.plan) for one in steps if one.request.plan is not None)
        self.freeze = gate.freeze("session", "zebra-frozen", reason="zebra stop", tenant="globex", anyway=True).id
        hold = served.post("/api/v1/holds", "admin", {"tenant": "globex", "type": "Customer", "id": "G-1", "reason": "zebra hold"})
        self.hold = hold.json["id"]
        key = KeyContent(name="zebra key", tenants=("globex",), agents=("zebra-bot",), roles=("licet-agent",))
        self.credential = gate.credentials.issue(key, expires_s=3_600).credential.id
        world.ran.clear()
        until(lambda: served.get("/api/v1/checkpoint", "admin").status == 200)  # what was written is signed soon, not at once

    @property
    def ids(self) -> dict[str, str]:
        return {name: str(value) for name, value in vars(self).items() if isinstance(value, str)}


def there() -> Iterator[Theirs]:
    with server_world(CONFIG, REMOTE_POLICIES, settings=SETTINGS) as served:
        served.world.adjust(2_500)
        served.world.held()
        yield Theirs(served)
        assert served.world.ran == []
        assert served.gate.verify().ok


fresh = pytest.fixture(name="fresh")(there)
theirs = pytest.fixture(scope="module")(there)
listed = pytest.fixture(scope="module", name="listed")(there)  # nobody of acme has written a name into it


def told(reply: Reply, *names: str) -> tuple[int, dict[str, str], str]:
    """An answer, without what differs between any two and the names that were asked for."""
    headers = {name: value for name, value in reply.headers.items() if name not in {"x-request-id", "content-length"}}
    body = reply.content.decode()
    if reply.status == 200 or "etag" in headers:
        headers["etag"] = "some" if "etag" in headers else "none"
    body = re.sub(r'"request_id":"[^"]*"', "", body)
    for name in names:
        body = body.replace(name, "NAME") if len(name) > 2 else body
    if reply.status < 300:
        body = re.sub(r'"(id|call|leaf|index|key|credential|evaluation_id)":("[^"]*"|\d+)', r'"\1":', body)  # of what was just made
        body = re.sub(r"::[0-9a-f]{32}", "::", body)
    return reply.status, headers, body


def body_of(endpoint: Endpoint) -> Any:
    return BODIES.get(endpoint.operation, MORE_BODIES.get(endpoint.operation))


OURS = [one for one in endpoints() if one.path.startswith("/api/v1/") and one.action is not None]


@pytest.mark.parametrize("who", ATTACKERS)
@pytest.mark.parametrize("endpoint", [one for one in OURS if one.path_names], ids=lambda one: one.operation)
def test_an_id_of_theirs_is_as_one_that_nobody_has(theirs: Theirs, endpoint: Endpoint, who: str) -> None:
    served = theirs.served

    def ask(values: Mapping[str, str]) -> Reply:
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: values[match[1]], endpoint.path)
        return served.request(endpoint.method, path, who, body=body_of(endpoint))

    if "log" in endpoint.path_names:
        there = {"index": "0", "tile": "0/000.p/1"}
        pairs = [({**there, "log": log}, {**there, "log": NOWHERE}) for log in ("globex", "operator")]
        pairs += [({**there, "log": "globex"}, {"log": "globex", "index": "999999", "tile": "0/000.p/200"})]
    elif endpoint.operation in {"getTool", "getHeadTile"}:
        pairs = []
    else:
        (name,) = endpoint.path_names
        pairs = [({name: value}, {name: MADE_UP}) for value in theirs.ids.values()]
        if "redential" in endpoint.operation:
            pairs += [({name: theirs.credential}, {name: "a" * len(theirs.credential)})]
    for there, nowhere in pairs:
        assert told(ask(there), *there.values()) == told(ask(nowhere), *nowhere.values())


@pytest.mark.parametrize("who", ATTACKERS)
@pytest.mark.parametrize("endpoint", OURS, ids=lambda one: one.operation)
def test_their_tenant_is_as_one_that_is_not_there(theirs: Theirs, endpoint: Endpoint, who: str) -> None:
    params, body = endpoint.params, body_of(endpoint)
    found = []
    for tenant in ("globex", NOWHERE):
        if params is not None and "tenant" in params.__struct_fields__ and not endpoint.path_names:
            reply = theirs.served.request(endpoint.method, f"{endpoint.path}?tenant={tenant}", who, body=body)
        elif isinstance(body, dict) and not endpoint.path_names:
            text = json.dumps(body).replace('"acme"', f'"{tenant}"')
            changed = json.loads(text)
            if endpoint.operation == "proposeCall":
                changed["caller"] = {"tenant": tenant}
            reply = theirs.served.request(endpoint.method, endpoint.path, who, body=changed)
        else:
            return
        found.append(told(reply, tenant))
    assert found[0] == found[1]


SAYING = ("zebra", "zelda", "globex", "gina", "G-1", "7777", "88888")


@pytest.mark.parametrize("who", ATTACKERS)
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/requests",
        "/api/v1/requests?state=open&state=approved&state=rejected&limit=100",
        "/api/v1/requests?mine=true",
        "/api/v1/records?limit=200",
        "/api/v1/records?limit=200&kind=freeze&kind=hold&kind=intent&kind=admin&kind=legal_hold&kind=access",
        "/api/v1/records?text=paid",
        "/api/v1/records/count?by=tool",
        "/api/v1/unknown",
        "/api/v1/export",
        "/api/v1/export?format=csv",
        "/api/v1/export?format=ocsf",
        "/api/v1/export?format=otlp",
        "/api/v1/freezes",
        "/api/v1/holds",
        "/api/v1/credentials",
        "/api/v1/directory",
        "/api/v1/tools",
        "/api/v1/whoami",
        "/api/v1/checkpoint",
        "/api/v1/policies",
    ],
)
def test_nothing_of_theirs_is_in_what_is_listed(listed: Theirs, path: str, who: str) -> None:
    reply = listed.served.get(path, who)
    assert reply.status in {200, 403, 404}, reply.content
    said = set(re.findall(r"[A-Za-z0-9_-]+", reply.content.decode()))
    assert said.isdisjoint({*SAYING, *listed.ids.values()})
    assert not [word for word in said if word.startswith("zebra")]


def test_a_name_of_theirs_is_one_that_nobody_has(fresh: Theirs) -> None:
    served = fresh.served

    def both(path: str, who: str, body: Any, true: str, made_up: str) -> None:
        bodies = [json.loads(json.dumps(body).replace("THIS", name)) for name in (true, made_up)]
        replies = [told(served.post(path, who, body), name) for body, name in zip(bodies, (true, made_up), strict=True)]
        assert replies[0] == replies[1], path

    for scope, name in (("agent", "zebra-bot"), ("service", "zebra-sync"), ("session", "zebra-frozen")):
        both("/api/v1/freezes", "admin-acme", {"scope": scope, "name": "THIS", "tenant": "acme", "reason": "r"}, name, "no-such-name")
    for key, name in (("agents", "zebra-bot"), ("services", "zebra-sync"), ("users", "zelda")):
        body = {
            "name": "n",
            "tenants": ["acme"],
            "expires_s": 3_600,
            **({"agents": ["support-bot"]} if key == "users" else {}),
            key: ["THIS"],
        }
        both("/api/v1/credentials", "admin-acme", body, name, "no-such-name")
    erasure = {"tenant": "acme", "type": "Customer", "id": "THIS", "reason": "r"}
    both("/api/v1/erasures", "admin-acme", erasure, "G-1", "X-1")
    both(
        "/api/v1/calls",
        "agent",
        {"tool": "wire.pay", "arguments": {"customer_id": "THIS", "amount_cents": 1}, "caller": {"user": "alice"}},
        "G-1",
        "X-1",
    )
    both("/api/v1/erasures", "admin-acme", erasure, "G-1", "X-1")
    both("/api/v1/erasures", "admin-acme", {"tenant": "acme", "type": "User", "id": "THIS", "reason": "r"}, "zelda", "nobody")
    pay = {"tool": "wire.pay", "arguments": {"customer_id": "THIS", "amount_cents": 1}, "dry_run": True}
    both("/api/v1/calls", "agent", {**pay, "caller": {"user": "alice"}}, "G-1", "X-1")
    for caller in ({"agent": "THIS"}, {"agent": "support-bot", "user": "THIS"}, {"service": "THIS"}, {"tenant": "THIS"}):
        for name in ("zebra-bot", "zelda", "zebra-sync", "globex"):
            both("/api/v1/calls", "agent", {**pay, "caller": caller}, name, "no-such-name")
    for kind, name in (("User", "zelda"), ("User", "gina"), ("Agent", "zebra-bot"), ("Service", "zebra-sync")):
        question = {"action": {"name": "crm.lookup"}, "resource": {"type": "Customer", "id": "C-1"}}
        both("/access/v1/evaluation", "agent", {"subject": {"type": kind, "id": "THIS"}, **question}, name, "no-such-name")
        both(
            "/access/v1/search/action",
            "agent",
            {"subject": {"type": kind, "id": "THIS"}, "resource": question["resource"]},
            name,
            "no-such-name",
        )


@pytest.mark.parametrize("kind", ["User", "Agent", "Service"])
def test_a_search_for_subjects_finds_nobody_of_theirs(theirs: Theirs, kind: str) -> None:
    for who in ("agent", "auditor", "admin-acme"):
        for resource in ("C-1", "G-1"):
            question = {"subject": {"type": kind}, "action": {"name": "crm.lookup"}, "resource": {"type": "Customer", "id": resource}}
            reply = theirs.served.post("/access/v1/search/subject", who, question)
            if reply.status == 200:
                names = {one["id"] for one in reply.json["results"]}
                assert names.isdisjoint({"zelda", "gina", "zebra-bot", "zebra-sync"})
                assert resource == "C-1" or not names


def test_a_cursor_of_theirs_shows_nothing_of_theirs(listed: Theirs) -> None:
    served = listed.served
    for path in ("/api/v1/records", "/api/v1/requests"):
        page = served.get(f"{path}?limit=1", "admin").json
        assert page["next"], path
        for who in ("auditor", "lena"):
            reply = served.get(f"{path}?limit=1&cursor={page['next']}", who)
            assert reply.status in {200, 400, 403}
            for words in SAYING:
                assert words not in reply.content.decode()
