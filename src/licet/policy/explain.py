"""Why a call is denied, for people: the policies that deny, or the nearest permit and what keeps it from matching.

The nearest permit is the one with the fewest parts of its scope false, then the fewest conditions; between equals the first of the
bundle. What is false, the engine says: each part is put to it over the very request that was denied (`conditions.py`).
"""

from __future__ import annotations

import dataclasses

from cedarpy import _internal as cedar
from msgspec import Struct

from licet.model import Decision
from licet.policy.bundle import Policy
from licet.policy.conditions import Part, parts
from licet.policy.engine import Engine, Question
from licet.policy.evaluation import Answer, asks_of, policy_set
from licet.policy.judgement import ERROR
from licet.policy.shape import ShapeMismatch


class NearMiss(Struct, frozen=True, kw_only=True):
    """A permit that did not match, and its parts that were false: parts of the scope as they would be written, conditions as they are."""

    policy: str
    file: str
    line: int
    failed: tuple[str, ...]


class Why(Struct, frozen=True, kw_only=True):
    """One principal and target that no policy permits. `nearest` is None where no permit is about the tool at all."""

    principal: str
    target: str
    nearest: NearMiss | None


class Explanation(Struct, frozen=True, kw_only=True):
    """The decision, and for each pair that no policy permits its nearest permit.

    `errors` are in the engine's own words, which may quote values: they are for operators, not for the agent.
    """

    decision: Decision
    unpermitted: tuple[Why, ...] = ()
    errors: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The explanation as sentences."""
        told = [self.decision.message]
        for why in self.unpermitted:
            who = f"{why.principal} on {why.target}"
            if why.nearest is None:
                told.append(f"{who}: no permit is about this tool")
                continue
            near = why.nearest
            told.append(
                f"{who}: the nearest permit is `{near.policy}` ({near.file}:{near.line}); not so: "
                + "; ".join(f"`{part}`" for part in near.failed)
            )
        return told + [f"the engine says: {error}" for error in self.errors]


def explain(engine: Engine, question: Question) -> Explanation:
    """Explain what `engine` decides on this question. Decides nothing by itself, and raises nothing that `decide` does not raise."""
    decision = engine.decide(question)
    if decision.verdict != "deny" or decision.code == "unknown_tool":
        return Explanation(decision=decision)
    try:
        return _explain(engine, question, decision)
    except (ShapeMismatch, ValueError) as error:
        return Explanation(decision=decision, errors=(str(error),))


def _explain(engine: Engine, question: Question, decision: Decision) -> Explanation:
    tool = question.tool.name
    frame, part, entities = engine.frame(tool), engine.slice(tool, question.principals), engine.entities(question)
    asks = asks_of(question)
    errors: dict[str, None] = {}
    for answer in frame.evaluate(part.all, question, asks, entities):
        errors.update(dict.fromkeys(sorted(answer.diagnostics.errors)))
    bare = [
        ask
        for ask, answer in zip(asks, frame.evaluate(part.core, question, asks, entities), strict=True)
        if answer.decision == "Deny" and not answer.diagnostics.reason and not answer.diagnostics.errors
    ]
    candidates = {policy.id: (policy, parts(policy)) for policy in frame.policies if policy.effect == "permit"}
    answers = frame.evaluate(_pieces(candidates), question, bare, entities) if bare else []
    whys = [
        Why(principal=ask.principal_name, target=ask.target_name, nearest=_nearest(candidates, answer))
        for ask, answer in zip(bare, answers, strict=True)
    ]
    return Explanation(decision=decision, unpermitted=tuple(whys), errors=tuple(errors))


_Candidates = dict[str, tuple[Policy, tuple[Part, ...]]]


def _pieces(candidates: _Candidates) -> cedar.PolicySet:
    """Every part of every candidate as a permit of its own, alone and behind the parts before it."""
    return policy_set(
        dataclasses.replace(tree, id=f"{name} {number} {way}")
        for name, (_, found) in candidates.items()
        for number, piece in enumerate(found)
        for way, tree in (("alone", piece.alone), ("behind", piece.behind))
    )


def _nearest(candidates: _Candidates, answer: Answer) -> NearMiss | None:
    """The candidate with the fewest false parts."""
    held = set(answer.diagnostics.reason)
    broken = {match[1] for match in map(ERROR.match, answer.diagnostics.errors) if match}
    best: tuple[tuple[int, int], NearMiss] | None = None
    for name, (policy, found) in candidates.items():
        failed = [piece for number, piece in enumerate(found) if _is_false(name, number, held, broken)]
        distance = (sum(piece.scope for piece in failed), sum(not piece.scope for piece in failed))
        if best is None or distance < best[0]:
            best = distance, NearMiss(policy=name, file=policy.file, line=policy.line, failed=tuple(piece.text for piece in failed))
    return None if best is None else best[1]


def _is_false(name: str, number: int, held: set[str], broken: set[str]) -> bool:
    """Whether a part is what keeps its permit from matching.

    One that errs alone is guarded by those before it: it is to blame only where those held and it did not behind them.
    """
    if f"{name} {number} alone" not in broken:
        return f"{name} {number} alone" not in held
    reached = number == 0 or f"{name} {number - 1} behind" in held
    return reached and f"{name} {number} behind" not in held
