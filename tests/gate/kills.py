"""Kills processes (tests/gate/doomed.py) at any step, and holds what is left against what the world outside has seen.

After each kill the ledger is opened again, by the next process that is to be killed or, every few rounds, by this one, which then checks:

1. every receipt that a caller had is of a record that is there, with the same leaf;
2. every effect has its intent in the log;
3. no intent is open, and each has one end: the outcome that was appended, or a recovery that says `unknown`;
4. a call with a key or an approval had its effect once at most, although it was repeated after each death;
5. the whole ledger verifies.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from licet.testing import Read
from tests.gate.doomed import DOOMED_POLICIES, STEPS, Doomed, Job
from tests.gate.proof import assert_whole
from tests.world import world_on

ROOT = Path(__file__).parents[2]
DELAYS_S = (0.0, 0.0, 0.0002, 0.0005, 0.001, 0.002)
"""Between the moment at which a step is seen and the kill; a flush lasts about as long."""
DWELLING_SHARE = 0.5
"""Of the rounds: there the process dwells on the step; in the others it hurries on, and is met somewhere behind it."""
PATIENCE_S = 20.0
STRIDE = 10_000
"""Numbers of calls that a round may use."""


class Kills:
    """Rounds on one ledger. `at` counts the last step that each killed process had reached."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.at: Counter[str] = Counter()
        self.recovered = self.effects = self.receipts = self.repeats = 0
        self._folder = folder
        self._chance = random.Random(seed)
        self._round = 0
        self._process: int | None = None
        self._told: dict[int, tuple[str, int, str]] = {}
        self._in_flight: dict[int, Job] = {}
        self._jobs: dict[int, Job] = {}
        self._started = subprocess.Popen(
            [sys.executable, "-m", "tests.gate.doomed", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._started.stdin is not None
        self._started.stdin.close()
        if self._process is not None:
            os.kill(self._process, signal.SIGKILL)
        try:
            self._started.wait(10)
        except subprocess.TimeoutExpired:
            self._started.kill()
            raise
        finally:
            assert self._started.stdout is not None
            self._started.stdout.close()

    def kill_one(self) -> None:
        """A process is started, reaches a step for the nth time, and is killed a moment later."""
        step, times = STEPS[self._round % len(STEPS)], self._chance.randint(1, 6)
        self._round += 1
        repeats = [job for job in self._in_flight.values() if job.kind in {"pay", "keyed"}]
        self.repeats += len(repeats)
        dwell = step if self._chance.random() < DWELLING_SHARE else ""
        self._order({"first": self._round * STRIDE, "seed": self._chance.random(), "repeats": repeats, "dwell": dwell, "times": times})
        self._in_flight = {}
        lines = self._lines()
        process = self._process = int(next(lines).split()[1])
        patience = threading.Timer(PATIENCE_S, os.kill, (process, signal.SIGKILL))
        patience.start()
        reached, killed = "", False
        for text in lines:
            if text.startswith("ended "):
                self._process = None
                assert text == "ended -9", f"the process ended by itself: {text}"
                break
            if text.startswith("failed"):
                raise AssertionError(text)
            reached = self._heard(text) or reached
            times -= text.startswith(step)
            if not killed and (times == 0 or (step == "opened" and reached == step)):
                killed = True
                time.sleep(self._chance.choice(DELAYS_S) if step != "opened" else self._chance.random() * 0.1)
                os.kill(process, signal.SIGKILL)
        patience.cancel()
        assert killed, f"`{step}` was not reached within {PATIENCE_S:g} s; the last step was `{reached}`"
        self.at[reached] += 1

    def check(self) -> None:
        """Opened once more, the ledger says what the world outside has seen."""
        with world_on(self._folder, policies=DOOMED_POLICIES) as w:
            Doomed(w, self._folder)
            w.gate.seal()
            assert w.gate.store.open_calls() == ()
            records = w.records()
            leaves = [record.receipt.leaf for record in records]
            for number, (log, index, leaf) in self._told.items():
                assert log == "acme"
                assert leaves[index] == leaf, f"the record of call {number} was acknowledged and is lost"
            assert_whole(w.gate)
            self._check_effects(records)

    def _check_effects(self, records: list[Read]) -> None:
        effects = Counter(map(int, (self._folder / "effects").read_text().split()))
        intended = [record for record in records if record.kind == "intent"]
        numbers = Counter(msgspec.json.decode(record.payload.arguments).get("number") for record in intended if record.payload.arguments)
        assert not effects.keys() - numbers.keys(), "an effect without an intent"
        assert all(count == 1 for count in effects.values()), "a call that was repeated had its effect twice"
        ends = Counter(record.envelope.call for record in records if record.kind in {"outcome", "recovery"})
        assert ends == Counter(record.envelope.call for record in intended), "each intent has one end"
        recovered = [record.envelope.outcome for record in records if record.kind == "recovery"]
        assert {(outcome.status, outcome.code) for outcome in recovered if outcome} <= {("unknown", "process_died")}
        assert None not in recovered
        consumed = Counter(record.envelope.approval.request for record in intended if record.envelope.approval)
        assert all(count == 1 for count in consumed.values()), "an approval was used twice"
        self.recovered, self.effects, self.receipts = len(recovered), effects.total(), len(self._told)

    def _heard(self, text: str) -> str | None:
        """Take note of a line; its step, if it is one."""
        word, *rest = text.split()
        if word == "began":
            job = Job(rest[0], int(rest[1]))
            self._in_flight[job.number] = job
        elif word == "released":
            self._told[int(rest[0])] = (rest[1], int(rest[2]), rest[3])
            self._in_flight.pop(int(rest[0]), None)
        elif word == "refused":
            self._in_flight.pop(int(rest[0]), None)
        return next((step for step in STEPS if text.startswith(step)), None)

    def _order(self, order: dict[str, Any]) -> None:
        assert self._started.stdin is not None
        self._started.stdin.write(json.dumps(order) + "\n")
        self._started.stdin.flush()

    def _lines(self) -> Iterator[str]:
        assert self._started.stdout is not None
        for text in self._started.stdout:
            yield text.rstrip("\n")
        raise AssertionError(f"the process that starts the others ended with {self._started.wait()}")
