"""`licet freeze`, on the ledger of an application that may be running."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from licet.cli.exits import Exit
from licet.gate.results import Denied, Ok
from tests.cli.conftest import ALICE, CONFIG, CUSTOMER, Licet, Shop, envelope, run_licet

ME = pwd.getpwuid(os.getuid()).pw_name
WHY = ("--reason", "it deletes what it should read")
OF_ONE_TENANT = (
    CONFIG.replace('{ members = ["lena", "alice"], scope = "operator" }', '["lena"]') + '\n[freeze]\nlifters = "billing-leads"\n'
)
TWO = CONFIG + "\n[freeze]\ntwo_persons = true\n"


def frozen(licet: Licet, *what: str) -> dict[str, Any]:
    found: dict[str, Any] = envelope(licet("freeze", *what, *WHY, "--json"))["data"]
    return found


def test_an_agent_is_frozen_listed_and_lifted(used: Path, licet: Licet) -> None:
    done = licet("freeze", "agent", "support-bot", *WHY)
    assert done.exit_code == Exit.OK, done.output
    assert "agent `support-bot` is frozen since" in done.stdout
    assert f"by `{ME}`: it deletes what it should read" in done.stdout
    (stands,) = envelope(licet("freeze", "list", "--json"))["data"]
    assert stands["id"] in done.stdout
    assert stands["by"] is None
    assert "it deletes what it should read" in licet("freeze", "list").stdout
    shop = Shop(used)
    denied = shop.ask(2_500)
    assert isinstance(denied, Denied)
    assert denied.decision.code == "frozen"
    lifted = licet("freeze", "lift", stands["id"], "--reason", "mended")
    assert "agent `support-bot` goes on" in lifted.stdout
    assert licet("freeze", "list").stdout.strip() == "nothing is frozen"
    shop.gate.freezes()  # looks anew
    assert isinstance(shop.ask(2_500), Ok)
    shop.gate.close()


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (("agent", "support-bot", "--tenant", "acme"), "agent `support-bot` of tenant `acme`"),
        (("tool", "billing.adjust"), "tool `billing.adjust`"),
        (("tool", "nobody.knows", "--anyway"), "tool `nobody.knows`"),
        (("service", "nobody", "--anyway"), "service `nobody`"),
        (("session", "run-17"), "session `run-17`"),
        (("tenant", "acme"), "tenant `acme`"),
        (("all",), "everything"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_everything_that_can_be_frozen_is_told(used: Path, licet: Licet, what: tuple[str, ...], sentence: str) -> None:
    found = frozen(licet, *what)
    assert found["freeze"]["what"] == sentence
    assert found["receipt"]["log"] == ("acme" if "acme" in what else "operator")
    assert sentence in licet("audit", "show", f"{found['receipt']['log']}:{found['receipt']['index']}").stdout


@pytest.mark.parametrize(
    ("what", "code", "exit_code"),
    [
        (("agent", "suport-bot"), "unknown_name", Exit.USAGE),
        (("service", "support-bot"), "unknown_name", Exit.USAGE),
        (("tool", "billing.adjus"), "unknown_name", Exit.USAGE),
        (("tenant", "acne"), "unknown_tenant", Exit.USAGE),
        (("agent", "support-bot", "--tenant", "acne"), "unknown_tenant", Exit.USAGE),
        (("agent", "support-bot", "--as", "nobody"), "unknown_user", Exit.NOT_AUTHENTICATED),
        (("session", ""), "bad_name", Exit.USAGE),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_nobody_knows_is_refused(used: Path, licet: Licet, what: tuple[str, ...], code: str, exit_code: Exit) -> None:
    done = licet("freeze", *what, *WHY, "--json")
    assert done.exit_code == exit_code
    assert envelope(done)["error"]["code"] == code
    assert envelope(licet("freeze", "list", "--json"))["data"] == []


def test_it_freezes_while_policies_do_not_load(used: Path, licet: Licet) -> None:
    (used / "policies" / "base.cedar").write_text("permit (")
    assert licet("freeze", "tool", "billing.adjust", *WHY).exit_code == Exit.OK
    assert licet("freeze", "all", *WHY).exit_code == Exit.OK


def test_it_freezes_while_the_directory_is_not_sound(used: Path, licet: Licet) -> None:
    (used / "licet.toml").write_text(CONFIG + '\n[users.mallory]\ntenants = ["nowhere"]\n')
    assert licet("freeze", "agent", "support-bot", *WHY).exit_code == Exit.OK
    assert licet("freeze", "agent", "support-bot", *WHY, "--as", "lena").exit_code == Exit.USAGE


def test_without_a_ledger_nothing_is_frozen(project: Path, licet: Licet) -> None:
    done = licet("freeze", "all", *WHY, "--json")
    assert done.exit_code == Exit.ERROR
    assert not (project / "licet.db").exists()


def test_a_reason_is_needed(used: Path, licet: Licet) -> None:
    assert licet("freeze", "all").exit_code == Exit.USAGE
    assert envelope(licet("freeze", "all", "--reason", " ", "--json"))["error"]["code"] == "no_reason"


def test_two_people_stand_behind_a_lift(used: Path, licet: Licet) -> None:
    (used / "licet.toml").write_text(TWO)
    found = frozen(licet, "all", "--as", "lena")["freeze"]["id"]
    lift = ("freeze", "lift", found, "--reason", "mended")
    for options, exit_code, code in (
        ((), Exit.USAGE, "no_user"),
        (("--as", "lena"), Exit.DENIED, "same_person"),
        (("--as", "nobody"), Exit.NOT_AUTHENTICATED, "unknown_user"),
    ):
        done = licet(*lift, *options, "--json")
        assert (done.exit_code, envelope(done)["error"]["code"]) == (exit_code, code)
    assert licet(*lift, "--as", "alice").exit_code == Exit.OK
    assert licet(*lift, "--as", "alice").exit_code == Exit.ERROR


def test_a_freeze_by_nobody_is_lifted_by_two(used: Path, licet: Licet) -> None:
    (used / "licet.toml").write_text(TWO)
    lift = ("freeze", "lift", frozen(licet, "all")["freeze"]["id"], "--reason", "mended", "--as", "lena")
    done = licet(*lift, "--json")
    assert (done.exit_code, envelope(done)["error"]["code"]) == (Exit.DENIED, "second_person_needed")
    done = licet(*lift, "--and", "alice")
    assert done.exit_code == Exit.OK
    assert "everything goes on, lifted by lena and alice" in done.stdout


def test_what_is_frozen_twice_says_so_when_lifted(used: Path, licet: Licet) -> None:
    one, other = (frozen(licet, "agent", "support-bot")["freeze"]["id"] for _ in range(2))
    done = licet("freeze", "lift", one, "--reason", "mended")
    assert f"it stays frozen by {other}" in done.output


def test_doctor_warns_of_what_is_frozen(used: Path, licet: Licet) -> None:
    assert "nothing is frozen" in licet("doctor").stdout
    found = frozen(licet, "agent", "support-bot", "--as", "lena")["freeze"]["id"]
    told = licet("doctor").stdout
    assert "agent `support-bot` is frozen since" in told
    assert f"`licet freeze lift {found} --reason TEXT` ends it" in " ".join(told.split())


def test_doctor_fails_where_a_row_was_deleted(used: Path, licet: Licet) -> None:
    import apsw  # noqa: PLC0415  as somebody who can write the file

    frozen(licet, "agent", "support-bot")
    con = apsw.Connection(str(used / "licet.db"))
    con.execute("DELETE FROM freezes")
    con.close()
    done = envelope(licet("doctor", "--json"))
    freezes = [finding for finding in (done["data"] or done["error"])["findings"] if finding["about"] == "freezes"]
    assert [finding["level"] for finding in freezes] == ["warn", "fail"]


def test_doctor_says_where_too_few_can_lift(used: Path, licet: Licet) -> None:
    (used / "licet.toml").write_text(CONFIG + '\n[freeze]\nlifters = "small"\ntwo_persons = true\n')
    text = (used / "licet.toml").read_text().replace("[groups]\n", '[groups]\nsmall = ["lena"]\n')
    (used / "licet.toml").write_text(text)
    told = licet("doctor").stdout
    assert "a freeze of tenant `acme` may need 2 of `small` to lift it, and there are 1" in " ".join(told.split())


def test_doctor_says_where_nobody_can_lift_what_stops_every_tenant(used: Path, licet: Licet) -> None:
    (used / "licet.toml").write_text(OF_ONE_TENANT)
    told = " ".join(licet("doctor").stdout.split())
    assert "a freeze of every tenant may need 1 of `billing-leads` to lift it, and 0 may decide for all of them" in told
    assert '`scope = "operator"` lets `billing-leads` decide for all tenants' in told


def test_who_may_not_lift_is_told_whether_group_or_tenant_is_missing(used: Path, licet: Licet) -> None:
    found = frozen(licet, "all")["freeze"]["id"]
    (used / "licet.toml").write_text(OF_ONE_TENANT)
    told = licet("freeze", "lift", found, "--reason", "mended", "--as", "lena").stderr
    assert "`lena` is in `billing-leads`, and does not belong to every tenant, which this freeze stops" in told
    told = licet("freeze", "lift", found, "--reason", "mended", "--as", "alice").stderr
    assert "error: `alice` is not in `billing-leads`" in told


def test_why_explains_a_denial_by_a_freeze(used: Path, licet: Licet) -> None:
    frozen(licet, "agent", "support-bot", "--as", "lena")
    shop = Shop(used)
    denied = shop.ask(2_500)
    shop.gate.close()
    assert isinstance(denied, Denied)
    told = " ".join(licet("why", denied.call).stdout.split())
    assert "support-bot for alice was denied `billing.adjust`" in told
    assert "agent `support-bot` is frozen since" in told
    assert "by `lena`: it deletes what it should read" in told
    assert "nearest" not in told


def test_can_says_that_a_call_would_meet_a_freeze(used: Path, licet: Licet) -> None:
    asked = ("can", "billing.adjust", '{"customer_id": "C-1", "amount_cents": 5}', *ALICE, *CUSTOMER, "--app", "shop:gate")
    assert run_licet(used, *asked).returncode == Exit.OK
    found = frozen(licet, "agent", "support-bot", "--as", "lena")["freeze"]["id"]
    done = run_licet(used, *asked)
    assert done.returncode == Exit.DENIED
    assert "agent `support-bot` is frozen since" in done.stdout
    assert "is frozen since" in run_licet(used, "why", *asked[1:]).stdout
    licet("freeze", "lift", found, "--reason", "mended")
    assert run_licet(used, *asked).returncode == Exit.OK
