"""The support agent's world, as policy sees it: a catalog, a directory, a bundle, and questions about them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from licet.catalog.spec import Catalog, ResourceSpec, ToolSpec
from licet.catalog.templates import TargetTemplate
from licet.config import AgentSettings, GroupSettings, ServiceSettings, Settings, TenantSettings, UserSettings
from licet.identity.directory import Directory
from licet.model import Access, Caller, JsonObject, Principal, Target, Touch
from licet.policy.bundle import Bundle
from licet.policy.engine import Engine, Question
from licet.policy.local_time import local_time

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)

BASE = """\
// The tenant wall: nobody reaches into another tenant.
@id("tenant-wall")
@reason("targets of other tenants are out of reach")
forbid (principal, action, resource)
unless { resource.tenant == principal.tenant };

@id("support-reads")
permit (principal in Role::"support", action in Action::"read", resource)
when { resource.tenant == principal.tenant };
"""

BILLING = """\
@id("billing-adjust")
permit (principal in Role::"billing", action == Action::"billing.adjust", resource)
when { resource.tenant == principal.tenant && context.input.amount_cents <= 1000000 };

@id("billing-needs-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
@reason("adjustments over $100 need a billing lead")
forbid (principal, action == Action::"billing.adjust", resource)
when { context.input.amount_cents > 10000 };

@id("suspend")
permit (principal in Role::"support", action == Action::"account.suspend", resource)
when { resource.tenant == principal.tenant };

@id("suspension-needs-two")
@require_approval("2 of Group::\\"security-leads\\"")
forbid (principal, action == Action::"account.suspend", resource);
"""

TEXTS = {"policies/base.cedar": BASE, "policies/billing.cedar": BILLING}


def object_schema(properties: JsonObject, **more: Any) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False, **more}


def tool(
    name: str, properties: JsonObject, *targets: str, access: Access = "read", touches: tuple[Touch, ...] = (), **more: Any
) -> ToolSpec:
    return ToolSpec(
        name=name,
        access=access,
        touches=frozenset(touches),
        input_schema=object_schema(properties, **more),
        targets=tuple(TargetTemplate.parse(text) for text in targets),
    )


PROFILE = tool("customer.profile", {"customer_id": {"type": "string"}}, "Customer::{customer_id}")
ADJUST = tool(
    "billing.adjust",
    {"customer_id": {"type": "string"}, "amount_cents": {"type": "integer"}, "note": {"type": "string"}},
    "Customer::{customer_id}",
    access="write",
    touches=("money",),
    required=["customer_id", "amount_cents"],
)
SUSPEND = tool(
    "account.suspend",
    {"customer_ids": {"type": "array", "items": {"type": "string"}}},
    "Customer::{customer_ids}",
    access="destructive",
    touches=("access", "customers"),
)
STATUS = tool("system.status", {})
CUSTOMER = ResourceSpec(
    type="Customer",
    attributes={"type": "object", "properties": {"vip": {"type": "boolean"}, "balance_cents": {"type": "integer"}}, "required": ["vip"]},
)


def catalog(*tools: ToolSpec, resources: tuple[ResourceSpec, ...] = (CUSTOMER,)) -> Catalog:
    made = Catalog()
    for one in tools or (PROFILE, ADJUST, SUSPEND, STATUS):
        made.add_tool(one)
    for resource in resources:
        made.add_resource(resource)
    return made


def directory() -> Directory:
    return Directory.from_settings(
        Settings(
            environment="production",
            roles=("auditor",),
            tenants={"acme": TenantSettings(), "globex": TenantSettings()},
            agents={
                "support-bot": AgentSettings(tenants=("*",), roles=("support", "billing"), acts_for="both"),
                "reader-bot": AgentSettings(tenants=("acme",), roles=("support",), acts_for="both"),
            },
            services={"nightly": ServiceSettings(tenants=("acme",), roles=("support",))},
            users={
                "alice": UserSettings(tenants=("acme",), roles=("support", "billing")),
                "bob": UserSettings(tenants=("acme",), roles=("support",)),
                "dana": UserSettings(tenants=("acme",)),
                "omar": UserSettings(tenants=("acme",)),
            },
            groups={"security-leads": GroupSettings(members=("dana", "omar")), "billing-leads": GroupSettings(members=("dana",))},
        )
    )


DIRECTORY = directory()


def engine(texts: Mapping[str, str] | str = TEXTS, *tools: ToolSpec, **more: Any) -> Engine:
    if isinstance(texts, str):
        texts = {"policies/test.cedar": texts}
    return Engine.load(Bundle.from_texts(texts), catalog(*tools), DIRECTORY, **more)


def principals(agent: str = "support-bot", user: str | None = "alice", tenant: str = "acme") -> tuple[Principal, ...]:
    return DIRECTORY.principals(Caller(tenant=tenant, agent=agent, user=user))


def customer(name: str = "C-412", tenant: str = "acme", **attributes: Any) -> Target:
    return Target(type="Customer", id=name, tenant=tenant, environment="production", attributes={"vip": False, **attributes})


def tenant(name: str = "acme") -> Target:
    return Target(type="Tenant", id=name, tenant=name, environment="production")


def question(
    asked: ToolSpec = ADJUST,
    arguments: JsonObject | None = None,
    *,
    by: tuple[Principal, ...] | None = None,
    on: tuple[Target, ...] | None = None,
    **more: Any,
) -> Question:
    return Question(
        **{
            "tool": asked,
            "principals": principals() if by is None else by,
            "targets": (customer(),) if on is None else on,
            "input": {"customer_id": "C-412", "amount_cents": 2500} if arguments is None else arguments,
            "environment": "production",
            "now": NOW,
            "local": local_time(more.get("now", NOW), UTC),
            **more,
        }
    )
