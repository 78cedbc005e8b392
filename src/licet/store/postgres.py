"""The ledger in a PostgreSQL database (through asyncpg), for any number of processes on any number of hosts.

Rules:

1. One connection writes, others read, one shows that this process lives, one tells and is told of commits. Everything that asyncpg does for
   a store happens on one event loop in one thread (store/postgres_loop.py); the store's methods wait for it.
2. A commit returns after the server has flushed it. What it refuses as `StoreUnavailable` is not there, unless it is marked `ambiguous`
   (store/postgres_transact.py).
3. Several processes write one log without forks: each locks the tree before it reads it (store/postgres_locks.py).
4. A database that is down refuses every call at once or within a bounded time, and goes on when it is back: every connection is made anew
   when it is needed.
5. A process that was declared dead finds that in its own transaction, before it writes: `LeaseLost`.
6. A child of a fork refuses everything.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from licet import process
from licet.errors import GateClosed, IntegrityBroken, KeyUnavailable, LeaseLost, NotAStore, StoreError, StorePoisoned, StoreUnavailable
from licet.ledger.entropy import new_id
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.record import leaf_hash, microseconds
from licet.ledger.seal import Filing, seal_filing
from licet.store.contract import Batch, Boot, Committed, Lost, OpenIntent
from licet.store.migrations import on_postgres
from licet.store.postgres_beside import EMPTY
from licet.store.postgres_commit import write_group
from licet.store.postgres_leases import HELD, Lease, find_gone, wait_for_grace
from licet.store.postgres_locks import TAKE_BAR, begin_text, logs_of
from licet.store.postgres_loop import Loop, TimeOverError
from licet.store.postgres_open import LONG_S, Address, abort_all, check_server, connect, end
from licet.store.postgres_read import PostgresReads
from licet.store.postgres_readers import Readers
from licet.store.postgres_reading import Connection
from licet.store.postgres_rewrite import rewrite
from licet.store.postgres_transact import RECONCILE_S, Transactions, mark
from licet.store.postgres_versions import Watch
from licet.store.sqlite_open import INDEX_BITS

T = TypeVar("T")

_EPOCH = datetime.fromtimestamp(0, UTC)
OPEN_S = 30.0
COMMIT_S = 60.0 + RECONCILE_S
"""A last resort, longer than all that a commit waits for by itself."""
CLOSE_TIMEOUT_S = 10.0
_ENDS = (
    f"SELECT name, size, (SELECT max(place) FROM records WHERE place >= logs.number << {INDEX_BITS} "  # noqa: S608  numbers only
    f"AND place < (logs.number + 1) << {INDEX_BITS}) - (number << {INDEX_BITS}) FROM logs"
)
_ORPHANED = "holder IN (SELECT number FROM boots WHERE state <> 'running') OR (holder = $1 AND boot <> $1)"
_ORPHANS = f"SELECT call, log, (SELECT id FROM boots WHERE number = boot) FROM open_calls WHERE {_ORPHANED} ORDER BY call"  # noqa: S608  constants
_log = logging.getLogger("licet.store")


class PostgresStore(PostgresReads):
    """A `Store` (store/contract.py) in PostgreSQL. `boot` is empty when it was opened read-only."""

    is_remote = True

    def __init__(self, address: Address, now: Callable[[], datetime], keys: KeyEncryptionKeys | None) -> None:
        super().__init__(address, keys)
        self.boot = ""
        self._now = now
        self._committing = threading.RLock()
        self._transactions: Transactions | None = None
        self._lease: Lease | None = None
        self._boot_number = 0
        self._broken: StoreError | None = None
        self._known_logs: set[str] = set()

    @classmethod
    def open(
        cls,
        address: Address,
        *,
        now: Callable[[], datetime],
        keys: KeyEncryptionKeys | None,
        create: bool = True,
        read_only: bool = False,
    ) -> PostgresStore:
        """A ledger in this database, with a boot and its lease unless read-only.

        `now` gives aware UTC datetimes. Without `keys`, payloads stay closed and nothing can be written. Raises `NotAStore` when there is
        something else, or nothing and not `create`; `StoreUnavailable` when it cannot be reached; `IntegrityBroken` when it is to be
        written and its logs do not end where their tree states say; `KeyUnavailable` when it is to be written without the key that it was
        written under.
        """
        if keys is None and not read_only:
            raise KeyUnavailable(f"the ledger `{address}` cannot be written without its key")
        store = cls(address, now, keys)
        try:
            store._loop = Loop(str(address), abort_all)
            store._run(store._open_reader() if read_only else store._open_writer(create=create), OPEN_S)
        except BaseException:
            store.close()
            raise
        return store

    def commit(self, batches: Sequence[Batch]) -> list[Committed | Lost]:
        """Append a group, durably, as the rules of store/contract.py say."""
        leaves = [[leaf_hash(record.envelope) for record in batch.records] for batch in batches]
        vault = self.vault
        for log in logs_of([batch for batch in batches if batch.changes]):
            vault.hold_log(log)  # looked up on the loop, it would wait for itself
        changes = [change for batch in batches for change in batch.changes]

        async def work(con: Connection, number: int) -> tuple[list[Committed | Lost], int]:
            return await write_group(con, self._boot_number, number, vault.blind, batches, leaves, self._known_logs)

        answers, generation = self._transact(begin_text(changes), work)
        moved = any(isinstance(answer, Lost) and answer.condition == "secrets_moved" for answer in answers)
        if moved or generation != vault.generation:
            vault.refresh(generation)
        else:
            vault.confirm([row for batch in batches for row in batch.secrets])
        return answers

    def cut_log(self, timeout_s: float = 10.0) -> bool:  # noqa: ARG002  there is nothing to wait for
        """False: the write-ahead log, its archive and its standbys are the server's, and so is how long they keep what was erased."""
        return False

    def rewrite(self, limit_bytes: int | None = None) -> bool:
        """Whether the tables from which something is taken away were written anew (store/postgres_rewrite.py)."""
        self._check()

        async def work() -> bool:
            con = await connect(self._address, name="licet-rewrite", long=True)
            try:
                return await rewrite(con, limit_bytes)
            finally:
                await end(con)

        return self._run(work(), LONG_S)

    def seal(self, filing: Filing) -> Batch:
        """The filing as a batch, its payloads sealed under the secrets that this store has."""
        return seal_filing(self.vault, filing)

    def orphaned_calls(self) -> tuple[OpenIntent, ...]:
        """Open intents of boots whose lease is gone; from now on this boot must close them, and theirs can commit no more.

        Those that it has taken and not closed yet are among them. Should it die before it has, they are orphaned again. Waits for a
        moment where a boot seems dead: one that has only lost its connection is not (store/postgres_leases.py, rule 2).
        """
        self._check()

        async def look(con: Connection) -> bool:
            if await find_gone(con, self._boot_number):
                await wait_for_grace(con)
                return True
            return bool(await con.fetch(_ORPHANS, self._boot_number))

        if not self._read(look):
            return ()

        async def take(con: Connection, number: int) -> tuple[OpenIntent, ...]:
            await mark(con, self._boot_number, number)
            for gone in sorted(await find_gone(con, self._boot_number)):
                await con.execute("UPDATE boots SET state = 'dead' WHERE number = $1 AND state = 'running'", gone)
            orphans = await con.fetch(_ORPHANS, self._boot_number)
            await con.execute(f"UPDATE open_calls SET holder = $1 WHERE {_ORPHANED}", self._boot_number)  # noqa: S608  constants
            return tuple([OpenIntent(*row) for row in orphans])

        return self._transact(f"BEGIN ISOLATION LEVEL READ COMMITTED; {TAKE_BAR}", take)

    def boots(self) -> tuple[Boot, ...]:
        """Every process that opened this ledger for writing and has not closed it in order, oldest first. Marks nothing."""
        text = f"SELECT id, started_at, state, {HELD} FROM boots WHERE state <> 'closed' ORDER BY number"  # noqa: S608  constants
        return tuple(
            Boot(boot, _EPOCH + timedelta(microseconds=started_at), state, state == "running" and held)
            for boot, started_at, state, held in self._rows(text)
        )

    def close(self) -> None:
        """Release the lease and the connections. Safe to call twice, and in a forked child, where it leaves the parent's store alone.

        A commit that hangs is waited for `CLOSE_TIMEOUT_S`; then its connection is cut, and what became of it is seen by whoever reads.
        """
        if process.number() != self._process:
            return
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if not self._committing.acquire(timeout=CLOSE_TIMEOUT_S):
            _log.error("licet: the ledger `%s` still hangs in a commit; its connection is cut", self._address)
            loop.close()
            return
        try:
            loop.run(self._close(), CLOSE_TIMEOUT_S)
        except (StoreError, GateClosed) as error:
            _log.warning("licet: the ledger `%s` could not be closed in order: %s", self._address, error)
        finally:
            loop.close()
            self._committing.release()

    async def _close(self) -> None:
        transactions, self._transactions = self._transactions, None
        readers, self._readers = self._readers, None
        watch, self._watch = self._watch, None
        lease, self._lease = self._lease, None
        for part in (transactions, watch, readers):
            if part is not None:
                await part.close()
        if lease is not None:
            await lease.release(closed=bool(self.boot) and self._broken is None)

    # opening, on the loop

    async def _connect_reader(self) -> Connection:
        return await connect(self._address, name="licet-read", reads=True)

    async def _connect_writer(self) -> Connection:
        return await connect(self._address, name="licet-write")

    async def _connect_lease(self) -> Connection:
        return await connect(self._address, name="licet-lease")

    async def _connect_watch(self) -> Connection:
        return await connect(self._address, name="licet-watch", durable=False)

    async def _open_reader(self) -> None:
        con = await self._connect_reader()
        try:
            await self._check_identity(con)
        finally:
            await end(con)
        self._begin_reading()

    def _begin_reading(self) -> None:
        assert self._loop is not None
        self._readers = Readers(self._connect_reader)
        self._watch = Watch(self._connect_watch)
        self._watch.boot = self._boot_number
        self._loop.start(self._watch.serve())

    async def _open_writer(self, *, create: bool) -> None:
        assert self._loop is not None
        con = await connect(self._address, name="licet-open", long=True)
        try:
            await check_server(con, self._address)
            if create and await con.fetchval(EMPTY):
                await on_postgres.upgrade(con, str(self._address), microseconds(self._now()))
            await self._check_identity(con)
            await self._check_key(con)
            await self._begin_boot(con)
            await self._check_ends(con)
        finally:
            await end(con)
        self._transactions = Transactions(self._connect_writer, self._address)
        self._transactions.boot = self._boot_number
        self._begin_reading()

    async def _check_identity(self, con: Connection) -> None:
        """Raise `NotAStore` or `StoreOutdated` unless this is a ledger of this version."""
        if not await on_postgres.applied(con):
            if await con.fetchval(EMPTY):
                raise NotAStore(f"`{self._address}` is an empty database, not a ledger")
            raise NotAStore(f"`{self._address}` holds other tables, and is not a ledger; give Licet a database of its own")
        await on_postgres.check_current(con, str(self._address))

    async def _check_key(self, con: Connection) -> None:
        """Raise `KeyUnavailable` before anything is written that nobody could read beside what is there."""
        self.vault.refresh(await con.fetchval("SELECT secrets FROM ledger"))
        assert self._keys is not None
        for key, count in await con.fetch("SELECT key, count(*) FROM secrets GROUP BY key"):
            if key not in self._keys.ids:
                raise KeyUnavailable(
                    f"{count} secrets of the ledger `{self._address}` are under the key `{key}`, which is not among those at hand: "
                    f"{', '.join(self._keys.ids)}"
                )

    async def _begin_boot(self, con: Connection) -> None:
        """A row for this boot, whose lease is held before anybody can see it."""
        assert self._loop is not None
        self._lease = lease = Lease(self._connect_lease, self._note_broken)
        self._boot_number = await lease.take()
        at = microseconds(self._now())
        boot = new_id(at)
        await con.execute("INSERT INTO boots (number, id, started_at, state) VALUES ($1, $2, $3, 'running')", self._boot_number, boot, at)
        self.boot = boot
        self._loop.start(lease.keep())

    async def _check_ends(self, con: Connection) -> None:
        """Nobody appends to a log that was cut, or has more than its tree: the evidence would be buried."""
        for name, size, last in await con.fetch(_ENDS):
            at_end = 0 if last is None else last + 1
            if size != at_end:
                raise IntegrityBroken(f"log `{name}` ends after {at_end} records, its tree after {size}; run `licet audit verify`")

    # writing

    def _transact(self, begin: str, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        """What `work` returns, once it is durable; errors become errors of the store."""
        with self._committing:
            self._check()
            assert self._transactions is not None
            try:
                done = self._run(self._transactions.run(begin, work), COMMIT_S)
            except (LeaseLost, StorePoisoned) as error:
                self._broken = error
                raise
            except TimeOverError as error:
                self._tell(landed=False)
                raise StoreUnavailable(str(error), ambiguous=True) from error
            except StoreUnavailable as error:
                if error.ambiguous:
                    self._tell(landed=False)
                raise
            self._tell(landed=True)
            return done

    def _tell(self, *, landed: bool) -> None:
        """Whoever waits, here and in other processes, looks again. What has not `landed` may have, or may do so yet."""
        if self._watch is not None and self._loop is not None:
            self._watch.is_in_doubt = not landed
            self._watch.count()
            self._loop.call(self._watch.tell)

    def _check(self) -> None:
        self._refuse_fork()
        if self._broken is not None:
            raise type(self._broken)(str(self._broken))
        if self._transactions is None:
            if self._loop is None:
                raise GateClosed(f"the ledger `{self._address}` was closed")
            raise StoreUnavailable(f"the ledger `{self._address}` was opened read-only")

    def _note_broken(self, error: StoreError) -> None:
        self._broken = error
