"""The verbs that look at the ledger itself, where it is in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from licet.cli.exits import Exit
from licet.config import load
from licet.gate.opening import OpenLedger
from licet.ledger.seal import Filing
from tests.cli.conftest import Licet
from tests.store.samples import record


@pytest.fixture
def ledger(project: Path, postgres_url: str) -> Path:
    """licet.toml, whose ledger is in a database and has one record."""
    file = project / "licet.toml"
    file.write_text(f'store = "{postgres_url}"\n{file.read_text()}')
    with OpenLedger(load(file), lambda: datetime.now(UTC)) as opened:
        opened.writer.submit(Filing((record("gap"),))).wait()
    return project


def test_it_is_verified_and_searched_through_an_index_of_this_host(ledger: Path, licet: Licet) -> None:
    verified = licet("audit", "verify")
    assert verified.exit_code == Exit.OK
    assert "1 record in 1 log: as they were written" in verified.output
    assert "acme:0" in licet("audit", "search").output
    assert (ledger / "licet-index").exists()


def test_a_copy_is_the_servers_and_says_so(ledger: Path, licet: Licet) -> None:
    refused = licet("db", "backup", "copy.db")
    assert refused.exit_code == Exit.USAGE
    assert "its server copies it, with `pg_basebackup` and its write-ahead log, or `pg_dump`" in refused.output
    assert not (ledger / "copy.db").exists()


def test_a_server_that_does_not_flush_fails_the_doctor(ledger: Path, licet: Licet) -> None:
    told = licet("doctor").output
    assert "1 record in 1 log; the last 100 of each are as they were written" in told
    assert "PostgreSQL runs with `fsync = off`" in told, "as the one of the tests does"


def test_a_loss_is_accepted_where_nobody_has_it_open(ledger: Path, licet: Licet) -> None:
    with OpenLedger(load(ledger / "licet.toml"), lambda: datetime.now(UTC)):
        refused = licet("db", "restore", "--accept-loss", "--yes")
        assert refused.exit_code == Exit.ERROR
        assert "another process has the ledger" in refused.output
    done = licet("db", "restore", "--accept-loss", "--yes")
    assert done.exit_code == Exit.OK
    assert "the log begins anew" in done.output
    assert licet("audit", "verify").exit_code == Exit.OK
