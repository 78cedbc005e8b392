"""What a ledger in PostgreSQL can be asked; see store/contract.py for what each method promises.

Reads have connections of their own and never wait for the writer. A stream of records holds no connection and no transaction between
its pages: records never change, so pages of different moments fit together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from licet import process
from licet.errors import GateClosed, KeyUnavailable
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.vault import SecretRow, Subject, Vault
from licet.model import CallId
from licet.store import forks
from licet.store.contract import LogState, OpenIntent, StoredRecord, TakenKey
from licet.store.head_rows import split_range
from licet.store.index_take import IndexRow
from licet.store.postgres_credentials import CredentialReads
from licet.store.postgres_forgetting import ForgettingReads
from licet.store.postgres_freezes import FreezeReads
from licet.store.postgres_heads import HeadReads
from licet.store.postgres_loop import Loop
from licet.store.postgres_open import REACHING, Address, connect, end, translate
from licet.store.postgres_outbox import OutboxReads
from licet.store.postgres_readers import Readers
from licet.store.postgres_reading import Connection, fetch
from licet.store.postgres_remote import RemoteReads
from licet.store.postgres_request_reads import RequestReads
from licet.store.postgres_source import PostgresSource, SourceSecrets
from licet.store.postgres_unsettled import UnsettledReads
from licet.store.postgres_versions import VersionReads, Watch
from licet.store.rows import RECORD, SECRET_ROW, find_secret, record_of, text_in
from licet.store.sqlite_open import INDEX_BITS

T = TypeVar("T")

_PAGE = 1000

_INTENT = "SELECT call, log, boots.id FROM open_calls LEFT JOIN boots ON boots.number = open_calls.boot "
_AT = f"{RECORD}WHERE place = (SELECT number << {INDEX_BITS} FROM logs WHERE name = $1) + $2"  # noqa: S608  constants
_TENANTS = (  # from one tenant to the next: a scan of a million secrets would take longer than the search
    "WITH RECURSIVE found (tenant) AS (SELECT min(tenant) FROM secrets UNION ALL "
    "SELECT (SELECT min(tenant) FROM secrets WHERE secrets.tenant > found.tenant) FROM found WHERE found.tenant IS NOT NULL) "
    "SELECT tenant FROM found WHERE tenant IS NOT NULL"
)


class PostgresReads(
    CredentialReads, HeadReads, ForgettingReads, FreezeReads, OutboxReads, RemoteReads, RequestReads, UnsettledReads, VersionReads
):
    """The reading half of the store."""

    def __init__(self, address: Address, keys: KeyEncryptionKeys | None) -> None:
        self._address = address
        self._keys = keys
        self._vault = Vault(keys, self) if keys is not None else None
        self._process = process.number()
        self._loop: Loop | None = None
        self._readers: Readers | None = None
        self._watch: Watch | None = None

    def version(self) -> int:
        """A token that differs from the last one if anybody, in this process or another, has committed since (soon after, of others)."""
        self._refuse_fork()
        watch = self._watch
        if watch is None:
            raise GateClosed(f"the ledger `{self._address}` was closed")
        if not watch.listens:
            self._run(watch.ensure())
        return watch.token

    @property
    def vault(self) -> Vault:
        """The secrets of this store. Raises `KeyUnavailable` where it was opened without a key."""
        if self._vault is None:
            raise KeyUnavailable(f"the ledger `{self._address}` was opened without its key")
        return self._vault

    def find_pseudonym(self, subject: Subject) -> str | None:
        """The subject's pseudonym, if it was ever written about and not erased since."""
        return self.vault.find_pseudonym(subject)

    def find_secret(self, lookup: bytes) -> SecretRow | None:
        """The row of a subject's secret."""
        return find_secret(self._rows(f"{SECRET_ROW}lookup = $1", lookup))

    def tenants_of_secrets(self) -> tuple[str, ...]:
        """Every tenant of whom somebody or something was written about, in whatever log."""
        return tuple([row[0] for row in self._rows(_TENANTS)])

    def find_secret_of(self, pseudonym: str) -> SecretRow | None:
        """The row of the secret behind a pseudonym."""
        return find_secret(self._rows(f"{SECRET_ROW}pseudonym = $1", pseudonym))

    def _refuse_fork(self) -> None:
        """A child has neither the loop's thread nor the connections (store/postgres_loop.py)."""
        if process.number() != self._process:
            raise GateClosed(forks.MESSAGE)

    def _rows(self, text: str, *values: object) -> list[Any]:
        return self._read(lambda con: fetch(con, text, *values))

    def _moment(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        return self._run(self._get_readers().moment(read))

    def _read(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        return self._run(self._get_readers().use(read))

    def _get_readers(self) -> Readers:
        self._refuse_fork()
        readers = self._readers
        if readers is None:
            raise GateClosed(f"the ledger `{self._address}` was closed")
        return readers

    def _run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """What the coroutine returns, with errors of the database in the words of the store's contract."""
        loop = self._loop
        if loop is None or process.number() != self._process:
            work.close()
            self._refuse_fork()
            raise GateClosed(f"the ledger `{self._address}` was closed")
        try:
            return loop.run(work, self._address.read_s if timeout_s is None else timeout_s)
        except REACHING as error:
            raise translate(error, self._address) from error

    @contextmanager
    def source(self) -> Iterator[PostgresSource]:
        """The ledger as it is at this moment, for `verify` and `export`."""
        self._refuse_fork()
        con = self._run(connect(self._address, name="licet-source", long=True))  # its own: it may take minutes
        try:
            self._run(con.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            secrets = SourceSecrets(con, self._run)
            yield PostgresSource(con, self._run, Vault(self._keys, secrets) if self._keys is not None else None)
        finally:
            with suppress(GateClosed):  # and then the connection has ended with the rest
                self._run(end(con))

    def records(self, log: str, *, start: int = 0, stop: int | None = None, newest_first: bool = False) -> Iterator[StoredRecord]:
        """Records of one log by index, `start` included, `stop` not; streamed in pages."""
        found = self._rows("SELECT number FROM logs WHERE name = $1", log)
        if not found:
            return
        base: int = found[0][0] << INDEX_BITS
        low = base + start
        high = base + min((1 << INDEX_BITS) if stop is None else stop, 1 << INDEX_BITS)
        order = "DESC" if newest_first else "ASC"
        while low < high:
            rows = self._rows(f"{RECORD} WHERE place >= $1 AND place < $2 ORDER BY place {order} LIMIT {_PAGE}", low, high)
            yield from (record_of(self._vault, row) for row in rows)
            if len(rows) < _PAGE:
                return
            low, high = (low, base + rows[-1][1]) if newest_first else (base + rows[-1][1] + 1, high)

    def index_rows(self, log: str, start: int, stop: int) -> list[IndexRow]:
        """Records of one log as the search index takes them, without those behind the log's end."""
        rows: list[Any] = []
        found = self._rows("SELECT number FROM logs WHERE name = $1", log)
        if found:
            base = found[0][0] << INDEX_BITS
            text = "SELECT place, envelope, leaf, sealed FROM records LEFT JOIN payloads USING (place) "
            rows = self._rows(f"{text}WHERE place >= $1 AND place < $2 ORDER BY place", base + start, base + min(stop, 1 << INDEX_BITS))
        return [IndexRow(place - base, envelope, leaf, text_in(self._vault, envelope, sealed)) for place, envelope, leaf, sealed in rows]

    def get_record(self, log: str, index: int) -> StoredRecord:
        """One record. Raises `KeyError` when there is none."""
        rows: list[Any] = []
        if 0 <= index < 1 << INDEX_BITS:
            rows = self._rows(_AT, log, index)
        if not rows:
            raise KeyError(f"log `{log}` has no record {index}")
        return record_of(self._vault, rows[0])

    def records_of_call(self, call: CallId) -> tuple[StoredRecord, ...]:
        """Every record that names this call, in order of (log, index)."""
        rows = self._rows(f"{RECORD} WHERE call = $1 ORDER BY logs.name, place", call)
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
        rows = self._rows("SELECT digest, call, log FROM keys WHERE scope = $1 AND key = $2", sought, taken)
        return TakenKey(rows[0][0] == use, *rows[0][1:]) if rows else None

    def open_calls(self) -> tuple[OpenIntent, ...]:
        """Every open intent, of every boot."""
        return tuple(OpenIntent(*row) for row in self._rows(f"{_INTENT} ORDER BY call"))

    def find_blob(self, digest: str) -> bytes | None:
        """A snapshot by hash."""
        rows = self._rows("SELECT content FROM blobs WHERE digest = $1", digest)
        return rows[0][0] if rows else None

    def blobs(self, kind: str) -> tuple[tuple[str, bytes], ...]:
        """All snapshots of a kind as (digest, content), oldest first."""
        rows = self._rows("SELECT digest, content FROM blobs WHERE kind = $1 ORDER BY number", kind)
        return tuple([(digest, content) for digest, content in rows])
