"""Putting questions to Cedar: policy sets, requests, answers. Says what the engine answered, and judges nothing.

cedarpy's raw module is used, not its public wrapper: that one encodes and decodes with the standard library's json and makes objects that
are thrown away, a third of a decision's cost. The module is private to cedarpy, so its version is pinned and its behaviour tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from cedarpy import _internal as cedar
from cedarpy import pst
from msgspec import Struct

from licet.catalog.spec import ToolSpec
from licet.model import JsonObject, Principal, PrincipalKind, Target
from licet.policy.bundle import Policy
from licet.policy.entities import caller_json, targets_json
from licet.policy.local_time import LocalTime
from licet.policy.schema import TENANT, Action, cedar_schema
from licet.policy.shape import RecordShape
from licet.policy.slices import context_reads

LINKS: Mapping[PrincipalKind, str] = {"User": "on_behalf_of", "Agent": "agent", "Service": "service"}
"""Under which name a principal's context names another link of the same caller."""

_encode = msgspec.json.Encoder().encode


class Question(Struct, frozen=True, kw_only=True):
    """May these principals use this tool on these targets? `input` is the canonical value that would be executed, `now` is in UTC.

    `meters` must hold every meter that the engine was loaded with, `local` what the clocks show at `now` where policies read it
    (`Engine.reads_local`).
    """

    tool: ToolSpec
    principals: tuple[Principal, ...]
    targets: tuple[Target, ...]
    input: JsonObject
    environment: str
    now: datetime
    local: LocalTime | None = None
    session_labels: tuple[str, ...] = ()
    session_calls: int = 0
    meters: dict[str, int] = {}


class Diagnostics(Struct):
    """Which policies decided, by id and in no order, and what went wrong while evaluating."""

    reason: list[str] = []
    errors: list[str] = []


class Answer(Struct):
    """Cedar's answer to one request: `Allow`, `Deny` or `NoDecision`."""

    decision: str
    diagnostics: Diagnostics


class Ask(Struct, frozen=True):
    """One request: a principal of the question and one of its targets, with how decisions write them."""

    principal: Principal
    target: Target
    principal_name: str
    target_name: str


_decode = msgspec.json.Decoder(Answer).decode


def asks_of(question: Question) -> list[Ask]:
    """Every principal with every target."""
    names = [str(target.ref) for target in question.targets]
    return [
        Ask(principal, target, principal_name, name)
        for principal in question.principals
        for principal_name in (str(principal.ref),)
        for target, name in zip(question.targets, names, strict=True)
    ]


class Frame:
    """What every call of one tool shares: the policies that can speak about it, what they read, and the schema of that.

    It never changes. It takes some 110 KiB, nearly all of it Cedar's schema.
    """

    def __init__(self, action: Action, policies: Sequence[Policy], types: Mapping[str, RecordShape]) -> None:
        self.action: Final = action
        self.policies: Final = tuple(policies)
        self.context: Final = action.context.narrow(context_reads(policy.tree for policy in policies))
        self.types: Final = {name: types[name] for name in {*action.types, TENANT}}
        narrowed = Action(action.name, action.groups, action.types, self.context, {})
        self.schema: Final = cedar.Schema.from_json_str(_encode(cedar_schema([narrowed], self.types, action.parents)).decode())
        self._uid: Final = {"type": "Action", "id": action.name}
        self._names_links: Final = not self.context.fields.keys().isdisjoint(LINKS.values())

    def build_caller(self, principals: tuple[Principal, ...], environment: str, targets_own: frozenset[str]) -> cedar.Entities:
        """The entities of a caller, under the schema; the base of each of its calls."""
        return cedar.Entities.from_json_str(caller_json(principals, environment, targets_own), self.schema)

    def add_targets(
        self, caller: cedar.Entities, targets: tuple[Target, ...], principals: tuple[Principal, ...], environment: str
    ) -> cedar.Entities:
        """All the entities of a call, under the schema. Raises `ShapeMismatch` or `ValueError` where a target is not as declared."""
        return caller.with_added_json_str(targets_json(targets, principals, environment, self.types), self.schema)

    def evaluate(self, policies: cedar.PolicySet, question: Question, asks: Sequence[Ask], entities: cedar.Entities) -> list[Answer]:
        """Cedar's answers by these policies, in the order of `asks`. They must be of this tool: the context holds what those read.

        Raises `ShapeMismatch` where the context is not what policies were validated against.
        """
        contexts: dict[str, str] = {}
        requests = []
        for ask in asks:
            key = ask.principal_name if self._names_links else ""
            context = contexts.get(key)
            if context is None:
                context = contexts[key] = _encode(self.context.encode(raw_context(question, ask.principal))).decode()
            requests.append(
                {
                    "principal": {"type": ask.principal.kind, "id": ask.principal.id},
                    "action": self._uid,
                    "resource": {"type": ask.target.type, "id": ask.target.id},
                    "context": context,
                }
            )
        return [_decode(answer) for answer in cedar.is_authorized_batch(requests, policies, entities, self.schema, False)]


class Slice:
    """The policies whose scopes admit one tool and some principals, all and without the conditional forbids. Never changes."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies: Final = {policy.id: policy for policy in policies}
        self.order: Final = {policy.id: place for place, policy in enumerate(policies)}
        self.permits: Final = frozenset(policy.id for policy in policies if policy.effect == "permit")
        core = [policy for policy in policies if policy.obligation is None]
        self.all: Final = policy_set(map(_within_frame, policies))
        self.core: Final = policy_set(map(_within_frame, core)) if len(core) < len(policies) else self.all


def raw_context(question: Question, principal: Principal) -> JsonObject:
    """Everything that a principal's context could hold, not yet encoded."""
    raw: JsonObject = {
        "environment": question.environment,
        "now": question.now,
        "local": None if question.local is None else question.local.as_context(),
        "input": question.input,
        "session": {"labels": question.session_labels, "calls": question.session_calls},
        "meters": question.meters,
    }
    for other in question.principals:
        if other is not principal:
            raw[LINKS[other.kind]] = other.ref
    return raw


def policy_set(trees: Iterable[pst.Template]) -> cedar.PolicySet:
    """A set under the policies' own ids, made of the trees that were validated."""
    return cedar.PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), pst.FrozenMap({tree.id: tree for tree in trees}), ()))


def _within_frame(policy: Policy) -> pst.Template:
    """The policy without its action scope, which held when the frame was made: Cedar would find so again at every request."""
    tree = policy.tree
    return pst.Template(tree.id, tree.effect, tree.principal, pst.ScopeAny(), tree.resource, tree.clauses, tree.annotations)
