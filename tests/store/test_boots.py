from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from licet.store.contract import Boot
from licet.store.sqlite import SqliteStore
from tests.store.conftest import Database
from tests.store.samples import KEYS, NOW, now

DIES = """
import os, sys
from licet.ledger.keys import KeyEncryptionKeys
from datetime import UTC, datetime
from licet.store.sqlite import SqliteStore
store = SqliteStore.open(sys.argv[1], now=lambda: datetime.now(UTC), keys=KeyEncryptionKeys([bytes(range(32))]))
print(store.boot, flush=True)
os._exit(1)
"""


def test_a_boot_that_is_open_lives(database: Database) -> None:
    first, second = database.open(), database.open()
    assert first.boots() == (Boot(first.boot, NOW, "running", True), Boot(second.boot, NOW, "running", True))


def test_a_boot_that_was_closed_is_not_told(database: Database) -> None:
    first, second = database.open(), database.open()
    second.close()
    assert [boot.id for boot in first.boots()] == [first.boot]


def test_a_boot_whose_process_died_lives_no_more_and_stays_as_it_is_until_recovered(path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, str(path)], capture_output=True, text=True, check=False).stdout.strip()
    reader = SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    for _ in range(2):  # looking changes nothing
        (found,) = reader.boots()
        assert (found.id, found.state, found.lives) == (died, "running", False)
    reader.close()
    store = SqliteStore.open(path, now=now, keys=KEYS)
    store.orphaned_calls()
    assert [(boot.id, boot.state, boot.lives) for boot in store.boots()] == [(died, "dead", False), (store.boot, "running", True)]
    store.close()
