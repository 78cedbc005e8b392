"""What policies can say of a principal and a tool, whatever the arguments and targets: the cells of a matrix of permissions.

Rules:

1. A cell never says `deny` where some call could be allowed or held, `hold` where one could be allowed, nor `allow` where one could be
   held or denied: what depends on arguments, targets or context says so (`conditional`, `mix`).
2. It is read off scopes, which Cedar looks at before any condition (`slices`), and off whether a policy has conditions that one
   environment does not decide (`environments`).
3. It is of one principal. A call needs the permission of every principal of its caller, so an agent that acts for a user may do what both
   may do: never more than its own cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cedarpy import pst
from msgspec import Struct

from licet.model import Principal
from licet.policy.bundle import Policy
from licet.policy.engine import Engine
from licet.policy.environments import Speaking
from licet.policy.slices import admits

Standing = Literal["allow", "conditional", "mix", "hold", "deny"]
"""Always allowed; allowed or denied by conditions; allowed, held or denied by them; held at best; never allowed."""


class Cell(Struct, frozen=True):
    """What can come of it, and the policies that can speak: permits, those that hold, and those that forbid."""

    standing: Standing
    permits: tuple[Policy, ...]
    holds: tuple[Policy, ...]
    forbids: tuple[Policy, ...]


def cell_of(engine: Engine, tool: str, principal: Principal, speaking: Speaking) -> Cell:
    """The cell of this principal and tool, in one environment. Raises `KeyError` for a tool of no catalog."""
    policies = engine.frame(tool).policies
    found = [policy for policy in policies if speaking.of(policy) is not False and admits(policy.tree.principal, principal)]
    permits = tuple([policy for policy in found if str(policy.effect) == "permit"])
    holds = tuple([policy for policy in found if policy.obligation is not None])
    forbids = tuple([policy for policy in found if str(policy.effect) != "permit" and policy.obligation is None])
    return Cell(_standing(permits, holds, forbids, speaking), permits, holds, forbids)


def joined(cells: Sequence[Cell]) -> Cell:
    """Of several principals of which it is not said which one calls: what is so for all of them, else what depends on it."""
    permits = {policy.id: policy for cell in cells for policy in cell.permits}
    holds = {policy.id: policy for cell in cells for policy in cell.holds}
    forbids = {policy.id: policy for cell in cells for policy in cell.forbids}
    found: set[Standing] = {cell.standing for cell in cells}
    return Cell(_joined(found), tuple(permits.values()), tuple(holds.values()), tuple(forbids.values()))


def _joined(found: set[Standing]) -> Standing:
    if len(found) == 1:
        return next(iter(found))
    if found <= {"hold", "deny"}:
        return "hold"
    return "mix" if found & {"hold", "mix"} else "conditional"


def is_conditional(policy: Policy, speaking: Speaking) -> bool:
    """Whether it speaks of some calls of its scope in this environment and not of others."""
    return speaking.of(policy) is not True or not isinstance(policy.tree.resource, pst.ScopeAny)


def _standing(permits: tuple[Policy, ...], holds: tuple[Policy, ...], forbids: tuple[Policy, ...], speaking: Speaking) -> Standing:
    def are_conditional(policies: tuple[Policy, ...]) -> bool:
        return all(is_conditional(policy, speaking) for policy in policies)

    if not permits or not are_conditional(forbids):
        return "deny"
    if not are_conditional(holds):
        return "hold"
    if holds:
        return "mix"
    is_sure = not forbids and not are_conditional(permits) and not any(map(speaking.may_raise, permits))
    return "allow" if is_sure else "conditional"
