"""`store = "postgresql://..."` and `[postgres]`: what is taken, what is refused, and that no password is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from licet.config import Settings, loads
from licet.errors import ConfigInvalid

URL = "postgresql://licet@db.internal:5432/licet"


def read(store: str, more: str = "") -> Settings:
    return loads(f'environment = "x"\nstore = "{store}"\n{more}', file=Path("/etc/licet/licet.toml"))


def test_a_url_is_kept_as_it_is_and_paths_start_at_the_file() -> None:
    settings = read(f"{URL}?sslmode=verify-full&sslrootcert=ca.pem", '[postgres]\npassword = "file:db.password"')
    assert settings.store == f"{URL}?sslmode=verify-full&sslrootcert=/etc/licet/ca.pem"
    assert settings.postgres.password == "file:/etc/licet/db.password"
    assert settings.in_postgres
    assert settings.beside == Path("/etc/licet/licet")
    with pytest.raises(ConfigInvalid, match="names a PostgreSQL database"):
        _ = settings.store_path


def test_a_socket_is_named_by_its_folder() -> None:
    url = "postgresql://licet@/licet?host=/var/run/postgresql"
    assert read(url).store == url


def test_a_ledger_in_a_file_has_what_belongs_to_it_beside_it() -> None:
    settings = read("sqlite:data/licet.db")
    assert (settings.in_postgres, settings.beside) == (False, Path("/etc/licet/data/licet.db"))


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("postgresql://licet:s3cret@db/licet", "holds a password"),
        ("postgresql://licet@db:5432/licet?password=s3cret", "holds a password"),
        ("postgresql://db:5432/licet", "is not whole"),
        ("postgresql://licet@db:5432", "is not whole"),
        ("postgresql://licet@db/licet", "is not whole"),
        ("postgresql://licet@/licet", "is not whole"),
        ("postgresql://licet@db:s3cret/licet", "has a port that is none"),
        (f"{URL}?options=-c%20fsync", "says `options`, which is none of"),
        (f"{URL}?sslmode=maybe", "says `sslmode=maybe`, which is none of"),
    ],
    ids=["password", "password in the query", "no user", "no database", "no port", "no host", "odd port", "odd key", "odd mode"],
)
def test_what_is_not_whole_or_says_too_much_is_refused_and_not_repeated(store: str, message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message) as refused:
        read(store)
    assert refused.value.key == "store"
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("store", "password", "message"),
    [
        (URL, "s3cret", "must say where the password comes from"),
        (URL, "vault:s3cret", "must say where the password comes from"),
        ("sqlite:licet.db", "env:S3CRET", "is for a ledger in PostgreSQL"),
    ],
    ids=["itself", "another source", "for a file"],
)
def test_a_password_says_where_it_comes_from(store: str, password: str, message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message) as refused:
        read(store, f'[postgres]\npassword = "{password}"')
    assert refused.value.key == "postgres.password"
    assert "s3cret" not in str(refused.value)


def test_the_search_index_may_lie_elsewhere() -> None:
    assert read(URL, '[search]\npath = "index/licet"').search.path == Path("/etc/licet/index/licet")
