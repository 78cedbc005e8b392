"""What a decision costs: how it grows with the bundle, and how far it is from the bare engine.

The bundle: 500 tools, 99 of 100 policies about one tool, one of 100 about an action group. Of four policies three are permits for one of 20
roles and one is a forbid for everybody. The agent that calls has two of the roles, its user one of them. The worst case is the same bundle
with every policy for everybody, so that none can be put aside for its principal.

The bare evaluation is `cedarpy.is_authorized` on prebuilt handles of the same policies, once for each principal: without schema, without
context, without validation. It is what an answer costs if one trusts everything.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

import cedarpy
from msgspec import structs

from benchmarks.rows import Row
from licet.catalog.spec import Catalog, ResourceSpec, ToolSpec
from licet.catalog.templates import TargetTemplate
from licet.config import AgentSettings, Settings, TenantSettings, UserSettings
from licet.identity.directory import Directory
from licet.model import Access, Caller, JsonObject, Target, Touch
from licet.policy.bundle import Bundle
from licet.policy.engine import Engine, Question

TOOLS = 500
SIZES = (10, 100, 1_000, 10_000)
ROLES = tuple(f"role-{number}" for number in range(20))
ROUNDS, CALLS = 15, 150
GROUPS = ("read", "write", "destructive", "touches-money", "touches-access", "touches-production", "touches-customers")
"""The tool that is asked for is in two of them."""
TOUCHES: tuple[Touch, ...] = ("money", "access", "production", "customers")
BARE = """
@id("adjust") permit (principal in Role::"role-0", action == Action::"tool-0", resource)
when { resource.tenant == principal.tenant && context.input.amount_cents <= 1000000 };
@id("lead") forbid (principal, action == Action::"tool-0", resource) when { context.input.amount_cents > 10000 };
@id("wall") forbid (principal, action, resource) unless { resource.tenant == principal.tenant };
"""


def run() -> list[Row]:
    catalog, directory = make_catalog(), make_directory()
    return [*by_size(catalog, directory, everybody=False), *by_size(catalog, directory, everybody=True), *against_bare(catalog, directory)]


def by_size(catalog: Catalog, directory: Directory, *, everybody: bool) -> list[Row]:
    """The same question under bundles of each size."""
    asked: dict[str, Callable[[], object]] = {}
    load_s = 0.0
    for size in SIZES:
        texts = {"policies/made.cedar": "\n".join(make_policy(number, everybody=everybody) for number in range(size))}
        began = time.perf_counter()
        engine = Engine.load(Bundle.from_texts(texts), catalog, directory)
        load_s = time.perf_counter() - began
        question = make_question(catalog, directory)
        kind = " for everybody" if everybody else ""
        in_slice = len(engine.slice("tool-0", question.principals).policies)
        asked[f"{size:,} policies{kind} ({in_slice} of them in the slice)"] = partial(decided, engine, question)
    took = measure_us(asked)
    base = next(iter(took.values()))
    rows: list[Row] = [{"name": name, "value": value, "unit": "us", "base": base, "ratio": value / base} for name, value in took.items()]
    if not everybody:
        rows[-1] |= {"target": "at most 2x of 10 policies", "ok": rows[-1]["value"] <= 2 * base}
        rows.append({"name": f"loading {SIZES[-1]:,} policies", "value": load_s, "unit": "s"})
    return rows


def against_bare(catalog: Catalog, directory: Directory) -> list[Row]:
    """A decision for two principals against two bare evaluations of the same policies, where nothing is cached and where all is."""
    engine = Engine.load(Bundle.from_texts({"policies/bare.cedar": BARE}), catalog, directory)
    question = make_question(catalog, directory)
    # Entity sets are cached by target: a target of its own for every call never meets the cache.
    others = (structs.replace(question.targets[0], id=f"C-{number}") for number in itertools.count())
    took = measure_us(
        {
            "two bare evaluations": bare_evaluations(question),
            "two principals, known target": lambda: decided(engine, question),
            "two principals, new target": lambda: decided(engine, structs.replace(question, targets=(next(others),))),
        }
    )
    bare = took.pop("two bare evaluations")
    rows: list[Row] = [{"name": "two bare evaluations", "value": bare, "unit": "us"}]
    for name, value in took.items():
        ok = value <= 10 * bare
        rows.append(
            {"name": name, "value": value, "unit": "us", "base": bare, "ratio": value / bare, "target": "at most 10x bare", "ok": ok}
        )
    return rows


def bare_evaluations(question: Question) -> Callable[[], object]:
    """The same policies with what they read of the context said without it: literals that hold or not as they do in the question."""
    text = BARE.replace("context.input.amount_cents", str(question.input["amount_cents"]))
    target = question.targets[0]
    tenant = {"type": "Tenant", "id": target.tenant}
    entities = [{"uid": {"type": target.type, "id": target.id}, "attrs": {"tenant": tenant}, "parents": []}]
    for principal in question.principals:
        parents = [{"type": "Role", "id": role} for role in principal.roles]
        entities.append({"uid": {"type": principal.kind, "id": principal.id}, "attrs": {"tenant": tenant}, "parents": parents})
    handles = cedarpy.PolicySet.from_str(text), cedarpy.Entities.from_json_str(json.dumps(entities))
    requests = [
        {
            "principal": {"type": principal.kind, "id": principal.id},
            "action": {"type": "Action", "id": "tool-0"},
            "resource": {"type": target.type, "id": target.id},
        }
        for principal in question.principals
    ]

    def evaluate() -> None:
        for request in requests:
            assert cedarpy.is_authorized(request, *handles).allowed

    return evaluate


def decided(engine: Engine, question: Question) -> None:
    """Decide, and see to it that a denial by mistake is not what was measured."""
    assert engine.decide(question).verdict == "allow"


def measure_us(once: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The best round's mean of each, in microseconds: what disturbs only ever adds. Rounds alternate, so that all are disturbed alike."""
    best = dict.fromkeys(once, float("inf"))
    for _ in range(ROUNDS + 1):  # the first also warms up
        for name, call in once.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                call()
            best[name] = min(best[name], (time.perf_counter() - began) / CALLS * 1e6)
    return best


def make_policy(number: int, *, everybody: bool) -> str:
    """One policy of the bundle. The first is the permit of the tool that is asked for, for a role that both principals have."""
    about_group = number % 100 == 99
    scope = f'action in Action::"{GROUPS[number // 100 % len(GROUPS)]}"' if about_group else f'action == Action::"tool-{number % TOOLS}"'
    turn = number // 100 if about_group else number // TOOLS
    if turn % 4 == 3:
        return f'@id("p{number}") forbid (principal, {scope}, resource) when {{ context.input.amount_cents > {5_000_000 + number} }};'
    role = "" if everybody else f' in Role::"{ROLES[turn % len(ROLES)]}"'
    return (
        f'@id("p{number}") permit (principal{role}, {scope}, resource) '
        f"when {{ resource.tenant == principal.tenant && context.input.amount_cents <= {1_000_000 + number} }};"
    )


def make_catalog() -> Catalog:
    catalog = Catalog()
    catalog.add_resource(ResourceSpec(type="Customer", attributes={"type": "object", "properties": {"vip": {"type": "boolean"}}}))
    schema: JsonObject = {
        "type": "object",
        "properties": {"customer_id": {"type": "string"}, "amount_cents": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["customer_id", "amount_cents"],
        "additionalProperties": False,
    }
    for number in range(TOOLS):
        access: Access = "write" if number % 2 == 0 else "read" if number % 4 == 1 else "destructive"
        catalog.add_tool(
            ToolSpec(
                name=f"tool-{number}",
                access=access,
                touches=frozenset({TOUCHES[number % 4]}),
                input_schema=schema,
                targets=(TargetTemplate.parse("Customer::{customer_id}"),),
            )
        )
    return catalog


def make_directory() -> Directory:
    return Directory.from_settings(
        Settings(
            environment="production",
            roles=ROLES,
            tenants={"acme": TenantSettings()},
            agents={"bot": AgentSettings(tenants=("acme",), roles=ROLES[:2])},
            users={"alice": UserSettings(tenants=("acme",), roles=ROLES[:1])},
        )
    )


def make_question(catalog: Catalog, directory: Directory) -> Question:
    tool = catalog.find_tool("tool-0")
    assert tool is not None
    return Question(
        tool=tool,
        principals=directory.principals(Caller(tenant="acme", agent="bot", user="alice")),
        targets=(Target(type="Customer", id="C-1", tenant="acme", environment="production", attributes={"vip": False}),),
        input={"customer_id": "C-1", "amount_cents": 2_500, "note": "double charge"},
        environment="production",
        now=datetime(2026, 11, 22, tzinfo=UTC),
    )
