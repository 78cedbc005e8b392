"""The README's guarantees about the ledger, one story each: through gate and command line, on files. The rooms' own tests go further."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from licet.cli import main
from licet.cli.exits import Exit
from licet.errors import IntegrityBroken
from licet.gate.results import Ok
from tests.world import CONFIG, world_on

WORDS = "double charge, ticket 4711-alpha"
ANCHORED = f'{CONFIG}[witness]\nanchor = "elsewhere/licet.anchor"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ledger lies; the command line finds it there."""
    (tmp_path / "licet.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def licet(*arguments: str, ends: Exit = Exit.OK) -> Result:
    """Run the command line, which must end like this."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == ends, done.output
    return done


def told(*arguments: str) -> Any:
    """The data that the command line prints as JSON."""
    return json.loads(licet("--json", *arguments).stdout)["data"]


def adjust(folder: Path, config: str = CONFIG) -> None:
    """A call of the support agent for alice, about the customer C-1."""
    with world_on(folder, config) as w, w.alice(reason=WORDS):
        assert isinstance(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500}), Ok)


def bytes_of_all_files(folder: Path) -> bytes:
    """Whatever lies under the ledger's name, and beside it."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("licet.db*")) if path.is_file())


def test_a_secret_never_reaches_the_ledger(folder: Path) -> None:
    password, token = "correct horse battery", "AKIAZ7QX4M2KPLRB5TWC"
    used: list[str] = []
    with world_on(folder) as w:

        @w.gate.tool("login.reset", access="write", touches={"access"}, secrets=["password"])
        def reset(password: str, note: str) -> str:
            used.append(password)
            return f"the password is {password} now"

        with w.alice(reason=f"with the key {token}"):
            result = w.gate.call("login.reset", {"password": password, "note": token})
        assert isinstance(result, Ok)
        payloads = [record.payload for log in ("acme", "operator") for record in w.gate.store.records(log)]
        redactions = {word for record in w.records() for word in record.envelope.redactions}
    assert (used, result.value) == ([password], f"the password is {password} now")
    stored = bytes_of_all_files(folder) + b"".join(payload or b"" for payload in payloads)
    assert b"the password is (secret text of 21 characters" in stored
    assert [secret for secret in (password, token) if secret.encode() in stored] == []
    assert "secret:arguments.password" in redactions


def test_without_the_key_records_give_away_no_name_and_no_argument(folder: Path) -> None:
    adjust(folder)
    with closing(sqlite3.connect(folder / "licet.db")) as con:
        rows = con.execute("SELECT envelope, sealed FROM records JOIN payloads USING (place)").fetchall()
    stored = b"".join(envelope + sealed for envelope, sealed in rows)
    assert b"support-bot" in stored
    assert [word for word in (b"alice", b'"C-1"', b"amount_cents", WORDS.encode()) if word in stored] == []
    (line, *_) = told("audit", "search", "--user", "alice", "--text", "4711-alpha")["records"]
    assert 'support-bot for alice was allowed `billing.adjust` on Customer::"C-1"' in line["sentence"]
    (folder / "licet.key").unlink()
    assert licet("audit", "search", ends=Exit.ERROR).stdout == ""
    licet("audit", "verify")


def test_a_customer_is_forgotten_in_every_file_and_every_proof_still_verifies(folder: Path) -> None:
    adjust(folder)
    licet("audit", "search")  # the index has it now
    assert b"4711" in bytes_of_all_files(folder)
    licet("audit", "prove", "acme:0", "-o", "proof")
    licet("audit", "receipt", "acme:0", "-o", "receipts")
    licet("audit", "checkpoint", "-o", "kept")
    licet("audit", "erase", "--tenant", "acme", "--subject", "Customer/C-1", "--reason", "request of 12 May", "--yes")
    assert not re.search(rb"(?<![0-9a-f])4711(?![0-9a-f])", bytes_of_all_files(folder)), "a word, and no piece of a digest"
    assert "C-1" not in licet("audit", "show", "acme:0").stdout
    licet("audit", "verify", "--receipts", "receipts", "--checkpoint", "kept")
    licet("audit", "verify", "--proof", "proof")


def test_a_ledger_that_was_set_back_does_not_open_against_its_anchor(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "licet.toml").write_text(ANCHORED)
    adjust(folder, ANCHORED)
    old = (folder / "licet.db").read_bytes()
    adjust(folder, ANCHORED)
    (folder / "licet.db").write_bytes(old)
    with world_on(folder, ANCHORED) as w:
        with pytest.raises(IntegrityBroken, match="records are missing"):
            w.adjust()
        assert w.ran == []
    licet("audit", "verify", ends=Exit.INTEGRITY_BROKEN)


def test_another_ledger_in_its_place_does_not_open_where_its_key_is_pinned(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    adjust(folder)
    (key,) = told("keys", "show")["vkeys"]
    pinned = f'{ANCHORED}log = "{key}"\n'
    (folder / "licet.toml").write_text(pinned)
    licet("keys", "rotate-signing")
    adjust(folder, pinned)
    for path in (*folder.glob("licet.db*"), *folder.glob("elsewhere/*")):
        if path.is_file():
            path.unlink()
    with world_on(folder, pinned) as w:
        with pytest.raises(IntegrityBroken, match=r"`log` under `\[witness\]` does not lead to"):
            w.adjust()
        assert w.ran == []


def test_who_reads_the_log_is_on_record_and_without_a_record_nothing_is_shown(folder: Path) -> None:
    adjust(folder)
    assert "billing.adjust" in licet("audit", "search", "--user", "alice").stdout
    (line,) = told("audit", "search", "--kind", "access")["records"]
    assert line["sentence"].endswith(" read 2 records, with `licet audit search --user alice`")
    (folder / "licet.key").chmod(0o644)  # a key that others can read is not used, so nothing can be written
    assert licet("audit", "search", ends=Exit.ERROR).stdout == ""


def test_one_record_is_proved_to_somebody_who_has_a_public_key_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adjust(folder)
    licet("audit", "prove", "acme:0", "-o", "proof", "--with-payload")
    (key,) = told("keys", "show")["vkeys"]
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    proof = (folder / "proof").read_text()
    (elsewhere / "proof").write_text(proof)
    licet("audit", "verify", "--proof", "proof", "--key", key)
    (elsewhere / "proof").write_text(proof.replace("2500", "9500"))
    licet("audit", "verify", "--proof", "proof", "--key", key, ends=Exit.INTEGRITY_BROKEN)
