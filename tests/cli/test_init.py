from __future__ import annotations

from pathlib import Path

import pytest

from licet.cli.exits import Exit
from licet.cli.init import FILES
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


@pytest.mark.parametrize("name", FILES)
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
    assert (taken["error"]["code"], taken["error"]["files"]) == ("exists", list(FILES))


def test_a_folder_that_cannot_be_written_is_told(licet: Licet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = licet("init", str(tmp_path / "file" / "below"))
    assert result.exit_code == Exit.ERROR
    assert "not a directory" in result.stderr
    assert "Traceback" not in result.stderr
