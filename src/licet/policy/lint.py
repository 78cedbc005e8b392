"""Finding what is wrong with a bundle before it decides anything.

Strict validation by Cedar comes first. It lets pass what looks right and never does what it says; so beyond it these do not load:

1. A role, group, user, agent, service or tenant that the directory does not know, in a policy or in an obligation: a misspelt one never
   matches.
2. `has` on an attribute that nothing in scope has: a misspelt one is always false, and the forbid that it guards never fires.
3. A field that policies cannot see (`views.py`), or a record used whole of which a part cannot be seen.
4. A policy that can never match: `when { false }`, or types that no call can have together.
5. An attribute or a group of a literal entity (`User::"alice" in Role::"admin"`): only the call's own entities are known, so it would be
   false or an error.
6. A part of `context.local` compared with what no clock shows (`lint_time.py`).

Every problem is reported, not only the first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

import msgspec
from cedarpy import _internal as cedar
from cedarpy import pst
from msgspec import Struct

from licet.identity.directory import Directory
from licet.policy.bundle import Bundle, Policy
from licet.policy.lint_time import impossible_times
from licet.policy.schema import GROUPS, RESERVED, Action, Vocabulary, cedar_schema
from licet.policy.scope import Scope
from licet.policy.slices import speaks_of, walk

_PROBE = 'when { context["a field that no context has"] }'
"""Ill-typed wherever it is reached. Cedar does not check what stands behind a condition that is always false, so a policy that still
validates with this behind it can never match."""


_RESERVED = re.compile(rf'Action::"{RESERVED}([^"]+)"')
LISTED = 8
"""Complaints of the engine about one policy that are listed; one mistake can be complained of once for every tool."""


class _Error(Struct):
    policy_id: str
    error: str


class _Validation(Struct):
    validation_passed: bool
    errors: list[_Error] = []


def find_problems(bundle: Bundle, vocabulary: Vocabulary, directory: Directory) -> tuple[str, ...]:
    """Everything that keeps the bundle from loading, one line each (`file:line: policy, problem`), in bundle order."""
    admitted = _Admitted(vocabulary)
    complaints, endless = _validate(bundle.policies, vocabulary, admitted)
    told: dict[str, None] = {}
    for policy in bundle.policies:
        found = complaints.get(policy.id, [])
        problems = found[:LISTED]
        if len(found) > LISTED:
            problems.append(f"and {len(found) - LISTED} more of the like")
        problems += [*_unknown_names(policy, directory), *_unknown_actions(policy, vocabulary), *_literals_looked_into(policy)]
        scope = Scope(policy.tree, vocabulary, admitted[policy.tree.action])
        problems += [*scope.unseen_fields(), *scope.absent_attributes(), *impossible_times(policy.tree.clauses)]
        if not problems and policy.id in endless and not _names_empty_group(policy, vocabulary):
            problems.append("it can never match: its conditions are false for every call that its scope admits")
        told.update(dict.fromkeys(f"{policy.place}: policy `{policy.id}`: {problem}" for problem in problems))
    return tuple(told)


class _Admitted(dict[pst.ActionConstraint, tuple[Action, ...]]):
    """The actions that each action scope admits, found once for all policies that have the same.

    Reserved members count only where there is no tool: a policy need not fit a tool that does not exist beside those that do.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary

    def __missing__(self, scope: pst.ActionConstraint) -> tuple[Action, ...]:
        found = self._speaking(scope, self._vocabulary.tools) or self._speaking(scope, self._vocabulary.reserved)
        self[scope] = found
        return found

    @staticmethod
    def _speaking(scope: pst.ActionConstraint, actions: Mapping[str, Action]) -> tuple[Action, ...]:
        return tuple(action for action in actions.values() if speaks_of(scope, action.name, action.parents))


def _validate(policies: tuple[Policy, ...], vocabulary: Vocabulary, admitted: _Admitted) -> tuple[dict[str, list[str]], frozenset[str]]:
    """Cedar's complaints by policy id, and the ids of valid policies that can never match.

    Cedar tries every policy on every tool, most of which its scope excludes at once. Policies of one scope are validated together, under
    a schema of the tools that they can be about or name: what is left out adds nothing but time.
    """
    batches: dict[frozenset[str], list[Policy]] = {}
    for policy in policies:
        scope = {action.name for action in admitted[policy.tree.action]}
        named = {uid.id for uid in policy.entities if uid.type == "Action"}
        batches.setdefault(frozenset(scope | named), []).append(policy)
    complaints: dict[str, list[str]] = {}
    endless: set[str] = set()
    for names, batch in batches.items():
        actions = [action for action in vocabulary.actions.values() if action.name in names]
        schema = cedar.Schema.from_json_str(msgspec.json.encode(cedar_schema(actions, vocabulary.types)).decode())
        # A piece ends with its only `;`, and the probe goes before that, on a line of its own in case a comment stands there.
        found = complaints_of([policy.text for policy in batch] + [f"{policy.text[:-1]}\n{_PROBE};" for policy in batch], schema)
        complaints.update((policy.id, found[place]) for place, policy in enumerate(batch) if place in found)
        endless.update(policy.id for place, policy in enumerate(batch) if place not in found and place + len(batch) not in found)
    return complaints, frozenset(endless)


def complaints_of(texts: list[str], schema: cedar.Schema) -> dict[int, list[str]]:
    """Cedar's complaints by number of the text. Cedar names the policies of one text `policy0` and on, in order."""
    answer = cedar.validate_policies("\n".join(texts), schema, release_gil=True)
    found = msgspec.json.decode(answer, type=_Validation)
    complaints: dict[int, list[str]] = {}
    for error in found.errors:
        complaint = error.error.removeprefix(f"for policy `{error.policy_id}`, ")
        number = error.policy_id.removeprefix("policy")
        # What cannot be told to belong to one policy is told of the first: the bundle must not load.
        complaints.setdefault(int(number) if number.isdecimal() else 0, []).append(_clearer(complaint))
    if not found.validation_passed and not complaints:
        complaints[0] = ["the bundle was found invalid, and the engine does not say why"]
    return {number: sorted(told) for number, told in complaints.items()}


def _clearer(complaint: str) -> str:
    if complaint.startswith("unable to find an applicable action"):
        return "its scope admits no call: no tool has such an action, principal and target together"
    return _RESERVED.sub(r"any tool in `\1` (there is none yet)", complaint)


def _unknown_names(policy: Policy, directory: Directory) -> Iterator[str]:
    known: dict[str, Collection[str]] = {
        "Role": directory.roles,
        "Group": directory.groups,
        "User": directory.users,
        "Agent": directory.agents,
        "Service": directory.services,
        "Tenant": directory.tenants,
    }
    for uid in policy.entities:
        if uid.type in known and uid.id not in known[uid.type]:
            yield f"the directory has no {uid.type.lower()} `{uid.id}`{_nearest(uid.id, known[uid.type])}"
    rule = policy.obligation
    if rule is not None and rule.group is not None and rule.group not in directory.groups:
        yield f"the directory has no group `{rule.group}`, so nobody could ever approve{_nearest(rule.group, directory.groups)}"


def _unknown_actions(policy: Policy, vocabulary: Vocabulary) -> Iterator[str]:
    """Cedar says so too, but not of reserved members, and without a hint."""
    known = vocabulary.tools.keys() | GROUPS.keys()
    for uid in policy.entities:
        if uid.type == "Action" and uid.id not in known:
            yield f"there is no tool or action group `{uid.id}`{_nearest(uid.id, known)}"


def _nearest(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _names_empty_group(policy: Policy, vocabulary: Vocabulary) -> bool:
    """Whether the policy speaks of a group that has no tool yet: it cannot match today, and will when one comes."""
    return any(f"{RESERVED}{uid.id}" in vocabulary.reserved for uid in policy.entities if uid.type == "Action")


def _literals_looked_into(policy: Policy) -> Iterator[str]:
    into: tuple[pst.Expr, ...]
    for node in walk(policy.tree.clauses):
        match node:
            case pst.GetAttr(base=base):
                looked, into = "reads an attribute of `{}`", (base,)
            case pst.HasAttr(base=base, attrs=names):
                looked, into = "reads an attribute of `{}`", _along(base, names[:-1])
            case pst.BinaryOp(op="in", left=base):
                looked, into = "asks what `{}` is in", (base,)
            case pst.Is(base=base, in_expr=above) if above is not None:
                looked, into = "asks what `{}` is in", (base,)
            case _:
                continue
        for uid in dict.fromkeys(form.value for one in into for form in _forms(one) if isinstance(form, pst.EntityLit)):
            yield f"it {looked.format(uid)}, and only the call's own principal, target and context are known"


def _along(base: pst.Expr, names: tuple[str, ...]) -> tuple[pst.Expr, ...]:
    """`base`, `base.a`, `base.a.b` ..., each of which is looked into on the way."""
    into = [base]
    for name in names:
        into.append(pst.GetAttr(into[-1], name))
    return tuple(into)


def _forms(node: pst.Expr) -> Iterator[pst.Expr]:
    """The expressions that one can come down to, whichever way its conditions go: a literal is one behind an `if` or in a record, too."""
    match node:
        case pst.IfThenElse(then_expr=then, else_expr=other):
            yield from _forms(then)
            yield from _forms(other)
        case pst.GetAttr(base=base, attr=name):
            for form in _forms(base):
                yield from _forms(form.fields[name]) if isinstance(form, pst.Record) and name in form.fields else (node,)
        case _:
            yield node
