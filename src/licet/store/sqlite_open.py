"""How a ledger's SQLite database is found, made and opened, and what its errors mean.

Rules:

1. A file that is not a ledger, or one of another version, is never written to, not even to set a pragma: it is looked at first.
2. The write-ahead log exists, and the folder entry of every file is flushed, before the first commit: SQLite would acknowledge a commit
   in a log whose folder entry a power cut takes away.
3. Everything durable: `synchronous=FULL`, and `fullfsync` where the platform tells a flush from a real one.
4. A new ledger is readable by its owner alone; what lies beside it has the same mode.
5. What is deleted is overwritten, on every connection and from the first row on: a page that is split otherwise keeps copies of most rows
   that have moved to another, and nobody knows later which.
"""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

import apsw
from msgspec import Struct

from licet.errors import NotAStore, StoreError, StorePoisoned, StoreUnavailable
from licet.store.migrations import on_sqlite
from licet.store.migrations.numbered import shipped

APPLICATION_ID = 0x4C696365
"""`Lice`: tells a ledger from any other SQLite file."""
BUSY_TIMEOUT_S = 2.0
"""Somebody else may hold SQLite's lock for a moment (a backup, a shell); Licet's own processes take turns beforehand."""
CHECKPOINT_PAGES = 1000
"""4 MiB of log before it is copied into the database (store/checkpoints.py): more holds commits up for longer, less copies more in all."""
STATEMENTS = 512
"""Prepared statements kept: a group's INSERT has a text of its own for each number of rows up to 64."""

INDEX_BITS = 40
"""A log holds 10^12 records, a database 8 million logs."""

_memory_numbers = itertools.count()


class Location(Struct, frozen=True):
    """Where a database is: a file, or a name that connections of this process share in memory."""

    path: Path | None
    memory: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else "memory"


def locate(url_or_path: str | Path) -> Location:
    """A location from `sqlite:licet.db`, `sqlite::memory:`, `sqlite::memory:NAME` or a path.

    `sqlite::memory:` is a new database each time; the same NAME is the same database for as long as one store has it open.
    """
    text = str(url_or_path)
    unprefixed = text.removeprefix("sqlite:")
    if unprefixed.startswith(":memory:"):
        name = unprefixed.removeprefix(":memory:") or f"{os.getpid()}-{next(_memory_numbers)}"
        return Location(None, f"file:/licet-{name}?vfs=memdb")
    return Location(Path(unprefixed))


def connect(location: Location, *, read_only: bool, create: bool = False, vfs: str | None = None) -> apsw.Connection:
    """A connection that waits for locks up to `BUSY_TIMEOUT_S`. Nothing has been read yet."""
    access = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    if location.path is None:
        memory_access = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        con = apsw.Connection(str(location.memory), flags=memory_access | apsw.SQLITE_OPEN_URI, statementcachesize=STATEMENTS)
    else:
        con = apsw.Connection(str(location.path), flags=access, vfs=vfs, statementcachesize=STATEMENTS)
    con.set_busy_timeout(int(BUSY_TIMEOUT_S * 1000))
    con.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)  # no function of ours runs because a tampered schema says so
    con.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    return con


def connect_immutable(location: Location) -> apsw.Connection:
    """A connection to a file on a medium that cannot be written, where not even lock files can be made."""
    quoted = Path(str(location.path)).resolve().as_uri()
    return apsw.Connection(f"{quoted}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, statementcachesize=STATEMENTS)


def check_file(path: Path, *, create: bool) -> None:
    """The file can be opened as a ledger, or made. Raises `NotAStore` or `StoreUnavailable`; creates an empty, private file."""
    if path.is_dir():
        raise NotAStore(f"`{path}` is a folder, not a ledger")
    if path.exists():
        return
    if not create:
        raise NotAStore(f"there is no ledger at `{path}`")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"a ledger cannot be created at `{path}`: {error.strerror}") from error


def mode_of(path: Path) -> int:
    """The permissions for what lies beside the database."""
    return stat.S_IMODE(path.stat().st_mode) & 0o666


def check_identity(con: apsw.Connection, location: Location) -> bool:
    """Whether this is a ledger, of whatever version; False for an empty file. Raises `NotAStore` for anything else."""
    application, version = con.pragma("application_id"), con.pragma("user_version")
    if application == APPLICATION_ID:
        return True
    if application or version or con.execute("SELECT 1 FROM sqlite_schema LIMIT 1").get is not None:
        raise NotAStore(f"`{location}` is a SQLite database, but not a ledger")
    return False


def make_durable(con: apsw.Connection, location: Location) -> None:
    """Pragmas of a writing connection, and the write-ahead log in place (rules 2, 3 and 5)."""
    con.pragma("synchronous", "FULL")
    con.pragma("secure_delete", "ON")
    if location.path is None:
        con.pragma("journal_mode", "MEMORY")
        return
    con.pragma("fullfsync", "ON")
    con.pragma("checkpoint_fullfsync", "ON")
    if con.pragma("journal_mode", "WAL") != "wal":
        raise StoreUnavailable(f"`{location}` lies on a file system on which SQLite cannot keep a write-ahead log")
    con.wal_autocheckpoint(0)  # store/checkpoints.py does it


def create_schema(con: apsw.Connection, at: int) -> None:
    """An empty database is now a ledger, made at `at` (UTC microseconds); two processes that try at once make it once.

    A crash here leaves an empty database.
    """
    con.execute("BEGIN IMMEDIATE")
    try:
        if con.pragma("application_id") != APPLICATION_ID:
            for migration in shipped("sqlite"):
                on_sqlite.apply(con, migration, at)
            con.pragma("application_id", APPLICATION_ID)
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise


def flush_folder(path: Path) -> None:
    """The folder's entries (database, log) survive a power cut."""
    fd = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def translate(error: apsw.Error, location: Location) -> StoreError:
    """What a SQLite error means to whoever runs Licet. What is not known to be harmless poisons."""
    for kind, make, text in _MEANINGS:
        if isinstance(error, kind):
            return make(f"the ledger `{location}` {text}")
    message = f"the ledger `{location}` failed in a way whose extent is unknown ({error}); restart and run `licet audit verify`"
    return StorePoisoned(message, ambiguous=True)


_MEANINGS: tuple[tuple[type[apsw.Error], type[StoreError], str], ...] = (
    (apsw.BusyError, StoreUnavailable, f"is locked by another process for more than {BUSY_TIMEOUT_S:g} s"),
    (apsw.LockedError, StoreUnavailable, "is locked by another connection of this process"),
    (apsw.ReadOnlyError, StoreUnavailable, "is read-only"),
    (apsw.FullError, StoreUnavailable, "cannot grow: the disk is full"),
    (apsw.CantOpenError, StoreUnavailable, "cannot be opened: check that the file and its folder can be read and written"),
    (apsw.PermissionsError, StoreUnavailable, "cannot be opened: permission denied"),
    (apsw.NotADBError, NotAStore, "is not a SQLite database"),
)
