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

    `previews` has the policies about the preview of each tool that has one. `always` says that nothing but caller and tool decides whether
    it holds a call: it has no condition and asks for no target.
    """

    policy: Policy
    obligation: ObligationRule
    tools: Mapping[str, tuple[Policy, ...]]
    previews: Mapping[str, tuple[Policy, ...]]
    always: bool

    def can_hold(self, tool: str, principals: Sequence[Principal]) -> bool:
        """Whether some call of this tool by this caller could be permitted but for this rule, and be held by it."""
        return _admits_any(self.policy, principals) and self.could_be_permitted(tool, principals)

    def could_be_permitted(self, tool: str, principals: Sequence[Principal]) -> bool:
        """Whether a permit about this tool admits each of these principals."""
        return _permit_all(self.tools.get(tool, ()), principals)

    def can_preview(self, tool: str, principals: Sequence[Principal]) -> bool:
        """Whether some call of this tool could show what it would change: a preview must be allowed without asking anybody."""
        about = self.previews.get(tool)
        if about is None:
            return True
        shut = any(policy.effect == "forbid" and is_always(policy) and _admits_any(policy, principals) for policy in about)
        return not shut and _permit_all([policy for policy in about if policy.effect == "permit"], principals)

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
    about = {
        action.name: tuple(policy for policy in bundle.policies if speaks_of(policy.tree.action, action.name, action.parents))
        for action in actions
    }
    permits = {name: tuple(policy for policy in policies if policy.effect == "permit") for name, policies in about.items()}
    previews = {name: about[f"{name}.preview"] for name in about if _has_preview(catalog, name)}
    return tuple(
        Rule(
            policy=policy,
            obligation=policy.obligation,
            tools={action.name: permits[action.name] for action in actions if speaks_of(policy.tree.action, action.name, action.parents)},
            previews=previews,
            always=is_always(policy),
        )
        for policy in bundle.policies
        if policy.obligation is not None and policy.obligation.kind != "preview_only"
    )


def is_always(policy: Policy) -> bool:
    """Whether it matches every call that its principal and action scopes admit."""
    return not policy.tree.clauses and policy.tree.resource == pst.ScopeAny()


def _admits_any(policy: Policy, principals: Sequence[Principal]) -> bool:
    return any(admits(policy.tree.principal, principal) for principal in principals)


def _permit_all(permits: Sequence[Policy], principals: Sequence[Principal]) -> bool:
    return all(any(admits(permit.tree.principal, principal) for permit in permits) for principal in principals)


def _has_preview(catalog: Catalog, name: str) -> bool:
    """Whether the tool of that name behind it is its preview: a read that takes the same arguments."""
    tool, preview = catalog.find_tool(name), catalog.find_tool(f"{name}.preview")
    return tool is not None and preview is not None and preview.access == "read" and preview.input_schema == tool.input_schema
