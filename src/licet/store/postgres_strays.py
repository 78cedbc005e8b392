"""What a ledger's PostgreSQL database holds that nobody wrote there, or that does not fit what it is for: sentences for `verify`.

1. the ledger's tables, and everything that hangs on them (indexes, constraints, triggers, rules, row policies, tables that inherit),
   are those of this version: a trigger or a changed index would act where nobody looks. Other tables in the database are not looked at
2. the tiles of the head log are those of its entries
3. a signing key is the one that its row names, where the key-encryption key is at hand

Pages and indexes are not looked at as bytes. Where data checksums are on (the default since PostgreSQL 18) the server refuses
a damaged page by itself; an index that leads astray is found by PostgreSQL's `pg_amcheck`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import cast

import msgspec

from licet.ledger.vault import Vault
from licet.store.migrations import on_postgres
from licet.store.migrations.numbered import last_of, shipped
from licet.store.postgres_reading import Connection
from licet.store.strays import TileStrays, compare_keys, compare_schema

_CHUNK = 1000

_SCHEMA = """\
WITH ours AS (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1::TEXT[]))
SELECT 'table ' || relname, concat_ws(' ', relkind, relpersistence, array_to_string(reloptions, ' '),
    CASE WHEN relrowsecurity THEN 'row security' END, CASE WHEN relispartition THEN 'partition' END,
    (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attstorage, CASE WHEN attnotnull THEN 'not null' END,
            (SELECT collname FROM pg_collation WHERE pg_collation.oid = attcollation AND collname <> 'default'),
            nullif(attidentity, ''), nullif(attgenerated, ''), pg_get_expr(adbin, adrelid)), ', ' ORDER BY attnum)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped))
    FROM ours JOIN pg_class USING (oid)
UNION ALL SELECT 'index ' || relname, concat_ws(' ', pg_get_indexdef(indexrelid), CASE WHEN NOT indisvalid THEN 'invalid' END)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid IN (SELECT oid FROM ours)
UNION ALL SELECT concat_ws(' ', 'constraint', conname, 'of', conrelid::regclass), pg_get_constraintdef(oid)
    FROM pg_constraint WHERE conrelid IN (SELECT oid FROM ours) AND contype <> 'n'
UNION ALL SELECT concat_ws(' ', 'trigger', tgname, 'of', tgrelid::regclass), concat_ws(' ', pg_get_triggerdef(oid), tgenabled)
    FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM ours) AND NOT tgisinternal
UNION ALL SELECT concat_ws(' ', 'rule', rulename, 'of', ev_class::regclass), pg_get_ruledef(oid)
    FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM ours)
UNION ALL SELECT concat_ws(' ', 'policy', polname, 'of', polrelid::regclass), concat_ws(' ', polcmd, pg_get_expr(polqual, polrelid))
    FROM pg_policy WHERE polrelid IN (SELECT oid FROM ours)
UNION ALL SELECT concat_ws(' ', 'table', inhrelid::regclass), concat_ws(' ', 'inherits', inhparent::regclass)
    FROM pg_inherits WHERE inhparent IN (SELECT oid FROM ours)
"""
"""Names and definitions. Constraints that columns are not null are told with their columns: before PostgreSQL 18 they had no names."""


@cache
def shipped_schema() -> dict[str, str]:
    """Names and definitions of what the shipped migrations make; kept beside them, since `verify` makes nothing in the database."""
    text = resources.files("licet.store.migrations").joinpath("postgres").joinpath("schema.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, str])


async def read_schema(con: Connection, tables: list[str]) -> dict[str, str]:
    """Names and definitions of these tables and of everything that hangs on them."""
    return dict([tuple(row) for row in await con.fetch(_SCHEMA, tables)])


async def schema_strays(con: Connection) -> list[str]:
    """1."""
    number = max(await on_postgres.applied(con), default=0)
    if number != last_of(shipped("postgres")):
        return [f"the schema is of version {number}, which this program cannot check: verify with the program that made it"]
    known = shipped_schema()
    tables = [name.removeprefix("table ") for name in known if name.startswith("table ")]
    return list(compare_schema(known, await read_schema(con, tables)))


async def tile_strays(con: Connection) -> list[str]:
    """2: each tile that is kept is what the entries make, and none that they make is missing."""
    check = TileStrays(cast("list[tuple[int, int, bytes]]", await con.fetch("SELECT level, number, hashes FROM head_tiles")))
    found: list[str] = []
    start = 0
    while rows := await con.fetch("SELECT number, entry FROM heads WHERE number >= $1 ORDER BY number LIMIT $2", start, _CHUNK):
        found += check.take([entry for _, entry in rows])
        start = rows[-1][0] + 1
    return [*found, *check.end()]


async def key_strays(con: Connection, vault: Vault | None) -> list[str]:
    """3."""
    if vault is None:
        return []
    rows = await con.fetch("SELECT number, vkey, key, wrapped FROM signing_keys ORDER BY number")
    return list(compare_keys(vault, [tuple(row) for row in rows]))
