"""Judging Cedar's answers: rule 2 to 4 of `engine.py`, as pure functions.

Nothing here is optimistic: an answer is `permitted` only if Cedar said Allow, named a permit and reported no error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from licet.model import DecidingPolicy, Decision, Obligation
from licet.policy import wording
from licet.policy.bundle import Policy
from licet.policy.evaluation import Answer, Ask, Slice
from licet.policy.obligations import held

Kind = Literal["permitted", "conditional", "held", "unpermitted", "forbidden", "failed"]
_CODES: tuple[tuple[Kind, str], ...] = (("failed", "policy_error"), ("forbidden", "forbidden"), ("unpermitted", "no_permit"))
"""The kinds that deny, the one that gives a mixed decision its code first."""
_DENIALS = frozenset(kind for kind, _ in _CODES)
ERROR = re.compile(r"error while evaluating policy `(.+?)`: ")
"""How Cedar names the policy of an error."""


class Finding(Struct, frozen=True):
    """What was found for one principal and target, and the policies that made it so, in bundle order."""

    ask: Ask
    kind: Kind
    policies: tuple[Policy, ...] = ()


def judge(ask: Ask, answer: Answer, part: Slice) -> Finding:
    """What one answer means. `conditional` is a denial by conditional forbids alone: what it is worth, the core policies must say."""
    diagnostics = answer.diagnostics
    if diagnostics.errors or answer.decision not in {"Allow", "Deny"}:
        broken = [match[1] for match in map(ERROR.match, diagnostics.errors) if match]
        return Finding(ask, "failed", _policies(part, broken))
    reasons = _policies(part, diagnostics.reason)
    if len(reasons) != len(diagnostics.reason):
        return Finding(ask, "failed")
    if answer.decision == "Allow":
        return Finding(ask, "permitted" if reasons and part.permits.issuperset(diagnostics.reason) else "failed", reasons)
    if not reasons:
        return Finding(ask, "unpermitted")
    plain = tuple(policy for policy in reasons if policy.obligation is None)
    if plain:
        return Finding(ask, "forbidden", plain)
    return Finding(ask, "conditional", reasons)


def with_core(pending: Finding, core: Finding) -> Finding:
    """A conditional denial in the light of what the policies without conditional forbids say."""
    if core.kind == "permitted":
        return Finding(pending.ask, "held", pending.policies + core.policies)
    # INVARIANT: without conditional forbids no answer is conditional, so this is a denial.
    return core if core.kind in _DENIALS else Finding(pending.ask, "failed")


def denial(tool: str, findings: Sequence[Finding]) -> Decision | None:
    """The denial that these findings make, if one of them denies: it names all that deny, whatever their kind."""
    denying = [finding for finding in findings if finding.kind in _DENIALS]
    if not denying:
        return None
    codes = [code for kind, code in _CODES if any(finding.kind == kind for finding in denying)]
    return denied(codes[0], "; ".join(_sentences(tool, denying)), _deciding(denying))


def denied(code: str, message: str, policies: tuple[DecidingPolicy, ...] = ()) -> Decision:
    """A denial."""
    return Decision(verdict="deny", code=code, message=message, policies=policies)


def combine(findings: Sequence[Finding]) -> Decision:
    """The decision where nothing denies: a hold if anything holds, else an allow.

    A hold carries the permits too, for when it is discharged.
    """
    policies = _deciding(findings)
    if all(finding.kind == "permitted" for finding in findings):
        return Decision(verdict="allow", code="allowed", message=wording.allowed(policies), policies=policies)
    owed: dict[tuple[str, str], Obligation] = {}
    for finding in findings:
        for policy in finding.policies:
            rule = policy.obligation
            if rule is not None:
                principal = finding.ask.principal_name
                owed[policy.id, principal] = Obligation(
                    kind=rule.kind,
                    policy=policy.id,
                    policy_digest=policy.digest,
                    principal=principal,
                    count=rule.count,
                    group=rule.group,
                    reason=policy.reason,
                    expires_s=rule.expires_s,
                    separation=rule.separation,
                )
    return held(policies, tuple(owed.values()))


def _policies(part: Slice, ids: Sequence[str]) -> tuple[Policy, ...]:
    """Cedar names policies in no order; decisions list them as the bundle does. What is not in the slice is left out."""
    if len(ids) > 1:
        ids = sorted((one for one in ids if one in part.order), key=part.order.__getitem__)
    return tuple(part.policies[one] for one in ids if one in part.policies)


def _deciding(findings: Sequence[Finding]) -> tuple[DecidingPolicy, ...]:
    return tuple(
        DecidingPolicy(
            id=policy.id,
            effect=policy.effect,
            file=policy.file,
            line=policy.line,
            principal=finding.ask.principal_name,
            target=finding.ask.target_name,
            reason=policy.reason,
        )
        for finding in findings
        for policy in finding.policies
    )


def _sentences(tool: str, denying: Sequence[Finding]) -> list[str]:
    """One sentence for each kind of denial, the gravest first."""
    sentences = []
    for kind, _ in _CODES:
        found = [finding for finding in denying if finding.kind == kind]
        if not found:
            continue
        if kind == "failed":
            sentences.append(wording.policy_error(_deciding(found)) or wording.undecided("the policy engine gave no answer"))
        elif kind == "forbidden":
            sentences.append(wording.forbidden(_deciding(found)))
        else:
            sentences.append(wording.not_permitted(tool, [(one.ask.principal_name, one.ask.target_name) for one in found]))
    return sentences
