"""What happens at the same instant: one of two comes first, and the other finds what it has left."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from licet.errors import TransitionRefused, VoteRefused
from licet.gate.results import Denied, Held, Ok
from licet.model import RequestId, RequestState
from tests.gate.proof import assert_whole
from tests.world import World, world_on

AMOUNT = 50_000
ROUNDS = 15
ROOT = Path(__file__).parent.parent.parent


def asked(w: World, amount: int = AMOUNT) -> RequestId:
    request = w.held(amount).request
    assert request is not None
    return request


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What each gives, or raises, when all begin together."""
    start = threading.Barrier(len(acts))
    found: list[Any] = [None] * len(acts)

    def run(at: int) -> None:
        start.wait()
        try:
            found[at] = acts[at]()
        except (VoteRefused, TransitionRefused) as refused:
            found[at] = refused

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def state_of(w: World, request: RequestId) -> RequestState:
    return w.gate.store.get_request(request).state


def test_approving_against_expiring(w: World) -> None:
    """The clock passes the end of the request while somebody approves it: it is approved and expires, or expires; it never runs."""
    for _ in range(ROUNDS):
        request = asked(w)
        w.clock.advance(15 * 60 - 1)
        vote, _ = at_once(partial(w.gate.approvals.vote, request, "lena", "approve"), lambda: w.clock.advance(1))
        result = w.adjust(AMOUNT)
        assert isinstance(result, Held), (vote, result)
        assert result.request != request
        assert state_of(w, request) is RequestState.EXPIRED
        w.gate.approvals.withdraw(result.request, "alice")  # type: ignore[arg-type]
    assert w.ran == []
    assert_whole(w.gate)


def test_approving_against_withdrawing(w: World) -> None:
    for _ in range(ROUNDS):
        request = asked(w)
        vote, withdrawal = at_once(
            partial(w.gate.approvals.vote, request, "lena", "approve"),
            partial(w.gate.approvals.withdraw, request, "alice"),
        )
        # An approval can be withdrawn too, so the withdrawal holds whoever was first.
        assert not isinstance(withdrawal, Exception) or state_of(w, request) is not RequestState.WITHDRAWN, (vote, withdrawal)
        if isinstance(withdrawal, Exception):
            w.gate.approvals.withdraw(request, "alice")
        assert state_of(w, request) is RequestState.WITHDRAWN
        again = w.adjust(AMOUNT)
        assert isinstance(again, Held)
        assert again.request != request
        w.gate.approvals.withdraw(again.request, "alice")  # type: ignore[arg-type]
    assert w.ran == []
    assert_whole(w.gate)


def test_using_against_withdrawing(w: World) -> None:
    for _ in range(ROUNDS):
        w.ran.clear()
        request = asked(w)
        w.gate.approvals.vote(request, "lena", "approve")
        result, withdrawal = at_once(lambda: w.adjust(AMOUNT), partial(w.gate.approvals.withdraw, request, "alice"))
        used = state_of(w, request) is RequestState.CONSUMED
        assert isinstance(result, Ok) is used, (result, withdrawal)
        assert isinstance(withdrawal, TransitionRefused) is used
        assert len(w.ran) == used
        if isinstance(result, Held):
            w.gate.approvals.withdraw(result.request, "alice")  # type: ignore[arg-type]
    assert_whole(w.gate)


def test_using_against_expiring(w: World) -> None:
    for _ in range(ROUNDS):
        w.ran.clear()
        request = asked(w)
        w.gate.approvals.vote(request, "lena", "approve")
        w.clock.advance(15 * 60 - 1)
        result, _ = at_once(lambda: w.adjust(AMOUNT), lambda: w.clock.advance(1))
        w.gate.approvals.waiting()  # whoever looks expires what is past its time
        used = state_of(w, request) is RequestState.CONSUMED
        assert isinstance(result, Ok) is used
        assert isinstance(result, Ok | Held | Denied)
        assert len(w.ran) == used
        for shown in w.gate.approvals.waiting():
            w.gate.approvals.withdraw(shown.request.id, "alice")
    assert_whole(w.gate)


# in two processes, on one file


class Racer:
    """A process that is ready to act."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.approvals.racing", str(folder), *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def wait_until_ready(self) -> None:
        assert self._stdout.readline() == "ready\n"

    def go(self) -> None:
        self._stdin.write("\n")
        self._stdin.flush()

    def said(self) -> str:
        return self._stdout.readline().strip()

    def end(self) -> None:
        self._stdin.close()
        self._stdout.close()
        self._process.wait(30)


@contextmanager
def racers(folder: Path, *acts: tuple[str, ...]) -> Iterator[list[Racer]]:
    with ExitStack() as stack:
        found = []
        for arguments in acts:
            racer = Racer(folder, *arguments)
            stack.callback(racer.end)
            found.append(racer)
        for racer in found:
            racer.wait_until_ready()
        yield found


def race(folder: Path, *acts: tuple[str, ...]) -> list[str]:
    with racers(folder, *acts) as found:
        for racer in found:
            racer.go()
        return [racer.said() for racer in found]


@pytest.mark.heavy
def test_of_four_processes_that_use_one_approval_one_runs_it(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        request = asked(w)
        w.gate.approvals.vote(request, "lena", "approve")
    said = race(tmp_path, *[("call", str(AMOUNT))] * 4)
    assert [one for one in said if one.startswith("ok")] == ["ok 1"], said
    with world_on(tmp_path) as w:
        assert state_of(w, request) is RequestState.CONSUMED
        assert w.kinds().count("intent") == 1
        assert_whole(w.gate)


@pytest.mark.heavy
def test_two_people_who_approve_in_two_processes_are_both_counted(tmp_path: Path) -> None:
    with world_on(tmp_path) as w, w.alice():
        held = w.gate.call("account.suspend", {"customer_id": "C-1"})
        assert isinstance(held, Held)
        request = held.request
        assert request is not None
    said = race(tmp_path, ("vote", request, "dana", "approve"), ("vote", request, "omar", "approve"))
    assert sorted(said) == ["cast approved", "cast open"]
    with world_on(tmp_path) as w:
        assert state_of(w, request) is RequestState.APPROVED
        assert_whole(w.gate)


@pytest.mark.heavy
def test_of_an_approval_and_a_rejection_in_two_processes_the_rejection_ends_it_or_comes_too_late(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        request = asked(w)
    said = race(tmp_path, ("vote", request, "lena", "approve"), ("vote", request, "lena", "reject"))
    assert [one.split()[0] for one in sorted(said)] == ["cast", "refused"], said
    with world_on(tmp_path) as w:
        assert len(w.gate.store.votes(request)) == 1
        assert_whole(w.gate)
