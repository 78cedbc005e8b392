"""Proofs, receipts and checkpoints from outside, and what is done to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import Licet, Shop, envelope
from tests.cli.test_access import accesses, detail


def key_of(licet: Licet) -> str:
    """The key of this project's ledger, as verify prints it."""
    found: str = envelope(licet("audit", "verify", "--json"))["data"]["head"]["keys"][0]
    return found


def proved(licet: Licet, *arguments: str) -> dict[str, Any]:
    result = licet("audit", "prove", *arguments)
    assert result.exit_code == Exit.OK, result.stderr
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def rewritten(path: Path, **changes: object) -> None:
    """The proof with other values, in the one form that proofs have."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, separators=(",", ":"), ensure_ascii=False) + "\n")


def test_a_proof_stands_alone_with_one_key(licet: Licet, used: Path) -> None:
    key = key_of(licet)
    assert licet("audit", "prove", "acme:2", "-o", "proof").exit_code == Exit.OK
    assert (used / "proof").stat().st_mode & 0o777 == 0o600
    (used / "licet.db").rename(used / "elsewhere.db")
    result = licet("audit", "verify", "--proof", "proof", "--key", key)
    assert (result.exit_code, result.stderr) == (Exit.OK, "")
    assert result.stdout.startswith(
        "✓ intact   1 proof: each leads to a checkpoint that the key has signed\n\n  acme:2     a record of kind `"
    )


def test_a_record_is_named_by_place_by_its_id_and_by_its_call(licet: Licet, used: Path) -> None:
    by_place = proved(licet, "acme:2")
    record = json.loads(by_place["envelope"])
    assert proved(licet, record["id"])["leaf"] == by_place["leaf"]
    lines = [json.loads(line) for line in licet("audit", "prove", record["call"]).stdout.splitlines()]
    assert [(line["log"], line["index"]) for line in lines] == [("acme", 2), ("acme", 3)]
    assert envelope(licet("audit", "prove", "acme:2", "--json"))["data"]["proofs"][0]["leaf"] == by_place["leaf"]


def test_a_proof_carries_the_payload_only_where_that_is_asked_for(licet: Licet, used: Path) -> None:
    assert "payload" not in proved(licet, "acme:2")
    assert json.loads(proved(licet, "acme:2", "--with-payload")["payload"])["reason"] == "double charge"
    assert [detail(record)["payloads"] for record in accesses(used, "acme")] == [False, True]


def test_who_proves_is_recorded_first(licet: Licet, used: Path) -> None:
    proved(licet, "acme:2")
    said = detail(accesses(used, "acme")[0])
    assert (said["verb"], said["records"], said["filter"]["reference"]) == ("audit prove", 1, "acme:2")
    (used / "licet.key").rename(used / "elsewhere")
    refused = licet("audit", "prove", "acme:2")
    assert (refused.exit_code, refused.stdout) == (Exit.ERROR, "")


def test_what_was_recorded_a_moment_ago_is_covered(licet: Licet, used: Path) -> None:
    shop = Shop(used)
    try:
        call = shop.ask(5).call
        assert len(licet("audit", "prove", call).stdout.splitlines()) == 2
    finally:
        shop.gate.close()


@pytest.mark.parametrize("reference", ["acme:99", "nobody:0", "01a203b1-3d9c-74b0-87a2-9141dff516f1", "what"])
def test_what_is_not_there_is_not_proved(licet: Licet, used: Path, reference: str) -> None:
    result = licet("audit", "prove", reference)
    assert (result.exit_code, result.stdout) == (Exit.ERROR, "")
    assert "error: there is no" in result.stderr
    assert accesses(used, "operator") == []


def test_a_proof_of_another_record_is_found_by_the_receipt(licet: Licet, used: Path) -> None:
    licet("audit", "prove", "acme:2", "-o", "proof")
    licet("audit", "receipt", "acme:3", "-o", "receipt")
    result = licet("audit", "verify", "--proof", "proof", "--receipts", "receipt")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert "log `acme`, record 3, receipt: no proof shows the record of this receipt" in result.stdout
    licet("audit", "receipt", "acme:2", "-o", "right")
    assert licet("audit", "verify", "--proof", "proof", "--receipts", "right").exit_code == Exit.OK


def test_a_receipt_that_was_forged_is_found_by_proof_store_and_bundle(licet: Licet, used: Path) -> None:
    licet("audit", "prove", "acme:2", "-o", "proof")
    licet("audit", "export", "-o", "bundle")
    receipt = json.loads(licet("audit", "receipt", "acme:2").stdout)
    true = json.dumps(receipt)
    (used / "kept").write_text(true + "\n\n" + json.dumps({**receipt, "leaf": "0" * 64}) + "\n")
    for arguments in ((), ("--file", "bundle"), ("--proof", "proof")):
        result = licet("audit", "verify", *arguments, "--receipts", "kept")
        assert result.exit_code == Exit.INTEGRITY_BROKEN, arguments
    (used / "kept").write_text(true)
    for arguments in ((), ("--file", "bundle"), ("--proof", "proof")):
        assert licet("audit", "verify", *arguments, "--receipts", "kept").exit_code == Exit.OK, arguments


@pytest.mark.parametrize(
    ("receipt", "message"),
    [
        ({"index": 99}, "log `acme`, record 99, receipt: a receipt names a record that is not there"),
        ({"log": "globex"}, "log `globex`, record 2, receipt: a receipt names a log that is not there"),
        ({"leaf": "1" * 64}, "log `acme`, record 2, receipt: the record is not the one that its receipt names"),
    ],
)
def test_a_receipt_says_what_is_missing(licet: Licet, used: Path, receipt: dict[str, Any], message: str) -> None:
    (used / "kept").write_text(json.dumps({**json.loads(licet("audit", "receipt", "acme:2").stdout), **receipt}))
    result = licet("audit", "verify", "--receipts", "kept")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert message in result.stdout


def test_what_is_no_receipt_is_a_usage_error_that_names_the_line(licet: Licet, used: Path) -> None:
    (used / "kept").write_text(licet("audit", "receipt", "acme:2").stdout + "nonsense\n")
    result = licet("audit", "verify", "--receipts", "kept")
    assert result.exit_code == Exit.USAGE
    assert "`kept`, line 2: not a receipt" in result.stderr


@pytest.mark.parametrize(
    ("changes", "check"),
    [({"index": 1}, "check 5"), ({"log": "operator"}, "check 4"), ({"leaf": "0" * 64}, "check 5"), ({"head_size": 1}, "check 2")],
)
def test_a_proof_that_was_changed_is_told_by_the_check_that_fails(licet: Licet, used: Path, changes: dict[str, Any], check: str) -> None:
    licet("audit", "prove", "acme:2", "-o", "proof")
    rewritten(used / "proof", **changes)
    result = licet("audit", "verify", "--proof", "proof")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert f"ledger, line 1: {check}: " in result.stdout


def test_an_empty_file_proves_nothing(licet: Licet, used: Path) -> None:
    (used / "proof").touch()
    result = licet("audit", "verify", "--proof", "proof")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert "the file holds no proof" in result.stdout


def test_the_newest_checkpoint_is_a_note_that_can_be_kept(licet: Licet, used: Path) -> None:
    note = licet("audit", "checkpoint").stdout
    origin, size, _, blank, signature, _ = note.split("\n")
    assert blank == ""
    assert signature.startswith(f"— {origin} ")
    said = envelope(licet("audit", "checkpoint", "--json"))["data"]
    assert (said["origin"], said["size"], said["note"], said["proof"]) == (origin, int(size), note, None)
    assert accesses(used, "operator") == []


def test_a_kept_checkpoint_is_proved_to_be_the_beginning_of_the_newest(licet: Licet, used: Path) -> None:
    key = key_of(licet)
    licet("audit", "checkpoint", "-o", "kept")
    shop = Shop(used)
    shop.ask(5)
    shop.gate.close()
    assert licet("audit", "checkpoint", "--prove-from", "kept", "-o", "proof").exit_code == Exit.OK
    result = licet("audit", "verify", "--proof", "proof", "--key", key)
    assert result.exit_code == Exit.OK
    assert "goes on from what it was at size " in result.stdout
    assert licet("audit", "verify", "--checkpoint", "kept").exit_code == Exit.OK


def test_a_checkpoint_of_nothing_is_told(licet: Licet, used: Path) -> None:
    (used / "kept").write_text("what\n")
    result = licet("audit", "checkpoint", "--prove-from", "kept")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert result.stdout == ""


def test_nothing_that_is_handed_out_overwrites_a_file(licet: Licet, used: Path) -> None:
    (used / "taken").write_text("mine")
    for arguments in (("prove", "acme:2"), ("receipt", "acme:2"), ("checkpoint",)):
        assert licet("audit", *arguments, "-o", "taken").exit_code == Exit.ERROR
    assert (used / "taken").read_text() == "mine"
    assert accesses(used, "acme") == []
