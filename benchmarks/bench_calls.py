"""Whole governed calls by 64 callers, asynchronous on uvloop and in threads, writes and merged reads; and what 100,000 leave in memory.

Decision and flush are measured in the same run. "Everything but the decision" is the CPU of a call whose engine answers with a decision
that was made before; all else is as ever. Five thousand customers come in turn, more than the engine keeps entities for: no cache flatters
a figure.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import uvloop
from msgspec import Struct

from benchmarks.rows import Row
from licet import Gate
from licet.config import loads
from licet.model import Decision
from licet.policy.engine import Engine, Question

CALLERS = 64
SECONDS = 4.0
CUSTOMERS = 5_000
CONFIG = """
environment = "production"
[tenants.acme]
[agents.support-bot]
tenants = ["acme"]
roles = ["support", "billing"]
[users.alice]
tenants = ["acme"]
roles = ["support", "billing"]
[users.lena]
tenants = ["acme"]
[groups]
billing-leads = ["lena"]
"""
POLICIES = """
@id("tenant-wall") @reason("nobody reaches into another tenant")
forbid (principal, action, resource) unless { resource.tenant == principal.tenant };
@id("support-reads")
permit (principal in Role::"support", action in Action::"read", resource);
@id("billing-adjust")
permit (principal in Role::"billing", action == Action::"billing.adjust", resource) when { context.input.amount_cents <= 1000000 };
@id("billing-needs-lead") @require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"billing.adjust", resource) when { context.input.amount_cents > 10000 };
"""


class Customer(Struct):
    """What the resolver knows."""

    tenant: str
    vip: bool


class Load(Struct, frozen=True):
    """What a run of many calls gave. Latencies in seconds, CPU in seconds per call."""

    rate: float
    p50: float
    p99: float
    cpu: float


@contextmanager
def opened() -> Iterator[Gate]:
    """A gate on a fresh store beside this file, so that the flush measured is the flush used."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        root = Path(folder)
        (root / "policies").mkdir()
        (root / "policies" / "all.cedar").write_text(POLICIES)
        gate = Gate(loads(CONFIG, file=root / "licet.toml"))

        @gate.resource("Customer", blocking=False)
        def customer(identifier: str) -> Customer | None:
            return Customer("acme", vip=False) if identifier.startswith("C-") else None

        @gate.tool("billing.adjust", access="write", touches={"money"}, targets="Customer::{customer_id}")
        async def adjust(customer_id: str, amount_cents: int) -> str:
            return f"{customer_id} adjusted by {amount_cents}"

        @gate.tool("crm.lookup", access="read", targets="Customer::{customer_id}")
        async def lookup(customer_id: str) -> dict[str, str]:
            return {"id": customer_id, "name": "Ada Lovelace", "plan": "gold"}

        @gate.tool("billing.adjust_now", access="write", touches={"money"}, targets="Customer::{customer_id}")
        def adjust_now(customer_id: str, amount_cents: int) -> str:
            return f"{customer_id} adjusted by {amount_cents}"

        @gate.tool("crm.lookup_now", access="read", targets="Customer::{customer_id}")
        def lookup_now(customer_id: str) -> dict[str, str]:
            return {"id": customer_id, "name": "Ada Lovelace", "plan": "gold"}

        (root / "policies" / "threads.cedar").write_text(
            '@id("now") permit (principal in Role::"billing", action == Action::"billing.adjust_now", resource)'
            " when { context.input.amount_cents <= 1000000 };"
        )
        gate.seal()
        try:
            yield gate
        finally:
            gate.close()


def arguments(number: int, *, write: bool) -> dict[str, object]:
    """A call's arguments: the customers in turn."""
    customer = f"C-{number % CUSTOMERS}"
    return {"customer_id": customer, "amount_cents": 2500} if write else {"customer_id": customer}


async def drive_tasks(call: Callable[[int], Awaitable[object]], seconds: float, callers: int = CALLERS) -> Load:
    """Calls from `callers` tasks, one behind the other each, for so many seconds."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await call(number)
            latencies.append(time.perf_counter() - began)
            number += callers

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return loaded(latencies, time.perf_counter() - began, time.process_time() - cpu)


def drive_threads(call: Callable[[int], object], seconds: float, callers: int = CALLERS) -> Load:
    """As `drive_tasks`, from threads."""
    latencies: list[list[float]] = [[] for _ in range(callers)]
    end = time.perf_counter() + seconds

    def caller(number: int) -> None:
        mine = latencies[number]
        while (began := time.perf_counter()) < end:
            call(number)
            mine.append(time.perf_counter() - began)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    cpu, began = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return loaded([one for mine in latencies for one in mine], time.perf_counter() - began, time.process_time() - cpu)


def loaded(latencies: list[float], wall: float, cpu: float) -> Load:
    """The figures of one run."""
    ordered = sorted(latencies)
    return Load(len(ordered) / wall, statistics.median(ordered), ordered[int(0.99 * len(ordered))], cpu / len(ordered))


def flush_s(folder: Path, rounds: int = 300) -> float:
    """The median time of a 4 KiB write and fdatasync on this filesystem."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(rounds):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def async_load(gate: Gate, *, write: bool, seconds: float = SECONDS) -> Load:
    """64 asyncio callers on uvloop."""
    tool = "billing.adjust" if write else "crm.lookup"

    async def one(number: int) -> None:
        (await gate.acall(tool, arguments(number, write=write))).unwrap()

    async def main() -> Load:
        with gate.acting(agent="support-bot", user="alice", workflow="bench"):
            await drive_tasks(one, 0.5)
            return await drive_tasks(one, seconds)

    return uvloop.run(main())


def thread_load(gate: Gate, *, write: bool, seconds: float = SECONDS) -> Load:
    """64 threads."""
    tool = "billing.adjust_now" if write else "crm.lookup_now"

    def one(number: int) -> None:
        with gate.acting(agent="support-bot", user="alice", workflow="bench"):
            gate.call(tool, arguments(number, write=write)).unwrap()

    drive_threads(one, 0.5)
    return drive_threads(one, seconds)


def questions_of(gate: Gate, tool: str) -> list[Question]:
    """What policy is asked when this tool is called for each customer, as the gate asks it."""
    asked: list[Question] = []
    engine = gate.scene.engine
    real = type(engine).decide

    def listen(self: Engine, question: Question) -> Decision:
        asked.append(question)
        return real(self, question)

    with patch.object(Engine, "decide", listen), gate.acting(agent="support-bot", user="alice"):
        for number in range(CUSTOMERS):
            gate.check(tool, arguments(number, write="adjust" in tool))
    return asked


def decision_s(gate: Gate, questions: list[Question], seconds: float = 2.0) -> float:
    """CPU seconds of a decision for two principals, the customers in turn."""
    decide = gate.scene.engine.decide
    rounds, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        decide(questions[rounds % CUSTOMERS])
        rounds += 1
    return (time.process_time() - began) / rounds


@contextmanager
def decided_before(gate: Gate) -> Iterator[None]:
    """Let the engine answer with a decision made before."""
    with gate.acting(agent="support-bot", user="alice"):
        known = {tool: gate.check(tool, arguments(0, write="adjust" in tool)) for tool in gate.scene.catalog.tools}
    with patch.object(Engine, "decide", lambda _, question: known[question.tool.name]):
        yield


def resident_mib() -> float:
    """What this process holds, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth_mib(gate: Gate, calls: int = 100_000) -> float:
    """MiB that the process has grown by, from its first 1,000 calls to so many; writes and reads by turns, customers in turn."""

    async def main() -> float:
        done = 0

        async def caller(number: int, until: int) -> None:
            nonlocal done
            while done < until:
                done += 1
                write = number % 2 == 0
                tool = "billing.adjust" if write else "crm.lookup"
                (await gate.acall(tool, arguments(number, write=write))).unwrap()
                number += CALLERS + 1

        with gate.acting(agent="support-bot", user="alice", workflow="bench"):
            await asyncio.gather(*(caller(number, 1_000) for number in range(CALLERS)))
            before = resident_mib()
            await asyncio.gather(*(caller(number, calls) for number in range(CALLERS)))
            return resident_mib() - before

    return uvloop.run(main())


def run() -> list[Row]:
    """Every figure of this file."""
    with opened() as gate:
        flush = flush_s(Path(__file__).parent)
        grown = growth_mib(gate)
        rows: list[Row] = [
            {"name": "memory: growth from 1,000 to 100,000 calls", "value": grown, "unit": "MiB", "target": "<= 50 MiB", "ok": grown <= 50}
        ]
        for kind, tool, write, limit_us in (("write", "billing.adjust", True, 110), ("read", "crm.lookup", False, 70)):
            decision = decision_s(gate, questions_of(gate, tool))
            tasks = async_load(gate, write=write)
            threads = thread_load(gate, write=write)
            with decided_before(gate):
                bare = async_load(gate, write=write)
            rows += _rows(kind, flush, decision, (tasks, threads, bare), limit_us)
        return rows


def _rows(kind: str, flush: float, decision: float, loads: tuple[Load, Load, Load], limit_us: int) -> list[Row]:
    tasks, threads, bare = loads
    wanted = min(0.65 / decision, 0.7 * 32 / flush)
    spread, threads_spread = tasks.p99 / tasks.p50, threads.p99 / threads.p50
    slower = threads.rate / tasks.rate
    return [
        {"name": f"{kind}: a decision, two principals (CPU)", "value": decision * 1e6, "unit": "us"},
        {
            "name": f"{kind}: everything but the decision (CPU, 64 tasks)",
            "value": bare.cpu * 1e6,
            "unit": "us",
            "target": f"<= {limit_us} us",
            "ok": bare.cpu * 1e6 <= limit_us,
        },
        {
            "name": f"{kind}: 64 tasks, base: min(1 / decision, 32 / flush)",
            "value": tasks.rate,
            "unit": "calls/s",
            "base": min(1 / decision, 32 / flush),
            "ratio": tasks.rate / min(1 / decision, 32 / flush),
            "target": ">= 0.65 / decision or 0.7 x 32 / flush",
            "ok": tasks.rate >= wanted,
        },
        {
            "name": f"{kind}: p99, 64 tasks, base: p50",
            "value": tasks.p99 * 1e3,
            "unit": "ms",
            "base": tasks.p50 * 1e3,
            "ratio": spread,
            "target": "<= 2 x p50",
            "ok": spread <= 2,
        },
        {
            "name": f"{kind}: 64 threads, base: 64 tasks",
            "value": threads.rate,
            "unit": "calls/s",
            "base": tasks.rate,
            "ratio": slower,
            "target": ">= 0.65 x tasks",
            "ok": slower >= 0.65,
        },
        {
            "name": f"{kind}: p99, 64 threads, base: p50",
            "value": threads.p99 * 1e3,
            "unit": "ms",
            "base": threads.p50 * 1e3,
            "ratio": threads_spread,
            "target": "<= 2 x p50",
            "ok": threads_spread <= 2,
        },
    ]
