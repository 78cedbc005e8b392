"""One corpus of calls, and the world that they are made in. Every front door must answer every case alike.

A case in `*.yaml`:

    name: states the fact
    caller: {agent, service, user, tenant}           # left out: nobody
    tool: crm.lookup
    arguments: {...}                                 # a value, or text that is sent as it is under `json`
    expect:
      verdict: allow | deny | hold
      code: no_permit
      policies: [ids, each once, in order]           # left out: none
      obligations: [ids, each once, in order]        # left out: none
      says: [words of the message]
      log: acme                                      # where it is recorded; `operator` where the caller is not known
      records: [kinds]                               # left out: `denial`, `hold`, or `call` for a read and `intent, outcome` for a write
      twin: true                                     # a second record in the operator's log
      result: what the tool returned                 # left out: not looked at

Cases do not rest on each other: each has a session of its own.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from msgspec import Struct
from pydantic import BaseModel

from licet.gate.acting import ActingBlock
from tests.world import CONFIG, POLICIES, Customer, World

FOLDER = Path(__file__).parent


class Expected(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every front door must answer and leave in the log."""

    verdict: str
    code: str
    policies: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    log: str = "acme"
    records: tuple[str, ...] = ()
    twin: bool = False
    result: Any = msgspec.UNSET


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call and its answer."""

    name: str
    tool: Any
    expect: Expected
    caller: dict[str, str] = {}
    arguments: Any = {}
    json: str | None = None
    file: str = ""

    @property
    def proposed(self) -> Any:
        """The arguments as a front door gets them."""
        return self.arguments if self.json is None else self.json

    def acting(self, world: World) -> ActingBlock:
        """The block in which the call is made."""
        return world.gate.acting(**cast("dict[str, Any]", self.caller), session=self.name)


def cases() -> list[Case]:
    """The whole corpus."""
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        listed = yaml.safe_load(file.read_text(encoding="utf-8"))
        found += [msgspec.convert({**case, "file": file.name}, Case, strict=False) for case in listed]
    assert len({case.name for case in found}) == len(found), "names tell cases apart"
    return found


CORPUS_CONFIG = (
    CONFIG.replace('environment = "production"', 'environment = "production"\ntimezone = "Europe/Berlin"')
    .replace("[tenants.acme]", 'cross_tenant = [["acme", "partner"]]\n[tenants.acme]\n[tenants.partner]')
    .replace("[users.carl]", '[users.zoe]\ntenants = ["acme"]\nroles = ["support"]\ndisabled = true\n[users.carl]')
    .replace("[groups]", '[services.roamer]\ntenants = ["*"]\nroles = ["support"]\n[groups]')
    + "\n[limits]\ndenials_per_minute = 1000000\n"
)
CORPUS_POLICIES = (
    POLICIES.replace(
        "forbid (principal, action, resource) unless { resource.tenant == principal.tenant };",
        'forbid (principal, action, resource) unless { resource.tenant == principal.tenant || resource.tenant == Tenant::"partner" };',
    )
    + """
@id("files-under-srv")
@reason("only what lies under /srv")
forbid (principal, action == Action::"file.open", resource) unless { context.input.path like "/srv/*" };

@id("staging-only")
@reason("logs of production are read by people")
forbid (principal, action == Action::"logs.tail", resource) when { resource.environment == "production" };

@id("orders-are-confirmed")
@require_confirmation
forbid (principal, action == Action::"order.ship", resource) when { context.input.order.pieces > 10 };

@id("ships")
permit (principal in Role::"billing", action == Action::"order.ship", resource);

@id("just-looking")
@preview_only
forbid (principal, action == Action::"order.ship", resource) when { context.input.order.pieces > 1000 };

@id("rotates")
permit (principal in Role::"support", action in [Action::"logs.rotate", Action::"logs.purge"], resource);

@id("rotate-by-day")
@reason("production is changed from Monday to Friday, nine to five")
forbid (principal, action == Action::"logs.rotate", resource) when { resource.environment == "production" }
unless { context.local.weekday <= 5 && context.local.hour >= 9 && context.local.hour < 17 };

@id("purge-at-night")
@reason("production is purged before six in the morning")
forbid (principal, action == Action::"logs.purge", resource)
when { resource.environment == "production" && context.now.offset(duration("1h")).toTime() >= duration("6h") };

@id("purge-needs-two")
@require_approval("2 of Group::\\"security-leads\\"")
@expires("5m")
@separation("agent-owner")
forbid (principal, action == Action::"logs.purge", resource);
"""
)


class Speed(StrEnum):
    """How fast an order is shipped."""

    SLOW = "slow"
    FAST = "fast"


class Order(BaseModel):
    """Something to ship."""

    customer_id: str
    pieces: int
    day: date | None = None
    speed: Speed = Speed.SLOW


class Stream:
    """Names of log streams and where they come from."""

    ENVIRONMENTS = ("staging", "production")


class LogStream(Struct):
    """A stream of logs, of an environment of its own."""

    tenant: str
    environment: str


class File(Struct):
    """A file; all of them belong to one tenant."""

    tenant: str


def equip(world: World) -> World:
    """Register what the corpus needs beyond the world's own tools."""
    gate = world.gate
    world.customers["P-1"] = {"tenant": "partner", "vip": False, "balance": 3, "suspended": False}
    world.customers["Zoë 1"] = {"tenant": "acme", "vip": False, "balance": 1, "suspended": False}

    @gate.resource("File")
    def file(identifier: str) -> File | None:
        return File("acme")

    @gate.resource("LogStream")
    def stream(identifier: str) -> LogStream | None:
        environment = identifier.partition("-")[0]
        return LogStream("acme", environment) if environment in Stream.ENVIRONMENTS else None

    @gate.tool("file.open", access="read", targets="File::{path:path}")
    def open_file(path: str) -> str:
        world.ran.append(("file.open", {"path": path}))
        return f"content of {path}"

    @gate.tool("logs.tail", access="read", targets="LogStream::{stream}")
    async def tail(stream: str, lines: int = 10) -> int:
        world.ran.append(("logs.tail", {"stream": stream, "lines": lines}))
        return lines

    @gate.tool("logs.rotate", access="write", targets="LogStream::{stream}")
    def rotate(stream: str) -> str:
        world.ran.append(("logs.rotate", {"stream": stream}))
        return "rotated"

    @gate.tool("logs.purge", access="destructive", targets="LogStream::{stream}")
    def purge(stream: str) -> str:
        world.ran.append(("logs.purge", {"stream": stream}))
        return "purged"

    @gate.tool("crm.compare", access="read", targets="Customer::{customer_ids}")
    def compare(customer_ids: list[str]) -> int:
        world.ran.append(("crm.compare", {"customer_ids": customer_ids}))
        return len(customer_ids)

    @gate.tool("order.ship", access="write", touches={"money"}, targets="Customer::{order.customer_id}")
    def ship(order: Order) -> dict[str, Any]:
        world.ran.append(("order.ship", {"order": order}))
        return {"pieces": order.pieces, "speed": order.speed, "day": order.day}

    return world


__all__ = ["CORPUS_CONFIG", "CORPUS_POLICIES", "Case", "Customer", "Expected", "cases", "equip"]
