from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.cli.conftest import run_licet

pytestmark = pytest.mark.heavy  # each test starts processes or servers of its own


ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRAM = "from licet.cli import main; main()"
WITH_BARS = "from licet.cli import progress, main; progress.WORTH_A_BAR = 0; main()"


def on_terminal(folder: Path, *arguments: str, columns: int = 80, code: str = PROGRAM, **environ: str) -> str:
    """What a terminal of this width is sent, stdout and stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"}}
    env = kept | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | environ
    program = [sys.executable, "-c", code, *arguments]
    sent = b""
    with subprocess.Popen(program, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as shown:
        # Our copy of the other end stays open until all has been read: what is on its way when the last one closes can be lost.
        while select.select([ours], [], [], 0.05)[0] or shown.poll() is None:
            if select.select([ours], [], [], 0)[0]:
                sent += os.read(ours, 65_536)
    os.close(theirs)
    os.close(ours)
    return sent.decode().replace("\r\n", "\n")


VERBS = [
    ("audit", "search"),
    ("audit", "show", "acme:5"),
    ("audit", "verify"),
    ("approvals", "list"),
    ("why", "acme:5"),
    ("check",),
    ("nope",),
]
MOVING = ("doctor",)  # free room and the like are not the same twice


@pytest.mark.parametrize("arguments", [*VERBS, MOVING], ids=" ".join)
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_lines_fit_the_terminal(used: Path, arguments: tuple[str, ...], columns: int) -> None:
    shown = ESCAPE.sub("", on_terminal(used, *arguments, columns=columns))
    assert shown.strip()
    for line in shown.splitlines():
        assert len(line) <= max(columns, 77) or line.startswith("licet.invalid/"), line  # a hash is never cut, nor a key


@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_no_color_is_honoured_and_loses_no_word(used: Path, arguments: tuple[str, ...]) -> None:
    plain = on_terminal(used, *arguments, NO_COLOR="1")
    coloured = on_terminal(used, *arguments)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", plain)
    assert re.search(r"\x1b\[[0-9;]*m", coloured)
    assert ESCAPE.sub("", plain) == ESCAPE.sub("", coloured)


@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_away_from_a_terminal_a_fact_is_a_line_without_escapes(used: Path, arguments: tuple[str, ...]) -> None:
    done = run_licet(used, *arguments, TERM="xterm-256color", COLUMNS="20")
    assert "\x1b" not in done.stdout + done.stderr
    wrapped = ESCAPE.sub("", on_terminal(used, *arguments))
    assert "".join((done.stdout + done.stderr).split()) == "".join(wrapped.split())


def test_where_the_encoding_has_no_glyphs_plain_marks_stand_in(used: Path) -> None:
    done = run_licet(used, "audit", "search", "--verdict", "deny", PYTHONIOENCODING="ascii:backslashreplace", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout.startswith("x deny     support-bot for alice was denied")
    assert done.stdout.isascii()


def test_verify_shows_how_far_it_is_on_a_terminal_only(used: Path) -> None:
    assert "14/14 records" in ESCAPE.sub("", on_terminal(used, "audit", "verify", code=WITH_BARS))
    assert "13/13" not in run_licet(used, "audit", "verify").stderr
    assert "records" not in on_terminal(used, "audit", "verify", "--json", code=WITH_BARS).split('"records"')[0]


def test_export_shows_how_far_it_is_on_a_terminal_only(used: Path) -> None:
    shown = ESCAPE.sub("", on_terminal(used, "audit", "export", "-o", "log.jsonl", code=WITH_BARS))
    assert "exporting" in shown
    assert "next: `licet audit verify --file log.jsonl` verifies it" in shown
