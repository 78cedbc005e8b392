"""One small world for every test of a governed call: two tenants, a support agent, their customers, and a clock that the test owns.

The tools really do something: `world.customers` changes, and `world.ran` lists every call that reached a tool. What a test asserts about
"nothing ran" is asserted there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from licet import Effect, Gate
from licet.config import loads
from licet.gate.acting import ActingBlock
from licet.gate.results import Denied, Held, Proposed, Result
from licet.testing import Clock, Read, in_memory_gate, records

CONFIG = """
environment = "production"
[tenants.acme]
[tenants.globex]
[agents.support-bot]
tenants = ["acme"]
roles = ["support", "billing", "security"]
[agents.night-bot]
tenants = ["acme"]
roles = ["support"]
acts_for = "self"
[agents.free-bot]
tenants = ["acme", "globex"]
roles = ["support", "billing"]
acts_for = "both"
[services.importer]
tenants = ["acme"]
roles = ["support"]
[users.alice]
tenants = ["acme"]
roles = ["support", "billing", "security"]
[users.carl]
tenants = ["acme"]
roles = ["support"]
[users.lena]
tenants = ["acme"]
[users.dana]
tenants = ["acme"]
[users.omar]
tenants = ["acme"]
[users.dana-two]
tenants = ["acme"]
person = "dana"
[users.gina]
tenants = ["globex"]
roles = ["support", "billing"]
[groups]
billing-leads = ["lena", "alice", "gina"]
security-leads = ["dana", "omar", "dana-two"]
[meters.refunded]
tool = "billing.refund"
argument = "amount_cents"
[approvals]
expires = "15m"
"""

POLICIES = """
@id("tenant-wall")
@reason("nobody reaches into another tenant")
forbid (principal, action, resource) unless { resource.tenant == principal.tenant };

@id("support-reads")
permit (principal in Role::"support", action in Action::"read", resource)
when { !(resource has vip) || !resource.vip };

@id("billing-writes")
permit (principal in Role::"billing", action in [Action::"billing.adjust", Action::"billing.refund"], resource)
when { context.input.amount_cents <= 1000000 };

@id("security-suspends")
permit (principal in Role::"security", action in Action::"touches-access", resource);

@id("adjust-needs-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
@reason("adjustments over $100 need a billing lead")
forbid (principal, action == Action::"billing.adjust", resource)
when { context.input.amount_cents > 10000 };

@id("suspend-needs-two")
@require_approval("2 of Group::\\"security-leads\\"")
forbid (principal, action == Action::"account.suspend", resource);

@id("refunds-are-metered")
@reason("a session refunds $500 at most")
forbid (principal, action == Action::"billing.refund", resource)
when { context.meters.refunded + context.input.amount_cents > 50000 };

@id("untrusted-session")
@reason("the session has read text from outside")
forbid (principal, action in Action::"write", resource)
when { context.session.labels.contains("untrusted") };
"""


@dataclass
class Customer:
    """What the resolver tells of a customer."""

    tenant: str
    vip: bool


@dataclass
class World:
    """The gate, its clock, and what its tools have done."""

    gate: Gate
    clock: Clock
    customers: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "C-1": {"tenant": "acme", "vip": False, "balance": 100, "suspended": False},
            "C-2": {"tenant": "acme", "vip": True, "balance": 0, "suspended": False},
            "G-1": {"tenant": "globex", "vip": False, "balance": 7, "suspended": False},
        }
    )
    ran: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    returns: Any = None
    raises: BaseException | None = None

    def alice(self, **more: Any) -> ActingBlock:
        """The support agent, acting for alice."""
        return self.gate.acting(agent="support-bot", user="alice", **more)

    def adjust(self, amount_cents: int = 2_500, customer: str = "C-1", **more: Any) -> Result:
        """An adjustment by the support agent for alice."""
        with self.alice():
            return self.gate.call("billing.adjust", {"customer_id": customer, "amount_cents": amount_cents}, **more)

    def held(self, amount_cents: int = 50_000) -> Held:
        """An adjustment that is held for a billing lead."""
        result = self.adjust(amount_cents)
        assert isinstance(result, Held), result
        return result

    def denied(self, result: Proposed, code: str, *words: str) -> Denied:
        """Check that this is a denial with this code, whose message says these words."""
        assert isinstance(result, Denied), result
        assert result.decision.code == code, result.decision
        for word in words:
            assert word in result.decision.message, result.decision.message
        return result

    def records(self, log: str = "acme") -> list[Read]:
        """The records of a log, oldest first."""
        return records(self.gate, log)

    def kinds(self, log: str = "acme") -> list[str]:
        """The kinds of a log's records, oldest first."""
        return [record.kind for record in self.records(log)]


Opening = Callable[..., AbstractContextManager[Gate]]
opening: ContextVar[Opening] = ContextVar("opening", default=in_memory_gate)
"""How `world` opens its gate: whole modules of tests run on another store by it."""


@contextmanager
def world(config: str = CONFIG, policies: str | Mapping[str, str] = POLICIES) -> Iterator[World]:
    """A world in memory, unless `opening` says otherwise."""
    clock = Clock()
    with opening.get()(config, policies, clock=clock) as gate:
        yield populate(World(gate, clock))


@contextmanager
def world_on(folder: Path, config: str = CONFIG, policies: str = POLICIES) -> Iterator[World]:
    """A world whose store is a real file in `folder`, which may hold an earlier one."""
    (folder / "policies").mkdir(exist_ok=True)
    file = folder / "policies" / "all.cedar"
    if not file.exists() or file.read_text() != policies:  # processes that share the folder read it meanwhile
        file.write_text(policies)
    clock = Clock()
    with Gate(loads(config, file=folder / "licet.toml"), clock=clock) as gate:
        yield populate(World(gate, clock))


def populate(world: World) -> World:  # noqa: C901 (a list of small tools, not one complicated function)
    """Register the tools."""
    gate = world.gate
    customers = world.customers

    def note(tool: str, **arguments: Any) -> None:
        world.ran.append((tool, arguments))

    @gate.resource("Customer")
    def customer(identifier: str) -> Customer | None:
        row = customers.get(identifier)
        return Customer(row["tenant"], row["vip"]) if row else None

    @gate.tool("crm.lookup", access="read", targets="Customer::{customer_id}")
    def lookup(customer_id: str) -> dict[str, Any]:
        note("crm.lookup", customer_id=customer_id)
        return dict(customers[customer_id])

    @gate.tool("billing.adjust", access="write", touches={"money"}, targets="Customer::{customer_id}")
    def adjust(customer_id: str, amount_cents: int) -> str:
        note("billing.adjust", customer_id=customer_id, amount_cents=amount_cents)
        customers[customer_id]["balance"] += amount_cents
        return "adjusted"

    @adjust.preview
    def preview(customer_id: str, amount_cents: int) -> list[Effect]:
        before = customers[customer_id]["balance"]
        return [Effect(target=f'Customer::"{customer_id}"', field="balance", before=before, after=before + amount_cents)]

    @gate.tool("billing.refund", access="write", touches={"money"}, targets="Customer::{customer_id}")
    async def refund(customer_id: str, amount_cents: int) -> str:
        note("billing.refund", customer_id=customer_id, amount_cents=amount_cents)
        await asyncio.sleep(0)
        return "refunded"

    @gate.tool("account.suspend", access="destructive", touches={"access", "customers"}, targets="Customer::{customer_id}")
    def suspend(customer_id: str) -> str:
        note("account.suspend", customer_id=customer_id)
        customers[customer_id]["suspended"] = True
        return "suspended"

    @gate.tool("odd.now", access="read")
    def odd_now() -> Any:
        note("odd.now")
        if world.raises is not None:
            raise world.raises
        return world.returns

    @gate.tool("odd.awaited", access="read")
    async def odd_awaited() -> Any:
        note("odd.awaited")
        if world.raises is not None:
            raise world.raises
        return world.returns

    @gate.tool("slow.now", access="read", timeout_s=0.2)
    def slow_now() -> str:
        note("slow.now")
        world.started.set()
        world.release.wait(10)
        return "late"

    @gate.tool("slow.awaited", access="read", timeout_s=0.2)
    async def slow_awaited() -> str:
        note("slow.awaited")
        world.started.set()
        await asyncio.sleep(10)
        return "never"

    return world
