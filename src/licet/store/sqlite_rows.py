"""Rows of the SQLite schema as values; what they mean is in store/rows.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from licet.ledger.vault import SecretRow
from licet.store.rows import SECRET_ROW, find_secret


def fetch(con: apsw.Connection, text: str, values: Sequence[Any] = ()) -> list[Any]:
    """All rows, each a tuple of what its columns' STRICT types say."""
    return con.execute(text, values).fetchall()


class ConnectionSecrets:
    """The secrets as one connection sees them (`SecretRows` of ledger/vault.py)."""

    def __init__(self, con: apsw.Connection) -> None:
        self._con = con

    def find_secret(self, lookup: bytes) -> SecretRow | None:
        """The row of a subject."""
        return find_secret(fetch(self._con, f"{SECRET_ROW}lookup = ?", (lookup,)))

    def find_secret_of(self, pseudonym: str) -> SecretRow | None:
        """The row behind a pseudonym."""
        return find_secret(fetch(self._con, f"{SECRET_ROW}pseudonym = ?", (pseudonym,)))
