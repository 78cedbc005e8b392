"""Whoever reads the log is in it, before anything is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet import config
from licet.cli.access import record_access, recording
from licet.cli.approvals_vote import operating_user
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.gate.opening import open_reading
from licet.store.contract import StoredRecord
from tests.cli.conftest import Licet, envelope, run_licet


def accesses(project: Path, log: str) -> list[StoredRecord]:
    """Every access record of a log, oldest first."""
    store = open_reading(config.load(project / "licet.toml"), lambda: datetime.now(UTC))
    try:
        return [record for record in store.records(log) if record.kind == "access"]
    finally:
        store.close()


def detail(record: StoredRecord) -> dict[str, Any]:
    assert record.payload is not None
    found: dict[str, Any] = msgspec.json.decode(record.payload)["detail"]
    return found


def note(project: Path, tenant: str | None = None, **options: object) -> None:
    settings = config.load(project / "licet.toml")
    with recording(settings) as ledger:
        record_access(ledger, settings, "audit search", options, tenant=tenant, shown=3)


def test_showing_a_call_is_recorded_in_its_tenants_log(licet: Licet, used: Path) -> None:
    assert licet("audit", "show", "acme:3").exit_code == Exit.OK
    (record,) = accesses(used, "acme")
    assert detail(record) == {
        "verb": "audit show",
        "filter": {"tenant": "acme", "reference": "acme:3"},
        "records": 2,
        "payloads": True,
        "operating_user": operating_user(),
    }
    assert accesses(used, "operator") == []


def test_a_search_over_everything_is_recorded_for_the_operator(used: Path) -> None:
    note(used, text="double charge", kinds=("call",), follow=False, since=None)
    (record,) = accesses(used, "operator")
    assert detail(record)["filter"] == {"text": "double charge", "kinds": ["call"]}


@pytest.mark.parametrize("typed", ['Customer::"C-1"', "Customer/C-1", "C-1"])
def test_who_was_asked_for_seals_the_record_and_stands_in_no_envelope(used: Path, typed: str) -> None:
    note(used, "acme", target=typed, user="alice")
    (record,) = accesses(used, "acme")
    sealed_by = msgspec.json.decode(record.envelope)["payload"]["subjects"]
    assert len(sealed_by) == 2
    assert b"C-1" not in record.envelope
    assert b"alice" not in record.envelope
    assert detail(record)["filter"] == {"tenant": "acme", "target": typed, "user": "alice"}
    names = msgspec.json.decode(record.payload or b"")["names"]
    assert sorted(names.values()) == ['Customer::"C-1"', 'User::"alice"']


def test_who_is_asked_for_without_a_tenant_is_found_in_each(used: Path) -> None:
    note(used, target='Customer::"C-1"')
    (record,) = accesses(used, "operator")
    assert len(msgspec.json.decode(record.envelope)["payload"]["subjects"]) == 1


def test_a_name_that_nobody_knows_is_recorded_as_a_blind(used: Path) -> None:
    note(used, "acme", user="mallory@example.com", target="Customer/C-999")
    note(used, "acme", user="mallory@example.com")
    first, second = accesses(used, "acme")
    assert "subjects" not in msgspec.json.decode(first.envelope)["payload"]
    assert b"mallory" not in (first.payload or b"")
    assert b"C-999" not in (first.payload or b"")
    blind = detail(first)["filter"]["user"]
    assert len(blind["unknown"]) == 32
    assert detail(second)["filter"]["user"] == blind


def test_an_agent_that_is_asked_for_is_nobody_to_be_forgotten(used: Path) -> None:
    note(used, actor="support-bot")
    assert detail(accesses(used, "operator")[0])["filter"] == {"actor": "support-bot"}


def test_erasing_who_was_asked_for_erases_that_somebody_asked(licet: Licet, used: Path) -> None:
    note(used, "acme", target="Customer/C-1")
    note(used, target="Customer/C-1")
    note(used, "acme", user="alice")
    erased = licet("audit", "erase", "--tenant", "acme", "--subject", "Customer/C-1", "--reason", "asked for", "--yes")
    assert erased.exit_code == Exit.OK, erased.stderr
    assert [record.closed for record in accesses(used, "acme")] == ["erased", ""]
    assert [record.closed for record in accesses(used, "operator")] == ["erased"]
    assert licet("audit", "verify").exit_code == Exit.OK


def test_who_voted_seals_the_record_too(used: Path) -> None:
    note(used, "acme", voter="alice", tenant_name="")
    assert len(msgspec.json.decode(accesses(used, "acme")[0].envelope)["payload"]["subjects"]) == 1


def test_an_unknown_tenant_makes_no_log(used: Path) -> None:
    note(used, "acmee")
    assert detail(accesses(used, "operator")[0])["filter"] == {"tenant": "acmee"}


def test_nothing_is_shown_without_the_key(licet: Licet, used: Path) -> None:
    (used / "licet.key").rename(used / "elsewhere")
    result = licet("audit", "show", "acme:3")
    assert (result.exit_code, result.stdout) == (Exit.ERROR, "")
    assert "reading the log is recorded in it, and that cannot be done now, so nothing is shown" in result.stderr
    assert "next: give it its key and a place that can be written" in result.stderr
    assert envelope(licet("audit", "show", "acme:3", "--json"))["error"]["code"] == "not_recorded"


def test_nothing_is_shown_when_the_record_cannot_be_written(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load(used / "licet.toml")
    with recording(settings) as ledger:
        ledger.writer.barrier = lambda: "the log is not witnessed"
        with pytest.raises(Refusal, match="so nothing is shown: the log is not witnessed"):
            record_access(ledger, settings, "audit search", {}, tenant=None, shown=1)
    assert accesses(used, "operator") == []


def test_the_record_is_there_although_the_reader_stops_reading(used: Path) -> None:
    done = run_licet(used, "audit", "show", "acme:3", "--json")
    assert done.returncode == Exit.OK
    assert len(accesses(used, "acme")) == 1
