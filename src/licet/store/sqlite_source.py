"""A ledger in SQLite as one moment: a source (ledger/source.py) for `verify` and `export`, inside one read transaction.

What cannot be read because it is damaged raises `IntegrityBroken`, so that a verification can say so and go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apsw

from licet.errors import IntegrityBroken, KeyUnavailable, SecretBroken
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
from licet.ledger.vault import Vault
from licet.store.head_rows import split_range
from licet.store.rows import opened
from licet.store.sqlite_commit import INDEX_BITS
from licet.store.sqlite_rows import fetch
from licet.store.sqlite_strays import key_strays, schema_strays, tile_strays

_CHUNK = 500
"""Rows at a time: enough to make the loop cheap, few enough to stay in the processor's cache."""

_INDEXED = (
    "records",
    "requests",
    "votes",
    "keys",
    "open_calls",
    "unsettled",
    "freezes",
    "logs",
    "boots",
    "blobs",
    "secrets",
    "credentials",
)
"""Tables in which something is looked up by an index that could hide it. Payloads have none, and each is read."""

_ROWS = (
    "SELECT records.place - ?1, {columns} FROM records LEFT JOIN payloads USING (place) "
    "WHERE records.place >= ?2 AND records.place < ?3 ORDER BY records.place LIMIT ?4"
)
_CANNOT_BE_READ = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, UnicodeDecodeError)
"""What reading raises where pages or texts are damaged: a schema of which a letter has changed has no such column."""

_TEXTS, _BLOBS = ("kind", "call", "request"), ("envelope", "leaf", "sealed")
_AS_IT_IS = _ROWS.format(columns=", ".join(_TEXTS + _BLOBS))
_DAMAGED = _ROWS.format(
    columns=", ".join(
        [f"CAST({name} AS BLOB)" for name in _TEXTS] + [f"CASE typeof({name}) WHEN 'text' THEN 0 ELSE {name} END" for name in _BLOBS]
    )
)
"""For rows of which a text is none any more: texts as bytes, and a number for bytes that have become a text."""


class SqliteSource:
    """The rows of a database, as they are. The connection is in a read transaction, and nobody else uses it."""

    def __init__(self, con: apsw.Connection, vault: Vault | None) -> None:
        self._con = con
        self._vault = vault
        self.projections: Projections | None = self
        self.head_log: HeadLog | None = SqliteHeadLog(con)

    def trees(self) -> Sequence[TreeState]:
        """Every log's stored tree, by name."""
        rows = self._all("the trees", "SELECT name, size, compact_range FROM logs ORDER BY name", types=(str, int, bytes))
        return [TreeState(name, size, split_range(compact_range)) for name, size, compact_range in rows]

    def rows(self, log: str, start: int = 0, stop: int | None = None) -> Iterator[Sequence[Row]]:
        """A log's records by index."""
        found = self._all("the trees", "SELECT number FROM logs WHERE name = ?", (log,))
        if not found:
            raise IntegrityBroken("the log cannot be found by its name")
        base = found[0][0] << INDEX_BITS
        end = base + (1 << INDEX_BITS if stop is None else stop)
        start += base
        while chunk := self._chunk(base, start, end):
            yield chunk
            reached = base + chunk[-1][0] + 1
            if reached <= start:  # pages that lead back: the reader must not go round for ever
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
        except (SecretBroken, *_CANNOT_BE_READ):  # the secrets' own rows may be damaged too
            return None, None, "damaged"
        except KeyUnavailable:
            return None, None, "locked"

    def fits(self, pseudonym: str, ref: str) -> bool:
        """Whether the pseudonym is that of `Type::"id"`, under the secret that is kept for it."""
        return True if self._vault is None else self._vault.fits(pseudonym, ref)

    def _chunk(self, base: int, start: int, end: int) -> list[Row]:
        try:
            return fetch(self._con, _AS_IT_IS, (base, start, end, _CHUNK))
        except UnicodeDecodeError:
            return [(row[0], *map(_shown, row[1:4]), *row[4:]) for row in fetch(self._con, _DAMAGED, (base, start, end, _CHUNK))]
        except _CANNOT_BE_READ as error:
            raise IntegrityBroken(f"records from index {start - base} on cannot be read ({error})") from error

    def requests(self) -> Iterable[RequestRow]:
        """Every request, in the order of opening."""
        text = "SELECT id, key, tenant, state, expires_at, asker, coalesce(plan, '') FROM requests ORDER BY number"
        rows = self._all("requests", text, types=(str, str, str, str, int, str, str))
        return [RequestRow(row[0], row[1], row[2], row[3], row[4], row[5], row[6] or None) for row in rows]

    def votes(self) -> Iterable[VoteRow]:
        """Every vote, in the order of arrival."""
        text = "SELECT request, person, live FROM votes ORDER BY number"
        return [VoteRow(*row) for row in self._all("votes", text, types=(str, str, int))]

    def taken_keys(self) -> Iterable[KeyRow]:
        """Every taken idempotency key."""
        text = "SELECT scope, key, digest, call, log FROM keys"
        return [KeyRow(*row) for row in self._all("keys", text, types=(str, str, str, str, str))]

    def open_calls(self) -> Iterable[OpenRow]:
        """Every open intent."""
        text = (
            "SELECT call, log, coalesce(boots.id, ''), coalesce(deadline, -1), holder IN (SELECT number FROM boots) "
            "FROM open_calls LEFT JOIN boots ON boots.number = open_calls.boot"
        )
        return [open_row(row) for row in self._all("open calls", text, types=(str, str, str, int, int))]

    def unsettled(self) -> Iterable[UnsettledRow]:
        """Every call of which nobody saw the end."""
        return [UnsettledRow(*row) for row in self._all("unsettled calls", "SELECT call, log FROM unsettled", types=(str, str))]

    def holds(self) -> Iterable[HoldRow]:
        """Every legal hold that stands."""
        return [HoldRow(*row) for row in self._all("legal holds", "SELECT id, log, target, at FROM holds")]

    def erasures(self) -> Iterable[ErasureRow]:
        """Everybody who was erased."""
        text = "SELECT pseudonym, log, target FROM erasures"
        return [ErasureRow(*row) for row in self._all("erasures", text, types=(str, str, str))]

    def freezes(self) -> Iterable[FreezeRow]:
        """Every freeze that stands."""
        text = "SELECT id, log, scope, name, at FROM freezes"
        return [FreezeRow(*row) for row in self._all("freezes", text, types=(str, str, str, str, int))]

    def credentials(self) -> Iterable[CredentialRow]:
        """Every credential."""
        text = "SELECT id, digest, content, created_at, coalesce(expires_at, -1), coalesce(ends_at, -1) FROM credentials ORDER BY id"
        rows = self._all("credentials", text, types=(str, bytes, bytes, int, int, int))
        return [credential_row(row) for row in rows]

    def blobs(self) -> Iterable[BlobRow]:
        """Every snapshot."""
        text = "SELECT digest, content FROM blobs ORDER BY number"
        return [BlobRow(*row) for row in self._all("snapshots", text, types=(str, bytes))]

    def strays(self) -> Iterable[str]:
        """Damage that SQLite itself finds in tables and their indexes, records of no log, payloads of no record."""
        found = []
        for table in _INDEXED:
            found += [str(row[0]) for row in self._all(table, f"PRAGMA integrity_check({table})") if row[0] != "ok"]
        numbers = {number for (number,) in self._all("the trees", "SELECT number FROM logs")}
        for table in ("records", "payloads"):
            found += [f"a row of {table} belongs to no log (place {place})" for place in self._places_of_no_log(table, numbers)]
        ends = [(self._last("records", number), self._last("payloads", number)) for number in numbers]
        for strays in (schema_strays(self._con), tile_strays(self._con), key_strays(self._con, self._vault)):
            found += strays
        return found + [f"a payload belongs to no record (place {payload})" for record, payload in ends if payload > record]

    def _last(self, table: str, number: int) -> int:
        """The last place of a log; before its first one, if it has none."""
        base = number << INDEX_BITS
        text = f"SELECT coalesce(max(place), ?1 - 1) FROM {table} WHERE place >= ?1 AND place < ?2"  # noqa: S608  constants of this module
        return int(self._all(table, text, (base, base + (1 << INDEX_BITS)))[0][0])

    def _places_of_no_log(self, table: str, numbers: set[int]) -> Iterator[int]:
        """The first place of each number that no log has. Goes from log to log, not from row to row."""
        end = -1 << 62
        while True:
            place = self._all(table, f"SELECT min(place) FROM {table} WHERE place >= ?", (end,))[0][0]  # noqa: S608  as above
            if place is None:
                return
            if place < end:  # pages that lead back: the reader must not go round for ever
                raise IntegrityBroken(f"rows of {table} lie out of order")
            if place >> INDEX_BITS not in numbers:
                yield place
            end = ((place >> INDEX_BITS) + 1) << INDEX_BITS

    def _all(self, what: str, text: str, values: Sequence[Any] = (), types: tuple[type, ...] = ()) -> list[Any]:
        return _all(self._con, what, text, values, types)


class SqliteHeadLog:
    """The head log of a database, in the same read transaction."""

    def __init__(self, con: apsw.Connection) -> None:
        self._con = con

    def tree(self) -> TreeState:
        """The head log's origin and tree as they are stored."""
        rows = _all(self._con, "the head log", "SELECT origin, head_size, head_range FROM ledger", types=(str, int, bytes))
        if len(rows) != 1:
            raise IntegrityBroken(f"the head log has {len(rows)} states")
        origin, size, compact_range = rows[0]
        return TreeState(origin, size, split_range(compact_range))

    def entries_of(self, log: str) -> Iterator[tuple[int, int, bytes]]:
        """The entries of one log by size."""
        size = -1
        text = "SELECT number, size, entry FROM heads WHERE log = ? AND size > ? ORDER BY size LIMIT ?"
        while rows := _all(self._con, "the head log", text, (log, size, _CHUNK)):
            yield from rows
            size = rows[-1][1]

    def entries(self) -> Iterator[tuple[str, int, bytes]]:
        """Every entry, in order."""
        start = 0
        while rows := _all(
            self._con,
            "the head log",
            "SELECT number, log, size, entry FROM heads WHERE number >= ? ORDER BY number LIMIT ?",
            (start, _CHUNK),
        ):
            for number, log, size, entry in rows:
                if number != start or not isinstance(entry, bytes):
                    raise IntegrityBroken(f"entry {start} of the head log is missing or cannot be read")
                yield log, size, entry
                start += 1

    def checkpoints(self) -> Iterable[tuple[int, bytes]]:
        """Every checkpoint, size and note, the smallest first."""
        size = -1
        while rows := _all(
            self._con, "checkpoints", "SELECT size, note FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?", (size, _CHUNK)
        ):
            yield from rows
            size = rows[-1][0]

    def signing_keys(self) -> Sequence[tuple[str, bytes | None]]:
        """The vkey of every signing key, oldest first, with the endorsement of each but the first."""
        return _all(self._con, "signing keys", "SELECT vkey, endorsement FROM signing_keys ORDER BY number")


def _all(con: apsw.Connection, what: str, text: str, values: Sequence[Any] = (), types: tuple[type, ...] = ()) -> list[Any]:
    """All rows, their values of these types: SQLite checks types when it writes, and believes the file when it reads."""
    try:
        rows = fetch(con, text, values)
    except _CANNOT_BE_READ as error:
        raise IntegrityBroken(f"{what} cannot be read ({error})") from error
    if types and any(tuple(map(type, row)) != types for row in rows):
        raise IntegrityBroken(f"{what} cannot be read (a value is of the wrong type)")
    return rows


def _shown(stored: Any) -> Any:
    """Text that may be damaged."""
    return stored.decode("utf-8", "backslashreplace") if isinstance(stored, bytes) else stored
