"""The hot endpoints beside a no-op on the same stack and the same work in process: CPU per request with 32 connections, p50 with one.

The client is wrk (Debian's package `wrk`), which needs a tenth of what the server needs. CPU is that of the whole server process, its
writer and indexer included, from `/proc`. Every figure is of one run, rounds interleaved, and the median of them is told.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop
from msgspec import Struct

from benchmarks.asked import ACTING, CALLS, CUSTOMERS, EVALUATION, HELD, INQUIRER, fresh, inquiry, opened_at
from benchmarks.bench_calls import arguments, drive_tasks
from benchmarks.rows import Row
from licet import Gate
from licet.gate.remote import CallReport
from licet.gate.results import Permitted

ROUNDS = 3
SECONDS = 3
CONNECTIONS = 32
WAITING = 10_000
MEMORY_MIB = 150
CERBOS_PORT = 18_592
CERBOS_POLICY = """
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: Customer
  version: default
  rules:
    - actions: ["crm.lookup"]
      effect: EFFECT_ALLOW
      roles: ["support"]
      condition: {match: {expr: R.attr.tenant == P.attr.tenant}}
    - actions: ["billing.adjust"]
      effect: EFFECT_ALLOW
      roles: ["billing"]
      condition: {match: {all: {of: [{expr: R.attr.tenant == P.attr.tenant}, {expr: "R.attr.amount_cents <= 10000"}]}}}
"""
CERBOS_QUESTION = """
local n = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  n = (n + 1) % 500
  return wrk.format(nil, "/api/check/resources", nil, '{"requestId":"1","principal":{"id":"alice","roles":["support","billing"],'
    .. '"attr":{"tenant":"acme"}},"resources":[{"actions":["billing.adjust"],"resource":{"kind":"Customer","id":"C-' .. n
    .. '","attr":{"tenant":"acme","vip":false,"amount_cents":2500}}}]}')
end
"""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Served(Struct, frozen=True):
    """What a round of wrk gave: requests a second, p50 in seconds, CPU seconds of the server per request."""

    rate: float
    p50: float
    cpu: float
    done: int


class Process:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[Any], url: str) -> None:
        self._process = process
        self.url = url

    @classmethod
    def of_licet(cls, kind: str, folder: Path) -> Process:
        """Licet or the no-op (`serving.py`), started now."""
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving", kind, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        assert process.stdout is not None
        return cls(process, f"http://127.0.0.1:{int(process.stdout.readline())}")

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
        return Served(done / seconds, float(found[1]) * _UNITS[found[2]], used / done, done)

    def resident_mib(self) -> float:
        """What the process holds."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

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
    need_wrk()
    rows = measured("AuthZEN evaluation", EVALUATION, _evaluate)
    rows += measured("a call proposed, then reported: each", CALLS, _propose_and_report, requests=2)
    rows += beside_cerbos()
    return rows + memory()


def need_wrk() -> None:
    """It is there. Raises `RuntimeError` that says how to get it."""
    if shutil.which("wrk") is None:
        raise RuntimeError("these need wrk: `apt-get install wrk`")


async def _evaluate(gate: Gate, number: int) -> None:
    assert (await gate.aevaluate(inquiry(number), inquirer=INQUIRER)).permitted


async def _propose_and_report(gate: Gate, number: int) -> None:
    permitted = await gate.apropose("billing.adjust", arguments(number % CUSTOMERS, write=True), acting=ACTING)
    assert isinstance(permitted, Permitted)
    await gate.areport(permitted.call, CallReport(status="ok", result=b'"adjusted"'), acting=ACTING)


def measured(name: str, script: str, work: Callable[[Gate, int], Awaitable[None]], requests: int = 1) -> list[Row]:
    """Endpoints, the no-op, and the work in process, by turns. `work` is what so many requests do."""
    many: list[tuple[Served, Served, float]] = []
    one: list[tuple[Served, Served, float]] = []
    with fresh() as folder, servers(folder) as (noop, licet), opened_at(_in(folder, "inside")) as gate:
        file = folder / "ask.lua"
        file.write_text(script)
        licet.ask(file, CONNECTIONS)  # whoever is named for the first time costs more: from now on both sides know all of them
        uvloop.run(drive_tasks(lambda n: work(gate, n), SECONDS, CONNECTIONS))
        for _ in range(ROUNDS):
            inside = uvloop.run(drive_tasks(lambda n: work(gate, n), SECONDS, CONNECTIONS))
            many.append((noop.ask(file, CONNECTIONS), licet.ask(file, CONNECTIONS), inside.cpu / requests))
            alone = uvloop.run(drive_tasks(lambda n: work(gate, n), 1, 1))
            one.append((noop.ask(file, 1, 2), licet.ask(file, 1, 2), alone.p50 / requests))
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


def beside_cerbos() -> list[Row]:
    """The same question to Cerbos, which records nothing; a principal less, since it knows no agent that acts for a user."""
    ours: list[Served] = []
    theirs: list[Served] = []
    with fresh() as folder, servers(folder) as (_, licet), cerbos(folder) as peer:
        question, check = folder / "ask.lua", folder / "check.lua"
        question.write_text(EVALUATION)
        check.write_text(CERBOS_QUESTION)
        for _ in range(ROUNDS):
            theirs.append(peer.ask(check, 1, 2))
            ours.append(licet.ask(question, 1, 2))
    p50, base = (statistics.median(one.p50 for one in found) for found in (ours, theirs))
    return [
        {
            "name": "AuthZEN evaluation, recorded: p50, one connection, base: Cerbos, unrecorded",
            "value": p50 * 1e3,
            "unit": "ms",
            "base": base * 1e3,
            "ratio": p50 / base,
            "target": "at most 1",
            "ok": p50 <= base,
        }
    ]


def memory() -> list[Row]:
    """What the server holds when so many requests wait for people, and a page of them was asked for."""
    with fresh() as folder:
        licet = Process.of_licet("licet", _in(folder, "licet"))
        try:
            before, script = licet.resident_mib(), folder / "ask.lua"
            script.write_text(HELD)
            opened = 0
            while opened < WAITING:
                opened += licet.ask(script, 8, 2).done
            held = licet.resident_mib()
        finally:
            licet.close()
    return [
        {"name": "memory of the server at its start", "value": before, "unit": "MiB"},
        {
            "name": f"memory of the server with {opened} open requests",
            "value": held,
            "unit": "MiB",
            "target": f"<= {MEMORY_MIB} MiB at {WAITING}",
            "ok": held <= MEMORY_MIB,
        },
    ]


@contextmanager
def cerbos(folder: Path) -> Iterator[Process]:
    """The peer, from npm, on loopback."""
    subprocess.run(["npm", "install", "--silent", "--prefix", str(folder / "npm"), "cerbos@0.51"], check=True, capture_output=True)
    policies = _in(folder, "cerbos")
    (policies / "customer.yaml").write_text(CERBOS_POLICY)
    listening = [f"server.httpListenAddr=127.0.0.1:{CERBOS_PORT}", f"server.grpcListenAddr=127.0.0.1:{CERBOS_PORT + 1}"]
    quiet = ["telemetry.disabled=true", "storage.driver=disk", f"storage.disk.directory={policies}", "storage.disk.watchForChanges=false"]
    command = [str(folder / "npm/node_modules/.bin/cerbos"), "server", "--log-level=error"]
    command += [f"--set={setting}" for setting in (*listening, *quiet)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        peer = Process(process, f"http://127.0.0.1:{CERBOS_PORT}")
        _until_it_listens(CERBOS_PORT)
        yield peer
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _until_it_listens(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing listens at {port}")


@contextmanager
def servers(folder: Path) -> Iterator[tuple[Process, Process]]:
    """The no-op and Licet."""
    with ExitStack() as stack:
        noop = Process.of_licet("noop", _in(folder, "noop"))
        stack.callback(noop.close)
        licet = Process.of_licet("licet", _in(folder, "licet"))
        stack.callback(licet.close)
        yield noop, licet


def _in(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path
