"""Verifying from outside: stores, bundles and tiles, held against what somebody kept."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import Licet, Shop, envelope
from tests.cli.test_audit_prove import key_of


def tampered(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "licet.db") as con:
        con.execute(statement)
    con.close()


def more(folder: Path) -> None:
    """Something more happens in the project."""
    shop = Shop(folder)
    shop.ask(5)
    shop.gate.close()


def anew(folder: Path) -> None:
    """The ledger is gone, and another one of the same name and calls is in its place, with keys of its own."""
    for path in folder.glob("licet.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "licet.key").unlink()
    more(folder)
    more(folder)


def saved(folder: Path) -> Path:
    """A copy of the whole ledger, as somebody might put it back."""
    copy = folder.parent / "copy"
    copy.mkdir()
    for path in folder.glob("licet.db*"):
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, copy / path.name)
    return copy


def put_back(copy: Path, folder: Path) -> None:
    for path in folder.glob("licet.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in copy.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, folder / path.name)


def broken(licet: Licet, *arguments: str) -> str:
    """What is printed; it must end with 8."""
    result = licet("audit", "verify", *arguments)
    assert result.exit_code == Exit.INTEGRITY_BROKEN, result.stdout
    assert result.stdout.startswith("✗ broken   ")
    return str(result.stdout)


def whole(licet: Licet, *arguments: str) -> str:
    result = licet("audit", "verify", *arguments)
    assert result.exit_code == Exit.OK, result.stdout + result.stderr
    return str(result.stdout)


def test_with_the_ledgers_own_key_nothing_is_only_believed(licet: Licet, used: Path) -> None:
    result = licet("audit", "verify", "--key", key_of(licet))
    assert (result.exit_code, result.stderr) == (Exit.OK, "")
    assert result.stdout.count("all signed, root") == 2


@pytest.mark.parametrize("arguments", [(), ("--file", "bundle"), ("--tiles", "tiles"), ("--proof", "proof")], ids=str)
def test_the_key_of_another_ledger_speaks_for_nothing_here(licet: Licet, used: Path, arguments: tuple[str, ...]) -> None:
    for form in (("export", "-o", "bundle"), ("export", "--format", "tiles", "-o", "tiles"), ("prove", "acme:0", "-o", "proof")):
        assert licet("audit", *form).exit_code == Exit.OK
    mine = key_of(licet)
    anew(used)
    theirs = key_of(licet)
    if arguments:
        assert licet("audit", "verify", *arguments, "--key", theirs).exit_code == Exit.INTEGRITY_BROKEN
        whole(licet, *arguments, "--key", mine)
    else:
        assert "its keys do not follow from the one that was given" in broken(licet, "--key", mine)
        whole(licet, "--key", theirs)


def test_a_bundle_of_another_ledger_under_the_right_name_is_found_by_key_receipt_and_checkpoint(licet: Licet, used: Path) -> None:
    key = key_of(licet)
    licet("audit", "receipt", "acme:0", "-o", "receipt")
    licet("audit", "checkpoint", "-o", "kept")
    anew(used)
    assert licet("audit", "export", "-o", "bundle").exit_code == Exit.OK
    whole(licet, "--file", "bundle")
    assert "its keys do not follow from the one that was given" in broken(licet, "--file", "bundle", "--key", key)
    assert "the record is not the one that its receipt names" in broken(licet, "--file", "bundle", "--receipts", "receipt")
    assert "`kept` holds no checkpoint of this ledger" in broken(licet, "--file", "bundle", "--checkpoint", "kept")


def test_a_store_that_was_put_back_is_found_by_checkpoint_and_anchor(licet: Licet, used: Path) -> None:
    config = (used / "licet.toml").read_text()
    (used / "licet.toml").write_text(config.replace("[tenants.acme]", '[witness]\nanchor = "anchor"\n\n[tenants.acme]', 1))
    assert "holds nothing yet" in licet("audit", "verify").stderr
    copy = saved(used)
    more(used)
    licet("audit", "checkpoint", "-o", "kept")
    whole(licet, "--checkpoint", "kept")
    put_back(copy, used)
    found = broken(licet, "--checkpoint", "kept")
    assert "`kept` knows more of the head log than there is: records are missing" in found
    assert f"anchor `{used / 'anchor'}` knows more of the head log than there is" in found
    assert "knows more" in broken(licet)
    (used / "anchor").unlink()
    whole(licet)


def test_what_an_anchor_holds_is_no_checkpoint_of_a_ledger_that_was_written_anew(licet: Licet, used: Path) -> None:
    config = (used / "licet.toml").read_text()
    (used / "licet.toml").write_text(config.replace("[tenants.acme]", '[witness]\nanchor = "anchor"\n\n[tenants.acme]', 1))
    more(used)
    anchored = (used / "anchor").read_bytes()
    (used / "anchor").unlink()
    anew(used)
    (used / "anchor").write_bytes(anchored)
    assert "holds no checkpoint of this ledger" in broken(licet)


def test_a_checkpoint_with_another_root_says_that_history_was_changed(licet: Licet, used: Path) -> None:
    key = key_of(licet)
    copy = saved(used)
    more(used)
    licet("audit", "checkpoint", "-o", "kept")
    put_back(copy, used)
    more(used)
    more(used)
    assert "history was changed: `kept` knows another head log of size " in broken(licet, "--checkpoint", "kept", "--key", key)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE records SET envelope = CAST(replace(envelope, 'bot', 'bit') AS BLOB) WHERE kind = 'intent'", "record 2, envelope: "),
        ("UPDATE heads SET entry = CAST(replace(entry, '\"v\":1', '\"v\":2') AS BLOB)", "head: entry 0 of the head log"),
        ("DELETE FROM checkpoints", "no checkpoint that fits is signed by this key or a successor"),
        ("UPDATE checkpoints SET note = CAST(replace(note, 'licet', 'lycet') AS BLOB)", "checkpoint: checkpoint 2"),
        ("UPDATE signing_keys SET vkey = 'nobody'", "signing_keys: the keys that sign do not follow from one another"),
    ],
)
def test_what_was_changed_is_told_with_its_place(licet: Licet, used: Path, statement: str, message: str) -> None:
    key = key_of(licet)
    tampered(used, statement)
    assert message in broken(licet, "--key", key)


def test_records_that_no_checkpoint_covers_are_told_as_unsigned(licet: Licet, used: Path) -> None:
    tampered(used, "DELETE FROM checkpoints")
    assert whole(licet).count("none signed, root") == 2


def test_payloads_that_are_locked_or_erased_are_counted(licet: Licet, used: Path) -> None:
    (used / "licet.key").rename(used / "elsewhere")
    assert "payloads   14 locked: no key at hand, so what they hold was not checked" in whole(licet)


@pytest.mark.parametrize("at", [0.0, 0.2, 0.4, 0.6, 0.8, 0.999])
def test_a_folder_of_tiles_with_one_byte_changed_is_found_whichever_it_is(licet: Licet, used: Path, at: float) -> None:
    licet("audit", "export", "--format", "tiles", "-o", "tiles")
    key = key_of(licet)
    for path in sorted((used / "tiles").rglob("*")):
        if path.is_dir() or path.name == "trust.json":
            continue
        content = path.read_bytes()
        place = int(len(content) * at)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found = broken(licet, "--tiles", "tiles", "--key", key)
        assert str(path.relative_to(used / "tiles").parts[0]) in found
        path.write_bytes(content)
    whole(licet, "--tiles", "tiles", "--key", key)


def test_tiles_that_are_missing_added_or_set_back_are_found(licet: Licet, used: Path) -> None:
    licet("audit", "export", "--format", "tiles", "-o", "tiles")
    shutil.copytree(used / "tiles" / "logs" / "acme", used / "older")
    more(used)
    licet("audit", "export", "--format", "tiles", "-o", "tiles")
    key = key_of(licet)
    shutil.copytree(used / "tiles", used / "sound")
    acme = used / "tiles" / "logs" / "acme"
    shutil.rmtree(acme)
    shutil.copytree(used / "older", acme)
    assert "log `acme`, logs/acme: records were cut off: the head log knows more" in broken(licet, "--tiles", "tiles", "--key", key)
    shutil.rmtree(acme)
    broken(licet, "--tiles", "tiles", "--key", key)
    shutil.copytree(used / "sound" / "logs" / "acme", acme)
    (used / "tiles" / "logs" / "more").mkdir()
    assert "logs/more: it is no part of the export" in broken(licet, "--tiles", "tiles")
    (used / "tiles" / "logs" / "more").rmdir()
    trust = json.loads((used / "tiles" / "trust.json").read_text())
    (used / "tiles" / "trust.json").write_text(json.dumps({**trust, "logs": trust["logs"][1:]}))
    assert "log `acme`, logs/acme: it is missing: the head log knows this log" in broken(licet, "--tiles", "tiles")
    (used / "tiles" / "trust.json").write_text(json.dumps({**trust, "head": None}))
    assert "head: it is missing: only an export of one log has none" in broken(licet, "--tiles", "tiles")


def test_a_trust_file_that_cannot_be_read_is_broken_integrity(licet: Licet, used: Path) -> None:
    licet("audit", "export", "--format", "tiles", "-o", "tiles")
    for content in ("", "{}", "[]", '{"licet_trust":2}'):
        (used / "tiles" / "trust.json").write_text(content)
        result = licet("audit", "verify", "--tiles", "tiles")
        assert result.exit_code == Exit.INTEGRITY_BROKEN
        assert "`tiles/trust.json` is missing or cannot be read" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--file", "bundle", "--proof", "bundle"),
        ("--tiles", ".", "--checkpoint", "bundle"),
        ("--proof", "bundle", "--checkpoint", "bundle"),
        ("--key", "nonsense"),
        ("--file", "rows", "--key", "x+0+0"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_a_usage_error(licet: Licet, used: Path, arguments: tuple[str, ...]) -> None:
    licet("audit", "export", "-o", "bundle")
    licet("audit", "export", "--format", "csv", "-o", "rows")
    result = licet("audit", "verify", *arguments)
    assert result.exit_code == Exit.USAGE
    assert "next: " in result.stderr


def test_rows_for_other_tools_are_held_against_nothing(licet: Licet, used: Path) -> None:
    licet("audit", "export", "--format", "csv", "-o", "rows")
    result = licet("audit", "verify", "--file", "rows", "--key", key_of(licet))
    assert result.exit_code == Exit.USAGE
    assert "an export as csv carries nothing that is signed" in result.stderr


def test_a_file_that_is_nothing_of_ours_is_told(licet: Licet, used: Path) -> None:
    (used / "out").write_text("what is this\n")
    result = licet("audit", "verify", "--file", "out")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert "`out` begins as nothing that Licet exports" in result.stderr


def test_verifying_writes_nothing_and_is_not_recorded(licet: Licet, used: Path) -> None:
    before = (used / "licet.db").read_bytes()
    licet("audit", "verify", "--key", key_of(licet))
    assert (used / "licet.db").read_bytes() == before
    assert not [path for path in used.glob("licet.db-wal") if path.stat().st_size]


def test_json_says_what_was_held_against_it(licet: Licet, used: Path) -> None:
    key = key_of(licet)
    found = envelope(licet("audit", "verify", "--key", key, "--json"))["data"]
    assert (found["key"], found["notes"], found["problem_count"]) == (key, [], 0)
    assert {log["log"]: log["signed"] for log in found["logs"]} == {log["log"]: log["size"] for log in found["logs"]}


@pytest.mark.parametrize("what", ["bundle", "proof", "tiles"])
def test_an_auditor_verifies_alone(licet: Licet, used: Path, tmp_path: Path, what: str) -> None:
    key = key_of(licet)
    asked = {"bundle": ("export",), "proof": ("prove", "acme:0"), "tiles": ("export", "--format", "tiles")}[what]
    assert licet("audit", *asked, "-o", str(tmp_path / what)).exit_code == Exit.OK
    shutil.rmtree(used)
    tmp_path.joinpath("auditor").mkdir()

    def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-W", "error", "-m", "licet.ledger.verify", str(tmp_path / what), *arguments]
        return subprocess.run(program, cwd=tmp_path / "auditor", capture_output=True, text=True, check=False, timeout=60)

    sound = alone("--key", key)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert sound.stdout.startswith("intact\n")
    unkeyed = alone()
    assert unkeyed.returncode == (2 if what == "proof" else 0)
    changed = (tmp_path / what) if what != "tiles" else tmp_path / what / "logs" / "acme" / "checkpoint"
    content = changed.read_bytes()
    changed.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    assert alone("--key", key).returncode == 8
