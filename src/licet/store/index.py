"""The search index of a ledger: a SQLite file of its own beside it, derived from it, filled behind the writer's back.

Rules:

1. It holds nothing that the ledger does not: it may be deleted, is never backed up, and is made anew when it is damaged, of another
   version, or does not fit the ledger (`verify_against`).
2. What it answers are places of records. It decides nothing and proves nothing: whoever shows a record reads it from the ledger.
3. A record and the cursor behind it are taken in one transaction; records that were taken before are passed over.
4. Text is only what `IndexRow.text` hands over. Without text (`text=False`) no word of a payload is ever in the file.
5. What is forgotten is gone when `forget` returns: from the file, its free pages and its log. It also stays out when it comes again, from
   somebody who read it before it was erased.
6. A child of a fork refuses everything (store/forks.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from licet import process
from licet.errors import GateClosed, StoreUnavailable
from licet.ledger.forgotten import Gone
from licet.ledger.tiles import Edge
from licet.store import forks, index_forget, index_text, index_tiles
from licet.store.index_ask import Count, Moments, Page, Query, count_up_to, find_moments, find_page
from licet.store.index_forget import Run
from licet.store.index_open import (
    IndexDamaged,
    create_schema,
    empty,
    is_damage,
    is_index,
    make_file,
    open_reader,
    open_writer,
    translate_index_error,
)
from licet.store.index_rollups import HOUR_US, Bar, By, bars
from licet.store.index_take import IndexRow, has_text, log_number, take_rows
from licet.store.sqlite_open import Location, locate
from licet.store.sqlite_read import Readers, SharedReader
from licet.store.sqlite_rows import fetch

PATIENCE_S = 0.15
"""After this a search gives the page that it has, and where to go on."""
PAGE_LIMIT = 1_000


class Index:
    """A search index. Any thread may ask; taking and forgetting wait for each other."""

    def __init__(self, location: Location, *, text: bool, read_only: bool, vfs: str | None = None) -> None:
        self._location = location
        self._vfs = vfs
        self._process = process.number()
        self._lock = threading.RLock()
        self._writer: apsw.Connection | None = None
        self._readers: Readers | SharedReader | None = None
        self.damaged = False
        self.text = text
        self._file = self._open_file(read_only=read_only)
        try:
            with self._told():
                if not read_only:
                    self._writer = open_writer(location, text=text, vfs=vfs)
                self._readers = self._make_readers()
            with self._reading():
                pass  # it can be read
            if not read_only and not text:
                self.drop_text()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: Path | str, *, text: bool = True, read_only: bool = False, vfs: str | None = None) -> Index:
        """The index in this file (or `sqlite::memory:`), made if it is not there, and made anew if it is of no use.

        `text` says whether records are found by the words of their payloads. Raises `NotAStore` for a folder, `StoreUnavailable` where the
        file cannot be written, or where `read_only` finds no index.
        """
        return cls(locate(path), text=text, read_only=read_only, vfs=vfs)

    @property
    def path(self) -> Path | None:
        """The file; None in memory."""
        return self._location.path

    # taking records in

    def cursors(self) -> dict[str, int]:
        """For each log the index of the record that is to be taken next."""
        with self._reading() as con:
            return dict(fetch(con, "SELECT name, next FROM logs"))

    def times(self) -> dict[str, int]:
        """For each log the UTC microseconds of the last record taken."""
        with self._reading() as con:
            return dict(fetch(con, "SELECT name, at FROM logs"))

    def take(self, log: str, rows: Sequence[IndexRow]) -> None:
        """As `take_all`, for one log."""
        self.take_all([(log, rows)])

    def take_all(self, taken: Iterable[tuple[str, Sequence[IndexRow]]]) -> None:
        """These records can be found and the cursors stand behind them, or nothing has changed.

        Records before a log's cursor are passed over. Raises `ValueError` where they leave a gap behind it.
        """
        with self._writing() as con, _transaction(con):
            take_rows(con, taken, text=self.text)

    def verify_against(self, log: str, index: int, leaf: bytes) -> bool:
        """Whether the last record taken of this log was this one. False: the ledger is not the one that was indexed; `rebuild`."""
        with self._reading() as con:
            return fetch(con, "SELECT next, leaf FROM logs WHERE name = ?", (log,)) == [(index + 1, leaf)]

    def rebuild(self) -> None:
        """The index is empty, whatever it was: everything is to be taken again. Others that have it open see the same."""
        with self._writing() as con:
            empty(con)
            create_schema(con, text=self.text)
            self.damaged = False

    # asking

    def search(self, query: Query, *, limit: int = 100, after: str | None = None, patience_s: float = PATIENCE_S) -> Page:
        """Records that match, the newest first, behind the page that ended at `after`.

        Raises `ValueError` for a cursor that no page gave, a text that is too long, a field with more than 1,000 values, or a limit outside
        1 to 1,000; `KeyError` for a field that records do not have; `StoreUnavailable` for text where it is switched off.
        """
        if not 1 <= limit <= PAGE_LIMIT:
            raise ValueError(f"a page has 1 to {PAGE_LIMIT} records, not {limit}")
        with self._reading() as con:
            self._check_text(con, query)
            return find_page(con, query, limit, after, patience_s)

    def count(self, query: Query, *, limit: int = 10_000, patience_s: float = PATIENCE_S) -> Count:
        """How many records match, counted up to `limit`. Raises as `search` does."""
        with self._reading() as con:
            self._check_text(con, query)
            return count_up_to(con, query, limit, patience_s)

    def moments(self, query: Query, *, limit: int = 10_000, patience_s: float = PATIENCE_S) -> Moments:
        """When each record that matches was made and what it decided, the newest `limit` of them. Raises as `search` does."""
        with self._reading() as con:
            self._check_text(con, query)
            return find_moments(con, query, limit, patience_s)

    def rollup(self, by: By, *, since_us: int, until_us: int, log: str | None = None, hours: int = 1) -> tuple[Bar, ...]:
        """How many records there were in each `hours` hours from the hour of `since_us` on, by tool, verdict or outcome."""
        with self._reading() as con:
            return bars(con, by, range(since_us // HOUR_US, -(-until_us // HOUR_US), hours), log)

    def find_tile(self, log: str, level: int, n: int) -> bytes | None:
        """A full tile of 256 hashes above the leaves (level 1 and up); None where there is none."""
        with self._reading() as con:
            return index_tiles.find_tile(con, log, level, n)

    def find_edge(self, log: str, size: int) -> Edge | None:
        """What the tree of the first `size` leaves has above them in tiles that are not full, its lowest row empty.

        None where so many were not taken yet.
        """
        with self._reading() as con:
            return index_tiles.find_edge(con, log, size)

    # forgetting

    def forget(self, log: str, pseudonyms: Iterable[str]) -> None:
        """No word of any payload that one of them sealed is in the file, its free pages or its log, nor will it be.

        Raises `StoreUnavailable` where that could not be ended (a reader holds the log, the disk is full): nothing is found by those words
        any more or will be, and `finish_forgetting` goes on.
        """
        with self._writing() as con:
            with _transaction(con):
                index_forget.note_pseudonyms(con, log_number(con, log), pseudonyms)
            self.finish_forgetting()

    def forget_payloads(self, log: str, runs: Iterable[Run]) -> None:
        """As `forget`, for the payloads of these records: runs of indexes, both ends included."""
        with self._writing() as con:
            with _transaction(con):
                index_forget.note_runs(con, log_number(con, log), runs)
            self.finish_forgetting()

    def forget_erased(self, said: Iterable[tuple[str, Gone]], logs: Iterable[str]) -> None:
        """As `forget`, of all that records of erasures, each with its log, say is gone.

        Who was erased is forgotten in every log that has records about them, and in `logs`, of which records are on their way.
        """
        said = list(said)
        gone = [pseudonym for _, one in said for pseudonym in one.pseudonyms]
        with self._writing() as con:
            with _transaction(con):
                for number in {log_number(con, log) for log in logs} | index_forget.logs_about(con, gone):
                    index_forget.note_pseudonyms(con, number, gone)
                for log, one in said:
                    index_forget.note_runs(con, log_number(con, log), one.runs)
            self.finish_forgetting()

    def finish_forgetting(self) -> None:
        """What `forget` and `forget_payloads` began is done, also by a process that died over it."""
        with self._writing() as con:
            if not index_forget.is_anything_left(con):
                return
            with _transaction(con):
                touched = index_text.delete_texts(con, index_forget.docs_to_forget(con))
            for shard in touched:
                with _transaction(con):
                    index_text.merge_shard(con, shard)
            self._cut_log(con)
            with _transaction(con):
                index_forget.note_done(con)

    def drop_text(self) -> None:
        """No word of any payload is in the file, its free pages or its log, and none comes in until it is opened with text."""
        with self._writing() as con:
            self.text = False
            with _transaction(con):
                index_text.drop_shards(con)
                con.execute("UPDATE settings SET value = 0 WHERE name = 'text'")
            self._cut_log(con)

    def close(self) -> None:
        """Closed. Safe to call twice."""
        with self._lock:
            writer, self._writer = self._writer, None
            file, self._file = self._file, None
            if file is not None:
                file.release()
            if process.number() == self._process:
                readers, self._readers = self._readers, None
                if readers is not None:
                    readers.close()
                if writer is not None:
                    writer.close()

    # connections

    def _open_file(self, *, read_only: bool) -> forks.OpenFile | None:
        path = self._location.path
        if path is None:
            return None
        if not read_only:
            make_file(path)
        elif not path.is_file():
            raise StoreUnavailable(f"there is no search index at `{path}`")
        return forks.OpenFile(path)

    def _make_readers(self) -> Readers | SharedReader:
        if self._location.path is None:
            assert self._writer is not None
            return SharedReader(self._writer, self._lock)
        return Readers(lambda: open_reader(self._location, vfs=self._vfs))

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """A connection that sees one moment of an index, and not the one between two."""
        self._refuse_fork()
        readers = self._readers
        if readers is None:
            raise GateClosed(f"the search index `{self._location}` was closed")
        with self._told(), readers.one() as con:
            for _ in range(2):
                with _transaction(con, "BEGIN"):
                    if is_index(con):
                        yield con
                        return
                with self._lock:
                    pass  # it was being made anew here
            raise IndexDamaged(
                f"`{self._location}` is not a search index of this version; whatever next writes to the ledger makes it anew"
            )

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        self._refuse_fork()
        with self._lock, self._told():
            if self._writer is None:
                raise StoreUnavailable(f"the search index `{self._location}` was closed or opened for reading")
            yield self._writer

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database, in words; damage is remembered, so that the index is made anew."""
        try:
            yield
        except apsw.Error as error:
            self.damaged = self.damaged or is_damage(error)
            raise translate_index_error(error, self._location) from error
        except IndexDamaged:
            self.damaged = True
            raise

    def _check_text(self, con: apsw.Connection, query: Query) -> None:
        if query.text is not None and not has_text(con):
            raise StoreUnavailable("text search is switched off for this ledger")

    def _cut_log(self, con: apsw.Connection) -> None:
        """The write-ahead log is empty: what was overwritten in the database does not live on in it."""
        if self._location.path is not None:
            con.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _refuse_fork(self) -> None:
        if process.number() != self._process:
            raise GateClosed(forks.MESSAGE)


@contextmanager
def _transaction(con: apsw.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """All or nothing."""
    con.execute(begin)
    try:
        yield
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise
