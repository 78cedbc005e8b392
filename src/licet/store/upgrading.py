"""Bringing a ledger's SQLite file up to the schema that this program writes; see store/migrations/numbered.py for what a migration is.

Rules:

1. Nothing is changed before a verified copy of what is there lies beside it.
2. Nobody else has the ledger open for writing meanwhile: the caller has seen to it (`backup.alone`). Readers may go on.
3. A crash leaves the ledger at one of the migrations, whole; running it again goes on from there.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from licet.errors import NotAStore
from licet.store import sqlite_open
from licet.store.backup import back_up
from licet.store.migrations import on_sqlite
from licet.store.migrations.numbered import Migration
from licet.store.sqlite_open import Location, translate


def missing_migrations(path: Path) -> tuple[Migration, ...]:
    """What the ledger has not seen yet, in order. Raises `NotAStore`, `StoreError`."""
    location = Location(path)
    sqlite_open.check_file(path, create=False)
    try:
        con = sqlite_open.connect(location, read_only=True)
        try:
            if not sqlite_open.check_identity(con, location):
                raise NotAStore(f"`{path}` is empty, not a ledger")
            return on_sqlite.missing(con, str(location))
        finally:
            con.close()
    except apsw.Error as error:
        raise translate(error, location) from error


def upgrade_file(path: Path, at: int, copy: Path | None) -> tuple[Migration, ...]:
    """The ledger has seen every migration of this program; those that it had not, at `at` (UTC microseconds).

    With `copy`, what was there lies there first. Raises `NotAStore`, `StoreError`; `IntegrityBroken` where what was there is damaged.
    """
    behind = missing_migrations(path)
    if not behind:
        return ()
    if copy is not None:
        back_up(path, copy)
    location = Location(path)
    try:
        con = sqlite_open.connect(location, read_only=False)
        try:
            sqlite_open.make_durable(con, location)
            on_sqlite.upgrade(con, behind, at)
        finally:
            con.close()
        sqlite_open.flush_folder(path)
    except apsw.Error as error:
        raise translate(error, location) from error
    return behind
