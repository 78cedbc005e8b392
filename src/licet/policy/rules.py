"""Conditional forbids with the calls that they can hold: what can be told of them without a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cedarpy import pst
from msgspec import Struct

from licet.catalog.spec import Catalog
from licet.model import Obligation, Principal
from licet.policy.bundle import Bundle, Policy
from licet.policy.obligations import ObligationRule
from licet.policy.schema import Vocabulary
from licet.policy.slices import admits, speaks_of


class Rule(Struct, frozen=True, kw_only=True):
    """A conditional forbid that people can meet. `tools` are those that its action scope admits, each with the permits about it.

    `always` says that nothing but caller and tool decides whether it holds a call: it has no condition and asks for no target.
    """

    policy: Policy
    obligation: ObligationRule
    tools: Mapping[str, tuple[Policy, ...]]
    always: bool

    def can_hold(self, tool: str, principals: Sequence[Principal]) -> bool:
        """Whether some call of this tool by this caller could be permitted but for this rule, and be held by it."""
        permits = self.tools.get(tool, ())
        return any(admits(self.policy.tree.principal, principal) for principal in principals) and all(
            any(admits(permit.tree.principal, principal) for permit in permits) for principal in principals
        )

    def obligation_for(self, principal: Principal) -> Obligation:
        """What a call that it holds would owe."""
        asked = self.obligation
        return Obligation(
            kind=asked.kind,
            policy=self.policy.id,
            policy_digest=self.policy.digest,
            principal=str(principal.ref),
            count=asked.count,
            group=asked.group,
            reason=self.policy.reason,
            expires_s=asked.expires_s,
            separation=asked.separation,
        )


def rules_of(bundle: Bundle, catalog: Catalog) -> tuple[Rule, ...]:
    """Every conditional forbid of the bundle that people can meet, in bundle order. The bundle loads with this catalog."""
    actions = Vocabulary(catalog).tools.values()
    permits = {
        action.name: tuple(
            policy for policy in bundle.policies if policy.effect == "permit" and speaks_of(policy.tree.action, action.name, action.parents)
        )
        for action in actions
    }
    return tuple(
        Rule(
            policy=policy,
            obligation=policy.obligation,
            tools={action.name: permits[action.name] for action in actions if speaks_of(policy.tree.action, action.name, action.parents)},
            always=not policy.tree.clauses and policy.tree.resource == pst.ScopeAny(),
        )
        for policy in bundle.policies
        if policy.obligation is not None and policy.obligation.kind != "preview_only"
    )
