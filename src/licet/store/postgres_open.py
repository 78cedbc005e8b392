"""How a ledger's PostgreSQL database is reached, what is asked of its server, and what its errors mean.

Rules:

1. Everything durable: each connection that writes says `synchronous_commit = on` itself, whatever the server, the role or the database
   says. (`fsync` is the server's alone: `doctor` tells where it is off.)
2. Nothing waits without end: connecting, statements, locks and transactions that nobody goes on with have limits, which the server keeps.
3. A database that is not a ledger of this version is never written to, but an empty one when a ledger is to be made.
4. The password is never part of the URL, of a message or of a log.
5. A child of a fork closes its copies of all sockets at once: the server must see the parent end when it ends, and its lease with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from msgspec import Struct

from licet.errors import NotAStore, StoreError, StorePoisoned, StoreUnavailable
from licet.store.postgres_reading import Connection

CONNECT_S = 5.0
CLOSE_S = 2.0
STATEMENT_S = 10.0
"""Reads that take longer go in pages; a commit takes milliseconds, and waits for locks at most `LOCK_S`."""
LOCK_S = 5.0
IDLE_IN_TRANSACTION_S = 0.25
"""A process that stops within a transaction (paged out, stopped by hand) holds a log up for no longer. Who only reads holds nobody up."""
READ_S = 16.0
LONG_S = 600.0
"""For connections of their own that read for minutes (`verify`, `export`)."""
OLDEST_SERVER = 14

_open: weakref.WeakSet[LicetConnection] = weakref.WeakSet()


class Address(Struct, frozen=True):
    """Where a database is: a URL without password. `password` is asked afresh for each connection; None leaves it to PGPASSFILE.

    `read_s` bounds one read with all its waiting: a connection, a statement, and the turn of whoever was first.
    """

    url: str
    password: Callable[[], str | None] = lambda: None
    read_s: float = READ_S

    def __str__(self) -> str:
        return self.url.partition("?")[0]


class LicetConnection(asyncpg.Connection[Any] if TYPE_CHECKING else asyncpg.Connection):  # type: ignore[misc]
    """A connection that is not inherited (rule 5)."""

    def __init__(self, protocol: Any, transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop, *rest: Any) -> None:
        super().__init__(protocol, transport, loop, *rest)
        self.transport = transport
        self.loop = loop
        _open.add(self)


def abort_all(loop: asyncio.AbstractEventLoop) -> None:
    """No connection of this loop is open. Called on it."""
    for con in [con for con in list(_open) if con.loop is loop and not con.is_closed()]:
        con.terminate()


def _close_inherited() -> None:
    for con in list(_open):
        found = con.transport.get_extra_info("socket")
        if found is not None and found.fileno() >= 0:
            with contextlib.suppress(OSError):
                os.close(found.fileno())


os.register_at_fork(after_in_child=_close_inherited)


async def connect(address: Address, *, name: str = "licet", long: bool = False, durable: bool = True, reads: bool = False) -> Connection:
    """A connection within `CONNECT_S`, to a server that takes writes. `name` is how the server's list of connections shows it.

    A `long` one may read for minutes; one that is not `durable` writes nothing that must not be lost.
    One that only `reads` may stand still within a transaction, on a machine that is busy.
    """
    statement_s, idle_s = (LONG_S, LONG_S) if long else (STATEMENT_S, IDLE_IN_TRANSACTION_S)
    if reads:
        idle_s = max(idle_s, STATEMENT_S)
    settings = {
        "application_name": name,
        "synchronous_commit": "on" if durable else "off",
        "statement_timeout": str(int(statement_s * 1000)),
        "lock_timeout": str(int(LOCK_S * 1000)),
        "idle_in_transaction_session_timeout": str(int(idle_s * 1000)),
        "tcp_keepalives_idle": "10",  # a host that has gone without a word is noticed within half a minute
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "search_path": "public",
        "jit": "off",
    }
    query = parse_qs(urlsplit(address.url).query)
    con: Connection = await asyncpg.connect(
        address.url,
        password=await asyncio.get_running_loop().run_in_executor(None, address.password),  # it may be a command
        ssl=None if "sslmode" in query else "prefer",  # said here: the environment does not say which store is spoken to, nor how
        target_session_attrs=None if "target_session_attrs" in query else SessionAttribute.any,
        timeout=CONNECT_S,
        command_timeout=statement_s + 1,
        server_settings=settings,
        connection_class=LicetConnection,
    )
    return con


async def end(con: Connection) -> None:
    """The connection is closed in order where that takes no time, and cut otherwise."""
    try:
        await con.close(timeout=CLOSE_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        con.terminate()


async def check_server(con: Connection, address: Address) -> None:
    """Raise `NotAStore` where the server, or how the database was made, is none that a ledger can lie on."""
    version = con.get_server_version().major
    if version < OLDEST_SERVER:
        raise NotAStore(f"`{address}` is served by PostgreSQL {version}; a ledger needs {OLDEST_SERVER} or later")
    encoding = await con.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise NotAStore(f"the database `{address}` holds texts in {encoding}; make one with `ENCODING 'UTF8'`")


def translate(error: BaseException, name: object) -> StoreError:
    """What an error of PostgreSQL, or of the way to it, means to whoever runs Licet. What is not known to be harmless poisons."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
        code = getattr(error, "sqlstate", None) or ""
        for prefix, make, text in _MEANINGS:
            if code.startswith(prefix):
                return make(f"the ledger `{name}` {text}")
        message = f"the ledger `{name}` failed in a way whose extent is unknown ({error}); restart and run `licet audit verify`"
        return StorePoisoned(message, ambiguous=True)
    reason = str(error) or type(error).__name__
    return StoreUnavailable(f"the ledger `{name}` cannot be reached: {reason}")


REACHING = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, EOFError, StoreUnavailable)
"""What connecting and asking raise: of the server, of the way to it, of connections that have ended, of a password that is not there."""

_MEANINGS: tuple[tuple[str, type[StoreError], str], ...] = (
    ("25006", StoreUnavailable, "is read-only: this is a standby, or writing was switched off"),
    ("28", StoreUnavailable, "refuses its user: check `[postgres] password` and the server's pg_hba.conf"),
    ("3D000", NotAStore, "is not there: create the database first"),
    ("40", StoreUnavailable, "is written by others at the same moment"),
    ("42501", StoreUnavailable, "may not be used by this user: grant what docs/postgresql.md lists"),
    ("53", StoreUnavailable, "has no room: a disk is full, or there are too many connections"),
    ("55P03", StoreUnavailable, f"is locked by others for more than {LOCK_S:g} s"),
    ("57014", StoreUnavailable, f"has not answered within {STATEMENT_S:g} s"),
    ("57", StoreUnavailable, "is being stopped or started"),
    ("25P03", StoreUnavailable, "gave up a transaction that stood still"),
    ("25P04", StoreUnavailable, "gave up a transaction that took too long"),
)
