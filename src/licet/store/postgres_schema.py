"""The schema of a ledger in PostgreSQL: numbered files, applied in one transaction, and the number of the last one."""

from __future__ import annotations

from importlib import resources

from licet.errors import NotAStore
from licet.store.postgres_locks import TAKE_SCHEMA
from licet.store.postgres_open import Address
from licet.store.postgres_reading import Connection


def migrations() -> list[tuple[int, str]]:
    """Number and text of each file, in order."""
    folder = resources.files("licet.store").joinpath("migrations", "postgres")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), folder.joinpath(name).read_text(encoding="utf-8")) for name in files]


async def check_identity(con: Connection, address: Address) -> bool:
    """Whether this is a ledger of this version; False for an empty database. Raises `NotAStore` for anything else."""
    if await con.fetchval("SELECT to_regclass('public.schema_version') IS NULL OR to_regclass('public.ledger') IS NULL"):
        text = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm'))"
        if await con.fetchval(text):
            raise NotAStore(f"`{address}` holds other tables, and is not a ledger; give Licet a database of its own")
        return False
    version, newest = await con.fetchval("SELECT version FROM schema_version"), migrations()[-1][0]
    if version != newest:
        raise NotAStore(f"`{address}` is a ledger of schema version {version}, this is for version {newest}; see `licet db upgrade`")
    return True


async def create_schema(con: Connection, address: Address) -> None:
    """An empty database is now a ledger; two processes that try at once make it once. A crash here leaves it empty."""
    async with con.transaction():
        await con.execute(TAKE_SCHEMA)
        if not await check_identity(con, address):
            for _, text in migrations():
                await con.execute(text)
            await con.execute("CREATE TABLE schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)")
            await con.execute("INSERT INTO schema_version (one, version) VALUES (1, $1)", migrations()[-1][0])
