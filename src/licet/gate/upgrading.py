"""Bringing the ledger that settings name up to this program's schema, and saying in the ledger that it was done.

The record stands behind the change, in the operator's log: before it, this program cannot write there. A crash between the two leaves the
row of the migration in the database, with its time, and no record.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from licet.config import Settings
from licet.gate.opening import OpenLedger
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing
from licet.model import OPERATOR_LOG, JsonObject
from licet.store.backup import alone
from licet.store.opening import missing_in, place_of, upgrade_database
from licet.store.upgrading import upgrade_file


class Upgraded(Struct, frozen=True):
    """The migrations that the ledger has seen now and had not before, and where what was there lies; empty and None: it was current."""

    migrations: tuple[str, ...]
    kept: str | None = None


def missing(settings: Settings) -> tuple[str, ...]:
    """What `upgrade` would apply, by title. Raises `StoreError`; `NotAStore` where there is no ledger."""
    return tuple([migration.title for migration in missing_in(place_of(settings))])


def upgrade(settings: Settings, now: Callable[[], datetime], *, by: str) -> Upgraded:
    """The ledger is of this program's version. One in PostgreSQL is not copied first: whoever runs the server has its backups.

    Raises `GateClosed` where another process has it open for writing, `NotAStore`, `StoreError`, `IntegrityBroken` where it is damaged.
    """
    if settings.in_postgres:
        done = tuple([migration.title for migration in upgrade_database(place_of(settings), microseconds(now()))])
        return _recorded(settings, now, done, None, by)
    path = settings.store_path
    kept = path.with_name(f"{path.name}.before-upgrade-{now():%Y%m%dT%H%M%SZ}")
    with alone(path):
        done = tuple([migration.title for migration in upgrade_file(path, microseconds(now()), kept)])
    return _recorded(settings, now, done, kept, by)


def _recorded(settings: Settings, now: Callable[[], datetime], done: tuple[str, ...], kept: Path | None, by: str) -> Upgraded:
    if not done:
        return Upgraded(())
    with OpenLedger(settings, now, create=False) as ledger:
        operator = ledger.operator(settings, by)
        detail: JsonObject = {"act": "upgrade", "migrations": list(done), "kept": None if kept is None else kept.name}
        operator.writer.submit(Filing((operator.say("admin", OPERATOR_LOG, detail),))).wait()
    return Upgraded(done, None if kept is None else str(kept))
