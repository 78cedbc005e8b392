"""The ledger in one SQLite file (through apsw), for one host and any number of its processes.

Rules:

1. One connection writes, others read. Processes take turns (store/leases.py) before they begin a transaction.
2. A commit returns after the write-ahead log was flushed. What it refuses as `StoreUnavailable` was rolled back and is not there.
3. After an error of unknown extent (I/O, corruption) the store is poisoned: the next flush might be acknowledged although pages of the
   failed one are lost. It commits nothing more, and closing it copies nothing from the log into the database.
4. A process that was declared dead finds that in its own transaction, before it writes: `LeaseLost`.
5. A child of a fork refuses everything (store/forks.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from licet.errors import GateClosed, IntegrityBroken, KeyUnavailable, LeaseLost, NotAStore, StoreError, StorePoisoned, StoreUnavailable
from licet.ledger.entropy import new_id
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.record import leaf_hash, microseconds
from licet.ledger.seal import Filing, seal_filing
from licet.store import sqlite_open
from licet.store.checkpoints import Checkpoints
from licet.store.contract import Batch, Boot, Committed, Lost, OpenIntent
from licet.store.forks import OpenFile
from licet.store.leases import FileLeases, Lease, Leases, ProcessLeases, Turn
from licet.store.migrations import on_sqlite
from licet.store.sqlite_commit import INDEX_BITS, commit_group
from licet.store.sqlite_open import BUSY_TIMEOUT_S, CHECKPOINT_PAGES, Location, translate
from licet.store.sqlite_read import Readers, SharedReader, SqliteReads
from licet.store.sqlite_rows import fetch
from licet.store.sqlite_versions import FileWatch, SharedWatch

_EPOCH = datetime.fromtimestamp(0, UTC)
_PAUSE_S = 0.02
CLOSE_TIMEOUT_S = 10.0
_memory_leases: dict[str, ProcessLeases] = {}
_log = logging.getLogger("licet.store")


class SqliteStore(SqliteReads):
    """A `Store` (store/contract.py) in SQLite. `boot` is empty when it was opened read-only."""

    def __init__(self, location: Location, now: Callable[[], datetime], keys: KeyEncryptionKeys | None, vfs: str | None) -> None:
        super().__init__(location, keys)
        self.boot = ""
        self._now = now
        self._vfs = vfs
        self._committing = threading.RLock()
        self._writer: apsw.Connection | None = None
        self._file: OpenFile | None = None
        self._turn: Turn | None = None
        self._leases: Leases | None = None
        self._lease: Lease | None = None
        self._boot_number = 0
        self._broken: StoreError | None = None
        self._log_pages = 0
        self._checkpoints: Checkpoints | None = None

    @classmethod
    def open(
        cls,
        url_or_path: str | Path,
        *,
        now: Callable[[], datetime],
        keys: KeyEncryptionKeys | None,
        create: bool = True,
        read_only: bool = False,
        vfs: str | None = None,
    ) -> SqliteStore:
        """A ledger at `sqlite:licet.db`, `sqlite::memory:`, `sqlite::memory:NAME` or a path, with a boot and its lease unless read-only.

        `now` gives aware UTC datetimes. Without `keys`, payloads stay closed and nothing can be written. `vfs` names a file layer of SQLite
        other than the platform's. Raises `NotAStore` when there is something else, or nothing and not `create`; `StoreOutdated` when it is
        of an earlier version and is to be written, or cannot be read as it is; `StoreUnavailable` when it is locked, read-only or full;
        `IntegrityBroken` when it is to be written and its logs do not end where their tree states
        say; `KeyUnavailable` when it is to be written without the key that it was written under.
        """
        if keys is None and not read_only:
            raise KeyUnavailable(f"the ledger `{sqlite_open.locate(url_or_path)}` cannot be written without its key")
        store = cls(sqlite_open.locate(url_or_path), now, keys, vfs)
        try:
            if read_only:
                store._open_reader()
            else:
                store._open_writer(create=create)
        except apsw.Error as error:
            store.close()
            raise translate(error, store._location) from error
        except BaseException:
            store.close()
            raise
        return store

    def commit(self, batches: Sequence[Batch]) -> list[Committed | Lost]:
        """Append a group, durably, as the rules of store/contract.py say."""
        leaves = [[leaf_hash(record.envelope) for record in batch.records] for batch in batches]
        vault = self.vault
        for log in {record.log for batch in batches if batch.changes for record in batch.records}:
            vault.hold_log(log)  # looked up inside the transaction, it could wait for a reader that waits for the transaction
        with self._writing() as con:
            answers, generation = commit_group(con, self._boot_number, vault.blind, batches, leaves)
            if self._checkpoints is not None:
                self._checkpoints.note(con, self._log_pages)
        moved = any(isinstance(answer, Lost) and answer.condition == "secrets_moved" for answer in answers)
        if moved or generation != vault.generation:
            vault.refresh(generation)
        else:
            vault.confirm([row for batch in batches for row in batch.secrets])
        return answers

    def cut_log(self, timeout_s: float = 10.0) -> bool:
        """Whether the write-ahead log is empty now, so that nothing that was overwritten lives on in it. False while others read it."""
        if self._location.path is None:
            return True
        until = time.monotonic() + timeout_s
        while True:
            try:
                with self._writing() as con:
                    con.set_busy_timeout(0)  # who holds the turn and waits for a reader holds up every writer
                    try:
                        con.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                    finally:
                        con.set_busy_timeout(int(BUSY_TIMEOUT_S * 1000))
            except StoreUnavailable:
                if time.monotonic() >= until:
                    return False
                time.sleep(_PAUSE_S)
            else:
                return True

    def rewrite(self, limit_bytes: int | None = None) -> bool:
        """Whether every page was written anew, so that none keeps a copy of a row that has moved. False where the file is larger."""
        path = self._location.path
        if path is None:
            return True
        if limit_bytes is not None and path.stat().st_size > limit_bytes:
            return False
        with self._writing() as con:
            con.execute("VACUUM")
        return True

    def seal(self, filing: Filing) -> Batch:
        """The filing as a batch, its payloads sealed under the secrets that this store has."""
        return seal_filing(self.vault, filing)

    def orphaned_calls(self) -> tuple[OpenIntent, ...]:
        """Open intents of boots whose lease is gone; from now on this boot must close them, and theirs can commit no more.

        Those that it has taken and not closed yet are among them. Should it die before it has, they are orphaned again.
        """
        with self._writing() as con:
            con.execute("BEGIN IMMEDIATE")
            try:
                taken = self._take_orphans(con)
                con.execute("COMMIT")
            except BaseException:
                con.execute("ROLLBACK")
                raise
            return taken

    def boots(self) -> tuple[Boot, ...]:
        """Every process that opened this ledger for writing and has not closed it in order, oldest first. Marks nothing."""
        path = self._location.path
        leases: Leases
        if path is not None:
            leases = FileLeases(path.with_name(f"{path.name}-boots"), sqlite_open.mode_of(path))
        else:
            leases = _memory_leases.setdefault(str(self._location.memory), ProcessLeases())
        rows = self._rows("SELECT id, started_at, state FROM boots WHERE state <> 'closed' ORDER BY number")
        return tuple(
            Boot(boot, _EPOCH + timedelta(microseconds=started_at), state, state == "running" and _lives(leases, boot))
            for boot, started_at, state in rows
        )

    def close(self) -> None:
        """Release the lease and the files. Safe to call twice, and in a forked child, where it leaves the parent's store alone.

        A commit that hangs is waited for `CLOSE_TIMEOUT_S`. Then everything stays as it is, the lease too: what hangs may still land.
        """
        if self._is_forked():
            return
        if not self._committing.acquire(timeout=CLOSE_TIMEOUT_S):
            _log.error("licet: the ledger `%s` still hangs in a commit; its files and lease go with the process", self._location)
            return
        try:
            self._close()
        finally:
            self._committing.release()

    def _close(self) -> None:
        # Whatever one of them raises, lease and locks are given back: the callbacks run from the last to the first.
        with ExitStack() as closing:
            readers, self._readers = self._readers, None
            watch, self._watch = self._watch, None
            writer, self._writer = self._writer, None
            if self._file is not None:
                closing.callback(self._file.release)
            if self._turn is not None:
                closing.callback(self._turn.close)
            closing.callback(self._give_lease_back)
            if writer is not None:
                closing.callback(writer.close)
                closing.callback(self._end_boot, writer)
            if readers is not None:
                closing.callback(readers.close)
            if watch is not None:
                closing.callback(watch.close)
            if self._checkpoints is not None:
                closing.callback(self._checkpoints.close)

    def _give_lease_back(self) -> None:
        if self._lease is not None:
            self._lease.release()
        if isinstance(self._leases, ProcessLeases) and self._leases.is_empty():
            _memory_leases.pop(str(self._location.memory), None)  # the database is gone with its last connection

    # opening

    def _open_reader(self) -> None:
        path = self._location.path
        if path is not None:
            sqlite_open.check_file(path, create=False)
            self._file = OpenFile(path)
        self._connect_reader().close()
        self._readers = Readers(self._connect_reader)
        self._watch = FileWatch(self._connect_reader)

    def _connect_reader(self) -> apsw.Connection:
        con = sqlite_open.connect(self._location, read_only=True, vfs=self._vfs)
        try:
            con.pragma("schema_version")  # the first read: opens the log
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            con.close()
            path = self._location.path
            log = path.with_name(f"{path.name}-wal") if path is not None else None
            if log is None or (log.exists() and log.stat().st_size):
                raise  # what lies in the log would be missed
            con = sqlite_open.connect_immutable(self._location)
        self._adapt(con)
        return con

    def _adapt(self, con: apsw.Connection) -> None:
        """The connection reads a ledger of this version or an earlier one. Raises `NotAStore`, `StoreOutdated`."""
        with ExitStack() as opened:
            opened.callback(con.close)
            if not sqlite_open.check_identity(con, self._location):
                raise NotAStore(f"`{self._location}` is empty, not a ledger")
            on_sqlite.adapt(con, str(self._location))
            opened.pop_all()

    def _open_writer(self, *, create: bool) -> None:
        path = self._location.path
        if path is not None:
            sqlite_open.check_file(path, create=create)
            self._file = OpenFile(path)
            mode = sqlite_open.mode_of(path)
            self._leases = FileLeases(path.with_name(f"{path.name}-boots"), mode)
            self._turn = Turn(path, mode, BUSY_TIMEOUT_S * 2)
        else:
            self._leases = _memory_leases.setdefault(str(self._location.memory), ProcessLeases())
        with self._take_turn():
            self._writer = con = sqlite_open.connect(self._location, read_only=False, create=create, vfs=self._vfs)
            if con.readonly("main"):
                raise StoreUnavailable(f"the ledger `{self._location}` is read-only")
            known = sqlite_open.check_identity(con, self._location)
            if known:
                on_sqlite.check_current(con, str(self._location))
            sqlite_open.make_durable(con, self._location)
            if not known:
                sqlite_open.create_schema(con, microseconds(self._now()))
            self._check_key(con)
            self._begin_boot(con)
            if path is not None:
                con.set_wal_hook(self._note_log_pages)
                sqlite_open.flush_folder(path)  # before anything is copied: without its log, a half-copied database cannot be mended
                self._checkpoints = Checkpoints(self._connect_copier, CHECKPOINT_PAGES, self._poison_by_copying)
            self._check_ends(con)
        if path is None:
            self._readers = shared = SharedReader(con, self._committing)
            self._watch = SharedWatch(shared.one)
        else:
            self._readers, self._watch = Readers(self._connect_reader), FileWatch(self._connect_reader)

    def _check_key(self, con: apsw.Connection) -> None:
        """Raise `KeyUnavailable` before anything is written that nobody could read beside what is there."""
        self.vault.refresh(fetch(con, "SELECT secrets FROM ledger")[0][0])
        assert self._keys is not None
        for key, count in fetch(con, "SELECT key, count(*) FROM secrets GROUP BY key"):
            if key not in self._keys.ids:
                raise KeyUnavailable(
                    f"{count} secrets of the ledger `{self._location}` are under the key `{key}`, which is not among those at hand: "
                    f"{', '.join(self._keys.ids)}"
                )

    def _connect_copier(self) -> apsw.Connection:
        con = sqlite_open.connect(self._location, read_only=False, vfs=self._vfs)
        sqlite_open.make_durable(con, self._location)
        return con

    def _begin_boot(self, con: apsw.Connection) -> None:
        """A row for this boot, whose lease is held before anybody can see it."""
        assert self._leases is not None
        self.boot = new_id(microseconds(self._now()))
        self._lease = self._leases.take(self.boot)
        con.execute("INSERT INTO boots (id, started_at, state) VALUES (?, ?, 'running')", (self.boot, microseconds(self._now())))
        self._boot_number = con.last_insert_rowid()

    def _check_ends(self, con: apsw.Connection) -> None:
        """Nobody appends to a log that was cut, or has more than its tree: the evidence would be buried."""
        text = (
            f"SELECT name, size, (SELECT max(place) FROM records WHERE place >> {INDEX_BITS} = logs.number "  # noqa: S608  numbers only
            f"AND place >= logs.number << {INDEX_BITS} AND place < (logs.number + 1) << {INDEX_BITS}) - (number << {INDEX_BITS}) FROM logs"
        )
        for name, size, last in fetch(con, text):
            end = 0 if last is None else last + 1
            if size != end:
                raise IntegrityBroken(f"log `{name}` ends after {end} records, its tree after {size}; run `licet audit verify`")

    # writing

    def _take_turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._turn is None else self._turn

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """The writing connection, in turn; errors of SQLite become errors of the store, and poison it where rule 3 says so."""
        self._refuse_fork()
        with self._committing:
            con = self._get_writer()
            try:
                with self._take_turn():
                    yield con
            except apsw.Error as error:
                meaning = translate(error, self._location)
                if isinstance(meaning, NotAStore):  # it was one when it was opened
                    meaning = StorePoisoned(str(meaning), ambiguous=True)
                if isinstance(meaning, StorePoisoned):
                    self._broken = meaning  # rule 3
                raise meaning from error
            except (LeaseLost, StorePoisoned) as error:
                self._broken = error
                raise

    def _get_writer(self) -> apsw.Connection:
        if self._broken is not None:
            raise type(self._broken)(str(self._broken))
        if self._writer is None:
            if self._readers is None:
                raise GateClosed(f"the ledger `{self._location}` was closed")
            raise StoreUnavailable(f"the ledger `{self._location}` was opened read-only")
        return self._writer

    def _note_log_pages(self, _con: apsw.Connection, _database: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _poison_by_copying(self, error: apsw.Error) -> None:
        """Called from the thread that copies the log: what was committed is durable there, what comes next might not be."""
        self._broken = StorePoisoned(
            f"the ledger `{self._location}` could not be written back ({error}); restart and run `licet audit verify`"
        )

    def _is_forked(self) -> bool:
        try:
            self._refuse_fork()
        except GateClosed:
            return True
        return False

    def _take_orphans(self, con: apsw.Connection) -> tuple[OpenIntent, ...]:
        assert self._leases is not None
        for number, boot in fetch(con, "SELECT number, id FROM boots WHERE state = 'running' AND number <> ?", (self._boot_number,)):
            if self._leases.is_gone(boot):
                con.execute("UPDATE boots SET state = 'dead' WHERE number = ?", (number,))
                self._leases.forget(boot)
        orphans = fetch(
            con,
            "SELECT call, log, (SELECT id FROM boots WHERE number = boot) FROM open_calls "
            "WHERE holder IN (SELECT number FROM boots WHERE state <> 'running') OR (holder = ?1 AND boot <> ?1) ORDER BY call",
            (self._boot_number,),
        )
        con.execute(
            "UPDATE open_calls SET holder = ? WHERE holder IN (SELECT number FROM boots WHERE state <> 'running')", (self._boot_number,)
        )
        return tuple(OpenIntent(*row) for row in orphans)

    def _end_boot(self, con: apsw.Connection) -> None:
        """Say that this boot has ended. If that fails, its lease says so in a moment."""
        if self._broken is not None:
            con.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # rule 3
        elif self._boot_number:
            with suppress(apsw.Error, StoreUnavailable), self._take_turn():
                con.execute("UPDATE boots SET state = 'closed' WHERE number = ? AND state = 'running'", (self._boot_number,))


def _lives(leases: Leases, boot: str) -> bool:
    """Whether the boot's lease is held; one that may not be looked at is not said to be gone."""
    try:
        return not leases.is_gone(boot)
    except OSError:
        return True
