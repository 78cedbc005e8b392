from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from licet.errors import ConfigInvalid
from licet.model import Caller, Decision, EntityRef, Target
from licet.policy.suite import SuiteCase, junit, read_cases, run
from tests.policy.scene import ADJUST, DIRECTORY, NOW, catalog, engine, question

SUITE = """\
resources:
  'Customer::"C-412"': {tenant: acme, vip: false}
  'Customer::"G-\\"7\\""': {tenant: globex, environment: staging, vip: true}
cases:
  - name: small adjustments pass
    caller: {tenant: acme, agent: support-bot, user: alice}
    tool: billing.adjust
    arguments: {customer_id: C-412, amount_cents: 2500}
    expect: {verdict: allow, code: allowed, reasons: [billing-adjust], obligations: []}
  - name: large ones need a lead
    caller: {tenant: acme, agent: support-bot, user: alice}
    tool: billing.adjust
    arguments: {customer_id: C-412, amount_cents: 20000}
    now: 2026-11-22T09:30:00Z
    session: {labels: [a], calls: 3}
    expect: {verdict: hold, reasons: [billing-needs-lead], obligations: [1 of billing-leads]}
  - name: a lead has approved
    caller: {tenant: acme, agent: support-bot, user: alice}
    tool: billing.adjust
    arguments: {customer_id: C-412, amount_cents: 20000}
    approved: [billing-needs-lead]
    expect: {verdict: allow, reasons: [billing-adjust]}
"""
WRONG = """\
cases:
  - name: this expectation is wrong
    caller: {tenant: acme, agent: support-bot, user: alice}
    tool: billing.adjust
    arguments: {customer_id: C-412, amount_cents: 20000}
    expect: {verdict: allow, reasons: [billing-adjust, other], obligations: []}
"""


def check(case: SuiteCase) -> Decision:
    tool = catalog().find_tool(case.tool)
    assert tool is not None
    targets = tuple(
        Target(type=ref.type, id=ref.id, tenant=facts.tenant, environment=facts.environment or "production", attributes=facts.attributes)
        for ref, facts in case.resources.items()
        if ref.id == case.arguments["customer_id"]
    )
    asked = question(ADJUST, case.arguments, by=DIRECTORY.principals(case.caller), on=targets, now=case.now or NOW)
    return engine().decide(asked)


def written(folder: Path, text: str, name: str = "billing.test.yaml") -> Path:
    made = folder / "policies"
    made.mkdir(exist_ok=True)
    (made / name).write_text(text, encoding="utf-8")
    return made


def test_cases_are_read_with_their_caller_resources_and_expectation(tmp_path: Path) -> None:
    first, second, third = read_cases(written(tmp_path, SUITE))
    assert (first.file, first.name, first.tool) == ("policies/billing.test.yaml", "small adjustments pass", "billing.adjust")
    assert first.caller == Caller(tenant="acme", agent="support-bot", user="alice")
    facts = first.resources[EntityRef("Customer", 'G-"7"')]
    assert (facts.tenant, facts.environment, facts.attributes) == ("globex", "staging", {"vip": True})
    assert (second.now, second.session.labels, second.session.calls) == (NOW, ("a",), 3)
    assert third.approved == ("billing-needs-lead",)


def test_what_is_decided_as_expected_passes(tmp_path: Path) -> None:
    results = run(read_cases(written(tmp_path, SUITE)), check)
    assert [(result.passed, result.differences) for result in results] == [(True, ())] * 3


def test_a_difference_names_what_was_expected_and_found(tmp_path: Path) -> None:
    folder = written(tmp_path, SUITE)
    written(tmp_path, WRONG.replace("cases:", "resources: {'Customer::\"C-412\"': {tenant: acme, vip: false}}\ncases:"), "wrong.test.yaml")
    result = run(read_cases(folder), check)[-1]
    assert not result.passed
    assert result.differences[:6] == (
        "- verdict: allow",
        "+ verdict: hold",
        "- reasons: billing-adjust, other",
        "+ reasons: billing-needs-lead",
        "- obligations: none",
        "+ obligations: 1 of billing-leads",
    )
    assert "adjustments over $100 need a billing lead" in result.differences[6]


def test_a_case_whose_check_raises_has_failed(tmp_path: Path) -> None:
    def broken(case: SuiteCase) -> Decision:
        raise RuntimeError(case.tool)

    (result,) = run(read_cases(written(tmp_path, WRONG)), broken)
    assert (result.passed, result.decision, result.differences) == (False, None, ("raised RuntimeError: billing.adjust",))


def test_junit_counts_tests_and_failures_and_survives_unprintable_text(tmp_path: Path) -> None:
    def broken(case: SuiteCase) -> Decision:
        raise RuntimeError("a\x00b <&>")

    cases = read_cases(written(tmp_path, SUITE))
    root = ET.fromstring(junit((*run(cases, check), *run(cases[:1], broken))))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("policies/billing.test.yaml", "4", "1")
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.text == "raised RuntimeError: a\ufffdb <&>"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (WRONG.replace("reasons:", "reason:"), "unknown field `reason`"),
        (WRONG.replace("name:", "nmae:"), "unknown field `nmae`"),
        (WRONG.replace("verdict: allow", "verdict: maybe"), "Invalid enum value"),
        (WRONG.replace("verdict: allow", "verdict: allow, verdict: deny"), "the key `verdict` stands twice"),
        (WRONG.replace("tenant: acme, ", ""), "missing required field `tenant`"),
        (WRONG + WRONG.removeprefix("cases:\n"), "two cases are named `this expectation is wrong`"),
        ("cases: []\nresources: {'Customer': {tenant: acme}}", "a resource is written"),
        ("cases: []\nresources: {'Customer::\"a\"': {}}", "missing required field `tenant`"),
        ("cases: [\n", "policies/billing.test.yaml: "),
        ("cases: !!python/object:os.system {}", "could not determine a constructor"),
        ("[]", "Expected `object`"),
    ],
)
def test_a_file_that_does_not_say_what_it_must_is_refused(tmp_path: Path, broken: str, told: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read_cases(written(tmp_path, broken))
    assert told in str(caught.value)
    assert caught.value.file == "policies/billing.test.yaml"


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="more than"):
        read_cases(written(tmp_path, "#" * (4 * 1024 * 1024 + 1)))


def test_dates_and_words_like_yes_are_the_text_that_they_are_in_json(tmp_path: Path) -> None:
    text = SUITE.replace("amount_cents: 2500", "on: 2026-11-22, answer: yes, really: true")
    case = read_cases(written(tmp_path, text))[0]
    assert case.arguments == {"customer_id": "C-412", "on": "2026-11-22", "answer": "yes", "really": True}
