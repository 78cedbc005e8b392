"""A process that writes records into a ledger in PostgreSQL: `python -m benchmarks.writing FOLDER URL LOG`.

It says `ready`, waits for a line, writes for `SECONDS` with 64 producers, and says how many records were durable within them. Everything
that keeps a ledger runs: sealing, the notary that signs heads. Before that every customer has a secret; the first second is not counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.bench_records import ALLOWED, CUSTOMERS, ENTRIES, PRODUCERS, SAID, now
from licet.config import Settings
from licet.gate.opening import OpenLedger
from licet.ledger.entropy import new_id
from licet.ledger.seal import Filing, state
from licet.ledger.vault import Subject
from licet.model import CallId

WARM_S = 1.0
SECONDS = 4.0


def settings_of(folder: Path, url: str) -> Settings:
    """A ledger at a URL, whose key lies in the folder."""
    return Settings(environment="production", store=url, keys=f"file:{folder / 'licet.key'}", file=folder / "licet.toml")


def filings(boot: str, log: str, first: int) -> Iterator[Filing]:
    """Denials, on customers in turn: a record each, and no row but its own."""
    number = first
    while True:
        at = time.time_ns() // 1_000
        target = (Subject(log, "Customer", f"C-{number % CUSTOMERS}"),)
        record = state(
            log=log, kind="denial", at=at, boot=boot, call=CallId(new_id(at)), payload=SAID, decision=ALLOWED, targets=target, **ENTRIES
        )
        yield Filing((record,))
        number += 1


async def write(ledger: OpenLedger, log: str) -> tuple[int, float]:
    """How many records were answered after the first second, and in how many seconds."""
    counted = 0
    begins = time.perf_counter() + WARM_S
    ends = begins + SECONDS

    async def producer(number: int) -> None:
        nonlocal counted
        for filing in filings(ledger.store.boot, log, number * (CUSTOMERS // PRODUCERS)):
            await ledger.writer.submit(filing).wait_async()
            at = time.perf_counter()
            if at > ends:
                return
            counted += at > begins

    await asyncio.gather(*[producer(number) for number in range(PRODUCERS)])
    return counted, SECONDS


def main(folder: Path, url: str, log: str) -> None:
    """What the command line asks for."""
    with OpenLedger(settings_of(folder, url), now) as ledger:
        mine = filings(ledger.store.boot, log, 0)
        for ticket in [ledger.writer.submit(next(mine)) for _ in range(CUSTOMERS)]:
            ticket.wait()  # the secrets of all customers are there, and known
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        cpu = time.process_time()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            records, seconds = runner.run(write(ledger, log))
        used = time.process_time() - cpu
        sys.stdout.write(json.dumps({"records": records, "seconds": seconds, "cpu_s": used}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
