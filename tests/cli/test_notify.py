"""`licet approvals notify`, `licet approvals deliveries`, and what doctor says of notifications."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import CONFIG, Licet, Shop, envelope, run_licet

HERE = '[[notify.channels]]\nkind = "terminal"\nname = "here"\nstream = "stdout"\n'
HOOK = '[[notify.channels]]\nkind = "webhook"\nname = "hook"\nurl = "https://127.0.0.1:9/"\nsecrets = ["env:HOOK_SECRET"]\n'
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def notify_with(project: Path, *tables: str) -> None:
    (project / "licet.toml").write_text(CONFIG + "".join(tables))


def sql(project: Path, text: str) -> list[Any]:
    with closing(sqlite3.connect(project / "licet.db")) as con, con:
        return con.execute(text).fetchall()


def findings(licet: Licet) -> list[tuple[str, str]]:
    """Levels and messages about notifications."""
    return [
        (finding["level"], finding["message"])
        for finding in envelope(licet("doctor", "--json"))["data"]["findings"]
        if finding["about"] == "notify"
    ]


def test_once_tells_what_is_due_and_once_more_tells_nothing(licet: Licet, used: Path, request_id: str) -> None:
    notify_with(used, HERE)
    first = licet("approvals", "notify", "--once")
    assert first.exit_code == Exit.OK
    assert "billing.adjust by support-bot waits for approval\n" in first.stdout
    assert "the agent says: double charge\n" in first.stdout
    assert first.stdout.endswith("1 notification sent, 0 waiting, 0 failed\n")
    assert licet("approvals", "notify", "--once").stdout == "0 notifications sent, 0 waiting, 0 failed\n"
    log = licet("approvals", "deliveries").stdout
    assert "sent     `opened` through here\n" in log
    assert request_id in log


def test_a_decision_is_told_after_the_question(licet: Licet, used: Path, request_id: str) -> None:
    notify_with(used, HERE)
    licet("approvals", "notify", "--once")
    licet("approvals", "deny", request_id, "--as", "lena", "--comment", "no")
    told = licet("approvals", "notify", "--once").stdout
    assert "billing.adjust by support-bot is rejected by lena\n" in told
    assert ': "no"\n' in told
    log = envelope(licet("approvals", "deliveries", "--json"))["data"]
    assert [(one["event"], one["state"], one["channel"]) for one in log] == [("rejected", "sent", "here"), ("opened", "sent", "here")]


def test_without_a_channel_there_is_nothing_to_do(licet: Licet, used: Path) -> None:
    answer = licet("approvals", "notify", "--once", "--json")
    assert answer.exit_code == Exit.USAGE
    assert envelope(answer)["error"]["code"] == "no_channels"
    assert findings(licet) == []


def test_a_ledger_that_is_not_there_is_not_made(licet: Licet, project: Path) -> None:
    notify_with(project, HERE)
    assert licet("approvals", "notify", "--once").exit_code == Exit.ERROR
    assert not (project / "licet.db").exists()


@pytest.mark.heavy
def test_while_another_process_tells_once_refuses(licet: Licet, used: Path) -> None:
    notify_with(used, HERE)
    process = subprocess.Popen(
        [sys.executable, "-c", "from licet.cli import main; main()", "approvals", "notify"],
        cwd=used,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "telling people through here\n"
        refused = licet("approvals", "notify", "--once", "--json")
        assert refused.exit_code == Exit.ERROR
        assert envelope(refused)["error"]["code"] == "delivering_taken"
        assert findings(licet)[1][0] == "ok"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert "waits for approval" in out
    finally:
        process.kill()
        process.communicate()
    assert licet("approvals", "notify", "--once").exit_code == Exit.OK


def test_the_log_shows_what_waits_and_what_failed_and_why(licet: Licet, used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    notify_with(used, HERE, HOOK)
    assert licet("approvals", "notify", "--once").stdout.endswith("1 notification sent, 1 waiting, 0 failed\n")
    waiting = licet("approvals", "deliveries", "--waiting").stdout
    assert "waiting  `opened` through hook: the webhook at `127.0.0.1` is not reached: " in waiting
    assert "here" not in waiting
    assert licet("approvals", "deliveries", "--failed").stdout == "Nothing was to be told.\n"
    assert "hook" not in licet("approvals", "deliveries", "--channel", "here").stdout
    assert len(licet("approvals", "deliveries", "-n", "1").stdout.splitlines()) == 2


def test_doctor_names_a_channel_that_cannot_be_used_and_says_when_nobody_tells(licet: Licet, used: Path) -> None:
    notify_with(used, HERE, HOOK)
    assert findings(licet) == [
        ("ok", "channel `here` can be used"),
        ("fail", "channel `hook` cannot be used: the environment variable `HOOK_SECRET` is not set"),
        ("warn", "no process tells people of requests now"),
    ]


def test_doctor_names_a_secret_that_others_can_read(licet: Licet, used: Path) -> None:
    (used / "secret").write_text(SECRET)
    (used / "secret").chmod(0o644)
    notify_with(used, HOOK.replace("env:HOOK_SECRET", "file:secret"))
    found = findings(licet)
    assert found[0] == ("ok", "channel `hook` can be used")
    assert found[1] == ("warn", f"`{used / 'secret'}`, a secret of channel `hook`, can be read by others than its owner")
    (used / "secret").chmod(0o600)
    assert len(findings(licet)) == 2


def test_doctor_names_mail_that_anybody_on_the_way_can_read(licet: Licet, used: Path) -> None:
    mail = 'kind = "email"\nname = "mail"\nhost = "mx.example"\nsender = "a@b.example"\nto = ["c@d.example"]\nsecurity = "none"\n'
    notify_with(used, f"[[notify.channels]]\n{mail}")
    assert ("warn", "channel `mail` sends mail unencrypted: whoever is on the way reads requests, and can change them") in findings(licet)


def test_doctor_names_what_was_told_to_nobody_what_waits_and_what_fails(licet: Licet, used: Path) -> None:
    notify_with(used, HERE)
    sql(used, "UPDATE notices SET at = at - 600000000")
    assert ("fail", "1 event of requests, older than 5 min, was told to nobody") in findings(licet)
    licet("approvals", "notify", "--once")
    assert findings(licet)[-1][0] == "ok"
    sql(used, "UPDATE deliveries SET state = 'waiting'")
    assert ("fail", "1 notification older than 5 min still to be sent") in findings(licet)
    sql(used, "UPDATE deliveries SET state = 'failed', error = 'the server is away'")
    level, message = findings(licet)[-1]
    assert level == "fail"
    assert message.startswith("channel `here` has failed since ")
    assert message.endswith(" UTC: the server is away")
    assert licet("doctor").exit_code == Exit.ERROR


def test_doctor_says_that_a_channel_works_again(licet: Licet, used: Path) -> None:
    notify_with(used, HERE)
    licet("approvals", "notify", "--once")
    sql(used, "UPDATE deliveries SET state = 'failed', error = 'the server is away'")
    shop = Shop(used)
    shop.ask(30_000)
    shop.gate.close()
    licet("approvals", "notify", "--once")
    assert findings(licet)[-1] == ("warn", "channel `here` has failed for 1 of the newest 2; the last one arrived")


@pytest.mark.heavy
def test_a_restored_ledger_tells_nobody_of_what_is_old_and_says_so(licet: Licet, used: Path) -> None:
    notify_with(used, HERE)
    backup = used / "old.db"
    assert licet("db", "backup", str(backup)).exit_code == Exit.OK
    with closing(sqlite3.connect(backup)) as con, con:
        con.execute("UPDATE notices SET at = at - 90000000000")  # a backup of yesterday
    (used / "licet.db").unlink()
    backup.rename(used / "licet.db")
    told = run_licet(used, "approvals", "notify", "--once")
    assert told.returncode == 0, told.stderr
    assert told.stdout == "0 notifications sent, 0 waiting, 0 failed\n"
    assert "1 events and 0 notifications are older than 86400 s (`max_age`), and nobody is told of them" in told.stderr
