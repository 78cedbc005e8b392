from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from licet.cli.exits import Exit
from licet.gate.results import Denied
from tests.cli.conftest import ALICE, CUSTOMER, Licet, Shop, envelope, run_app

NEAREST = """\
  for        Agent::"support-bot" on Customer::"C-1"
             User::"alice" on Customer::"C-1"
  nearest    `billing-adjust` (policies/base.cedar:9), were it so that
             context.input.amount_cents <= 1000000
"""
TOO_MUCH = json.dumps({"customer_id": "C-1", "amount_cents": 2_000_000})


def test_a_denial_is_explained_by_the_nearest_permit(licet: Licet, used: Path) -> None:
    result = licet("why", "billing.adjust", TOO_MUCH, *ALICE, *CUSTOMER)
    assert result.exit_code == Exit.OK
    assert result.stdout.startswith('✗ deny     support-bot for alice may not use `billing.adjust` on Customer::"C-1"\n')
    assert NEAREST in result.stdout


def test_a_denial_by_a_forbid_shows_its_text_and_place(licet: Licet, used: Path) -> None:
    (used / "policies/night.cedar").write_text(
        '@id("no-lookups")\n@reason("it is late")\nforbid (principal, action == Action::"crm.lookup", resource);\n'
    )
    result = licet("why", "crm.lookup", '{"customer_id": "C-1"}', *ALICE, *CUSTOMER)
    assert "denied by `no-lookups` (policies/night.cedar:1)" in result.stdout
    assert ": it is late\n" in result.stdout
    assert "  forbid `no-lookups` (policies/night.cedar:1)\n" in result.stdout
    assert '    forbid (principal, action == Action::"crm.lookup", resource);\n' in result.stdout


def test_a_principal_that_no_permit_is_for_is_told_whom_they_are_for(licet: Licet, used: Path) -> None:
    result = licet("why", "billing.adjust", TOO_MUCH, "--agent", "support-bot", "--user", "bob", *CUSTOMER)
    assert '  for        User::"bob", whom no permit admits\n' in result.stdout
    assert "  permit     `billing-adjust` (policies/base.cedar:9)\n" in result.stdout
    assert '  is for     principal in Role::"billing"\n' in result.stdout


def test_an_allow_and_a_hold_are_explained_too(licet: Licet, used: Path) -> None:
    small = licet("why", "billing.adjust", '{"customer_id": "C-1", "amount_cents": 1}', *ALICE, *CUSTOMER)
    large = licet("why", "billing.adjust", '{"customer_id": "C-1", "amount_cents": 20000}', *ALICE, *CUSTOMER)
    assert small.exit_code == large.exit_code == Exit.OK
    assert "  permit `billing-adjust` (policies/base.cedar:9)" in small.stdout
    assert "  forbid `billing-needs-lead` (policies/base.cedar:13)" in large.stdout


def denied_call(project: Path) -> str:
    shop = Shop(project)
    denied = shop.ask(2_000_000)
    shop.gate.close()
    assert isinstance(denied, Denied)
    return denied.call


def test_a_recorded_denial_is_explained_under_the_policies_of_its_time(licet: Licet, project: Path) -> None:
    call = denied_call(project)
    base = project / "policies/base.cedar"
    base.write_text(base.read_text().replace("1000000", "9000000"))
    (project / "licet.toml").write_text((project / "licet.toml").read_text().replace('roles = ["support", "billing"]', "roles = []"))
    recorded = licet("why", call)
    assert recorded.exit_code == Exit.OK
    assert recorded.stdout.startswith('✗ deny     support-bot for alice was denied `billing.adjust` on Customer::"C-1": no policy permits')
    assert NEAREST in recorded.stdout


def test_a_record_is_named_by_its_place_too(licet: Licet, project: Path) -> None:
    call = denied_call(project)
    by_call, by_place = envelope(licet("why", call, "--json")), envelope(licet("why", "acme:0", "--json"))
    assert by_call["data"] == by_place["data"]
    assert by_call["data"]["record"] == "acme:0"
    assert by_call["data"]["unpermitted"][0]["nearest"]["failed"] == ["context.input.amount_cents <= 1000000"]


def test_a_recorded_denial_by_a_rule_says_so(licet: Licet, used: Path) -> None:
    result = licet("why", "acme:1")
    assert result.exit_code == Exit.OK
    assert 'was denied `crm.lookup` on Customer::"G-1": tenant `acme` has no Customer::"G-1"' in result.stdout
    assert "nearest" not in result.stdout


def test_a_record_without_a_decision_is_told(licet: Licet, used: Path) -> None:
    result = licet("why", "operator:0")
    assert result.exit_code == Exit.ERROR
    assert "error: `operator:0` holds no decision: " in result.stderr
    assert "next: `licet audit show operator:0`" in result.stderr


def test_a_call_that_is_not_there_is_told(licet: Licet, used: Path) -> None:
    for reference in ("01a20302-e2d1-7ff4-8654-16023c6639e2", "acme:999", "nobody:0"):
        result = licet("why", reference)
        assert result.exit_code == Exit.ERROR
        assert envelope(licet("why", reference, "--json"))["error"]["code"] == "not_found"


def test_a_record_takes_no_arguments(licet: Licet, used: Path) -> None:
    assert licet("why", "acme:1", "{}").exit_code == Exit.USAGE


def test_without_a_store_a_recorded_call_cannot_be_explained(licet: Licet, project: Path) -> None:
    result = licet("why", "acme:1")
    assert result.exit_code == Exit.ERROR
    assert "there is no ledger at" in result.stderr
    assert not (project / "licet.db").exists()


def test_looking_back_needs_no_application(licet: Licet, project: Path) -> None:
    run_app(project, "2000000")
    (project / "shop.py").unlink()
    assert NEAREST in licet("why", "acme:0").stdout


@pytest.mark.parametrize(
    ("statement", "note"),
    [
        ("UPDATE payloads SET sealed = NULL", "what the decision saw cannot be read: it was erased"),
        ("DELETE FROM blobs WHERE kind = 'scene'", "the policies of that time are not in this ledger"),
        ("DELETE FROM blobs WHERE kind = 'bundle'", "the policies of that time are not in this ledger"),
    ],
)
def test_what_cannot_be_told_any_more_is_said(licet: Licet, project: Path, statement: str, note: str) -> None:
    call = denied_call(project)
    with sqlite3.connect(project / "licet.db") as con:
        con.execute(statement)
    con.close()
    result = licet("why", call)
    assert result.exit_code == Exit.OK
    assert f"The nearest permit cannot be told: {note}.\n" in result.stdout
    assert licet("audit", "show", call).exit_code == Exit.OK


def test_policies_that_were_edited_in_the_store_explain_nothing(licet: Licet, project: Path) -> None:
    call = denied_call(project)
    with sqlite3.connect(project / "licet.db") as con:
        con.execute("UPDATE blobs SET content = CAST(replace(CAST(content AS TEXT), '1000000', '9000000') AS BLOB) WHERE kind = 'bundle'")
    con.close()
    result = licet("why", call)
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert "has other bytes than were hashed" in result.stderr


def test_a_recorded_denial_is_explained_by_the_local_time_of_its_moment(licet: Licet, project: Path) -> None:
    config = (project / "licet.toml").read_text()
    (project / "licet.toml").write_text(f'timezone = "Pacific/Kiritimati"\n{config}')
    today = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    days = f'["{today}", "{today + timedelta(days=1)}"].contains(context.local.date)'  # midnight may pass meanwhile
    base = project / "policies/base.cedar"
    base.write_text(base.read_text().replace("context.input.amount_cents <= 1000000", f"{days} && context.input.amount_cents <= 1000000"))
    call = denied_call(project)
    (project / "licet.toml").write_text(f'timezone = "Pacific/Niue"\n{config}')  # 25 hours behind: there it is another day
    recorded = envelope(licet("why", call, "--json"))["data"]
    assert recorded["unpermitted"][0]["nearest"]["failed"] == ["context.input.amount_cents <= 1000000"]
