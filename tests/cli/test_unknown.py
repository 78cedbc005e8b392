"""`licet audit unknown` and `settle`, on the ledger of an application that died in its tool."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import CONFIG, Licet, envelope, run_licet

pytestmark = pytest.mark.heavy  # each test starts processes or servers of its own

ME = pwd.getpwuid(os.getuid()).pw_name
BANK = """
import os, sys
from dataclasses import dataclass
from pathlib import Path
from licet import Gate


HERE = Path(__file__).parent
gate = Gate(HERE / "licet.toml")

@dataclass
class Account:
    tenant: str

@gate.resource("Account")
def account(id: str) -> Account | None:
    return Account("acme")

@gate.tool("bank.pay", access="write", touches={"money"}, targets="Account::{to}")
def pay(to: str, amount_cents: int) -> str:
    os._exit(17)

@gate.tool("bank.close", access="write")
def close() -> str:
    os._exit(17)

@pay.probe
def was_paid(to: str, amount_cents: int) -> bool | None:
    return {"yes": True, "no": False}.get((HERE / f"{to}.{amount_cents}").read_text())

if __name__ == "__main__":
    with gate.acting(agent="support-bot", user="alice"):
        print(gate.call(sys.argv[1], sys.argv[2]))
"""
PERMITS = '@id("bank") permit (principal in Role::"billing", action in [Action::"bank.pay", Action::"bank.close"], resource);'
DIED = 17
SENTENCE = '`bank.pay` on Account::"A-1" by support-bot for alice'
PROBE = ("--app", "bank:gate", "audit", "unknown", "--probe")


@pytest.fixture(scope="module")
def mould(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A payment and a closing of which nobody saw the end; the last process has recovered them."""
    folder = tmp_path_factory.mktemp("bank") / "project"
    make_bank(folder)
    for tool, arguments in (("bank.pay", '{"to": "A-1", "amount_cents": 700}'), ("bank.close", "{}")):
        done = subprocess.run([sys.executable, "bank.py", tool, arguments], cwd=folder, check=False, capture_output=True, text=True)
        assert done.returncode == DIED, done.stdout + done.stderr
    code = "import bank; bank.gate.seal(); bank.gate.close()"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    return folder


def make_bank(folder: Path) -> None:
    """The application, in a new folder."""
    (folder / "policies").mkdir(parents=True)
    (folder / "licet.toml").write_text(CONFIG)
    (folder / "bank.py").write_text(BANK)
    (folder / "policies" / "base.cedar").write_text(PERMITS)


@pytest.fixture
def died(mould: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working directory."""
    shutil.copytree(mould, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def calls(licet: Licet, *options: str) -> list[dict[str, Any]]:
    """What is unknown, as programs read it."""
    found: list[dict[str, Any]] = envelope(licet("audit", "unknown", "--json", *options))["data"]["calls"]
    return found


@pytest.fixture
def paid(died: Path, licet: Licet) -> str:
    """The payment's call."""
    call: str = next(found["call"] for found in calls(licet) if found["tool"] == "bank.pay")
    assert died.exists()
    return call


def newest(licet: Licet, kind: str) -> dict[str, Any]:
    """The newest record of this kind."""
    found: dict[str, Any] = envelope(licet("audit", "search", "--kind", kind, "--json"))["data"]["records"][0]
    return found


def test_where_every_end_was_seen_nothing_is_unknown(used: Path, licet: Licet) -> None:
    shown = licet("audit", "unknown")
    assert (shown.exit_code, shown.stderr) == (Exit.OK, "")
    assert shown.stdout == "nothing is unknown: of every call that began, somebody said how it ended, or it still runs\n"
    assert used.exists()


def test_what_nobody_saw_the_end_of_is_listed_with_what_to_do(died: Path, licet: Licet, paid: str) -> None:
    shown = licet("audit", "unknown")
    assert shown.exit_code == Exit.OK
    assert f"? unknown  {SENTENCE}: its process ended first\n           {paid}  acme, begun " in shown.stdout
    assert shown.stdout.endswith("\n2 calls unknown\n")
    assert shown.stderr.startswith("next: `licet --app MODULE:GATE audit unknown --probe` asks their tools; `licet audit settle CALL ")
    payload = newest(licet, "access")["payload"]["detail"]
    assert (payload["verb"], payload["operating_user"], payload["records"]) == ("unknown", ME, 2)
    assert died.exists()


def test_programs_read_who_called_and_whether_a_probe_exists(died: Path, licet: Licet, paid: str) -> None:
    (found,) = [found for found in calls(licet) if found["call"] == paid]
    assert (found["tenant"], found["tool"], found["agent"], found["user"]) == ("acme", "bank.pay", "support-bot", "alice")
    assert (found["targets"], found["status"], found["code"]) == (['Account::"A-1"'], "unknown", "process_died")
    assert found["has_probe"] is None
    done = run_licet(died, "--app", "bank:gate", "audit", "unknown")
    assert f"{SENTENCE}: its process ended first; it has a probe\n" in done.stdout
    assert "`bank.close` on Tenant::acme by support-bot for alice: its process ended first; it has no probe\n" in done.stdout
    assert calls(licet, "--tenant", "globex") == []


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_a_probe_that_knows_settles_the_call(died: Path, licet: Licet, paid: str, answer: str) -> None:
    how, status = ("happened", "ok") if answer == "yes" else ("did not happen", "not_executed")
    (died / "A-1.700").write_text(answer)
    done = run_licet(died, *PROBE)
    assert done.returncode == Exit.OK
    assert f"✓ settled  {SENTENCE}: it {how}, says its probe\n" in done.stdout
    assert "its process ended first; `bank.close` has no probe in this process\n" in done.stdout
    assert done.stdout.endswith("\n1 call unknown, 1 settled\n")
    assert [found["tool"] for found in calls(licet)] == ["bank.close"]
    shown = licet("audit", "show", paid).stdout
    assert shown.startswith(f'· settled  `bank.pay` on Account::"A-1" {how}, says its probe\n')
    assert newest(licet, "outcome")["envelope"]["outcome"] == {"status": status, "code": "settled"}
    assert run_licet(died, "audit", "verify").returncode == Exit.OK


def test_a_probe_that_does_not_know_settles_nothing(died: Path, licet: Licet, paid: str) -> None:
    (died / "A-1.700").write_text("perhaps")
    assert f"{SENTENCE}: its process ended first; its probe cannot tell\n" in run_licet(died, *PROBE, paid).stdout
    (died / "A-1.700").unlink()
    assert "; its probe failed with `FileNotFoundError`\n" in run_licet(died, *PROBE, paid).stdout
    assert len(calls(licet)) == 2


def test_probing_takes_up_a_process_that_has_just_died(tmp_path: Path) -> None:
    project = tmp_path / "project"
    make_bank(project)
    (project / "A-1.5").write_text("yes")
    pay = [sys.executable, "bank.py", "bank.pay", '{"to": "A-1", "amount_cents": 5}']
    assert subprocess.run(pay, cwd=project, check=False, capture_output=True).returncode == DIED
    assert run_licet(project, *PROBE).stdout.endswith("\n0 calls unknown, 1 settled\n")


def test_probing_needs_the_application(died: Path, licet: Licet) -> None:
    done = licet("audit", "unknown", "--probe")
    assert (done.exit_code, done.stdout) == (Exit.USAGE, "")
    assert "probes are functions of an application, and none is named" in done.stderr
    assert died.exists()


def test_a_person_settles_a_call(died: Path, licet: Licet, paid: str) -> None:
    done = licet("audit", "settle", paid, "--outcome", "not-executed", "--reason", "not in the bank's list", "--as", "lena")
    assert (done.exit_code, done.stderr) == (Exit.OK, "next: the call may be made again, with a new idempotency key\n")
    first, second = done.stdout.splitlines()
    assert first == f"✓ settled  {SENTENCE}: not executed, says lena"
    assert second.startswith("           recorded as acme:")
    assert second.endswith(f", by operating user {ME}")
    shown = licet("audit", "show", paid).stdout
    said = f'`bank.pay` on Account::"A-1" did not happen, says lena (operating user {ME}): not in the bank\'s list\n'
    assert said in shown
    assert [found["tool"] for found in calls(licet)] == ["bank.close"]
    assert run_licet(died, "audit", "verify").returncode == Exit.OK


def test_programs_read_the_settlement(licet: Licet, paid: str) -> None:
    data = envelope(licet("audit", "settle", paid, "--outcome", "ok", "--reason", "seen", "--json"))["data"]
    assert (data["call"]["tool"], data["operating_user"], data["settled_as"]) == ("bank.pay", ME, None)
    settled = data["settled"]
    assert (settled["call"], settled["status"], settled["by"], settled["receipt"]["log"]) == (paid, "ok", "person", "acme")


@pytest.mark.parametrize(
    ("options", "ends", "code"),
    [
        (("--outcome", "ok", "--reason", " "), Exit.USAGE, "no_reason"),
        (("--outcome", "timeout", "--reason", "seen"), Exit.USAGE, "usage"),
        (("--outcome", "ok", "--reason", "seen", "--as", "nobody"), Exit.NOT_AUTHENTICATED, "unknown_user"),
    ],
)
def test_what_cannot_be_said_settles_nothing(licet: Licet, paid: str, options: tuple[str, ...], ends: Exit, code: str) -> None:
    done = licet("audit", "settle", paid, *options, "--json")
    assert (done.exit_code, envelope(done)["error"]["code"]) == (ends, code)
    assert len(calls(licet)) == 2


def test_a_call_is_settled_once(licet: Licet, paid: str) -> None:
    settle = ("audit", "settle", paid, "--reason", "seen", "--outcome")
    assert licet(*settle, "ok").exit_code == Exit.OK
    done = licet(*settle, "error", "--json")
    assert (done.exit_code, envelope(done)["error"]["code"]) == (Exit.ERROR, "already_settled")
    assert envelope(licet("audit", "unknown", paid, "--json"))["error"]["code"] == "not_found"


def test_the_doctor_says_how_many_are_unknown(died: Path, licet: Licet) -> None:
    warning = "of which nobody saw the end, such as `"
    assert f"! warn     unknown calls: 2 calls {warning}" in licet("doctor").stdout
    for found in calls(licet):
        licet("audit", "settle", found["call"], "--outcome", "error", "--reason", "seen")
    assert "✓ ok       unknown calls: the end of every call is known\n" in licet("doctor").stdout
    assert died.exists()
