from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from licet.cli import doctor_index
from tests.cli.conftest import CONFIG, Licet, Shop, envelope


def found(licet: Licet) -> list[dict[str, Any]]:
    findings = envelope(licet("doctor", "--json"))["data"]["findings"]
    return [finding for finding in findings if finding["about"] == "search index"]


def test_an_index_that_has_every_record_but_of_its_own_search_is_well(licet: Licet, used: Path) -> None:
    assert licet("audit", "search").exit_code == 0
    licet("audit", "search")  # takes in that somebody searched, and records that somebody did again
    (finding,) = found(licet)
    assert (finding["level"], finding["message"]) == ("ok", "1 record behind the ledger; it holds the words of payloads in clear")


def test_one_without_words_is_not_said_to_hold_them(licet: Licet, used: Path) -> None:
    (used / "licet.toml").write_text(CONFIG + "[search]\ntext = false\n")
    licet("audit", "search")
    (finding,) = found(licet)
    assert (finding["level"], finding["message"]) == ("ok", "1 record behind the ledger")


def test_one_that_is_far_behind_is_told_with_the_reason(licet: Licet, used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (used / "licet.toml").write_text(CONFIG + "[search]\nindex = false\n")
    licet("audit", "search")
    shop = Shop(used)
    shop.ask(1)
    shop.gate.close()
    monkeypatch.setattr(doctor_index, "FAR_BEHIND", 1)
    (finding,) = found(licet)
    assert finding["level"] == "warn"
    assert "behind the ledger: the next search waits for them" in finding["message"]
    assert "`index = false`" in finding["next"]


def test_none_at_all_is_well_and_stays_none(licet: Licet, used: Path) -> None:
    for file in used.glob("licet.db-index*"):
        file.unlink()
    (finding,) = found(licet)
    assert (finding["level"], finding["message"]) == ("ok", "there is none; the first search makes it")
    assert not list(used.glob("licet.db-index*"))


def test_one_that_is_of_no_use_is_a_warning(licet: Licet, used: Path) -> None:
    for file in used.glob("licet.db-index*"):
        file.unlink()
    (used / "licet.db-index").write_bytes(b"something else" * 1_000)
    (finding,) = found(licet)
    assert finding["level"] == "warn"
    assert "the next search makes it anew" in finding["next"]


def test_without_a_ledger_nothing_is_said_of_an_index(licet: Licet, project: Path) -> None:
    assert found(licet) == []
