from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from licet.cli import doctor_store
from licet.cli.doctor import get_user
from licet.cli.exits import Exit
from licet.gate.writable import OperatingUser, why_writable
from tests.cli.conftest import CONFIG, Licet, envelope, run_licet

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil's
NOBODY = ("--tools-user", "nobody")

DIES = """
import os, shop
@shop.gate.tool("crm.die", access="write")
def die() -> None: os._exit(1)
from pathlib import Path
with shop.gate.acting(agent="support-bot", user="alice"): shop.gate.call("crm.die", {})
"""

GINA = """\
[users.gina]
tenants = ["globex"]
roles = ["billing"]

[users.lena]"""


def findings(licet: Licet, *options: str) -> dict[str, list[dict[str, Any]]]:
    """What the doctor found, by what it is about."""
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in envelope(licet("doctor", "--json", *options))["data"]["findings"]:
        found.setdefault(finding["about"], []).append(finding)
    return found


@pytest.fixture
def locked(used: Path) -> Path:
    """The used project, which nobody but its owner can change. Folders above it are as pytest makes them: their owner's."""
    for path in (used, used / "policies", *used.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (used / "licet.key").chmod(0o600)
    return used


def test_an_installation_that_is_well_ends_with_0(locked: Path) -> None:
    done = run_licet(locked, "doctor", "--app", "shop:gate", *NOBODY)
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert done.stdout.endswith(" ok, 2 warnings, 0 failed\n")  # the key lies beside the ledger, and there is no witness
    for line in (
        "✓ ok       policies: 4 policies in ",
        "✓ ok       approvers: every approval that a policy asks for can be given",
        "✓ ok       integrity: 14 records in 2 logs",
        "✓ ok       processes: 0 processes with a lease",
        "✓ ok       journal: write-ahead log in place",
        "✓ ok       store safety: `nobody`, who runs the tools, cannot change ",
    ):
        assert line in done.stdout


def test_the_one_who_could_approve_themselves_fails(licet: Licet, locked: Path) -> None:
    result = licet("doctor")  # whoever runs this test owns the project
    assert result.exit_code == Exit.ERROR
    for about in ("config", "policies", "store", "key"):
        assert f"✗ fail     {about} safety: `{get_user(None).name}`, who runs the tools, " in result.stdout
    assert result.stdout.count("next: run the tools as another operating user") == 4


@pytest.mark.parametrize("name", ["licet.toml", "policies", "policies/base.cedar", "licet.db", "licet.key", "."])
def test_what_another_user_may_write_fails(licet: Licet, locked: Path, name: str) -> None:
    (locked / name).chmod(0o777)
    levels = {finding["level"] for about, found in findings(licet, *NOBODY).items() if about.endswith("safety") for finding in found}
    assert "fail" in levels


def test_no_configuration_is_a_failure_with_the_next_step(licet: Licet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = licet("doctor")
    assert result.exit_code == Exit.ERROR
    assert "✗ fail     config: there is no file `licet.toml`" in result.stdout


def test_each_problem_of_policies_and_directory_is_told(licet: Licet, used: Path) -> None:
    (used / "policies/bad.cedar").write_text('@id("bad") permit (principal in Role::"suport", action, resource);')
    (policies,) = findings(licet)["policies"]
    assert policies["level"] == "fail"
    assert "did you mean `support`?" in policies["message"]
    (used / "licet.toml").write_text(CONFIG.replace('["lena", "alice"]', '["nobody"]'))
    (directory,) = findings(licet)["directory"]
    assert "names the unknown user `nobody`" in directory["message"]


def test_a_group_that_nobody_can_satisfy_is_told(licet: Licet, used: Path) -> None:
    both = CONFIG.replace('tenants = ["acme"]', 'tenants = ["*"]', 1).replace("[users.lena]", GINA)
    (used / "licet.toml").write_text(both.replace(', scope = "operator"', ""))
    (some,) = findings(licet)["approvers"]
    assert (some["level"], "for tenant `globex`" in some["message"]) == ("warn", True)
    (used / "licet.toml").write_text(CONFIG.replace('["lena", "alice"]', "[]"))
    (none,) = findings(licet)["approvers"]
    assert (none["level"], "for any tenant" in none["message"]) == ("fail", True)


def test_two_ids_of_one_person_are_one_approver(licet: Licet, used: Path) -> None:
    base = used / "policies/base.cedar"
    base.write_text(base.read_text().replace("1 of Group", "2 of Group"))
    (used / "licet.toml").write_text(CONFIG.replace("[users.lena]", '[users.lena]\nperson = "alice"'))
    assert findings(licet)["approvers"][0]["level"] == "fail"


def test_missing_resolvers_are_told(licet: Licet, used: Path) -> None:
    (finding,) = findings(licet)["resolvers"]
    assert (finding["level"], finding["next"]) == ("warn", "look again with `--app MODULE:GATE`")
    app = (used / "shop.py").read_text()
    (used / "bare.py").write_text(app.replace('@gate.resource("Customer")', ""))
    done = run_licet(used, "doctor", "--app", "bare:gate")
    assert "`bare:gate` has no resolver for `Customer`" in done.stdout


def test_no_store_yet_is_a_warning_and_makes_none(licet: Licet, project: Path) -> None:
    (finding,) = findings(licet)["store"]
    assert finding["level"] == "warn"
    assert not list(project.glob("licet.db*"))


def test_a_process_that_died_and_its_call_are_told(licet: Licet, used: Path) -> None:
    policies = used / "policies/die.cedar"
    policies.write_text('@id("die") permit (principal in Role::"support", action == Action::"crm.die", resource);')
    assert subprocess.run([sys.executable, "-c", DIES], cwd=used, check=False).returncode == 1
    found = findings(licet)
    assert [finding["level"] for finding in found["processes"]] == ["ok", "warn"]
    assert [finding["level"] for finding in found["open calls"]] == ["ok", "warn"]
    assert "1 call begun by a process that is gone" in found["open calls"][1]["message"]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM records WHERE place = (SELECT max(place) FROM records)",
        "DELETE FROM records WHERE place = (SELECT max(place) - 1 FROM records)",
        "UPDATE payloads SET sealed = CAST('{}' AS BLOB) WHERE place = (SELECT max(place) FROM payloads)",
        "UPDATE records SET envelope = CAST('{}' AS BLOB) WHERE place = (SELECT max(place) FROM records)",
    ],
)
def test_damage_at_the_end_of_a_log_is_told(licet: Licet, used: Path, statement: str) -> None:
    with sqlite3.connect(used / "licet.db") as con:
        con.execute(statement)
    con.close()
    (finding,) = findings(licet)["integrity"]
    assert finding["level"] == "fail"
    assert "`licet audit verify`" in finding["next"]


def test_a_file_that_is_no_ledger_fails(licet: Licet, project: Path) -> None:
    (project / "licet.db").write_text("something else")
    (finding,) = findings(licet)["store"]
    assert finding["level"] == "fail"


@pytest.mark.parametrize(("free", "level"), [(10 << 30, "ok"), (500 << 20, "warn"), (1 << 20, "fail")])
def test_little_room_is_told(licet: Licet, used: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, free))
    assert findings(licet)["disk"][0]["level"] == level


def test_a_long_write_ahead_log_is_told(licet: Licet, used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_store, "LONG_LOG_BYTES", -1)
    assert findings(licet)["journal"][0]["level"] == "warn"


def test_an_unknown_user_is_a_usage_error(licet: Licet, project: Path) -> None:
    result = licet("doctor", "--tools-user", "no-such-user")
    assert result.exit_code == Exit.USAGE
    assert "the operating system knows no user `no-such-user`" in result.stderr


OTHER = OperatingUser("other", 54_321, frozenset({54_321}))
MEMBER = OperatingUser("member", 54_322, frozenset({os.getgid()}))


@pytest.mark.parametrize(
    ("mode", "above", "user", "writable"),
    [
        (0o644, 0o755, OTHER, False),
        (0o664, 0o755, OTHER, False),
        (0o664, 0o755, MEMBER, True),
        (0o646, 0o755, OTHER, True),
        (0o644, 0o777, OTHER, True),
        (0o644, 0o1777, OTHER, False),
        (0o644, 0o775, MEMBER, True),
        (0o444, 0o555, OperatingUser("root", 0, frozenset()), True),
        (0o444, 0o555, OperatingUser("owner", os.getuid(), frozenset()), True),
    ],
)
def test_a_file_can_be_changed_by_who_may_write_it_or_replace_it(
    tmp_path: Path, mode: int, above: int, user: OperatingUser, *, writable: bool
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "file"
    file.write_text("")
    file.chmod(mode)
    folder.chmod(above)
    assert (why_writable(file, user) is not None) is writable
    folder.chmod(0o755)


def test_the_key_is_looked_at_and_warned_of_where_it_lies_beside_the_ledger(licet: Licet, used: Path) -> None:
    ok, warned = findings(licet)["key"]
    assert (ok["level"], warned["level"]) == ("ok", "warn")
    assert f"1 key in `{used / 'licet.key'}`; `" in ok["message"]
    assert "lies beside the ledger" in warned["message"]
    key = (used / "licet.key").read_text().strip().removeprefix("licet-key-1:")
    assert key not in json.dumps([ok, warned])


def test_a_key_that_is_lost_or_open_to_others_fails(licet: Licet, used: Path) -> None:
    (used / "licet.key").chmod(0o644)
    (finding,) = findings(licet)["key"]
    assert (finding["level"], "can be read by others (mode 644)" in finding["message"]) == ("fail", True)
    (used / "licet.key").unlink()
    (finding,) = findings(licet)["key"]
    assert finding["level"] == "fail"
    assert "restore it from its copy" in finding["message"]


def test_no_key_before_there_is_a_ledger_is_a_warning_and_makes_none(licet: Licet, project: Path) -> None:
    (finding,) = findings(licet)["key"]
    assert finding["level"] == "warn"
    assert not (project / "licet.key").exists()
