"""The law: allow <=> Cedar(core + undischarged conditional forbids) is Allow, without errors, with reasons. And: a slice is the full set.

Both are held against `worlds.Whole`, which knows no slices, no narrowed context and no caches.
"""

from __future__ import annotations

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from licet.model import Principal, Target
from licet.policy.bundle import Bundle
from licet.policy.engine import Engine, Question
from licet.policy.evaluation import asks_of
from licet.policy.judgement import ERROR
from licet.policy.obligations import discharge
from tests.policy.worlds import Whole, bundles, loaded, questions

BUNDLES = 150
ASKED = st.lists(questions(), min_size=6, max_size=6)
EXAMPLES = settings(max_examples=BUNDLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
"""150 bundles x 6 questions: 900 decisions, each with four ways to discharge it, each for one to six pairs of principal and target."""


def lawful(bundle: Bundle, question: Question, principal: Principal, target: Target, discharged: set[tuple[str, str]]) -> bool:
    """Whether Cedar allows by the plain policies and the conditional forbids that are not discharged."""
    name = str(principal.ref)
    standing = [
        policy
        for policy in bundle.policies
        if policy.obligation is None or policy.obligation.kind == "preview_only" or (policy.id, name) not in discharged
    ]
    return Whole(standing, question, principal, target).allows


def allowed_by_law(bundle: Bundle, question: Question, discharged: set[tuple[str, str]]) -> bool:
    return all(lawful(bundle, question, principal, target, discharged) for principal in question.principals for target in question.targets)


def agree_with_the_law(engine: Engine, question: Question, chosen: list[bool]) -> None:
    decision = engine.decide(question)
    owed = [(one.policy, one.principal) for one in decision.obligations]
    event(f"{decision.verdict} {decision.code}")
    for discharged in (
        {*()},
        set(owed),
        {one for one, taken in zip(owed, chosen, strict=False) if taken},
        {one for one in owed if one[0] < "p4"},
    ):
        after = discharge(decision, discharged)
        assert (after.verdict == "allow") == allowed_by_law(engine.bundle, question, discharged)
        if after.verdict == "allow":
            pairs = {(one.principal, one.target) for one in after.policies}
            assert pairs == {(ask.principal_name, ask.target_name) for ask in asks_of(question)}
            assert all(one.effect == "permit" for one in after.policies)
        assert (after.verdict == "hold") == bool(after.obligations)


def agree_with_the_whole_bundle(engine: Engine, question: Question) -> None:
    """The decision has the code and names the policies that the whole bundle gives."""
    decision = engine.decide(question)
    bundle = engine.bundle
    conditional = {policy.id for policy in bundle.policies if policy.obligation is not None}
    core = [policy for policy in bundle.policies if policy.obligation is None]
    plain, erring, bare = set(), set(), False
    for ask in asks_of(question):
        answer = Whole(bundle.policies, question, ask.principal, ask.target)
        where = (ask.principal_name, ask.target_name)
        erring |= {(one, *where) for one in answer.errors}
        if answer.decision == "Deny" and not answer.errors:
            plain |= {(one, *where) for one in answer.reasons - conditional}
        bare = bare or not Whole(core, question, ask.principal, ask.target).allows
    expected = "policy_error" if erring else "forbidden" if plain else "no_permit" if bare else None
    if expected is None:
        assert decision.verdict in {"allow", "hold"}
    else:
        assert (decision.verdict, decision.code) == ("deny", expected)
        assert {(one.id, one.principal, one.target) for one in decision.policies} == plain | erring


@EXAMPLES
@given(bundles(), ASKED, st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_call_is_allowed_if_and_only_if_the_law_allows_it(bundle: Bundle, asked: list[Question], chosen: list[bool]) -> None:
    engine = loaded(bundle)
    for question in asked:
        agree_with_the_law(engine, question, chosen)
        agree_with_the_whole_bundle(engine, question)


@EXAMPLES
@given(bundles(), ASKED)
def test_a_slice_with_its_narrow_context_answers_as_the_whole_bundle_does(bundle: Bundle, asked: list[Question]) -> None:
    engine = loaded(bundle)
    core = tuple(policy for policy in bundle.policies if policy.obligation is None)
    for question in asked:
        frame, part = engine.frame(question.tool.name), engine.slice(question.tool.name, question.principals)
        asks = asks_of(question)
        for policies, chosen in ((part.all, bundle.policies), (part.core, core)):
            for ask, answer in zip(asks, frame.evaluate(policies, question, asks, engine.entities(question)), strict=True):
                whole = Whole(chosen, question, ask.principal, ask.target)
                erring = [match[1] for match in map(ERROR.match, answer.diagnostics.errors) if match]
                assert (answer.decision, set(answer.diagnostics.reason), set(erring)) == (whole.decision, whole.reasons, whole.errors)
                assert len(erring) == len(answer.diagnostics.errors)
                if whole.allows:
                    assert engine.could_permit(question.tool, ask.principal)
