"""What a ledger in SQLite can be asked; see store/contract.py for what each method promises.

Reads have connections of their own and never wait for the writer. A stream of records holds no connection and no transaction between
its pages: records never change, so pages of different moments fit together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import apsw

from licet import process
from licet.errors import GateClosed, IntegrityBroken, KeyUnavailable
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.vault import SecretRow, Subject, Vault
from licet.model import CallId
from licet.store import forks
from licet.store.contract import LogState, OpenIntent, StoredRecord, TakenKey
from licet.store.head_rows import split_range
from licet.store.index_take import IndexRow
from licet.store.rows import RECORD, SECRET_ROW, find_secret, record_of, text_in
from licet.store.sqlite_commit import INDEX_BITS
from licet.store.sqlite_credentials import CredentialReads
from licet.store.sqlite_forgetting import ForgettingReads
from licet.store.sqlite_freezes import FreezeReads
from licet.store.sqlite_heads import HeadReads
from licet.store.sqlite_open import Location, translate
from licet.store.sqlite_outbox import OutboxReads
from licet.store.sqlite_remote import RemoteReads
from licet.store.sqlite_request_reads import RequestReads
from licet.store.sqlite_rows import ConnectionSecrets, fetch
from licet.store.sqlite_source import SqliteSource
from licet.store.sqlite_unsettled import UnsettledReads
from licet.store.sqlite_versions import VersionReads, Watch

_PAGE = 1000
_READERS = 4
"""Reads take microseconds; more connections would only hold more cache."""

_INTENT = "SELECT call, log, boots.id FROM open_calls LEFT JOIN boots ON boots.number = open_calls.boot "


class Readers:
    """A few connections for reading. Whoever asks for one more than there are waits for the next that is free."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._idle: list[apsw.Connection] = []
        self._free = threading.BoundedSemaphore(_READERS)
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[apsw.Connection]:
        """A connection for the length of one read."""
        with self._free:
            con = self._take_idle() or self._connect()
            try:
                yield con
            finally:
                self._idle.append(con)
                if self._closed:
                    self.close()

    @contextmanager
    def apart(self) -> Iterator[apsw.Connection]:
        """A connection for a read that may take minutes: nobody waits for it, and it waits for nobody."""
        con = self._connect()
        try:
            yield con
        finally:
            con.close()

    def close(self) -> None:
        """No connection is idle; those in use close when their read ends."""
        self._closed = True
        while (con := self._take_idle()) is not None:
            con.close()

    def _take_idle(self) -> apsw.Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # looked at first, it could be taken by another thread between the two looks
            return None


class SharedReader:
    """The writer's own connection, one user at a time: a database in memory locks as a whole."""

    def __init__(self, con: apsw.Connection, lock: threading.RLock) -> None:
        self._con = con
        self._lock = lock

    @contextmanager
    def one(self) -> Iterator[apsw.Connection]:
        """The connection, for the length of one read."""
        with self._lock:
            yield self._con

    apart = one

    def close(self) -> None:
        """The writer closes its connection itself."""


class SqliteReads(
    CredentialReads, HeadReads, ForgettingReads, FreezeReads, OutboxReads, RemoteReads, RequestReads, UnsettledReads, VersionReads
):
    """The reading half of the store."""

    is_remote = False

    def __init__(self, location: Location, keys: KeyEncryptionKeys | None) -> None:
        self._location = location
        self._keys = keys
        self._vault = Vault(keys, self) if keys is not None else None
        self._process = process.number()
        self._readers: Readers | SharedReader | None = None
        self._watch: Watch | None = None

    def version(self) -> int:
        """A token that differs from the last one if anybody, in this process or another, has committed since."""
        self._refuse_fork()
        watch = self._watch
        if watch is None:
            raise GateClosed(f"the ledger `{self._location}` was closed")
        with self._told():
            return watch.read()

    @property
    def vault(self) -> Vault:
        """The secrets of this store. Raises `KeyUnavailable` where it was opened without a key."""
        if self._vault is None:
            raise KeyUnavailable(f"the ledger `{self._location}` was opened without its key")
        return self._vault

    def find_pseudonym(self, subject: Subject) -> str | None:
        """The subject's pseudonym, if it was ever written about and not erased since."""
        return self.vault.find_pseudonym(subject)

    def find_secret(self, lookup: bytes) -> SecretRow | None:
        """The row of a subject's secret."""
        return find_secret(self._rows(f"{SECRET_ROW}lookup = ?", (lookup,)))

    def tenants_of_secrets(self) -> tuple[str, ...]:
        """Every tenant of whom somebody or something was written about, in whatever log."""
        text = (  # from one tenant to the next: a scan of a million secrets would take longer than the search
            "WITH RECURSIVE found (tenant) AS (SELECT min(tenant) FROM secrets UNION ALL "
            "SELECT (SELECT min(tenant) FROM secrets WHERE secrets.tenant > found.tenant) FROM found WHERE found.tenant IS NOT NULL) "
            "SELECT tenant FROM found WHERE tenant IS NOT NULL"
        )
        return tuple([row[0] for row in self._rows(text)])

    def find_secret_of(self, pseudonym: str) -> SecretRow | None:
        """The row of the secret behind a pseudonym."""
        return find_secret(self._rows(f"{SECRET_ROW}pseudonym = ?", (pseudonym,)))

    def _reading(self, *, apart: bool = False) -> AbstractContextManager[apsw.Connection]:
        self._refuse_fork()
        readers = self._readers
        if readers is None:
            raise GateClosed(f"the ledger `{self._location}` was closed")
        return readers.apart() if apart else readers.one()

    def _refuse_fork(self) -> None:
        """A child that went on with what it inherited would corrupt the file (store/forks.py)."""
        if process.number() != self._process:
            raise GateClosed(forks.MESSAGE)

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._told(), self._reading() as con:
            return fetch(con, text, values)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database, in the words of the store's contract."""
        try:
            yield
        except apsw.Error as error:
            raise translate(error, self._location) from error
        except UnicodeDecodeError as error:
            raise IntegrityBroken(f"the ledger `{self._location}` is damaged ({error}); run `licet audit verify`") from error

    @contextmanager
    def _moment(self, *, apart: bool = False) -> Iterator[apsw.Connection]:
        """One connection that sees the ledger as it is now, whatever is committed meanwhile; it holds no writer up."""
        with self._told(), self._reading(apart=apart) as con:
            con.execute("BEGIN")
            try:
                yield con
            finally:
                con.execute("ROLLBACK")  # of nothing; a COMMIT would meet damage once more that the reader has told of, and hide it

    @contextmanager
    def source(self) -> Iterator[SqliteSource]:
        """The ledger as it is at this moment, for `verify` and `export`."""
        with self._moment(apart=True) as con:  # calls look things up through the few connections that there are
            yield SqliteSource(con, Vault(self._keys, ConnectionSecrets(con)) if self._keys is not None else None)

    def records(self, log: str, *, start: int = 0, stop: int | None = None, newest_first: bool = False) -> Iterator[StoredRecord]:
        """Records of one log by index, `start` included, `stop` not; streamed in pages."""
        found = self._rows("SELECT number FROM logs WHERE name = ?", (log,))
        if not found:
            return
        base: int = found[0][0] << INDEX_BITS
        low = base + start
        high = base + min((1 << INDEX_BITS) if stop is None else stop, 1 << INDEX_BITS)
        order = "DESC" if newest_first else "ASC"
        while low < high:
            rows = self._rows(f"{RECORD} WHERE place >= ? AND place < ? ORDER BY place {order} LIMIT {_PAGE}", (low, high))
            yield from (record_of(self._vault, row) for row in rows)
            if len(rows) < _PAGE:
                return
            low, high = (low, base + rows[-1][1]) if newest_first else (base + rows[-1][1] + 1, high)

    def index_rows(self, log: str, start: int, stop: int) -> list[IndexRow]:
        """Records of one log as the search index takes them, without those behind the log's end."""
        rows: list[Any] = []
        found = self._rows("SELECT number FROM logs WHERE name = ?", (log,))
        if found:
            base = found[0][0] << INDEX_BITS
            text = "SELECT place, envelope, leaf, sealed FROM records LEFT JOIN payloads USING (place) "
            rows = self._rows(f"{text}WHERE place >= ? AND place < ? ORDER BY place", (base + start, base + min(stop, 1 << INDEX_BITS)))
        return [IndexRow(place - base, envelope, leaf, text_in(self._vault, envelope, sealed)) for place, envelope, leaf, sealed in rows]

    def get_record(self, log: str, index: int) -> StoredRecord:
        """One record. Raises `KeyError` when there is none."""
        rows = self._rows(RECORD + "WHERE place = (SELECT number << 40 FROM logs WHERE name = ?) + ?", (log, index))  # noqa: S608  a constant
        if not 0 <= index < 1 << INDEX_BITS or not rows:
            raise KeyError(f"log `{log}` has no record {index}")
        return record_of(self._vault, rows[0])

    def records_of_call(self, call: CallId) -> tuple[StoredRecord, ...]:
        """Every record that names this call, in order of (log, index)."""
        rows = self._rows(f"{RECORD} WHERE call = ? ORDER BY logs.name, place", (call,))
        return tuple(record_of(self._vault, row) for row in rows)

    def logs(self) -> tuple[LogState, ...]:
        """Every log with its stored tree state, by name."""
        rows = self._rows("SELECT name, size, compact_range FROM logs ORDER BY name")
        return tuple(LogState(name, size, split_range(compact_range)) for name, size, compact_range in rows)

    def blind(self, log: str, label: str, text: str) -> str:
        """How rows of this log write a text that nobody may guess back. Raises `KeyUnavailable` without a key."""
        return self.vault.blind(log, label, text)

    def find_key(self, log: str, scope: str, key: str, digest: str) -> TakenKey | None:
        """Who has this idempotency key, and whether for the use that has this digest."""
        sought, taken, use = [
            self.vault.find_blind(log, label, text) for label, text in (("scope", scope), ("key", key), ("digest", digest))
        ]
        if sought is None or taken is None:
            return None  # the log has no secret yet, so no row of it has anything
        rows = self._rows("SELECT digest, call, log FROM keys WHERE scope = ? AND key = ?", (sought, taken))
        return TakenKey(rows[0][0] == use, *rows[0][1:]) if rows else None

    def open_calls(self) -> tuple[OpenIntent, ...]:
        """Every open intent, of every boot."""
        return tuple(OpenIntent(*row) for row in self._rows(f"{_INTENT} ORDER BY call"))

    def find_blob(self, digest: str) -> bytes | None:
        """A snapshot by hash."""
        rows = self._rows("SELECT content FROM blobs WHERE digest = ?", (digest,))
        return rows[0][0] if rows else None

    def blobs(self, kind: str) -> tuple[tuple[str, bytes], ...]:
        """All snapshots of a kind as (digest, content), oldest first."""
        return tuple(self._rows("SELECT digest, content FROM blobs WHERE kind = ? ORDER BY number", (kind,)))
