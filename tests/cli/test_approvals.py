from __future__ import annotations

import getpass
import os
import pwd
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from licet.cli.exits import Exit
from licet.gate.results import Held
from tests.cli.conftest import Licet, Shop, envelope, run_app, run_licet

ME = pwd.getpwuid(os.getuid()).pw_name


def test_a_held_call_is_approved_by_another_process_and_then_runs_once(project: Path) -> None:
    kind, call, request = run_app(project, "20000")
    assert kind == "Held"
    listed = run_licet(project, "approvals", "list")
    assert listed.stdout.startswith(
        '◆ open     support-bot for alice asks to use `billing.adjust` on Customer::"C-1"; waits for 1 more of billing-leads\n'
    )
    voted = run_licet(project, "approvals", "approve", request, "--as", "lena", "--comment", "fine by me")
    assert (voted.returncode, voted.stderr) == (0, "next: the same call, made again before the request expires, runs once\n")
    assert Shop(project).balances()["C-1"] == 100
    kind, second, _ = run_app(project, "20000")
    assert kind == "Ok"
    assert Shop(project).balances()["C-1"] == 20_100
    assert run_app(project, "20000")[0] == "Held"  # the approval was used up
    assert Shop(project).balances()["C-1"] == 20_100
    story = run_licet(project, "audit", "show", second).stdout
    assert f'lena approved a call of `billing.adjust` on Customer::"C-1" by support-bot for alice (cast by operating user {ME})' in story
    assert 'was allowed `billing.adjust` on Customer::"C-1", approved by lena' in story
    assert call != second
    assert run_licet(project, "audit", "verify").returncode == 0


def test_requests_in_the_list_can_be_told_apart_by_what_would_change(licet: Licet, request_id: str) -> None:
    shown = licet("approvals", "list").stdout.splitlines()
    assert shown[1].strip() == "balance: 2600 -> 22600"
    assert shown[2].strip().startswith(request_id)


def test_the_log_is_asked_for_the_story_of_a_request_by_its_id(licet: Licet, request_id: str) -> None:
    shown = licet("audit", "show", request_id)
    assert shown.exit_code == Exit.OK
    assert "support-bot for alice must wait for people" in shown.stdout
    assert licet("audit", "show", request_id.replace("0", "1")).exit_code == Exit.ERROR


def test_an_approver_is_shown_what_is_voted_on(licet: Licet, request_id: str) -> None:
    for arguments in (("show", request_id), ("approve", request_id, "--as", "lena")):
        shown = licet("approvals", *arguments).stdout
        assert 'changes    Customer::"C-1" balance: 2600 -> 22600\n' in shown
        assert 'arguments  {"amount_cents": 20000, "customer_id": "C-1"}\n' in shown
        assert 'target     Customer::"C-1" of acme, in production {"vip": false}\n' in shown
        assert "needs      1 of billing-leads, by `billing-needs-lead`: adjustments over $100 need a billing lead\n" in shown
        assert 'agent says "double charge" (it grants nothing)\n' in shown
        assert shown.index("changes ") < shown.index("needs ") < shown.index("agent says ")


def test_who_may_vote_is_said(licet: Licet, request_id: str) -> None:
    assert "has 0 of 1 vote; may vote: lena\n" in licet("approvals", "show", request_id).stdout


@pytest.mark.parametrize(
    ("voter", "ends", "message"),
    [
        ("alice", (6, "requester"), "`alice` is the one this call is made for, and nobody approves their own"),
        ("bob", (6, "not_in_group"), "`bob` is not in `billing-leads`"),
        ("ghost", (5, "unknown_user"), "`ghost` is not a user of the directory"),
    ],
)
def test_who_may_not_vote_is_refused_and_nothing_is_changed(
    licet: Licet, request_id: str, voter: str, ends: tuple[int, str], message: str
) -> None:
    before = licet("audit", "verify").stdout
    for verb in ("approve", "deny"):
        result = licet("approvals", verb, request_id, "--as", voter)
        assert result.exit_code == ends[0]
        assert result.stdout == ""
        assert result.stderr.startswith(f"error: {message}\nnext: ")
        assert envelope(licet("approvals", verb, request_id, "--as", voter, "--json"))["error"]["code"] == ends[1]
    assert licet("audit", "verify").stdout == before
    assert envelope(licet("approvals", "show", request_id, "--json"))["data"]["state"] == "open"


def test_one_rejection_ends_a_request(licet: Licet, used: Path, request_id: str) -> None:
    result = licet("approvals", "deny", request_id, "--as", "lena")
    assert result.exit_code == Exit.OK
    assert "✓ voted    lena rejected this call" in result.stdout
    assert "✗ rejected support-bot for alice asks" in result.stdout
    later = licet("approvals", "approve", request_id, "--as", "lena")
    assert later.exit_code == Exit.DENIED
    assert "is rejected and takes no more votes" in later.stderr
    kind, _, _ = run_app(used, "20000")
    assert kind == "Denied"
    assert licet("approvals", "list").stdout == "Nothing waits for people.\n"
    assert "rejected" in licet("approvals", "list", "--all").stdout
    assert "rejected" in licet("approvals", "list", "--state", "rejected").stdout
    assert envelope(licet("approvals", "list", "--all", "--tenant", "globex", "--json"))["data"] == []


def test_the_record_says_which_operating_user_voted_whatever_the_environment_says(
    licet: Licet, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert getpass.getuser() == "somebody-else"
    found = envelope(licet("approvals", "approve", request_id, "--as", "lena", "--json"))["data"]
    assert (found["voter"], found["verdict"], found["operating_user"]) == ("lena", "approve", ME)
    assert found["request"]["state"] == "approved"
    vote = envelope(licet("audit", "search", "--kind", "vote", "--json"))["data"]["records"][0]
    assert vote["payload"]["detail"]["vote"]["operating_user"] == ME
    assert vote["place"] == f"acme:{found['receipt']['index']}"


def test_a_request_that_is_not_there_is_told(licet: Licet, used: Path) -> None:
    for arguments in (("show", "nope"), ("approve", "nope", "--as", "lena"), ("deny", "nope", "--as", "lena")):
        result = licet("approvals", *arguments)
        assert result.exit_code == Exit.ERROR
        assert result.stderr == "error: there is no request `nope`\nnext: `licet approvals list --all` lists them\n"


def test_without_a_store_nothing_is_made(licet: Licet, project: Path) -> None:
    for arguments in (("list",), ("show", "x"), ("approve", "x", "--as", "lena"), ("deny", "x", "--as", "lena")):
        result = licet("approvals", *arguments)
        assert result.exit_code == Exit.ERROR
        assert "there is no ledger at" in result.stderr
        assert not list(project.glob("licet.db*"))


def test_reading_and_voting_work_while_the_application_holds_its_lease(licet: Licet, project: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "shop.py", "20000", "--stay"], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as app:
        assert app.stdin is not None
        assert app.stdout is not None
        _, _, request = app.stdout.readline().split()
        assert licet("approvals", "show", request).exit_code == Exit.OK
        assert licet("approvals", "approve", request, "--as", "lena").exit_code == Exit.OK
        assert licet("audit", "verify").exit_code == Exit.OK
        assert "1 process with a lease" in licet("doctor").stdout
        app.stdin.write("\n")
        app.stdin.close()
        assert app.wait(30) == 0


def test_a_request_edited_in_the_database_is_not_shown_to_be_approved(licet: Licet, used: Path, request_id: str) -> None:
    with sqlite3.connect(used / "licet.db") as con:
        (place,) = con.execute("SELECT place FROM records WHERE kind = 'hold' AND request = ?", (request_id,)).fetchone()
        con.execute("UPDATE payloads SET sealed = (SELECT sealed FROM payloads WHERE place <> ? LIMIT 1) WHERE place = ?", (place, place))
    con.close()
    for arguments in (("show", request_id), ("approve", request_id, "--as", "lena")):
        result = licet("approvals", *arguments)
        assert result.exit_code == Exit.INTEGRITY_BROKEN
        assert f"error: no record opened request `{request_id}`; run `licet audit verify`" in result.stderr


def test_a_store_that_cannot_be_written_takes_no_vote(licet: Licet, used: Path, request_id: str) -> None:
    (used / "licet.db-queue").unlink()
    (used / "licet.db-queue").mkdir()  # even the superuser cannot open a folder for writing
    result = licet("approvals", "approve", request_id, "--as", "lena")
    assert result.exit_code == Exit.ERROR
    assert "cannot be written" in result.stderr
    assert "next: " in result.stderr
    assert envelope(licet("approvals", "show", request_id, "--json"))["data"]["state"] == "open"


def test_an_expired_request_is_said_to_be_and_left_to_writers(licet: Licet, project: Path) -> None:
    config = project / "licet.toml"
    config.write_text(config.read_text() + '\n[approvals]\nexpires = "1s"\n')
    _, _, request = run_app(project, "20000")
    before = (project / "licet.db").read_bytes()
    time.sleep(1.1)
    assert "· expired  support-bot for alice asks" in licet("approvals", "list").stdout
    assert (project / "licet.db").read_bytes() == before
    late = licet("approvals", "approve", request, "--as", "lena")
    assert late.exit_code == Exit.DENIED
    assert "expired at" in late.stderr
    assert envelope(licet("approvals", "show", request, "--json"))["data"]["state"] == "expired"


PLAN = """
import shop
with shop.gate.acting(agent="support-bot", user="alice", reason="two refunds"):
    shop.gate.plan([("billing.adjust", {"customer_id": "C-1", "amount_cents": cents}) for cents in (2_500, 20_000, 30_000)])
print(next(one.request.plan for one in shop.gate.approvals.waiting()))
shop.gate.close()
"""


def propose(folder: Path) -> str:
    """Propose a plan of three steps, of which two need people; its id."""
    done = subprocess.run([sys.executable, "-c", PLAN], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_steps_of_a_plan_are_shown_and_decided_at_once(licet: Licet, project: Path) -> None:
    plan = propose(project)
    shown = licet("approvals", "show", plan, "--as", "lena").stdout
    assert f"Plan {plan}: people are asked about 2 steps of 3.\n" in shown
    assert (
        shown.index("Step 2 of 3")
        < shown.index('"amount_cents": 20000')
        < shown.index("Step 3 of 3")
        < shown.index('"amount_cents": 30000')
    )
    voted = envelope(licet("approvals", "approve", plan, "--as", "lena", "--comment", "both", "--json"))["data"]
    assert (voted["plan"], voted["decided"], [step["state"] for step in voted["steps"]]) == (plan, [2, 3], ["approved", "approved"])
    assert {vote["comment"] for step in voted["steps"] for vote in step["votes"]} == {"both"}
    again = licet("approvals", "approve", plan, "--as", "lena")
    assert (again.exit_code, again.stderr.splitlines()[0]) == (Exit.DENIED, f"error: no step of plan `{plan}` waits for a vote")


def test_one_step_of_a_plan_is_decided_by_its_number(licet: Licet, project: Path) -> None:
    plan = propose(project)
    result = licet("approvals", "deny", plan, "--as", "lena", "--step", "3")
    assert result.stdout.startswith("✓ voted    lena rejected step 3 of this plan\n")
    states = [step["state"] for step in envelope(licet("approvals", "show", plan, "--json"))["data"]]
    assert states == ["open", "rejected"]
    assert licet("approvals", "approve", plan, "--as", "lena", "--step", "1").exit_code == Exit.DENIED
    assert licet("approvals", "approve", plan, "--as", "alice").exit_code == Exit.DENIED
    assert licet("approvals", "approve", "nope", "--as", "lena", "--step", "1").exit_code == Exit.ERROR


def test_a_vote_is_taken_back_and_a_request_withdrawn(licet: Licet, request_id: str) -> None:
    assert licet("approvals", "take-back", request_id, "--as", "lena").exit_code == Exit.DENIED
    assert licet("approvals", "approve", request_id, "--as", "lena").exit_code == Exit.OK
    back = licet("approvals", "take-back", request_id, "--as", "lena", "--comment", "too fast")
    assert "lena took their vote on this call back\n" in back.stdout
    assert envelope(licet("approvals", "show", request_id, "--json"))["data"]["state"] == "open"
    assert licet("approvals", "withdraw", request_id, "--as", "lena").exit_code == Exit.DENIED
    assert envelope(licet("approvals", "withdraw", request_id, "--as", "alice", "--json"))["data"]["request"]["state"] == "withdrawn"


def test_show_says_whether_somebody_may_vote_and_why_not(licet: Licet, request_id: str) -> None:
    assert "you        `lena` may vote\n" in licet("approvals", "show", request_id, "--as", "lena").stdout
    refused = licet("approvals", "show", request_id, "--as", "alice").stdout
    assert "you        may not vote: `alice` is the one this call is made for, and nobody approves their own\n" in refused
    assert ": then nothing runs, and the same call, made again, asks anew\n" in refused


def test_a_list_comes_in_pages_that_leave_nothing_out(licet: Licet, project: Path) -> None:
    shop = Shop(project)
    held = [str(shop.ask(20_000 + cents).request) for cents in range(5)]
    shop.gate.close()
    listed: list[str] = []
    after: tuple[str, ...] = ()
    while True:
        result = licet("approvals", "list", "--limit", "2", *after, "--json")
        page = [one["request"]["id"] for one in envelope(result)["data"]]
        if not page:
            break
        listed += page
        after = ("--after", page[-1])
    assert listed == held
    assert f"next: `--after {held[1]}` lists those behind them\n" in licet("approvals", "list", "--limit", "2").stderr
    assert licet("approvals", "list", "--after", "nope").exit_code == Exit.ERROR


def test_show_says_beforehand_that_an_approval_takes_a_passkey(project: Path, licet: Licet) -> None:
    with (project / "licet.toml").open("a") as file:
        file.write('\n[approvals]\npasskey_for = ["money"]\n')
    shop = Shop(project)
    held = shop.ask(20_000)
    shop.gate.close()
    assert isinstance(held, Held)
    shown = licet("approvals", "show", str(held.request))
    assert "passkey    an approval is signed with a passkey: approve it in the console" in shown.stdout
    assert f"next: approve it in the console with your passkey, or `licet approvals deny {held.request} --as USER`" in shown.stderr
    refused = licet("approvals", "approve", str(held.request), "--as", "lena", "--yes")
    assert refused.exit_code != Exit.OK
