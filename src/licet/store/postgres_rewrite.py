"""Writing tables of PostgreSQL anew, so that their files keep nothing of rows that were overwritten or deleted.

Rules:

1. A former row that somebody may still look at (a transaction that began before, a replication slot, a prepared transaction) is copied
   into the new file. So who may still look at it is waited for, and where that takes too long, nothing is said to be gone.
2. Who may not rewrite a table (who is not its owner) is not told by an error: the server only warns. So it is held against the name of the
   table's file, which changes.
3. Each table is locked while it is written: calls wait meanwhile, and are refused after the time that they wait for locks at most.

What remains is not in the hands of a client: the write-ahead log, its archive, standbys, backups, and blocks of the file system that
nobody has used since (store/postgres_erase.py, rules 2 and 3).
"""

from __future__ import annotations

import asyncio

import asyncpg

from licet.store.postgres_reading import Connection

REWRITTEN = ("secrets", "payloads", "requests", "votes", "keys", "credentials")
"""The tables in which something is overwritten or deleted because somebody is to be forgotten."""
LOOKED_AT_S = 10.0
"""How long those who may still look at what was deleted are waited for."""
LOCK_S = 1.0
"""For a table. Whoever comes later waits behind the rewriting, also while it only waits itself."""
_PAUSE_S = 0.05

_SIZE = "SELECT sum(pg_total_relation_size(name::regclass))::BIGINT FROM unnest($1::TEXT[]) AS name"
_FILES = "SELECT name, pg_relation_filenode(name::regclass) FROM unnest($1::TEXT[]) AS name"
_LOOKED_AT = (
    "SELECT EXISTS (SELECT 1 FROM (SELECT backend_xmin AS seen FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND (datname IS NULL OR datname = current_database()) "
    "UNION ALL SELECT xmin FROM pg_replication_slots "
    "UNION ALL SELECT transaction FROM pg_prepared_xacts WHERE database = current_database()) AS lookers "
    "WHERE age(seen) > age($1::TEXT::XID))"
)


async def rewrite(con: Connection, limit_bytes: int | None) -> bool:
    """Whether the tables' files were made anew and hold nothing that was there before.

    False where they are larger than the limit, or somebody is at them all the time. Not within a transaction.
    """
    tables = list(REWRITTEN)
    size = await con.fetchval(_SIZE, tables)
    if limit_bytes is not None and size > limit_bytes:
        return False
    await con.execute(f"SET lock_timeout = {int(LOCK_S * 1000)}")
    now = await con.fetchval("SELECT pg_current_xact_id()::XID::TEXT")  # whatever was deleted until now, was deleted before it
    if not await _is_looked_at_by_nobody(con, now):
        return False
    before = dict([tuple(row) for row in await con.fetch(_FILES, tables)])
    try:
        for table in tables:
            await con.execute(f"VACUUM (FULL) {table}")
    except asyncpg.LockNotAvailableError:
        return False
    after = dict([tuple(row) for row in await con.fetch(_FILES, tables)])
    return all(before[table] != after[table] for table in tables)


async def _is_looked_at_by_nobody(con: Connection, now: str) -> bool:
    """Rule 1."""
    until = asyncio.get_running_loop().time() + LOOKED_AT_S
    while await con.fetchval(_LOOKED_AT, now):
        if asyncio.get_running_loop().time() > until:
            return False
        await asyncio.sleep(_PAUSE_S)
    return True
