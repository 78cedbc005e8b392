r"""Obligations: what a `forbid` may ask for in place of a plain no, and what is left of a decision once people have voted.

Rules:

1. An obligation is an annotation on a `forbid`, so a typo stays a denial: `@require_approval("N of Group::\"g\"")`,
   `@require_confirmation`, `@preview_only`.
2. Policies never see votes. `discharge` is the only place where a conditional forbid goes away, and it takes (policy, principal) pairs that
   trusted code has matched to votes.
3. A vote discharges a policy only for the principal it fired for. `preview_only` is never discharged.
4. Discharging can only turn a hold into an allow: a denial stays as it is, and a hold was already found permitted without its conditional
   forbids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from licet.model import DecidingPolicy, Decision, Obligation, ObligationKind
from licet.policy import wording

ANNOTATIONS: Mapping[str, ObligationKind] = {
    "require_approval": "approval",
    "require_confirmation": "confirmation",
    "preview_only": "preview_only",
}
_APPROVAL = re.compile(r'([1-9][0-9]?) of Group::"([^"\\]+)"')


class RuleInvalid(ValueError):
    """An obligation's annotation does not say what it must."""


class ObligationRule(Struct, frozen=True, kw_only=True):
    """What a policy asks for: `count` distinct members of `group` (approval), or the user the agent acts for (confirmation)."""

    kind: ObligationKind
    count: int = 1
    group: str | None = None


def read_rule(effect: Literal["permit", "forbid"], annotations: Mapping[str, str]) -> ObligationRule | None:
    """The obligation that a policy's annotations ask for, if any. Raises `RuleInvalid`."""
    names = [name for name in annotations if name in ANNOTATIONS]
    if not names:
        return None
    if effect == "permit":
        raise RuleInvalid(f"`@{names[0]}` softens a `forbid` and means nothing on a `permit`")
    if len(names) > 1:
        raise RuleInvalid(f"`@{names[0]}` and `@{names[1]}` must stand on two policies: a vote is for one obligation")
    name, value = names[0], annotations[names[0]]
    if name != "require_approval":
        if value:
            raise RuleInvalid(f"`@{name}` takes no value, found `{value}`")
        return ObligationRule(kind=ANNOTATIONS[name])
    match = _APPROVAL.fullmatch(value)
    if match is None:
        raise RuleInvalid(f'`@require_approval` must be "N of Group::\\"name\\"" with N from 1 to 99, found `{value}`')
    return ObligationRule(kind="approval", count=int(match[1]), group=match[2])


def held(policies: tuple[DecidingPolicy, ...], obligations: tuple[Obligation, ...]) -> Decision:
    """The hold that these obligations make; `policies` holds the conditional forbids and the permits that would allow without them."""
    return Decision(
        verdict="hold",
        code=wording.hold_code(obligations),
        message=wording.held(policies, obligations),
        policies=policies,
        obligations=obligations,
    )


def discharge(decision: Decision, discharged: AbstractSet[tuple[str, str]]) -> Decision:
    """What is left of a hold once these (policy id, principal) pairs are met: the same hold with fewer obligations, or an allow.

    `principal` is written as `Obligation.principal` is. Anything but a hold comes back as it was.
    """
    if decision.verdict != "hold":
        return decision
    left = tuple(owed for owed in decision.obligations if owed.kind == "preview_only" or (owed.policy, owed.principal) not in discharged)
    if len(left) == len(decision.obligations):
        return decision
    owing = {(owed.policy, owed.principal) for owed in left}
    policies = tuple(one for one in decision.policies if one.effect == "permit" or (one.id, one.principal) in owing)
    if left:
        return held(policies, left)
    # INVARIANT: a hold carries the permits of every principal and target, so an allow never stands without a reason.
    if not policies:
        return replace(decision, verdict="deny", code="policy_error", message=wording.NO_REASON, policies=(), obligations=())
    return Decision(verdict="allow", code="allowed", message=wording.allowed(policies), policies=policies)
