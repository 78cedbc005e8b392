"""A ledger in SQLite as one moment: a source (ledger/source.py) for `verify` and `export`, inside one read transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import apsw

from licet.ledger.source import BlobRow, KeyRow, OpenRow, Projections, RequestRow, Row, TreeState, VoteRow
from licet.store.sqlite_commit import INDEX_BITS, split_range
from licet.store.sqlite_rows import fetch

_CHUNK = 500
"""Rows at a time: enough to make the loop cheap, few enough to stay in the processor's cache."""


class SqliteSource:
    """The rows of a database, as they are. The connection is in a read transaction, and nobody else uses it."""

    def __init__(self, con: apsw.Connection) -> None:
        self._con = con
        self.projections: Projections | None = self

    def trees(self) -> Sequence[TreeState]:
        """Every log's stored tree, by name."""
        rows = fetch(self._con, "SELECT name, size, compact_range FROM logs ORDER BY name")
        return [TreeState(name, size, split_range(compact_range)) for name, size, compact_range in rows]

    def rows(self, log: str) -> Iterator[Sequence[Row]]:
        """A log's records by index."""
        number = fetch(self._con, "SELECT number FROM logs WHERE name = ?", (log,))[0][0]
        base = number << INDEX_BITS
        cursor = self._con.execute(
            "SELECT records.place - ?1, kind, call, envelope, leaf, salt, payload FROM records LEFT JOIN payloads USING (place) "
            "WHERE records.place >= ?1 AND records.place < ?2 ORDER BY records.place",
            (base, base + (1 << INDEX_BITS)),
        )
        while chunk := list(islice(cursor, _CHUNK)):
            yield chunk

    def requests(self) -> Iterable[RequestRow]:
        """Every request, in the order of opening."""
        return [
            RequestRow(*row) for row in fetch(self._con, "SELECT id, key, tenant, state, expires_at, body FROM requests ORDER BY number")
        ]

    def votes(self) -> Iterable[VoteRow]:
        """Every vote, in the order of arrival."""
        return [VoteRow(*row) for row in fetch(self._con, "SELECT request, person, body FROM votes ORDER BY number")]

    def keys(self) -> Iterable[KeyRow]:
        """Every taken idempotency key."""
        for row in self._con.execute("SELECT scope, key, digest, call, log FROM keys"):
            yield KeyRow(*row)

    def open_calls(self) -> Iterable[OpenRow]:
        """Every open intent."""
        rows = fetch(self._con, "SELECT call, log, boots.id FROM open_calls LEFT JOIN boots ON boots.number = open_calls.boot")
        return [OpenRow(*row) for row in rows]

    def blobs(self) -> Iterable[BlobRow]:
        """Every snapshot."""
        for row in self._con.execute("SELECT digest, content FROM blobs ORDER BY number"):
            yield BlobRow(*row)

    def strays(self) -> Iterable[str]:
        """Damage that SQLite itself finds in tables and indexes, records of no log, payloads of no record."""
        found = [str(row[0]) for row in fetch(self._con, "PRAGMA integrity_check(10)") if row[0] != "ok"]
        records, payloads = fetch(self._con, "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM payloads)")[0]
        if payloads > records:
            found += self._places("a payload belongs to no record", "payloads", "place NOT IN (SELECT place FROM records)")
        return found + self._places("a record belongs to no log", "records", "place >> 40 NOT IN (SELECT number FROM logs)")

    def _places(self, what: str, table: str, where: str) -> list[str]:
        rows = fetch(self._con, f"SELECT place FROM {table} WHERE {where} LIMIT 10")  # noqa: S608  constants of this module
        return [f"{what} (place {place})" for (place,) in rows]
