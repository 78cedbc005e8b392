"""Another process on a ledger, as a script: `python -m tests.store.process VERB PATH [COUNT]`. It prints JSON, one value a line."""

from __future__ import annotations

import json
import os
import sys
import time

from licet.errors import StoreError, StoreUnavailable
from licet.ledger.seal import Filing
from licet.ledger.writer import Ticket, Writer
from licet.model import Receipt
from licet.store.contract import OpenCall, Store
from licet.store.postgres import PostgresStore
from licet.store.postgres_open import Address
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, call_id, commit, intent, now, record


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def open_store(path: str) -> Store:
    """A ledger at a path or a URL."""
    if path.startswith("postgresql:"):
        return PostgresStore.open(Address(path), now=now, keys=KEYS)
    return SqliteStore.open(path, now=now, keys=KEYS)


def append(path: str, count: int) -> None:
    """Say each receipt as soon as there is one."""
    store = open_store(path)
    writer = Writer(store)
    say("ready")
    sys.stdin.readline()
    for _ in range(count):
        tickets = [writer.submit(Filing((record("gap", boot=store.boot),))) for _ in range(4)]
        for ticket in tickets:
            say([[receipt.index, receipt.leaf] for receipt in _landed(writer, ticket)])
    writer.close()
    store.close()


def _landed(writer: Writer, ticket: Ticket) -> tuple[Receipt, ...]:
    """The receipts; as any caller would, once more where the store says that nothing of it has landed."""
    while True:
        try:
            return ticket.wait()
        except StoreUnavailable as error:
            if error.ambiguous:
                raise
            time.sleep(0.05)
            ticket = writer.submit(ticket.filing)


def die_with_an_open_call(path: str, _: int) -> None:
    """An intent without outcome; then wait to be killed."""
    store = open_store(path)
    call = call_id()
    commit(store, [Filing((intent(call, store),), (OpenCall(call, "acme"),))])
    say([call, store.boot])
    time.sleep(60)


def fork_and_die(path: str, _: int) -> None:
    """As above, but leave a child behind that has inherited everything."""
    store = open_store(path)
    call = call_id()
    commit(store, [Filing((intent(call, store),), (OpenCall(call, "acme"),))])
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    say([call, store.boot, child])
    time.sleep(60)


def commit_when_told(path: str, _: int) -> None:
    """One commit for each line of input, and what became of it."""
    store = open_store(path)
    say("ready")
    for _line in sys.stdin:
        try:
            commit(store, [Filing((record("gap"),))])
            say("committed")
        except StoreError as error:
            say(type(error).__name__)


if __name__ == "__main__":
    verbs = {"append": append, "die": die_with_an_open_call, "fork": fork_and_die, "told": commit_when_told}
    verbs[sys.argv[1]](sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0)
