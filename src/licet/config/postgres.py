"""`store = "postgresql://..."` and `[postgres]` of a licet.toml: which database holds the ledger, and how its password is had.

Rules:

1. The URL says who speaks to which database on which host. What it leaves out is never taken from the process environment: another
   `PGHOST` would be another ledger.
2. No password stands in the file: `[postgres] password` says where it comes from. Without it the server asks for none, or PGPASSFILE
   holds it.
3. What a URL can say beyond that is listed here; anything else is an error, and no setting that would reach the server unseen.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from licet.config.decoding import Decoder

SCHEMES = ("postgresql", "postgres")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_QUERY = (*_FILES, "sslmode", "sslnegotiation", "ssl_min_protocol_version", "target_session_attrs", "host")
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_EXPECTED = "expected `postgresql://USER@HOST:PORT/DATABASE`"


class PostgresSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[postgres]`. `password` is `env:NAME`, `file:PATH` or `command:COMMAND LINE`; a path is absolute if it comes from a file."""

    password: str | None = None


def is_postgres(store: str) -> bool:
    """Whether a `store` names a PostgreSQL database."""
    return store.partition(":")[0] in SCHEMES


def read_url(decoder: Decoder, text: str, folder: Path) -> str:
    """The URL, with the paths of its certificates absolute. Raises `ConfigInvalid`; no message repeats what may be a password."""
    url = urlsplit(text)
    try:
        port = url.port
    except ValueError:
        raise decoder.invalid("store", f"has a port that is none; {_EXPECTED}") from None
    query = parse_qsl(url.query, keep_blank_values=True)
    if url.password is not None or any(name == "password" for name, _ in query):
        raise decoder.invalid("store", "holds a password: take it out, change it, and say where it comes from in `[postgres] password`")
    sockets = [value for name, value in query if name == "host"]
    if not url.username or url.path in {"", "/"} or bool(url.hostname) == bool(sockets) or (port is None and not sockets):
        raise decoder.invalid("store", f"is not whole; {_EXPECTED}")
    for name, value in query:
        if name not in _QUERY:
            raise decoder.invalid("store", f"says `{name}`, which is none of {', '.join(f'`{known}`' for known in _QUERY)}")
        if name == "sslmode" and value not in _MODES:
            raise decoder.invalid("store", f"says `sslmode={value}`, which is none of {', '.join(f'`{mode}`' for mode in _MODES)}")
    kept = "&".join(f"{name}={folder / value if name in _FILES else value}" for name, value in query)
    return url._replace(scheme="postgresql", query=kept, fragment="").geturl()


def read_postgres(decoder: Decoder, table: object, store: str, folder: Path) -> PostgresSettings:
    """`[postgres]`, where the store is one. Raises `ConfigInvalid`."""
    written = decoder.struct(table, PostgresSettings, "postgres")
    if written.password is None:
        return written
    if not is_postgres(store):
        raise decoder.invalid("postgres.password", "is for a ledger in PostgreSQL, and `store` names none")
    scheme, colon, rest = written.password.partition(":")
    if not colon or scheme not in {"file", "env", "command"} or not rest:
        raise decoder.invalid(
            "postgres.password",
            "must say where the password comes from, `env:NAME`, `file:PATH` or `command:COMMAND LINE`; it is never that itself",
        )
    return PostgresSettings(password=f"file:{folder / decoder.path(rest, 'postgres.password')}" if scheme == "file" else written.password)
