"""Callers of several processes that wait on one store, and a process that is killed while it waits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from licet.gate.results import Held, Ok
from licet.model import RequestState
from licet.testing import vote
from tests.gate.asleep import WAYS, Way, start, the_request
from tests.gate.proof import assert_whole
from tests.gate.waiting import AMOUNT
from tests.world import World, world_on

ROOT = Path(__file__).parents[2]


class Sleeper:
    """Another process, whose callers wait."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        return json.loads(line)

    def ended(self, callers: int) -> tuple[list[tuple[str, str]], int]:
        """What each caller got, and how often a tool ran there."""
        found = [self.read() for _ in range(callers)]
        ran = self.read()["ran"]
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        return [(one["result"], one["code"]) for one in found], ran


@contextmanager
def sleeping(folder: Path, way: Way, callers: int) -> Iterator[Sleeper]:
    """Another process; all its callers wait."""
    command = [sys.executable, "-m", "tests.gate.sleeper", str(folder), way, str(callers), str(AMOUNT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        sleeper = Sleeper(process)
        try:
            assert sleeper.read() == "asleep"
            yield sleeper
        finally:
            process.kill()


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world_on(tmp_path) as made:
        made.gate.seal()
        yield made
        assert_whole(made.gate)


@pytest.mark.parametrize("way", WAYS)
def test_a_vote_wakes_a_caller_in_another_process(w: World, tmp_path: Path, way: Way) -> None:
    with sleeping(tmp_path, way, 1) as sleeper:
        vote(w.gate, the_request(w), "lena")
        assert sleeper.ended(1) == ([("Ok", "allowed")], 1)
    (shown,) = w.gate.approvals.all()
    assert shown.request.state is RequestState.CONSUMED


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", ["rejected", "withdrawn"])
def test_an_end_wakes_a_caller_in_another_process(w: World, tmp_path: Path, way: Way, code: str) -> None:
    with sleeping(tmp_path, way, 1) as sleeper:
        request = the_request(w)
        if code == "rejected":
            vote(w.gate, request, "lena", verdict="reject")
        else:
            w.gate.approvals.withdraw(request, "alice")
        assert sleeper.ended(1) == ([("Denied", code)], 0)
    assert len(w.gate.approvals.all()) == 1


@pytest.mark.heavy
def test_of_callers_in_three_processes_that_wait_for_one_grant_exactly_one_runs(w: World, tmp_path: Path) -> None:
    with (
        sleeping(tmp_path, "thread", 6) as threads,
        sleeping(tmp_path, "task", 6) as tasks,
        ThreadPoolExecutor(1) as pool,
    ):
        here = start(pool, w, "thread")
        vote(w.gate, the_request(w), "lena")
        mine = here.result(60)
        found = [(type(mine).__name__, mine.decision.code if not isinstance(mine, Ok) else "allowed")]  # type: ignore[union-attr]
        ran = len(w.ran)
        for sleeper in (threads, tasks):
            results, times = sleeper.ended(6)
            found += results
            ran += times
    assert ran == 1
    assert sorted(found) == [("Denied", "approval_used")] * 12 + [("Ok", "allowed")]
    (shown,) = w.gate.approvals.all()
    assert shown.request.state is RequestState.CONSUMED


@pytest.mark.heavy
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("voted", ["before", "after"])
def test_a_process_that_is_killed_while_it_waits_loses_nothing(w: World, tmp_path: Path, way: Way, voted: str) -> None:
    with sleeping(tmp_path, way, 2) as sleeper:
        request = the_request(w)
        sleeper.process.kill()
        assert sleeper.process.wait() == -9
    assert w.gate.poll(request) is RequestState.OPEN
    if voted == "before":
        vote(w.gate, request, "lena")
        assert isinstance(w.adjust(AMOUNT), Ok)
    else:
        held = w.adjust(AMOUNT)
        assert isinstance(held, Held)
        assert held.request == request, "the same call finds its request"
        with ThreadPoolExecutor(1) as pool:
            found = start(pool, w, way)
            vote(w.gate, request, "lena")
            assert isinstance(found.result(30), Ok)
    assert len(w.ran) == 1
    assert [shown.request.id for shown in w.gate.approvals.all()] == [request]
