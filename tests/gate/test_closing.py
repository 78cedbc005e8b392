"""Closing, forking, losing the lease: from then on a gate refuses."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from licet import Gate
from licet.config import loads
from licet.errors import GateClosed
from licet.gate.results import Ok, Result
from tests.gate.proof import assert_whole
from tests.world import CONFIG, World, world, world_on

READ = ("crm.lookup", {"customer_id": "C-1"})


def read(w: World) -> Result:
    with w.alice():
        return w.gate.call(*READ)


def test_a_closed_gate_refuses_and_runs_nothing(w: World) -> None:
    with world() as other:
        assert isinstance(read(other), Ok)
        other.gate.close()
        other.gate.close()
        for attempt in (
            lambda: read(other),
            other.gate.seal,
            lambda: other.gate.store,
            lambda: other.gate.approvals,
            lambda: other.gate.check(*READ),
        ):
            with pytest.raises(GateClosed, match="this gate has been closed"):
                attempt()
        with pytest.raises(GateClosed), other.alice():
            asyncio.run(other.gate.acall(*READ))
        assert len(other.ran) == 1


def test_a_gate_that_was_never_opened_closes(tmp_path: Path) -> None:
    Gate(loads(CONFIG, file=tmp_path / "licet.toml")).close()


def in_a_child(act: Callable[[], int]) -> int:
    """The exit code of a forked child that does this and nothing else."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_refused_and_its_parent_goes_on(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        assert isinstance(read(w), Ok)

        def child() -> int:
            refused = 0
            for attempt in (lambda: read(w), w.adjust, w.gate.seal, lambda: w.gate.store):
                try:
                    attempt()
                except GateClosed as closed:
                    refused += "fork" in str(closed)
            w.gate.close()
            return refused + 10 * (len(w.ran) - 1)

        assert in_a_child(child) == 4
        assert isinstance(read(w), Ok)
        assert isinstance(w.adjust(), Ok)
        assert_whole(w.gate)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_the_gate_was_opening_is_refused_at_once(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        holding, release = threading.Event(), threading.Event()

        def hold() -> None:
            with w.gate._lock:
                holding.set()
                release.wait(30)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(hold)
            assert holding.wait(10)

            def child() -> int:
                try:
                    read(w)
                except GateClosed:
                    w.gate.close()
                    return 7
                return 1

            assert in_a_child(child) == 7
            release.set()
        assert isinstance(read(w), Ok)


def test_a_gate_whose_lease_is_lost_refuses(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(), Ok)
        for lease in (tmp_path / "licet.db-boots").iterdir():
            lease.unlink()
        with world_on(tmp_path) as other:
            assert isinstance(other.adjust(), Ok)
            w.denied(w.adjust(), "log_unavailable", "nothing was done", "declared this one dead")
            with w.alice():
                lost = w.gate.call(*READ)
            assert not isinstance(lost, Ok)
            assert len(w.ran) == 2, "a merged read runs before its record; its result is withheld"
            assert "tenant" not in repr(lost)
            assert_whole(other.gate)


def test_the_open_calls_of_a_gate_that_was_closed_in_the_middle_are_recovered(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:

        @w.gate.tool("slow.write", access="write", touches={"access"})
        def slow() -> None:
            w.started.set()
            w.release.wait(30)

        def go() -> Result:
            with w.alice():
                return w.gate.call("slow.write", {})

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(go)
            assert w.started.wait(10)
            w.gate.close()
            w.release.set()
            running.result(20)
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert w.kinds() == ["intent", "recovery"]
        outcome = w.records()[1].envelope.outcome
        assert outcome is not None
        assert (outcome.status, outcome.code) == ("unknown", "process_died")
        assert w.gate.store.open_calls() == ()
        assert_whole(w.gate)
