"""Credentials in PostgreSQL; see store/credentials.py for what is promised of them.

Of two ends of one credential at a moment the second waits for the first at the row, and is looked at again then.
"""

from __future__ import annotations

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
from licet.store.postgres_reading import Connection, Reading, findable
from licet.store.postgres_rows import changed
from licet.store.sqlite_open import INDEX_BITS

_TOUCH = (
    "UPDATE credentials SET last_used_at = greatest(coalesce(last_used_at, 0), used.at) "
    "FROM unnest($1::TEXT[], $2::BIGINT[]) AS used (id, at) WHERE credentials.id = used.id "
    "AND credentials.id IN (SELECT id FROM credentials WHERE id = ANY($1::TEXT[]) FOR UPDATE SKIP LOCKED)"
)
"""Waits for nobody: who has the row at this moment ends it, or writes a time that is as good."""
_ROWS = f"SELECT {CREDENTIAL_COLUMNS} FROM credentials"  # noqa: S608  names only
_RECORDS = "SELECT place, envelope FROM records WHERE kind = 'admin' AND place >= $1 AND place < $2 ORDER BY place"


class CredentialReads(Reading):
    """The reading half."""

    def find_credential(self, credential: str) -> StoredCredential | None:
        """The row of this id."""
        rows = self._rows(f"{_ROWS} WHERE id = $1", credential)
        return credential_of(rows[0]) if rows else None

    def credentials(self) -> tuple[StoredCredential, ...]:
        """Every row, the oldest first."""
        return tuple([credential_of(row) for row in self._rows(f"{_ROWS} ORDER BY created_at, id")])

    def credential_records(self, start: int = 0) -> CredentialRecords:
        """What the records say from this index of the log `operator` on, as of one moment."""

        async def read(con: Connection) -> CredentialRecords:
            number = await con.fetchval("SELECT number FROM logs WHERE name = $1", OPERATOR_LOG)
            if number is None:
                return CredentialRecords((), 0)
            base = number << INDEX_BITS
            rows = await con.fetch(_RECORDS, base + start, base + (1 << INDEX_BITS))
            return CredentialRecords(tuple([envelope for _, envelope in rows]), rows[-1][0] - base + 1 if rows else start)

        return self._moment(read)


async def change_credentials(con: Connection, change: CredentialChange) -> Lost | None:
    """The rows are as the change says; or what was lost."""
    if isinstance(change, TouchCredentials):
        await con.execute(_TOUCH, [credential for credential, _ in change.used], [at for _, at in change.used])
        return None
    if isinstance(change, EndCredential):
        text = "UPDATE credentials SET ends_at = $1 WHERE id = $2 AND (ends_at IS NULL OR ends_at > $1)"
        if await changed(con, text, change.ends_at, findable(change.credential)):
            return None
        return Lost("credential_ended", f"credential `{change.credential}` has ended, or ends earlier already")
    return await (_put(con, change) if isinstance(change, PutCredential) else _rewrite(con, change))


async def _rewrite(con: Connection, change: RewriteCredential) -> Lost | None:
    text = "UPDATE credentials SET content = $1, ends_at = least(ends_at, $2::BIGINT) WHERE id = $3 AND content = $4"  # least() skips NULL
    if await changed(con, text, change.content, change.ends_at, findable(change.credential), change.former):
        return None
    return Lost("credential_moved", f"credential `{change.credential}` was changed at the same moment")


async def _put(con: Connection, change: PutCredential) -> Lost | None:
    issued = change.credential
    text = "INSERT INTO credentials (id, digest, content, created_at, expires_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
    if await changed(con, text, issued.id, issued.digest, issued.content, issued.created_at, issued.expires_at):
        return None
    return Lost("credential_exists", f"there is a credential `{issued.id}` already")
