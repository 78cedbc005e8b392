"""Exports from outside: every format, one tenant, without payloads, whole or not there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from licet.cli import new_file
from licet.cli.exits import Exit
from tests.cli.conftest import Licet, Shop, envelope
from tests.cli.test_access import accesses, detail

FILES = ["jsonl", "csv", "parquet", "ocsf", "otlp"]


def full_disk(path: Path) -> Any:
    """A new file on a disk that has no room."""
    path.touch()
    return Path("/dev/full").open("wb", buffering=0)


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("form", FILES)
def test_every_format_is_written_whole_for_its_owner_alone_and_verified(licet: Licet, used: Path, form: str) -> None:
    written = envelope(licet("audit", "export", "--format", form, "-o", "out", "--json"))["data"]
    assert (written["file"], written["format"], written["records"]) == ("out", form, 14)
    assert (used / "out").stat().st_size == written["size_bytes"]
    assert (used / "out").stat().st_mode & 0o777 == 0o600
    has_manifest = form in {"ocsf", "otlp"}
    assert written["manifest"] == ("out.manifest.json" if has_manifest else None)
    assert (used / "out.manifest.json").exists() is has_manifest
    verified = licet("audit", "verify", "--file", "out")
    assert (verified.exit_code, verified.stdout[:10]) == (Exit.OK, "✓ intact  ")


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_every_format_that_was_cut_is_found(licet: Licet, used: Path, form: str, share: float) -> None:
    licet("audit", "export", "--format", form, "-o", "out")
    content = (used / "out").read_bytes()
    (used / "out").write_bytes(content[: int(len(content) * share)])
    assert licet("audit", "verify", "--file", "out").exit_code == Exit.INTEGRITY_BROKEN


@pytest.mark.parametrize("form", ["ocsf", "otlp"])
def test_a_file_whose_manifest_is_gone_is_not_complete(licet: Licet, used: Path, form: str) -> None:
    licet("audit", "export", "--format", form, "-o", "out")
    (used / "out.manifest.json").unlink()
    result = licet("audit", "verify", "--file", "out")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert "its manifest is missing or cannot be read" in result.stdout


@pytest.mark.parametrize("form", [*FILES, "tiles"])
def test_who_exports_is_recorded_with_how_much_before_the_first_byte(licet: Licet, used: Path, form: str) -> None:
    assert licet("audit", "export", "--format", form, "-o", "out", "--no-payloads").exit_code == Exit.OK
    (record,) = accesses(used, "operator")
    said = detail(record)
    assert (said["verb"], said["records"], said["payloads"]) == ("audit export", 14, False)
    assert said["filter"] == {"format": form, "output": "out"}


def test_nothing_is_written_when_that_cannot_be_recorded(licet: Licet, used: Path) -> None:
    (used / "licet.key").rename(used / "elsewhere")
    result = licet("audit", "export", "-o", "out")
    assert result.exit_code == Exit.ERROR
    assert "so nothing is shown" in result.stderr
    assert not (used / "out").exists()
    assert licet("audit", "export").stdout == ""


def test_an_export_without_payloads_names_nobody(licet: Licet, used: Path) -> None:
    for form in ("jsonl", "csv", "ocsf", "otlp"):
        licet("audit", "export", "--format", form, "-o", form, "--no-payloads")
        content = (used / form).read_bytes()
        for secret in (b"alice", b"C-1", b"double charge"):
            assert secret not in content, form
    found = envelope(licet("audit", "verify", "--file", "jsonl", "--json"))["data"]
    assert (found["records"], found["locked"]) == (14, 14)


def test_an_export_of_one_tenant_tells_of_no_other(licet: Licet, used: Path) -> None:
    for form in FILES:
        written = envelope(licet("audit", "export", "--format", form, "--tenant", "acme", "-o", form, "--json"))["data"]
        assert written["records"] >= 6
    assert len(accesses(used, "acme")) == len(FILES)
    content = (used / "jsonl").read_text()
    assert "operator" not in content
    lines = lines_of(content)
    assert {line["log"] for line in lines if "envelope" in line} == {"acme"}
    assert [line for line in lines if "leaf" in line and "envelope" not in line], "entries of other logs are there as hashes"
    result = licet("audit", "verify", "--file", "jsonl")
    assert result.exit_code == Exit.OK
    assert "all signed, root" in result.stdout
    assert "stand there as hashes alone: they are of other logs, and that these logs do not go on is not shown" in result.stderr


def test_an_unknown_tenant_is_told_and_nothing_is_written(licet: Licet, used: Path) -> None:
    result = licet("audit", "export", "--tenant", "acmee", "-o", "out")
    assert (result.exit_code, (used / "out").exists()) == (Exit.ERROR, False)
    assert "there is no log `acmee` in this ledger" in result.stderr


@pytest.mark.parametrize("taken", ["out", "out.manifest.json"])
def test_nothing_is_overwritten_and_nothing_recorded_of_it(licet: Licet, used: Path, taken: str) -> None:
    (used / taken).write_text("mine")
    result = licet("audit", "export", "--format", "ocsf", "-o", "out")
    assert result.exit_code == Exit.ERROR
    assert "is there already, and nothing is overwritten" in result.stderr
    assert (used / taken).read_text() == "mine"
    assert accesses(used, "operator") == []


def test_a_link_that_leads_nowhere_is_not_followed(licet: Licet, used: Path) -> None:
    (used / "out").symlink_to(used / "elsewhere")
    assert licet("audit", "export", "-o", "out").exit_code == Exit.ERROR
    assert not (used / "elsewhere").exists()


@pytest.mark.parametrize("form", ["ocsf", "otlp", "tiles"])
def test_what_is_more_than_one_file_goes_to_no_pipe(licet: Licet, used: Path, form: str) -> None:
    result = licet("audit", "export", "--format", form)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert "writes more than one file\nnext: give `--output PATH`" in result.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_full_disk_is_told_and_leaves_no_half_file(licet: Licet, used: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_file, "_create", full_disk)
    result = licet("audit", "export", "--format", form, "-o", "out")
    assert result.exit_code == Exit.ERROR
    assert "`out` could not be written: no space left on device" in result.stderr
    assert not (used / "out").exists()


def test_a_full_disk_behind_stdout_is_told(used: Path) -> None:
    program = [sys.executable, "-c", "from licet.cli import main; main()", "audit", "export"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(program, cwd=used, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == Exit.ERROR
    assert "error: `stdout` could not be written: no space left on device" in done.stderr


def test_a_reader_who_has_seen_enough_is_no_error(used: Path) -> None:
    done = subprocess.run(
        f'{sys.executable} -c "from licet.cli import main; main()" audit export | head -c 10; echo " ${{PIPESTATUS[0]}}"',
        shell=True,
        executable="/bin/bash",
        cwd=used,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.startswith('{"licet_ex ')
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv", "tiles"])
def test_an_export_while_calls_go_on_is_one_moment(licet: Licet, used: Path, form: str) -> None:
    shop = Shop(used)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            shop.ask(1)

    busy = threading.Thread(target=work)
    busy.start()
    try:
        for number in range(5):
            assert licet("audit", "export", "--format", form, "-o", f"out{number}").exit_code == Exit.OK
    finally:
        over.set()
        busy.join()
        shop.gate.close()
    option = "--tiles" if form == "tiles" else "--file"
    for number in range(5):
        result = licet("audit", "verify", option, f"out{number}")
        assert result.exit_code == Exit.OK, result.stdout
    sizes = [detail(record)["records"] for record in accesses(used, "operator")]
    assert sizes == sorted(set(sizes))


def test_tiles_are_gone_on_with_and_hold_every_log_and_the_head(licet: Licet, used: Path) -> None:
    assert licet("audit", "export", "--format", "tiles", "-o", "out").exit_code == Exit.OK
    before = (used / "out" / "head" / "checkpoint").read_bytes()
    shop = Shop(used)
    shop.ask(1)
    shop.gate.close()
    assert licet("audit", "export", "--format", "tiles", "-o", "out").exit_code == Exit.OK
    assert (used / "out" / "head" / "checkpoint").read_bytes() != before
    assert sorted(path.name for path in (used / "out" / "logs").iterdir()) == ["acme", "operator"]
    for path in (used / "out").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    found = licet("audit", "verify", "--tiles", "out")
    assert found.exit_code == Exit.OK
    assert "every tile is what was signed" in found.stdout


def test_tiles_of_one_tenant_have_no_head_log(licet: Licet, used: Path) -> None:
    assert licet("audit", "export", "--format", "tiles", "--tenant", "acme", "-o", "out").exit_code == Exit.OK
    assert sorted(path.name for path in (used / "out").iterdir()) == ["logs", "trust.json"]
    assert "operator" not in (used / "out" / "trust.json").read_text()
    result = licet("audit", "verify", "--tiles", "out")
    assert result.exit_code == Exit.OK
    assert "there is no head log: that this log does not go on is not shown" in result.stderr


def test_a_folder_of_somebody_else_is_left_alone(licet: Licet, used: Path) -> None:
    (used / "out").mkdir()
    (used / "out" / "mine").write_text("mine")
    result = licet("audit", "export", "--format", "tiles", "-o", "out")
    assert result.exit_code == Exit.ERROR
    assert "holds something else than an export of tiles" in result.stderr
    assert [path.name for path in (used / "out").iterdir()] == ["mine"]
