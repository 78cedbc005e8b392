"""What may stand beside an obligation: `@expires` and `@separation`, what they come to, and what does not load."""

from __future__ import annotations

from datetime import timedelta

import pytest

from licet.config import LONGEST_EXPIRY_S
from licet.errors import PolicyInvalid
from licet.model import Obligation
from licet.policy.bundle import Bundle
from licet.policy.obligations import ObligationRule, lifetime
from tests.policy.scene import BILLING, engine, question

APPROVAL = '@require_approval("1 of Group::\\"billing-leads\\"")'
SCOPE = "(principal, action, resource);"
QUARTER = timedelta(minutes=15)


def rule_of(annotations: str, effect: str = "forbid") -> ObligationRule | None:
    bundle = Bundle.from_texts({"p/a.cedar": f'\n@id("a") {annotations}\n{effect} {SCOPE}'})
    return bundle.policies[0].obligation


@pytest.mark.parametrize(
    ("annotations", "rule"),
    [
        (APPROVAL, ObligationRule(kind="approval", group="billing-leads")),
        (f'{APPROVAL} @expires("90s")', ObligationRule(kind="approval", group="billing-leads", expires_s=90)),
        (f'@expires("15m") {APPROVAL}', ObligationRule(kind="approval", group="billing-leads", expires_s=900)),
        (f'{APPROVAL} @expires("30d")', ObligationRule(kind="approval", group="billing-leads", expires_s=LONGEST_EXPIRY_S)),
        (
            f'{APPROVAL} @separation("agent-owner")',
            ObligationRule(kind="approval", group="billing-leads", separation="agent-owner"),
        ),
        (
            f'@separation("agent-owner") @expires("2h") {APPROVAL}',
            ObligationRule(kind="approval", group="billing-leads", expires_s=7_200, separation="agent-owner"),
        ),
        ('@require_confirmation @expires("1m")', ObligationRule(kind="confirmation", expires_s=60)),
    ],
)
def test_annotations_beside_an_obligation_say_more_about_it(annotations: str, rule: ObligationRule) -> None:
    assert rule_of(annotations) == rule


EXPIRES_ALONE = "`@expires` says more about `@require_approval` or `@require_confirmation` and must stand beside it"
SEPARATION_ALONE = "`@separation` says more about `@require_approval` and must stand beside it"


@pytest.mark.parametrize(
    ("effect", "annotations", "problem"),
    [
        ("forbid", '@expires("15m")', EXPIRES_ALONE),
        ("permit", '@expires("15m")', EXPIRES_ALONE),
        ("forbid", '@preview_only @expires("15m")', EXPIRES_ALONE),
        ("forbid", '@separation("agent-owner")', SEPARATION_ALONE),
        ("permit", '@separation("agent-owner")', SEPARATION_ALONE),
        ("forbid", '@require_confirmation @separation("agent-owner")', SEPARATION_ALONE),
        ("forbid", '@preview_only @separation("agent-owner")', SEPARATION_ALONE),
        ("permit", f'{APPROVAL} @expires("15m")', "`@require_approval` softens a `forbid` and means nothing on a `permit`"),
        ("forbid", f"{APPROVAL} @expires", "`@expires` must be a duration such as `90s`, `15m`, `2h` or `1d`, found ``"),
        *(
            (
                "forbid",
                f'{APPROVAL} @expires("{written}")',
                f"`@expires` must be a duration such as `90s`, `15m`, `2h` or `1d`, found `{written}`",
            )
            for written in ("", "0m", "15", "15 m", "15M", "-15m", "1.5h", "15m ", " 15m", "\uff11\uff15m", "1w", "999999999999d")
        ),
        ("forbid", f'{APPROVAL} @expires("31d")', "`@expires` must be 30 days at most, found `31d`"),
        ("forbid", '@require_confirmation @expires("2592001s")', "`@expires` must be 30 days at most, found `2592001s`"),
        *(
            ("forbid", f'{APPROVAL} @separation("{written}")', f"`@separation` must be `agent-owner`, found `{written}`")
            for written in ("", "agent_owner", "Agent-Owner", "agent-owner ", "owner")
        ),
        ("forbid", f"{APPROVAL} @separation", "`@separation` must be `agent-owner`, found ``"),
        ("forbid", f'{APPROVAL} @expire("15m")', "unknown annotation `@expire`"),
        ("forbid", f'{APPROVAL} @separate("agent-owner")', "unknown annotation `@separate`"),
    ],
)
def test_anything_else_does_not_load_and_the_problem_has_its_place(effect: str, annotations: str, problem: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        rule_of(annotations, effect)
    assert caught.value.problems == (f"p/a.cedar:2: policy `a`: {problem}",)


def test_the_text_s_digest_covers_both_annotations() -> None:
    texts = [
        f'@id("a") {APPROVAL} {more}\nforbid {SCOPE}' for more in ("", '@expires("15m")', '@expires("16m")', '@separation("agent-owner")')
    ]
    assert len({Bundle.from_texts({"p/a.cedar": text}).policies[0].digest for text in texts}) == len(texts)


def test_a_decision_s_obligations_carry_both_and_its_sentence_says_who_is_left_out() -> None:
    text = BILLING.replace('@reason("adjustments', '@expires("5m")\n@separation("agent-owner")\n@reason("adjustments')
    decision = engine(text).decide(question(arguments={"customer_id": "C-412", "amount_cents": 20_000}))
    assert (decision.verdict, decision.code) == ("hold", "approval_required")
    assert {(owed.principal, owed.expires_s, owed.separation) for owed in decision.obligations} == {
        ('Agent::"support-bot"', 300, "agent-owner"),
        ('User::"alice"', 300, "agent-owner"),
    }
    assert decision.message == (
        "approval of 1 member of `billing-leads`, the agent's owner not counted, is required by `billing-needs-lead` "
        "(policies/test.cedar:5): adjustments over $100 need a billing lead"
    )


def owed(expires_s: int | None) -> Obligation:
    return Obligation(kind="approval", policy=f"p{expires_s}", policy_digest="d", principal="p", group="g", expires_s=expires_s)


@pytest.mark.parametrize(
    ("annotated", "lives"),
    [
        ((), QUARTER),
        ((None,), QUARTER),
        ((60,), timedelta(minutes=1)),
        ((60, 30), timedelta(seconds=30)),
        ((60, None), timedelta(minutes=1)),
        ((7_200,), timedelta(hours=2)),
        ((7_200, 3_600), timedelta(hours=1)),
        ((7_200, None), QUARTER),
        ((None, 7_200, 60), timedelta(minutes=1)),
    ],
)
def test_a_request_lives_as_long_as_the_shortest_of_what_its_policies_say(annotated: tuple[int | None, ...], lives: timedelta) -> None:
    assert lifetime([owed(expires_s) for expires_s in annotated], QUARTER) == lives
