"""The gateway beside a bare pass-through, the same calls in process, and the proxies of others, in front of the same trivial upstream.

    python -m benchmarks gateway                   # as every other; some seven minutes, half a minute of them to install a peer
    python -m benchmarks.bench_gateway --quick     # a look at whether it works: one short round, nothing written

Clients are wrk with requests of the modern era, reads and writes: 32 connections for rates and CPU, one for latency. CPU is that of the
whole process, its writer included. "Added" is what the p50 is above that of the upstream asked directly. A flush is one in the folder of
Licet's log. Rounds are interleaved, and every figure is the median of them. The others (gateway_peers.py) decide and record nothing.

Each answer counted has been executed: one of each kind is read before, and after each round the upstream must have had as many calls.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console

from benchmarks.__main__ import table
from benchmarks.asked import fresh
from benchmarks.bench_calls import Load, flush_s
from benchmarks.bench_server import CONNECTIONS, Process, Served, need_wrk
from benchmarks.gateway_asked import ACCESS, calls_at, check, script, written
from benchmarks.gateway_peers import FASTMCP, installed
from benchmarks.gateway_sessions import idle
from benchmarks.rows import Row

ABOVE_BASE = 1.15
ADDED_MS = {"read": (1.0, 1), "write": (1.2, 2)}
"""What may be added at one connection: so many milliseconds, and so many flushes."""
GROWTH_MIB = 30
SESSIONS_MIB = 100
PEERS = {"sdk": "the official SDK's proxy", "fastmcp": "FastMCP's proxy"}


class Length(NamedTuple):
    """How long all of it takes."""

    rounds: int = 3
    busy_s: int = 3
    alone_s: int = 2
    calls: int = 100_000
    sessions: int = 1_000


QUICK = Length(rounds=1, busy_s=1, alone_s=1, calls=2_000, sessions=50)


class Side(NamedTuple):
    """One that answers, and what wrk sends it, by the tool."""

    process: Process
    scripts: dict[str, Path]


class Found(NamedTuple):
    """The medians of one tool: CPU (us), rate (1/s) and p50 (ms) of each side, the calls in process, and a flush (ms)."""

    cpu: dict[str, float]
    rate: dict[str, float]
    p50: dict[str, float]
    inside_cpu: float
    inside_p50: float
    flush: float

    def added(self, side: str) -> float:
        """The p50 above that of the upstream itself, in ms."""
        return self.p50[side] - self.p50["upstream"]


class Inside:
    """The calls in process, in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(self, tool: str, tasks: int, seconds: float) -> Load:
        """A round of them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"it__{tool} {tasks} {seconds}\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Load)


class Bench:
    """Everything that runs, for as long as the stack is open."""

    def __init__(self, folder: Path, stack: ExitStack, length: Length) -> None:
        self.length = length
        self.governed_calls = 0
        self._folder = folder
        self._stack = stack
        self.upstream, _ = self._started("gateway_upstream", "upstream")
        self.at = f"{self.upstream.url}/mcp"
        self.key = written(folder / "served", self.at)
        written(folder / "inside", self.at)
        self.governed, _ = self._started("gateway_governed", "served", str(folder / "served"))
        self.inside = Inside(self._started("gateway_governed", "inside", str(folder / "inside"))[1])
        passed, _ = self._started("gateway_upstream", "passed", self.at)
        sdk, _ = self._started("gateway_peers", "sdk", self.at)
        self.sides = {
            "upstream": self._side(self.upstream, "/mcp"),
            "passed": self._side(passed, "/mcp"),
            "governed": self._side(self.governed, "/mcp/it"),
            "sdk": self._side(sdk, "/mcp"),
        }
        python = installed(folder / "fastmcp")
        self.missing = python if isinstance(python, str) else None
        if isinstance(python, Path):
            self.sides["fastmcp"] = self._side(self._started("gateway_peers", "fastmcp", self.at, python=str(python))[0], "/mcp")

    def another(self) -> tuple[Process, str]:
        """A gateway that has done nothing yet, and the key of its agent."""
        key = written(self._folder / "another", self.at)
        return self._started("gateway_governed", "served", str(self._folder / "another"))[0], key

    def ask(self, side: str, tool: str, connections: int, seconds: int) -> Served:
        """A round of wrk, in which every answer was a call of the upstream."""
        before = calls_at(self.upstream.url)
        served = self.sides[side].process.ask(self.sides[side].scripts[tool], connections, seconds)
        had = calls_at(self.upstream.url) - before
        assert had >= served.done, f"{side} answered {served.done} calls, of which the upstream has had {had}"
        self.governed_calls += served.done if side == "governed" else 0
        return served

    def _side(self, process: Process, path: str) -> Side:
        for tool in ACCESS:
            check(process.url + path, tool, self.key)
        return Side(process, {tool: script(self._folder, path, tool, self.key) for tool in ACCESS})

    def _started(self, module: str, *arguments: str, python: str = sys.executable) -> tuple[Process, subprocess.Popen[str]]:
        process: subprocess.Popen[Any] = subprocess.Popen(
            [python, "-m", f"benchmarks.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        assert process.stdout is not None
        found = Process(process, f"http://127.0.0.1:{int(process.stdout.readline())}")
        self._stack.callback(found.close)
        return found, process


def run(length: Length = Length()) -> list[Row]:  # noqa: B008  it is frozen
    """The rows."""
    need_wrk()
    with fresh() as folder, ExitStack() as stack:
        bench = Bench(folder, stack, length)
        for tool in ACCESS:
            bench.inside.call(tool, CONNECTIONS, 1)
            for side in bench.sides:
                bench.ask(side, tool, CONNECTIONS, 1)
        before = bench.governed.resident_mib(), bench.governed_calls
        rows = [row for tool, access in ACCESS.items() for row in rows_of(access, measured(bench, folder, tool))]
        if bench.missing is not None:
            rows.append(Row(name=f"{FASTMCP[0]} cannot be installed: {bench.missing}", value=0, unit="", target="beside it", ok=False))
        return [*rows, grown(bench, *before), *held(bench)]


def measured(bench: Bench, folder: Path, tool: str) -> Found:
    """One tool, through each by turns."""
    length, sides = bench.length, list(bench.sides)
    busy: dict[str, list[Served]] = {side: [] for side in sides if side != "upstream"}
    alone: dict[str, list[Served]] = {side: [] for side in sides}
    inside: list[tuple[Load, Load]] = []
    flushes: list[float] = []
    for _ in range(length.rounds):
        for side in sides:
            if side != "upstream":
                busy[side].append(bench.ask(side, tool, CONNECTIONS, length.busy_s))
            alone[side].append(bench.ask(side, tool, 1, length.alone_s))
        inside.append((bench.inside.call(tool, CONNECTIONS, length.busy_s), bench.inside.call(tool, 1, 1)))
        flushes.append(flush_s(folder))
    return Found(
        cpu={side: statistics.median(one.cpu for one in served) * 1e6 for side, served in busy.items()},
        rate={side: statistics.median(one.rate for one in served) for side, served in busy.items()},
        p50={side: statistics.median(one.p50 for one in served) * 1e3 for side, served in alone.items()},
        inside_cpu=statistics.median(many.cpu for many, _ in inside) * 1e6,
        inside_p50=statistics.median(one.p50 for _, one in inside) * 1e3,
        flush=statistics.median(flushes) * 1e3,
    )


def rows_of(access: str, found: Found) -> list[Row]:
    """The figures of one tool."""
    peers = [side for side in PEERS if side in found.rate]
    base = found.cpu["passed"] + found.inside_cpu
    limit_ms, flushes = ADDED_MS[access]
    limit = limit_ms + flushes * found.flush
    cpu, rate, added = found.cpu["governed"], found.rate["governed"], found.added("governed")
    best_rate, least_added = max(found.rate[peer] for peer in peers), min(found.added(peer) for peer in peers)
    told = f"{limit_ms} ms + {flushes} flush{'es' if flushes > 1 else ''} = {limit:.2f} ms"
    rows: list[Row] = [
        {"name": f"{access}: pass-through, 32 connections (CPU)", "value": found.cpu["passed"], "unit": "us"},
        {"name": f"{access}: governed call in process, 32 tasks (CPU)", "value": found.inside_cpu, "unit": "us"},
        {
            "name": f"{access}: 32 connections (CPU), base: pass-through + in process",
            "value": cpu,
            "unit": "us",
            "base": base,
            "ratio": cpu / base,
            "target": f"at most {ABOVE_BASE}",
            "ok": cpu <= ABOVE_BASE * base,
        },
        {"name": f"{access}: upstream alone, p50, one connection", "value": found.p50["upstream"], "unit": "ms"},
        {"name": f"{access}: governed call in process, p50, one task", "value": found.inside_p50, "unit": "ms"},
        {"name": f"{access}: a flush", "value": found.flush, "unit": "ms"},
        {
            "name": f"{access}: added p50, one connection, base: added by the pass-through",
            "value": added,
            "unit": "ms",
            "base": found.added("passed"),
            "ratio": added / found.added("passed"),
            "target": f"at most {told}",
            "ok": added <= limit,
        },
    ]
    for peer in peers:
        rows.append({"name": f"{access}: {PEERS[peer]}, 32 connections", "value": found.rate[peer], "unit": "calls/s"})
        rows.append({"name": f"{access}: {PEERS[peer]}, added p50, one connection", "value": found.added(peer), "unit": "ms"})
    return [
        *rows,
        {
            "name": f"{access}: 32 connections, base: the better peer",
            "value": rate,
            "unit": "calls/s",
            "base": best_rate,
            "ratio": rate / best_rate,
            "target": "at least 2",
            "ok": rate >= 2 * best_rate,
        },
        {
            "name": f"{access}: added p50, one connection, base: the better peer",
            "value": added,
            "unit": "ms",
            "base": least_added,
            "ratio": added / least_added,
            "target": "at most 0.5",
            "ok": added <= least_added / 2,
        },
    ]


def grown(bench: Bench, before_mib: float, before_calls: int) -> Row:
    """What the process holds more than when it was warm, once it has had so many calls since, reads and writes by turns."""
    tools = itertools.cycle(ACCESS)
    while (done := bench.governed_calls - before_calls) < bench.length.calls:
        bench.ask("governed", next(tools), CONNECTIONS, bench.length.busy_s)
    more = bench.governed.resident_mib() - before_mib
    return Row(name=f"memory: growth over {done:,} calls", value=more, unit="MiB", target=f"<= {GROWTH_MIB} MiB", ok=more <= GROWTH_MIB)


def held(bench: Bench) -> list[Row]:
    """What a gateway holds for sessions in which nothing happens, beyond what it held with the first, which reached the upstream."""
    gateway, key = bench.another()
    url, number = f"{gateway.url}/mcp/it", bench.length.sessions

    async def hold() -> tuple[float, float]:
        async with idle(url, key, 1) as first:
            assert await first[0].is_alive()
            before = gateway.resident_mib()
            async with idle(url, key, number - 1) as others:
                full = gateway.resident_mib()
                assert await first[0].is_alive()
                assert await others[-1].is_alive()
        return before, full

    before, full = asyncio.run(hold())
    each = (full - before) / (number - 1) * 1_024
    return [
        {"name": "memory: a gateway with one session", "value": before, "unit": "MiB"},
        {
            "name": f"memory: what {number:,} idle sessions add, each with its stream open",
            "value": full - before,
            "unit": "MiB",
            "target": f"<= {SESSIONS_MIB} MiB",
            "ok": full - before <= SESSIONS_MIB,
        },
        {"name": "memory: an idle session", "value": each, "unit": "KiB"},
        {"name": f"memory: the whole process with {number:,} idle sessions", "value": full, "unit": "MiB"},
    ]


if __name__ == "__main__":
    Console(width=160).print(table({"gateway": run(QUICK if "--quick" in sys.argv else Length())}))
