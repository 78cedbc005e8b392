"""Records alone, without decisions: how many a second, what each costs, what they take on disk, how fast they are verified.

Everything that keeps a ledger runs: sealing under the secrets of a thousand customers, the notary that signs heads; the search index is
filled afterwards, and counted. The flush is measured in the same run, on the same file system.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from msgspec import Raw

from benchmarks.bench_ledger import ARGUMENTS, PRINCIPALS, TARGETS, flush_s
from benchmarks.rows import Row
from licet.config import Settings
from licet.gate.opening import OpenLedger, Searching, open_reading
from licet.gate.parallel import examining
from licet.ledger.entropy import new_id
from licet.ledger.keys import PREFIX
from licet.ledger.record import Actor, DecisionEntry, OutcomeEntry, Payload, ToolEntry, TraceEntry
from licet.ledger.seal import Filing, Statement, state
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.model import CallId, DecidingPolicy
from licet.store.contract import CloseCall, OpenCall

PRODUCERS = 64
RECORDS = 40_000
ROUNDS = 3
CUSTOMERS = 1_000
VERIFIED = 300_000
POLICY = DecidingPolicy(
    id="billing-adjust", effect="permit", file="policies/billing.cedar", line=12, principal='User::"alice"', target='Customer::"C-412"'
)
ENTRIES: dict[str, Any] = {
    "environment": "production",
    "actor": Actor(agent="support-bot", user="alice", session="ticket-4711"),
    "tool": ToolEntry("billing.adjust", "write", "d" * 64),
    "trace": TraceEntry(trace_id="a" * 32, span_id="c" * 16, workflow="ticket-4711"),
}
ALLOWED = DecisionEntry(verdict="allow", code="allowed", policies=("billing-adjust",), bundle="b" * 64)
SAID = Payload(
    arguments=ARGUMENTS, reason="double charge", principals=PRINCIPALS, targets=TARGETS, context={"calls": 7}, policies=(POLICY,)
)
DONE = Payload(result=Raw(b'{"status":"adjusted","balance_cents":12050}'))


def run() -> list[Row]:
    return [*producing(), *verifying()]


@contextmanager
def fresh() -> Iterator[Settings]:
    """The settings of a ledger that is not there yet."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        key = Path(folder) / "licet.key"
        key.write_text(PREFIX + base64.b64encode(bytes(range(32))).decode() + "\n")
        key.chmod(0o600)
        yield Settings(environment="production", store=f"sqlite:{folder}/licet.db", keys=f"file:{key}", file=Path(folder) / "licet.toml")


def now() -> datetime:
    return datetime.now(UTC)


def filings(boot: str, calls: int) -> Iterator[Filing]:
    """An intent and its outcome for each call, on customers in turn."""
    for number in range(calls):
        at = time.time_ns() // 1_000
        target = (Subject("acme", "Customer", f"C-{number % CUSTOMERS}"),)
        call = CallId(new_id(at))
        intent = state(log="acme", kind="intent", at=at, boot=boot, call=call, payload=SAID, decision=ALLOWED, targets=target, **ENTRIES)
        yield Filing((intent,), (OpenCall(call, "acme"),))
        ended = OutcomeEntry(status="ok", duration_us=1_200)
        yield Filing((_outcome(boot, at, call, target, ended),), (CloseCall(call),))


def _outcome(boot: str, at: int, call: CallId, target: tuple[Subject, ...], ended: OutcomeEntry) -> Statement:
    return state(log="acme", kind="outcome", at=at, boot=boot, call=call, payload=DONE, outcome=ended, targets=target, **ENTRIES)


def produce(ledger: OpenLedger, records: int) -> list[float]:
    """How long each waited, with so many producers on an event loop; each takes its own calls in turn."""
    waited: list[float] = []

    async def producer(mine: Iterator[Filing]) -> None:
        for filing in mine:
            began = time.perf_counter()
            await ledger.writer.submit(filing).wait_async()
            waited.append(time.perf_counter() - began)

    async def all_producers() -> None:
        share = records // PRODUCERS // 2
        await asyncio.gather(*[producer(filings(ledger.store.boot, share)) for _ in range(PRODUCERS)])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_producers())
    return waited


def producing() -> list[Row]:
    rates, shares, ratios, cpus, unindexed, spaces = [], [], [], [], [], []
    for _ in range(ROUNDS):
        with fresh() as settings:
            with OpenLedger(settings, now) as ledger:
                produce(ledger, 4_000)  # secrets of all customers, caches
                before, cpu, began = flush_s(settings.store_path.parent), time.process_time(), time.perf_counter()
                waited = sorted(produce(ledger, RECORDS))
                rate = len(waited) / (time.perf_counter() - began)
                unindexed.append((time.process_time() - cpu) / len(waited))
                flush = (before + flush_s(settings.store_path.parent)) / 2
                with Searching(settings, ledger.store) as searching:
                    cpu = time.process_time()
                    searching.indexer.catch_up()
                    indexing = (time.process_time() - cpu) / sum(state.size for state in ledger.store.logs())
            cpus.append(unindexed[-1] + indexing)
            rates.append(rate)
            shares.append(rate / min(15_000.0, 0.7 * PRODUCERS / flush))
            ratios.append(waited[len(waited) * 99 // 100] / waited[len(waited) // 2])
            spaces.append(_space(settings))
    rate, share, ratio, cpu_s, alone, space = map(statistics.median, (rates, shares, ratios, cpus, unindexed, spaces))
    return [
        {
            "name": f"records, {PRODUCERS} producers, base: 15,000 or 0.7 x 64 / flush, whichever is lower",
            "value": rate,
            "unit": "/s",
            "base": rate / share,
            "ratio": share,
            "target": "at least the base",
            "ok": share >= 1,
        },
        {"name": "p99 / p50 of what a producer waits", "value": ratio, "unit": "", "target": "under 3", "ok": ratio < 3},
        {"name": "CPU per record, heads signed, not indexed", "value": alone * 1e6, "unit": "us"},
        {
            "name": "CPU per record, heads signed and indexed with text",
            "value": cpu_s * 1e6,
            "unit": "us",
            "target": "under 60",
            "ok": cpu_s < 60e-6,
        },
        {
            "name": "bytes on disk with index and text, base: envelope + payload",
            "value": space,
            "unit": "x",
            "target": "at most 2.5",
            "ok": space <= 2.5,
        },
    ]


def _space(settings: Settings) -> float:
    """Bytes of ledger and index for each byte of envelope and payload."""
    store = open_reading(settings, now)
    said = sum(len(record.envelope) + len(record.payload or b"") for log in store.logs() for record in store.records(log.log))
    store.close()
    path = settings.store_path
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*") if file.is_file()) / said


def verifying() -> list[Row]:
    """Everything recomputed, payloads opened, with one process and with as many as there are cores."""
    rows: list[Row] = []
    with fresh() as settings:
        with OpenLedger(settings, now) as ledger:
            for _ in range(VERIFIED // 1_000):
                ledger.store.commit([ledger.store.seal(filing) for filing in filings(ledger.store.boot, 500)])
        for workers, target in ((1, None), (2, 200_000)):
            rates = []
            for _ in range(ROUNDS):
                store = open_reading(settings, now)
                with store.source() as source, examining(settings, VERIFIED, workers) as chunks:
                    began = time.perf_counter()
                    report = verify(source, chunks=chunks)
                    rates.append(report.records / (time.perf_counter() - began))
                assert report.ok
                store.close()
            name = f"verify, {VERIFIED:,} records with their payloads, {workers} process{'es' if workers > 1 else ''}"
            row: Row = {"name": name, "value": max(rates), "unit": "records/s"}
            if target is not None:
                row |= {"target": f">= {target:,}", "ok": max(rates) >= target}
            rows.append(row)
    return rows
