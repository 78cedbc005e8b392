"""Copies of a ledger's database, and putting one back.

Rules:

1. A copy is one moment of the ledger, made while others write. It never holds the search index, and nothing that lies beside the ledger.
2. A copy is read by its owner alone, flushed and verified before it gets its name; no file is ever written over.
3. Nothing is put back while another process holds a lease: it would go on with what it remembers.
4. What was there is kept under another name, as evidence. Until the copy takes its place, which is one step, it is there.
5. The write-ahead log of what was there never meets the copy: it is folded into what it belongs to first, or moved away with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import apsw

from licet.errors import GateClosed, IntegrityBroken, NotAStore, StoreError, StoreUnavailable
from licet.store.leases import FileLeases, Turn
from licet.store.migrations import on_sqlite
from licet.store.sqlite import SqliteStore
from licet.store.sqlite_open import BUSY_TIMEOUT_S, INDEX_BITS, Location, check_identity, connect, flush_folder, mode_of, translate
from licet.store.sqlite_rows import fetch

_PAGES = 1_000
"""Pages of one step; between two, others have the processor."""


def back_up(source: Path, target: Path) -> int:
    """A verified copy of the ledger lies at `target`. Its size in bytes.

    Raises `StoreUnavailable` where there is a file already or it cannot be written, `IntegrityBroken` where what was copied is damaged.
    """
    claimed, made = False, target.with_name(f"{target.name}.part")
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))  # the name is ours from now on
        claimed = True
        made.unlink(missing_ok=True)  # of a copy that died
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        _copy(source, made)
        verify_copy(made)
        _flush(made)
        made.replace(target)
        flush_folder(target)
    except BaseException as error:
        made.unlink(missing_ok=True)
        if claimed:
            target.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise StoreUnavailable(f"`{target}` is there already; a backup writes over nothing") from error
        if isinstance(error, OSError):
            raise StoreUnavailable(f"a backup cannot be written to `{target}`: {error.strerror}") from error
        if isinstance(error, apsw.Error):
            raise translate(error, Location(source)) from error
        raise
    return target.stat().st_size


def verify_copy(path: Path) -> None:
    """The file is a ledger of this version or an earlier one, undamaged as far as SQLite can tell, and every log ends where its tree does.

    Raises `NotAStore`, `IntegrityBroken`.
    """
    location = Location(path)
    try:
        con = connect(location, read_only=True)
        try:
            if not check_identity(con, location):
                raise NotAStore(f"`{path}` is empty, not a ledger")
            on_sqlite.missing(con, str(location))
            found = con.execute("PRAGMA quick_check(1)").get
            if found != "ok":
                raise IntegrityBroken(f"`{path}` is damaged: {found}")
            for name, size, number in fetch(con, "SELECT name, size, number FROM logs"):
                base = number << INDEX_BITS
                end = base + (1 << INDEX_BITS)
                last = fetch(con, "SELECT max(place) FROM records WHERE place >= ? AND place < ?", (base, end))[0][0]
                if size != (0 if last is None else last - base + 1):
                    raise IntegrityBroken(f"`{path}` is damaged: log `{name}` does not end where its tree says")
        finally:
            con.close()
    except apsw.Error as error:
        raise translate(error, location) from error


def put_back(copy: Path, path: Path, stamp: str) -> Path | None:
    """A copy of `copy` is the ledger at `path` now; what was there lies at the path returned. Raises `StoreUnavailable`."""
    made = path.with_name(f"{path.name}.part")
    try:
        made.unlink(missing_ok=True)
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        _copy(copy, made)
        _flush(made)
        kept = _keep_aside(path, stamp) if path.exists() else None
        made.replace(path)  # one step: a crash before it leaves what was there, after it the copy
        flush_folder(path)
    except OSError as error:
        raise StoreUnavailable(f"`{path}` cannot be replaced: {error.strerror}") from error
    except apsw.Error as error:
        raise translate(error, Location(copy)) from error
    return kept


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else has the ledger open for writing, and nobody begins to, for as long as this lasts (rule 3).

    Raises `GateClosed` where somebody has, `StoreUnavailable` where somebody keeps the turn.
    """
    if not path.exists():
        yield
        return
    folder = path.with_name(f"{path.name}-boots")
    leases, turn = FileLeases(folder, mode_of(path)), Turn(path, mode_of(path), BUSY_TIMEOUT_S * 2)
    try:
        with turn:
            living = [boot.name for boot in folder.iterdir() if not leases.is_gone(boot.name)] if folder.is_dir() else []
            if living:
                raise GateClosed(f"another process has the ledger `{path}` open (boot `{living[0]}`); stop it first")
            yield
    finally:
        turn.close()


def open_copy(copy: Path, now: Callable[[], datetime]) -> SqliteStore:
    """The copy, opened for reading, without a key."""
    return SqliteStore.open(copy, now=now, keys=None, create=False, read_only=True)


def _copy(source: Path, target: Path) -> None:
    """Page by page, in one read transaction; the copy needs no file beside it."""
    reading = connect(Location(source), read_only=True)
    try:
        writing = apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            reading.execute("BEGIN")
            reading.pragma("schema_version")  # the moment of the copy
            with writing.backup("main", reading, "main") as copying:
                while not copying.done:
                    copying.step(_PAGES)
            writing.pragma("journal_mode", "DELETE")
        finally:
            writing.close()
    finally:
        reading.close()


def _keep_aside(path: Path, stamp: str) -> Path:
    """What is at `path` has another name as well, with its log (rules 4 and 5)."""
    kept = path.with_name(f"{path.name}.before-{stamp}")
    with suppress(apsw.Error, StoreError):
        con = connect(Location(path), read_only=False)
        try:
            con.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            con.close()
    os.link(path, kept)
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        log.replace(kept.with_name(f"{kept.name}-wal"))  # it could not be folded in: the file is damaged
    log.unlink(missing_ok=True)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    return kept


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
