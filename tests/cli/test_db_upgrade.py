"""`licet db upgrade`: a ledger of an earlier version, told, looked at and brought up."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet.cli.exits import Exit
from licet.ledger.keys import PREFIX
from licet.store.migrations.numbered import shipped
from licet.store.sqlite import SqliteStore
from tests.cli.conftest import Licet, Shop, envelope
from tests.store.earlier import put_ledger_v3
from tests.store.samples import KEYS, now

TITLES = [migration.title for migration in shipped("sqlite") if migration.number > 3]


@pytest.fixture
def earlier(project: Path) -> Path:
    """The project with a ledger of version 3, and its key."""
    put_ledger_v3(project / "licet.db")
    key = project / "licet.key"
    key.touch(mode=0o600)
    key.write_text(PREFIX + base64.b64encode(bytes(range(32))).decode() + "\n")
    return project


def said_of_admin(path: Path) -> list[Any]:
    store = SqliteStore.open(path, now=now, keys=KEYS, create=False, read_only=True)
    found = [msgspec.json.decode(record.payload or b"{}") for record in store.records("operator") if record.kind == "admin"]
    store.close()
    return [{name: said for name, said in payload["detail"].items() if name != "by"} for payload in found]


def test_who_would_write_is_told_what_to_do(earlier: Path, licet: Licet) -> None:
    before = (earlier / "licet.db").read_bytes()
    told = licet("freeze", "tool", "crm.lookup", "--reason", "why", "--json")
    error = envelope(told)["error"]
    assert (told.exit_code, error["code"]) == (Exit.ERROR, "store_outdated")
    assert "it has not seen `0004_remote_calls`" in error["message"]
    assert "`licet db upgrade`" in error["next"]
    assert (earlier / "licet.db").read_bytes() == before


def test_what_would_be_done_is_said_and_not_done(earlier: Path, licet: Licet) -> None:
    before = (earlier / "licet.db").read_bytes()
    assert envelope(licet("db", "upgrade", "--check", "--json"))["data"] == {"missing": TITLES}
    assert (earlier / "licet.db").read_bytes() == before


def test_an_upgrade_keeps_what_was_there_is_recorded_and_verifies(earlier: Path, licet: Licet) -> None:
    before = (earlier / "licet.db").read_bytes()
    done = licet("db", "upgrade", "--json")
    data = envelope(done)["data"]
    assert data["migrations"] == TITLES
    kept = Path(data["kept"])
    assert kept.parent == earlier
    assert len(kept.read_bytes()) == len(before)
    assert licet("audit", "verify").exit_code == Exit.OK
    assert said_of_admin(earlier / "licet.db") == [{"act": "upgrade", "migrations": TITLES, "kept": kept.name}]
    shop = Shop(earlier)
    assert shop.call("crm.lookup", customer_id="C-1").value == 100
    shop.gate.close()
    assert licet("audit", "verify").exit_code == Exit.OK


def test_a_current_ledger_is_left_alone(used: Path, licet: Licet) -> None:
    assert "the ledger is of this version; nothing was done" in licet("db", "upgrade").stdout
    assert envelope(licet("db", "upgrade", "--check", "--json"))["data"] == {"missing": []}
    assert list(used.glob("*before-upgrade*")) == []


def test_nothing_is_upgraded_while_another_process_writes(used: Path, licet: Licet) -> None:
    shop = Shop(used)
    shop.gate.seal()
    refused = licet("db", "upgrade", "--json")
    assert envelope(refused)["error"]["code"] == "gate_closed"
    assert "another process has the ledger" in refused.stdout
    shop.gate.close()


def test_a_backup_of_an_earlier_version_is_restored_as_this_one(used: Path, licet: Licet, tmp_path: Path) -> None:
    key = used / "licet.key"
    key.write_text(PREFIX + base64.b64encode(bytes(range(32))).decode() + "\n")
    put_ledger_v3(tmp_path / "old.db")
    before = (tmp_path / "old.db").read_bytes()
    done = licet("db", "restore", str(tmp_path / "old.db"), "--yes", "--json")
    assert done.exit_code == Exit.OK, done.output
    assert (tmp_path / "old.db").read_bytes() == before
    assert envelope(licet("db", "upgrade", "--check", "--json"))["data"] == {"missing": []}
    assert licet("audit", "verify").exit_code == Exit.OK
