"""Random bundles and questions, and a second way to ask Cedar: the whole bundle as text, the whole schema, the whole context.

The policies are well-formed and often wrong: they read what the tool does not have, overflow, and use entities that are not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import cedarpy
import msgspec
from hypothesis import strategies as st

from licet.model import Caller, JsonObject, Principal, Target
from licet.policy.bundle import Bundle, Policy
from licet.policy.engine import Engine, Question
from licet.policy.evaluation import LINKS
from licet.policy.judgement import ERROR
from licet.policy.local_time import local_time
from licet.policy.schema import Vocabulary
from tests.policy.scene import ADJUST, DIRECTORY, NOW, PROFILE, STATUS, SUSPEND, catalog

BERLIN, SAMOA = ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Apia")
METERS = ("spent_cents",)
CATALOG = catalog()
VOCABULARY = Vocabulary(CATALOG, METERS)
SCHEMA = cedarpy.Schema.from_json_str(VOCABULARY.content.decode())
DEFINITIONS = {name: tool.definition for name, tool in CATALOG.tools.items()}

PRINCIPAL_SCOPES = (
    *["principal"] * 5,
    *(f'principal in Role::"{role}"' for role in ("support", "billing", "auditor")),
    *("principal is User", "principal is Agent", 'principal == User::"alice"', 'principal == Agent::"support-bot"'),
    *('principal is User in Role::"support"', 'principal is Agent in Role::"billing"', 'principal in Group::"billing-leads"'),
)
ACTION_SCOPES = (
    *["action"] * 5,
    *(f'action == Action::"{name}"' for name in CATALOG.tools),
    *(f'action in Action::"{group}"' for group in ("read", "write", "destructive", "touches-money", "touches-customers")),
    *(
        'action in [Action::"destructive", Action::"customer.profile"]',
        'action in [Action::"touches-money"]',
        'action in Action::"billing.adjust"',
    ),
)
RESOURCE_SCOPES = (
    *["resource"] * 4,
    "resource is Customer",
    "resource is Tenant",
    'resource == Customer::"C-1"',
    'resource in Tenant::"acme"',
)
ATOMS = (
    *(
        "true",
        "false",
        "resource.tenant == principal.tenant",
        'resource.environment == "production"',
        "resource.vip",
        "resource has vip && resource.vip",
    ),
    *("resource has balance_cents && resource.balance_cents > 0", "context.input.amount_cents <= 1000", "context.input.amount_cents > 100"),
    *(
        "context.input.amount_cents + 9223372036854775800 > 0",
        'context.input has note && context.input.note like "re*"',
        'context.input.note == "refund"',
    ),
    *(
        'context.input.customer_id == "C-1"',
        'context.input has customer_ids && context.input.customer_ids.contains("C-2")',
        "context.input has amount_cents",
    ),
    *(
        'context.environment == "production"',
        'context.now < datetime("2026-12-01")',
        'context.now.toTime() >= duration("9h")',
        "context.local.weekday <= 5 && context.local.hour >= 8 && context.local.hour < 18",
        'context.local.date == "2026-11-22"',
        "context has local && context.local has minute && context.local.minute < 30",
        'context.session.labels.contains("tainted")',
        "context.session.calls > 3",
    ),
    *(
        "context.meters.spent_cents > 500",
        "context has agent",
        'context has agent && context.agent in Role::"billing"',
        "context has on_behalf_of",
    ),
    *(
        'context has on_behalf_of && context.on_behalf_of == User::"alice"',
        'principal in [Role::"billing", Role::"auditor"]',
        'action in Action::"read"',
    ),
    *(
        'action == Action::"billing.adjust"',
        "principal has tenant",
        'principal.tenant == Tenant::"acme"',
        "resource.tenant.environment == context.environment",
    ),
    *(
        "context.session == {labels: [], calls: 0}",
        "context.input == {}",
        "{a: context.input}.a has note",
        "context has service || context.input has nothing",
    ),
)
OBLIGATIONS = (
    *[""] * 2,
    *('@require_approval("1 of Group::\\"billing-leads\\"")', '@require_approval("2 of Group::\\"security-leads\\"")'),
    *("@require_confirmation", "@preview_only"),
    *(
        '@require_confirmation @expires("1m")',
        '@require_approval("1 of Group::\\"security-leads\\"") @separation("agent-owner") @expires("5m")',
    ),
)


@st.composite
def policies(draw: st.DrawFn, number: int, *, lenient: bool) -> str:
    """One policy; in a lenient bundle the first permits everything and no forbid is plain, so that calls are held."""
    if lenient and number == 0:
        return '@id("p0") permit (principal, action, resource);'
    permit = draw(st.integers(0, 9)) < 4
    obligation = "" if permit else draw(st.sampled_from(OBLIGATIONS[2 if lenient else 0 :]))
    scope = ", ".join(draw(st.sampled_from(scopes)) for scopes in (PRINCIPAL_SCOPES, ACTION_SCOPES, RESOURCE_SCOPES))
    kinds = draw(st.sampled_from(((), ("when",), ("when",), ("unless",), ("when", "unless"))))
    clauses = " ".join(f"{kind} {{ {draw(conditions())} }}" for kind in kinds)
    return f'@id("p{number}") {obligation} {"permit" if permit else "forbid"} ({scope}) {clauses};'


@st.composite
def conditions(draw: st.DrawFn) -> str:
    form = draw(st.sampled_from(("{0}", "{0}", "{0}", "({0}) && ({1})", "({0}) || ({1})", "!({0})", "if {0} then {1} else {2}")))
    return form.format(*(draw(st.sampled_from(ATOMS)) for number in range(3) if f"{{{number}}}" in form))


@st.composite
def bundles(draw: st.DrawFn) -> Bundle:
    lenient = draw(st.booleans())
    texts = [draw(policies(number, lenient=lenient)) for number in range(draw(st.integers(1, 8) if not lenient else st.integers(3, 8)))]
    return Bundle.from_texts({"policies/made.cedar": "\n".join(texts)})


def loaded(bundle: Bundle) -> Engine:
    """An engine for a bundle that need not be valid."""
    return Engine(bundle, VOCABULARY, DEFINITIONS)


def targets(name: str) -> st.SearchStrategy[Target]:
    return st.builds(
        Target,
        type=st.just("Customer"),
        id=st.just(name),
        tenant=st.sampled_from(("acme", "acme", "globex")),
        environment=st.sampled_from(("production", "staging")),
        attributes=st.fixed_dictionaries({"vip": st.booleans()}, optional={"balance_cents": st.sampled_from((0, 7, None))}),
    )


@st.composite
def questions(draw: st.DrawFn) -> Question:
    tool = draw(st.sampled_from((PROFILE, ADJUST, ADJUST, SUSPEND, STATUS)))
    caller = draw(
        st.sampled_from(
            (
                Caller(tenant="acme", agent="support-bot", user="alice"),
                Caller(tenant="acme", agent="support-bot", user="bob"),
                Caller(tenant="acme", agent="reader-bot", user="dana"),
                Caller(tenant="acme", agent="support-bot"),
                Caller(tenant="acme", service="nightly", user="alice"),
                Caller(tenant="globex", agent="support-bot"),
            )
        )
    )
    found: tuple[Target, ...] = (Target(type="Tenant", id=caller.tenant, tenant=caller.tenant, environment="production"),)
    arguments: JsonObject = {}
    if tool is not STATUS:
        names = draw(st.lists(st.sampled_from(("C-1", "C-2", "C-3")), min_size=1, max_size=3 if tool is SUSPEND else 1, unique=True))
        found = tuple(draw(targets(name)) for name in names)
        arguments = {"customer_ids": names} if tool is SUSPEND else {"customer_id": names[0]}
    if tool is ADJUST:
        arguments["amount_cents"] = draw(st.sampled_from((-1, 0, 7, 100, 101, 1000, 2000, 2**63 - 1, -(2**63))))
        arguments |= draw(st.sampled_from(({}, {"note": "refund"}, {"note": "x"})))
    now = draw(st.sampled_from((NOW, NOW - timedelta(days=2, hours=3), NOW + timedelta(hours=14, minutes=40))))
    return Question(
        tool=tool,
        principals=DIRECTORY.principals(caller),
        targets=found,
        input=arguments,
        environment=draw(st.sampled_from(("production", "staging"))),
        now=now,
        local=local_time(now, draw(st.sampled_from((UTC, BERLIN, SAMOA)))),
        session_labels=draw(st.sampled_from(((), ("tainted",), ("a", "b")))),
        session_calls=draw(st.sampled_from((0, 4))),
        meters={"spent_cents": draw(st.sampled_from((0, 501)))},
    )


class Whole:
    """Cedar's answer to one principal and target of a question by whole policies: decision, ids of the reasons, ids of the policies that err."""

    def __init__(self, chosen: Iterable[Policy], question: Question, principal: Principal, target: Target) -> None:
        texts = "\n".join(policy.text for policy in chosen)
        request = {
            "principal": {"type": principal.kind, "id": principal.id},
            "action": {"type": "Action", "id": question.tool.name},
            "resource": {"type": target.type, "id": target.id},
            "context": whole_context(question, principal),
        }
        answer = cedarpy.is_authorized(request, texts, whole_entities(question), SCHEMA)
        named = [policy.id for policy in chosen]
        self.decision = answer.decision.value
        self.reasons = {named[int(reason.removeprefix("policy"))] for reason in answer.diagnostics.reasons}
        erring = [match[1] for match in map(ERROR.match, answer.diagnostics.errors) if match]
        assert len(erring) == len(answer.diagnostics.errors), answer.diagnostics.errors
        self.errors = {named[int(one.removeprefix("policy"))] for one in erring}

    @property
    def allows(self) -> bool:
        return self.decision == "Allow" and bool(self.reasons) and not self.errors


def whole_context(question: Question, principal: Principal) -> JsonObject:
    context: JsonObject = {
        "environment": question.environment,
        "now": question.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "local": msgspec.to_builtins(question.local),
        "input": {name: value for name, value in question.input.items() if value is not None},
        "session": {"labels": list(question.session_labels), "calls": question.session_calls},
        "meters": question.meters,
    }
    for other in question.principals:
        if other.ref != principal.ref:
            context[LINKS[other.kind]] = {"type": other.kind, "id": other.id}
    return context


def whole_entities(question: Question) -> cedarpy.Entities:
    def uid(kind: str, name: str) -> JsonObject:
        return {"type": kind, "id": name}

    found: dict[tuple[str, str], JsonObject] = {}
    for tenant in {principal.tenant for principal in question.principals} | {target.tenant for target in question.targets}:
        attributes = {"tenant": uid("Tenant", tenant), "environment": question.environment}
        found["Tenant", tenant] = {"uid": uid("Tenant", tenant), "attrs": attributes, "parents": []}
    for principal in question.principals:
        parents = [uid("Role", role) for role in principal.roles] + [uid("Group", group) for group in principal.groups]
        entity = {"uid": uid(principal.kind, principal.id), "attrs": {"tenant": uid("Tenant", principal.tenant)}, "parents": parents}
        found[principal.kind, principal.id] = entity
    for target in question.targets:
        attributes = {name: value for name, value in target.attributes.items() if value is not None}
        attributes |= {"tenant": uid("Tenant", target.tenant), "environment": target.environment}
        found[target.type, target.id] = {"uid": uid(target.type, target.id), "attrs": attributes, "parents": []}
    return cedarpy.Entities.from_json_str(json.dumps(list(found.values())), SCHEMA)
