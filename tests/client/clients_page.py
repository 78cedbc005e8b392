"""The page about the clients, run as it stands: its programs beside a running server, and somebody who approves what they hold."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from licet.client import types
from tests.client.generate import ROOT
from tests.client.serving import Served, served
from tests.documents import Document

PAGE = Document.read(ROOT / "docs/clients.md")
FILES = {block.file: block.code for block in PAGE.blocks if block.file is not None}
(PRINTED,) = (block.code for block in PAGE.blocks if block.mark == "output")


@contextmanager
def served_as_on_the_page() -> Iterator[Served]:
    """A world that knows the customer of the page, served."""
    with served() as found:
        found.world.world.customers["C-412"] = {"tenant": "acme", "vip": False, "balance": 0, "suspended": False}
        yield found


@contextmanager
def lena_approving(door: Served) -> Iterator[None]:
    """Lena approves whatever waits for her, while this is open."""
    over = threading.Event()
    lena = door.client("lena")

    def approve() -> None:
        while not over.wait(0.05):
            for shown in lena.list_requests(state=("open",)).requests:
                lena.vote_on_request(shown.id, types.CastVote(verdict="approve", binding=shown.binding))

    thread = threading.Thread(target=approve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run(door: Served, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program in this folder, as an agent of the page, until it ends; what is held meanwhile is approved."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LICET_")}
    environ |= {"LICET_SERVER": door.url, "LICET_API_KEY": "agent"}
    with lena_approving(door):
        return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)


def check(door: Served, done: subprocess.CompletedProcess[str]) -> None:
    """It printed what the page shows, told of the request that failed, and four calls ran and were reported."""
    assert (done.returncode, done.stdout) == (0, PRINTED), done.stderr
    assert re.fullmatch(r"request [0-9a-f-]{36}: there is no such thing, or none that this credential may see\n", done.stderr)
    ended = door.client("auditor").search_records(kind=("outcome",), payloads=True).records
    assert [one.envelope["outcome"]["status"] for one in ended] == ["ok"] * 4
