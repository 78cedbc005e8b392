"""Finding what is wrong with a bundle before it decides anything.

Strict validation by Cedar comes first; then what it lets pass:

1. A role, group, user, agent, service or tenant that the directory does not know: a misspelt one would never match.
2. A group in an obligation that the directory does not know: nobody could ever meet it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from cedarpy import _internal as cedar
from cedarpy import pst
from msgspec import Struct

from licet.identity.directory import Directory
from licet.policy.bundle import Bundle, Policy
from licet.policy.schema import Vocabulary


class _Error(Struct):
    policy_id: str
    error: str


class _Validation(Struct):
    validation_passed: bool
    errors: list[_Error] = []


def find_problems(bundle: Bundle, vocabulary: Vocabulary, directory: Directory) -> tuple[str, ...]:
    """Everything that keeps the bundle from loading, one line each, in bundle order."""
    schema = cedar.Schema.from_json_str(vocabulary.content.decode())
    problems = dict.fromkeys(_validation_problems(bundle.policies, schema))
    for policy in bundle.policies:
        problems.update(dict.fromkeys(_told(policy, text) for text in _unknown_names(policy, directory)))
    return tuple(problems)


def _told(policy: Policy, text: str) -> str:
    return f"{policy.place}: policy `{policy.id}`: {text}"


def _validation_problems(policies: tuple[Policy, ...], schema: cedar.Schema) -> Iterator[str]:
    """Cedar names the policies of a text `policy0` and on, in order."""
    found = msgspec.json.decode(cedar.validate_policies("\n".join(policy.text for policy in policies), schema), type=_Validation)
    for error in found.errors:
        number = error.policy_id.removeprefix("policy")
        text = error.error.removeprefix(f"for policy `{error.policy_id}`, ")
        yield _told(policies[int(number)], text) if number.isdecimal() else text
    if not found.validation_passed and not found.errors:
        yield "the bundle was found invalid without saying why"


def _unknown_names(policy: Policy, directory: Directory) -> Iterator[str]:
    known = {
        "Role": directory.roles,
        "Group": directory.groups,
        "User": directory.users,
        "Agent": directory.agents,
        "Service": directory.services,
        "Tenant": directory.tenants,
    }
    for uid in sorted(pst.entity_uids(policy.tree), key=str):
        kind = str(uid.type)
        if kind in known and uid.id not in known[kind]:
            yield f"the directory has no {kind.lower()} `{uid.id}`"
    rule = policy.obligation
    if rule is not None and rule.group is not None and rule.group not in directory.groups:
        yield f"the directory has no group `{rule.group}`, so nobody could ever approve"
