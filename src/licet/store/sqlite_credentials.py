"""Credentials in SQLite; see store/credentials.py for what is promised of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import apsw

from licet.model import OPERATOR_LOG
from licet.store.contract import Lost
from licet.store.credentials import (
    CREDENTIAL_COLUMNS,
    CredentialChange,
    CredentialRecords,
    EndCredential,
    PutCredential,
    RewriteCredential,
    StoredCredential,
    TouchCredentials,
    credential_of,
)
from licet.store.sqlite_open import INDEX_BITS
from licet.store.sqlite_rows import fetch

_ROWS = f"SELECT {CREDENTIAL_COLUMNS} FROM credentials"  # noqa: S608  names only
_RECORDS = "SELECT place, envelope FROM records WHERE kind = 'admin' AND place >= ? AND place < ? ORDER BY place"


class CredentialReads:
    """The reading half."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def _moment(self) -> AbstractContextManager[apsw.Connection]:
        raise NotImplementedError

    def find_credential(self, credential: str) -> StoredCredential | None:
        """The row of this id."""
        rows = self._rows(f"{_ROWS} WHERE id = ?", (credential,))
        return credential_of(rows[0]) if rows else None

    def credentials(self) -> tuple[StoredCredential, ...]:
        """Every row, the oldest first."""
        return tuple([credential_of(row) for row in self._rows(f"{_ROWS} ORDER BY created_at, id")])

    def credential_records(self, start: int = 0) -> CredentialRecords:
        """What the records say from this index of the log `operator` on, as of one moment."""
        with self._moment() as con:
            found = fetch(con, "SELECT number FROM logs WHERE name = ?", (OPERATOR_LOG,))
            if not found:
                return CredentialRecords((), 0)
            base = found[0][0] << INDEX_BITS
            rows = fetch(con, _RECORDS, (base + start, base + (1 << INDEX_BITS)))
        return CredentialRecords(tuple([envelope for _, envelope in rows]), rows[-1][0] - base + 1 if rows else start)


def change_credentials(con: apsw.Connection, change: CredentialChange) -> Lost | None:
    """The rows are as the change says; or what was lost."""
    if isinstance(change, TouchCredentials):
        text = "UPDATE credentials SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE id = ?"
        con.executemany(text, [(at, credential) for credential, at in change.used])
        return None
    if isinstance(change, EndCredential):
        text = "UPDATE credentials SET ends_at = ?1 WHERE id = ?2 AND (ends_at IS NULL OR ends_at > ?1)"
        con.execute(text, (change.ends_at, change.credential))
        return None if con.changes() else Lost("credential_ended", f"credential `{change.credential}` has ended, or ends earlier already")
    return _put(con, change) if isinstance(change, PutCredential) else _rewrite(con, change)


def _rewrite(con: apsw.Connection, change: RewriteCredential) -> Lost | None:
    text = (
        "UPDATE credentials SET content = ?1, ends_at = CASE WHEN ?2 IS NULL THEN ends_at ELSE min(coalesce(ends_at, ?2), ?2) END "
        "WHERE id = ?3 AND content = ?4"
    )
    con.execute(text, (change.content, change.ends_at, change.credential, change.former))
    return None if con.changes() else Lost("credential_moved", f"credential `{change.credential}` was changed at the same moment")


def _put(con: apsw.Connection, change: PutCredential) -> Lost | None:
    issued = change.credential
    text = "INSERT INTO credentials (id, digest, content, created_at, expires_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    con.execute(text, (issued.id, issued.digest, issued.content, issued.created_at, issued.expires_at))
    return None if con.changes() else Lost("credential_exists", f"there is a credential `{issued.id}` already")
