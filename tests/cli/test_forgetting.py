"""Forgetting and surviving, as whoever runs Licet does them: the command line on a ledger that was used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Licet, Shop, envelope

ERASE = ("audit", "erase", "--tenant", "acme", "--subject", "Customer/C-1", "--reason", "asked for by letter", "--yes")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("licet.db*") if path.is_file()}


def verified(licet: Licet) -> None:
    result = licet("audit", "verify", "--json")
    assert result.exit_code == 0, result.output


def lying(folder: Path, table: str) -> list[tuple[str, bytes]]:
    """Envelopes with their sealed payloads, or pseudonyms with their wrapped secrets, as they lie in the ledger."""
    text = {
        "payloads": "SELECT CAST(envelope AS TEXT), sealed FROM payloads JOIN records USING (place)",
        "secrets": "SELECT pseudonym, wrapped FROM secrets",
    }
    with closing(sqlite3.connect(folder / "licet.db")) as con:
        return con.execute(text[table]).fetchall()


def test_erasing_leaves_no_byte_and_the_log_verifies(used: Path, licet: Licet) -> None:
    payloads, secrets = lying(used, "payloads"), lying(used, "secrets")
    result = licet(*ERASE, "--json")
    assert result.exit_code == 0, result.output
    data = envelope(result)["data"]
    assert (data["rewritten"], data["bytes_gone"], data["index"]) == (True, True, None)
    assert (used / "licet.db-index").exists()
    assert data["erased"]["requests"] == [(used / "request").read_text()]
    pseudonym = data["erased"]["target"].rpartition("::")[2]
    gone = [sealed for envelope_, sealed in payloads if pseudonym in envelope_] + [
        wrapped for name, wrapped in secrets if name == pseudonym
    ]
    assert len(gone) == data["erased"]["payloads"] + 1
    for content in bytes_of(used).values():
        assert b"C-1" not in content
        assert [one for one in gone if one in content] == []
    verified(licet)
    assert licet(*ERASE).exit_code == 1, "there is nothing left to erase"


def test_without_yes_nobody_is_erased_where_nobody_can_be_asked(used: Path, licet: Licet) -> None:
    before = bytes_of(used)["licet.db"]
    result = licet(*ERASE[:-1])
    assert result.exit_code == 2
    assert bytes_of(used)["licet.db"] == before


def test_what_comes_afterwards_stands_under_a_new_pseudonym_and_is_readable(used: Path, licet: Licet) -> None:
    target = envelope(licet(*ERASE, "--json"))["data"]["erased"]["target"]
    shop = Shop(used)
    shop.call("crm.lookup", customer_id="C-1")
    shop.gate.close()
    assert "C-1" in licet("audit", "search", "--tool", "crm.lookup").stdout
    assert target not in licet("audit", "search", "--tool", "crm.lookup", "--limit", "1").stdout
    verified(licet)


def test_a_hold_refuses_and_says_which_and_a_release_lets_go(used: Path, licet: Licet) -> None:
    hold = envelope(licet("audit", "hold", "--tenant", "acme", "--subject", "Customer/C-1", "--reason", "case 7", "--json"))["data"]
    refused = licet(*ERASE)
    assert refused.exit_code == 6
    assert f"legal hold `{hold['id']}` protects `{hold['target']}` since" in refused.stderr
    assert hold["id"] in licet("audit", "holds").stdout
    assert licet("audit", "release", hold["id"], "--reason", "case closed").exit_code == 0
    assert licet(*ERASE).exit_code == 0
    verified(licet)


def test_pruning_drops_payloads_but_those_of_what_waits(used: Path, licet: Licet) -> None:
    count = envelope(licet("audit", "prune", "--older-than", "1s", "--dry-run", "--json"))["data"]["logs"]
    done = envelope(licet("audit", "prune", "--older-than", "1s", "--yes", "--json"))["data"]
    assert done["logs"] == count or len(done["logs"]) == len(count)
    verified(licet)
    shown = licet("approvals", "list")
    assert (used / "request").read_text()[:8] in shown.stdout
    everything = ("audit", "hold", "--tenant", "acme", "--everything", "--reason", "case 8")
    assert licet(*everything).exit_code == 0
    assert licet("audit", "prune", "--older-than", "1s", "--tenant", "acme", "--yes").exit_code == 6


def test_keys_are_changed_while_everything_stays_readable(used: Path, licet: Licet) -> None:
    key_file = used / "licet.key"
    old = key_file.read_text()
    line = envelope(licet("keys", "new", "--json"))["data"]["key"]
    key_file.write_text(f"{line}\n{old}")
    done = envelope(licet("keys", "rewrap", "--json"))["data"]
    assert done["secrets"] > 0
    key_file.write_text(f"{line}\n")
    verified(licet)
    shown = envelope(licet("keys", "show", "--json"))["data"]
    assert [use["key"] for use in shown["uses"] if use["secrets"]] == [done["key"]]
    assert line.split(":")[1] not in licet("keys", "show").stdout
    key_file.write_text(old)
    assert licet(*ERASE).exit_code == 1, "the old key opens nothing any more"


def test_a_new_signing_key_is_endorsed_by_the_old_one_and_proofs_from_before_verify(used: Path, licet: Licet) -> None:
    before = envelope(licet("keys", "show", "--json"))["data"]["vkeys"]
    assert licet("audit", "prove", "acme:0", "-o", "old.proof").exit_code == 0
    done = envelope(licet("keys", "rotate-signing", "--json"))["data"]
    assert envelope(licet("keys", "show", "--json"))["data"]["vkeys"] == [*before, done["to"]]
    assert licet("audit", "prove", "acme:0", "-o", "new.proof").exit_code == 0
    for proof in ("old.proof", "new.proof"):
        assert licet("audit", "verify", "--proof", proof, "--key", before[0]).exit_code == 0
    verified(licet)


def test_a_backup_brings_nobody_back(used: Path, licet: Licet) -> None:
    assert licet("db", "backup", "copy.db").exit_code == 0
    assert (used / "copy.db").stat().st_mode & 0o777 == 0o600
    assert licet("db", "backup", "copy.db").exit_code == 1, "nothing is written over"
    target = envelope(licet(*ERASE, "--json"))["data"]["erased"]["target"]
    result = licet("db", "restore", "copy.db", "--yes", "--json")
    assert result.exit_code == 0, result.output
    kept = Path(envelope(result)["data"]["kept"])
    assert kept.exists()
    with closing(sqlite3.connect(used / "licet.db")) as con:
        assert con.execute("SELECT count(*) FROM secrets WHERE pseudonym = ?", (target.rpartition("::")[2],)).fetchone() == (0,)
    assert b"C-1" not in (used / "licet.db").read_bytes()
    verified(licet)


@pytest.fixture
def anchored(project: Path) -> Path:
    """The project with an anchor."""
    config = project / "licet.toml"
    config.write_text(config.read_text() + '\n[witness]\nanchor = "anchor"\n')
    return project


def test_a_copy_behind_its_anchor_is_refused_unless_the_loss_is_accepted(anchored: Path, used: Path, licet: Licet) -> None:
    assert licet("db", "backup", "copy.db").exit_code == 0
    shop = Shop(used)
    shop.call("crm.lookup", customer_id="C-1")
    shop.gate.close()
    before = (used / "licet.db").read_bytes()
    refused = licet("db", "restore", "copy.db", "--yes")
    assert refused.exit_code == 8
    assert "--accept-loss" in refused.stderr
    assert (used / "licet.db").read_bytes() == before
    done = licet("db", "restore", "copy.db", "--accept-loss", "--reason", "the disk died", "--yes", "--json")
    assert done.exit_code == 0, done.output
    data = envelope(done)["data"]
    assert data["anew"]["origin"] != data["anew"]["former_origin"]
    verified(licet)
    shop = Shop(used)
    shop.call("crm.lookup", customer_id="C-1")
    shop.gate.close()
    verified(licet)
