"""Freezes beside threads, processes, deaths and a store that fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet.errors import FreezeRefused, StoreUnavailable
from licet.gate.results import Denied, Ok
from tests.gate.faulty import drain, faulty_world
from tests.gate.freezes import WHY, freeze, look_up
from tests.gate.proof import assert_whole
from tests.world import World, world_on

ROOT = Path(__file__).parents[2]


# many at once


def test_after_the_receipt_of_a_freeze_no_intent_begins(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.gate.seal()
        begun = threading.Semaphore(0)

        def work(_: int) -> Denied:
            while not isinstance(result := w.adjust(1), Denied):
                begun.release()
            return result

        with ThreadPoolExecutor(16) as pool:
            working = pool.map(work, range(16))
            for _ in range(64):
                assert begun.acquire(timeout=60)
            w.gate.freeze("agent", "support-bot", tenant="acme", reason=WHY)
            denied = list(working)
        assert {result.decision.code for result in denied} == {"frozen"}
        kinds = w.kinds()
        frozen_at = kinds.index("freeze")
        assert "intent" not in kinds[frozen_at:]
        assert kinds.count("intent") == len(w.ran) == kinds.count("outcome")
        assert_whole(w.gate)


@pytest.mark.parametrize("what", ["read", "write"])
def test_another_process_is_stopped(tmp_path: Path, what: str) -> None:
    with world_on(tmp_path) as w:
        w.gate.seal()
        command = [sys.executable, "-m", "tests.gate.freezing", str(tmp_path), what]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert other.stdout is not None
        assert other.stdout.readline() == "running\n"
        w.gate.freeze("agent", "support-bot", tenant="acme", reason=WHY, by="lena")
        told, _ = other.communicate(timeout=60)
        assert told.startswith("frozen agent `support-bot` of tenant `acme` is frozen since")
        assert f"by `lena`: {WHY}" in told
        kinds = w.kinds()
        assert "intent" not in kinds[kinds.index("freeze") :]
        assert kinds[-1] == "denial"
        assert_whole(w.gate)


def test_of_sixteen_who_lift_one_does(w: World) -> None:
    stopped = freeze(w)
    barrier = threading.Barrier(16)

    def lift(_: int) -> str:
        barrier.wait(60)
        try:
            w.gate.lift(stopped.id, reason="mended")
        except FreezeRefused as refused:
            return refused.code
        return "lifted"

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lift, range(16)))
    assert answers.count("lifted") == 1
    assert {*answers} <= {"lifted", "already_lifted", "no_such_freeze"}
    assert w.kinds("operator").count("freeze") == 2


# restarts


def test_a_restart_keeps_it(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        stopped = freeze(w, by="lena")
    with world_on(tmp_path) as w:
        assert w.gate.freezes() == (stopped,)
        w.denied(look_up(w), "frozen", WHY)


DIES = """
import os, sys
from pathlib import Path
from licet.store import opening
from licet.store.sqlite import SqliteStore
from tests.world import world_on

class Dying(SqliteStore):
    def commit(self, batches):
        freezes = any(record.kind == "freeze" for batch in batches for record in batch.records)
        if freezes and sys.argv[2] == "before":
            os.kill(os.getpid(), 9)
        answers = super().commit(batches)
        if freezes:
            os.kill(os.getpid(), 9)
        return answers

vars(opening)["SqliteStore"] = Dying
with world_on(Path(sys.argv[1])) as w:
    w.gate.freeze("agent", "support-bot", reason="why")
"""


@pytest.mark.parametrize(("moment", "stands"), [("before", False), ("after", True)])
def test_a_process_that_is_killed_has_frozen_or_not(tmp_path: Path, moment: str, *, stands: bool) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path), moment], cwd=ROOT, env=environ, check=False, timeout=60)
    assert done.returncode == -9
    with world_on(tmp_path) as w:
        assert isinstance(look_up(w), Denied) is stands
        assert w.kinds("operator").count("freeze") == len(w.gate.freezes()) == stands
        assert_whole(w.gate)


# a store that cannot be read


def test_a_store_that_cannot_be_read_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch) as (w, store):
        assert isinstance(look_up(w), Ok)
        monkeypatch.setattr("licet.gate.freeze_view.FRESH_S", 0.0)
        store.fail("unreadable")
        store._kinds = frozenset({"none of these"})  # what is written is written
        assert isinstance(look_up(w), Ok), "what was seen a moment ago is still believed"
        monkeypatch.setattr("licet.gate.freeze_view.STALE_S", 0.0)
        w.denied(look_up(w), "log_unavailable", "cannot be read")
        store.mend()
        assert isinstance(look_up(w), Ok)
        drain(w.gate)
        assert_whole(w.gate)


@pytest.mark.parametrize(("how", "stands"), [("down", False), ("ambiguous", True)])
def test_a_freeze_whose_answer_is_lost_stands_or_not_and_the_next_call_knows(
    monkeypatch: pytest.MonkeyPatch, how: Any, *, stands: bool
) -> None:
    with faulty_world(monkeypatch) as (w, store):
        assert isinstance(look_up(w), Ok)
        store.fail(how, "freeze")
        with pytest.raises(StoreUnavailable):
            freeze(w)
        store.mend()
        assert isinstance(look_up(w), Denied) is stands
        assert len(w.gate.freezes()) == stands
        drain(w.gate)
        assert_whole(w.gate)


def test_a_freeze_that_cannot_be_looked_up_behind_its_receipt_has_been_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_world(monkeypatch) as (w, store):
        assert isinstance(look_up(w), Ok)
        store.fail("unreadable")
        store._kinds = frozenset({"none of these"})  # what is written is written
        freeze(w)
        w.denied(look_up(w), "log_unavailable")
        store.mend()
        w.denied(look_up(w), "frozen", WHY)
        drain(w.gate)
