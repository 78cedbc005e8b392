"""A ledger in PostgreSQL: records by one writer and by four, on one log and on four; whole calls beside SQLite; a vote to its waiter.

The server is the one that the tests start (from a wheel), with `fsync` on and nothing relaxed, on this machine: it shares the cores with
the writers, so what four of them reach together is bounded by what one of them and the server leave. Fairness is what the slowest of four
writers wrote for each record of the fastest. Rounds are interleaved, and the median of each figure is told.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from msgspec import Struct

from benchmarks.asked import opened_at
from benchmarks.bench_calls import arguments, drive_tasks
from benchmarks.bench_ledger import flush_s
from benchmarks.bench_records import now
from benchmarks.rows import Row
from benchmarks.writing import settings_of
from licet import Gate
from licet.gate.opening import OpenLedger
from licet.ledger.keys import create_key_file
from tests.gate.replicas import Replicas
from tests.store.postgres import Server, remove_server, start_server

HERE = Path(__file__).parent
ROUNDS = 3
WRITERS = 4
CALLS_S = 3.0
VOTES = 40


class Written(Struct, frozen=True):
    """What writers reached together: records a second, slowest through fastest, CPU of the writers for each record."""

    rate: float
    fairness: float
    cpu_us: float


def run() -> list[Row]:
    """All figures, of one server."""
    server = start_server(fsync="on", full_page_writes="on", shared_buffers="128MB", autovacuum="on")
    try:
        with tempfile.TemporaryDirectory(dir=HERE) as folder:
            return [*writing(server, Path(folder)), *calling(server, Path(folder)), *waking(server, Path(folder))]
    finally:
        remove_server(server)


def writing(server: Server, folder: Path) -> list[Row]:
    """One writer, four on one log, four on logs of their own."""
    create_key_file(folder / "licet.key")
    url = server.make_database()
    with OpenLedger(settings_of(folder, url), now):
        pass  # its tables are there
    ones, shared, apart = [], [], []
    flush = flush_s(folder)
    for _ in range(ROUNDS):
        ones.append(written(folder, url, ["acme"]))
        shared.append(written(folder, url, ["acme"] * WRITERS))
        apart.append(written(folder, url, [f"tenant-{number}" for number in range(WRITERS)]))
    one, together = statistics.median(found.rate for found in ones), statistics.median(found.rate for found in shared)
    fairness, own = statistics.median(found.fairness for found in shared), statistics.median(found.rate for found in apart)
    return [
        {"name": "flush of the file system", "value": flush * 1_000, "unit": "ms"},
        {"name": "PostgreSQL, records by one writer", "value": one, "unit": "/s"},
        {
            "name": "CPU of one writer per record",
            "value": statistics.median(found.cpu_us for found in ones),
            "unit": "us",
        },
        {
            "name": f"PostgreSQL, records by {WRITERS} writers on one log, base: one writer",
            "value": together,
            "unit": "/s",
            "base": one,
            "ratio": together / one,
            "target": "at least 0.9 x",
            "ok": together >= 0.9 * one,
        },
        {
            "name": f"fairness: the slowest of {WRITERS} writers on one log through the fastest",
            "value": fairness,
            "unit": "",
            "target": "at least 0.9",
            "ok": fairness >= 0.9,
        },
        {
            "name": f"PostgreSQL, records by {WRITERS} writers on logs of their own, base: one writer",
            "value": own,
            "unit": "/s",
            "base": one,
            "ratio": own / one,
            "target": "at least 1.5 x",
            "ok": own >= 1.5 * one,
        },
    ]


def written(folder: Path, url: str, logs: Sequence[str]) -> Written:
    """What as many processes write as there are logs, beginning together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.writing", str(folder), url, log],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
        )
        for log in logs
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    found = [json.loads(process.communicate("go\n")[0]) for process in _told(processes)]
    counts = [one["records"] for one in found]
    rate = sum(one["records"] / one["seconds"] for one in found)
    return Written(rate, min(counts) / max(counts), sum(one["cpu_s"] for one in found) / sum(counts) * 1e6)


def _told(processes: Sequence[subprocess.Popen[str]]) -> Sequence[subprocess.Popen[str]]:
    """All of them have been told to begin."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


def calling(server: Server, folder: Path) -> list[Row]:
    """Whole governed writes by 64 tasks, on SQLite and on PostgreSQL in turn."""
    found: dict[str, list[float]] = {"sqlite": [], "postgres": []}
    waited: dict[str, list[float]] = {"sqlite": [], "postgres": []}
    for number in range(ROUNDS):
        for kind in ("sqlite", "postgres"):
            place = folder / f"{kind}-{number}"
            place.mkdir()
            with opened_at(place, store=server.make_database() if kind == "postgres" else None) as gate:
                load = uvloop.run(_calls(gate))
            found[kind].append(load[0])
            waited[kind].append(load[1])
    base, rate = statistics.median(found["sqlite"]), statistics.median(found["postgres"])
    p50, p50_there = statistics.median(waited["sqlite"]), statistics.median(waited["postgres"])
    return [
        {
            "name": "whole writes on PostgreSQL, 64 tasks, base: on SQLite",
            "value": rate,
            "unit": "calls/s",
            "base": base,
            "ratio": rate / base,
        },
        {
            "name": "p50 of a whole write on PostgreSQL, one task, base: on SQLite",
            "value": p50_there * 1e3,
            "unit": "ms",
            "base": p50 * 1e3,
            "ratio": p50_there / p50,
        },
    ]


async def _calls(gate: Gate) -> tuple[float, float]:
    async def call(number: int) -> object:
        return await gate.acall("billing.adjust", arguments(number, write=True))

    with gate.acting(agent="support-bot", user="alice"):
        await drive_tasks(call, 1.0)
        load = await drive_tasks(call, CALLS_S)
        alone = await drive_tasks(call, CALLS_S / 2, 1)
    return load.rate, alone.p50


def waking(server: Server, folder: Path) -> list[Row]:
    """From before the vote in one replica to the tool's result in another."""
    place = folder / "replicas"
    place.mkdir()
    replicas = Replicas(place, server.make_database())
    took = []
    try:
        replicas.add(2)
        for number in range(VOTES):
            amount = {"customer_id": "C-1", "amount_cents": 20_000 + number}
            waiting = replicas[0].start("call", tool="billing.adjust", arguments=amount, wait=60.0)
            request = None
            while request is None:
                request = replicas[1].ask("waiting")
            began = replicas[1].ask("vote", request=request, voter="lena")
            (result,) = waiting.result(60)
            assert result["result"] == "Ok", result
            took.append((result["at"] - began) * 1_000)
    finally:
        replicas.close()
    took.sort()
    return [
        {"name": "vote in one replica to result in another: p50", "value": took[len(took) // 2], "unit": "ms"},
        {
            "name": "vote in one replica to result in another: p95",
            "value": took[int(len(took) * 0.95)],
            "unit": "ms",
            "target": "at most 300 ms",
            "ok": took[int(len(took) * 0.95)] <= 300,
        },
    ]
