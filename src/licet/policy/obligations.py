r"""Obligations: what a `forbid` may ask for in place of a plain no, and what is left of a decision once people have voted.

Rules:

1. An obligation is an annotation on a `forbid`, so a typo stays a denial: `@require_approval("N of Group::\"g\"")`,
   `@require_confirmation`, `@preview_only`. Beside one that people can meet may stand `@expires("15m")`, how long what they decide can be
   used, and beside an approval `@separation("agent-owner")`: whoever owns the agent has no vote.
2. Policies never see votes. `discharge` is the only place where a conditional forbid goes away, and it takes (policy, principal) pairs that
   trusted code has matched to votes.
3. A vote discharges a policy only for the principal it fired for. `preview_only` is never discharged.
4. Discharging can only turn a hold into an allow: a denial stays as it is, and a hold was already found permitted without its conditional
   forbids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from licet.config import LONGEST_EXPIRY_S, parse_duration_s
from licet.model import DecidingPolicy, Decision, Obligation, ObligationKind, Separation
from licet.policy import wording

ANNOTATIONS: Mapping[str, ObligationKind] = {
    "require_approval": "approval",
    "require_confirmation": "confirmation",
    "preview_only": "preview_only",
}
BESIDE: Mapping[str, tuple[str, ...]] = {
    "expires": ("require_approval", "require_confirmation"),
    "separation": ("require_approval",),
}
"""Annotations that say more about an obligation, and beside which obligations they may stand."""
_SEPARATIONS: Mapping[str, Separation] = {name: name for name in get_args(Separation)}
_APPROVAL = re.compile(r'([1-9][0-9]?) of Group::"([^"\\]+)"')


class RuleInvalid(ValueError):
    """An obligation's annotation does not say what it must."""


class ObligationRule(Struct, frozen=True, kw_only=True):
    """What a policy asks for: `count` distinct members of `group` (approval), or the user the agent acts for (confirmation).

    `expires_s` is how long a decision on it can be used; `separation` names who beside the requester has no vote.
    """

    kind: ObligationKind
    count: int = 1
    group: str | None = None
    expires_s: int | None = None
    separation: Separation | None = None


def read_rule(effect: Literal["permit", "forbid"], annotations: Mapping[str, str]) -> ObligationRule | None:
    """The obligation that a policy's annotations ask for, if any. Raises `RuleInvalid`."""
    names = [name for name in annotations if name in ANNOTATIONS]
    for name in annotations:
        if name in BESIDE and not any(one in BESIDE[name] for one in names):
            allowed = " or ".join(f"`@{one}`" for one in BESIDE[name])
            raise RuleInvalid(f"`@{name}` says more about {allowed} and must stand beside it")
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
        return ObligationRule(kind=ANNOTATIONS[name], expires_s=_expires_s(annotations))
    match = _APPROVAL.fullmatch(value)
    if match is None:
        raise RuleInvalid(f'`@require_approval` must be "N of Group::\\"name\\"" with N from 1 to 99, found `{value}`')
    return ObligationRule(
        kind="approval", count=int(match[1]), group=match[2], expires_s=_expires_s(annotations), separation=_separation(annotations)
    )


def lifetime(obligations: Iterable[Obligation], default: timedelta) -> timedelta:
    """How long a request for these obligations can be used: each for as long as its policy says, or `default`; the shortest counts."""
    return min((default if owed.expires_s is None else timedelta(seconds=owed.expires_s) for owed in obligations), default=default)


def _expires_s(annotations: Mapping[str, str]) -> int | None:
    written = annotations.get("expires")
    if written is None:
        return None
    expires_s = parse_duration_s(written)
    if expires_s is None:
        raise RuleInvalid(f"`@expires` must be a duration such as `90s`, `15m`, `2h` or `1d`, found `{written}`")
    if expires_s > LONGEST_EXPIRY_S:
        raise RuleInvalid(f"`@expires` must be {LONGEST_EXPIRY_S // 86_400} days at most, found `{written}`")
    return expires_s


def _separation(annotations: Mapping[str, str]) -> Separation | None:
    written = annotations.get("separation")
    if written is not None and written not in _SEPARATIONS:
        known = " or ".join(f"`{name}`" for name in _SEPARATIONS)
        raise RuleInvalid(f"`@separation` must be {known}, found `{written}`")
    return None if written is None else _SEPARATIONS[written]


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
