"""A thousand processes killed with SIGKILL, one after the other, at every step of a governed call: is anything lost?

Each round forks a process that opens the ledger (which recovers the calls of the one before), makes calls in two threads, and is killed at
a step, or up to 2 ms later. What its callers and its tools have seen by then is held against the log (tests/gate/kills.py has the list).
A round that finds anything wrong ends the benchmark with an error.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row
from tests.gate.doomed import STEPS
from tests.gate.kills import Kills

ROUNDS = 1_000
CHECKED_EVERY = 25


def run() -> list[Row]:
    """Rounds by the last step that the killed process had reached, and what was held against the log."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder, Kills(Path(folder)) as kills:
        for number in range(1, ROUNDS + 1):
            kills.kill_one()
            if number % CHECKED_EVERY == 0:
                kills.check()
        seconds = time.perf_counter() - began
        rows: list[Row] = [
            {"name": f"killed: {step}", "value": kills.at[step], "unit": "rounds", "target": "reached", "ok": kills.at[step] > 0}
            for step in STEPS
        ]
        found = {
            "receipts that callers had, all in the log with the same leaf": kills.receipts,
            "effects, each with its intent, none of them twice": kills.effects,
            "intents of killed processes, recorded as unknown": kills.recovered,
            "calls repeated after a death, with their key or approval": kills.repeats,
        }
        rows += [{"name": name, "value": value, "unit": "", "target": "some", "ok": value > 0} for name, value in found.items()]
        rows.append({"name": "a round", "value": seconds / ROUNDS * 1_000, "unit": "ms"})
    return rows
