"""What the migrations for PostgreSQL make, as the file beside them must say it: `python -m tests.store.schema_of_postgres` writes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import msgspec

from licet.store.migrations import on_postgres
from licet.store.postgres_strays import read_schema
from tests.store.postgres import remove_server, start_server

FILE = Path(__file__).parents[2] / "src/licet/store/migrations/postgres/schema.json"


async def made(url: str) -> dict[str, str]:
    """Names and definitions in a database that was made a ledger just now."""
    con = await asyncpg.connect(url)
    try:
        await on_postgres.upgrade(con, "it", 0)
        tables = [
            name
            for (name,) in await con.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
        ]
        return dict(sorted((await read_schema(con, tables)).items()))
    finally:
        await con.close()


if __name__ == "__main__":
    server = start_server()
    try:
        FILE.write_bytes(msgspec.json.format(msgspec.json.encode(asyncio.run(made(server.make_database()))), indent=2) + b"\n")
    finally:
        remove_server(server)
