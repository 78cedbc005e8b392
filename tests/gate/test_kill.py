"""A process that is killed at any step: nothing that anybody was told is lost, and what nobody saw is said to be unknown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from licet.gate.results import Failed, Held, Ok
from licet.ledger.record import leaf_hash
from tests.gate.mortal import PLACES
from tests.gate.proof import assert_whole
from tests.world import world_on

ROOT = Path(__file__).parents[2]
RECOVERED = {"intent written, nobody told", "in the tool", "before the outcome"}
ENDED = {"outcome written, nobody told", "after everything"}


def killed(folder: Path, place: str) -> list[tuple[str, int, str]]:
    """Start a process, kill it at the place, and give what its callers had been told: log, index and leaf of each receipt."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.gate.mortal", str(folder), place], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            if line == "stopped\n":
                break
            _, log, index, leaf = line.split()
            told.append((log, int(index), leaf))
        else:
            raise AssertionError(f"the process ended by itself with {process.wait()}")
        process.kill()
        assert process.wait() == -9
    return told


@pytest.mark.parametrize("place", PLACES)
def test_killed_there_the_next_process_knows_what_is_known(tmp_path: Path, place: str) -> None:
    told = killed(tmp_path, place)
    assert len(told) == (4 if place == "after everything" else 3)
    with world_on(tmp_path) as w:
        w.gate.seal()
        for log, index, leaf in told:
            assert leaf_hash(w.gate.store.get_record(log, index).envelope).hex() == leaf, "nothing acknowledged is lost"
        assert w.gate.store.open_calls() == ()
        kinds = w.kinds()
        previewed, ends = kinds[kinds.index("vote") + 1 :][:1], kinds[kinds.index("vote") + 2 :]
        assert previewed == ([] if place == "before a read's record" else ["call"]), "a preview is read again before an approved call runs"
        if place in RECOVERED:
            assert ends == ["intent", "recovery"]
            intent, recovery = w.records()[-2:]
            assert recovery.envelope.call == intent.envelope.call
            assert recovery.envelope.outcome is not None
            assert (recovery.envelope.outcome.status, recovery.envelope.outcome.code) == ("unknown", "process_died")
            assert recovery.payload.message == "the process ended before the outcome was recorded"
            assert recovery.payload.detail == {"boot": intent.envelope.boot}
            assert recovery.envelope.boot != intent.envelope.boot
        elif place in ENDED:
            assert ends == ["intent", "outcome"]
        else:
            assert ends == []
        assert_whole(w.gate)
        again = w.adjust(50_000, idempotency_key="last")
        if place in RECOVERED:
            assert isinstance(again, Failed)
            assert (again.code, again.executed, again.retry) == ("process_died", True, False)
            assert w.ran == [], "what nobody saw is never repeated by itself"
            assert isinstance(w.adjust(50_000), Held), "the approval was used up"
        elif place in ENDED:
            assert isinstance(again, Ok)
            assert (again.value, again.replayed) == ("adjusted", True)
            assert w.ran == []
        else:
            # The balance that the preview shows is the fresh world's, which is not the one that was approved.
            assert isinstance(again, Held)
            assert "held anew, since the call would now change" in again.decision.message
        assert_whole(w.gate)


def test_two_processes_that_died_are_recovered_once(tmp_path: Path) -> None:
    killed(tmp_path, "in the tool")
    with world_on(tmp_path) as w:
        w.gate.seal()
        with world_on(tmp_path) as other:
            other.gate.seal()
            assert other.kinds().count("recovery") == 1
    with world_on(tmp_path) as w:
        w.gate.seal()
        assert w.kinds().count("recovery") == 1
        assert_whole(w.gate)


def test_a_living_process_is_not_recovered_by_another(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        running = []

        @w.gate.tool("slow.write", access="write", touches={"access"})
        def slow() -> str:
            with world_on(tmp_path) as other:
                other.gate.seal()
                running.append(other.kinds())
            return "done"

        with w.alice():
            assert isinstance(w.gate.call("slow.write", {}), Ok)
        assert running == [["intent"]]
        assert w.kinds() == ["intent", "outcome"]
        assert_whole(w.gate)
