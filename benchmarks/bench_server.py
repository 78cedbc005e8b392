"""The hot endpoints beside a no-op on the same stack and the same work in process: CPU per request with 32 connections, p50 with one.

The client is wrk (Debian's package `wrk`), which needs a tenth of what the server needs. CPU is that of the whole server process, its
writer and indexer included, from `/proc`. Every figure is of one run, rounds interleaved, and the median of them is told.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop
from msgspec import Struct

from benchmarks.asked import EVALUATION, INQUIRER, fresh, inquiry, opened_at
from benchmarks.bench_calls import drive_tasks
from benchmarks.rows import Row
from licet import Gate

ROUNDS = 3
SECONDS = 3
CONNECTIONS = 32
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Served(Struct, frozen=True):
    """What a round of wrk gave: requests a second, p50 in seconds, CPU seconds of the server per request."""

    rate: float
    p50: float
    cpu: float


class Process:
    """A server in a process of its own."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving", kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def ask(self, script: Path, connections: int, seconds: int = SECONDS) -> Served:
        """A round of wrk. Raises where an answer was no 200."""
        before = self._cpu_s()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), self.url]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        used = self._cpu_s() - before
        assert "Non-2xx" not in told, told
        done = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]
        found = re.search(r"50%\s+([\d.]+)(us|ms|s)", told)
        assert found is not None, told
        return Served(done / seconds, float(found[1]) * _UNITS[found[2]], used / done)

    def close(self) -> None:
        """It ends in order."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S


def run() -> list[Row]:
    """Every figure of this file."""
    if shutil.which("wrk") is None:
        raise RuntimeError("these need wrk: `apt-get install wrk`")
    return measured("AuthZEN evaluation", EVALUATION, _evaluate)


async def _evaluate(gate: Gate, number: int) -> None:
    assert (await gate.aevaluate(inquiry(number), inquirer=INQUIRER)).permitted


def measured(name: str, script: str, work: Callable[[Gate, int], Awaitable[None]]) -> list[Row]:
    """An endpoint, the no-op, and the work in process, by turns."""
    many: list[tuple[Served, Served, float]] = []
    one: list[tuple[Served, Served, float]] = []
    with fresh() as folder, servers(folder) as (noop, licet), opened_at(_in(folder, "inside")) as gate:
        file = folder / "ask.lua"
        file.write_text(script)
        licet.ask(file, CONNECTIONS, 1)
        for _ in range(ROUNDS):
            inside = uvloop.run(drive_tasks(lambda n: work(gate, n), SECONDS, CONNECTIONS))
            many.append((noop.ask(file, CONNECTIONS), licet.ask(file, CONNECTIONS), inside.cpu))
            alone = uvloop.run(drive_tasks(lambda n: work(gate, n), 1, 1))
            one.append((noop.ask(file, 1, 2), licet.ask(file, 1, 2), alone.p50))
    cpu = [statistics.median(one.cpu for one in column) for column in ([row[0] for row in many], [row[1] for row in many])]
    rate = statistics.median(row[1].rate for row in many)
    inside_cpu = statistics.median(row[2] for row in many)
    base = cpu[0] + inside_cpu
    p50_noop, p50, p50_inside = (statistics.median(values) for values in zip(*((r[0].p50, r[1].p50, r[2]) for r in one), strict=True))
    return [
        {"name": f"{name}: no-op, 32 connections (CPU)", "value": cpu[0] * 1e6, "unit": "us"},
        {"name": f"{name}: decision and record in process, 32 tasks (CPU)", "value": inside_cpu * 1e6, "unit": "us"},
        {
            "name": f"{name}: 32 connections (CPU), base: no-op + in process",
            "value": cpu[1] * 1e6,
            "unit": "us",
            "base": base * 1e6,
            "ratio": cpu[1] / base,
            "target": "at most 1.2",
            "ok": cpu[1] / base <= 1.2,
        },
        {"name": f"{name}: 32 connections", "value": rate, "unit": "requests/s"},
        {
            "name": f"{name}: p50, one connection, base: no-op + in process",
            "value": p50 * 1e3,
            "unit": "ms",
            "base": (p50_noop + p50_inside) * 1e3,
            "ratio": p50 / (p50_noop + p50_inside),
            "target": "at most base + 0.2 ms",
            "ok": p50 <= p50_noop + p50_inside + 0.2e-3,
        },
    ]


@contextmanager
def servers(folder: Path) -> Iterator[tuple[Process, Process]]:
    """The no-op and Licet."""
    with ExitStack() as stack:
        noop = Process("noop", _in(folder, "noop"))
        stack.callback(noop.close)
        licet = Process("licet", _in(folder, "licet"))
        stack.callback(licet.close)
        yield noop, licet


def _in(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path
