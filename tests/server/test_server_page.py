"""The page about the server, typed along: its commands beside its server, and what it says that they print."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.documents import Document

PAGE = Document.read(Path(__file__).parents[2] / "docs/server.md")
ADDRESS = "127.0.0.1:8181"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
PATIENCE_S = 60.0


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def environ() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LICET_")}
    return ours | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@contextmanager
def serving(command: str, printed: list[str], folder: Path) -> Iterator[None]:
    """What the page says to leave running, from the moment it has said what the page shows; stopped at the end, as by Ctrl-C."""
    told = folder / "server.log"
    with told.open("wb") as out:
        process = subprocess.Popen(command.split(), cwd=folder, env=environ(), stdout=out, stderr=out)
    try:
        ends = time.monotonic() + PATIENCE_S
        while not all(line in told.read_text() for line in printed):
            assert process.poll() is None, told.read_text()
            assert time.monotonic() < ends, told.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, told.read_text()


@pytest.mark.heavy
def test_whoever_types_the_page_gets_what_it_shows(tmp_path: Path) -> None:
    for block in PAGE.blocks:
        if block.file is not None:
            (tmp_path / block.file).write_text(block.code)
    here = free_address()
    commands = [
        (command.replace(ADDRESS, here), ends, [line.replace(ADDRESS, here) for line in lines]) for command, ends, lines in PAGE.steps
    ]
    (at,) = (number for number, (command, _, _) in enumerate(commands) if command == "licet serve")
    seen: dict[str, str] = {}
    for step in commands[:at]:
        typed(*step, tmp_path, seen)
    with (tmp_path / "licet.toml").open("a") as settings:
        settings.write(f'\n[server]\nlisten = "{here}"\nmetrics = ""\n')
    with serving(commands[at][0], commands[at][2], tmp_path):
        for step in commands[at + 1 :]:
            typed(*step, tmp_path, seen)
    assert set(seen) == {"REQUEST_ID", "CALL_ID"}


def typed(command: str, ends: int, printed: list[str], folder: Path, seen: dict[str, str]) -> None:
    """One command; ids that the page leaves to its reader are those that were shown last."""
    line = re.sub("REQUEST_ID|CALL_ID", lambda name: seen[name[0]], command)
    done = subprocess.run(line, shell=True, cwd=folder, env=environ(), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == ends, f"{line}: {output}"
    assert [line for line in printed if line not in output] == [], f"{line}: {output}"
    for name, member in (("REQUEST_ID", "request"), ("CALL_ID", "call")):
        if found := re.search(rf'"{member}":"({UUID})"', done.stdout):
            seen[name] = found[1]
