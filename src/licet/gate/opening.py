"""Opening the ledger that settings name, with its key: the one place where both are found.

Rules:

1. A new ledger gets a new key file, if its key comes from a file and none is there. A ledger that exists never does: its key was lost,
   and a second one would hide that.
2. Who only reads may do without the key; payloads stay closed then.
3. A ledger in memory has a key that ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from licet.config import Settings
from licet.errors import KeyUnavailable
from licet.ledger.keys import KeyEncryptionKeys, create_key_file, load_keys
from licet.store.sqlite import SqliteStore


def open_ledger(settings: Settings, now: Callable[[], datetime], *, create: bool = True) -> SqliteStore:
    """The ledger, opened for writing.

    Raises `StoreError`: among others `KeyUnavailable`, and `NotAStore` where there is none and not `create`.
    """
    return SqliteStore.open(settings.store, now=now, keys=keys_of(settings, create=create), create=create)


def open_reading(settings: Settings, now: Callable[[], datetime]) -> SqliteStore:
    """The ledger, opened for reading, with its key where there is one. Raises `StoreError`; `NotAStore` where there is none."""
    try:
        keys = keys_of(settings, create=False)
    except KeyUnavailable:
        keys = None
    return SqliteStore.open(settings.store, now=now, keys=keys, create=False, read_only=True)


def keys_of(settings: Settings, *, create: bool) -> KeyEncryptionKeys:
    """The keys of the settings' ledger; made first where both are new and `create`. Raises `KeyUnavailable`."""
    if settings.store.startswith("sqlite::memory:"):
        return KeyEncryptionKeys.generate()
    scheme, _, path = settings.keys.partition(":")
    if create and scheme == "file" and not _exists(settings.store_path):
        create_key_file(Path(path))
    return load_keys(settings.keys, folder=settings.file.parent if settings.file is not None else Path())


def _exists(store: Path) -> bool:
    try:
        return store.stat().st_size > 0
    except OSError:
        return False
