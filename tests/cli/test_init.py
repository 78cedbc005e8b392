from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from licet import config
from licet.cli.exits import Exit
from licet.cli.init import FILES, IGNORED, OWN_POLICIES
from licet.policy.own import default_text
from tests.cli.conftest import Licet, envelope

HELD = '{"customer_id": "C-412", "amount_cents": 20000}'
CALLER = ("--agent", "support-bot", "--user", "alice", "--target", "Customer::C-412", "--attr", "vip=false")


def test_what_init_writes_is_sound_tested_and_decides(licet: Licet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = licet("init")
    assert first.exit_code == Exit.OK
    assert "next: `licet check`, then `licet test`" in first.stderr
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(FILES)
    check = licet("check")
    assert (check.exit_code, check.stderr) == (Exit.OK, "")
    assert "4 policies and 2 tools agree, in `development`" in check.stdout
    test = licet("test")
    assert (test.exit_code, test.stderr) == (Exit.OK, "")
    assert "7 tests: 7 passed" in test.stdout
    held = licet("can", "billing.adjust", HELD, *CALLER)
    assert held.exit_code == Exit.HELD
    assert "approval of 1 member of `billing-leads` is required by `billing-needs-lead`" in held.stdout
    assert not (tmp_path / "licet.db").exists()


def test_the_visible_tenant_wall_is_among_the_policies(licet: Licet, tmp_path: Path) -> None:
    licet("init", str(tmp_path / "new"))
    assert '@id("tenant-wall")' in (tmp_path / "new/policies/base.cedar").read_text()


@pytest.mark.parametrize("name", [name for name in FILES if name != IGNORED])
def test_init_overwrites_nothing_and_then_writes_nothing(licet: Licet, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    result = licet("init", str(tmp_path))
    assert result.exit_code == Exit.ERROR
    assert result.stderr.startswith(f"error: `{tmp_path / name}` is there already, and nothing is overwritten\nnext: ")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_dangling_link_counts_as_there(licet: Licet, tmp_path: Path) -> None:
    (tmp_path / "licet.toml").symlink_to(tmp_path / "elsewhere")
    assert licet("init", str(tmp_path)).exit_code == Exit.ERROR
    assert not (tmp_path / "elsewhere").exists()


def test_init_as_json_names_the_files(licet: Licet, tmp_path: Path) -> None:
    found = envelope(licet("init", str(tmp_path), "--json"))
    assert found["data"] == {"folder": str(tmp_path), "files": list(FILES)}
    taken = envelope(licet("init", str(tmp_path), "--json"))
    assert (taken["error"]["code"], taken["error"]["files"]) == ("exists", [name for name in FILES if name != IGNORED])


def test_a_folder_that_cannot_be_written_is_told(licet: Licet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = licet("init", str(tmp_path / "file" / "below"))
    assert result.exit_code == Exit.ERROR
    assert "not a directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_gitignore_that_is_there_is_left_as_it_is_and_what_belongs_into_it_is_said(licet: Licet, tmp_path: Path) -> None:
    (tmp_path / IGNORED).write_text("mine")
    result = licet("init", str(tmp_path))
    assert result.exit_code == Exit.OK
    assert f"`{tmp_path / IGNORED}` is left as it is: see that it has `licet.key` and `licet.db*`" in result.stderr
    assert (tmp_path / IGNORED).read_text() == "mine"
    assert IGNORED not in result.stdout
    assert (tmp_path / "licet.toml").exists()


def test_git_sees_neither_the_key_nor_the_log(licet: Licet, tmp_path: Path) -> None:
    assert licet("init", str(tmp_path)).exit_code == Exit.OK
    for name in ("licet.key", "licet.db", "licet.db-wal", "licet.db-index", "licet.db-boots/lease", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    listed = subprocess.run(["git", "ls-files", "--others", "--exclude-standard"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert sorted(listed.stdout.split()) == sorted([*FILES, "notes.txt"])


def test_the_witness_that_is_only_shown_is_one_that_loads(licet: Licet, tmp_path: Path) -> None:
    licet("init", str(tmp_path))
    text = (tmp_path / "licet.toml").read_text()
    shown = text[text.index("# [witness]") :]
    assert config.loads(text, file=tmp_path / "licet.toml").witness.anchors == ()
    meant = text.replace(shown, shown.replace("# ", ""))
    assert [path.name for path in config.loads(meant, file=tmp_path / "licet.toml").witness.anchors] == ["licet.anchor"]


def test_who_may_do_what_with_the_server_can_be_written_alone(licet: Licet, tmp_path: Path) -> None:
    (tmp_path / "licet.toml").write_text("mine")
    result = licet("init", str(tmp_path), "--own-policies")
    assert (result.exit_code, (tmp_path / "licet.toml").read_text()) == (Exit.OK, "mine")
    assert (tmp_path / OWN_POLICIES).read_text() == default_text()
    again = licet("init", str(tmp_path), "--own-policies")
    assert again.exit_code == Exit.ERROR
    assert "nothing is overwritten" in again.stderr


def test_check_reads_who_may_do_what_with_the_server(licet: Licet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    licet("init")
    (tmp_path / OWN_POLICIES).write_text('@id("x") permit (principal, action == Action::"records.raed", resource);')
    result = licet("check")
    assert result.exit_code == Exit.POLICY_INVALID
    assert "policies/licet.cedar:1: policy `x`: there is no action `records.raed`" in result.stdout
