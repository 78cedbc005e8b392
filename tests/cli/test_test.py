from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import Licet, envelope, run_app

CASES = """\
resources:
  'Customer::"C-1"': {tenant: acme, vip: false}
cases:
  - name: a small adjustment
    caller: {tenant: acme, agent: support-bot, user: alice}
    tool: billing.adjust
    arguments: {customer_id: C-1, amount_cents: 2500}
    expect: {verdict: allow, reasons: [billing-adjust]}
  - name: a large adjustment
    caller: {tenant: acme, agent: support-bot, user: alice}
    tool: billing.adjust
    arguments: {customer_id: C-1, amount_cents: 20000}
    expect: {verdict: hold, reasons: [billing-needs-lead], obligations: [1 of billing-leads]}
"""


@pytest.fixture(autouse=True)
def cases(project: Path) -> Path:
    """Tests of the policies, and a store that knows the application's tools."""
    run_app(project, "100")
    path = project / "policies/billing.test.yaml"
    path.write_text(CASES)
    return path


def test_every_case_goes_through_the_gates_own_checks(licet: Licet) -> None:
    result = licet("test")
    assert (result.exit_code, result.stderr) == (Exit.OK, "")
    assert result.stdout == (
        "policies/billing.test.yaml\n✓ pass     a small adjustment\n✓ pass     a large adjustment\n\n2 tests: 2 passed\n"
    )


def test_a_failure_is_a_diff_and_exit_code_4(licet: Licet, cases: Path) -> None:
    cases.write_text(CASES.replace("verdict: hold, reasons: [billing-needs-lead]", "verdict: allow, reasons: [billing-adjust]"))
    result = licet("test")
    assert result.exit_code == Exit.TESTS_FAILED
    assert "✗ fail     a large adjustment\n           - verdict: allow\n           + verdict: hold\n" in result.stdout
    assert "           - reasons: billing-adjust\n           + reasons: billing-needs-lead\n" in result.stdout
    assert result.stdout.endswith("2 tests: 1 passed, 1 failed\n")


def test_results_as_junit_are_all_that_is_on_stdout(licet: Licet, cases: Path) -> None:
    cases.write_text(CASES.replace("verdict: hold", "verdict: deny"))
    result = licet("test", "--format", "junit")
    assert result.exit_code == Exit.TESTS_FAILED
    (suite,) = ET.fromstring(result.stdout)
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


def test_results_as_json_hold_each_case(licet: Licet, cases: Path) -> None:
    cases.write_text(CASES.replace("verdict: hold", "verdict: deny"))
    found = envelope(licet("test", "--json"))
    assert (found["data"]["passed"], found["data"]["failed"]) == (1, 1)
    assert found["error"]["code"] == "tests_failed"
    assert found["data"]["cases"][1]["decision"]["verdict"] == "hold"


def test_cases_can_be_chosen(licet: Licet) -> None:
    assert licet("test", "-k", "large").stdout.endswith("1 test: 1 passed\n")
    none = licet("test", "-k", "huge")
    assert none.exit_code == Exit.TESTS_FAILED
    assert "has no test of that kind" in none.stderr


def test_no_tests_are_a_failure(licet: Licet, cases: Path) -> None:
    cases.unlink()
    result = licet("test")
    assert result.exit_code == Exit.TESTS_FAILED
    assert "has no `*.test.yaml`" in result.stderr


@pytest.mark.parametrize(("old", "new"), [("expect:", "expects:"), ("verdict: allow", "verdict: alow"), ("cases:", "cases: [")])
def test_a_file_that_cannot_be_read_is_a_configuration_error(licet: Licet, cases: Path, old: str, new: str) -> None:
    cases.write_text(CASES.replace(old, new, 1))
    result = licet("test")
    assert result.exit_code == Exit.USAGE
    assert "policies/billing.test.yaml" in result.stderr


def test_policies_that_do_not_load_are_no_failed_tests(licet: Licet, project: Path) -> None:
    (project / "policies/bad.cedar").write_text('@id("bad") permit (principal in Role::"suport", action, resource);')
    result = licet("test")
    assert result.exit_code == Exit.POLICY_INVALID
    assert "did you mean `support`?" in result.stderr


def test_a_case_has_its_own_environment_time_and_session(licet: Licet, project: Path, cases: Path) -> None:
    (project / "policies/more.cedar").write_text(
        '@id("staging") forbid (principal, action, resource) unless { context.environment == "staging" };\n'
        '@id("tainted") forbid (principal, action, resource) when { context.session.labels.contains("tainted") };\n'
        '@id("later") forbid (principal, action, resource) when { context.now < datetime("2027-01-01") };\n'
    )
    case = CASES.split("  - name: a large", maxsplit=1)[0]
    right = "    environment: staging\n    now: 2027-05-01T00:00:00Z\n"
    for extra, expected in ((right, 0), (right + "    session: {labels: [tainted]}\n", 4), (right.replace("2027", "2026"), 4), ("", 4)):
        cases.write_text(case + extra)
        assert licet("test").exit_code == expected


def test_a_case_s_time_is_told_in_the_time_zone_of_licet_toml(licet: Licet, project: Path, cases: Path) -> None:
    (project / "policies/more.cedar").write_text(
        '@id("office") forbid (principal, action, resource) unless { context.local.hour == 9 && context.local.date == "2026-07-01" };\n'
    )
    case = CASES.split("  - name: a large", maxsplit=1)[0]
    config = (project / "licet.toml").read_text()
    for zone, now, expected in (("UTC", "09", 0), ("Europe/Berlin", "09", 4), ("Europe/Berlin", "07", 0), ("Asia/Tokyo", "00", 0)):
        (project / "licet.toml").write_text(f'timezone = "{zone}"\n{config}')
        cases.write_text(f"{case}    now: 2026-07-01T{now}:59:59Z\n")
        assert licet("test").exit_code == expected, (zone, now)
