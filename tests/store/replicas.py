"""Replicas: stores on one PostgreSQL database, each with its writer, as processes would have them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from licet.errors import ConditionLost
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.ledger.writer import Writer
from licet.store.contract import Committed, Lost
from licet.store.postgres import PostgresStore
from tests.store.conftest import PostgresDatabase

T = TypeVar("T")

REPLICAS = 4
EACH = 4


@dataclass
class Replica:
    """A process, as far as the store can tell."""

    store: PostgresStore
    writer: Writer

    def answer(self, filing: Filing) -> Committed | Lost:
        try:
            return Committed(self.writer.submit(filing).wait(60))
        except ConditionLost as lost:
            return Lost(lost.condition, str(lost))

    def write(self, *filings: Filing) -> None:
        """Nothing may be lost."""
        for filing in filings:
            self.writer.submit(filing).wait(60)


@contextmanager
def replicas_of(database: PostgresDatabase, count: int = REPLICAS) -> Iterator[list[Replica]]:
    """That many, as long as the block runs, in which nobody may ever have waited in a ring."""
    log = database.server.folder / "log"
    before = log.stat().st_size
    stores = [database.open() for _ in range(count)]
    made = [Replica(store, Writer(store)) for store in stores]
    try:
        yield made
    finally:
        for replica in made:
            replica.writer.close()
    assert b"deadlock" not in log.read_bytes()[before:]


def at_once(replicas: Sequence[Replica], act: Callable[[Replica, int], T], each: int = EACH) -> list[T]:
    """What `act` returns in as many threads, of all replicas, that begin together."""
    barrier = threading.Barrier(len(replicas) * each)

    def run(number: int) -> T:
        barrier.wait(30)
        return act(replicas[number % len(replicas)], number)

    with ThreadPoolExecutor(barrier.parties) as threads:
        return list(threads.map(run, range(barrier.parties)))


def won(answers: Sequence[Committed | Lost]) -> int:
    return sum(isinstance(one, Committed) for one in answers)


def lost(answers: Sequence[Committed | Lost]) -> set[Lost]:
    return {one for one in answers if isinstance(one, Lost)}


def assert_whole(store: PostgresStore) -> int:
    """Everything fits together; how many records there are."""
    with store.source() as source:
        report = verify(source)
    problems = [str(problem) for problem in report.problems]
    assert not problems, problems
    return report.records
