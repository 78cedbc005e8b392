"""How soon a caller that waits for people has its result, when somebody votes in another process; and what a thousand idle waiters cost.

The time runs from before the vote is cast here (so its commit is in it) to the moment at which the caller there has the tool's result (so
are its second decision, preview, intent and outcome). Both are read from the machine's steady clock. Thread and task are measured apart.

Idle: the CPU time of a process in which nobody waits, and of the same with a thousand tasks that wait, each for a request of its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import Row
from licet.model import RequestState
from licet.testing import vote
from tests.gate.asleep import LONG_S, WAYS, asleep
from tests.gate.waiting import AMOUNT
from tests.world import CONFIG, World, world_on

HERE = Path(__file__).parent
VOTES = 40
TARGET_MS = 300
WAITERS = 1_000
IDLE_S = 3.0
SETTLED_S = 3.0
"""After a thousand calls the signer and the search index have something to do for a moment; that is not what waiting costs."""


def run() -> list[Row]:
    """Vote to result by way of waiting, and the cost of waiting."""
    rows: list[Row] = []
    for way in WAYS:
        with tempfile.TemporaryDirectory(dir=HERE) as folder:
            rows += latency(Path(folder), way)
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        return rows + idle(Path(folder))


def latency(folder: Path, way: str) -> list[Row]:
    """Votes here, one after the other, and how long after each the caller in another process had its result."""
    command = [sys.executable, "-m", "tests.gate.sleeper", str(folder), way, "1", str(AMOUNT)]
    took_ms = []
    with (
        world_on(folder) as w,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as process,
    ):
        w.gate.seal()
        for number in range(VOTES):
            read(process)  # it sleeps
            (shown,) = w.gate.approvals.waiting()
            time.sleep(0.011 * number % 0.05)  # anywhere between two looks of the watcher
            began = time.monotonic()
            vote(w.gate, shown.request.id, "lena")
            took_ms.append((read(process)["at"] - began) * 1_000)
            read(process)
            say(process, number + 1 < VOTES)
        process.wait()
    took_ms.sort()
    p50, p95 = took_ms[len(took_ms) // 2], took_ms[int(len(took_ms) * 0.95)]
    return [
        {"name": f"vote to result in another process, a waiting {way}: p50", "value": p50, "unit": "ms"},
        {
            "name": f"vote to result in another process, a waiting {way}: p95",
            "value": p95,
            "unit": "ms",
            "target": f"at most {TARGET_MS} ms",
            "ok": p95 <= TARGET_MS,
        },
    ]


def read(process: subprocess.Popen[str]) -> Any:
    """The next line that it says."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def say(process: subprocess.Popen[str], again: bool) -> None:  # noqa: FBT001 - the last round or not
    """Wait once more, or end."""
    assert process.stdin is not None
    if again:
        process.stdin.write("again\n")
        process.stdin.flush()
    else:
        process.stdin.close()


def idle(folder: Path) -> list[Row]:
    """CPU time while nobody decides anything."""
    with world_on(folder, CONFIG.replace('expires = "15m"', f'expires = "15m"\nopen_per_caller = {WAITERS}')) as w:
        w.gate.seal()
        nobody = cpu_share()
        waiting, states_us = asyncio.run(with_waiters(w))
    return [
        {
            "name": f"CPU while {WAITERS:,} tasks wait, each for its own request",
            "value": waiting * 100,
            "unit": "% of a core",
            "base": nobody * 100,
            "target": "at most 2 %",
            "ok": waiting <= 0.02,
        },
        {"name": f"the states of {WAITERS:,} requests", "value": states_us, "unit": "us"},
    ]


async def with_waiters(w: World) -> tuple[float, float]:
    """The share of a core that a thousand waiting tasks take, and how long it takes to read the states of their requests."""
    with w.alice():
        calls = [
            asyncio.ensure_future(w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": AMOUNT + n}, wait=LONG_S))
            for n in range(WAITERS)
        ]
    await asyncio.to_thread(asleep, w, WAITERS)
    await asyncio.sleep(SETTLED_S)
    began = time.process_time()
    await asyncio.sleep(IDLE_S)
    share = (time.process_time() - began) / IDLE_S
    requests = [request.id for request in w.gate.store.requests(states=(RequestState.OPEN,))]
    assert len(requests) == WAITERS
    began = time.perf_counter()
    for _ in range(10):
        w.gate.store.states_of(requests)
    states_us = (time.perf_counter() - began) / 10 * 1_000_000
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    return share, states_us


def cpu_share() -> float:
    """The share of a core that this process takes when nobody waits."""
    began = time.process_time()
    time.sleep(IDLE_S)
    return (time.process_time() - began) / IDLE_S
