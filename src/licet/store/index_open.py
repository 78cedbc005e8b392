"""How the search index's file is made, opened and made anew.

Rules:

1. Everything in the file is derived from the ledger. A file that is of another version, damaged, half written or no index at all is
   emptied and filled again; it never keeps anybody from opening the ledger. Its name belongs to Licet, and what lies there may hold text
   that was erased since, so it is not kept aside.
2. It is emptied in place, in a transaction of SQLite's own (`SQLITE_DBCONFIG_RESET_DATABASE`): removing or renaming a file that another
   process has open would let that process remove the new file's log.
3. What is deleted is overwritten (`secure_delete`), always: later nobody knows which free pages held what.
4. `synchronous=NORMAL`: a power cut may take the last transactions, never half of one. Cursors are part of each transaction.
5. It is readable by its owner alone; what lies beside it has the same mode.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import apsw

from licet.errors import NotAStore, StoreError, StoreUnavailable
from licet.store.sqlite_open import Location, connect

APPLICATION_ID = 0x4C697849
"""`LixI`: tells a search index from a ledger and from any other SQLite file."""
SCHEMA_VERSION = 3
"""Moves with the tables and with what records are found by: an index that lacks a term would say that there is no such record.

2: effects that deviate from what was approved (`deviates`). 3: the verdict of each doc; kinds that are not known here are unreadable.
"""
_MAGIC, _WRITE_VERSION = b"SQLite format 3\0", 18
BUSY_TIMEOUT_S = 10.0
"""Another process may be merging a shard of text. Nobody but the indexer and erasure waits for that."""
PAGE_BYTES = 8192
CHECKPOINT_PAGES = 4000
"""32 MiB of log: merges of the inverted index write pages again and again, and a longer log copies each but once."""
WRITER_CACHE_KIB = 32 * 1024
READER_CACHE_KIB = 8 * 1024
_TABLES = {"settings", "logs", "docs", "terms", "shards", "forgotten", "pruned", "rollups", "tiles"}


class IndexDamaged(StoreUnavailable):
    """The search index cannot be used as it is. It holds nothing of its own: `Index.rebuild` empties it, and it is filled again."""


def open_writer(location: Location, *, text: bool, vfs: str | None = None) -> apsw.Connection:
    """A connection that writes an index of this version, new or as it was; one without text if `text` is false, and made anew if it was."""
    con = connect(location, read_only=False, create=True, vfs=vfs)
    con.set_busy_timeout(int(BUSY_TIMEOUT_S * 1000))
    is_usable = _is_usable(con, text=text)
    if location.path is not None and con.readonly("main") and _mend_version(location.path):
        con.close()
        return open_writer(location, text=text, vfs=vfs)
    if not is_usable:
        empty(con)
    _prepare(con, location)
    create_schema(con, text=text)
    return con


def open_reader(location: Location, *, vfs: str | None = None) -> apsw.Connection:
    """A connection that only reads. Nothing has been read yet."""
    con = connect(location, read_only=True, vfs=vfs)
    con.pragma("cache_size", -READER_CACHE_KIB)
    return con


def is_index(con: apsw.Connection) -> bool:
    """Whether there is an index of this version."""
    return (con.pragma("application_id"), con.pragma("user_version")) == (APPLICATION_ID, SCHEMA_VERSION)


def empty(con: apsw.Connection) -> None:
    """The file is an empty database, whatever it was (rule 2)."""
    con.pragma("page_size", PAGE_BYTES)
    con.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 1)
    con.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)  # which forbids exactly this
    try:
        con.execute("VACUUM")
    finally:
        con.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 0)
        con.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)


def create_schema(con: apsw.Connection, *, text: bool) -> None:
    """An empty database is now an index without records; two processes that try at once make it once."""
    con.execute("BEGIN IMMEDIATE")
    try:
        if con.pragma("application_id") != APPLICATION_ID:
            con.execute(resources.files("licet.store").joinpath("index_schema.sql").read_text(encoding="utf-8"))
            tune(con, "terms")
            con.execute("INSERT INTO settings VALUES ('text', ?)", (int(text),))
            con.pragma("user_version", SCHEMA_VERSION)
            con.pragma("application_id", APPLICATION_ID)
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise


def tune(con: apsw.Connection, table: str) -> None:
    """An inverted index that writes less: larger leaves, and runs that are merged eight at a time. It halves the CPU of a commit."""
    settings = {"pgsz": PAGE_BYTES - 50, "hashsize": 16 << 20, "automerge": 8}
    con.executemany(f"INSERT INTO {table} ({table}, rank) VALUES (?, ?)", list(settings.items()))  # noqa: S608  a name of ours


def is_damage(error: apsw.Error) -> bool:
    """Whether this error may mean that the file is not what was written. What is not known to be harmless is damage."""
    return not isinstance(error, _HARMLESS)


def translate_index_error(error: apsw.Error, location: Location) -> StoreError:
    """What a SQLite error means to whoever runs Licet."""
    for kind, text in _MEANINGS:
        if isinstance(error, kind):
            return StoreUnavailable(f"the search index `{location}` {text}")
    return IndexDamaged(f"the search index `{location}` is damaged ({error}); whatever next writes to the ledger makes it anew")


def make_file(path: Path) -> None:
    """There is a file, empty and private if it is new. Raises `NotAStore` for a folder, `StoreUnavailable` where it cannot be made."""
    if path.is_dir():
        raise NotAStore(f"`{path}` is a folder, not a search index")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass  # closing one that is open here would drop its locks
    except OSError as error:
        raise StoreUnavailable(f"a search index cannot be written at `{path}`: {error.strerror}") from error


def _mend_version(path: Path) -> bool:
    """A file whose header asks for a later SQLite to write it would only be read, and never emptied: it is damage like any other."""
    try:
        with path.open("rb") as file:
            header = file.read(_WRITE_VERSION + 1)
        if not header.startswith(_MAGIC) or header[_WRITE_VERSION] in (1, 2):
            return False  # it is read-only for another reason, which is told where it is written
        with path.open("r+b") as file:
            file.seek(_WRITE_VERSION)
            file.write(b"\2")
    except OSError as error:
        raise StoreUnavailable(f"a search index cannot be written at `{path}`: {error.strerror}") from error
    return True


def _is_usable(con: apsw.Connection, *, text: bool) -> bool:
    """Whether it is an index of this version with the text that is wanted, or empty."""
    try:
        if con.execute("SELECT 1 FROM sqlite_schema LIMIT 1").get is None:
            return True
        if not is_index(con):
            return False
        if not {row[0] for row in con.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")} >= _TABLES:
            return False
        con.execute("SELECT 1 FROM terms WHERE terms MATCH 'x'").get  # noqa: B018  its structure can be read
        return not text or bool(con.execute("SELECT value FROM settings WHERE name = 'text'").get)
    except apsw.Error as error:
        if is_damage(error):
            return False
        raise


def _prepare(con: apsw.Connection, location: Location) -> None:
    con.pragma("page_size", PAGE_BYTES)  # of a file that is empty yet
    con.pragma("secure_delete", "ON")
    con.pragma("cache_size", -WRITER_CACHE_KIB)
    con.pragma("synchronous", "NORMAL")
    if location.path is None:
        con.pragma("journal_mode", "MEMORY")
    elif con.pragma("journal_mode", "WAL") != "wal":
        raise StoreUnavailable(f"`{location}` lies on a file system on which SQLite cannot keep a write-ahead log")
    con.wal_autocheckpoint(CHECKPOINT_PAGES)


_MEANINGS: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.BusyError, f"is locked by another process for more than {BUSY_TIMEOUT_S:g} s"),
    (apsw.LockedError, "is locked by another connection of this process"),
    (apsw.ReadOnlyError, "is read-only"),
    (apsw.FullError, "cannot grow: the disk is full"),
    (apsw.CantOpenError, "cannot be opened: check that the file and its folder can be read and written"),
    (apsw.PermissionsError, "cannot be opened: permission denied"),
    (apsw.NoMemError, "needs more memory than there is"),
)
_HARMLESS = tuple([kind for kind, _ in _MEANINGS])
