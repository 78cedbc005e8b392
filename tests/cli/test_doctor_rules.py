"""What `licet doctor` says of conditional rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG, POLICIES, Licet, envelope

APART = POLICIES.replace('@reason("adjustments', '@separation("agent-owner")\n@reason("adjustments')
NIGHT = '[agents.night-bot]\ntenants = ["acme"]\nroles = ["support", "billing"]\nacts_for = "self"\n[users.alice]'
CONFIRM = '\n@id("sure") @require_confirmation forbid (principal, action == Action::"billing.adjust", resource);'
SECOND = (
    '\n@id("second") @require_approval("1 of Group::\\"billing-leads\\"") forbid (principal, action == Action::"billing.adjust", resource);'
)


@pytest.mark.parametrize(
    ("config", "policies", "told"),
    [
        (CONFIG, POLICIES, [("ok", "every approval that a policy asks for can be given")]),
        (
            CONFIG.replace('["lena", "alice"]', "[]"),
            POLICIES,
            [("fail", "asks for 1 of `billing-leads`, which has no members, and nobody can give that for any tenant")],
        ),
        (
            CONFIG.replace('["lena", "alice"]', '["alice"]'),
            POLICIES,
            [("fail", "nobody can give that: without the one who asks, there are never enough for any tenant")],
        ),
        (
            CONFIG.replace('["lena", "alice"]', '["lena", "alice"]').replace("[users.lena]", "[users.lena]\ndisabled = true"),
            POLICIES.replace("1 of Group", "2 of Group"),
            [("fail", "asks for 2 of `billing-leads`, and nobody can give that: only 1 person may vote for any tenant")],
        ),
        (
            CONFIG.replace('roles = ["support", "billing"]', 'roles = ["support", "billing"]\nowner = "lena"', 1),
            APART,
            [("fail", "nobody can give that: without the agent's owner, there are never enough for any tenant")],
        ),
        (
            CONFIG,
            POLICIES.replace('action in Action::"read"', 'action == Action::"crm.lookup"'),
            [("warn", "asks people who may never see what they decide on: `billing.adjust.preview` is not allowed for tenant `acme`")],
        ),
        (CONFIG, APART, [("warn", "keeps the agent's owner apart, and `support-bot` names no owner")]),
        (
            CONFIG.replace("[users.alice]", NIGHT),
            POLICIES + CONFIRM,
            [("warn", 'asks the user to confirm, and there is never one for tenant `acme` when Agent::"night-bot" calls')],
        ),
        (
            CONFIG,
            POLICIES + SECOND,
            [("warn", "together with `second` asks for more people than there are on `billing.adjust` for tenant `acme`")],
        ),
    ],
    ids=["well", "empty", "only the requester", "too small", "owner", "preview", "no owner", "confirmation", "together"],
)  # fmt: skip
def test_each_rule_that_nobody_can_meet_is_named(licet: Licet, used: Path, config: str, policies: str, told: list[tuple[str, str]]) -> None:
    (used / "licet.toml").write_text(config)
    (used / "policies/base.cedar").write_text(policies)
    found = [one for one in envelope(licet("doctor", "--json"))["data"]["findings"] if one["about"] == "approvers"]
    assert len(found) == len(told), found
    for finding, (level, words) in zip(found, told, strict=True):
        assert finding["level"] == level, finding
        assert words in finding["message"]
        assert (finding["next"] is None) == (level == "ok")
        assert level == "ok" or "(policies/base.cedar:" in finding["message"]


def test_policies_that_do_not_load_are_told_once_and_nothing_is_said_of_their_rules(licet: Licet, used: Path) -> None:
    (used / "policies/bad.cedar").write_text('@id("bad") permit (principal in Role::"suport", action, resource);')
    found = envelope(licet("doctor", "--json"))["data"]["findings"]
    assert [one["about"] for one in found if one["about"] in {"policies", "approvers"}] == ["policies"]
