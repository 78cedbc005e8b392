from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from licet.cli.exits import Exit
from tests.cli.conftest import CONFIG, POLICIES, Licet, envelope, run_app, run_licet
from tests.cli.screen import Terminal

pytestmark = pytest.mark.heavy

TWO_LEADS = CONFIG.replace("[groups]", '[users.omar]\ntenants = ["acme"]\n\n[groups]').replace(
    '["lena", "alice"]', '["lena", "omar", "alice"]'
)
HOSTILE = """
import shop
from licet.gate.results import Held
with shop.gate.acting(agent="support-bot", user="alice", reason="\\x1b[2J\\x1b[31mAPPROVED\\r\\n\\u202e now " + "x" * 300):
    held = shop.gate.call("ticket.hold", {"note": "\\x1b]0;owned\\x07\\n\\u202e" + "wide \\u4f60\\u597d " * 40})
print(held.request)
shop.gate.close()
"""


@pytest.fixture
def leads(project: Path) -> Path:
    """The project, in which two leads must agree."""
    (project / "licet.toml").write_text(TWO_LEADS)
    (project / "policies/base.cedar").write_text(POLICIES.replace("1 of Group", "2 of Group"))
    return project


@pytest.fixture
def held(project: Path) -> str:
    """A request of another process."""
    return run_app(project, "20000")[2]


def watching(folder: Path, *arguments: str, **options: Any) -> Terminal:
    return Terminal(folder, "approvals", "watch", *arguments, **options)


def state_of(licet: Licet, request: str) -> str:
    return str(envelope(licet("approvals", "show", request, "--json"))["data"]["state"])


def test_a_request_is_approved_with_a_key_a_comment_and_a_second_key(project: Path, licet: Licet, held: str) -> None:
    with watching(project, "--as", "lena", rows=40) as terminal:
        terminal.wait("1 open", 'Customer::"C-1" balance: 100 -> 20100', 'agent says "double charge"', "`lena` may vote")
        terminal.press("a")
        terminal.wait("Approve this call? A comment, if you like:")
        terminal.press("fine by mee\x7f, ü\r")
        asked = terminal.wait("Approve this call, as lena?", "y approve")
        binding = envelope(licet("approvals", "show", held, "--json"))["data"]["binding"]
        for shown in (held, binding, "100 -> 20100", '"amount_cents": 20000', '"fine by me, ü"'):
            assert shown in asked
        assert state_of(licet, held) == "open"
        terminal.press("y")
        terminal.wait("approved; the request is approved; recorded as acme:")
        terminal.press("q")
        assert terminal.end() == Exit.OK
        assert terminal.is_restored
    (vote,) = envelope(licet("approvals", "show", held, "--json"))["data"]["votes"]
    assert (vote["voter"], vote["verdict"], vote["comment"], vote["binding"]) == ("lena", "approve", "fine by me, ü", binding)
    assert run_app(project, "20000")[0] == "Ok"


def test_a_request_is_denied_with_a_key(project: Path, licet: Licet, held: str) -> None:
    with watching(project, "--as", "lena") as terminal:
        terminal.wait("1 open")
        terminal.press("d")
        terminal.wait("Deny this call? A comment")
        terminal.press("\r")
        terminal.wait("Deny this call, as lena?", "y deny")
        terminal.press("y")
        terminal.wait("denied; the request is rejected", "✗ rejected")
    assert state_of(licet, held) == "rejected"


@pytest.mark.parametrize("answer", ["n", "\x1b", "q"], ids=["n", "esc", "q"])
def test_without_the_second_key_nothing_is_done(project: Path, licet: Licet, held: str, answer: str) -> None:
    with watching(project, "--as", "lena") as terminal:
        terminal.wait("1 open")
        terminal.press("a")
        terminal.wait("A comment")
        terminal.press("\r")
        terminal.wait("Approve this call, as lena?", "y approve")
        terminal.press(answer)
        terminal.wait("nothing was done", "1 open")
        assert terminal.process.poll() is None
    assert state_of(licet, held) == "open"


def test_keys_that_were_typed_ahead_confirm_nothing(project: Path, licet: Licet, held: str) -> None:
    with watching(project, "--as", "lena") as terminal:
        terminal.wait("1 open")
        terminal.press("a\ryyyyyyyy")
        terminal.wait("Approve this call, as lena?", "y approve")
        terminal.press("\x1b")
        terminal.wait("nothing was done")
    assert state_of(licet, held) == "open"


def test_what_another_process_does_is_seen(leads: Path, licet: Licet) -> None:
    run_app(leads, "2500")
    with watching(leads, "--as", "omar", rows=40) as terminal:
        terminal.wait("Nothing waits for people.")
        request = run_app(leads, "20000")[2]
        terminal.wait("1 open", request, "waits for 2 more of billing-leads")
        assert run_licet(leads, "approvals", "approve", request, "--as", "lena", "--comment", "yes").returncode == 0
        terminal.wait("waits for 1 more of billing-leads", "lena approved at")
        second = run_app(leads, "30000")[2]
        terminal.wait("2 open", "balance: 2600 -> 32600")
        assert request in terminal.screen  # the selection stays where it was
        assert run_licet(leads, "approvals", "take-back", request, "--as", "lena").returncode == 0
        terminal.wait("waits for 2 more of billing-leads")
        assert run_licet(leads, "approvals", "withdraw", request, "--as", "alice").returncode == 0
        terminal.wait("1 open", "· withdrawn")
        terminal.press("j")
        terminal.wait(second)


def test_a_vote_is_taken_back_and_a_request_withdrawn_with_a_key(leads: Path, licet: Licet) -> None:
    request = run_app(leads, "20000")[2]
    assert run_licet(leads, "approvals", "approve", request, "--as", "omar").returncode == 0
    with watching(leads, "--as", "omar") as terminal:
        terminal.wait("1 open", "t take back")
        terminal.press("t")
        terminal.wait("Take your vote back, as omar?", "y take it back")
        terminal.press("y")
        terminal.wait("your vote is taken back; the request is open")
        terminal.press("t")
        terminal.wait("`omar` has no vote on it")
        terminal.press("w")
        terminal.wait("only `alice`, for whom it was made, can withdraw it")
    with watching(leads, "--as", "alice") as terminal:
        terminal.wait("1 open", "w withdraw")
        terminal.press("a")
        terminal.wait("`alice` is the one this call is made for")
        terminal.press("w")
        terminal.wait("Withdraw this request, as alice?", "y withdraw it")
        terminal.press("y")
        terminal.wait("withdrawn; the request is withdrawn", "nothing waits")
    assert state_of(licet, request) == "withdrawn"


def test_a_question_ends_where_its_request_does(project: Path, licet: Licet, held: str) -> None:
    with watching(project, "--as", "lena") as terminal:
        terminal.wait("1 open")
        terminal.press("a")
        terminal.wait("A comment")
        terminal.press("\r")
        terminal.wait("Approve this call, as lena?", "y approve")
        # The policy's text has changed, so the same call is held anew: another request, which nobody has seen.
        (project / "policies/base.cedar").write_text(POLICIES.replace("adjustments over", "whatever is over"))
        newer = run_app(project, "20000")[2]
        terminal.wait("the request is superseded now; nothing was done")
        terminal.press("y")
        terminal.press("a")
        terminal.wait("this request is over (superseded)")
    assert newer != held
    assert state_of(licet, newer) == "open"
    assert envelope(licet("approvals", "show", newer, "--json"))["data"]["votes"] == []


def test_a_list_is_walked_and_the_selected_request_is_shown_whole(project: Path) -> None:
    requests = [run_app(project, str(amount))[2] for amount in (20_000, 30_000, 40_000)]
    with watching(project, rows=40) as terminal:
        assert terminal.wait("3 open", requests[0]).count("▸") == 1
        for key, shown in (("j", 1), ("\x1b[B", 2), ("\x1b[B", 2), ("k", 1), ("\x1bOA", 0), ("k", 0)):
            terminal.press(key)
            terminal.wait(requests[shown])
        terminal.press("a")
        terminal.wait("nobody was named who decides: start with `--as USER`")


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 20), (120, 40), (20, 8), (30, 5)])
def test_every_line_fits_and_nothing_is_cut_off_from_who_scrolls(project: Path, held: str, columns: int, rows: int) -> None:
    with watching(project, "--as", "lena", columns=columns, rows=rows) as terminal:
        terminal.wait("open")
        seen = set()
        for _ in range(60):
            screen = terminal.screen
            seen |= {line.strip() for line in screen.splitlines()}
            assert len(screen.splitlines()) <= rows
            assert all(cell_len(line) <= columns for line in screen.splitlines())
            if "end (PgUp)" in screen:
                break
            if "more line" not in screen:
                break
            before = terminal.frames
            terminal.press("\x1b[6~")
            terminal.wait_drawn_since(before)
        assert "".join(sorted(seen)).count(held[:8]) >= (1 if rows > 5 else 0)


def test_an_approval_is_not_confirmed_before_its_end_was_seen(project: Path, licet: Licet, held: str) -> None:
    with watching(project, "--as", "lena", columns=40, rows=14) as terminal:
        terminal.wait("1 open")
        terminal.press("a")
        terminal.wait("A comment")
        terminal.press("\r")
        terminal.wait("Approve this call, as lena?", "PgDn read on, to approve")
        terminal.press("y")
        terminal.wait("there is more of it below")
        assert state_of(licet, held) == "open"
        terminal.press("\x1b[F")
        terminal.wait("y approve", "end (PgUp)")
        terminal.press("y")
        terminal.wait("the request is approved")
    assert state_of(licet, held) == "approved"


def test_a_new_size_is_drawn_at_once(project: Path, held: str) -> None:
    with watching(project, columns=120, rows=40) as terminal:
        terminal.wait("1 open", held)
        for columns, rows in ((40, 12), (200, 50), (80, 24)):
            terminal.resize(columns, rows)
            terminal.wait_until(partial(fills, columns, rows), f"{columns} columns")


def fills(columns: int, rows: int, screen: str) -> bool:
    return "─" * columns in screen and "─" * (columns + 1) not in screen and len(screen.splitlines()) == rows


def test_no_color_is_honoured_and_loses_no_word(project: Path, held: str) -> None:
    shown = []
    for environ in ({}, {"NO_COLOR": "1"}):
        with watching(project, rows=40, **environ) as terminal:
            terminal.wait(held)
            shown.append((re.sub(r"\d+:\d\d(:\d\d)?", "", terminal.screen), terminal.drawn))
    (coloured, with_colours), (plain, without) = shown
    assert coloured == plain
    assert re.search(r"\x1b\[[0-9;]*3[0-7]", with_colours)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", without)


@pytest.fixture
def hostile(project: Path) -> str:
    """A request whose texts try to command the terminal."""
    shop = project / "shop.py"
    tool = '@gate.tool("ticket.hold", access="write")\ndef hold(note: str) -> None: ...\n\n\ndef balances()'
    shop.write_text(shop.read_text().replace("def balances()", tool, 1))
    (project / "policies/hold.cedar").write_text(
        '@id("hold") permit (principal in Role::"support", action == Action::"ticket.hold", resource);\n'
        '@id("asks") @require_approval("1 of Group::\\"billing-leads\\"") forbid (principal, action == Action::"ticket.hold", resource);\n'
    )
    done = subprocess.run([sys.executable, "-c", HOSTILE], cwd=project, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_an_agent_wrote_commands_no_terminal(project: Path, hostile: str) -> None:
    with watching(project, "--as", "lena", columns=60, rows=60) as terminal:
        screen = terminal.wait("ticket.hold", r"\u{1b}[2J\u{1b}[31mAPPROVED\u{d}\u{a}\u{202e}")
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x07]", terminal.sent)
        assert "\x1b]" not in terminal.sent
        assert terminal.sent.count("\x1b[2J") == 0
        assert all(cell_len(line) <= 60 for line in screen.splitlines())
        assert "agent says" in screen


@pytest.mark.parametrize(
    ("how", "ends"),
    [("q", 0), ("\x03", 0), ("\x04", 0), (signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["q", "ctrl-c", "ctrl-d", "sigint", "sigterm", "sighup"],
)
def test_the_terminal_is_as_it_was_whatever_ends_it(project: Path, held: str, how: str | signal.Signals, ends: int) -> None:
    with watching(project, "--as", "lena") as terminal:
        terminal.wait("1 open")
        if isinstance(how, str):
            terminal.press(how)
        else:
            terminal.signal(how)
        assert terminal.end() == ends
        assert terminal.is_restored


def test_suspending_is_no_way_to_lose_the_screen(project: Path, held: str) -> None:
    with watching(project) as terminal:
        terminal.wait("1 open")
        terminal.press("\x1a")
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.is_restored


def test_the_terminal_is_as_it_was_after_an_error_that_nobody_expected(project: Path, held: str) -> None:
    with watching(project) as terminal:
        terminal.wait("1 open")
        (project / "licet.db").rename(project / "gone.db")
        (project / "licet.db").mkdir()
        terminal.resize(50, 20)
        terminal.wait_until(lambda screen: "─" * 51 not in screen, "another size")
        terminal.press("q")
        assert terminal.end() in {0, 1}
        assert terminal.is_restored


def test_somebody_whom_the_directory_does_not_know_is_refused_before_a_screen_is_drawn(project: Path, licet: Licet, held: str) -> None:
    result = licet("approvals", "watch", "--as", "ghost")
    assert result.exit_code == Exit.NOT_AUTHENTICATED
    assert result.stderr.startswith("error: `ghost` is not a user of the directory\n")


def test_a_voter_who_has_left_the_group_meanwhile_is_refused(project: Path, licet: Licet, held: str) -> None:
    with watching(project, "--as", "lena") as terminal:
        terminal.wait("1 open", "a approve")
        toml = project / "licet.toml"
        toml.write_text(CONFIG.replace('["lena", "alice"]', '["bob", "alice"]'))
        terminal.wait_until(lambda screen: "a approve" not in screen, "the key to go")
        terminal.press("a")
        terminal.wait("`lena` is not in `billing-leads`")
    assert state_of(licet, held) == "open"


@pytest.fixture
def following(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A watch away from a terminal."""
    program = [sys.executable, "-c", "from licet.cli import main; main()", "approvals", "watch", "--json"]
    run_app(project, "20000")
    with subprocess.Popen(program, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_away_from_a_terminal_each_thing_that_happens_is_a_line(project: Path, following: subprocess.Popen[str]) -> None:
    def event() -> tuple[str, str, dict[str, Any]]:
        assert following.stdout is not None
        found = json.loads(following.stdout.readline())
        assert (found["v"], found["command"], found["ok"]) == (1, "approvals watch", True)
        return found["data"]["event"], found["data"]["request"]["request"]["id"], found["data"]

    kind, first, _ = event()
    assert kind == "waiting"
    second = run_app(project, "30000")[2]
    assert event()[:2] == ("opened", second)
    run_licet(project, "approvals", "approve", first, "--as", "lena", "--comment", "ok")
    kind, request, data = event()
    assert (kind, request, data["vote"]["voter"], data["vote"]["comment"]) == ("vote", first, "lena", "ok")
    assert event()[:2] == ("approved", first)
    run_licet(project, "approvals", "take-back", first, "--as", "lena")
    assert [event()[0] for _ in range(2)] == ["taken_back", "reopened"]
    run_licet(project, "approvals", "deny", first, "--as", "lena")
    assert [event()[0] for _ in range(2)] == ["vote", "rejected"]
    run_licet(project, "approvals", "withdraw", second, "--as", "alice")
    assert event()[:2] == ("withdrawn", second)
    following.send_signal(signal.SIGINT)
    assert following.wait(60) == 0


def test_a_request_is_shown_with_its_countdown_until_it_is_decided(project: Path, licet: Licet, held: str) -> None:
    with Terminal(project, "approvals", "show", held, "--follow", "--as", "lena", rows=40) as terminal:
        first = terminal.wait("◆ open", held, ", in 14:")
        terminal.wait_until(lambda screen: screen != first, "the clock to move")
        terminal.press("a")
        terminal.wait("this only shows; `licet approvals watch --as USER` decides")
        assert run_licet(project, "approvals", "approve", held, "--as", "lena").returncode == 0
        assert terminal.end() == 0
        assert terminal.is_restored
        assert "✓ approved support-bot for alice asks" in terminal.sent.rpartition("\x1b[?1049l")[2].replace("\x1b[32m", "").replace(
            "\x1b[0m", ""
        )
