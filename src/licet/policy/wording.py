"""What decisions say to people. Messages name policies with their place, never argument values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from licet.model import DecidingPolicy, Obligation

NO_REASON = "the policy engine allowed without naming a permit, which is never trusted"
LISTED = 5
"""Policies or pairs that one sentence names before it counts the rest."""


def _listed(parts: Iterable[str]) -> str:
    """Each part once, in order; what goes past `LISTED` is counted."""
    distinct = list(dict.fromkeys(parts))
    more = len(distinct) - LISTED
    return "; ".join(distinct[:LISTED]) + (f"; and {more} more" if more > 0 else "")


def _named(policy: DecidingPolicy) -> str:
    return f"`{policy.id}` ({policy.file}:{policy.line})"


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def allowed(policies: Sequence[DecidingPolicy]) -> str:
    """All permits that allowed."""
    distinct = {policy.id: policy for policy in policies}
    more = len(distinct) - LISTED
    return "allowed by " + "; ".join(map(_named, islice(distinct.values(), LISTED))) + (f"; and {more} more" if more > 0 else "")


def forbidden(policies: Sequence[DecidingPolicy]) -> str:
    """The plain forbids, each with the principals and targets it fired for."""
    return "denied by " + _listed(f"{_named(one)} for {who} on {where}{_because(one.reason)}" for one, who, where in _grouped(policies))


def not_permitted(tool: str, pairs: Iterable[tuple[str, str]]) -> str:
    """The default denial: which principals, tool and targets no permit matched."""
    targets: dict[str, dict[str, None]] = {}
    for principal, target in pairs:
        targets.setdefault(target, {})[principal] = None
    callers: dict[str, list[str]] = {}
    for target, principals in targets.items():
        callers.setdefault(_joined(principals, "or"), []).append(target)
    return _listed(f"no policy permits {who} to use `{tool}` on {_joined(where, 'or')}" for who, where in callers.items())


def policy_error(policies: Sequence[DecidingPolicy]) -> str:
    """Policies that could not be evaluated. Cedar's own text may quote values, so it is left to `explain`."""
    return _listed(
        f"{_named(one)} could not be evaluated for {who} on {where}, and an error is a denial" for one, who, where in _grouped(policies)
    )


def _grouped(policies: Sequence[DecidingPolicy]) -> Iterator[tuple[DecidingPolicy, str, str]]:
    """Each policy once, with all its principals and targets."""
    found: dict[str, tuple[DecidingPolicy, dict[str, None], dict[str, None]]] = {}
    for policy in policies:
        _, principals, targets = found.setdefault(policy.id, (policy, {}, {}))
        principals[policy.principal] = None
        targets[policy.target] = None
    for policy, principals, targets in found.values():
        yield policy, _joined(principals, "and"), _joined(targets, "and")


def _joined(names: Collection[str], word: str) -> str:
    """`a, b and c`; what goes past `LISTED` is counted."""
    shown = list(names)[:LISTED]
    if len(names) > LISTED:
        shown.append(f"{len(names) - LISTED} more")
    return f" {word} ".join(", ".join(part) if isinstance(part, list) else part for part in (shown[:-1], shown[-1]) if part)


def undecided(error: str) -> str:
    """Nothing was evaluated."""
    return f"the call could not be decided, which is a denial: {error}"


def hold_code(obligations: Sequence[Obligation]) -> str:
    """The code of the hardest obligation: nothing discharges a preview, people an approval, the user a confirmation."""
    kinds = {owed.kind for owed in obligations}
    if "preview_only" in kinds:
        return "preview_only"
    return "approval_required" if "approval" in kinds else "confirmation_required"


def held(policies: Sequence[DecidingPolicy], obligations: Sequence[Obligation]) -> str:
    """What is needed, by which policy, and why."""
    places = {policy.id: _named(policy) for policy in policies}
    return _listed(f"{_needed(owed)} by {places.get(owed.policy, f'`{owed.policy}`')}{_because(owed.reason)}" for owed in obligations)


def _needed(owed: Obligation) -> str:
    if owed.kind == "preview_only":
        return "only a preview is permitted"
    if owed.kind == "confirmation":
        return "confirmation by the user is required"
    people = "1 member" if owed.count == 1 else f"{owed.count} distinct members"
    apart = ", the agent's owner not counted," if owed.separation == "agent-owner" else ""
    return f"approval of {people} of `{owed.group}`{apart} is required"
