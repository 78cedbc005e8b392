from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from licet.cli.exits import Exit
from tests.cli.conftest import Licet, Shop, envelope, run_app


def sentences(licet: Licet, *options: str) -> list[str]:
    """What a search finds, newest first."""
    return [record["sentence"] for record in envelope(licet("audit", "search", "--tenant", "acme", "--json", *options))["data"]["records"]]


WHO = "support-bot for alice"
ALL = [
    f'{WHO} must wait for people to use `billing.adjust` on Customer::"C-1": approval of 1 member of `billing-leads` is required',
    f'{WHO} used `billing.adjust.preview` on Customer::"C-1"',
    f"{WHO} was denied `ticket.close`: no permit could ever match",
    '`billing.adjust` on Customer::"C-1" ran in ',
    f'{WHO} was allowed `billing.adjust` on Customer::"C-1"',
    f'{WHO} was denied `crm.lookup` on Customer::"G-1": tenant `acme` has no Customer::"G-1"',
    f'{WHO} used `crm.lookup` on Customer::"C-1"',
]
HOLD, PREVIEW, CLOSE, RAN, ALLOWED, FOREIGN, READ = range(7)


def test_each_record_is_told_in_one_sentence_newest_first(licet: Licet, used: Path) -> None:
    found = sentences(licet)
    assert len(found) == len(ALL)
    for sentence, expected in zip(found, ALL, strict=True):
        assert sentence.startswith(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--agent", "support-bot"), [HOLD, PREVIEW, CLOSE, RAN, ALLOWED, FOREIGN, READ]),
        (("--actor", "alice"), [HOLD, PREVIEW, CLOSE, RAN, ALLOWED, FOREIGN, READ]),
        (("--user", "bob"), []),
        (("--service", "support-bot"), []),
        (("--session", "none"), []),
        (("--tool", "crm.lookup"), [FOREIGN, READ]),
        (("--target", "G-1"), [FOREIGN]),
        (("--target", 'Customer::"C-1"'), [HOLD, PREVIEW, RAN, ALLOWED, READ]),
        (("--target", "C"), []),
        (("--verdict", "deny"), [CLOSE, FOREIGN]),
        (("--verdict", "hold"), [HOLD]),
        (("--outcome", "ok"), [PREVIEW, RAN, READ]),
        (("--kind", "intent", "--kind", "outcome"), [RAN, ALLOWED]),
        (("--text", "DOUBLE charge"), [HOLD, PREVIEW, ALLOWED]),
        (("--since", "1h"), [HOLD, PREVIEW, CLOSE, RAN, ALLOWED, FOREIGN, READ]),
        (("--until", "1h"), []),
        (("--since", "2100-01-01"), []),
        (("--tool", "billing.adjust", "--verdict", "allow"), [ALLOWED]),
    ],
)
def test_every_option_narrows(licet: Licet, used: Path, options: tuple[str, ...], expected: list[int]) -> None:
    found = sentences(licet, *options)
    assert len(found) == len(expected)
    for sentence, number in zip(found, expected, strict=True):
        assert sentence.startswith(ALL[number])


def test_pages_fit_together_over_all_logs(licet: Licet, used: Path) -> None:
    whole = [record["place"] for record in envelope(licet("audit", "search", "--limit", "100", "--json"))["data"]["records"]]
    assert len(whole) == len(set(whole)) == 14
    found, before = [], None
    while True:
        page = envelope(licet("audit", "search", "--limit", "4", "--json", *(("--before", before) if before else ())))["data"]
        found += [record["place"] for record in page["records"]]
        before = page["before"]
        if before is None:
            break
    assert found == whole


def test_what_is_appended_later_moves_no_page(licet: Licet, used: Path) -> None:
    first = envelope(licet("audit", "search", "--limit", "2", "--json"))["data"]
    later = envelope(licet("audit", "search", "--limit", "2", "--before", first["before"], "--json"))["data"]
    run_app(used, "100")
    again = envelope(licet("audit", "search", "--limit", "2", "--before", first["before"], "--json"))["data"]
    assert again == later


def test_the_next_page_is_the_next_step(licet: Licet, used: Path) -> None:
    result = licet("audit", "search", "--limit", "2", "--tenant", "acme")
    assert re.fullmatch("next: older ones: the same with `--before [0-9a-f]{16}`\n", result.stderr)
    assert len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--before", "acme"), "`acme` is not where a page ended"),
        (("--before", "nobody:3"), "`nobody:3` is not where a page ended"),
        (("--before", ""), "`` is not where a page ended"),
        (("--since", "yesterday"), "`--since yesterday` is not a time"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(licet: Licet, used: Path, options: tuple[str, ...], message: str) -> None:
    result = licet("audit", "search", *options)
    assert result.exit_code == Exit.USAGE
    assert message in result.stderr


def test_an_unknown_log_is_told_with_those_that_are_there(licet: Licet, used: Path) -> None:
    result = licet("audit", "search", "--tenant", "acmee")
    assert result.exit_code == Exit.ERROR
    assert result.stderr == "error: there is no log `acmee` in this ledger\nnext: logs are `acme`, `operator`\n"


def test_nothing_found_says_so(licet: Licet, used: Path) -> None:
    assert licet("audit", "search", "--tool", "nothing").stdout == "No record fits.\n"


def test_tail_ends_with_the_newest(licet: Licet, used: Path) -> None:
    lines = licet("audit", "tail", "-n", "2", "--tenant", "acme").stdout.splitlines()
    assert lines[0].startswith("✓ allow    support-bot for alice used `billing.adjust.preview`")
    assert lines[2].startswith("◆ hold     support-bot for alice must wait")
    assert licet("audit", "tail", "-n", "0").stdout == ""


def test_tail_as_json_is_an_envelope_for_each_record(licet: Licet, used: Path) -> None:
    lines = [json.loads(line) for line in licet("audit", "tail", "-n", "3", "--json").stdout.splitlines()]
    assert [line["command"] for line in lines] == ["audit tail"] * 3
    assert lines[-1]["data"]["place"] == "acme:6"


def test_tail_follows_what_another_process_appends(used: Path) -> None:
    program = [sys.executable, "-c", "from licet.cli import main; main()", "audit", "tail", "-n", "1", "-f", "--json", "--kind", "intent"]
    with subprocess.Popen(program, cwd=used, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        first = json.loads(tail.stdout.readline())
        _, call, _ = run_app(used, "55")
        second = json.loads(tail.stdout.readline())
        tail.send_signal(2)
        try:
            assert tail.wait(30) == 0
        finally:
            tail.kill()  # where this whole run was told to pass over interrupts
        assert tail.stderr.read() == ""
    assert first["data"]["envelope"]["call"] != call
    assert second["data"]["envelope"]["call"] == call


def test_show_tells_the_whole_story_of_a_call(licet: Licet, used: Path) -> None:
    call = envelope(licet("audit", "search", "--kind", "intent", "--json"))["data"]["records"][0]["envelope"]["call"]
    result = licet("audit", "show", call)
    assert result.exit_code == Exit.OK
    assert result.stdout.startswith('✓ ok       `billing.adjust` on Customer::"C-1" ran in ')
    for text in (
        "What happened (UTC, 2",
        '✓ allow    support-bot for alice was allowed `billing.adjust` on Customer::"C-1"\n',
        '  arguments  {"amount_cents": 2500, "customer_id": "C-1"}\n',
        '  result     "done"\n',
        '  claim      "double charge" (written by the caller; it grants nothing)\n',
        '  target     Customer::"C-1" of acme, in production {"vip": false}\n',
        '  principal  User::"alice" of acme, roles billing, support, groups billing-leads\n',
        "  policy     permit `billing-adjust` (policies/base.cedar:9)\n",
        '             for Agent::"support-bot" and User::"alice"\n',
        "Records and their leaf hashes\n  acme:2     ",
    ):
        assert text in result.stdout
    assert result.stderr == f"next: `licet why {call}` explains the decision\n"
    by_place = licet("audit", "show", "acme:3")
    assert by_place.stdout == result.stdout


def test_show_tells_whatever_a_call_carried(licet: Licet, used: Path) -> None:
    shop = Shop(used)
    with shop.gate.acting(agent="support-bot", user="alice", session="s-1", workflow="ticket-4711"):
        adjusted = shop.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}, idempotency_key="once").call
        unread = shop.gate.call("crm.lookup", '{"customer_id": ').call
    shop.gate.close()
    shown = licet("audit", "show", adjusted).stdout
    for text in ("  session    s-1\n", "  key        once\n", '  trace      {"workflow": "ticket-4711"}\n', "  decided by policy, under "):
        assert text in shown
    assert '  unread     {\n               "text": "{\\"customer_id\\": ",\n' in licet("audit", "show", unread).stdout


def test_show_of_an_erased_payload_tells_what_is_left(licet: Licet, used: Path) -> None:
    tamper(used, "UPDATE payloads SET sealed = NULL")
    shown = licet("audit", "show", "acme:4")
    assert shown.exit_code == Exit.OK
    assert "  erased     the payload cannot be read, it was erased; what is left is the envelope\n" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_show_of_a_record_without_a_call(licet: Licet, used: Path) -> None:
    result = licet("audit", "show", "operator:0")
    assert result.exit_code == Exit.OK
    assert "is in force" in result.stdout
    assert "None" not in result.stdout


def test_what_an_agent_wrote_cannot_command_the_terminal(licet: Licet, used: Path) -> None:
    shop = Shop(used)
    with shop.gate.acting(agent="support-bot", user="alice", reason="\x1b]0;owned\x07\u202e"):
        call = shop.gate.call("crm.lookup", {"customer_id": "\x1b[2J"}).call
    shop.gate.close()
    for arguments in (("audit", "show", call), ("audit", "search"), ("audit", "tail"), ("why", call)):
        shown = licet(*arguments).stdout
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert '"\\u{1b}]0;owned\\u{7}\\u{202e}"' in licet("audit", "show", call).stdout


def test_verify_finds_the_log_as_it_was_written(licet: Licet, used: Path) -> None:
    result = licet("audit", "verify")
    assert result.exit_code == Exit.OK
    assert result.stderr.startswith("no key was given, so it was believed as to its own keys; ")
    assert result.stdout.startswith("✓ intact   14 records in 2 logs: as they were written\n")
    assert [log["log"] for log in envelope(licet("audit", "verify", "--json"))["data"]["logs"]] == ["acme", "operator"]


def test_verify_without_the_key_says_what_was_not_checked(licet: Licet, used: Path) -> None:
    (used / "licet.key").rename(used / "elsewhere.key")
    result = licet("audit", "verify")
    assert result.exit_code == Exit.OK
    assert envelope(licet("audit", "verify", "--json"))["data"]["locked"] == 14


def tamper(project: Path, statement: str) -> None:
    with sqlite3.connect(project / "licet.db") as con:
        con.execute(statement)
    con.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET envelope = CAST(replace(CAST(envelope AS TEXT), 'support-bot', 'support-bit') AS BLOB)",
        "UPDATE payloads SET sealed = CAST('{}' AS BLOB)",
        "DELETE FROM records WHERE place = (SELECT max(place) FROM records)",
        "UPDATE requests SET state = 'approved'",
    ],
)
def test_verify_after_tampering_ends_with_8(licet: Licet, used: Path, statement: str) -> None:
    tamper(used, statement)
    result = licet("audit", "verify")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert result.stdout.startswith("✗ broken   ")
    assert "next: keep the file as it is" in result.stderr
    found = envelope(licet("audit", "verify", "--json"))
    assert found["error"]["code"] == "integrity_broken"
    assert found["data"]["problems"]


def test_a_record_that_cannot_be_read_is_broken_integrity_wherever_it_is_met(licet: Licet, used: Path) -> None:
    tamper(used, "UPDATE records SET envelope = CAST('{}' AS BLOB)")
    for arguments in (("audit", "search"), ("audit", "tail"), ("audit", "show", "acme:0"), ("why", "acme:0")):
        result = licet(*arguments)
        assert result.exit_code == Exit.INTEGRITY_BROKEN
        assert "`licet audit verify`" in result.stderr
        assert "Traceback" not in result.stderr


def test_an_export_is_complete_and_can_be_verified_alone(licet: Licet, used: Path) -> None:
    result = licet("audit", "export", "--format", "jsonl")
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (Exit.OK, "")
    assert len([line for line in lines if "envelope" in json.loads(line)]) == 14
    assert (json.loads(lines[0])["records"], json.loads(lines[-1])["end"]) == (14, True)
    written = envelope(licet("audit", "export", "-o", "log.jsonl", "--json"))["data"]
    content = (used / "log.jsonl").read_text()
    assert (written["file"], written["records"], written["size_bytes"]) == ("log.jsonl", 15, len(content.encode()))
    was = {line for line in lines[1:-1] if "envelope" in json.loads(line)}
    assert was <= set(content.splitlines()), "the second one has the first one's access as well"
    assert (used / "log.jsonl").stat().st_mode & 0o777 == 0o600
    assert licet("audit", "verify", "--file", "log.jsonl").exit_code == Exit.OK


@pytest.mark.parametrize(
    ("old", "new"),
    [('\\"support-bot\\"', '\\"support-bit\\"'), ('{"end":true,"records":14', '{"end":true,"records":13'), ('"index":2,', '"index":7,')],
)
def test_an_export_that_was_changed_ends_with_8(licet: Licet, used: Path, old: str, new: str) -> None:
    licet("audit", "export", "-o", "log.jsonl")
    text = (used / "log.jsonl").read_text()
    assert old in text
    (used / "log.jsonl").write_text(text.replace(old, new, 1))
    assert licet("audit", "verify", "--file", "log.jsonl").exit_code == Exit.INTEGRITY_BROKEN


def test_an_export_that_was_cut_ends_with_8(licet: Licet, used: Path) -> None:
    licet("audit", "export", "-o", "log.jsonl")
    lines = (used / "log.jsonl").read_text().splitlines(keepends=True)
    (used / "log.jsonl").write_text("".join(lines[:-1]))
    assert licet("audit", "verify", "--file", "log.jsonl").exit_code == Exit.INTEGRITY_BROKEN


def test_an_export_overwrites_nothing_and_mixes_with_no_envelope(licet: Licet, used: Path) -> None:
    (used / "taken").write_text("mine")
    taken = licet("audit", "export", "-o", "taken")
    assert taken.exit_code == Exit.ERROR
    assert (used / "taken").read_text() == "mine"
    assert envelope(licet("audit", "export", "--json"))["error"]["exit"] == Exit.USAGE


READING = [
    ("audit", "search"),
    ("audit", "tail"),
    ("audit", "show", "acme:0"),
    ("audit", "verify"),
    ("audit", "export"),
    ("approvals", "list"),
    ("why", "acme:0"),
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_reading_makes_no_store_and_says_that_there_is_none(licet: Licet, project: Path, arguments: tuple[str, ...]) -> None:
    result = licet(*arguments)
    assert result.exit_code == Exit.ERROR
    assert result.stderr.startswith(f"error: there is no ledger at `{project / 'licet.db'}`\nnext: an application makes the ledger")
    assert not list(project.glob("licet.db*"))


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_file_that_is_no_ledger_is_told_and_left_alone(licet: Licet, project: Path, arguments: tuple[str, ...]) -> None:
    for content in (b"not a database at all, but long enough to look at" * 40, b""):
        (project / "licet.db").write_bytes(content)
        result = licet(*arguments)
        assert result.exit_code == Exit.ERROR
        assert "Traceback" not in result.stderr
        assert "next: " in result.stderr
        assert (project / "licet.db").read_bytes() == content


def test_another_database_is_told_and_left_alone(licet: Licet, project: Path) -> None:
    with sqlite3.connect(project / "licet.db") as con:
        con.execute("CREATE TABLE mine (x)")
    con.close()
    result = licet("audit", "search")
    assert result.exit_code == Exit.ERROR
    assert "is a SQLite database, but not a ledger" in result.stderr


def test_reading_leaves_every_record_as_it_is_and_adds_who_read(licet: Licet, used: Path) -> None:
    def stored() -> list[Any]:
        with sqlite3.connect(used / "licet.db") as con:
            rows = con.execute("SELECT place, kind, envelope, sealed FROM records JOIN payloads USING (place) ORDER BY place").fetchall()
        con.close()
        return rows

    before = stored()
    for arguments in READING:
        assert licet(*arguments).exit_code == Exit.OK
    after = stored()
    assert set(before) <= set(after)
    assert {kind for _, kind, _, _ in set(after) - set(before)} == {"access"}
    assert licet("audit", "verify").exit_code == Exit.OK


def test_times_are_told_in_utc(licet: Licet, used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = licet("audit", "search").stdout
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    assert licet("audit", "search").stdout == before
    monkeypatch.undo()
    time.tzset()
