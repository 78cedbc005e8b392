from __future__ import annotations

from pathlib import Path

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import Licet, run_licet

CONFIG = """
environment = "production"
[tenants.acme]
[agents.bot]
tenants = ["acme"]
roles = ["support"]
acts_for = "self"
[tools.look_up]
access = "read"
targets = "Customer::{customer_id}"
[resources.Customer]
tenant = "caller"
"""
POLICY = """
@id("reads")
permit (principal in Role::"support", action == Action::"look_up", resource)
when { context.input.customer_id != "C-0" };
@id("typo")
permit (principal in Role::"suport", action, resource);
"""
APP = """
from licet import Gate
from licet.catalog.adopted import AdoptedTool

gate = Gate("licet.toml")
schema = {"type": "object", "properties": {"customer_id": {"type": "string"}}, "required": ["customer_id"]}
gate.adopt([AdoptedTool(name="look_up", description="", schema=schema, framework="test")])
"""
AWAITED = "nobody has said yet what the tool `look_up` takes: give `input` in `[tools.look_up]`, or call `gate.coverage(agent)`"


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "licet.toml").write_text(CONFIG)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/a.cedar").write_text(POLICY.partition('@id("typo")')[0])
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_a_framework_is_still_to_say_is_told_and_not_what_follows_from_it(licet: Licet, agents: Path) -> None:
    result = licet("check")
    assert result.exit_code == Exit.POLICY_INVALID
    assert result.stdout.count("✗") == result.stdout.count(AWAITED) == 1
    assert "where that module calls `gate.coverage(agent)`" in result.stderr


def test_other_problems_of_policies_are_told_beside_it(licet: Licet, agents: Path) -> None:
    (agents / "policies/a.cedar").write_text(POLICY)
    result = licet("check")
    assert AWAITED in result.stdout
    assert "policy `typo`" in result.stdout
    assert "policy `reads`" not in result.stdout


def test_a_tool_that_no_policy_speaks_of_is_a_note(licet: Licet, agents: Path) -> None:
    (agents / "policies/a.cedar").write_text('@id("none")\nforbid (principal, action, resource);\n')
    result = licet("check")
    assert result.exit_code == Exit.OK
    assert AWAITED in result.stdout


def test_an_application_that_brings_the_tool_is_sound(agents: Path) -> None:
    done = run_licet(agents, "check", "--app", "app:gate")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 policy and 1 tool agree" in done.stdout
