"""What the ledger costs: waiting for a commit, CPU of a record, two processes on one file, verification.

The flush is measured in the same run, on the same file system, right before and after what is held against it. Callers come back at once,
so the rates are the most that the store takes. Records are as governed calls make them: about 600 bytes of envelope, about 600 of payload.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from msgspec import Raw

from benchmarks.rows import Row
from licet.ledger.entropy import new_id
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.record import Actor, DecisionEntry, OutcomeEntry, Payload, ToolEntry, TraceEntry, leaf_hash
from licet.ledger.seal import Filing, Statement, seal_filing, state, subjects_of
from licet.ledger.vault import SecretRow, Vault
from licet.ledger.verify import verify
from licet.ledger.writer import Writer
from licet.model import CallId, DecidingPolicy, EntityRef, Principal, Target
from licet.store.contract import Batch, CloseCall, Committed, Lost, OpenCall
from licet.store.sqlite import SqliteStore
from licet.store.sqlite_commit import commit_group

KEYS = KeyEncryptionKeys([bytes(range(32))])
"""The same in every process: two of them share a file."""
CALLERS = 64
COMMITS = 12_000
ROUNDS = 5
SECONDS = 3.0
SLOW_FLUSH_S = 0.004
RECORDS = 100_000

ARGUMENTS = Raw(b'{"amount_cents":2500,"customer_id":"C-412","note":"charged twice for the same month, see ticket 4711"}')
PRINCIPALS = (
    Principal(kind="Agent", id="support-bot", tenant="acme", roles=("support",)),
    Principal(kind="User", id="alice", tenant="acme", roles=("support", "billing"), groups=("tier-2",)),
)
TARGETS = (Target(type="Customer", id="C-412", tenant="acme", environment="production", attributes={"plan": "gold", "country": "NL"}),)
POLICIES = (
    DecidingPolicy(
        id="billing-adjust", effect="permit", file="policies/billing.cedar", line=12, principal='User::"alice"', target='Customer::"C-412"'
    ),
)


def run() -> list[Row]:
    return [*making(), *alone(), *waiting(), *waiting_for_a_slow_disk(), *sharing(), *verifying()]


def now() -> datetime:
    return datetime.now(UTC)


def intent_of(call: CallId, boot: str) -> Statement:
    """As the gate makes them."""
    return state(
        log="acme",
        kind="intent",
        at=1_763_802_000_123_456,
        boot=boot,
        environment="production",
        call=call,
        actor=Actor(agent="support-bot", user="alice", session="ticket-4711"),
        tool=ToolEntry("billing.adjust", "write", "d" * 64),
        targets=subjects_of("acme", [EntityRef("Customer", "C-412")]),
        decision=DecisionEntry(verdict="allow", code="allowed", policies=("billing-adjust",), bundle="b" * 64),
        trace=TraceEntry(trace_id="a" * 32, span_id="c" * 16, workflow="ticket-4711"),
        payload=Payload(
            arguments=ARGUMENTS, reason="double charge", principals=PRINCIPALS, targets=TARGETS, context={"calls": 7}, policies=POLICIES
        ),
    )


def outcome_of(call: CallId, boot: str) -> Statement:
    """As the gate makes them."""
    return state(
        log="acme",
        kind="outcome",
        at=1_763_802_000_223_456,
        boot=boot,
        environment="production",
        call=call,
        actor=Actor(agent="support-bot", user="alice", session="ticket-4711"),
        tool=ToolEntry("billing.adjust", "write", "d" * 64),
        targets=subjects_of("acme", [EntityRef("Customer", "C-412")]),
        outcome=OutcomeEntry(status="ok", duration_us=812, effects=1),
        trace=TraceEntry(trace_id="a" * 32, span_id="c" * 16, workflow="ticket-4711"),
        payload=Payload(result=Raw(b'{"adjusted":2500,"balance_cents":10250,"invoice":"INV-2025-11-000471","currency":"EUR"}')),
    )


def call_filings(boot: str) -> tuple[Filing, Filing]:
    """A governed write: intent and outcome."""
    call = CallId(new_id())
    return Filing((intent_of(call, boot),), (OpenCall(call, "acme"),)), Filing((outcome_of(call, boot),), (CloseCall(call),))


@contextmanager
def fresh_store() -> Iterator[tuple[SqliteStore, Path]]:
    """A store on the file system of this folder."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        path = Path(folder) / "licet.db"
        store = SqliteStore.open(path, now=now, keys=KEYS)
        try:
            yield store, path
        finally:
            store.close()


def flush_s(folder: Path, rounds: int = 200) -> float:
    """The median of writing 64 KiB over what is there and flushing it."""
    path = folder / "flush"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        os.write(fd, os.urandom(1 << 22))
        os.fsync(fd)
        took = []
        for number in range(rounds):
            began = time.perf_counter()
            os.pwrite(fd, os.urandom(1 << 16), (number % 64) << 16)
            os.fdatasync(fd)
            took.append(time.perf_counter() - began)
        return statistics.median(took)
    finally:
        os.close(fd)
        path.unlink()


def cpu_us(work: Callable[[], object], times: int) -> float:
    """CPU of this process for one, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def making() -> list[Row]:
    """Ids and seals."""
    call = CallId(new_id())
    vault = _Unstored().vault
    vault.confirm(seal_filing(vault, Filing((intent_of(call, "boot"),))).secrets)
    sealed = cpu_us(lambda: seal_filing(vault, Filing((intent_of(call, "boot"),))), 4000)
    drawn = cpu_us(new_id, 20_000)
    return [
        {"name": "an id", "value": drawn, "unit": "us CPU", "target": "under 2 us", "ok": drawn < 2},
        {"name": "sealing an intent", "value": sealed, "unit": "us CPU", "target": "under 40 us", "ok": sealed < 40},
    ]


class _NoDatabase:
    """Answers as SQLite does for a running boot and one log, and keeps nothing: what is left is our own work."""

    in_transaction = False
    get = None

    def execute(self, _text: str, _values: object = ()) -> _NoDatabase:
        return self

    def fetchall(self) -> list[tuple[object, ...]]:
        return [("running", 1, "acme", 0, b"", 0)]

    def changes(self) -> int:
        return 1


class _Unstored:
    """A store without a database below it."""

    def __init__(self) -> None:
        self.vault = Vault(KEYS, self)

    def find_secret(self, _lookup: bytes) -> SecretRow | None:
        return None

    def find_secret_of(self, _pseudonym: str) -> SecretRow | None:
        return None

    def seal(self, filing: Filing) -> Batch:
        return seal_filing(self.vault, filing)

    def commit(self, batches: Sequence[Batch]) -> list[Committed | Lost]:
        con: Any = _NoDatabase()
        leaves = [[leaf_hash(record.envelope) for record in batch.records] for batch in batches]
        answers, _ = commit_group(con, 1, self.vault.blind, batches, leaves)
        self.vault.confirm([row for batch in batches for row in batch.secrets])
        return answers


def alone() -> list[Row]:
    """CPU of a record on its way through ticket, writer and group, with 64 tasks: with SQLite, and all but SQLite."""
    with fresh_store() as (store, _):
        filings = [filing for _ in range(COMMITS // 2) for filing in call_filings(store.boot)]
        whole = min(_cpu_of_tasks(store, filings[: COMMITS // 3 * part]) for part in (1, 2, 3))
    unstored: Any = _Unstored()
    bare = min(_cpu_of_tasks(unstored, filings) for _ in range(3))
    return [
        {"name": "a record, SQLite included", "value": whole, "unit": "us CPU"},
        {"name": "a record, all but SQLite", "value": bare, "unit": "us CPU", "target": "under 60 us", "ok": bare < 60},
    ]


def _cpu_of_tasks(store: SqliteStore, filings: Sequence[Filing]) -> float:
    began = time.process_time()
    tasks_on(store, filings)
    return (time.process_time() - began) / len(filings) * 1e6


def tasks_on(store: SqliteStore, filings: Sequence[Filing], callers: int = CALLERS) -> list[float]:
    """How long each batch waited, in seconds; each caller submits its next as soon as the last is durable."""
    waited: list[float] = []
    writer = Writer(store)

    async def call(mine: Sequence[Filing]) -> None:
        for filing in mine:
            began = time.perf_counter()
            await writer.submit(filing).wait_async()
            waited.append(time.perf_counter() - began)

    async def calls() -> None:
        await asyncio.gather(*[call(filings[number::callers]) for number in range(callers)])

    uvloop.run(calls())
    writer.close()
    return waited


def threads_on(store: SqliteStore, filings: Sequence[Filing], callers: int = CALLERS) -> list[float]:
    """As `tasks_on`, with threads."""
    waited: list[float] = []
    writer = Writer(store)

    def call(mine: Sequence[Filing]) -> None:
        for filing in mine:
            began = time.perf_counter()
            writer.submit(filing).wait()
            waited.append(time.perf_counter() - began)

    threads = [threading.Thread(target=call, args=(filings[number::callers],)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    return waited


class SlowDisk(SqliteStore):
    """A store whose flush takes `flush_s`, as that of a disk without a cache of its own does. Set `extra_s` to what is missing."""

    extra_s = 0.0

    def commit(self, batches: Sequence[Batch]) -> list[Committed | Lost]:
        """The commit, and the rest of the flush."""
        answers = super().commit(batches)
        time.sleep(self.extra_s)
        return answers


def waiting_for_a_slow_disk() -> list[Row]:
    """As `waiting`, with a flush of 4 ms: there the flush decides, and not the processor."""
    rows: list[Row] = []
    for name, load in (("tasks", tasks_on), ("threads", threads_on)):
        p50s = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
                store = SlowDisk.open(Path(folder) / "licet.db", now=now, keys=KEYS)
                assert isinstance(store, SlowDisk)
                store.extra_s = SLOW_FLUSH_S - flush_s(Path(folder))
                waited = sorted(load(store, [filing for _ in range(COMMITS // 4) for filing in call_filings(store.boot)]))
                store.close()
            p50s.append(waited[len(waited) // 2])
        rows.append(_against_flush(f"commit p50, {CALLERS} {name}, a flush of 4 ms", statistics.median(p50s), SLOW_FLUSH_S))
    return rows


def _against_flush(name: str, p50: float, flush: float) -> Row:
    limit = 1.25 * flush + 0.001
    return {
        "name": f"{name}, base: 1.25 flush + 1 ms",
        "value": p50 * 1e3,
        "unit": "ms",
        "base": limit * 1e3,
        "ratio": p50 / limit,
        "target": "at most the base",
        "ok": p50 <= limit,
    }


def waiting() -> list[Row]:
    """What a caller waits, with 64 of them; the median of rounds, the flush measured around each."""
    rows: list[Row] = []
    for name, load in (("tasks", tasks_on), ("threads", threads_on)):
        p50s, p99s, rates, flushes = [], [], [], []
        for _ in range(ROUNDS):
            with fresh_store() as (store, path):
                filings = [filing for _ in range(COMMITS // 2) for filing in call_filings(store.boot)]
                before = flush_s(path.parent)
                began = time.perf_counter()
                waited = sorted(load(store, filings))
                rates.append(len(waited) / (time.perf_counter() - began))
                flushes.append((before + flush_s(path.parent)) / 2)
                p50s.append(waited[len(waited) // 2])
                p99s.append(waited[len(waited) * 99 // 100])
        flush, p50, p99, rate = (statistics.median(values) for values in (flushes, p50s, p99s, rates))
        rows += [
            _against_flush(f"commit p50, {CALLERS} {name}", p50, flush),
            {
                "name": f"commit p99, {CALLERS} {name}, base: flush",
                "value": p99 * 1e3,
                "unit": "ms",
                "base": flush * 1e3,
                "ratio": p99 / flush,
            },
            {"name": f"records, {CALLERS} {name}, base: 1 / flush", "value": rate, "unit": "/s", "base": 1 / flush, "ratio": rate * flush},
        ]
    return rows


def sharing() -> list[Row]:
    """Two processes on one file, against one."""
    with fresh_store() as (_, path):
        together, fairness, singles = [], [], []
        for _ in range(ROUNDS):
            singles.append(_rates(path, 1)[0])
            rates = _rates(path, 2)
            together.append(sum(rates))
            fairness.append(min(rates) / max(rates))
    one, two, fair = statistics.median(singles), statistics.median(together), statistics.median(fairness)
    return [
        {"name": "one process, 16 threads", "value": one, "unit": "records/s"},
        {
            "name": "two processes together, base: one",
            "value": two,
            "unit": "records/s",
            "base": one,
            "ratio": two / one,
            "target": ">= 1.2x one",
            "ok": two >= 1.2 * one,
        },
        {"name": "the slower of two, base: the faster", "value": fair, "unit": "x", "target": ">= 0.8x", "ok": fair >= 0.8},
    ]


def _rates(path: Path, processes: int) -> list[float]:
    """Records per second of each process, all within the same seconds."""
    command = [sys.executable, "-m", "benchmarks.bench_ledger", str(path)]
    root = Path(__file__).parents[1]
    started = [subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in started]


def work(path: str) -> None:
    """One of several processes: 16 threads that make and commit records for some seconds."""
    store = SqliteStore.open(path, now=now, keys=KEYS)
    writer = Writer(store)
    counts: list[int] = []
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    end = time.perf_counter() + SECONDS

    def call() -> None:
        count = 0
        while time.perf_counter() < end:
            for filing in call_filings(store.boot):
                writer.submit(filing).wait()
                count += 1
        counts.append(count)

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    store.close()
    sys.stdout.write(json.dumps(sum(counts) / SECONDS))


def verifying() -> list[Row]:
    """Everything recomputed, payload commitments included, by CPU time: on one core."""
    with fresh_store() as (store, _):
        sizes: list[tuple[int, int]] = []
        for _ in range(RECORDS // 500):
            filings = [filing for _ in range(250) for filing in call_filings(store.boot)]
            batches = [store.seal(filing) for filing in filings]
            store.commit(batches)
            sizes += [(len(record.envelope), len(record.sealed)) for batch in batches[:2] for record in batch.records]
        rates = []
        for _ in range(3):
            began = time.process_time()
            with store.source() as source:
                report = verify(source)
            rates.append(report.records / (time.process_time() - began))
        assert report.ok
        assert report.records == RECORDS
    envelope, payload = (statistics.mean(column) for column in zip(*sizes, strict=True))
    rate = max(rates)
    name = f"verify, {RECORDS:,} records of {envelope:.0f} + {payload:.0f} bytes"
    return [{"name": name, "value": rate, "unit": "records/s per core", "target": ">= 120,000", "ok": rate >= 120_000}]


if __name__ == "__main__":
    work(sys.argv[1])
