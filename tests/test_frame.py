"""The repository's own promises: what is locked, what is declared, what is run."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
LOCKED = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", LOCK, re.MULTILINE))
NEEDED = [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])]


@pytest.mark.parametrize("requirement", NEEDED, ids=str)
def test_the_lock_has_what_the_project_needs(requirement: Requirement) -> None:
    assert requirement.specifier.contains(LOCKED[requirement.name.lower().replace("_", "-")])


def test_everything_in_the_lock_is_pinned_by_hash() -> None:
    entries = re.findall(r"^[a-z0-9-]+==.*(?:\n    .*)*", LOCK, re.MULTILINE)
    assert len(entries) == len(LOCKED)
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in LOCK


def test_ci_calls_check_and_check_calls_test() -> None:
    assert "\nmake check\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    plan = subprocess.run(["make", "--dry-run", "--always-make", "check"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for step in ("ruff check .", "ruff format --check .", "bin/mypy", "lint-imports", "coverage run -m pytest", "coverage report"):
        assert step in plan
    assert "pytest" in subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
