"""Opening the ledger that a `store` names: the one place that picks between SQLite and PostgreSQL."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from msgspec import Struct

from licet.config.postgres import is_postgres
from licet.config.settings import Settings
from licet.errors import ConfigInvalid, NotAStore
from licet.ledger.keys import KeyEncryptionKeys
from licet.store import sqlite_open
from licet.store.contract import Store
from licet.store.migrations.numbered import Migration
from licet.store.passwords import password_at
from licet.store.sqlite import SqliteStore
from licet.store.upgrading import missing_migrations

if TYPE_CHECKING:
    from licet.store.postgres_open import Address

_MEMORY = "sqlite::memory:"


class Place(Struct, frozen=True):
    """Where a ledger is, and where the password to it comes from: all that another process needs to open it.

    A read of one over a network is given up after `read_s`, if that is less than what the store itself allows.
    """

    store: str
    password: str | None = None
    read_s: float | None = None

    @property
    def in_postgres(self) -> bool:
        """Whether it is a PostgreSQL database."""
        return is_postgres(self.store)

    @property
    def in_memory(self) -> bool:
        """Whether the ledger ends with the process."""
        return self.store.startswith(_MEMORY)


def place_of(settings: Settings) -> Place:
    """The place of the settings' ledger."""
    return Place(settings.store, settings.postgres.password, settings.limits.store_timeout_s)


def open_store(
    place: Place,
    *,
    now: Callable[[], datetime],
    keys: KeyEncryptionKeys | None,
    create: bool = True,
    read_only: bool = False,
) -> Store:
    """The ledger, with a boot and its lease unless read-only.

    Raises `NotAStore` when there is something else, or nothing and not `create`; `StoreUnavailable`, `KeyUnavailable`, `IntegrityBroken` as
    its store does; `ConfigInvalid` where the library for it is missing.
    """
    if not place.in_postgres:
        return SqliteStore.open(place.store, now=now, keys=keys, create=create, read_only=read_only)
    postgres = _postgres()
    opened: Store = postgres.PostgresStore.open(_address(place), now=now, keys=keys, create=create, read_only=read_only)
    return opened


def is_there(place: Place) -> bool:
    """Whether there is a ledger, or something in its place, as far as that can be told without its key.

    Raises `StoreUnavailable` where a database cannot be asked.
    """
    if place.in_memory:
        return False
    if not place.in_postgres:
        path = Path(place.store.removeprefix("sqlite:"))
        try:
            return path.stat().st_size > 0
        except OSError:
            return False
    return not _beside().is_empty(_address(place))


def check_there(place: Place) -> None:
    """Raise `NotAStore` where there is no ledger. Makes nothing."""
    if place.in_postgres:
        if not is_there(place):
            raise NotAStore(f"`{_address(place)}` is an empty database, not a ledger")
    elif not place.in_memory:
        sqlite_open.check_file(Path(place.store.removeprefix("sqlite:")), create=False)


def not_durable(place: Place) -> tuple[str, ...]:
    """The settings of a PostgreSQL server that are off, and without which a power cut takes commits that were acknowledged."""
    found: tuple[str, ...] = _beside().not_durable(_address(place))
    return found


def missing_in(place: Place) -> tuple[Migration, ...]:
    """What the ledger has not seen yet of what this program ships. Raises `NotAStore`, `StoreError`."""
    if not place.in_postgres:
        return missing_migrations(Path(place.store.removeprefix("sqlite:")))
    found: tuple[Migration, ...] = _beside().missing_migrations(_address(place))
    return found


def upgrade_database(place: Place, at: int) -> tuple[Migration, ...]:
    """The ledger in PostgreSQL has seen every migration of this program; those that it had not. As `upgrade` of postgres_beside.py."""
    done: tuple[Migration, ...] = _beside().upgrade(_address(place), at)
    return done


def check_alone(place: Place) -> None:
    """Raise `GateClosed` where a process has the ledger in PostgreSQL open for writing."""
    _beside().check_alone(_address(place))


def _postgres() -> ModuleType:
    return _extra("licet.store.postgres")


def _beside() -> ModuleType:
    return _extra("licet.store.postgres_beside")


def _extra(module: str) -> ModuleType:
    """What only a ledger in PostgreSQL needs: who has a file does without its library."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigInvalid("`store` names a PostgreSQL database, for which `licet[postgres]` must be installed", key="store") from error


def _address(place: Place) -> Address:
    from licet.store.postgres_open import READ_S, Address  # noqa: PLC0415  as above

    return Address(place.store, password_at(place.password), min(READ_S, place.read_s or READ_S))
