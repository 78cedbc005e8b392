"""Verification by several processes: what others write meanwhile is no damage, and what belongs to no tree is found all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from licet.config import Settings, loads
from licet.gate.opening import OpenLedger, open_reading
from licet.gate.parallel import examining
from licet.ledger.report import Report
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from tests.store.samples import now, record
from tests.world import CONFIG


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return loads(CONFIG, file=tmp_path / "licet.toml")


@pytest.fixture
def ledger(settings: Settings) -> Iterator[OpenLedger]:
    with OpenLedger(settings, now) as ledger:
        write(ledger, 5)
        ledger.notary.turn()
        yield ledger


def write(ledger: OpenLedger, count: int) -> None:
    ledger.writer.submit(Filing(tuple([record("gap") for _ in range(count)]))).wait()


def verified(settings: Settings, ledger: OpenLedger, *, meanwhile: int) -> Report:
    """The report over a moment behind which others have written."""
    reader = open_reading(settings, now)
    try:
        with reader.source() as source:
            source.trees()  # the moment begins with the first look
            if meanwhile:
                write(ledger, meanwhile)
            with examining(settings, 5, workers=2) as chunks:
                return verify(source, chunks=chunks)
    finally:
        reader.close()


def test_what_others_write_while_it_is_verified_is_no_damage(settings: Settings, ledger: OpenLedger) -> None:
    report = verified(settings, ledger, meanwhile=7)
    assert report.ok, report.problems
    assert report.records == 5


def test_records_that_were_added_beside_the_tree_are_found(settings: Settings, ledger: OpenLedger) -> None:
    con = apsw.Connection(str(settings.store_path))
    con.execute("INSERT INTO records SELECT place + 1, kind, call, request, envelope, leaf FROM records ORDER BY place DESC LIMIT 1")
    con.close()
    report = verified(settings, ledger, meanwhile=0)
    assert "records were added beside the tree" in {problem.message for problem in report.problems}
