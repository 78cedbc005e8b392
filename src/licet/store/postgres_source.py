"""A ledger in PostgreSQL as one moment: a source (ledger/source.py) for `verify` and `export`, inside one read transaction.

What cannot be read because it is damaged raises `IntegrityBroken`, so that a verification can say so and go on.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import asyncpg

from licet.errors import IntegrityBroken, KeyUnavailable, SecretBroken, StorePoisoned
from licet.ledger.record import Head
from licet.ledger.source import (
    BlobRow,
    CredentialRow,
    ErasureRow,
    FreezeRow,
    HeadLog,
    HoldRow,
    KeyRow,
    Opening,
    OpenRow,
    Projections,
    RequestRow,
    Row,
    TreeState,
    UnsettledRow,
    VoteRow,
    credential_row,
    open_row,
)
from licet.ledger.vault import SecretRow, Vault
from licet.store.head_rows import split_range
from licet.store.postgres_open import LONG_S
from licet.store.postgres_reading import Connection, fetch
from licet.store.postgres_strays import key_strays, schema_strays, tile_strays
from licet.store.rows import SECRET_ROW, find_secret, opened
from licet.store.sqlite_open import INDEX_BITS

_CHUNK = 1000
"""Rows for each round trip."""
T = TypeVar("T")
_T = TypeVar("_T")

_ROWS = (
    "SELECT records.place - $1::BIGINT, kind, call, request, envelope, leaf, sealed FROM records LEFT JOIN payloads USING (place) "
    "WHERE records.place >= $2 AND records.place < $3 ORDER BY records.place LIMIT $4"
)


class Run(Protocol):
    """Runs a coroutine on the store's loop, for a thread that waits."""

    def __call__(self, work: Coroutine[Any, Any, _T], timeout_s: float = ...) -> _T:
        """What the coroutine returns."""
        ...


class SourceSecrets:
    """The secrets as one connection sees them (`SecretRows` of ledger/vault.py)."""

    def __init__(self, con: Connection, run: Run) -> None:
        self._con = con
        self._run = run

    def find_secret(self, lookup: bytes) -> SecretRow | None:
        """The row of a subject."""
        return find_secret(self._run(fetch(self._con, f"{SECRET_ROW}lookup = $1", lookup)))

    def find_secret_of(self, pseudonym: str) -> SecretRow | None:
        """The row behind a pseudonym."""
        return find_secret(self._run(fetch(self._con, f"{SECRET_ROW}pseudonym = $1", pseudonym)))


class _Asking:
    """A connection within a read transaction, which nobody else uses."""

    def __init__(self, con: Connection, run: Run) -> None:
        self._con = con
        self._run = run

    def _all(self, what: str, text: str, *values: object) -> list[Any]:
        return self._wait(what, fetch(self._con, text, *values))

    def _wait(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._run(work, LONG_S)
        except StorePoisoned as error:
            if isinstance(error.__cause__, asyncpg.PostgresError):
                raise IntegrityBroken(f"{what} cannot be read ({error.__cause__})") from error
            raise


class PostgresSource(_Asking):
    """The rows of a database, as they are."""

    def __init__(self, con: Connection, run: Run, vault: Vault | None) -> None:
        super().__init__(con, run)
        self._vault = vault
        self.projections: Projections | None = self
        self.head_log: HeadLog | None = PostgresHeadLog(con, run)

    def trees(self) -> Sequence[TreeState]:
        """Every log's stored tree, by name."""
        rows = self._all("the trees", "SELECT name, size, compact_range FROM logs ORDER BY name")
        return [TreeState(name, size, split_range(compact_range)) for name, size, compact_range in rows]

    def rows(self, log: str, start: int = 0, stop: int | None = None) -> Iterator[Sequence[Row]]:
        """A log's records by index."""
        found = self._all("the trees", "SELECT number FROM logs WHERE name = $1", log)
        if not found:
            raise IntegrityBroken("the log cannot be found by its name")
        base = found[0][0] << INDEX_BITS
        end = base + (1 << INDEX_BITS if stop is None else stop)
        start += base
        while chunk := self._all(f"records from index {start - base} on", _ROWS, base, start, end, _CHUNK):
            yield [tuple(row) for row in chunk]
            reached = base + chunk[-1][0] + 1
            if reached <= start:  # an index that leads back: the reader must not go round for ever
                raise IntegrityBroken(f"records from index {start - base} on lie out of order")
            start = reached

    def blind(self, log: str, label: str, text: str) -> str | None:
        """How rows of this log write a text; None without a key."""
        return None if self._vault is None else self._vault.find_blind(log, label, text)

    def open(self, head: Head, body: Any) -> Opening:
        """The payload, decrypted, or the reason why it is not."""
        if not isinstance(body, bytes | None):
            return None, None, "damaged"
        try:
            return opened(self._vault, head, body)
        except (SecretBroken, StorePoisoned):  # the secrets' own rows may be damaged too
            return None, None, "damaged"
        except KeyUnavailable:
            return None, None, "locked"

    def fits(self, pseudonym: str, ref: str) -> bool:
        """Whether the pseudonym is that of `Type::"id"`, under the secret that is kept for it."""
        return True if self._vault is None else self._vault.fits(pseudonym, ref)

    def requests(self) -> Iterable[RequestRow]:
        """Every request, in the order of opening."""
        rows = self._all("requests", "SELECT id, key, tenant, state, expires_at, asker, plan FROM requests ORDER BY number")
        return [RequestRow(*row) for row in rows]

    def votes(self) -> Iterable[VoteRow]:
        """Every vote, in the order of arrival."""
        return [VoteRow(*row) for row in self._all("votes", "SELECT request, person, live FROM votes ORDER BY number")]

    def taken_keys(self) -> Iterable[KeyRow]:
        """Every taken idempotency key."""
        return [KeyRow(*row) for row in self._all("keys", "SELECT scope, key, digest, call, log FROM keys")]

    def open_calls(self) -> Iterable[OpenRow]:
        """Every open intent."""
        text = (
            "SELECT call, log, coalesce(boots.id, ''), coalesce(deadline, -1), holder IN (SELECT number FROM boots) "
            "FROM open_calls LEFT JOIN boots ON boots.number = open_calls.boot"
        )
        return [open_row(row) for row in self._all("open calls", text)]

    def unsettled(self) -> Iterable[UnsettledRow]:
        """Every call of which nobody saw the end."""
        return [UnsettledRow(*row) for row in self._all("unsettled calls", "SELECT call, log FROM unsettled")]

    def holds(self) -> Iterable[HoldRow]:
        """Every legal hold that stands."""
        return [HoldRow(*row) for row in self._all("legal holds", "SELECT id, log, target, at FROM holds")]

    def erasures(self) -> Iterable[ErasureRow]:
        """Everybody who was erased."""
        return [ErasureRow(*row) for row in self._all("erasures", "SELECT pseudonym, log, target FROM erasures")]

    def freezes(self) -> Iterable[FreezeRow]:
        """Every freeze that stands."""
        return [FreezeRow(*row) for row in self._all("freezes", "SELECT id, log, scope, name, at FROM freezes")]

    def credentials(self) -> Iterable[CredentialRow]:
        """Every credential."""
        text = "SELECT id, digest, content, created_at, coalesce(expires_at, -1), coalesce(ends_at, -1) FROM credentials ORDER BY id"
        return [credential_row(row) for row in self._all("credentials", text)]

    def blobs(self) -> Iterable[BlobRow]:
        """Every snapshot."""
        return [BlobRow(*row) for row in self._all("snapshots", "SELECT digest, content FROM blobs ORDER BY number")]

    def strays(self) -> Iterable[str]:
        """What nobody wrote into the schema, records of no log, payloads of no record."""
        found: list[str] = []
        numbers = {number for (number,) in self._all("the trees", "SELECT number FROM logs")}
        for table in ("records", "payloads"):
            found += [f"a row of {table} belongs to no log (place {place})" for place in self._places_of_no_log(table, numbers)]
        ends = [(self._last("records", number), self._last("payloads", number)) for number in numbers]
        found += self._wait("the schema", schema_strays(self._con))
        found += self._wait("tiles", tile_strays(self._con))
        found += self._wait("signing keys", key_strays(self._con, self._vault))
        return found + [f"a payload belongs to no record (place {payload})" for record, payload in ends if payload > record]

    def _last(self, table: str, number: int) -> int:
        """The last place of a log; before its first one, if it has none."""
        base = number << INDEX_BITS
        text = f"SELECT coalesce(max(place), $1::BIGINT - 1) FROM {table} WHERE place >= $1 AND place < $2"  # noqa: S608  constants of this module
        return int(self._all(table, text, base, base + (1 << INDEX_BITS))[0][0])

    def _places_of_no_log(self, table: str, numbers: set[int]) -> Iterator[int]:
        """The first place of each number that no log has. Goes from log to log, not from row to row."""
        end = -1 << 62
        while True:
            place = self._all(table, f"SELECT min(place) FROM {table} WHERE place >= $1", end)[0][0]  # noqa: S608  as above
            if place is None:
                return
            if place < end:  # an index that leads back
                raise IntegrityBroken(f"rows of {table} lie out of order")
            if place >> INDEX_BITS not in numbers:
                yield place
            end = ((place >> INDEX_BITS) + 1) << INDEX_BITS


class PostgresHeadLog(_Asking):
    """The head log of a database, in the same read transaction."""

    def tree(self) -> TreeState:
        """The head log's origin and tree as they are stored."""
        rows = self._all("the head log", "SELECT origin, head_size, head_range FROM ledger")
        if len(rows) != 1:
            raise IntegrityBroken(f"the head log has {len(rows)} states")
        origin, size, compact_range = rows[0]
        return TreeState(origin, size, split_range(compact_range))

    def entries_of(self, log: str) -> Iterator[tuple[int, int, bytes]]:
        """The entries of one log by size."""
        size = -1
        text = "SELECT number, size, entry FROM heads WHERE log = $1 AND size > $2 ORDER BY size LIMIT $3"
        while rows := self._all("the head log", text, log, size, _CHUNK):
            yield from [(row[0], row[1], row[2]) for row in rows]
            size = rows[-1][1]

    def entries(self) -> Iterator[tuple[str, int, bytes]]:
        """Every entry, in order."""
        start = 0
        text = "SELECT number, log, size, entry FROM heads WHERE number >= $1 ORDER BY number LIMIT $2"
        while rows := self._all("the head log", text, start, _CHUNK):
            for number, log, size, entry in rows:
                if number != start:
                    raise IntegrityBroken(f"entry {start} of the head log is missing or cannot be read")
                yield log, size, entry
                start += 1

    def checkpoints(self) -> Iterable[tuple[int, bytes]]:
        """Every checkpoint, size and note, the smallest first."""
        size = -1
        text = "SELECT size, note FROM checkpoints WHERE size > $1 ORDER BY size LIMIT $2"
        while rows := self._all("checkpoints", text, size, _CHUNK):
            yield from [(row[0], row[1]) for row in rows]
            size = rows[-1][0]

    def signing_keys(self) -> Sequence[tuple[str, bytes | None]]:
        """The vkey of every signing key, oldest first, with the endorsement of each but the first."""
        rows = self._all("signing keys", "SELECT vkey, endorsement FROM signing_keys ORDER BY number")
        return [(vkey, endorsement) for vkey, endorsement in rows]
